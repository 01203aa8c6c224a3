"""Files of weights, read with every length checked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, BinaryIO

from .._errors import FileError, FormatError, UnsupportedError


class Weights(ABC):
    """A network's file in memory.

    Attributes
    ----------
    path : pathlib.Path
    tensors : dict of str to array
        In the file's order. Writing to an array changes what `write` writes.
    opaque : dict of str to str
        Tensors whose type no array can hold, with the type's name. Their bytes are kept.
    """

    path: Path
    tensors: dict[str, Any]
    opaque: dict[str, str]
    sorted_by_name = False

    @abstractmethod
    def write(self, file: BinaryIO) -> None:
        """Write all that was read, with the tensors as they are now."""


def read(path: Path) -> Weights:
    """Read a .safetensors file, or PyTorch's (.pt, .pth; only as plain tensors).

    Raises
    ------
    FileError, FormatError, UnsupportedError
    """
    if path.suffix == ".safetensors":
        from ._safetensors import SafeTensors

        return SafeTensors(path)
    if path.suffix in (".pt", ".pth"):
        from ._torch_file import TorchFile

        return TorchFile(path)
    raise UnsupportedError(f"{path}: known are files that end in .safetensors, .pt and .pth")


def content(path: Path) -> bytearray:
    """All of a regular file, in memory that can be written to."""
    try:
        if not path.is_file():
            raise FileError(f"{path}: " + (
                "no such file" if not path.exists() else "not a regular file"))
        size = path.stat().st_size
        data = bytearray(size)
        with open(path, "rb") as file:
            if file.readinto(data) != size or file.read(1):
                raise FormatError(f"{path} changed while it was read")
        return data
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
