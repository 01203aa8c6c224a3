"""What follows what in a torch module, read off the module."""
