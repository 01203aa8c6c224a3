"""What an argument can be, and so what can be wrong with it.

A kind has a sound value and rows: a change to the sound arguments, the status that the call then
has to return, and a word that the message has to have in it, by itself the argument's name. Rows
whose status is OK are values at the edge of what is allowed.
"""

from __future__ import annotations

import ctypes as c
import math
from typing import Any, Callable, Iterator, NamedTuple

import numpy as np
from graft import _structures as s

from .world import CANARY, OBJECTS, World

OK, INVALID, MISMATCH, NOT_FINITE, NO_MEMORY = 0, 1, 2, 3, 4
IO, FORMAT, UNSUPPORTED, STATE = 5, 6, 8, 9

Arguments = dict[str, Any]
Change = Callable[[World, Arguments], Any]


class Row(NamedTuple):
    what: str
    #: Gives the bad value.
    value: Change
    status: int
    #: A word of the message; None for the argument's name.
    named: str | None = None


def put(what: str, value: Any, status: int, named: str | None = None) -> Row:
    """A value that needs nothing made."""
    return Row(what, lambda world, sound: value, status, named)


class Kind:
    """Base of all kinds."""

    def sound(self, world: World) -> Any:
        raise NotImplementedError

    def rows(self, name: str) -> Iterator[Row]:
        raise NotImplementedError


LARGEST = {c.c_int32: 2**31 - 1, c.c_int64: 2**63 - 1, c.c_size_t: 2**64 - 1,
           c.c_uint32: 2**32 - 1}


class Whole(Kind):
    """A whole number from `low` to `high`."""

    def __init__(self, low: int, high: int, sound: int | Callable[[World], int] | None = None,
                 type: Any = c.c_int64, status: int = INVALID, allowed: tuple[int, ...] = (),
                 wrong: tuple[int, ...] = ()) -> None:
        self.low, self.high, self.type, self.status = low, high, type, status
        self.value = low if sound is None else sound
        self.allowed, self.wrong = allowed, wrong

    def sound(self, world: World) -> int:
        return self.value(world) if callable(self.value) else self.value

    def rows(self, name: str) -> Iterator[Row]:
        largest = LARGEST[self.type]
        smallest = 0 if self.type in (c.c_size_t, c.c_uint32) else -largest - 1
        beyond = {self.low - 1, self.high + 1, smallest, largest, *self.wrong}
        for value in sorted(beyond - set(self.allowed)):
            if smallest <= value <= largest and (
                    not self.low <= value <= self.high or value in self.wrong):
                yield put(f"{value}", value, self.status)
        for value in self.allowed:
            yield put(f"{value} is allowed", value, OK)


def Flag(sound: int = 0) -> Whole:
    return Whole(0, 1, sound, c.c_int32, allowed=(0, 1))


def Choice(count: int, sound: int = 0) -> Whole:
    """One of an enumeration's numbers."""
    return Whole(0, count - 1, sound, c.c_uint32, wrong=(99,))


def Threads() -> Whole:
    return Whole(0, 256, 1, c.c_int32, allowed=(0, 256))


def Index(count: int, sound: int = 0, wrong: tuple[int, ...] = ()) -> Whole:
    """A size_t below a count."""
    return Whole(0, count - 1, sound, c.c_size_t, wrong=wrong)


class Any_(Kind):
    """A number of which none is wrong."""

    def __init__(self, *values: Any) -> None:
        self.values = values or (0, 2**64 - 1)

    def sound(self, world: World) -> Any:
        return self.values[0]

    def rows(self, name: str) -> Iterator[Row]:
        for value in self.values:
            yield put(f"{value} is allowed", value, OK)


class Real(Kind):
    """A real number from `low` to `high`, the ends themselves excluded where they are open."""

    def __init__(self, low: float, high: float, sound: float | None = None,
                 open_low: bool = False, open_high: bool = False, infinity: bool = False,
                 allowed: tuple[float, ...] = ()) -> None:
        self.low, self.high = low, high
        self.open_low, self.open_high, self.infinity = open_low, open_high, infinity
        self.value = low if sound is None else sound
        self.allowed = allowed

    def sound(self, world: World) -> float:
        return self.value

    def rows(self, name: str) -> Iterator[Row]:
        ends = {end for end, is_open in (
            (self.low, self.open_low), (self.high, self.open_high)) if is_open}
        wrong = ends | {-math.inf, math.nextafter(self.low, -math.inf), self.low - 1}
        if not self.infinity:
            wrong |= {math.inf, math.nextafter(self.high, math.inf)}
        yield put("NaN", float("nan"), INVALID)
        for value in sorted(wrong - set(self.allowed)):
            if not self.low <= value <= self.high or value in ends:
                yield put(f"{value}", float(value), INVALID)
        if self.infinity:
            yield put("infinity is allowed", float("inf"), OK)
        if not self.open_low:
            yield put(f"{self.low} is allowed", float(self.low), OK)
        if self.low == 0:
            yield put("a denormal is allowed", 5e-324, OK)
        for value in self.allowed:
            yield put(f"{value} is allowed", float(value), OK)


FINITE = float(np.finfo(np.float64).max)
FINITE_FLOAT32 = float(np.finfo(np.float32).max)


class Text(Kind):
    """A layer's name."""

    def __init__(self, sound: bytes = b"new", taken: bytes = b"conv", optional: bool = False,
                 missing: bytes | None = None) -> None:
        self.value, self.taken, self.optional, self.missing = sound, taken, optional, missing

    def sound(self, world: World) -> bytes:
        return self.value

    def rows(self, name: str) -> Iterator[Row]:
        yield put("NULL", None, INVALID)
        yield put("not UTF-8", b"\xff\xfe", INVALID)
        if self.missing is not None:
            yield put("no layer's", self.missing, INVALID)
            return
        yield put("empty", b"", INVALID)
        yield put("513 bytes", b"x" * 513, INVALID)
        yield put("a newline", b"a\nb", INVALID)
        yield put("an escape", b"a\x1b[31mb", INVALID)
        yield put("a C1 control", "a\x9bb".encode(), INVALID)
        yield put("another layer's", self.taken, INVALID)


class Path(Kind):
    """A path, as a file's that is read (`missing`: the status where there is none) or written."""

    def __init__(self, sound: Callable[[World], str], status: int = IO,
                 rows: tuple[Row, ...] = (), empty: int | None = None) -> None:
        self.value, self.status, self.more = sound, status, rows
        self.empty = status if empty is None else empty

    def sound(self, world: World) -> bytes:
        return self.value(world).encode()

    def rows(self, name: str) -> Iterator[Row]:
        yield put("NULL", None, INVALID)
        yield put("not UTF-8", b"\xff\xfe", INVALID)
        yield put("empty", b"", self.empty, "")
        yield Row("where there is nothing", lambda world, _: str(
            world.folder / "nowhere" / "at" / "all").encode(), self.status, "nowhere")
        yield put("longer than paths are", b"/" + b"x" * 5000, self.status, "")
        yield from self.more


class Out(Kind):
    """A place for results."""

    def __init__(self, type: Any, count: int = 1, optional: bool = False) -> None:
        self.type, self.count, self.optional = type, count, optional

    def sound(self, world: World) -> Any:
        return world.room(self.type, self.count)

    def rows(self, name: str) -> Iterator[Row]:
        yield put("NULL is allowed" if self.optional else "NULL", None,
                  OK if self.optional else INVALID)


class OutStruct(Kind):
    """A struct that the library fills; its struct_size is the caller's."""

    def __init__(self, type: Any) -> None:
        self.type = type

    def made(self, world: World, size: int) -> Any:
        one = world.room(self.type)
        one[0].struct_size = size
        return one

    def sound(self, world: World) -> Any:
        return self.made(world, c.sizeof(self.type))

    def rows(self, name: str) -> Iterator[Row]:
        yield put("NULL", None, INVALID)
        for size in (0, 7, (1 << 16) + 1, 2**64 - 1):
            yield Row(f"struct_size {size}", lambda world, _, size=size: self.made(world, size),
                      INVALID)
        yield Row("struct_size of an older, smaller struct is allowed",
                  lambda world, _: Older(self.made(world, 16)), OK)


class Older(NamedTuple):
    """A struct of which a caller's older header has the first 16 bytes only: what lies behind them
    must stay as it is."""

    memory: Any

    def rest(self) -> bytes:
        return bytes(self.memory)[16:]


class Handle(Kind):
    """A handle, of the object of that name in `world.OBJECTS`."""

    def __init__(self, sound: str | None, optional: bool = False, kind: str | None = None,
                 rows: tuple[Row, ...] = ()) -> None:
        self.object, self.optional, self.more = sound, optional, rows

    def sound(self, world: World) -> Any:
        return None if self.object is None else world.get(self.object)

    def rows(self, name: str) -> Iterator[Row]:
        yield put("NULL is allowed" if self.optional else "NULL", None,
                  OK if self.optional else INVALID)
        yield from foreign_handles(self.object)
        yield from self.more


#: What is made anew in place of an object that others are part of.
SIMPLER = {"sgd": "new sgd", "trainer": "new trainer", "ready trainer": "new trainer"}


def foreign_handles(own: str | None) -> Iterator[Row]:
    """What is no live handle of the kind that is wanted."""

    def ended(world: World, _: Arguments) -> int:
        gone = world.dataset() if own == "plan" else world.made(
            "graft_plan_create", world.weights(1), c.sizeof(s.Tensor), 5)
        world.raw("graft_plan_destroy", gone)
        world.raw("graft_dataset_destroy", gone)
        return gone

    def ended_own(world: World, _: Arguments) -> int:
        make, kind = OBJECTS[SIMPLER.get(own, own or "plan")]
        gone = make(world)
        world.raw(f"graft_{kind}_destroy", gone)
        # Its memory and its place are used again, by one of its own kind.
        world.also(f"another {len(world.objects)}", make(world), kind)
        return gone

    yield put("an address that is no memory", 8, INVALID)
    yield put("a misaligned address", 0x10001, INVALID)
    yield Row("memory of the caller's",
              lambda world, _: world.array((64,)).ctypes.data, INVALID)
    yield Row("memory of the caller's, misaligned",
              lambda world, _: world.array((64,)).ctypes.data + 1, INVALID)
    yield Row("a handle of another kind", lambda world, _: world.get(
        "dataset" if own in (None, "plan", "short plan") else "plan"), INVALID)
    yield Row("an ended handle of another kind", ended, INVALID)
    yield Row("an ended handle, its place used again", ended_own, INVALID)


class Tensor(Kind):
    """An array. `types` are those that are taken; `agrees`: its shape has to be as it is."""

    def __init__(self, shape: tuple[int, ...], *, types: tuple[Any, ...] = (np.float32,),
                 wrong_type: int = UNSUPPORTED, finite: bool = True, written: bool = False,
                 empty: int | None = INVALID, agrees: int | None = MISMATCH,
                 optional: bool | None = False, type_agrees: int | None = None,
                 more: tuple[Row, ...] = ()) -> None:
        self.shape, self.types, self.wrong_type = shape, types, wrong_type
        self.finite, self.written, self.empty, self.agrees = finite, written, empty, agrees
        self.optional, self.type_agrees, self.more = optional, type_agrees, more

    def array(self, world: World) -> np.ndarray:
        return world.array(self.shape, self.types[0], seed=4)

    def sound(self, world: World) -> Any:
        return c.byref(world.tensor(self.array(world)))

    def changed(self, what: str, status: int, named: str | None = None, /, *,
                array: Callable[[World], np.ndarray] | None = None, **fields: Any) -> Row:
        def value(world: World, _: Arguments) -> Any:
            made = world.tensor((array or self.array)(world))
            for field, to in fields.items():
                setattr(made, field, to(world) if callable(to) else to)
            return c.byref(made)
        return Row(what, value, status, named)

    def rows(self, name: str) -> Iterator[Row]:
        if self.optional is not None:
            yield put("NULL is allowed" if self.optional else "NULL", None,
                      OK if self.optional else INVALID)
        yield from self.fields(len(self.shape))
        yield from self.contents()
        yield from self.more

    def fields(self, rank: int) -> Iterator[Row]:
        """Each field of graft_tensor."""
        integers = lambda *values: lambda world: world.numbers(c.c_int64, values)  # noqa: E731
        for size in (0, 7, 1 << 17, 2**64 - 1):
            yield self.changed(f"struct_size {size}", INVALID, struct_size=size)
        yield self.changed("a name that is not UTF-8", INVALID, name=b"\xff")
        yield self.changed("its own name", INVALID, "weights of mine", name=b"weights of mine",
                           rank=-1)
        yield self.changed("a name with an escape in it", INVALID, r"a\\x1b\[31m\\x0ab",
                           name=b"a\x1b[31m\nb", rank=-1)
        yield self.changed("data NULL", INVALID, data=None)
        yield self.changed("data misaligned", INVALID,
                           data=lambda world: self.array(world).ctypes.data + 1)
        for number in (5, 2**32 - 1):
            yield self.changed(f"dtype {number}", INVALID, dtype=number)
        for number in (-1, 9, -2**31, 2**31 - 1):
            yield self.changed(f"rank {number}", INVALID, rank=number)
        yield self.changed("shape NULL", INVALID, shape=None)
        ones = (1,) * (rank - 1)
        yield self.changed("a negative dimension", INVALID, shape=integers(-1, *ones))
        yield self.changed("the smallest dimension", INVALID, shape=integers(-2**63, *ones))
        yield self.changed("a huge dimension", INVALID, shape=integers(2**62, *ones))
        if rank > 1:
            yield self.changed("a product of dimensions that overflows", INVALID,
                               shape=integers(2**32, 2**32, *ones[1:]))
        yield self.changed("a negative stride", INVALID, strides=integers(-1, *ones))
        yield self.changed("strides that reach too far", INVALID,
                           strides=integers(2**62, *ones))
        if self.written:
            yield self.changed("elements that share memory", INVALID,
                               strides=integers(*(0,) * rank))

    def contents(self) -> Iterator[Row]:
        for kind in (np.float32, np.float64, np.float16, np.uint16, np.int64):
            if kind not in self.types:
                yield self.changed(f"of {np.dtype(kind)}", self.wrong_type,
                                   array=lambda world, kind=kind: world.array(self.shape, kind))
            elif kind is not self.types[0]:
                yield self.changed(f"of {np.dtype(kind)}, " + (
                    "unlike the other" if self.type_agrees else "which is allowed"),
                    self.type_agrees or OK,
                    array=lambda world, kind=kind: world.array(self.shape, kind))
        if self.finite:
            for word in ("nan", "inf", "-inf"):
                def poisoned(world: World, word: str = word) -> np.ndarray:
                    array = self.array(world)
                    array.flat[array.size // 2] = float(word)
                    return array
                yield self.changed(word, NOT_FINITE, array=poisoned)

            def denormal(world: World) -> np.ndarray:
                array = self.array(world)
                array.flat[0] = np.finfo(array.dtype).smallest_subnormal
                return array
            yield self.changed("a denormal is allowed", OK, array=denormal)
        if self.empty is not None:
            yield self.changed(
                "empty", self.empty,
                array=lambda world: world.array((0, *self.shape[1:]), self.types[0]))
        if self.agrees is not None:
            yield self.changed(
                "one more in dimension 0", self.agrees,
                array=lambda world: world.array((self.shape[0] + 1, *self.shape[1:])))
            yield self.changed(
                "one more in the last dimension", self.agrees,
                array=lambda world: world.array((*self.shape[:-1], self.shape[-1] + 1)))
            yield self.changed("a dimension less", self.agrees,
                               array=lambda world: world.array(self.shape[:-1]))
            yield self.changed("a dimension more", self.agrees,
                               array=lambda world: world.array((*self.shape, 1)))


class Struct(Kind):
    """An options struct, by its table of fields."""

    def __init__(self, type: Any, fields: dict[str, Kind], optional: bool = True,
                 sound: Callable[[World], dict[str, Any]] | None = None, shown: str = "",
                 large: bool = False) -> None:
        """`shown` is what messages put before a field's name. Where what the defaults stand for is
        `large`, no row has it made."""
        self.type, self.fields, self.optional, self.large = type, fields, optional, large
        self.values = sound or (lambda world: {})
        self.shown = shown

    def made(self, world: World, **changes: Any) -> Any:
        return world.struct(self.type, **{**self.values(world), **changes})

    def sound(self, world: World) -> Any:
        return c.byref(self.made(world))

    def rows(self, name: str) -> Iterator[Row]:
        if not self.optional or not self.large:
            yield put("NULL is allowed" if self.optional else "NULL", None,
                      OK if self.optional else INVALID)
        for size in (0, 7, (1 << 16) + 1, 2**64 - 1):
            yield Row(f"struct_size {size}",
                      lambda world, _, size=size: c.byref(self.made(world, struct_size=size)),
                      INVALID)
        if self.optional:
            last = getattr(self.type, self.type._fields_[-1][0]).offset
            yield Row("struct_size of an older, smaller struct is allowed",
                      lambda world, _: c.byref(self.made(
                          world, struct_size=last if self.large else 8)), OK)
        for field, kind in self.fields.items():
            for row in kind.rows(field):
                def value(world: World, sound: Arguments, field: str = field,
                          row: Row = row) -> Any:
                    to = row.value(world, sound)
                    if isinstance(to, dict):
                        return c.byref(self.made(world, **to))
                    if to is not None and hasattr(to, "_obj"):
                        to = c.pointer(to._obj)
                    return c.byref(self.made(world, **{field: to}))
                named = row.named if row.named is not None else field
                yield Row(f"{field}: {row.what}", value, row.status,
                          f"{self.shown}{named}" if self.shown and named else named)


class Array(Kind):
    """Numbers that a pointer leads to."""

    def __init__(self, type: Any, values: tuple[Any, ...],
                 rows: tuple[tuple[str, Any, int, str | None], ...] = (), optional: bool = False,
                 null: int = INVALID) -> None:
        self.type, self.values, self.more, self.optional = type, values, rows, optional
        self.null = null

    def sound(self, world: World) -> Any:
        return world.numbers(self.type, self.values)

    def rows(self, name: str) -> Iterator[Row]:
        yield put("NULL is allowed" if self.optional else "NULL", None,
                  OK if self.optional else self.null)
        for what, values, status, named in self.more:
            yield Row(what, lambda world, _, values=values: world.numbers(self.type, values),
                      status, named)


class Pointers(Kind):
    """Pointers to arrays of descriptions: networks, teachers."""

    def __init__(self, made: Callable[[World], Any], rows: tuple[Row, ...] = ()) -> None:
        self.made, self.more = made, rows

    def sound(self, world: World) -> Any:
        return self.made(world)

    def rows(self, name: str) -> Iterator[Row]:
        yield put("NULL", None, INVALID)
        yield from self.more


class Function(NamedTuple):
    parameters: dict[str, Kind]
    #: Rows that are about several arguments at once: `value` gives those that change.
    together: tuple[Row, ...] = ()


class Count(NamedTuple):
    """A function that gives a number of a handle's, 0 for what is none."""

    parameters: dict[str, Handle]
    together: tuple[Row, ...] = ()


class Destroy(NamedTuple):
    """A function that ends a handle, and leaves alone what is none."""

    parameters: dict[str, Handle]
    together: tuple[Row, ...] = ()


class Init(NamedTuple):
    """A function that fills an options struct."""

    type: Any

    @property
    def parameters(self) -> dict[str, Kind]:
        return {"options": self, "size": self}  # type: ignore[dict-item]


def blank(type: Any) -> Any:
    """A struct full of canaries."""
    made = (c.c_uint8 * (c.sizeof(type) + 64))()
    c.memset(made, CANARY, c.sizeof(made))
    return made
