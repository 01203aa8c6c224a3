"""network.h: the optimiser"""

from __future__ import annotations

import ctypes as c

from graft import _structures as s

from ..kinds import (
    FINITE,
    FINITE_FLOAT32,
    INVALID,
    NOT_FINITE,
    STATE,
    Destroy,
    Flag,
    Function,
    Handle,
    Index,
    Init,
    Out,
    OutStruct,
    Real,
    Row,
    Struct,
)
from .network import FINISHED

STRUCTS = {
    "graft_sgd_options": {
        "learning_rate": Real(0, FINITE_FLOAT32, 0.1),
        "momentum": Real(0, 1, 0.9, open_high=True),
        "weight_decay": Real(0, FINITE_FLOAT32),
        "nesterov": Flag(),
        "decay_weights_only": Flag(),
        "clip_norm": Real(0, FINITE, infinity=True),
    },
}


def poisoned(world, _) -> int:
    """An optimiser whose gradients have no finite norm."""
    network = world.also("poisoned network", world.network(), "network")
    world.backward(network)
    options = world.struct(s.SgdOptions, clip_norm=1.0)
    made = world.made("graft_sgd_create", network, c.byref(options))
    gradient = world.struct(s.Tensor)
    world.call("graft_network_gradient", network, 0, c.byref(gradient))
    c.cast(gradient.data, c.POINTER(c.c_float))[3] = float("nan")
    return world.also("poisoned", made, "sgd")


FUNCTIONS = {
    "graft_sgd_options_init": Init(s.SgdOptions),
    "graft_sgd_create": Function(
        {"network": FINISHED, "options": Struct(s.SgdOptions, STRUCTS["graft_sgd_options"]),
         "optimiser": Out(c.c_void_p)},
        (Row("nesterov without momentum", lambda world, _: {"options": c.byref(
            world.struct(s.SgdOptions, nesterov=1, momentum=0))}, INVALID, "nesterov"),)),
    "graft_sgd_destroy": Destroy({"optimiser": Handle("sgd")}),
    "graft_sgd_set_learning_rate": Function(
        {"optimiser": Handle("sgd"), "learning_rate": Real(0, FINITE_FLOAT32, 0.1)}),
    "graft_sgd_step": Function({"optimiser": Handle("sgd", rows=(
        Row("no backward pass before it", lambda world, _: world.get("new sgd"), STATE,
            "backward"),
        Row("gradients that are not finite", poisoned, NOT_FINITE, "gradients"),))}),
    "graft_sgd_gradient_norm": Function(
        {"optimiser": Handle("sgd", rows=(
            Row("that does not clip", lambda world, _: world.get("new sgd"), STATE,
                "clip_norm"),)),
         "norm": Out(c.c_double)}),
    "graft_sgd_momentum": Function(
        {"optimiser": Handle("sgd"), "index": Index(8),
         "tensor": OutStruct(s.Tensor)},
        (Row("of running statistics", lambda world, _: dict(index=3), INVALID, "index"),)),
}
