"""A graft that nobody wants a report of writes the same bits."""

from __future__ import annotations

import copy
import ctypes
from ctypes import byref

import numpy as np
import pytest
import torch

import graft
from graft import _structures as s
from graft._described_network import DescribedNetwork
from graft._library import defaults, lib
from graft._method import set_source, set_weighting


def networks(count: int, dtype: torch.dtype, tied: bool) -> list[dict[str, torch.Tensor]]:
    made = []
    for k in range(count):
        generator = torch.Generator().manual_seed(k)
        network = {
            name: (torch.randn(shape, generator=generator) * (k + 1)).to(dtype)
            for name, shape in {
                "conv": (8, 3, 3, 3), "norm": (8,), "large": (64, 40, 5, 5), "bias": (64,)}.items()}
        network["count"] = torch.tensor(3)
        if tied:
            network["again"] = network["conv"]
        made.append(network)
    return made


@pytest.mark.parametrize("source", ["ring", "mean", "internal", "noise"])
@pytest.mark.parametrize("weighting", ["entropy", "l1", 0.999])
@pytest.mark.parametrize("count, dtype, tied, keep_zeros", [
    (2, torch.float32, False, False), (3, torch.bfloat16, True, False),
    (4, torch.float64, False, True)])
def test_the_same_bits(source, weighting, count, dtype, tied, keep_zeros) -> None:
    first = networks(count, dtype, tied)
    second = copy.deepcopy(first)  # keeps what is tied tied
    options = defaults(s.GraftOptions, "graft_options_init")
    set_source(options, source)
    set_weighting(options, weighting, 0.5)
    options.keep_zeros, options.threshold, options.step = keep_zeros, 40.0, 1
    described = [DescribedNetwork(network) for network in first]
    pointers = (ctypes.POINTER(s.Tensor) * count)(*[one.pointer for one in described])
    status = lib.graft_apply(
        None, pointers, ctypes.sizeof(s.Tensor), len(described[0]), count, byref(options), None)
    assert status == 0
    report = graft.graft(
        second, source=source, weighting=weighting, keep_zeros=keep_zeros, threshold=40.0, step=1)
    assert len(list(report)) > 0
    before = networks(count, dtype, tied)
    moved = False
    for ours, theirs, old in zip(first, second, before):
        for name, array in ours.items():
            assert torch.equal(array, theirs[name]), name
            moved |= not torch.equal(array, old[name])
    assert moved
    assert not np.isnan(report[0].networks[0].entropy_after)
