"""information.h"""

from __future__ import annotations

import ctypes as c

import numpy as np
from graft import _structures as s

from ..kinds import (
    FINITE,
    INVALID,
    MISMATCH,
    OK,
    Flag,
    Function,
    Init,
    Out,
    Real,
    Row,
    Struct,
    Tensor,
    Threads,
    Whole,
)

FLOATS = (np.float32, np.float64, np.float16, np.uint16)
SHAPE = (4, 3, 2)

STRUCTS = {
    "graft_information_options": {
        "bins": Whole(1, 65536, 10, allowed=(1, 65536)),
        "compatibility": Flag(),
        "filter_axis": Whole(0, 1, 0, c.c_int32, allowed=(0,)),
        "threads": Threads(),
    },
}

WEIGHTS = Tensor(SHAPE, types=FLOATS, agrees=None)
OPTIONS = Struct(s.InformationOptions, STRUCTS["graft_information_options"])
#: Where as many results are written as there are filters, an axis or a shape with others is none.
PER_FILTER = Whole(4, 4, 4, c.c_size_t, MISMATCH)
BY_VECTOR = Row("filters along a dimension that is not there", lambda world, _: {
    "weights": c.byref(world.tensor(world.array((4,)))),
    "options": c.byref(world.struct(s.InformationOptions, filter_axis=1))}, INVALID, "filter_axis")


def overlapping(world, _):
    room = world.array((30,))
    return {"self": c.byref(world.tensor(room[:24].reshape(SHAPE))),
            "other": c.byref(world.tensor(room[3:27].reshape(SHAPE)))}


def identical(world, _):
    tensor = c.byref(world.tensor(world.array(SHAPE)))
    return {"self": tensor, "other": tensor}


FUNCTIONS = {
    "graft_information_options_init": Init(s.InformationOptions),
    "graft_entropy": Function(
        # A layer's entropy has no filters: the axis is not looked at.
        {"weights": WEIGHTS, "options": OPTIONS, "entropy": Out(c.c_double)}),
    "graft_filter_entropies": Function(
        {"weights": WEIGHTS, "options": OPTIONS, "entropies": Out(c.c_double, 4),
         "count": PER_FILTER}, (BY_VECTOR,)),
    "graft_histogram": Function(
        {"weights": WEIGHTS,
         "options": Struct(s.InformationOptions, {
             **STRUCTS["graft_information_options"],
             "bins": Whole(1, 65536, 10, wrong=()),
         }),
         "counts": Out(c.c_int64, 10), "count": Whole(10, 10, 10, c.c_size_t, MISMATCH)}),
    "graft_filter_norms": Function(
        {"weights": WEIGHTS, "options": OPTIONS, "norms": Out(c.c_double, 4),
         "count": PER_FILTER}, (BY_VECTOR,)),
    "graft_invalid_filters": Function(
        {"weights": WEIGHTS, "threshold": Real(0, FINITE, 0.1), "options": OPTIONS,
         "mask": Out(c.c_uint8, 4), "count": PER_FILTER}, (BY_VECTOR,)),
    "graft_coefficient": Function(
        {"h_self": Real(-FINITE, FINITE, 1.0), "h_other": Real(-FINITE, FINITE, 2.0),
         "a": Real(0, 1, 0.4, allowed=(1.0,)), "c": Real(0, FINITE, 500),
         "compatibility": Flag(), "alpha": Out(c.c_double)}),
    "graft_blend": Function(
        {"self": Tensor(SHAPE, types=FLOATS, written=True, type_agrees=MISMATCH, empty=MISMATCH),
         "other": Tensor(SHAPE, types=FLOATS, type_agrees=MISMATCH, empty=MISMATCH),
         "alpha": Real(0, 1, 0.5, allowed=(1.0,)), "threads": Threads()},
        (Row("memory that overlaps", overlapping, INVALID, "other"),
         Row("one and the same tensor is allowed", identical, OK))),
}
