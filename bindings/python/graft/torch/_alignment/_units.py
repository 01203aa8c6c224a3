"""Units: what may only move together when a network's channels are put in another order.

Every index along every axis of a parameter starts as a unit of its own. A forward pass ties units
that have to move together (`unite`), and tells apart those that play different parts (`mark`). What
is left is a partition: classes of units, and colours of classes; classes of one colour may change
places, and nothing else may move.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import torch
from torch import Tensor

#: Labels that are no units: an element that must not move, and one that is the same everywhere
#: (padding with zeros), which lets every other do as it likes.
PINNED, FREE = 0, -1


def varying(labels: Tensor) -> tuple[int, ...]:
    """The dimensions along which labels differ (those of size 1 are the same everywhere)."""
    return tuple(d for d, size in enumerate(labels.shape) if size > 1)


class Units:
    """The partition, as far as it is known. Labels are int64 tensors of units."""

    def __init__(self) -> None:
        self._count = 1
        self._parent = np.zeros(1024, np.int64)
        self._colour = np.zeros(1024, np.uint64)
        self._why = np.zeros(1024, np.int32)
        self._reasons: list[str] = [""]
        self._random = np.random.default_rng(0)

    def fresh(self, count: int) -> Tensor:
        """`count` new units of one colour."""
        first, self._count = self._count, self._count + count
        while self._count > len(self._parent):
            self._parent, self._colour, self._why = (
                np.concatenate([one, np.zeros_like(one)])
                for one in (self._parent, self._colour, self._why))
        made = np.arange(first, first + count)
        self._parent[made] = made
        self._colour[made] = self._draw()
        return torch.from_numpy(made)

    def find(self, labels: Tensor) -> Tensor:
        """Each unit's class, by the number of one of its units."""
        free = labels < 0
        found = torch.from_numpy(self._roots(labels.clamp(min=0).numpy()))
        return torch.where(free, labels, found)

    def _roots(self, units: np.ndarray) -> np.ndarray:
        while True:
            up = self._parent[units]
            if np.array_equal(up, units):
                return units
            self._parent[units] = self._parent[up]
            units = up

    def unite(self, first: Tensor, second: Tensor) -> None:
        """Ties units, elementwise; what is free ties nothing."""
        first, second = torch.broadcast_tensors(first, second)
        both = (first >= 0) & (second >= 0)
        a, b = first[both].numpy(), second[both].numpy()
        while a.size:
            a, b = self._roots(a), self._roots(b)
            apart = a != b
            a, b = a[apart], b[apart]
            # Of several that would become the parent of one, the last wins; the rest come again.
            self._parent[np.maximum(a, b)] = np.minimum(a, b)

    def pin(self, labels: Tensor, reason: str) -> None:
        """These stay where they are."""
        roots = self._roots(np.arange(self._count))
        classes = np.unique(roots[labels.clamp(min=PINNED).numpy()])
        self._explain(np.flatnonzero(np.isin(roots, classes[classes != PINNED])), reason)
        self.unite(labels, torch.tensor(PINNED))

    def mark(self, labels: Tensor, dims: Collection[int] = (), reason: str = "") -> None:
        """Units that stand at other places along `dims`, or more often, play other parts."""
        key = np.full((1,) * labels.dim(), self._draw(), np.uint64)
        for d in dims:
            shape = [1] * labels.dim()
            shape[d] = labels.shape[d]
            key = _stirred(key + self._draw(labels.shape[d]).reshape(shape))
        units = labels.numpy()
        if any(labels.shape[d] > 1 for d in dims):
            self._explain(units[units > 0], reason)
        key = np.broadcast_to(_stirred(key), units.shape)
        np.add.at(self._colour, units[units > 0], key[units > 0])

    def _explain(self, units: np.ndarray, reason: str) -> None:
        if reason not in self._reasons:
            self._reasons.append(reason)
        self._why[units] = np.where(
            self._why[units] == 0, self._reasons.index(reason), self._why[units])

    def _draw(self, count: int | None = None) -> np.ndarray:
        return self._random.integers(0, 2**64, count, np.uint64)

    def settle(self) -> tuple[np.ndarray, np.ndarray]:
        """The class of every unit, and the colour of every class (by the class's number)."""
        roots = self._roots(np.arange(self._count))
        colours = np.zeros(len(roots), np.uint64)
        np.add.at(colours, roots, _stirred(self._colour[:self._count]))
        for unit in np.flatnonzero(self._why[:self._count]):  # a class stays for its units' reasons
            if roots[unit] != PINNED:
                self._why[roots[unit]] = self._why[unit]
        return roots, colours

    def reason(self, units: Iterable[int]) -> str:
        """Why some of these units or classes may not move; "" where nothing was said."""
        return next((self._reasons[self._why[unit]] for unit in units if self._why[unit]), "")


def _stirred(keys: np.ndarray) -> np.ndarray:
    """Bits well mixed (splitmix64), so that sums of keys tell sets apart."""
    with np.errstate(over="ignore"):
        keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
