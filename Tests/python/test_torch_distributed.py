"""One network a process over torch.distributed with gloo: the same bits as in one process; a rank
that dies or stops leaves every other with an error in time and its weights as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import graft
import graft.torch
import torch_ring
from torch_ring import KILLED, STOPPED, TIMEOUT, drift, network, run


def in_one_process(count: int, epochs: int = 3, **settings: Any) -> tuple[list[nn.Module], Any]:
    modules = [network(rank) for rank in range(count)]
    grafter = graft.torch.Grafter(modules, **settings)
    for epoch in range(epochs):
        for rank, module in enumerate(modules):
            drift(module, 100 * epoch + rank)
        report = grafter.step()
    return modules, report


def assert_equal(found: dict[str, torch.Tensor], module: nn.Module) -> None:
    for name, tensor in module.state_dict().items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("count, settings", [
    (2, {}), (3, {"weighting": 0.25, "every": 2}), (4, {"weighting": "filter_entropy", "c": 2.0}),
    (4, {"source": "exponential"}), (3, {"source": [2, 2, 0]}), (3, {"weighting": "filter"}),
    (3, {"weighting": "filter", "source": [1, 1, 0]})])
def test_equals_one_process(tmp_path: Path, count: int, settings: dict[str, Any]) -> None:
    modules, report = in_one_process(count, **settings)
    for rank, (state, told) in enumerate(run(torch_ring.grafts, tmp_path, count, settings)):
        assert_equal(state, modules[rank])
        for mine, theirs in zip(told["layers"], report.to_dict()["layers"], strict=True):
            assert mine["name"] == theirs["name"] and mine["filters"] == theirs["filters"]
            for one, other in zip(mine["networks"], theirs["networks"], strict=True):
                assert one == pytest.approx(other, rel=1e-12)


def test_resumes_in_a_second_run_and_in_a_smaller_group(tmp_path: Path) -> None:
    modules, _ = in_one_process(3)
    results = run(torch_ring.two_runs, tmp_path, 3)
    for (state, _), module in zip(results, modules):
        assert_equal(state, module)
    graft.torch.Grafter(modules[1:]).step()
    for (_, state), module in zip(results, modules):
        assert_equal(state, module)


@pytest.mark.parametrize("count, lost, how, moment", [
    (2, 1, KILLED, "start"), (3, 0, KILLED, "exchange"), (4, 2, KILLED, "sending"),
    (3, 1, KILLED, "compute"), (4, 3, KILLED, "confirm"), (3, 1, STOPPED, "exchange"),
    (4, 0, STOPPED, "confirm"), (2, 0, STOPPED, "start")])
def test_a_rank_is_lost(tmp_path: Path, count: int, lost: int, how: int, moment: str) -> None:
    results = run(torch_ring.loses_one, tmp_path, count, lost, how, moment, lost=lost)
    left = {rank: network(rank) for rank in range(count) if rank != lost}
    graft.torch.Grafter(list(left.values())).step()
    for rank, result in enumerate(results):
        if rank != lost:
            error, seconds, same, steps, state = result
            assert_equal(state, left[rank])
            assert error is not None and "another process" in error, f"rank {rank}"
            assert same and steps == 0, f"rank {rank}"
            assert seconds < TIMEOUT + 3, f"rank {rank}: {error}"


def test_ranks_that_disagree(tmp_path: Path) -> None:
    results = run(torch_ring.refuses, tmp_path, 3)
    modules = [network(rank) for rank in range(3)]
    graft.torch.Grafter(modules).step()
    for rank, (errors, state) in enumerate(results):
        settings, counts, nan, fine, mean = errors
        assert settings[0] == counts[0] == "PeerError"
        assert "structure, plan or settings" in settings[1] and "steps" in counts[1]
        if rank == 1:
            assert nan[0] == "NotFiniteError" and "bn1.bias" in nan[1]
        else:
            assert nan[0] == "PeerError" and "rank 1 failed" in nan[1]
        assert fine is None
        assert mean[0] == "UnsupportedError" and "mean" in mean[1]
        assert_equal(state, modules[rank])


def test_wrapped_and_sharded(tmp_path: Path) -> None:
    modules = [network(rank) for rank in range(2)]
    graft.torch.Grafter(modules).step()
    for rank, (state, refusals) in enumerate(run(torch_ring.wrapped, tmp_path, 2)):
        assert_equal(state, modules[rank])
        assert refusals[0].startswith("1.weight is sharded (DTensor)")
        assert [one.split(":")[0] for one in refusals[1:]] == [
            "the module is sharded by FSDP", "the module is sharded by FSDP",
            "1 is sharded by FSDP"]


def test_arguments() -> None:
    module = nn.Linear(3, 2)
    with pytest.raises(graft.InvalidArgumentError, match="init_process_group"):
        graft.torch.Grafter(module, process_group=object())
    with pytest.raises(graft.InvalidArgumentError, match="holds 2 networks"):
        graft.torch.Grafter([module, nn.Linear(3, 2)], process_group=object())
    optimizer = torch.optim.SGD(module.parameters(), 0.1, momentum=0.9)
    with pytest.raises(graft.UnsupportedError, match="momentum"):
        graft.torch.Grafter(
            module, process_group=object(), optimizers=optimizer, momentum="graft")
