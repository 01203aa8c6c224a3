"""Grafting between networks of different structure. (Ours, and not the paper's.)"""
