"""What a graft did, layer by layer and network by network."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import byref
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from . import _structures as s
from ._errors import check
from ._library import lib
from ._text import joined

if TYPE_CHECKING:
    from .torch import Alignment


@dataclass(frozen=True)
class NetworkReport:
    """One layer of one network in one graft.

    Attributes
    ----------
    source : int
        The network that gave.
    alpha : float
        The share of its own weights that the layer kept.
    entropy_before, entropy_after : float
        In nats.
    invalid_before, invalid_after : int
        Filters whose l1 norm was under the threshold.
    norm_before, norm_after : float
        Mean l1 norm of the filters.
    unmoved : int
        Elements of the layer and of what follows it, of float16 or bfloat16, that should have
        moved and were rounded to what they were: the pull was too small for their type.
    """

    source: int
    alpha: float
    entropy_before: float
    entropy_after: float
    invalid_before: int
    invalid_after: int
    norm_before: float
    norm_after: float
    unmoved: int = 0


@dataclass(frozen=True)
class LayerReport:
    """One layer of every network.

    Attributes
    ----------
    name : str
    tensor : int
        Its index among the arrays.
    filters : int
        Number of filters.
    networks : tuple of NetworkReport
    """

    name: str
    tensor: int
    filters: int
    networks: tuple[NetworkReport, ...]


class Report:
    """What a graft did. Iterates over the layers.

    Attributes
    ----------
    layers : tuple of LayerReport
    network_count : int
    alignment : dict of int to graft.torch.Alignment, or None
        Where `graft.torch.Grafter` aligned the networks before this graft: for each of them but
        the first, to which they were aligned, what moved and how alike they were before and after.
    """

    def __init__(self, layers: tuple[LayerReport, ...], network_count: int) -> None:
        self.layers = layers
        self.network_count = network_count
        self.alignment: dict[int, Alignment] | None = None

    @classmethod
    def read(cls, handle: Any) -> Report:
        """Copy what a `graft_report *` holds."""
        networks = lib.graft_report_network_count(handle)
        layers = []
        row = s.LayerReport()
        for layer in range(lib.graft_report_layer_count(handle)):
            entries = []
            for network in range(networks):
                check(lib.graft_report_layer(handle, layer, network, byref(row)))
                entries.append(NetworkReport(
                    row.source, row.alpha, row.entropy_before, row.entropy_after,
                    row.invalid_before, row.invalid_after, row.norm_before, row.norm_after,
                    row.unmoved))
            layers.append(LayerReport(
                row.name.decode("utf-8", "replace"), row.tensor, row.filters, tuple(entries)))
        return cls(tuple(layers), networks)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[LayerReport]:
        return iter(self.layers)

    def __getitem__(self, key: int | str) -> LayerReport:
        if isinstance(key, str):
            for layer in self.layers:
                if layer.name == key:
                    return layer
            raise KeyError(key)
        return self.layers[key]

    def __repr__(self) -> str:
        return f"<graft.Report of {len(self)} layers, {self.network_count} networks>"

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, ready for JSON."""
        return {
            "network_count": self.network_count,
            "layers": [
                {
                    "name": layer.name, "tensor": layer.tensor, "filters": layer.filters,
                    "networks": [asdict(entry) for entry in layer.networks],
                }
                for layer in self.layers
            ],
            **({} if self.alignment is None else {"alignment": {
                str(k): one.summary() for k, one in self.alignment.items()}}),
        }

    def table(self) -> str:
        """The report as text, a line for every layer of every network."""
        head = ("layer", "net", "from", "alpha", "entropy", "after", "filters", "invalid", "after",
                "norm", "after")
        rows = [head]
        for layer in self.layers:
            for k, entry in enumerate(layer.networks):
                rows.append((
                    layer.name if k == 0 else "", str(k), str(entry.source),
                    f"{entry.alpha:.4f}", f"{entry.entropy_before:.4f}",
                    f"{entry.entropy_after:.4f}", str(layer.filters), str(entry.invalid_before),
                    str(entry.invalid_after), f"{entry.norm_before:.4g}",
                    f"{entry.norm_after:.4g}"))
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths))).rstrip()
            for row in rows]
        for k, one in (self.alignment or {}).items():
            lines.append(f"network {k} aligned to 0: {one.line()}")
        return joined(lines)

    __str__ = table
