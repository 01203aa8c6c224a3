"""Arguments that ctypes would cut to size or refuse without a name are looked at here first."""

from __future__ import annotations

import operator
from enum import IntEnum
from typing import Any

from ._errors import InvalidArgumentError


def integer(value: Any, name: str, bits: int = 64, signed: bool = True) -> int:
    """A whole number that fits the C type; NumPy's integers too."""
    try:
        number = operator.index(value)
    except TypeError:
        raise InvalidArgumentError(f"{name} is {value!r}; it must be a whole number") from None
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if not low <= number <= high:
        raise InvalidArgumentError(f"{name} is {number}; it must lie between {low} and {high}")
    return number


def seed(value: Any, name: str = "seed") -> int:
    """A seed: 0 to 2**64 - 1."""
    return integer(value, name, signed=False)


def number(value: Any, name: str) -> float:
    """A real number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidArgumentError(f"{name} is {value!r}; it must be a number") from None


def pair(value: Any, name: str) -> tuple[int, int]:
    """(height, width), or a number that stands for both."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise InvalidArgumentError(f"{name} is {value!r}; give a number or (height, width)")
        return integer(value[0], name), integer(value[1], name)
    return integer(value, name), integer(value, name)


def image_shape(value: Any, name: str) -> tuple[int, int, int]:
    """(channels, height, width)."""
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        raise InvalidArgumentError(f"{name} is {value!r}; give (channels, height, width)")
    return integer(value[0], name), integer(value[1], name), integer(value[2], name)


def choice(value: Any, kind: type[IntEnum], name: str) -> int:
    """The number of a choice that is given as text, in either case."""
    member = kind.__members__.get(str(value).upper())
    if member is None:
        allowed = ", ".join(repr(one if len(one) == 1 else one.lower()) for one in kind.__members__)
        raise InvalidArgumentError(f"{name} is {value!r}; allowed are {allowed}")
    return member


def text(value: str, name: str) -> bytes:
    """Text as C takes it."""
    if not isinstance(value, str) or "\0" in value:
        raise InvalidArgumentError(f"{name} is {value!r}; it must be text without NUL characters")
    return value.encode("utf-8", "surrogatepass")


def instance(value: Any, kind: type, name: str) -> Any:
    """An object of this package."""
    if not isinstance(value, kind):
        raise InvalidArgumentError(
            f"{name} is {type(value).__name__!r}; it must be a graft.{kind.__name__}")
    return value
