"""kill -9 at random moments of a run that saves after every epoch, again and again.

    python Tests/crash/kills.py [COUNT]    1000 unless said (make crash)

After each death the newest complete checkpoint must load, must not be older than the last one whose
saving had been told to be done, must be what an unbroken run had at that epoch, and must resume to
the unbroken run's end, all to the bit. The next child goes on from what the last one left.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import graft

EPOCHS = 8


def tiny(seed: int) -> graft.Network:
    return graft.resnet(8, base_filters=4, input_shape=(1, 8, 8), seed=seed)


def trainer(directory: Path | None) -> graft.Trainer:
    """Two tiny networks that graft each other; momentum and moving averages are state too."""
    rng = np.random.default_rng(0)
    data = graft.Dataset.from_arrays(
        rng.normal(size=(16, 1, 8, 8)).astype(np.float32), np.arange(16) % 10)
    networks = [tiny(seed) for seed in (1, 2)]
    return graft.Trainer(
        networks, data, epochs=EPOCHS, batch_size=8, crop_padding=1, threads=1, seeds=(1, 2),
        grafting=graft.Grafting(), ema_decay=0.9, directory=directory,
        save_every=0 if directory is None else 1)


def state(run: graft.Trainer) -> bytes:
    """Weights, running statistics and moving averages of all networks."""
    averages = [run.ema(index, tiny(0)) for index in range(len(run.networks))]
    return b"".join(
        array.tobytes() for network in [*run.networks, *averages]
        for array in network.state_dict().values())


def unbroken() -> list[bytes]:
    """The state after 0, 1, ... epochs of a run that nothing stops."""
    run = trainer(None)
    states = [state(run)]

    def note(progress: graft.Progress) -> None:
        if progress.phase == "epoch":
            states.append(state(run))

    run.run(note)
    return states


def child(directory: Path, done: int) -> None:
    """Goes on with the run; tells every epoch that is saved through the pipe `done`."""
    run = trainer(directory)
    if directory.exists():
        run.load(directory)

    def tell(progress: graft.Progress) -> None:
        if progress.phase == "epoch":
            os.write(done, bytes([progress.epoch]))

    run.run(tell)


def start(directory: Path) -> tuple[int, int]:
    """A child at work: its process, and where it tells what is saved."""
    told, done = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            child(directory, done)
        except BaseException as error:
            print(f"the child failed: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    os.close(done)
    return process, told


def read_all(told: int) -> bytes:
    parts = []
    while part := os.read(told, 4096):
        parts.append(part)
    os.close(told)
    return b"".join(parts)


def half_written(folder: Path) -> set[tuple[str, int, int]]:
    """What saving that was cut short has left beside the checkpoint. (It stays until the next.)"""
    found = [(one.name, one.stat()) for one in folder.iterdir() if ".partial-" in one.name]
    return {(name, status.st_ino, status.st_mtime_ns) for name, status in found}


def check(directory: Path, saved: int, expected: list[bytes]) -> int:
    """Looks at what a death has left; returns how many epochs the checkpoint has."""
    if not directory.exists():
        assert saved == 0, f"epoch {saved} was saved, and nothing is there"
        return 0
    run = trainer(None)
    run.load(directory)
    found = run.epochs_done
    assert found >= saved, f"epoch {saved} was saved, and the checkpoint is of epoch {found}"
    assert state(run) == expected[found], f"epoch {found} is not the unbroken run's"
    run.run()
    assert state(run) == expected[EPOCHS], f"resumed at epoch {found}, it ends elsewhere"
    return found


def kill(count: int, folder: Path, seed: int = 0, progress: bool = False) -> Counter[str]:
    """Kill `count` children. Returns how many died, how many of them while saving, and how many
    left which epoch; those that were done before they could be killed are not among them."""
    rng = random.Random(seed)
    expected = unbroken()
    directory = folder / "checkpoint"
    counts: Counter[str] = Counter()
    began = time.monotonic()
    process, told = start(directory)
    assert os.waitpid(process, 0)[1] == 0 and read_all(told) == bytes(range(1, EPOCHS + 1))
    longest = time.monotonic() - began
    assert check(directory, EPOCHS, expected) == EPOCHS
    shutil.rmtree(directory)
    saved = 0
    while counts["killed"] < count:
        before = half_written(folder)
        process, told = start(directory)
        time.sleep(rng.uniform(0, longest))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        saved = max(saved, *read_all(told), 0)
        if os.WIFSIGNALED(status):
            counts["killed"] += 1
            counts["while saving"] += bool(half_written(folder) - before)
        else:
            assert os.WEXITSTATUS(status) == 0, "the child ended with an error"
            assert saved == EPOCHS
        found = check(directory, saved, expected)
        counts[f"at epoch {found}"] += os.WIFSIGNALED(status)
        if found == EPOCHS:
            shutil.rmtree(directory)
            saved = 0
        if progress and os.WIFSIGNALED(status) and counts["killed"] % 50 == 0:
            print(f"{counts['killed']} killed, {counts['while saving']} while saving, "
                  f"{time.monotonic() - began:.0f} s", flush=True)
    return counts


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as folder:
        counts = kill(count, Path(folder), seed=time.time_ns(), progress=True)
    for what, number in sorted(counts.items()):
        print(f"{what}: {number}")
    print(f"{counts['killed']} killed, 0 lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
