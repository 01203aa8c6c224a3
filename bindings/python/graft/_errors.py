"""Exceptions: one class a status code of the library, each also the builtin that fits."""

from __future__ import annotations

from ._text import printable


class GraftError(Exception):
    """Base of every error that the library reports.

    Attributes
    ----------
    status : int
        The `graft_status` number (Include/graft/status.h); 0 for errors of this package itself.
    """

    status = 0

    def __str__(self) -> str:
        # Names in it may come from a file: a terminal shows them, and does not act on them.
        return printable(super().__str__())


class InvalidArgumentError(GraftError, ValueError):
    """An argument is outside what is allowed."""

    status = 1


class ShapeMismatchError(GraftError, ValueError):
    """Shapes, types or counts that have to agree do not."""

    status = 2


class NotFiniteError(GraftError, ValueError, ArithmeticError):
    """A weight, logit or loss is NaN or infinite."""

    status = 3


class OutOfMemoryError(GraftError, MemoryError):
    """Memory for the work could not be had."""

    status = 4


class FileError(GraftError, OSError):
    """A file or directory could not be opened, read, written or renamed."""

    status = 5


class FormatError(GraftError, ValueError):
    """A file is not what it should be: truncated, corrupt, or of another kind."""

    status = 6


class CancelledError(GraftError):
    """A callback asked to stop; the work can go on from here."""

    status = 7


class UnsupportedError(GraftError, NotImplementedError):
    """What is asked for is sound, and this version of the library cannot do it."""

    status = 8


class InvalidStateError(GraftError, RuntimeError):
    """The call came at a time when the object cannot take it."""

    status = 9


class InternalError(GraftError, RuntimeError):
    """A defect of the library. Please report it with the message."""

    status = 10


_BY_STATUS: dict[int, type[GraftError]] = {
    kind.status: kind for kind in GraftError.__subclasses__()
}


def check(status: int) -> None:
    """Raise the exception of a status that is not GRAFT_OK, with the library's message."""
    if status == 0:
        return
    from ._library import lib

    message = (lib.graft_last_error() or b"").decode("utf-8", "replace")
    kind = _BY_STATUS.get(status)
    if kind is None:
        name = (lib.graft_status_name(status) or b"unknown").decode("ascii", "replace")
        kind, message = InternalError, f"{message} (status {status}, {name})"
    raise kind(message)
