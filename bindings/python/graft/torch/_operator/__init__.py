"""The graft itself by torch's own operations, for tensors that the library cannot reach."""
