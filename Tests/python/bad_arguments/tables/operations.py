"""operations.h"""

from __future__ import annotations

import ctypes as c

from graft import _structures as s

from ..kinds import (
    INVALID,
    STATE,
    UNSUPPORTED,
    Count,
    Function,
    Handle,
    Index,
    Out,
    OutStruct,
    Row,
    Text,
    Whole,
)
from .network import FINISHED, IMAGES, LOGITS, UNFINISHED, batches


def ends_in_pool(world, _) -> int:
    made = world.network(finished=False)
    world.call("graft_network_finish", made, 5, 1)
    return world.also("pooled", made, "network")


FUNCTIONS = {
    "graft_network_operation_count": Count({"network": Handle("network")}),
    "graft_network_operation": Function(
        {"network": Handle("network"), "index": Index(7),
         "operation": OutStruct(s.Operation)}),
    "graft_network_set_timing": Function(
        {"network": Handle("network"), "on": Whole(0, 1, 1, c.c_int32)}),
    "graft_network_operation_time": Function(
        {"network": Handle("timed", rows=(
            Row("whose operations are not timed", lambda world, _: world.get("network"), STATE,
                "timed"),)),
         "index": Index(7), "forward": Out(c.c_double), "backward": Out(c.c_double)}),
    "graft_network_output": Function({"network": FINISHED, "output": Out(c.c_int32)}),
    "graft_network_label": Function(
        {"network": Handle("network"), "value": Whole(0, 6, 3, c.c_int32),
         "name": Text(b"middle")},
        (Row("a value that has a name", lambda world, _: dict(value=1), INVALID, "value"),)),
    "graft_network_find": Function(
        {"network": Handle("network"), "name": Text(b"conv", missing=b"nobody"),
         "value": Out(c.c_int32)}),
    "graft_network_penultimate": Function(
        {"network": Handle("network", rows=(
            UNFINISHED,
            Row("that ends in no linear layer", ends_in_pool, UNSUPPORTED, "linear"))),
         "value": Out(c.c_int32)}),
    "graft_network_features": Function(
        {"network": Handle("open", rows=(UNFINISHED,)), "value": Whole(0, 6, 6, c.c_int32),
         "images": IMAGES, "output": LOGITS}, batches("output")),
    "graft_network_plan": Function({"network": FINISHED, "plan": Out(c.c_void_p)}),
}
