"""A torch module as a graft sees it: its tensors, and what stands in a graft's way."""
