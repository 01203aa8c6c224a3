"""Graft inside a PyTorch training loop.

`Grafter` grafts networks in place, one line an epoch; `plan` tells what it will do to which tensor;
`DistillationLoss` is the loss that goes with it. `import graft` does not import this.

Examples
--------
>>> import graft.torch
>>> grafter = graft.torch.Grafter([model_a, model_b])
>>> for epoch in range(epochs):
...     train_one_epoch(model_a, model_b)
...     grafter.step()
"""

from __future__ import annotations

from ._across._graft import graft_across
from ._across._report import AcrossReport, PairedLayer, Untouched
from ._alignment._align import Alignment, align
from ._distillation import DistillationLoss, teach
from ._grafter import Grafter
from ._across._layer_pairs import LayerPairs, pair_layers
from ._peers import PeerError
from ._alignment._permutations import (
    Fixed, Member, PermutationGroup, PermutationGroups, permutation_groups, permute)
from ._structure._plan import Plan, plan
from ._watch import Watch

__all__ = [
    "AcrossReport", "Alignment", "DistillationLoss", "Fixed", "Grafter", "LayerPairs", "Member",
    "PairedLayer", "PeerError", "PermutationGroup", "PermutationGroups", "Plan", "Untouched",
    "Watch", "align", "graft_across", "pair_layers", "permutation_groups", "permute", "plan",
    "teach"]
