"""Which channels of two networks of different width belong together.

Weight matching between networks of unequal width: a rectangular assignment for each two groups of
channels that belong together, so that each channel of the narrower one has a partner, found by
coordinate descent. It makes the squared distance between the paired weights least, and not the
inner product greatest, as between networks of one width: there the two are the same, but where
channels remain without a partner the inner product would prefer the large ones.

As in `_matching`, the descent starts from what cannot move inwards: the first assignment of groups
looks only at weights whose other axes are paired already. A network that is a part of another is
found so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .._alignment._assignment import solver
from ._links import Channels, Groups, Link


@dataclass(frozen=True)
class Evidence:
    """Two parameters whose channels should be alike, and the links of their axes."""

    mine: Tensor
    theirs: Tensor
    links: tuple[Link, ...]

    def groups(self) -> set[Groups]:
        """All that lie along an axis."""
        return {groups for link in self.links for groups, _, _ in link.parts}


def by_position(mine: int, theirs: int) -> Channels:
    """The first with the first, as far as both go."""
    places = np.arange(min(mine, theirs))
    return places, places


class FilterPairs:
    """Pairs channels of two networks.

    Parameters
    ----------
    sizes
        For each two groups how many channels each has.
    evidence
    given
        Pairs that are known beforehand.
    """

    def __init__(
        self, sizes: Mapping[Groups, tuple[int, int]], evidence: Sequence[Evidence],
        given: Mapping[Groups, Channels],
    ) -> None:
        self._sizes = sizes
        self._pairs = dict(given)
        self._open = [groups for groups in sizes if groups not in given]
        self._solve = solver() if self._open else None
        self._evidence: dict[Groups, list[Evidence]] = {groups: [] for groups in self._open}
        for one in evidence:
            for groups in one.groups():
                if groups in self._evidence:
                    self._evidence[groups].append(one)

    def run(self, passes: int = 100, tolerance: float = 1e-4) -> dict[Groups, Channels]:
        """The pairs, after the first sweep and at most `passes` passes of the descent, which ends
        after one that made the distances less by no more than this share of them."""
        left = list(self._open)
        while left:
            groups = max(left, key=lambda one: (self._known(one), -left.index(one)))
            left.remove(groups)
            self._pairs[groups] = self._best(self._costs(groups))
        for _ in range(passes):
            steps = [self._improve(groups) for groups in self._open]
            if sum(gain for gain, _ in steps) <= tolerance * sum(cost for _, cost in steps):
                break
        return self._pairs

    def _improve(self, groups: Groups) -> tuple[float, float]:
        """Matches two groups again; the gain, and the cost before."""
        before, cost = self._pairs[groups], self._cost(groups)
        self._pairs[groups] = self._best(self._costs(groups))
        gain = cost - self._cost(groups)
        if gain > 1e-9 * cost:
            return gain, cost
        self._pairs[groups] = before
        return 0.0, cost

    def _best(self, costs: np.ndarray) -> Channels:
        assert self._solve is not None
        mine, theirs = self._solve(-costs)
        return np.asarray(mine), np.asarray(theirs)

    def _costs(self, groups: Groups) -> np.ndarray:
        """(channels, channels): squared distances, over what is paired along the other axes."""
        total = torch.zeros(self._sizes[groups], dtype=torch.float64)
        for one in self._evidence[groups]:
            for axis, link in enumerate(one.links):
                for own, place, other in link.parts:
                    if own == groups:
                        a, b = self._blocks(one, axis)
                        a = _channels(a, axis, place.places)
                        b = _channels(b, axis, other.places)
                        total += (a * a).sum(1)[:, None] + (b * b).sum(1)[None, :]
                        total.addmm_(a, b.T, alpha=-2)
        return total.numpy()

    def _cost(self, groups: Groups) -> float:
        """The squared distance of all weights that the pairs of `groups` are about."""
        total = 0.0
        for one in self._evidence[groups]:
            a, b = self._blocks(one)
            total += float(((a - b) ** 2).sum())
        return total

    def _blocks(self, one: Evidence, without: int | None = None) -> tuple[Tensor, Tensor]:
        """What of both tensors is paired; the whole of it along one of the axes."""
        mine, theirs = one.mine, one.theirs
        for axis, link in enumerate(one.links):
            if axis != without:
                own, given = link.places(self._pairs)
                mine = mine.index_select(axis, torch.from_numpy(own))
                theirs = theirs.index_select(axis, torch.from_numpy(given))
        return mine, theirs

    def _known(self, groups: Groups) -> float:
        """The share of the evidence for two groups that is paired along its other axes."""
        known = total = 0.0
        for one in self._evidence[groups]:
            for axis, link in enumerate(one.links):
                if any(own == groups for own, _, _ in link.parts):
                    size = share = 1.0
                    for other, length in enumerate(one.mine.shape):
                        if other != axis and length:
                            places = len(one.links[other].places(self._pairs)[0])
                            share *= places / min(length, one.theirs.shape[other])
                        size *= length
                    total += size
                    known += size * share
        return known / total if total else 0.0


def _channels(tensor: Tensor, axis: int, places: np.ndarray) -> Tensor:
    part = tensor.index_select(axis, torch.from_numpy(places.reshape(-1)))
    return part.movedim(axis, 0).reshape(len(places), -1)
