"""The plan by order: what carries information, what follows what; and how it is changed."""

from __future__ import annotations

import ctypes
from ctypes import byref

import numpy as np
import pytest

import graft
from graft import _structures as s
from graft._library import lib


def zeros(*shape: int, dtype: str = "f4") -> np.ndarray:
    return np.zeros(shape, dtype)


NETWORK = {
    "token": zeros(7),
    "scale": zeros(),
    "conv1": zeros(8, 3, 3, 3),
    "bias1": zeros(8),
    "bn.steps": zeros(dtype="i8"),
    "bn.weight": zeros(8),
    "conv2": zeros(8, 8, 3),
    "fc1": zeros(5, 8),
    "fc1.bias": zeros(5),
    "fc2": zeros(5, 5),
    "fc2.bias": zeros(5),
    "temperature": zeros(),
    "conv3d": zeros(2, 2, 3, 3, 3),
    "mask": zeros(2, 2, 3, 3, 3, dtype="i4"),
    "fc3": zeros(2, 2),
}


def test_plan_by_order() -> None:
    plan = graft.Plan(NETWORK)
    assert [(entry.name, entry.role, entry.rule, entry.feeder) for entry in plan] == [
        ("token", "half", "no layer", None),
        ("scale", "half", "no layer", None),
        ("conv1", "layer", "convolution", None),
        ("bias1", "follows", "order", "conv1"),
        ("bn.steps", "leave", "integer", None),
        ("bn.weight", "follows", "order", "conv1"),
        ("conv2", "layer", "convolution", None),
        ("fc1", "follows", "classifier", "conv2"),
        ("fc1.bias", "follows", "order", "conv2"),
        ("fc2", "layer", "linear", None),
        ("fc2.bias", "follows", "order", "fc2"),
        ("temperature", "follows", "order", "fc2"),
        ("conv3d", "layer", "convolution", None),
        ("mask", "leave", "integer", None),
        ("fc3", "follows", "classifier", "conv3d"),
    ]
    assert len(plan) == len(NETWORK)
    assert plan[2].index == plan["conv1"].index == 2


def test_names_decide_nothing() -> None:
    renamed = graft.Plan({f"fc.bn.conv{i}": w for i, w in enumerate(NETWORK.values())})
    assert [(e.role, e.rule) for e in renamed] == [(e.role, e.rule) for e in graft.Plan(NETWORK)]


def test_linear_networks_stand_for_themselves() -> None:
    plan = graft.Plan({"a": zeros(3, 4), "a.bias": zeros(3), "b": zeros(2, 3), "b.bias": zeros(2)})
    assert [(e.role, e.feeder) for e in plan] == [
        ("layer", None), ("follows", "a"), ("layer", None), ("follows", "b")]


def test_changes() -> None:
    plan = graft.Plan(NETWORK)
    plan.set("fc1", "layer")
    plan.set("fc1.bias", "follows", "fc1")
    plan.set("token", "leave")
    plan.set("conv2", "layer", filter_axis=1)
    plan.set(5, "half")
    assert (plan["fc1"].role, plan["fc1"].rule, plan["fc1"].feeder) == ("layer", "given", None)
    assert plan["fc1.bias"].feeder == "fc1"
    assert plan["token"].role == "leave"
    assert plan["conv2"].filter_axis == 1
    assert plan["bn.weight"].role == "half"
    assert plan["conv1"].rule == "convolution"


def test_changes_that_cannot_be() -> None:
    plan = graft.Plan(NETWORK)
    before = str(plan)
    for change, error, text in [
        (("conv1", "half"), graft.InvalidStateError, "bias1 follows"),
        (("conv1", "follows", "conv2"), graft.InvalidStateError, "bias1 follows"),
        (("bias1", "follows", "bias1"), graft.InvalidArgumentError, "feeder is 3"),
        (("bias1", "follows", "fc1"), graft.InvalidArgumentError, "feeder is 7"),
        (("bias1", "follows"), graft.InvalidArgumentError, "feeder is None"),
        (("bias1", "follows", "conv9"), graft.InvalidArgumentError, "conv9"),
        (("bias1", "follows", 99), graft.InvalidArgumentError, "99"),
        (("bn.steps", "half"), graft.InvalidArgumentError, "integers"),
        (("nothing", "half"), graft.InvalidArgumentError, "nothing"),
        ((99, "half"), graft.InvalidArgumentError, "99"),
        (("bias1", "boss"), graft.InvalidArgumentError, "boss"),
        (("conv1", "layer", None, 2), graft.InvalidArgumentError, "filter_axis is 2"),
        (("bias1", "layer", None, 1), graft.InvalidArgumentError, "filter_axis is 1"),
        (("scale", "layer", None, 1), graft.InvalidArgumentError, "filter_axis is 1"),
    ]:
        with pytest.raises(error, match=text):
            plan.set(*change)
    assert str(plan) == before


def test_table() -> None:
    lines = str(graft.Plan(NETWORK)).splitlines()
    assert lines[0].split() == ["tensor", "role", "rule", "feeder"]
    assert lines[8].split() == ["7", "fc1", "follows", "classifier", "conv2"]
    assert len(lines) == 1 + len(NETWORK)


def test_names_outlive_the_network() -> None:
    plan = graft.Plan({"größe-%d" % i: zeros(2, 2, 2) for i in range(100)})
    entry = s.PlanEntry()
    for i in range(100):
        assert lib.graft_plan_get(plan.handle, i, byref(entry)) == 0
        assert entry.name.decode() == f"größe-{i}"


def test_through_the_c_interface() -> None:
    """Descriptions without data, names or shapes; a stride wider than the struct; NULLs."""
    class Wide(ctypes.Structure):
        _fields_ = [("tensor", s.Tensor), ("own", ctypes.c_int64 * 3)]

    tensors = (Wide * 2)()
    for index, rank in enumerate((4, 1)):
        tensors[index].tensor.struct_size = ctypes.sizeof(s.Tensor)
        tensors[index].tensor.rank = rank
    first = ctypes.cast(tensors, ctypes.POINTER(s.Tensor))
    plan = ctypes.c_void_p()
    assert lib.graft_plan_create(first, ctypes.sizeof(Wide), 2, byref(plan)) == 0
    entry = s.PlanEntry()
    assert lib.graft_plan_get(plan, 1, byref(entry)) == 0
    assert (entry.name, entry.role, entry.feeder) == (b"", s.Role.FOLLOWS, 0)
    entry.feeder = 77
    entry.struct_size = s.PlanEntry.feeder.offset  # an older caller, without the later fields
    assert lib.graft_plan_get(plan, 1, byref(entry)) == 0
    assert entry.feeder == 77 and entry.role == s.Role.FOLLOWS

    invalid = 1
    assert lib.graft_plan_get(plan, 2, byref(entry)) == invalid
    assert lib.graft_plan_get(plan, 2**64 - 1, byref(entry)) == invalid
    assert lib.graft_plan_get(plan, 0, None) == invalid
    assert lib.graft_plan_set(plan, 2, 0, 0, 0) == invalid
    assert lib.graft_plan_set(plan, 1, 9, 0, 0) == invalid
    assert lib.graft_plan_set(plan, 1, s.Role.FOLLOWS, 2**64 - 1, 0) == invalid
    assert lib.graft_plan_set(None, 0, 0, 0, 0) == invalid
    other = ctypes.c_void_p(5)
    size = ctypes.sizeof(s.Tensor)
    assert lib.graft_plan_create(None, size, 2, byref(other)) == invalid
    assert lib.graft_plan_create(first, size, 0, byref(other)) == invalid
    assert lib.graft_plan_create(first, 3, 2, byref(other)) == invalid
    assert lib.graft_plan_create(first, size, 2**63, byref(other)) == invalid
    assert lib.graft_plan_create(first, size, 2, None) == invalid
    tensors[1].tensor.rank = 9
    assert lib.graft_plan_create(first, ctypes.sizeof(Wide), 2, byref(other)) == invalid
    tensors[1].tensor.rank, tensors[1].tensor.dtype = 1, 17
    assert lib.graft_plan_create(first, ctypes.sizeof(Wide), 2, byref(other)) == invalid
    assert b"dtype 17" in lib.graft_last_error()
    assert other.value == 5
    assert lib.graft_plan_count(plan) == 2
    assert lib.graft_plan_count(None) == 0
    lib.graft_plan_destroy(plan)
    lib.graft_plan_destroy(None)
