"""Groups of channels that can be put in another order without a change of what a network computes,
and putting them in that order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from ..._errors import InvalidArgumentError, InvalidStateError, UnsupportedError
from ..._text import joined
from ._axes import Axes
from .._module._example import evaluating, run
from .._module._inventory import Item, inner, inventory
from .._module._obstacles import module_obstacles, tensor_obstacle
from ._trial import outputs_differ

#: What to put where: the channel that each takes the place of, by group.
Permutations = Mapping[int, Any] | Sequence[Any]


@dataclass(frozen=True)
class Member:
    """An axis of a tensor that a group's channels lie along.

    Attributes
    ----------
    tensor : str
        The parameter's or buffer's name.
    axis : int
    places : numpy.ndarray
        (channels, places of each): where along the axis each channel lies. Several places where a
        convolution's features have been flattened for a linear layer, for instance.
    rows : tuple of (int, int) or None
        For a weight of a grouped convolution: the first of the rows (along dimension 0) whose axis
        this is, and their number.
    """

    tensor: str
    axis: int
    places: np.ndarray
    rows: tuple[int, int] | None = None


@dataclass(frozen=True)
class PermutationGroup:
    """Channels that may change places with one another, everywhere at once.

    Attributes
    ----------
    index : int
    size : int
        How many channels.
    members : tuple of Member
    """

    index: int
    size: int
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        """Its first tensor's."""
        return self.members[0].tensor


@dataclass(frozen=True)
class Fixed:
    """An axis of a parameter along which nothing, or not everything, may move; and why."""

    tensor: str
    axis: int
    reason: str


class PermutationGroups(Sequence[PermutationGroup]):
    """All of a network's groups. Made by `graft.torch.permutation_groups`.

    Attributes
    ----------
    fixed : tuple of Fixed
        Axes that stay as they are, wholly or in part.
    notes : tuple of str
        What could not be seen.
    """

    def __init__(
        self, groups: Sequence[PermutationGroup], fixed: Sequence[Fixed] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self._groups = tuple(groups)
        self.fixed = tuple(fixed)
        self.notes = tuple(notes)

    def __getitem__(self, key: Any) -> Any:
        return self._groups[key]

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Iterator[PermutationGroup]:
        return iter(self._groups)

    def random(self, seed: int = 0) -> list[np.ndarray]:
        """A random order for each group, as `permute` takes it."""
        generator = np.random.default_rng(seed)
        return [generator.permutation(group.size) for group in self]

    def table(self) -> str:
        """The groups as text: a line a group, then what stays and why."""
        lines = []
        for group in self:
            axes = [
                f"{member.tensor}[{member.axis}]" + (
                    "" if member.rows is None else
                    f" of rows {member.rows[0]} to {sum(member.rows) - 1}")
                for member in group.members]
            lines.append(f"{group.index:>4}  {group.size:>5} channels  {', '.join(axes)}")
        lines += [f"stays: {one.tensor}[{one.axis}] {one.reason}" for one in self.fixed]
        return joined([*lines, *self.notes])

    __str__ = table


def permutation_groups(module: nn.Module, example_inputs: Any) -> PermutationGroups:
    """Find out which channels of a network can change places.

    Read off one forward pass on `example_inputs`, operation by operation (so that it does not
    matter whether the network is written with modules or functions): a convolution's filters, its
    bias, the batch norm behind it and the input channels of whatever reads them form a group;
    sums tie the groups of what is added; what is joined stays apart; a depthwise convolution's
    filters go with their channels; flattened features move in blocks; in an attention the queries'
    and keys' features, and the values', move within their head; channels of a grouped convolution
    move within their group. The network's inputs and outputs stay, and so does whatever an
    operation without a rule reads. The groups are then tried on the example with weights at random:
    one that changes outputs is left out, and `notes` say so.

    Parameters
    ----------
    module
        The network, or a wrapper around it. Nothing about it changes.
    example_inputs
        Its input: a tensor, a tuple of arguments, or a dict of keyword arguments; one or two
        samples do.

    Returns
    -------
    PermutationGroups

    Raises
    ------
    InvalidArgumentError
        Where the module's forward pass on the example raises.
    UnsupportedError
        For quantized, scripted, sharded and parametrized weights; by name.
    """
    module, items = checked(module)
    axes = Axes(items)
    notes = _watch(module, items, example_inputs, axes)
    found, fixed = _groups_of(items, axes)
    wrong = _wrong(module, items, found, example_inputs)
    for group in wrong:
        notes.append(
            f"{group.name}: another order of its {group.size} channels changes the outputs on the "
            "example, so they stay")
        fixed += [Fixed(one.tensor, one.axis, "changed the outputs") for one in group.members]
    kept = [group for group in found if group not in wrong]
    return PermutationGroups([
        PermutationGroup(index, group.size, group.members) for index, group in enumerate(kept)
    ], fixed, notes)


def checked(module: Any, label: str = "module") -> tuple[nn.Module, list[Item]]:
    """The module inside its wrappers, and its tensors; raises where these cannot be permuted."""
    if not isinstance(module, nn.Module):
        raise InvalidArgumentError(
            f"{label} is {type(module).__name__!r}: it must be a torch.nn.Module")
    module = inner(module)
    for path, reason in module_obstacles(module).items():
        raise UnsupportedError(f"{label}: {path or 'the module'} {reason}")
    items = inventory(module)
    for item in items:
        reason = tensor_obstacle(item) if item.is_parameter else None
        if reason is not None:
            raise UnsupportedError(f"{label}: {item.name} {reason}")
    return module, items


def _watch(
    module: nn.Module, items: list[Item], example_inputs: Any, axes: Axes
) -> list[str]:
    """Labels every value of a forward pass; returns notes."""
    notes: list[str] = []
    for training in (False, True):
        try:
            with evaluating(module, training), axes:
                outputs = run(module, example_inputs)
        except Exception as error:  # whatever the module's own code raises
            if training:
                notes.append(f"in training mode the forward pass raises {type(error).__name__}")
                break
            raise InvalidArgumentError(
                f"example_inputs: the module's forward pass raises {type(error).__name__}: "
                f"{error}") from error
        axes.pin(tree_leaves(outputs), "is an output of the network")
        # Parts that run in training only (auxiliary classifiers) read the same channels.
        if not _unseen(items, axes):
            break
    unseen = _unseen(items, axes)
    if unseen:
        notes.append(
            f"did not take part in the forward pass, and stay: {', '.join(unseen[:5])}"
            + (f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""))
    return notes


def _unseen(items: list[Item], axes: Axes) -> list[str]:
    return [
        item.name for index, item in enumerate(items)
        if item.is_parameter and item.alias_of is None and index not in axes.axes
        and item.tensor.numel() > 1]


# ---- from units to groups ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axis:
    """An axis of a tensor with its classes of units."""

    tensor: str
    axis: int
    rows: tuple[int, int] | None
    classes: np.ndarray
    units: np.ndarray
    kernel: bool


def _groups_of(items: list[Item], axes: Axes) -> tuple[list[PermutationGroup], list[Fixed]]:
    roots, colours = axes.units.settle()
    found = _axes_of(items, axes, roots)
    by_colour: dict[int, dict[int, int]] = {}  # colour -> class -> its place in the group
    for one in found:
        for number in one.classes.tolist():
            if number != roots[0]:
                group = by_colour.setdefault(int(colours[number]), {})
                group.setdefault(number, len(group))
    by_colour = {
        colour: classes for colour, classes in by_colour.items() if len(classes) > 1}
    place_of = np.full(len(roots), -1)
    group_of = np.full(len(roots), -1)
    for index, classes in enumerate(by_colour.values()):
        for number, place in classes.items():
            place_of[number], group_of[number] = place, index
    members: list[list[Member]] = [[] for _ in by_colour]
    sizes = [len(classes) for classes in by_colour.values()]
    uneven: set[int] = set()
    fixed: list[Fixed] = []
    for one in found:
        groups = group_of[one.classes]
        for index in dict.fromkeys(groups[groups >= 0].tolist()):
            at = np.flatnonzero(groups == index)
            order = np.argsort(place_of[one.classes[at]], kind="stable")
            if len(at) % sizes[index]:
                uneven.add(index)
                continue
            members[index].append(Member(
                one.tensor, one.axis, at[order].reshape(sizes[index], -1), one.rows))
        if (groups < 0).any() and not one.kernel:
            reason = axes.units.reason([
                *one.units[groups < 0].tolist(), *one.classes[groups < 0].tolist()])
            fixed.append(Fixed(one.tensor, one.axis, reason or "has places of different parts"))
    return [
        PermutationGroup(index, sizes[index], tuple(one))
        for index, one in enumerate(members) if index not in uneven], _once(fixed)


def _axes_of(items: list[Item], axes: Axes, roots: np.ndarray) -> list[_Axis]:
    found = []
    for index in sorted(axes.axes):
        item = items[index]
        for axis, labels in enumerate(axes.axes[index]):
            if axis == 1 and index in axes.inner:
                rows = item.tensor.shape[0] // len(axes.inner[index])
                for group, own in enumerate(axes.inner[index].numpy()):
                    found.append(_Axis(
                        item.name, 1, (group * rows, rows), roots[own], own, False))
            elif labels is not None:
                units = labels.numpy()
                found.append(_Axis(
                    item.name, axis, None, roots[units], units,
                    axis > 1 and item.tensor.dim() > 2))
    return found


def _once(fixed: list[Fixed]) -> list[Fixed]:
    return list(dict.fromkeys(fixed))


# ---- putting in order ----------------------------------------------------------------------------


def orders_of(
    groups: Sequence[PermutationGroup], permutations: Sequence[np.ndarray | None]
) -> dict[str, list[tuple[int, tuple[int, int] | None, Any]]]:
    """For every tensor that changes: axis, rows, and along each axis what goes where.

    The last is a dict of places and the places that they take from, joined over groups.
    """
    found: dict[str, dict[tuple[int, tuple[int, int] | None], list[Any]]] = {}
    for group, permutation in zip(groups, permutations):
        if permutation is None or np.array_equal(permutation, np.arange(group.size)):
            continue
        for member in group.members:
            found.setdefault(member.tensor, {}).setdefault(
                (member.axis, member.rows), []).append(
                    (member.places.reshape(-1), member.places[permutation].reshape(-1)))
    return {
        tensor: [
            (axis, rows, (np.concatenate([to for to, _ in moves]),
                          np.concatenate([source for _, source in moves])))
            for (axis, rows), moves in axes.items()]
        for tensor, axes in found.items()}


def reordered(
    tensor: Tensor, moves: Sequence[tuple[int, tuple[int, int] | None, Any]]
) -> Tensor:
    """A copy in the new order."""
    result = tensor.detach().clone()
    for axis, rows, (to, source) in moves:
        part = result if rows is None else result.narrow(0, *rows)
        order = torch.arange(part.shape[axis])
        order[torch.from_numpy(to)] = torch.from_numpy(source)
        part.copy_(part.index_select(axis, order.to(part.device)))
    return result


def permute(
    module: nn.Module, groups: PermutationGroups, permutations: Permutations,
    optimizer: Optimizer | None = None,
) -> None:
    """Put a network's channels in another order, in place. What it computes stays the same.

    Gradients go along. Where a group's channels lie in a running statistic, that does too.

    Parameters
    ----------
    module
        The network that `groups` were found in, or another of the same structure.
    permutations
        For each group, or for those that a mapping names by number, the new order: the channel in
        place k is then the one that was in place ``permutation[k]``.
    optimizer
        Its optimiser: momentum and other state of a parameter's shape go along.

    Raises
    ------
    InvalidArgumentError
        Where an order is none. Nothing has changed then.
    InvalidStateError
        Where the optimiser keeps state of another shape, which cannot go along.
    """
    module, items = checked(module)
    orders = _checked_orders(groups, permutations)
    apply_orders(items, orders_of(groups, orders), optimizers_of(optimizer))


def _checked_orders(
    groups: PermutationGroups, permutations: Permutations
) -> list[np.ndarray | None]:
    given: Any = permutations
    if not isinstance(permutations, Mapping):
        if len(permutations) != len(groups):
            raise InvalidArgumentError(
                f"permutations holds {len(permutations)} orders for {len(groups)} groups")
        given = dict(enumerate(permutations))
    orders: list[np.ndarray | None] = [None] * len(groups)
    for index, order in given.items():
        if not isinstance(index, int) or not 0 <= index < len(groups):
            raise InvalidArgumentError(
                f"permutations names group {index!r}; there are {len(groups)}")
        array = np.asarray(order)
        size = groups[index].size
        if array.dtype.kind not in "iu" or array.shape != (size,) or \
                not np.array_equal(np.sort(array), np.arange(size)):
            raise InvalidArgumentError(
                f"permutations[{index}] must hold each of 0 to {size - 1} once "
                f"({groups[index].name})")
        orders[index] = array.astype(np.int64)
    return orders


def apply_orders(
    items: Sequence[Item], orders: Mapping[str, Any], optimizers: Sequence[Optimizer]
) -> None:
    """Writes tensors in their new order, with gradients and the optimisers' state."""
    named = {item.name: item for item in items}
    state = check_orders(items, orders, optimizers)
    with torch.no_grad():
        for name, moves in orders.items():
            tensor = named[name].tensor
            tensor.copy_(reordered(tensor, moves))
            if tensor.grad is not None:
                tensor.grad.copy_(reordered(tensor.grad, moves))
            for one in state.get(name, []):
                one.copy_(reordered(one, moves))


def check_orders(
    items: Sequence[Item], orders: Mapping[str, Any], optimizers: Sequence[Optimizer]
) -> dict[str, list[Tensor]]:
    """Raises where `apply_orders` would; else the state tensors that go with each parameter."""
    named = {item.name: item for item in items}
    found: dict[str, list[Tensor]] = {}
    for name in orders:
        if name not in named:
            raise InvalidArgumentError(f"module lacks {name!r}, which the groups have")
        tensor = named[name].tensor
        for optimizer in optimizers:
            for key, value in optimizer.state.get(tensor, {}).items():
                if not isinstance(value, Tensor) or value.numel() <= 1:
                    continue
                if value.shape != tensor.shape:
                    raise InvalidStateError(
                        f"the optimiser's {key!r} of {name} has shape {tuple(value.shape)}: it "
                        "cannot go along with the parameter's channels")
                found.setdefault(name, []).append(value)
    return found


def optimizers_of(optimizer: Any) -> list[Optimizer]:
    """One or none, as a list."""
    if optimizer is None:
        return []
    if not isinstance(optimizer, Optimizer):
        raise InvalidArgumentError(
            f"optimizer is {type(optimizer).__name__!r}: it must be a torch optimiser")
    return [optimizer]


def _wrong(
    module: nn.Module, items: list[Item], groups: list[PermutationGroup], example_inputs: Any
) -> list[PermutationGroup]:
    """Groups whose channels, put in another order, change the outputs on the example: an error of
    a rule, or an operation that is not what its name says."""
    generator = np.random.default_rng(1)
    orders = {group.index: generator.permutation(group.size) for group in groups}

    def moves(chosen: Sequence[PermutationGroup]) -> dict[str, Any]:
        return orders_of(chosen, [orders[group.index] for group in chosen])

    def copies(chosen: Sequence[PermutationGroup], noisy: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: reordered(noisy[name], move) for name, move in moves(chosen).items()}

    differ = outputs_differ(module, items, example_inputs, copies)
    if not groups or not differ(groups):
        return []
    wrong = [group for group in groups if differ([group])]
    rest = [group for group in groups if group not in wrong]
    return groups if not wrong or differ(rest) else wrong
