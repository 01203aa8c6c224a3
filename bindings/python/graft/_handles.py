"""Objects of the library that Python holds: made by a call, ended when nothing refers to them."""

from __future__ import annotations

import ctypes
from typing import Any

from ._errors import check
from ._library import lib


class Handle:
    """An opaque pointer of the library, destroyed with this object.

    Whatever shows the object's memory (a NumPy view of a weight) refers to the handle and so keeps
    it alive.

    Parameters
    ----------
    create, destroy
        Names of the functions; `create` takes its out-pointer last.
    arguments
        The arguments before that.
    """

    def __init__(self, create: str, destroy: str, *arguments: Any) -> None:
        self._pointer = None
        # Bound here: at the interpreter's end the module's own names may be gone.
        self._destroy = getattr(lib, destroy)
        made = ctypes.c_void_p()
        check(getattr(lib, create)(*arguments, ctypes.byref(made)))
        self._pointer = made

    @property
    def _as_parameter_(self) -> Any:
        """What ctypes hands to a function that is given this object."""
        return self._pointer

    def __del__(self) -> None:
        if self._pointer is not None:
            self._destroy(self._pointer)
            self._pointer = None
