"""What a graft between networks of different structure did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..._text import joined


@dataclass(frozen=True)
class PairedLayer:
    """A layer that was blended with one of another network.

    Attributes
    ----------
    target, source : str
        The weights' names.
    alpha : float
        The share of its own weights that the target's layer kept, where filters were paired.
    filters : numpy.ndarray
        (pairs, 2): filters of the target and those of the source that they were blended with.
    target_filters, source_filters : int
        How many there are.
    blended : float
        The share of the target's weights that have a partner, 0 to 1.
    target_entropy, source_entropy, entropy_after : float
        In nats, of the whole layers, before, and of the target's after.
    with_it : tuple of (str, str)
        What else was blended with it: the target's tensors and the source's.
    """

    target: str
    source: str
    alpha: float
    filters: np.ndarray
    target_filters: int
    source_filters: int
    blended: float
    target_entropy: float
    source_entropy: float
    entropy_after: float
    with_it: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Untouched:
    """A tensor of the target that stays as it was, and why."""

    name: str
    reason: str


class AcrossReport:
    """What `graft_across` did. Iterates over the paired layers.

    Attributes
    ----------
    layers : tuple of PairedLayer
    untouched : tuple of Untouched
    mutual : bool
        Whether the source received too.
    """

    def __init__(
        self, layers: tuple[PairedLayer, ...], untouched: tuple[Untouched, ...], mutual: bool
    ) -> None:
        self.layers = layers
        self.untouched = untouched
        self.mutual = mutual

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[PairedLayer]:
        return iter(self.layers)

    def __getitem__(self, key: int | str) -> PairedLayer:
        if isinstance(key, str):
            for layer in self.layers:
                if layer.target == key:
                    return layer
            raise KeyError(key)
        return self.layers[key]

    def __repr__(self) -> str:
        return f"<graft.torch.AcrossReport of {len(self)} layers>"

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, ready for JSON."""
        layers = []
        for layer in self.layers:
            fields = asdict(layer)
            fields["filters"] = layer.filters.tolist()
            fields["with_it"] = [list(two) for two in layer.with_it]
            layers.append(fields)
        return {
            "layers": layers, "untouched": [asdict(one) for one in self.untouched],
            "mutual": self.mutual}

    def table(self) -> str:
        """The report as text: a line a layer, then what stayed and why."""
        head = ("target", "source", "alpha", "entropy", "source", "after", "filters", "blended")
        rows = [head]
        rows += [(
            layer.target, layer.source, f"{layer.alpha:.4f}", f"{layer.target_entropy:.4f}",
            f"{layer.source_entropy:.4f}", f"{layer.entropy_after:.4f}",
            f"{len(layer.filters)} of {layer.target_filters}", f"{layer.blended:.0%}")
            for layer in self.layers]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths))).rstrip()
            for row in rows]
        reasons: dict[str, list[str]] = {}
        for one in self.untouched:
            reasons.setdefault(one.reason, []).append(one.name)
        lines += [f"stays: {', '.join(names)}: {reason}" for reason, names in reasons.items()]
        return joined(lines)

    __str__ = table
