"""How the axes of a tensor lie to those of a tensor in another network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ._anatomy import Axis
from .._alignment._permutations import Member

#: A group of channels in one network and one in the other.
Groups = tuple[int, int]
#: Channels of the one and, in the same order, those of the other that they are paired with.
Channels = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Link:
    """An axis and its counterpart.

    Attributes
    ----------
    fixed : tuple of two numpy.ndarray
        Places that belong together whatever the channels do.
    parts : tuple of (Groups, Member, Member)
        Groups that belong together, and where they lie.
    """

    fixed: Channels
    parts: tuple[tuple[Groups, Member, Member], ...]

    def places(self, pairs: Mapping[Groups, Channels]) -> Channels:
        """Places along both axes that belong together, where the channels' pairs are known."""
        mine, theirs = [self.fixed[0]], [self.fixed[1]]
        for groups, one, other in self.parts:
            if groups in pairs:
                own, given = pairs[groups]
                mine.append(one.places[own].reshape(-1))
                theirs.append(other.places[given].reshape(-1))
        return np.concatenate(mine), np.concatenate(theirs)


def obstacle(
    mine: Sequence[Axis], theirs: Sequence[Axis], filter_axis: int | None = None
) -> str | None:
    """Why two tensors cannot be blended even in part; None where they can. For a weight, along
    which dimension its filters lie."""
    if len(mine) != len(theirs):
        return f"has {len(mine)} dimensions, and the other {len(theirs)}"
    for d, (one, other) in enumerate(zip(mine, theirs)):
        apart = f"along dimension {d} it has {one.length}, and the other {other.length}"
        if (one.within or other.within) and one.length != other.length:
            return f"{apart}, of a grouped convolution"
        if not one.parts and not other.parts and one.length != other.length:
            return f"{apart}, which cannot be paired: inputs, outputs or kernels"
        if bool(one.parts) != bool(other.parts):
            return f"along dimension {d} channels can be paired in one of the networks only"
        if d == filter_axis and len(one.parts) != len(other.parts):
            return (f"along dimension {d} filters are in {len(one.parts)} groups, and in the other "
                    f"in {len(other.parts)}")
        if len(one.parts) == len(other.parts) == 1 and _many(one) != _many(other):
            return (f"along dimension {d} a channel has {_many(one)} features, and in the other "
                    f"{_many(other)}")
    return None


def sort_of(axes: Iterable[Axis]) -> tuple[object, ...]:
    """Equal for tensors to which `obstacle` says the same."""
    return tuple(
        (axis.length if axis.within or not axis.parts else 0, axis.within, len(axis.parts),
         _many(axis) if len(axis.parts) == 1 else 0) for axis in axes)


def _many(axis: Axis) -> int:
    return axis.parts[0][1].places.shape[1]


def related(mine: Axis, theirs: Axis) -> list[Groups]:
    """Groups of filters of two layers that belong together."""
    if len(mine.parts) != len(theirs.parts):
        return []
    return [(one, other) for (one, _), (other, _) in zip(mine.parts, theirs.parts)]


def link(mine: Axis, theirs: Axis, known: set[Groups]) -> Link:
    """The link of two axes.

    Parameters
    ----------
    known
        Groups that belong together because filters of paired layers lie along them: where several
        lie along an axis (a concatenation), they say which is which.
    """
    fixed = mine.fixed, theirs.fixed
    if len(fixed[0]) != len(fixed[1]):
        fixed = fixed[0][:0], fixed[1][:0]
    left = list(theirs.parts)
    found = []
    alone = len(mine.parts) == len(theirs.parts) == 1
    for one, place in mine.parts:
        for part in left:
            same = place.places.shape[1] == part[1].places.shape[1]
            if same and (alone or (one, part[0]) in known):
                found.append(((one, part[0]), place, part[1]))
                left.remove(part)
                break
    if not found and len(mine.parts) == len(theirs.parts):
        found = [
            ((one, other), place, counterpart)
            for (one, place), (other, counterpart) in zip(mine.parts, theirs.parts)
            if place.places.shape[1] == counterpart.places.shape[1]]
    return Link(fixed, tuple(found))
