"""Weight matching: which of a network's channels are which of another's.

As in Git Re-Basin (Ainsworth, Hayase, Srinivasa, arXiv 2209.04836, algorithm 1): channels are put
in the order that makes the inner product of both networks' weights greatest (and so their distance
least), a group at a time, each by a linear assignment, until no group gains any more. Every step
makes the inner product greater, or is not taken.

Here the descent starts from a sweep that the paper does not have: groups are matched in the order
in which evidence for them becomes known, from what cannot move (input channels, classes) inwards,
and a group's first assignment looks only at weights whose other axes are matched already. In a
network that is a permuted copy each of these assignments has one best solution, so it is found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ._assignment import solver
from ._permutations import Member, PermutationGroup


@dataclass(frozen=True)
class Found:
    """A matching.

    Attributes
    ----------
    permutations : list of numpy.ndarray
        For each group the order to put the network's channels in.
    objectives : list of float
        The inner product of the weights before, after the first sweep where that is better, and
        after every pass; never less than the one before.
    sizes : tuple of float
        The two networks' norms: the inner product over their product is the cosine between them.
    """

    permutations: list[np.ndarray]
    objectives: list[float]
    sizes: tuple[float, float]


@dataclass
class _Pair:
    """A parameter in both networks, as float32 within 1, and what it was divided by."""

    reference: Tensor
    own: Tensor
    scale: float
    settled: list[Tensor]  # by axis: where the order is known


class Matching:
    """Matches one network's groups of channels to another's.

    Parameters
    ----------
    groups
    reference, own
        Parameters by name, finite, of the same shapes; all that the groups have. Not written to.
    """

    def __init__(
        self, groups: Sequence[PermutationGroup], reference: Mapping[str, Tensor],
        own: Mapping[str, Tensor], seed: int = 0,
    ) -> None:
        self._groups = list(groups)
        self._solve = solver()
        self._random = np.random.default_rng(seed)
        self._start = own
        self._reference = reference
        self._members = [
            [one for one in group.members if one.tensor in own] for group in groups]
        self._users: dict[str, set[int]] = {}
        for index, members in enumerate(self._members):
            for member in members:
                self._users.setdefault(member.tensor, set()).add(index)
        self._pairs: dict[str, _Pair] = {}
        self._total = [np.arange(group.size) for group in groups]

    # ---- the descent -----------------------------------------------------------------------------

    def run(self, passes: int, tolerance: float = 0.0) -> Found:
        """At most `passes` over all groups; fewer where one has gained no more than this share."""
        self._load()
        before = self._objective()
        objectives = [before]
        self._sweep()
        if self._objective() > before:
            objectives.append(self._objective())
        else:  # they are in order already, or nearly so
            self._load()
        stale = set(range(len(self._groups)))
        for _ in range(passes):
            if not self._pass(stale):
                break
            objectives.append(max(self._objective(), objectives[-1]))
            if objectives[-1] - objectives[-2] <= tolerance * abs(objectives[-1]):
                break
        sizes = tuple(
            math.sqrt(math.fsum(
                float(one[name].double().square().sum()) for name in self._pairs))
            for one in (self._reference, self._start))
        return Found(self._total, objectives, (sizes[0], sizes[1]))

    def _load(self) -> None:
        self._total = [np.arange(group.size) for group in self._groups]
        for name in self._users:
            first, second = self._reference[name], self._start[name]
            a, b = _within_one(first.to(second.device)), _within_one(second)
            self._pairs[name] = _Pair(a[0], b[0], a[1] * b[1], [
                torch.ones([size if d == axis else 1 for d in range(second.dim())])
                for axis, size in enumerate(second.shape)])

    def _objective(self, tensors: Iterable[str] | None = None) -> float:
        pairs = (self._pairs[name] for name in (self._pairs if tensors is None else tensors))
        return math.fsum(
            pair.scale * float((pair.reference * pair.own).sum(dtype=torch.float64))
            for pair in pairs)

    def _pass(self, stale: set[int]) -> bool:
        """Matches every group again whose weights have changed since; whether any gained."""
        gained = False
        for index in self._random.permutation(len(self._groups)).tolist():
            if index not in stale:
                continue
            stale.discard(index)
            gains = self._gains(index)
            order = self._best(gains)
            places = np.arange(len(order))
            gain = (gains[places, order] - gains[places, places]).sum()
            # float32 products are not exact: a gain within their error is none.
            if gain <= 1e-6 * np.abs(gains[places, order]).sum():
                continue
            if not self._reorder(index, order, only_if_better=self._meets_itself(index)):
                continue
            gained = True
            for member in self._members[index]:
                stale |= self._users[member.tensor]
            if not self._meets_itself(index):
                stale.discard(index)
        return gained

    def _meets_itself(self, index: int) -> bool:
        """Whether two axes of one weight are this group's: then what its assignment promises holds
        only while the other axis stays."""
        seen: dict[str, int] = {}
        return any(
            seen.setdefault(one.tensor, one.axis) != one.axis for one in self._members[index])

    def _best(self, gains: np.ndarray) -> np.ndarray:
        return self._solve(gains)[1]

    def _gains(self, index: int, settled: bool = False) -> np.ndarray:
        """What each of the network's channels (columns) is worth in each place (rows).

        Parameters
        ----------
        settled
            Only by weights whose other axes are in order already.
        """
        size = self._groups[index].size
        members = [(one, self._pairs[one.tensor]) for one in self._members[index]]
        if not members:
            return np.zeros((size, size))
        scale = max(pair.scale for _, pair in members)
        total = torch.zeros(size, size, device=members[0][1].own.device)
        for member, pair in members:
            a, b = (_channels(one, member) for one in (pair.reference, pair.own))
            if settled:
                for axis, mask in enumerate(pair.settled):
                    if axis != member.axis and not bool(mask.all()):
                        a = a * _channels(mask.to(a.device), member)
            a, b = a.reshape(size, -1).to(total.device), b.reshape(size, -1)
            total.addmm_(a, b.to(total.device).T, alpha=pair.scale / scale)
        return total.cpu().numpy().astype(np.float64) * scale

    def _reorder(self, index: int, order: np.ndarray, only_if_better: bool = False) -> bool:
        tensors = {member.tensor for member in self._members[index]}
        before = self._objective(tensors) if only_if_better else 0.0
        self._move(index, order)
        if only_if_better and self._objective(tensors) <= before:
            self._move(index, np.argsort(order))
            return False
        self._total[index] = self._total[index][order]
        return True

    def _move(self, index: int, order: np.ndarray) -> None:
        moving = np.flatnonzero(order != np.arange(len(order)))
        for member in self._members[index]:
            own = self._pairs[member.tensor].own
            part = own if member.rows is None else own.narrow(0, *member.rows)
            to, source = (
                torch.from_numpy(member.places[chosen].reshape(-1)).to(own.device)
                for chosen in (moving, order[moving]))
            part.index_copy_(member.axis, to, part.index_select(member.axis, source))

    # ---- the first sweep -------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Matches each group once, those first for which most is known."""
        for index in range(len(self._groups)):
            self._settle(index, 0.0)
        known = {index: self._known(index) for index in range(len(self._groups))}
        while known:
            index = max(known, key=lambda one: (known[one], -one))
            del known[index]
            self._reorder(index, self._best(self._gains(index, settled=True)))
            self._settle(index, 1.0)
            for member in self._members[index]:
                for other in self._users[member.tensor] & known.keys():
                    known[other] = self._known(other)

    def _settle(self, index: int, value: float) -> None:
        for member in self._members[index]:
            pair = self._pairs[member.tensor]
            mask = pair.settled[member.axis]
            if member.rows is not None and mask.shape[0] == 1:
                mask = mask.repeat(pair.own.shape[0], *(1,) * (mask.dim() - 1))
                pair.settled[member.axis] = mask
            part = mask if member.rows is None else mask.narrow(0, *member.rows)
            part.index_fill_(
                member.axis, torch.from_numpy(member.places.reshape(-1)), value)

    def _known(self, index: int) -> float:
        """The share of a group's weights whose other axes are in order already."""
        known = total = 0.0
        for member in self._members[index]:
            pair = self._pairs[member.tensor]
            size = pair.own.numel() * member.places.size / pair.own.shape[member.axis]
            share = 1.0
            for axis, mask in enumerate(pair.settled):
                if axis != member.axis:
                    rows = member.rows is not None and mask.shape[0] > 1
                    part = mask.narrow(0, *member.rows) if rows and member.rows else mask
                    share *= float(part.mean())
            total += size
            known += size * share
        return known / total if total else 0.0


def _channels(tensor: Tensor, member: Member) -> Tensor:
    """A group's channels along dimension 0, place by place, or what broadcasts against them."""
    rows = member.rows if tensor.shape[0] > 1 else None
    part = tensor if rows is None else tensor.narrow(0, *rows)
    places = member.places.reshape(-1)
    if part.shape[member.axis] > 1 and not (
            len(places) == part.shape[member.axis]
            and np.array_equal(places, np.arange(len(places)))):
        part = part.index_select(member.axis, torch.from_numpy(places).to(part.device))
    return part.movedim(member.axis, 0)


def _within_one(tensor: Tensor) -> tuple[Tensor, float]:
    """As float32 with no number above 1, and the factor: products neither overflow nor vanish."""
    scale = float(tensor.abs().max()) if tensor.numel() else 0.0
    if scale == 0:
        return tensor.detach().to(torch.float32, copy=True), 1.0
    return (tensor.detach().double() / scale).to(torch.float32), scale
