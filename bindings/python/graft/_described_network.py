"""A whole network's arrays become descriptions at once.

A network has hundreds of small arrays, and grafting it should cost no more than its memory traffic.
So the common kinds, plain PyTorch tensors and NumPy arrays, are asked for no more than their
address, type, shape and strides, and all descriptions are written as the columns of one table.
Everything else takes the way of `_arrays.describe`, with its checks and its messages.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from ._arrays import _DTYPES, _NATIVE, Described, _view, describe
from ._errors import InvalidArgumentError
from ._structures import MAX_RANK, DType, Tensor

# graft_tensor, as NumPy writes it: pointers are numbers.
_FIELDS = [field[0] for field in Tensor._fields_]
_LAYOUT: Any = {
    "names": _FIELDS,
    "formats": [f"u{getattr(Tensor, name).size}" for name in _FIELDS],
    "offsets": [getattr(Tensor, name).offset for name in _FIELDS],
    "itemsize": ctypes.sizeof(Tensor),
}
_ROW: np.dtype[Any] = np.dtype(_LAYOUT)
_WORD = np.dtype(np.int64).itemsize


class DescribedNetwork:
    """Descriptions of a network's tensors, one after the other, as `graft_apply` takes them.

    Attributes
    ----------
    names : list of str
    """

    def __init__(
        self, network: Mapping[str, Any], label: str = "network", writable: bool = True
    ) -> None:
        if not isinstance(network, Mapping):
            raise InvalidArgumentError(
                f"{label} is {type(network).__name__!r}: it must be a mapping of name -> array")
        self.names = [str(name) for name in network]
        self._kept: list[Any] = []
        rows = _Rows(writable)
        for name, array in zip(self.names, network.values()):
            if not rows.add(array):
                described = _describe_any(array, f"{label}[{name!r}]", writable)
                self._kept.append(described)
                rows.add_described(described)
            # (The arrays live as long as the caller's mapping, but a mapping may make them anew.)
            self._kept.append(array)
        self._table = rows.table(self.names, self._kept)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def pointer(self) -> Any:
        """`const graft_tensor *` to the first."""
        return ctypes.cast(self._table.ctypes.data, ctypes.POINTER(Tensor))


class _Rows:
    """The columns of the table while they grow."""

    def __init__(self, writable: bool) -> None:
        self._writable = writable
        self._addresses: list[int] = []
        self._types: list[int] = []
        self._ranks: list[int] = []
        self._shapes: list[int] = []
        self._strides: list[int] = []
        self._torch_types, self._torch, self._strided = _torch_kinds()

    def add(self, array: Any) -> bool:
        """Add an array of a common kind, uncopied; False where it is none, or not plain enough."""
        kind = type(array)
        if kind in self._torch_types:
            code = self._torch.get(array.dtype)
            if code is None or not array.is_cpu or array.layout is not self._strided:
                return False
            if array.is_neg():  # the memory holds other numbers than it shows
                return False
            shape, strides, address = array.shape, array.stride(), array.data_ptr()
        elif kind is np.ndarray:
            code = _NATIVE.get(array.dtype)
            flags = array.flags
            if code is None or not flags.c_contiguous or (self._writable and not flags.writeable):
                return False
            shape, strides, size = array.shape, [], 1
            for dimension in reversed(shape):
                strides.append(size)
                size *= dimension
            strides.reverse()
            address = array.__array_interface__["data"][0]
        else:
            return False
        rank = len(shape)
        if rank > MAX_RANK:
            return False
        self._append(address, code, rank, shape, strides)
        return True

    def add_described(self, described: Described) -> None:
        """Add what `_arrays` described."""
        one = described.tensor
        self._append(
            one.data or 0, one.dtype, one.rank, one.shape[:one.rank], one.strides[:one.rank])

    def _append(self, address: int, code: int, rank: int, shape: Any, strides: Any) -> None:
        self._addresses.append(address)
        self._types.append(code)
        self._ranks.append(rank)
        self._shapes.extend(shape)
        self._strides.extend(strides)

    def table(self, names: list[str], kept: list[Any]) -> np.ndarray:
        """All of them as `graft_tensor` structs; what they point to goes to `kept`."""
        texts = [name.encode("utf-8", "replace").replace(b"\0", b"?") + b"\0" for name in names]
        text = np.frombuffer(b"".join(texts) or b"\0", np.uint8)
        sizes = np.array([self._shapes, self._strides], np.int64)
        kept += [text, sizes]
        table = np.zeros(len(names), _ROW)
        table["struct_size"] = _ROW.itemsize
        table["name"] = _starts([len(one) for one in texts], text.ctypes.data, 1)
        table["data"] = self._addresses
        table["dtype"], table["rank"] = self._types, self._ranks
        for row, column in enumerate(("shape", "strides")):
            first = sizes.ctypes.data + row * len(self._shapes) * _WORD
            table[column] = _starts(self._ranks, first, _WORD)
        return table


def _starts(lengths: list[int], first: int, size: int) -> np.ndarray:
    """Where pieces of these lengths begin that lie one after the other."""
    ends = np.cumsum(np.array(lengths, np.uint64))
    return (ends - np.array(lengths, np.uint64)) * np.uint64(size) + np.uint64(first)


def _torch_kinds() -> tuple[tuple[type, ...], dict[Any, int], Any]:
    """PyTorch's plain tensors, its types and its plain layout, where PyTorch is there at all.

    Subclasses may show other memory than they are made of, and take the long way.
    """
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "nn"):
        return (), {}, None
    types = {getattr(torch, name): int(code) for name, code in _DTYPES.items()}
    return (torch.Tensor, torch.nn.Parameter), types, torch.strided


def _describe_any(array: Any, label: str, writable: bool) -> Described:
    """As `describe`, for one tensor of a network. Integers of any width are counters, which the
    library leaves alone: those that are not int64 are described by a stand-in."""
    seen, kind = _view(array, label, writable)
    if kind is None and seen.dtype.kind in "iub":
        counter = np.zeros(seen.shape, dtype=np.int64) if seen.dtype != np.int64 else seen
        return Described(counter, DType.INT64, label, None)
    return describe(array, label, writable)
