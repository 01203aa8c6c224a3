"""Which layers of two networks of different structure belong together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from torch import nn

from ..._text import joined
from ._anatomy import Anatomy, Weight
from ._links import obstacle, sort_of


class LayerPairs(dict[str, str]):
    """Layers of a network, and for each the layer of another network that it may receive from.

    A dict of the weights' names that prints as a table, and can be edited: change a value, add a
    pair, or take one out. Made by `graft.torch.pair_layers`.

    Attributes
    ----------
    target, source
        What is known of the two networks.
    """

    def __init__(self, pairs: Mapping[str, str], target: Anatomy, source: Anatomy) -> None:
        super().__init__(pairs)
        self.target = target
        self.source = source

    def table(self) -> str:
        """As text: a line a weight of either network, in the order of use."""
        rows = [("target", "", "source", "", "map")]
        left = list(self.source.weights)
        for name, weight in self.target.weights.items():
            other = self.get(name)
            if other in left:
                while left[0] != other:
                    rows.append(("", "", *_described(self.source, left.pop(0)), ""))
                left.pop(0)
            size = weight.kind[-1]
            rows.append((
                *_described(self.target, name),
                *(("", "") if other is None else _described(self.source, other)),
                "x".join(map(str, size)) if size else ""))
        rows += [("", "", *_described(self.source, name), "") for name in left]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in rows]
        notes = [f"target: {note}" for note in self.target.notes]
        return joined([*lines, *notes, *(f"source: {note}" for note in self.source.notes)])

    __str__ = table


def _described(anatomy: Anatomy, name: str) -> tuple[str, str]:
    shape = tuple(axis.length for axis in anatomy.axes[name]) if name in anatomy.axes else ()
    return name, "x".join(map(str, shape))


def pair_layers(
    target: nn.Module, source: nn.Module, example_inputs: Any, *, frozen: str = "keep"
) -> LayerPairs:
    """Find out which layers of two networks of different depth or width belong together.

    Layers are those whose kind, kernel and grouping are alike and that make maps of the same size
    on `example_inputs`; of these the longest common subsequence in the order in which a forward
    pass uses them, in which a pair counts for more (up to twice) where both have the same part: in
    a residual block, by their stride, and as the first that makes maps of its size. Of several
    such, the one with the fewest gaps; then the one whose pairs lie at the most alike depth within
    their stage. Names say nothing.

    Parameters
    ----------
    target
        The network that is to receive. Nothing about it changes.
    source
        The one that is to give. Nothing about it changes.
    example_inputs
        Input that both take: a tensor, a tuple of arguments, or a dict of keyword arguments; one
        or two samples do.
    frozen
        "keep" leaves parameters of `target` without `requires_grad` alone, "graft" grafts them.

    Returns
    -------
    LayerPairs
    """
    return inferred(
        Anatomy(target, example_inputs, "target", frozen),
        Anatomy(source, example_inputs, "source"))


def inferred(target: Anatomy, source: Anatomy) -> LayerPairs:
    """The pairs that the structures give."""
    mine, theirs = list(target.weights.values()), list(source.weights.values())
    known: dict[Any, int] = {}

    def sort(anatomy: Anatomy, weight: Weight) -> Any:
        return weight.kind, weight.roles, sort_of(anatomy.axes[weight.name])

    sorts = [sort(target, one) for one in mine], [sort(source, one) for one in theirs]

    def worth(i: int, j: int) -> int:
        one, other = mine[i], theirs[j]
        if one.kind != other.kind:
            return 0
        key = sorts[0][i], sorts[1][j]
        if key not in known:
            fits = obstacle(
                target.axes[one.name], source.axes[other.name],
                target.filter_axis[one.name]) is None
            known[key] = fits * (4 + sum(a == b for a, b in zip(one.roles, other.roles)))
        return known[key]

    pairs = common_subsequence(
        (_depths(mine), _depths(theirs)), (_joints(target), _joints(source)), worth)
    return LayerPairs({mine[i].name: theirs[j].name for i, j in pairs}, target, source)


def _depths(weights: Sequence[Weight]) -> list[float]:
    """How far along each lies among those that make maps of its size, 0 to 1."""
    stages: dict[Any, list[int]] = {}
    for i, weight in enumerate(weights):
        stages.setdefault(weight.kind[-1], []).append(i)
    depths = [0.0] * len(weights)
    for members in stages.values():
        for place, i in enumerate(members):
            depths[i] = place / max(len(members) - 1, 1)
    return depths


def _joints(anatomy: Anatomy) -> list[bool]:
    """Whether each weight reads channels that the one right before it makes, and no others but
    those right before that: the inside of a residual block, all of a plain network. What gates
    channels (a squeeze to a single place, with larger maps behind it) belongs to what it gates."""
    names = list(anatomy.weights)
    single = [
        size is not None and prod(size) == 1
        for size in (weight.kind[-1] for weight in anatomy.weights.values())]
    gates = {name for k, name in enumerate(names) if single[k] and not all(single[k:])}
    places = {name: k for k, name in enumerate(one for one in names if one not in gates)}
    found = []
    for name in names:
        if name in gates:
            found.append(True)
            continue
        place = places[name]
        groups = anatomy.read(name)
        joint = bool(groups)
        for index in groups:
            before = sorted(
                places[one] for one in anatomy.writers.get(index, ())
                if one in places and one != name)
            joint &= bool(before) and before == list(range(place - len(before), place))
        found.append(joint)
    return [*found, False]


def common_subsequence(
    depths: tuple[Sequence[float], Sequence[float]],
    joints: tuple[Sequence[bool], Sequence[bool]],
    worth: Callable[[int, int], int],
) -> list[tuple[int, int]]:
    """The common subsequence of most worth; of several the one with fewest gaps, where one that
    begins or ends in a joint counts for more; of those the one whose pairs' depths differ least.

    Parameters
    ----------
    depths
        Of the members of both sequences.
    joints
        For every member of both, and the end: whether a gap should not begin or end before it.
    worth
        Of a pair of places; 0 where they may not be paired.
    """
    n, m = len(depths[0]), len(depths[1])
    whole, gap = 1 << 60, 1 << 36  # three goals in one whole number
    none = -(1 << 90)
    # From the end: the best of mine[i:] and theirs[j:] right behind a pair, and in a gap.
    behind = [[0] * (m + 1) for _ in range(n + 1)]
    within = [[0] * (m + 1) for _ in range(n + 1)]

    def choices(i: int, j: int) -> tuple[int, int, int, int]:
        """Of opening a gap, going on in it, pairing behind a pair, and pairing after a gap."""
        skip = max(within[i + 1][j] if i < n else none, within[i][j + 1] if j < m else none)
        take = none
        value = worth(i, j) if i < n and j < m else 0
        if value:
            apart = round((1 << 20) * abs(depths[0][i] - depths[1][j]))
            take = value * whole - apart + behind[i + 1][j + 1]
        cut = gap * (joints[0][i] + joints[1][j])
        return skip - gap - cut, skip, take, take - cut

    for i in range(n, -1, -1):
        for j in range(m, -1, -1):
            if i < n or j < m:
                opened, skip, take, closed = choices(i, j)
                behind[i][j], within[i][j] = max(take, opened), max(closed, skip)
    found = []
    i = j = 0
    inside = False
    while i < n or j < m:
        opened, skip, take, closed = choices(i, j)
        if (closed >= skip) if inside else (take >= opened):
            found.append((i, j))
            i, j, inside = i + 1, j + 1, False
        else:
            inside = True
            if i < n and within[i + 1][j] == skip:
                i += 1
            else:
                j += 1
    return found
