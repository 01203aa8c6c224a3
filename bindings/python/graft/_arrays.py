"""Arrays of the caller's become descriptions for the library, and the other way round, uncopied.

`describe` takes NumPy arrays, PyTorch tensors (torch itself is never imported), and whatever offers
`__array_interface__`, the buffer protocol, or DLPack on the CPU.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

import numpy as np

from ._errors import InvalidArgumentError, UnsupportedError
from ._structures import MAX_RANK, DType, Tensor

_DTYPES = {
    "float32": DType.FLOAT32,
    "float64": DType.FLOAT64,
    "float16": DType.FLOAT16,
    "bfloat16": DType.BFLOAT16,  # the NumPy extension type of ml_dtypes (JAX)
    "int64": DType.INT64,
}
# What most arrays are, found without asking NumPy for a name: a network has hundreds of them.
_NATIVE = {
    np.dtype(name): dtype for name, dtype in _DTYPES.items() if name != "bfloat16"}
_NUMPY: dict[DType, np.dtype[Any]] = {
    DType.FLOAT32: np.dtype("f4"),
    DType.FLOAT64: np.dtype("f8"),
    DType.FLOAT16: np.dtype("f2"),
    DType.BFLOAT16: np.dtype("u2"),  # NumPy has no bfloat16 of its own: the bits
    DType.INT64: np.dtype("i8"),
}
_DIMENSIONS = [ctypes.c_int64 * rank for rank in range(MAX_RANK + 1)]
_DLPACK_HOST = (1, 3, 11)  # kDLCPU, kDLCUDAHost, kDLROCMHost


def view(array: Any, name: str = "array", writable: bool = False) -> np.ndarray:
    """A NumPy array over the same memory; never a copy, except of lists and tuples.

    bfloat16 PyTorch tensors come as uint16 with their bits (see `describe`).

    Parameters
    ----------
    array
        What the caller gave.
    name
        What messages call it.
    writable
        Whether the library will write to it.

    Raises
    ------
    InvalidArgumentError
        If it is no array, or is read-only although it has to be written.
    UnsupportedError
        If it lies on another device, or only a copy could be had.
    """
    result = _view(array, name, writable)[0]
    if writable and not result.flags.writeable:
        raise InvalidArgumentError(f"{name} is read-only, and would have to be written")
    return result


def _view(array: Any, name: str, writable: bool) -> tuple[np.ndarray, DType | None]:
    """The view, and its type where NumPy cannot say it."""
    if isinstance(array, np.ndarray):
        return array, None
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(array, torch.Tensor):
        return _torch_view(array, name, torch)
    if isinstance(array, (list, tuple, int, float)) and not writable:
        try:
            return np.asarray(array, dtype=np.float32), None
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"{name} is not an array of numbers: {error}") from error
    if hasattr(array, "__array_interface__"):
        return np.asarray(array), None
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        kind = int(array.__dlpack_device__()[0])
        if kind not in _DLPACK_HOST:
            raise UnsupportedError(
                f"{name} lies on another device (DLPack kind {kind}); move it to the CPU first")
        try:
            return np.from_dlpack(array), None
        except (BufferError, RuntimeError, TypeError) as error:
            raise UnsupportedError(f"{name} cannot be shared by DLPack: {error}") from error
    try:
        return np.asarray(memoryview(array)), None
    except TypeError:
        raise InvalidArgumentError(
            f"{name} is {type(array).__name__!r}: not an array (NumPy, PyTorch, "
            "__array_interface__, DLPack or a buffer)") from None


def _torch_view(tensor: Any, name: str, torch: Any) -> tuple[np.ndarray, DType | None]:
    if tensor.device.type != "cpu":
        raise UnsupportedError(f"{name} lies on {tensor.device}; move it to the CPU first")
    if tensor.layout != torch.strided:
        raise UnsupportedError(f"{name} is of layout {tensor.layout}; only strided tensors work")
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16), DType.BFLOAT16
    try:
        return tensor.numpy(), None
    except (RuntimeError, TypeError) as error:
        raise UnsupportedError(f"{name} cannot be seen as a NumPy array: {error}") from error


class Described:
    """A `graft_tensor` over an array, and what it needs kept alive.

    Attributes
    ----------
    array : numpy.ndarray
        The view that the description describes.
    tensor : Tensor
        The struct itself.
    """

    def __init__(self, array: np.ndarray, dtype: DType, label: str, name: bytes | None) -> None:
        self.array = array
        rank = array.ndim
        if rank > MAX_RANK:
            raise UnsupportedError(f"{label} has {rank} dimensions; at most {MAX_RANK} are allowed")
        self._shape = _DIMENSIONS[rank](*array.shape)
        self._strides = self._steps(array, label)
        self.tensor = Tensor(
            name=name, data=array.__array_interface__["data"][0], dtype=dtype, rank=rank,
            shape=self._shape, strides=self._strides)

    @staticmethod
    def _steps(array: np.ndarray, label: str) -> Any:
        """Its strides, in elements."""
        size = array.itemsize
        strides = []
        for dimension, stride in zip(array.shape, array.strides):
            if dimension <= 1:
                stride = size  # never walked, so any value does; NumPy may have left anything
            if stride < 0:
                raise InvalidArgumentError(
                    f"{label} has a negative stride (a reversed view); make it a plain array first")
            if stride % size:
                raise UnsupportedError(
                    f"{label} has a stride of {stride} bytes, no multiple of its elements' {size}")
            strides.append(stride // size)
        return _DIMENSIONS[array.ndim](*strides)

    @property
    def pointer(self) -> Any:
        """`const graft_tensor *`, for a call."""
        return ctypes.byref(self.tensor)


def describe(
    array: Any, name: str = "array", writable: bool = False, dtype: Any = None
) -> Described:
    """Describe an array for the library, without a copy.

    Parameters
    ----------
    array
        See `view`.
    name
        The argument's or the tensor's name, for messages.
    writable
        Whether the library will write to it.
    dtype
        If given, what the array's type has to be.

    Raises
    ------
    InvalidArgumentError, UnsupportedError
        As `view`; and for types and strides that the library cannot take.
    """
    seen, kind = _view(array, name, writable)
    if writable and not seen.flags.writeable:
        raise InvalidArgumentError(f"{name} is read-only, and would have to be written")
    if kind is None:
        kind = _NATIVE.get(seen.dtype)
        if kind is None:
            kind = _DTYPES.get(seen.dtype.name)
        if kind is None or not seen.dtype.isnative:
            raise UnsupportedError(
                f"{name} is of type {seen.dtype}; known are " + ", ".join(_DTYPES))
    if dtype is not None and seen.dtype != np.dtype(dtype):
        raise InvalidArgumentError(f"{name} is of type {seen.dtype}; it must be {np.dtype(dtype)}")
    return Described(seen, kind, name, name.encode("utf-8", "replace").replace(b"\0", b"?"))


def from_tensor(tensor: Tensor, owner: object) -> np.ndarray:
    """A NumPy view of memory that the library owns, which keeps `owner` alive.

    Parameters
    ----------
    tensor
        As the library filled it.
    owner
        The object whose end would end the memory.
    """
    dtype = _NUMPY[DType(tensor.dtype)]
    shape = tuple(tensor.shape[axis] for axis in range(tensor.rank))
    strides = None
    if tensor.strides:
        strides = tuple(tensor.strides[axis] * dtype.itemsize for axis in range(tensor.rank))
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.asarray(_Memory(owner, tensor.data, dtype, shape, strides))


class _Memory:
    """What NumPy asks for memory that somebody else owns."""

    def __init__(self, owner: object, data: int, dtype: np.dtype, shape: Any, strides: Any) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "version": 3, "typestr": dtype.str, "shape": shape, "strides": strides,
            "data": (data, False),
        }


def int64_array(values: Any, name: str) -> np.ndarray:
    """Integers (labels, indices) as a one-dimensional row-major int64 array; copied where needed.

    Raises
    ------
    InvalidArgumentError
        If they are not integers, or not of one dimension.
    """
    if isinstance(values, (list, tuple, range)):
        seen = np.asarray(values, dtype=None if len(values) else np.int64)
    else:
        seen = view(values, name)
    if seen.dtype.kind not in "iu":
        raise InvalidArgumentError(f"{name} is of type {seen.dtype}; it must hold integers")
    if seen.ndim != 1:
        raise InvalidArgumentError(f"{name} has shape {seen.shape}; it must have one dimension")
    if seen.dtype.kind == "u" and seen.size and seen.max() > np.iinfo(np.int64).max:
        raise InvalidArgumentError(f"{name} holds {seen.max()}, which no int64 can")
    return np.ascontiguousarray(seen, dtype=np.int64)


def pointer(array: np.ndarray, ctype: Any) -> Any:
    """A pointer to a contiguous array's first element, of a ctypes type."""
    return array.ctypes.data_as(ctypes.POINTER(ctype))


def path_bytes(path: str | os.PathLike[str], name: str = "path") -> bytes:
    """A path as the library takes it.

    Raises
    ------
    InvalidArgumentError
        If it holds a NUL.
    """
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise InvalidArgumentError(f"{name} holds a NUL character")
    return encoded


def values(array: Any, name: str) -> np.ndarray:
    """An array's numbers, for copying: as `view`, but bfloat16 comes as the float32 it stands for.
    """
    seen, kind = _view(array, name, writable=False)
    if kind is DType.BFLOAT16:
        return (seen.astype(np.uint32) << 16).view(np.float32)
    return seen


def room(images: Any, shape: tuple[int, int, int]) -> np.ndarray:
    """An array for values of this shape, one for each of the described images."""
    channels, height, width = shape
    single = (channels,) if height == width == 1 else shape
    return np.empty(images.array.shape[:1] + single, np.float32)
