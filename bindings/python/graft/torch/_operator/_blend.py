"""The blend on any device with torch's own operations, to the bit what the library computes:
products and sums in float64, in the order of the networks, rounded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ._measure import flat_chunks


@dataclass(frozen=True)
class Row:
    """What one network comes to: a weighted sum of networks.

    Attributes
    ----------
    receiver : int
    terms : tuple of (int, float)
        Networks and their weights, in the order of the networks; they add up to 1.
    """

    receiver: int
    terms: tuple[tuple[int, float], ...]

    @classmethod
    def make(cls, receiver: int, alpha: float, shares: Sequence[tuple[int, float]]) -> Row:
        """alpha of itself, the rest shared among others."""
        weights = {receiver: alpha}
        for network, weight in shares:
            weights[network] = weights.get(network, 0.0) + (1 - alpha) * weight
        return cls(receiver, tuple(sorted(
            (network, weight) for network, weight in weights.items() if weight != 0)))

    @property
    def changes_nothing(self) -> bool:
        return self.terms == ((self.receiver, 1.0),)


def round_share(alpha: float) -> float:
    """Rounded to float32 on the side >= 1/2; the other side is its complement."""
    if alpha >= 0.5:
        return _to_float32(alpha)
    return 1 - _to_float32(1 - alpha)


def _to_float32(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float64).to(torch.float32))


class Tally:
    """How many weights of half precision had another network's to move towards, and how many of
    them in each network stayed what they were, the step being smaller than half a unit in their
    last place."""

    def __init__(self) -> None:
        self.apart = 0
        self.stuck: dict[int, int] = {}

    def add(self, pieces: Sequence[Tensor], row: Row, result: Tensor) -> None:
        own = pieces[row.receiver].to(result.device)
        apart = torch.zeros_like(own, dtype=torch.bool)
        for network, _ in row.terms:
            apart |= pieces[network].to(result.device) != own
        self.apart += int(apart.sum())
        stuck = int((apart & (result == own)).sum())
        self.stuck[row.receiver] = self.stuck.get(row.receiver, 0) + stuck


def mix(
    tensors: Sequence[Tensor], rows: Sequence[Row], targets: Sequence[Tensor],
    tally: Tally | None = None,
) -> None:
    """Compute every row from the state before, and write it to its target.

    Parameters
    ----------
    tensors
        One a network, of one shape and type; each may lie on another device.
    targets
        One a row, of the same shape and type. May be the tensors themselves.
    tally
        Counts what did not move, for types of half precision.
    """
    count = len(tensors)
    half = tensors[0].dtype in (torch.float16, torch.bfloat16)
    for pieces in flat_chunks(*tensors, *targets):
        results = [
            _sum(pieces[:count], row, target.device)
            for row, target in zip(rows, pieces[count:])]
        if half and tally is not None:
            for row, result in zip(rows, results):
                tally.add(pieces[:count], row, result)
        for target, result in zip(pieces[count:], results):
            target.copy_(result)


def _sum(pieces: Sequence[Tensor], row: Row, device: torch.device) -> Tensor:
    values = [pieces[network].to(device) for network, _ in row.terms]
    products = (
        value.to(torch.float64) * weight for value, (_, weight) in zip(values, row.terms))
    total = next(products)
    for product in products:
        total.add_(product)
    kind = values[0].dtype
    if kind == torch.float64:  # products are not exact here: equal weights stay what they are
        same = torch.ones_like(values[0], dtype=torch.bool)
        for value in values[1:]:
            same &= value == values[0]
        return torch.where(same, values[0], total)
    return round_sum(total, kind)


def round_sum(total: Tensor, kind: torch.dtype) -> Tensor:
    """float64 to another type, rounded once."""
    if kind in (torch.float16, torch.bfloat16):
        return _to_odd(total).to(kind)
    return total.to(kind)


def _to_odd(value: Tensor) -> Tensor:
    """float64 to float32, what is inexact to the neighbour with an odd last bit: rounding that
    once more to a half type gives what rounding once would."""
    nearest = value.to(torch.float32)
    bits = nearest.view(torch.int32)
    back = nearest.to(torch.float64)
    away = (back.abs() > value.abs()).to(torch.int32)
    inexact = (back != value).to(torch.int32)
    return ((bits - away) | inexact).view(torch.float32)
