"""K modules as K lists of tensors in the order of one plan, checked to be of one structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ... import _plan
from ..._errors import InvalidArgumentError, ShapeMismatchError, UnsupportedError
from ._inventory import Item, inner, inventory
from ._obstacles import module_obstacles, tensor_obstacle


class Networks:
    """The parameters and buffers of K modules as they are now.

    Attributes
    ----------
    items : list of list of Item
    tied : dict of str to str
        Names of tensors that are an earlier one, and that one's name.
    """

    def __init__(self, modules: Sequence[nn.Module], plan: _plan.Plan) -> None:
        names = [entry.name for entry in plan]
        roles = [entry.role for entry in plan]
        self.items = [_ordered(module, names, f"models[{k}]") for k, module in enumerate(modules)]
        first = self.items[0]
        self.tied = {
            item.name: first[item.alias_of].name for item in first if item.alias_of is not None}
        for k, items in enumerate(self.items):
            for index, (item, other) in enumerate(zip(items, first)):
                if roles[index] != "leave":
                    _check(item, other, f"models[{k}]")
        _check_apart(self.items, roles)

    @property
    def tensors(self) -> list[list[Tensor]]:
        """Each network's tensors, in the order of the plan, without gradients."""
        return [[item.tensor.detach() for item in items] for items in self.items]


def _ordered(module: nn.Module, names: list[str], label: str) -> list[Item]:
    items = inventory(inner(module))
    found = [item.name for item in items]
    if found == names:
        _check_modules(module, label)
        return items
    for name in names:
        if name not in found:
            raise ShapeMismatchError(f"{label} lacks {name!r}, which the plan has")
    for name in found:
        if name not in names:
            raise ShapeMismatchError(f"{label} has {name!r}, which the plan lacks")
    raise ShapeMismatchError(f"{label} has the plan's tensors in another order")


def _check_modules(module: nn.Module, label: str) -> None:
    for path, reason in module_obstacles(module).items():
        raise UnsupportedError(f"{label}: {path or 'the module'} {reason}")


def _check(item: Item, other: Item, label: str) -> None:
    reason = tensor_obstacle(item)
    if reason is not None:
        raise UnsupportedError(f"{label}: {item.name} {reason}, or leave it out with exclude")
    mine, theirs = item.tensor, other.tensor
    if mine.is_meta:
        raise UnsupportedError(f"{label}: {item.name} lies on the meta device: it has no numbers")
    if mine.device.type == "mps":
        raise UnsupportedError(
            f"{label}: {item.name} lies on {mine.device}, which has no float64: move the network "
            "to the CPU for the graft")
    if mine.shape != theirs.shape:
        raise ShapeMismatchError(
            f"{label}: {item.name} has shape {tuple(mine.shape)}, and in models[0] "
            f"{tuple(theirs.shape)}")
    if mine.dtype != theirs.dtype:
        raise ShapeMismatchError(
            f"{label}: {item.name} is of type {mine.dtype}, and in models[0] {theirs.dtype}")
    if item.alias_of != other.alias_of:
        raise ShapeMismatchError(
            f"{label}: {item.name} is tied to an earlier tensor in one network and not, or not to "
            "the same, in another")


@dataclass(frozen=True, order=True)
class _Extent:
    """Where a tensor lies; `dense`: every element between start and end is its own."""

    device: str
    start: int
    end: int
    dense: bool
    label: str


def _check_apart(networks: list[list[Item]], roles: list[str]) -> None:
    """Raises where two tensors that are written share memory. Such that lie interleaved (a stack of
    networks along an inner dimension) are taken to lie apart: the library looks closer."""
    check_apart([
        (f"models[{k}]: {item.name}", item)
        for k, items in enumerate(networks) for item, role in zip(items, roles)
        if role != "leave" and item.alias_of is None])


def check_apart(items: Sequence[tuple[str, Item]]) -> None:
    """The same for tensors and what they are called."""
    extents = sorted(_extent(item, label) for label, item in items if item.tensor.numel() > 0)
    for last, one in zip(extents, extents[1:]):
        if one.device == last.device and one.start < last.end:
            if one.start == last.start or (one.dense and last.dense):
                raise InvalidArgumentError(
                    f"{last.label} and {one.label} share memory; every tensor needs its own")


def _extent(item: Item, label: str) -> _Extent:
    tensor = item.tensor
    walked = [(n, stride) for n, stride in zip(tensor.shape, tensor.stride()) if n > 1]
    if any(stride == 0 for _, stride in walked):
        raise InvalidArgumentError(f"{label} is expanded: its elements share memory")
    reach = 1 + sum((n - 1) * stride for n, stride in walked)
    start = tensor.data_ptr()
    return _Extent(
        str(tensor.device), start, start + reach * tensor.element_size(),
        reach == tensor.numel(), label)
