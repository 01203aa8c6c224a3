"""Creates, trains, grafts, saves, loads, evaluates and destroys, again and again: what the process
holds (memory, file descriptors, threads) must not grow.

    python Tests/endurance/cycles.py [MINUTES]    60 unless said (make endurance)

The first fifth of the cycles fills pools and caches and is not looked at. Through what comes then a
line is laid; its rise from the first cycle to the last is what has grown. Of memory, the least of
every five cycles counts: one of them is on a new thread, whose allocations lie elsewhere.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import graft

MAY_GROW = 2 << 20  # bytes over all cycles: what is in pieces does not go back
WARMING_UP = 0.2
GROUP = 5  # cycles; the last is on a thread of its own
M_ARENA_MAX = -8  # of malloc.h
FEWEST = 60  # cycles, from which a line can be told


@dataclass(frozen=True)
class Sample:
    """What the process holds after a cycle."""

    memory: int
    descriptors: int
    threads: int


def sample() -> Sample:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system
    resident = int(Path("/proc/self/statm").read_text().split()[1])
    return Sample(resident * resource.getpagesize(), len(os.listdir("/proc/self/fd")),
                  len(os.listdir("/proc/self/task")))


def network(seed: int) -> graft.Network:
    return graft.resnet(8, 4, (3, 8, 8), base_filters=4, seed=seed)


def cycle(folder: Path, number: int) -> None:
    """A life of every kind of object, with grafts, files, a cancelled run and errors in it."""
    rng = np.random.default_rng(number % 7)
    data = graft.Dataset.from_arrays(
        rng.integers(0, 256, (32, 3, 8, 8), dtype=np.uint8), np.arange(32) % 4, 4)

    def trainer() -> graft.Trainer:
        return graft.Trainer(
            [network(1), network(2)], data, data, epochs=2, batch_size=16, threads=2,
            crop_padding=1, grafting=graft.Grafting(), ema_decay=0.9, teaching="others",
            seeds=(number, number + 1))

    first = trainer()
    try:
        first.run(lambda progress: first.epochs_done < 1)
    except graft.CancelledError:
        pass
    first.save(folder / "checkpoint")
    second = trainer()
    second.load(folder / "checkpoint")
    second.run()
    graft.evaluate(second.networks[0], data)
    second.networks[0].save(folder / "network.safetensors")
    read = network(3)
    read.load(folder / "network.safetensors")
    images = rng.standard_normal((4, 3, 8, 8)).astype(np.float32)
    assert np.array_equal(read.forward(images), second.networks[0].forward(images))
    models = [{"conv": rng.standard_normal((512, 64, 3, 3)).astype(np.float32)} for _ in range(2)]
    graft.graft(models, threads=2)
    for wrong in (lambda: read.load(folder / "missing"), lambda: graft.graft([{}, models[0]])):
        try:
            wrong()
        except (graft.GraftError, ValueError, OSError):
            continue
        raise AssertionError("what is wrong went through")


def cycles(
    seconds: float, folder: Path, also: Callable[[], object] = lambda: None,
    tell: Callable[[int, float, Sample], None] = lambda *_: None
) -> list[Sample]:
    """Cycles for so long, and no fewer than can be judged; what was held after each."""
    ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)  # or what threads free cannot go back
    samples: list[Sample] = []
    began = time.monotonic()
    while (past := time.monotonic() - began) < seconds or len(samples) < FEWEST:
        number = len(samples)
        if number % GROUP == GROUP - 1:
            thread = threading.Thread(target=cycle, args=(folder, number))
            thread.start()
            thread.join()
        else:
            cycle(folder, number)
        also()
        samples.append(sample())
        tell(number + 1, past, samples[-1])
    return samples


def growth(values: list[int]) -> float:
    """The rise of the line through the values, from the first to the last."""
    return float(np.polynomial.Polynomial.fit(range(len(values)), values, 1).convert().coef[-1]
                 * (len(values) - 1)) if len(set(values)) > 1 else 0.0


def settled(samples: list[Sample]) -> list[Sample]:
    """What is looked at: the least of every group, without those in which it warms up."""
    groups = [samples[start:start + GROUP] for start in range(0, len(samples), GROUP)]
    return [Sample(min(one.memory for one in group), max(one.descriptors for one in group),
                   max(one.threads for one in group))
            for group in groups[int(len(groups) * WARMING_UP):]]


def what_grew(samples: list[Sample]) -> list[str]:
    """A line for everything that grew."""
    rest = settled(samples)
    found = []
    memory = growth([one.memory for one in rest])
    if memory > MAY_GROW:
        found.append(f"memory grew by {memory / 2**20:.1f} MiB in {len(samples)} cycles")
    for name in ("descriptors", "threads"):
        rise = growth([getattr(one, name) for one in rest])
        if rise >= 1:
            found.append(f"{name} grew by {rise:.0f} in {len(samples)} cycles")
    return found


def table(samples: list[Sample]) -> str:
    rest = settled(samples)
    lines = [f"{'':12}{'first':>12}{'settled':>12}{'last':>12}{'most':>12}{'growth':>12}"]
    for name in ("memory", "descriptors", "threads"):
        unit = 1024 if name == "memory" else 1
        values = [getattr(one, name) / unit for one in samples]
        after = [getattr(one, name) for one in rest]
        lines.append(
            f"{name + (' (KiB)' if unit > 1 else ''):12}{values[0]:12.0f}{after[0] / unit:12.0f}"
            f"{values[-1]:12.0f}{max(values):12.0f}{growth(after) / unit:12.1f}")
    return "\n".join(lines)


def main() -> int:
    seconds = 60 * (float(sys.argv[1]) if len(sys.argv) > 1 else 60)
    said = [0.0]

    def tell(count: int, past: float, held: Sample) -> None:
        if past - said[0] >= min(60, seconds / 10):
            said[0] = past
            print(f"{count} cycles, {count / past:.1f} a second, {held.memory >> 10} KiB, "
                  f"{held.descriptors} descriptors, {held.threads} threads, "
                  f"{(seconds - past) / 60:.1f} minutes left", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        samples = cycles(seconds, Path(folder), tell=tell)
    print(table(samples))
    grew = what_grew(samples)
    print("\n".join(grew) or f"nothing grew in {len(samples)} cycles")
    return 1 if grew else 0


if __name__ == "__main__":
    sys.exit(main())
