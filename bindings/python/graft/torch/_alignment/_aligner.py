"""Aligning a `Grafter`'s networks before a graft, and their batch norms' statistics after it.

All networks are put in the order of the first, which stays. After a graft they hold much of each
other's weights in one order, so that later grafts need no alignment: by default only the first has
one. (Ours, and not the paper's; see `graft.torch.align`.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import update_bn

from ..._errors import InvalidArgumentError, UnsupportedError
from ._align import Alignment, check_alike, matched
from ._assignment import solver
from .._module._inventory import Item, inner
from ._permutations import (
    PermutationGroups, apply_orders, check_orders, checked, orders_of, permutation_groups,
    reordered)

#: For each network but the first, what goes where in which of its tensors.
_Orders = dict[int, dict[str, Any]]


class Aligner:
    """When networks are aligned, and how.

    Parameters
    ----------
    models
        All networks, at least two.
    align
        True or "first": before the first graft. A number n: before the first and every n-th after.
    example_inputs, groups
        One of them: input of the networks, or which channels can change places.
    optimizers
        Whose state goes along, in any order.
    statistics
        Batches to take batch norms' statistics of, after a graft with an alignment; or None.
    """

    def __init__(
        self, models: Sequence[nn.Module], align: Any, example_inputs: Any,
        groups: PermutationGroups | None, optimizers: Sequence[Optimizer], statistics: Any,
    ) -> None:
        self._period = _period(align)
        if len(models) < 2:
            raise InvalidArgumentError(
                f"align is {align!r}, and models holds {len(models)} network: there has to be "
                "another")
        if statistics is not None:
            check_batches(statistics)
        solver()
        for k, model in enumerate(models):
            checked(model, f"models[{k}]")
        if groups is None:
            if example_inputs is None:
                raise InvalidArgumentError(
                    f"align is {align!r}, and example_inputs is None: give input of the networks, "
                    "or groups, which permutation_groups found")
            groups = permutation_groups(models[0], example_inputs)
        elif not isinstance(groups, PermutationGroups):
            raise InvalidArgumentError(
                f"groups is {type(groups).__name__!r}: permutation_groups makes it")
        self._groups = groups
        self._optimizers = list(optimizers)
        self.statistics = statistics
        self.count = 0

    def is_due(self, grafts: int) -> bool:
        """Before the next graft, after this many."""
        return self.count == 0 or (self._period > 0 and grafts % self._period == 0)

    def find(self, networks: Sequence[Sequence[Item]]) -> dict[int, Alignment]:
        """What to do to each network but the first. Nothing is written."""
        found = {}
        for k, items in enumerate(networks[1:], 1):
            check_alike(items, networks[0], "models[0]")
            found[k] = matched(items, networks[0], self._groups, (f"models[{k}]", "models[0]"))
        for k, orders in self._orders(found).items():
            check_orders(networks[k], orders, self._optimizers)
        return found

    def apply(self, networks: Sequence[Sequence[Item]], found: dict[int, Alignment]) -> None:
        """Puts every network in order, its gradients and its optimisers' state with it."""
        for k, orders in self._orders(found).items():
            apply_orders(networks[k], orders, self._optimizers)

    def undo(self, networks: Sequence[Sequence[Item]], found: dict[int, Alignment]) -> None:
        """As it was before, to the bit."""
        for k, one in found.items():
            back = [np.argsort(order) for order in one.permutations]
            apply_orders(networks[k], orders_of(self._groups, back), self._optimizers)

    def copies(
        self, networks: Sequence[Sequence[Item]], found: dict[int, Alignment]
    ) -> list[list[Tensor]]:
        """Each network's tensors, those that move as copies in their new order."""
        orders = self._orders(found)
        result = []
        for k, items in enumerate(networks):
            moves = orders.get(k, {})
            own = [
                reordered(item.tensor, moves[item.name]) if item.name in moves
                else item.tensor.detach() for item in items]
            # A tied tensor is known by its first name.
            result.append([
                tensor if item.alias_of is None else own[item.alias_of]
                for tensor, item in zip(own, items)])
        return result

    def _orders(self, found: dict[int, Alignment]) -> _Orders:
        return {k: orders_of(self._groups, one.permutations) for k, one in found.items()}


def aligner_of(
    models: Sequence[nn.Module], align: Any, example_inputs: Any, groups: Any, statistics: Any,
    optimizers: Sequence[Optimizer], source: Any, process_group: Any,
) -> Aligner | None:
    """What a `Grafter`'s arguments ask for; None where that is nothing."""
    if align is False or align is None:
        for name, value in (("groups", groups), ("statistics", statistics)):
            if value is not None:
                raise InvalidArgumentError(f"{name} goes with align, and align is {align!r}")
        return None
    if process_group is not None:
        raise UnsupportedError(
            f"align is {align!r}: between processes networks cannot be aligned; align them with "
            "graft.torch.align before training")
    if isinstance(source, str) and source in ("internal", "noise"):
        raise InvalidArgumentError(
            f"align is {align!r}, and source {source!r} takes nothing of another network")
    return Aligner(models, align, example_inputs, groups, optimizers, statistics)


def _period(align: Any) -> int:
    """Every how many grafts; 0 for the first alone."""
    if align is True or align == "first":
        return 0
    if isinstance(align, int) and not isinstance(align, bool) and align > 0:
        return align
    raise InvalidArgumentError(
        f"align is {align!r}; allowed are True or 'first', before the first graft, or every how "
        "many grafts: 1 and more")


# ---- statistics ----------------------------------------------------------------------------------


def check_batches(batches: Any) -> None:
    """Raises where batch norms' statistics cannot be taken of this; looks at the first batch."""
    if not isinstance(batches, Iterable) or isinstance(batches, (Tensor, str, dict)):
        raise InvalidArgumentError(
            f"statistics is {type(batches).__name__!r}: it must hold batches, as a DataLoader or a "
            "list does")
    if isinstance(batches, Iterator):
        raise InvalidArgumentError(
            f"statistics is {type(batches).__name__!r}, which can be gone through once: every "
            "network has to see it")
    first = next(iter(batches), None)
    if first is None:
        raise InvalidArgumentError("statistics holds no batch")
    one = first[0] if isinstance(first, (list, tuple)) and first else first
    if not isinstance(one, Tensor):
        raise InvalidArgumentError(
            f"statistics holds {type(first).__name__!r}: a batch must be a tensor of inputs, or "
            "a list or tuple that begins with one")


def renew_statistics(model: nn.Module, batches: Iterable[Any]) -> None:
    """Takes a network's batch-norm statistics anew, as `torch.optim.swa_utils.update_bn` does.

    Random state and every module's mode are as before afterwards; where it fails, so are the
    statistics.
    """
    model = inner(model)
    modes = [(one, one.training) for one in model.modules()]
    norms = [
        one for one in model.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    kept = [
        (one, one.momentum, [(buffer, buffer.clone()) for buffer in one.buffers(recurse=False)])
        for one in norms]
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            update_bn(batches, model, device)
    except BaseException:
        with torch.no_grad():
            for one, momentum, buffers in kept:
                one.momentum = momentum
                for buffer, numbers in buffers:
                    buffer.copy_(numbers)
        raise
    finally:
        for one, mode in modes:
            one.training = mode
