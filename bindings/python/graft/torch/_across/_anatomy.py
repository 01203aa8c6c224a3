"""A network as it is seen from another of different structure: its weights in the order of use,
what they are, what goes with them, and the channels along their axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..._plan import PlanEntry
from .._module._example import evaluating, run
from .._module._inventory import Item
from .._module._kinds import kind_of
from .._alignment._permutations import Member, PermutationGroups, checked, permutation_groups
from .._structure._plan import plan


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor, in parts.

    Attributes
    ----------
    length : int
    parts : tuple of (int, Member)
        Groups of channels that lie along it, in the order of their first places.
    fixed : numpy.ndarray
        Places that belong to none: inputs and outputs of the network, kernels.
    within : bool
        Whether its channels move within their group of a grouped convolution only.
    """

    length: int
    parts: tuple[tuple[int, Member], ...]
    fixed: np.ndarray
    within: bool = False


@dataclass(frozen=True)
class Weight:
    """A layer, or a classifier's weight.

    Attributes
    ----------
    name : str
    kind : tuple
        What must be equal in another for the two to be blended: the kind of layer, its kernel, how
        it is grouped, and the size of the map that it makes.
    roles : tuple of str
        Its part in the network. Along its first two axes: "shared" channels are those that several
        layers write (a residual sum), "own" those of one, "fixed" the network's inputs and outputs.
        Then its stride, and whether it is the first to make maps of its size of what it reads.
    """

    name: str
    kind: tuple[Any, ...]
    roles: tuple[str, ...]


class Anatomy:
    """What there is to know of a network. Holds none of its tensors.

    Attributes
    ----------
    names : tuple of str
        All parameters and buffers.
    weights : dict of str to Weight
        In the order in which a forward pass uses them.
    followers : dict of str or None to dict
        For each weight what goes with it, by a key that says what it is; for None, what belongs to
        no layer.
    feeder : dict of str to str or None
        For every tensor that a graft may touch, the layer whose coefficient it takes.
    filter_axis : dict of str to int
        For every layer, the dimension along which its filters lie.
    axes : dict of str to tuple of Axis
        Of all these tensors.
    sizes : list of int
        How many channels each group has.
    writers : dict of int to list of str
        For each group the weights whose filters lie along it.
    parameters : frozenset of str
        Which of the tensors are no buffers.
    notes : tuple of str
        Why less was seen than could be.
    """

    def __init__(
        self, module: nn.Module, example_inputs: Any, label: str, frozen: str = "graft"
    ) -> None:
        module, items = checked(module, label)
        made = plan(module, example_inputs, frozen=frozen)
        groups = permutation_groups(module, example_inputs)
        named = {item.name: item for item in items}
        self.names = tuple(named)
        self.notes = (*made.notes, *groups.notes)
        entries = [
            made[name] for name in made.order
            if name not in made.tied and made[name].role != "leave"]
        self.feeder = {
            one.name: one.name if one.role == "layer" else one.feeder for one in entries}
        self.filter_axis = {one.name: one.filter_axis for one in entries}
        self.parameters = frozenset(one.name for one in entries if named[one.name].is_parameter)
        self.sizes = [group.size for group in groups]
        self.axes = _axes({one.name: named[one.name].tensor for one in entries}, groups)
        chosen = [one for one in entries if one.role == "layer" or one.rule == "classifier"]
        maps = _maps(module, example_inputs, [named[one.name] for one in chosen])
        self.writers: dict[int, list[str]] = {}
        for one in chosen:
            for index, _ in self.axes[one.name][one.filter_axis].parts:
                self.writers.setdefault(index, []).append(one.name)
        self.weights = {
            one.name: Weight(
                one.name, _kind(one, named[one.name], maps.get(one.name)),
                self._roles(one, named[one.name], maps))
            for one in chosen}
        self.followers = self._followers(entries, named)

    def read(self, name: str) -> list[int]:
        """The groups of channels that a weight reads."""
        axes, axis = self.axes[name], self.filter_axis[name]
        inputs = axes[1 - axis] if len(axes) > 1 else axes[axis]
        depthwise = len(axes) > 1 and inputs.length == 1
        return [index for index, _ in (axes[axis] if depthwise else inputs).parts]

    def _roles(
        self, entry: PlanEntry, item: Item, maps: dict[str, tuple[int, ...]]
    ) -> tuple[str, ...]:
        found = []
        for axis in self.axes[entry.name][:2]:
            several = any(len(self.writers.get(index, ())) > 1 for index, _ in axis.parts)
            found.append("shared" if several else "own" if axis.parts else "fixed")
        before = {
            maps.get(name) for index in self.read(entry.name)
            for name in self.writers.get(index, ()) if name != entry.name}
        first = bool(before) and maps.get(entry.name) not in before
        return *found, str(getattr(item.owner, "stride", "")), "first of its size" * first

    def _followers(
        self, entries: Sequence[PlanEntry], named: dict[str, Item]
    ) -> dict[str | None, dict[tuple[Any, ...], str]]:
        """What is no weight goes with one of its own module, or with the layer that it follows."""
        found: dict[str | None, dict[tuple[Any, ...], str]] = {name: {} for name in self.weights}
        found[None] = {}
        own: dict[int, list[str]] = {}
        for name in self.weights:
            own.setdefault(id(named[name].owner), []).append(name)
        counts: dict[tuple[Any, ...], int] = {}
        for entry in entries:
            if entry.name in self.weights:
                continue
            item = named[entry.name]
            beside = own.get(id(item.owner), [])
            anchor = beside[0] if beside and entry.feeder not in beside else entry.feeder
            kind = kind_of(item.owner)
            key = (kind.rule if kind else entry.rule, item.attribute if kind else "",
                   item.tensor.dim(), item.is_parameter)
            place = counts[(anchor, *key)] = counts.get((anchor, *key), -1) + 1
            found[anchor][(*key, place)] = entry.name
        return found


def _axes(tensors: dict[str, Tensor], groups: PermutationGroups) -> dict[str, tuple[Axis, ...]]:
    parts: dict[tuple[str, int], list[tuple[int, Member]]] = {}
    for group in groups:
        for member in group.members:
            parts.setdefault((member.tensor, member.axis), []).append((group.index, member))
    return {
        name: tuple(
            _axis(length, parts.get((name, axis), [])) for axis, length in enumerate(tensor.shape))
        for name, tensor in tensors.items()}


def _axis(length: int, parts: list[tuple[int, Member]]) -> Axis:
    if any(member.rows is not None for _, member in parts):
        return Axis(length, (), np.arange(length), within=True)
    free = np.ones(length, bool)
    for _, member in parts:
        free[member.places.reshape(-1)] = False
    parts = sorted(parts, key=lambda part: int(part[1].places.min()))
    return Axis(length, tuple(parts), np.flatnonzero(free))


def _kind(entry: PlanEntry, item: Item, size: tuple[int, ...] | None) -> tuple[Any, ...]:
    kind = kind_of(item.owner)
    groups = getattr(item.owner, "groups", 1) if kind else 1
    if groups != 1 and groups == item.tensor.shape[0]:
        groups = "depthwise"
    return (
        kind.rule if kind else "linear", item.attribute if kind else "", entry.filter_axis,
        tuple(item.tensor.shape[2:]), groups, size)


def _maps(
    module: nn.Module, example_inputs: Any, items: Sequence[Item]
) -> dict[str, tuple[int, ...]]:
    """The size of the map that each weight's module makes: what its output has beside the samples
    and the channels."""
    found: dict[str, tuple[int, ...]] = {}
    handles = []
    owners: dict[int, tuple[nn.Module, list[Item]]] = {}
    for item in items:
        if kind_of(item.owner) is not None:
            owners.setdefault(id(item.owner), (item.owner, []))[1].append(item)

    def watch(own: list[Item]) -> Any:
        def hook(part: nn.Module, inputs: Any, output: Any) -> None:
            for one in tree_leaves(output)[:1]:
                shape = tuple(one.shape) if isinstance(one, Tensor) else ()
                for item in own:
                    spatial = item.tensor.dim() - 2
                    found.setdefault(
                        item.name, shape[len(shape) - spatial:] if spatial else shape[1:-1])
        return hook

    try:
        for owner, own in owners.values():
            handles.append(owner.register_forward_hook(watch(own)))
        with evaluating(module):
            run(module, example_inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found
