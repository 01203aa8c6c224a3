"""Putting the channels of one network in another's order. (Ours, and not the paper's.)"""
