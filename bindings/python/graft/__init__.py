"""Graft: filter grafting for neural networks (arXiv 2004.12311).

It makes a network more accurate and costs nothing more to run. `graft` grafts networks that you
train yourself, in place, one line an epoch; `Network` and `Trainer` are an engine of its own for
those who have none.
"""

from __future__ import annotations

from importlib import import_module as _import_module
from importlib.util import find_spec as _find_spec

from ._errors import (
    CancelledError,
    FileError,
    FormatError,
    GraftError,
    InternalError,
    InvalidArgumentError,
    InvalidStateError,
    NotFiniteError,
    OutOfMemoryError,
    ShapeMismatchError,
    UnsupportedError,
)
from ._library import instructions
from ._version import __version__

__all__ = [
    "CancelledError", "FileError", "FormatError", "GraftError", "InternalError",
    "InvalidArgumentError", "InvalidStateError", "NotFiniteError", "OutOfMemoryError",
    "ShapeMismatchError", "UnsupportedError", "__version__", "instructions",
]

for _name in ("_method", "_report", "_data", "_network", "_architectures", "_trainer"):
    if _find_spec(f"{__name__}.{_name}") is not None:
        _module = _import_module(f"{__name__}.{_name}")
        for _public in getattr(_module, "__all__", []):
            globals()[_public] = getattr(_module, _public)
            __all__.append(_public)
