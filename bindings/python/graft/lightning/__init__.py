"""Graft with PyTorch Lightning 2: `GraftingCallback`. `import graft` does not import this.

Examples
--------
>>> import graft.lightning
>>> class Two(lightning.LightningModule):
...     def __init__(self):
...         super().__init__()
...         self.networks = torch.nn.ModuleList([network(), network()])
>>> trainer = lightning.Trainer(callbacks=[graft.lightning.GraftingCallback("networks")])
"""

from __future__ import annotations

from ._callback import GraftingCallback

__all__ = ["GraftingCallback"]
