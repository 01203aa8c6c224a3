"""Finds libgraft, loads it, and declares its functions.

Looked for in this order: the file that the environment variable GRAFT_LIBRARY names, the library
inside this package (an installed wheel), the one that `make build` leaves in a source tree.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import byref, sizeof
from pathlib import Path
from typing import Any, TypeVar

from ._errors import UnsupportedError
from ._functions import FUNCTIONS
from ._openmp import SONAME, settle
from ._structures import Sized
from ._version import __version__

_FILE = "libgraft.so"
_PACKAGE = Path(__file__).resolve().parent


def find_library() -> Path:
    """Path of the library that would be loaded.

    Raises
    ------
    ImportError
        If there is none; the message lists where it was looked for.
    """
    named = os.environ.get("GRAFT_LIBRARY")
    if named:
        if not Path(named).is_file():
            raise ImportError(f"GRAFT_LIBRARY names {named!r}, and there is no such file")
        return Path(named).resolve()
    candidates = [_PACKAGE / _FILE]
    if len(_PACKAGE.parents) > 2:
        candidates.append(_PACKAGE.parents[2] / "build" / _FILE)
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    places = ", ".join(str(candidate) for candidate in candidates)
    raise ImportError(
        f"{_FILE} not found; looked at {places}. Build it with 'make build' in the source tree, "
        "install the package with 'pip install ./bindings/python', or set GRAFT_LIBRARY")


def _load(path: Path) -> ctypes.CDLL:
    """Load the library, with the OpenMP runtime that the process has, where it has one.

    Without one it is the runtime beside the library (the wheel's), or else the system's.
    """
    settle(path)
    try:
        return ctypes.CDLL(str(path), mode=ctypes.RTLD_LOCAL)
    except OSError as error:
        if SONAME in str(error):
            raise ImportError(
                f"{path} needs LLVM's OpenMP runtime, {SONAME}, which is not installed "
                f"(on Debian and Ubuntu: apt-get install libomp5): {error}") from error
        raise ImportError(f"{path} cannot be loaded: {error}") from error


def _version_number(text: str) -> int:
    major, minor, patch = (int(part) for part in text.split("."))
    return major * 10000 + minor * 100 + patch


class Library:
    """The loaded library. Its functions are attributes, declared when first used.

    Attributes
    ----------
    path : pathlib.Path
        Where it was loaded from.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = _load(path)
        try:
            version = self.graft_version()
        except UnsupportedError as error:
            raise ImportError(f"{path} is not libgraft: it has no graft_version") from error
        if version != _version_number(__version__):
            found = f"{version // 10000}.{version // 100 % 100}.{version % 100}"
            raise ImportError(
                f"{path} is libgraft {found}, and this package is {__version__}: "
                "install the package and the library of one version")

    def __getattr__(self, name: str) -> Any:
        if name not in FUNCTIONS:
            raise AttributeError(f"libgraft has no declared function {name!r}")
        try:
            function = self._handle[name]
        except AttributeError:
            raise UnsupportedError(f"{self.path} does not have the function {name}") from None
        function.restype, function.argtypes = FUNCTIONS[name]
        setattr(self, name, function)
        return function


lib = Library(find_library())

Options = TypeVar("Options", bound=Sized)


def defaults(kind: type[Options], init: str) -> Options:
    """An options struct with the library's own defaults.

    Parameters
    ----------
    kind
        The struct's class.
    init
        Name of its function, such as "graft_options_init".
    """
    options = kind()
    getattr(lib, init)(byref(options), sizeof(kind))
    return options


def instructions() -> str:
    """The instruction set that the kernels use here: "avx512bf16", "avx512", "avx2" or
    "baseline"."""
    return lib.graft_instructions().decode("ascii")
