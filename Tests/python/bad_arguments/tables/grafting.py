"""grafting.h"""

from __future__ import annotations

import ctypes as c

import numpy as np
from graft import _structures as s

from ..kinds import (
    FINITE,
    INVALID,
    MISMATCH,
    NOT_FINITE,
    OK,
    STATE,
    UNSUPPORTED,
    Any_,
    Array,
    Choice,
    Count,
    Destroy,
    Flag,
    Function,
    Handle,
    Index,
    Init,
    Out,
    OutStruct,
    Pointers,
    Real,
    Row,
    Struct,
    Tensor,
    Threads,
    Whole,
    put,
)

GIVEN = 4
NOISE = 6
NO_TENSOR = 2**64 - 1


class Sources(Array):
    """graft_options.sources: read where source is GRAFT_SOURCE_GIVEN."""

    def sound(self, world):
        return None

    def rows(self, name):
        def given(values, count):
            return lambda world, _: {
                "source": GIVEN, "source_count": count,
                "sources": world.numbers(c.c_int64, values) if values else None}
        yield Row("NULL, and needed", given(None, 2), INVALID)
        yield Row("a network that is none", given((1, 64), 2), INVALID, r"sources\[1\]")
        yield Row("a negative one", given((-1, 0), 2), INVALID, r"sources\[0\]")
        yield Row("the smallest", given((-2**63, 0), 2), INVALID, r"sources\[0\]")
        yield Row("two sound ones are allowed", given((1, 0), 2), OK)


class SourceCount(Whole):
    """graft_options.source_count: K, where source is GRAFT_SOURCE_GIVEN."""

    def rows(self, name):
        for count in (0, 65, 2**64 - 1):
            yield Row(f"{count}", lambda world, _, count=count: {
                "source": GIVEN, "source_count": count,
                "sources": world.numbers(c.c_int64, (1, 0))}, INVALID)


class Noise(Real):
    """graft_options.noise: read where source is GRAFT_SOURCE_NOISE."""

    def rows(self, name):
        for row in super().rows(name):
            yield row._replace(value=lambda world, sound, row=row: {
                "source": NOISE, "noise": row.value(world, sound)})


STRUCTS = {
    "graft_options": {
        "source": Choice(7), "weighting": Choice(5),
        "a": Real(0, 1, 0.4, allowed=(1.0,)), "c": Real(0, FINITE, 500),
        "constant": Real(0, 1, 0.5, allowed=(1.0,)), "bins": Whole(1, 65536, 10, allowed=(65536,)),
        "threshold": Real(0, FINITE, 0.1), "compatibility": Flag(), "dry_run": Flag(),
        "threads": Threads(), "start": Whole(1, 2**63 - 1, 1, allowed=(2**63 - 1,)),
        "every": Whole(1, 2**63 - 1, 1, allowed=(2**63 - 1,)),
        "stop": Whole(0, 2**63 - 1, 0, allowed=(0, 2**63 - 1)),
        "step": Whole(0, 2**63 - 1, 0, allowed=(2**63 - 1,)),
        "sources": Sources(c.c_int64, (1, 0)), "source_count": SourceCount(0, 64),
        "keep_zeros": Flag(), "noise": Noise(0, 1, 0.9, open_low=True, open_high=True),
        "seed": Any_(),
    },
}
OPTIONS = Struct(s.GraftOptions, STRUCTS["graft_options"])
SIZE = c.sizeof(s.Tensor)


class Stride(Whole):
    """sizeof(graft_tensor), as the caller was compiled with."""

    def __init__(self) -> None:
        super().__init__(8, 1 << 16, SIZE, c.c_size_t, wrong=(0, 7, SIZE + 1, SIZE + 4))


class Descriptions(Tensor):
    """Tensors one after another: of a network, or of a plan, which reads neither data nor shape."""

    def __init__(self, read: bool) -> None:
        super().__init__((4, 2, 3, 3), optional=None)
        self.read = read

    def sound(self, world):
        return c.cast(world.weights(10), c.POINTER(s.Tensor))

    def changed(self, what, status, named=None, /, *, array=None, **fields):
        def value(world, _):
            tensors = world.weights(10)
            if array is not None:
                tensors[1] = world.tensor(array(world))
            for field, to in fields.items():
                setattr(tensors[1], field, to(world) if callable(to) else to)
            return c.cast(tensors, c.POINTER(s.Tensor))
        return Row(what, value, status, named or r"tensors\[1\]")

    def rows(self, name):
        yield put("NULL", None, INVALID)
        unread = ("data", "shape", "dimension", "stride", "name", "product")
        for row in self.fields(4):
            if self.read or not any(word in row.what for word in unread):
                yield row


def networks(change=None, count=64):
    """K networks, one of whose tensors is another."""
    def made(world, _=None):
        pairs = [world.weights(10), world.weights(20)]
        if change is not None:
            change(world, pairs)
        return world.keep((c.POINTER(s.Tensor) * count)(
            *[c.cast(pairs[k % 2] if k < 2 else world.weights(10 * k), c.POINTER(s.Tensor))
              for k in range(count)]))
    return made


def one(what, status, named, array=None, tensor=0, **fields):
    """A row about one tensor of the second network."""
    def change(world, pairs):
        if array is not None:
            name = pairs[1][tensor].name
            pairs[1][tensor] = world.tensor(array(world), name)
        for field, to in fields.items():
            setattr(pairs[1][tensor], field, to(world, pairs) if callable(to) else to)
    return Row(what, networks(change, 2), status, named)


def poisoned(value):
    def made(world):
        array = world.array((4, 2, 3, 3))
        array[3, 1, 2, 2] = value
        return array
    return made


def null_network(world, _):
    pointers = networks(None, 2)(world)
    pointers[1] = None
    return pointers


def shared(world, pairs):
    return pairs[0][0].data


def part(world, pairs):
    return pairs[0][0].data + 4


SECOND = r"networks\[1\]|network 1"

FUNCTIONS = {
    "graft_plan_create": Function(
        {"tensors": Descriptions(read=False), "stride": Stride(),
         "count": Whole(1, 1 << 20, 5, c.c_size_t), "plan": Out(c.c_void_p)}),
    "graft_plan_destroy": Destroy({"plan": Handle("plan")}),
    "graft_plan_count": Count({"plan": Handle("plan")}),
    "graft_plan_get": Function(
        {"plan": Handle("plan"), "index": Index(5), "entry": OutStruct(s.PlanEntry)}),
    "graft_plan_set": Function(
        {"plan": Handle("plan"), "index": Index(5, 1), "role": Choice(4, 1),
         "feeder": Whole(0, 4, 0, c.c_size_t, wrong=(1, 3)),
         "filter_axis": Whole(0, 1, 0, c.c_int32)},
        (Row("an axis that the tensor has not", lambda world, _: dict(filter_axis=1), INVALID,
             "filter_axis"),
         Row("integers that are to follow", lambda world, _: dict(index=4), INVALID, "index"),
         Row("a layer that others follow is to follow", lambda world, _: dict(
             index=0, role=2, feeder=0), STATE, "index"))),
    "graft_plan_set_scales": Function(
        {"plan": Handle("plan"), "index": Index(5),
         "scale": Whole(0, 4, 1, c.c_size_t, wrong=(0, 2, 4), allowed=(NO_TENSOR,)),
         "input_scale": Whole(0, 4, NO_TENSOR, c.c_size_t, wrong=(0, 2, 4),
                              allowed=(NO_TENSOR,))},
        (Row("input channels of a vector", lambda world, _: dict(index=1, input_scale=1), INVALID,
             "input_scale"),)),
    "graft_options_init": Init(s.GraftOptions),
    "graft_is_due": Function(
        {"options": OPTIONS, "index": Whole(1, 2**63 - 1, 1, allowed=(2**63 - 1,)),
         "due": Out(c.c_int32)}),
    "graft_apply": Function(
        {"plan": Handle("plan", optional=True, rows=(
            Row("of fewer tensors", lambda world, _: world.get("short plan"), MISMATCH),)),
         "networks": Pointers(networks(None), (
             Row("one of them NULL", null_network, INVALID, r"networks\[1\]"),
             one("struct_size 0", INVALID, SECOND, struct_size=0),
             one("dtype 5", INVALID, SECOND + "|conv.weight", dtype=5),
             one("rank 9", INVALID, SECOND + "|conv.weight", rank=9),
             one("data NULL", INVALID, SECOND + "|conv.weight", data=None),
             one("shape NULL", INVALID, SECOND + "|conv.weight", shape=None),
             one("misaligned", INVALID, SECOND + "|conv.weight",
                 data=lambda world, pairs: pairs[1][0].data + 1),
             one("another shape", MISMATCH, SECOND, lambda world: world.array((4, 2, 3, 4))),
             one("another rank", MISMATCH, SECOND, lambda world: world.array((4, 18))),
             one("another type", MISMATCH, SECOND,
                 lambda world: world.array((4, 2, 3, 3), np.float64)),
             one("integers", UNSUPPORTED, SECOND + "|conv.weight",
                 lambda world: world.array((4, 2, 3, 3), np.int64)),
             one("NaN", NOT_FINITE, SECOND, poisoned(np.nan)),
             one("infinity", NOT_FINITE, SECOND, poisoned(np.inf)),
             one("minus infinity", NOT_FINITE, SECOND, poisoned(-np.inf)),
             one("NaN in what follows", NOT_FINITE, SECOND, tensor=1,
                 array=lambda world: world.keep(np.full(4, np.nan, np.float32))),
             one("a denormal is allowed", OK, SECOND, poisoned(1e-45)),
             one("memory of another network's", INVALID, SECOND, data=shared),
             one("a part of another network's", INVALID, SECOND, data=part),
             one("elements that share memory", INVALID, SECOND + "|conv.weight",
                 strides=lambda world, pairs: world.numbers(c.c_int64, (0, 0, 0, 0))))),
         "stride": Stride(), "tensor_count": Whole(1, 1 << 20, 5, c.c_size_t, wrong=(0,)),
         "network_count": Whole(1, 64, 2, c.c_size_t, allowed=(1, 64)),
         "options": OPTIONS, "report": Out(c.c_void_p, optional=True)},
        (Row("a source for one network of two", lambda world, _: {"options": c.byref(world.struct(
            s.GraftOptions, source=GIVEN, source_count=1,
            sources=world.numbers(c.c_int64, (0,))))}, INVALID, "source_count"),
         Row("a source that is no network of them", lambda world, _: {"options": c.byref(
             world.struct(s.GraftOptions, source=GIVEN, source_count=2,
                          sources=world.numbers(c.c_int64, (0, 2))))}, INVALID, r"sources\[1\]"),
         Row("an empty layer", lambda world, _: {"networks": networks(empty, 2)(world)}, INVALID,
             "conv.weight"))),
    "graft_report_destroy": Destroy({"report": Handle("report")}),
    "graft_report_layer_count": Count({"report": Handle("report")}),
    "graft_report_network_count": Count({"report": Handle("report")}),
    "graft_report_layer": Function(
        {"report": Handle("report"), "layer": Index(1), "network": Index(2),
         "out": OutStruct(s.LayerReport)}),
}


def empty(world, pairs):
    for weights in pairs:
        weights[0] = world.tensor(world.array((0, 2, 3, 3)), b"conv.weight")
