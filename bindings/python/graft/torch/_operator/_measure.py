"""Information of a tensor on any device, equal to the library's: the bins of `numpy.histogram`, l1
norms in float64. What lies in plain memory as float32 goes to the library itself."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ... import _method


def chunk(tensor: Tensor) -> int:
    """Elements that are worked on at once: what bounds the memory beside the networks. Other
    devices want fewer and larger steps."""
    return 1 << 18 if tensor.device.type == "cpu" else 1 << 22


@dataclass(frozen=True)
class Measure:
    """What is known of a layer.

    Attributes
    ----------
    entropy : float
        In nats.
    norms : float
        The sum of its filters' l1 norms.
    filters, invalid : int
        How many filters it has, and how many of them have a norm under the threshold.
    information : float
        What its coefficient goes by; the entropy if nothing else is said.
    """

    entropy: float
    norms: float
    filters: int
    invalid: int
    information: float

    @property
    def norm(self) -> float:
        """The filters' mean l1 norm."""
        return self.norms / max(self.filters, 1)


def in_order(numbers: Sequence[float] | np.ndarray) -> float:
    """The sum, one after the other, as the library adds (`sum` and NumPy add otherwise)."""
    return float(np.cumsum(numbers)[-1]) if len(numbers) else 0.0


def in_library(tensor: Tensor) -> bool:
    """Whether the library can work on a tensor's memory."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def measure(
    tensor: Tensor, axis: int, bins: int, threshold: float, compatibility: bool,
    library: bool = True
) -> Measure:
    """Measure a layer; its weights are finite.

    Parameters
    ----------
    axis
        The dimension along which filters lie.
    library
        False computes with torch even what the library could take.
    """
    if library and in_library(tensor):
        entropy = _method.entropy(tensor, bins, compatibility=compatibility)
        norms = _method.filter_norms(tensor, filter_axis=axis)
    else:
        low, high = (float(limit) for limit in torch.aminmax(tensor))
        counts = _counts(tensor, low, high, bins, compatibility)
        entropy = _entropy(counts, tensor.numel(), compatibility)
        norms = _norms(tensor, axis)
    return Measure(
        entropy, in_order(norms), len(norms), int((norms < threshold).sum()), entropy)


def filter_entropies(
    tensor: Tensor, axis: int, bins: int, compatibility: bool, library: bool = True
) -> np.ndarray:
    """Entropy of every filter by itself, each over its own range; arguments as for `measure`."""
    if library and in_library(tensor):
        return _method.filter_entropies(
            tensor, bins, compatibility=compatibility, filter_axis=axis)
    found: list[float] = []
    double = tensor.dtype == torch.float64
    for part in _by_filters(tensor, axis):
        rows = part.movedim(axis, 0).flatten(1) if part.dim() > 1 else part.reshape(-1, 1)
        lows, highs = (limit.tolist() for limit in torch.aminmax(rows, dim=1))
        edges = np.stack([
            _edges(low, high, bins, compatibility, double) for low, high in zip(lows, highs)])
        thresholds = torch.from_numpy(edges).to(tensor.device)
        places = torch.searchsorted(
            thresholds, rows.to(thresholds.dtype).contiguous(), right=True)
        width = edges.shape[1] + 1
        places += width * torch.arange(len(rows), device=tensor.device)[:, None]
        counts = torch.bincount(places.reshape(-1), minlength=width * len(rows))
        for row in counts.reshape(len(rows), width).tolist():
            row = row[1:-1] if compatibility else row
            found.append(_entropy(row, rows.shape[1], compatibility))
    return np.array(found)


def is_finite(tensor: Tensor) -> bool:
    """Whether all of a tensor's numbers are."""
    return tensor.numel() == 0 or all(bool(torch.isfinite(one)) for one in torch.aminmax(tensor))


def flat_chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of the tensors, which have one shape, piece by piece; each piece at most `chunk` long
    where memory allows to see it so."""
    strides = tensors[0].stride()
    order = sorted(range(len(strides)), key=lambda axis: -strides[axis])
    turned = [tensor.permute(order) for tensor in tensors]
    if all(tensor.is_contiguous() for tensor in turned):
        yield from zip(*(tensor.reshape(-1).split(chunk(tensor)) for tensor in turned))
    elif tensors[0].numel() <= chunk(tensors[0]) or tensors[0].dim() == 0:
        yield tensors
    else:
        for pieces in zip(*(tensor.unbind(0) for tensor in tensors)):
            yield from flat_chunks(*pieces)


def _counts(
    tensor: Tensor, low: float, high: float, bins: int, compatibility: bool
) -> list[int]:
    edges = _edges(low, high, bins, compatibility, tensor.dtype == torch.float64)
    thresholds = torch.from_numpy(edges).to(tensor.device)
    last = len(edges) + 1
    counts = torch.zeros(last, dtype=torch.int64, device=tensor.device)
    for (piece,) in flat_chunks(tensor.detach()):
        place = torch.bucketize(piece.reshape(-1).to(thresholds.dtype), thresholds, right=True)
        counts += torch.bincount(place, minlength=last)
    found = counts.tolist()
    return found[1:-1] if compatibility else found


def _edges(low: float, high: float, bins: int, compatibility: bool, double: bool) -> np.ndarray:
    """The numbers from which on a weight lies in the next bin: `bins` - 1 inner edges, or in the
    published code's order of operations all `bins` + 1."""
    if compatibility:
        with np.errstate(over="ignore", invalid="ignore"):  # as in the library
            scale = (np.float32(high) - np.float32(low)) / np.float32(bins)
            return np.float32(low) + np.arange(bins + 1, dtype=np.float32) * scale
    if low == high:  # as numpy.histogram widens it
        low, high = low - 0.5, high + 0.5
    edges = np.arange(1, bins) * ((high - low) / bins) + low
    if double:
        return edges
    rounded = edges.astype(np.float32)
    under = rounded.astype(np.float64) < edges
    return np.where(under, np.nextafter(rounded, np.float32(np.inf)), rounded)


def _entropy(counts: list[int], total: int, compatibility: bool) -> float:
    if compatibility:
        published = np.float32(0)
        for count in counts:
            share = np.float32(count) / np.float32(total)
            if share != 0:
                published = published - share * np.float32(_logf()(share))
        return float(published)
    entropy = 0.0
    for count in counts:
        if count:
            p = count / total
            entropy -= p * math.log(p)
    return min(entropy, math.log(len(counts)))


@cache
def _logf() -> ctypes._FuncPointer:  # type: ignore[name-defined]
    """The C library's, to the last bit."""
    function = ctypes.CDLL("libm.so.6").logf
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
    return function


def _norms(tensor: Tensor, axis: int) -> np.ndarray:
    norms = []
    for part in _by_filters(tensor, axis):
        others = [dimension for dimension in range(part.dim()) if dimension != axis]
        size = part.abs().to(torch.float64)
        norms.append(size.sum(others) if others else size)
    return torch.cat(norms).cpu().numpy()


def _by_filters(tensor: Tensor, axis: int) -> Iterator[Tensor]:
    """A layer a few filters at a time."""
    tensor = tensor.detach()
    if tensor.dim() == 0:
        tensor = tensor.reshape(1)
    filters = tensor.shape[axis]
    group = max(1, chunk(tensor) * filters // tensor.numel())
    for first in range(0, filters, group):
        yield tensor.narrow(axis, first, min(group, filters - first))
