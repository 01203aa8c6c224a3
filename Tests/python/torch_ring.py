"""Processes of the tests of a ring over torch.distributed; forked from a server that has PyTorch
loaded, so that starting one is quick."""

from __future__ import annotations

import datetime
import multiprocessing.context
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.device_mesh
import torch.distributed.fsdp
import torch.distributed.tensor.parallel
from torch import nn

import graft
import graft.torch
from torch_reference import Residual, randomise

TIMEOUT = 3.0


def network(rank: int) -> nn.Module:
    module = randomise(Residual(), rank)
    with torch.no_grad():  # larger than a socket's buffers
        module.fc = randomise(nn.Linear(8, 60_000), 10 + rank)
    return module.to(memory_format=torch.channels_last)


def drift(module: nn.Module, seed: int) -> None:
    """Stands for an epoch of training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def join(folder: Path, name: str, rank: int, count: int, timeout: float = TIMEOUT) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/{name}", rank=rank, world_size=count,
        timeout=datetime.timedelta(seconds=timeout))


def run(
    scenario: Callable[..., Any], folder: Path, count: int, *arguments: Any, lost: int = -1
) -> list[Any]:
    """What `scenario(folder, rank, count, *arguments)` returns in each process; None from `lost`,
    which is not waited for."""
    context = _server()
    processes = [
        context.Process(target=_main, args=(scenario, folder, rank, count, arguments))
        for rank in range(count)]
    for process in processes:
        process.start()
    try:
        for rank, process in enumerate(processes):
            if rank != lost:
                process.join(60)
                assert process.exitcode == 0, f"rank {rank}: exit code {process.exitcode}"
    finally:
        for process in processes:
            process.kill()
            process.join()
    return [
        torch.load(folder / f"{rank}.pt", weights_only=False) if rank != lost else None
        for rank in range(count)]


@cache
def _server() -> multiprocessing.context.ForkServerContext:
    """Started with this module loaded: it looks for it along PYTHONPATH alone."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch_ring"])
    kept = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        forkserver.ensure_running()
    finally:
        if kept is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = kept
    return context


def _main(
    scenario: Callable[..., Any], folder: Path, rank: int, count: int, arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    result = scenario(folder, rank, count, *arguments)
    torch.save(result, folder / f"{rank}.pt")
    os._exit(0)  # not through the end of a group that has lost a member


# ---- scenarios -----------------------------------------------------------------------------------


def grafts(folder: Path, rank: int, count: int, settings: dict[str, Any]) -> Any:
    """Three epochs; every tensor and the last report."""
    join(folder, "group", rank, count)
    module = network(rank)
    grafter = graft.torch.Grafter(module, process_group=dist.group.WORLD, **settings)
    for epoch in range(3):
        drift(module, 100 * epoch + rank)
        report = grafter.step()
    dist.destroy_process_group()
    return module.state_dict(), report.to_dict()


def two_runs(folder: Path, rank: int, count: int) -> Any:
    """As `grafts`, but stopped after the second epoch and resumed in a new group; on the members of
    a smaller group, too."""
    join(folder, "first", rank, count)
    module = network(rank)
    grafter = graft.torch.Grafter(module, process_group=dist.group.WORLD)
    for epoch in range(2):
        drift(module, 100 * epoch + rank)
        grafter.step()
    checkpoint = (module.state_dict(), grafter.state_dict())
    dist.destroy_process_group()

    join(folder, "second", rank, count)
    resumed = network(rank)
    resumed.load_state_dict(checkpoint[0])
    grafter = graft.torch.Grafter(resumed, process_group=dist.group.WORLD)
    grafter.load_state_dict(checkpoint[1])
    drift(resumed, 200 + rank)
    grafter.step()
    result = {name: tensor.clone() for name, tensor in resumed.state_dict().items()}
    pair = dist.new_group([1, 2])
    if rank in (1, 2):
        graft.torch.Grafter(resumed, process_group=pair).step()
    dist.destroy_process_group()
    return result, resumed.state_dict()


def loses_one(
    folder: Path, rank: int, count: int, lost: int, how: int, moment: str
) -> Any:
    """One process is killed or stopped at a moment of a graft; what the others see, and that they
    go on without it."""
    join(folder, "group", rank, count)
    module = network(rank)
    grafter = graft.torch.Grafter(module, process_group=dist.group.WORLD)
    ring = grafter._group

    def vanish() -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), how)

    if rank == lost:
        inner = {"compute": "_compute", "exchange": "_receive", "start": "_agree_on_task"}
        if moment in inner:
            setattr(ring, inner[moment], lambda *_: vanish())
        elif moment == "confirm":
            gather = ring._gather
            ring._gather = lambda numbers: vanish() if len(numbers) == 1 else gather(numbers)
        else:  # in the middle of what it sends
            ring._start = lambda works: [works[0].op(
                one.tensor, one.peer, group=one.group, tag=one.tag)
                for one in works[:6]] and vanish()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    start = time.monotonic()
    try:
        grafter.step()
        error = None
    except graft.torch.PeerError as raised:
        error = str(raised)
    seconds = time.monotonic() - start
    same = all(torch.equal(before[n], t) for n, t in module.state_dict().items())
    steps = grafter.steps

    dist.destroy_process_group()  # those that are left go on
    left = [one for one in range(count) if one != lost]
    if len(left) > 1:
        join(folder, "left", left.index(rank), len(left))
        resumed = graft.torch.Grafter(module, process_group=dist.group.WORLD)
        resumed.load_state_dict(grafter.state_dict())
        resumed.step()
        dist.destroy_process_group()
    return error, seconds, same, steps, module.state_dict()


def refuses(folder: Path, rank: int, count: int) -> Any:
    """Ranks that stand elsewhere or hold a NaN; then they agree again, in the same group."""
    join(folder, "group", rank, count)
    errors = []

    def attempt(grafter: graft.torch.Grafter, module: nn.Module) -> None:
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        try:
            grafter.step()
            errors.append(None)
        except graft.GraftError as error:
            errors.append((type(error).__name__, str(error)))
            for name, tensor in module.state_dict().items():
                assert tensor.equal(before[name]) or bool(tensor.isnan().any())

    module = network(rank)
    world = dist.group.WORLD
    attempt(graft.torch.Grafter(module, process_group=world, c=500 + (rank == 1)), module)
    grafter = graft.torch.Grafter(module, process_group=world)
    if rank == 2:
        grafter.load_state_dict({"version": 1, "steps": 4, "grafts": 4})
    attempt(grafter, module)
    grafter.load_state_dict({"version": 1, "steps": 0, "grafts": 0})
    if rank == 1:
        with torch.no_grad():
            kept = module.bn1.bias[0].clone()
            module.bn1.bias[0] = torch.nan
    attempt(grafter, module)
    if rank == 1:
        with torch.no_grad():
            module.bn1.bias[0] = kept
    attempt(grafter, module)
    mean = graft.torch.Grafter(module, process_group=world, source="mean")
    attempt(mean, module)
    dist.destroy_process_group()
    return errors, module.state_dict()


def wrapped(folder: Path, rank: int, count: int) -> Any:
    """Data-parallel wrappers graft; what is sharded is refused by name."""
    join(folder, "group", rank, count)
    groups = [dist.new_group([one]) for one in range(count)]
    module = network(rank).to(memory_format=torch.contiguous_format)
    parallel = nn.parallel.DistributedDataParallel(module, process_group=groups[rank])
    graft.torch.Grafter(parallel, process_group=dist.group.WORLD).step()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    refusals = []
    mesh = dist.device_mesh.init_device_mesh("cpu", (count,))
    sharded = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    dist.tensor.parallel.parallelize_module(
        sharded, mesh, {"1": dist.tensor.parallel.ColwiseParallel()})
    fully = dist.fsdp.fully_shard(nn.Linear(4, 4), mesh=mesh)
    flat = dist.fsdp.FullyShardedDataParallel(
        nn.Sequential(nn.Linear(4, 4)), device_id=torch.device("cpu"))
    for one in (sharded, fully, flat, nn.Sequential(nn.Linear(2, 2), flat)):
        try:
            graft.torch.plan(one)
        except graft.UnsupportedError as error:
            refusals.append(str(error))
    dist.destroy_process_group()
    return state, refusals


KILLED, STOPPED = int(signal.SIGKILL), int(signal.SIGSTOP)
