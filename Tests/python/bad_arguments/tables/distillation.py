"""distillation.h"""

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
    UNSUPPORTED,
    Array,
    Function,
    Init,
    Out,
    Pointers,
    Real,
    Row,
    Struct,
    Tensor,
    Threads,
    Whole,
)

STRUCTS = {
    "graft_distillation_options": {
        "temperature": Real(0, FINITE, 2, open_low=True),
        "label_weight": Real(0, FINITE, 1),
        "distillation_weight": Real(0, FINITE, 1),
        "threads": Threads(),
        "label_smoothing": Real(0, 1, allowed=(1.0,)),
    },
}
SHAPE = (4, 3)
LOGITS = (np.float32, np.float64)


def teachers(*arrays):
    """Pointers to logits, of which `arrays` gives some other than sound ones."""
    def made(world):
        tensors = [world.tensor(world.array(SHAPE, seed=3)) for _ in range(2)]
        for place, make in enumerate(arrays):
            if make is not None:
                tensors[place] = world.tensor(make(world))
        pointers = (c.POINTER(s.Tensor) * 64)(*[c.pointer(tensors[i % 2]) for i in range(64)])
        return world.keep(pointers)
    return made


def one_teacher(what, status, array):
    return Row(what, lambda world, _: teachers(None, array)(world), status, r"teachers\[1\]")


def poisoned(word):
    def made(world):
        array = world.array(SHAPE)
        array[3, 2] = float(word)
        return array
    return made


def null_teacher(world, _):
    pointers = teachers()(world)
    pointers[1] = None
    return pointers


def over(what, **arguments):
    """The gradient where it must not be."""
    def made(world, sound):
        room = world.array((24,))
        lower, upper = room[:12].reshape(SHAPE), room[3:15].reshape(SHAPE)
        tensors = teachers(None, lambda _: lower)(world)
        student = world.tensor(lower)
        return {"gradient": c.byref(world.tensor(upper)),
                **({"student": c.byref(student)} if what == "student" else {"teachers": tensors})}
    return made


def own_memory(world, _):
    student = c.byref(world.tensor(world.array(SHAPE)))
    return {"student": student, "gradient": student}


FUNCTIONS = {
    "graft_distillation_options_init": Init(s.DistillationOptions),
    "graft_distillation_loss": Function(
        {"student": Tensor(SHAPE, types=LOGITS, type_agrees=MISMATCH, agrees=None, more=(
            Tensor(SHAPE).changed("a class more", MISMATCH, r"teachers\[0\]",
                                  array=lambda world: world.array((4, 4))),
            Tensor(SHAPE).changed("of 3 dimensions", INVALID,
                                  array=lambda world: world.array((4, 3, 1))),)),
         "teachers": Pointers(teachers(), (
             one_teacher("an image more", MISMATCH, lambda world: world.array((5, 3))),
             one_teacher("a class more", MISMATCH, lambda world: world.array((4, 4))),
             one_teacher("of 3 dimensions", INVALID, lambda world: world.array((4, 3, 1))),
             one_teacher("of another type", MISMATCH,
                         lambda world: world.array(SHAPE, np.float64)),
             one_teacher("of integers", UNSUPPORTED, lambda world: world.array(SHAPE, np.int64)),
             one_teacher("nan", NOT_FINITE, poisoned("nan")),
             one_teacher("inf", NOT_FINITE, poisoned("inf")),
             Row("one of them NULL", null_teacher, INVALID, r"teachers\[1\]"))),
         "teacher_count": Whole(0, 64, 2, c.c_size_t, allowed=(0, 64)),
         "labels": Array(c.c_int64, (0, 1, 2, 0), (
             ("of no class", (0, 1, 3, 0), INVALID, r"labels\[2\]"),
             ("negative", (0, -1, 2, 0), INVALID, r"labels\[1\]"),
             ("the smallest", (0, 1, 2, -2**63), INVALID, r"labels\[3\]"))),
         "options": Struct(s.DistillationOptions, STRUCTS["graft_distillation_options"]),
         "loss": Out(c.c_double),
         "gradient": Tensor(SHAPE, types=LOGITS, finite=False, written=True, optional=True,
                            empty=MISMATCH, wrong_type=MISMATCH, type_agrees=MISMATCH)},
        (Row("gradient over a part of the student", over("student"), INVALID, "gradient"),
         Row("gradient over a part of a teacher", over("teacher"), INVALID, "gradient"),
         Row("gradient in the student's own memory is allowed", own_memory, OK),
         Row("no labels where label_weight is 0 is allowed", lambda world, _: {
             "labels": None,
             "options": c.byref(world.struct(s.DistillationOptions, label_weight=0))}, OK))),
}
