"""The filter map's data: every filter's l1 norm at every epoch, a byte each.

Norms are put into steps that are equal on a logarithmic scale, some 7 % wide, whose edges include
the thresholds: which filters are invalid is exact. From one epoch to the next most bytes change
little, so differences are stored, deflated. Networks that are equal (two that have just been
grafted) are stored once.
"""

from __future__ import annotations

import base64
import hashlib
import math
import zlib
from typing import Any

import numpy as np

from .._record._layers import LEVELS
from ._analysis import Subject

_STEPS = 250


def edges_for(largest: float, threshold: float) -> np.ndarray:
    """Lower edges of the steps 1, 2, ...; below the first is step 0."""
    lowest, highest = -4, max(1, math.ceil(math.log10(max(largest, 1e-3))))
    per_decade = _STEPS // (highest - lowest)
    exponents = np.arange(lowest * per_decade, highest * per_decade + 1) / per_decade
    return np.unique(np.array([*10.0 ** exponents, *LEVELS, threshold], np.float32))


def pack(networks: list[Subject], threshold: float) -> dict[str, Any]:
    """What filter_map.js reads."""
    shown = [one for one in networks if len(one.epochs)]
    largest = max((float(one.norms.max()) for one in shown), default=1.0)
    edges = edges_for(largest, threshold)
    streams: dict[bytes, int] = {}
    texts: list[str] = []
    structures: list[list[Any]] = []
    packed = []
    for one in shown:
        data = steps(one.norms, edges)
        key = hashlib.sha256(data.tobytes() + repr(data.shape).encode()).digest()
        if key not in streams:
            streams[key] = len(texts)
            difference = np.diff(data, axis=0, prepend=np.zeros_like(data[:1]))  # modulo 256
            texts.append(base64.b64encode(_deflated(difference.tobytes())).decode("ascii"))
        layers = [[layer.name, layer.filters] for layer in one.structure.layers]
        if layers not in structures:
            structures.append(layers)
        packed.append({
            "name": one.name, "epochs": one.epochs.tolist(), "stream": streams[key],
            "structure": structures.index(layers)})
    return {
        "edges": [float(f"{edge:.6g}") for edge in edges], "threshold": threshold,
        "levels": sorted({*LEVELS, threshold}, reverse=True), "networks": packed,
        "structures": structures, "streams": texts}


def steps(norms: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The step of each norm: how many edges it reaches."""
    return np.searchsorted(edges, norms, side="right").astype(np.uint8)


def _deflated(data: bytes) -> bytes:
    """What changes looks like noise and what does not is runs of zeros: a search for longer matches
    takes a hundred times as long and finds none."""
    found = []
    for strategy in (zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE):
        packer = zlib.compressobj(9, strategy=strategy)
        found.append(packer.compress(data) + packer.flush())
    return min(found, key=len)
