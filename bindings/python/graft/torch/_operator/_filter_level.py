"""A coefficient for each filter from its batch-norm scale, on any device; to the bit what the
library computes.

alpha_j = |g_j own| / (|g_j own| + |g_j other|), 1/2 where both are 0, g as before the graft: for
entry j of the batch norm, for filter j and its bias, and for input channel j of what comes next. A
weight that has both takes their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..._errors import ShapeMismatchError
from ..._plan import Plan, PlanEntry
from ._blend import Row, Tally, round_sum
from ._measure import chunk, in_order


@dataclass(frozen=True)
class _Place:
    """Indices of a tensor's scales; for its inputs also how many equal parts each channel has, and
    in how many groups the filters read them."""

    filter: int | None
    input: int | None
    parts: int = 1
    groups: int = 1

    @property
    def first(self) -> int:
        return self.filter if self.filter is not None else self.input or 0


class FilterCoefficients:
    """Coefficients of single filters, from the state before the graft.

    Parameters
    ----------
    networks
        Each network's tensors, in the order of the plan.
    given
        For each network those that it receives from, and their shares.
    """

    def __init__(
        self, plan: Plan, networks: Sequence[Sequence[Tensor]],
        given: Sequence[Sequence[tuple[int, float]]],
    ) -> None:
        self._names = {entry.name: entry.index for entry in plan}
        self._left = {entry.index for entry in plan if entry.role == "leave"}
        self._shares = given
        self._alphas: dict[int, list[Tensor]] = {}
        self._places: dict[int, _Place] = {}
        for entry in plan:
            place = self._place(entry, networks[0])
            if place is not None:
                self._places[entry.index] = place
                for index in (place.filter, place.input):
                    if index is not None and index not in self._alphas:
                        self._alphas[index] = self._of([one[index] for one in networks])

    def _place(self, entry: PlanEntry, tensors: Sequence[Tensor]) -> _Place | None:
        """Which scales a tensor has."""
        tensor = tensors[entry.index]
        if entry.role == "leave" or tensor.dim() == 0 or tensor.numel() == 0:
            return None
        axis = entry.filter_axis
        filters = tensor.shape[axis]
        own = read = None
        if entry.scale is not None:
            own = self._names[entry.scale]
            if self._size(own, tensors) != filters:
                self._refuse(f"{entry.name} has {filters} filters", entry.scale, tensors)
        if entry.input_scale is None or tensor.dim() < 2:
            return None if own is None else _Place(own, None)
        read = self._names[entry.input_scale]
        inputs, channels = tensor.shape[1 - axis], self._size(read, tensors)
        if channels and inputs % channels == 0:
            return _Place(own, read, inputs // channels)
        if channels % inputs == 0 and channels and filters % (channels // inputs) == 0:
            return _Place(own, read, 1, channels // inputs)
        self._refuse(f"{entry.name} has {inputs} input channels", entry.input_scale, tensors)
        return None

    def _size(self, index: int, tensors: Sequence[Tensor]) -> int:
        return 0 if index in self._left else tensors[index].numel()

    def _refuse(self, what: str, scale: str, tensors: Sequence[Tensor]) -> None:
        size = self._size(self._names[scale], tensors)
        raise ShapeMismatchError(f"{what}, and its scales ({scale}) are {size}")

    def _of(self, scales: Sequence[Tensor]) -> list[Tensor]:
        sizes = [one.detach().abs().to(torch.float64) for one in scales]
        found = []
        for own, given in zip(sizes, self._shares):
            other = torch.zeros_like(own)
            for network, weight in given:
                other += weight * sizes[network].to(own.device)
            total = own / 2 + other / 2
            larger = torch.maximum(own, other) / 2 / total
            larger = torch.where(total > 0, larger, 0.5).to(torch.float32).to(torch.float64)
            found.append(torch.where(own >= other, larger, 1 - larger))
        return found

    def has(self, index: int) -> bool:
        """Whether a tensor has any scales."""
        return index in self._places

    def mean(self, index: int, network: int) -> float:
        """Of a layer's coefficients, for the report."""
        if index not in self._places:
            return 0.5
        alphas = self._alphas[self._places[index].first][network].tolist()
        return in_order(alphas) / max(len(alphas), 1)

    def rows(self) -> list[Row]:
        """What each network receives of others."""
        return [
            Row(k, tuple(sorted((network, weight) for network, weight in given if weight != 0)))
            for k, given in enumerate(self._shares)]

    def _shaped(self, entry: PlanEntry, network: int, shape: Sequence[int]) -> Tensor:
        """The coefficients of one network's tensor, as they broadcast against it."""
        place, axis = self._places[entry.index], entry.filter_axis
        found: list[Tensor] = []
        if place.filter is not None:
            found.append(_along(self._alphas[place.filter][network], axis, len(shape)))
        if place.input is not None:
            read = self._alphas[place.input][network].repeat_interleave(place.parts)
            if place.groups > 1:  # each group's filters read channels of its own
                read = read.reshape(place.groups, -1).repeat_interleave(
                    shape[axis] // place.groups, 0)
                read = read if axis == 0 else read.T
                found.append(read.reshape(*read.shape, *(1,) * (len(shape) - 2)))
            else:
                found.append(_along(read, 1 - axis, len(shape)))
        return found[0] if len(found) == 1 else (found[0] + found[1]) / 2

    def mix(
        self, entry: PlanEntry, tensors: Sequence[Tensor], rows: Sequence[Row],
        targets: Sequence[Tensor], tally: Tally,
    ) -> None:
        """As `_blend.mix`, filter by filter."""
        axis = entry.filter_axis
        alphas = [self._shaped(entry, row.receiver, tensors[0].shape) for row in rows]
        filters = tensors[0].shape[axis]
        group = max(1, chunk(tensors[0]) * filters // tensors[0].numel())
        half = tensors[0].dtype in (torch.float16, torch.bfloat16)
        for first in range(0, filters, group):
            count = min(group, filters - first)
            pieces = [one.narrow(axis, first, count) for one in tensors]
            results = []
            for row, alpha in zip(rows, alphas):
                if alpha.shape[axis] > 1:
                    alpha = alpha.narrow(axis, first, count)
                results.append(_blended(pieces, row, alpha))
                if half:
                    tally.add(pieces, row, results[-1])
            for target, result in zip(targets, results):
                target.narrow(axis, first, count).copy_(result)


def _along(values: Tensor, axis: int, rank: int) -> Tensor:
    return values.reshape([-1 if d == axis else 1 for d in range(rank)])


def _blended(pieces: Sequence[Tensor], row: Row, alpha: Tensor) -> Tensor:
    own = pieces[row.receiver]
    others = torch.zeros(own.shape, dtype=torch.float64, device=own.device)
    same = torch.ones_like(own, dtype=torch.bool)
    for network, weight in row.terms:
        other = pieces[network].to(own.device)
        others += other.to(torch.float64) * weight
        same &= other == own
    alpha = alpha.to(own.device)
    total = own.to(torch.float64)
    total = torch.where(same, total, alpha * total + (1 - alpha) * others)
    return round_sum(total, own.dtype)
