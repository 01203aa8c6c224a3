"""predictor.h"""

from __future__ import annotations

import ctypes as c

from graft import _structures as s

from ..kinds import (
    Destroy,
    Flag,
    Function,
    Handle,
    Init,
    Out,
    Struct,
    Tensor,
    Threads,
    Whole,
)
from .network import IMAGES, UNFINISHED, batches

STRUCTS = {
    "graft_predictor_options": {
        "value": Whole(-1, 6, -1, c.c_int32, allowed=(-1, 0, 6)),
        "fold": Flag(1),
        "threads": Threads(),
    },
}

CREATE = Function(
    {"network": Handle("network", rows=(UNFINISHED,)),
     "options": Struct(s.PredictorOptions, STRUCTS["graft_predictor_options"]),
     "predictor": Out(c.c_void_p)})

FUNCTIONS = {
    "graft_predictor_options_init": Init(s.PredictorOptions),
    "graft_predictor_create": CREATE,
    "graft_predictor_take": CREATE,
    "graft_predictor_destroy": Destroy({"predictor": Handle("predictor")}),
    "graft_predictor_output_shape": Function(
        {"predictor": Handle("predictor"), "shape": Out(c.c_int64, 3)}),
    "graft_predictor_run": Function(
        {"predictor": Handle("predictor"), "images": IMAGES,
         "output": Tensor((4, 3), finite=False, written=True, empty=None)}, batches("output")),
}
