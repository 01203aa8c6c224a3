"""Reads and writes .safetensors with NumPy alone.

The package `safetensors` has no bfloat16 for NumPy and drops the metadata; here what is not grafted
comes out byte for byte as it went in.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .._errors import FormatError
from ._files import Weights, content

_MOST_HEADER = 100_000_000  # as the format's own reader allows
_METADATA = "__metadata__"
_CHECKSUM = "graft.checksum"  # of the weights as they were; readers do without
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}


class SafeTensors(Weights):
    """A .safetensors file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tensors: dict[str, Any] = {}
        self.opaque: dict[str, str] = {}
        data = content(path)
        if len(data) < 8:
            raise FormatError(f"{path}: {len(data)} bytes are too few for a safetensors file")
        length = int.from_bytes(data[:8], "little")
        if length > min(len(data) - 8, _MOST_HEADER):
            raise FormatError(f"{path}: its header would be {length} bytes long")
        self._header = self._parse(bytes(data[8:8 + length]))
        # A header that does not end on a multiple of 8 would leave the weights unaligned.
        self._data = memoryview(data)[8 + length:] if length % 8 == 0 \
            else memoryview(data[8 + length:])
        spans = [self._add(name, entry) for name, entry in self._header.items()
                 if name != _METADATA]
        end = 0
        for start, stop in sorted(spans):
            if start != end:
                raise FormatError(f"{path}: its tensors overlap or leave a gap at byte {end}")
            end = stop
        if end != len(self._data):
            raise FormatError(f"{path}: {len(self._data)} bytes of data, and tensors of {end}")
        self.sorted_by_name = self._sorted()

    def _parse(self, header: bytes) -> dict[str, Any]:
        try:
            parsed = json.loads(header.decode("utf-8"), object_pairs_hook=self._unique)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{self.path}: its header is no JSON: {error}") from error
        if not isinstance(parsed, dict):
            raise FormatError(f"{self.path}: its header is no JSON object")
        return parsed

    def _unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise FormatError(f"{self.path}: a name stands twice in its header")
        return result

    def _add(self, name: str, entry: Any) -> tuple[int, int]:
        """Make the array of an entry; returns where its bytes lie."""
        try:
            dtype, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
            numbers = [*shape, start, stop]
            if not isinstance(dtype, str) or any(
                    type(number) is not int or number < 0 for number in numbers):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise FormatError(f"{self.path}: its entry for {name!r} is malformed") from None
        if not start <= stop <= len(self._data):
            raise FormatError(f"{self.path}: {name!r} lies outside the file")
        memory = self._data[start:stop]
        if dtype in _DTYPES:
            kind = np.dtype(_DTYPES[dtype])
        elif dtype == "BF16":
            kind = np.dtype("<u2")
        else:
            self.opaque[name] = dtype
            self.tensors[name] = np.frombuffer(memory, np.uint8)
            return start, stop
        if math.prod(shape) * kind.itemsize != stop - start:
            raise FormatError(
                f"{self.path}: {name!r} of shape {shape} and type {dtype} has {stop - start} bytes")
        array = np.frombuffer(memory, kind)
        if array.ctypes.data % max(kind.itemsize, 1):
            raise FormatError(f"{self.path}: {name!r} is not aligned to its type")
        self.tensors[name] = _bfloat16(array).reshape(shape) if dtype == "BF16" \
            else array.reshape(shape)
        return start, stop

    def _sorted(self) -> bool:
        """Whether the tensors lie as the package `safetensors` writes them: by type and name."""
        groups: dict[str, list[str]] = {}
        for name in self.tensors:
            groups.setdefault(self._header[name]["dtype"], []).append(name)
        return all(names == sorted(names) for names in groups.values())

    def write(self, file: BinaryIO) -> None:
        header = dict(self._header)
        metadata = header.get(_METADATA)
        if isinstance(metadata, dict):
            header[_METADATA] = {k: v for k, v in metadata.items() if k != _CHECKSUM}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode(
            "utf-8", "surrogatepass")
        text += b" " * (-len(text) % 8)
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        file.write(self._data)


def _bfloat16(bits: np.ndarray) -> np.ndarray:
    """As the NumPy type of ml_dtypes where that is installed; as bits otherwise."""
    try:
        import ml_dtypes
    except ImportError:
        return bits.view(Bfloat16Bits)
    return bits.view(ml_dtypes.bfloat16)


class Bfloat16Bits(np.ndarray):
    """uint16 that hold bfloat16."""
