"""Asks for more than a hard limit leaves (RLIMIT_AS, as `ulimit -v` sets it): each request is
refused before much is written, and the process works on. Run by test_out_of_memory.py.

Prints, for each request, by how many KiB the most that was ever resident has risen.
"""

from __future__ import annotations

import resource
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import graft

ROOM = 48 << 20


def held(what: str) -> int:
    """VmSize, VmHWM, ... of this process, in KiB."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{what}:")[1].split()[0])


def limit(room: int | None) -> None:
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(
        resource.RLIMIT_AS, (most if room is None else (held("VmSize") << 10) + room, most))


def refused(name: str, request: Callable[[], object], check: Callable[[], None]) -> None:
    before = held("VmHWM")
    try:
        request()
    except graft.OutOfMemoryError as error:
        assert isinstance(error, MemoryError) and str(error)
    else:
        raise AssertionError(f"{name}: there was memory")
    print(f"{name}: {held('VmHWM') - before}")
    check()


def main() -> None:
    folder = Path(sys.argv[1])
    images = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32)
    small = graft.resnet(8, 4, (3, 8, 8), base_filters=4)
    small.threads = 2
    expected = small.forward(images).tobytes()
    large = graft.resnet(8, 4, (3, 512, 512), base_filters=16)
    large.threads = 1
    one = np.zeros((4, 3, 512, 512), np.float32)
    data = graft.Dataset.from_arrays(np.zeros((4, 3, 512, 512), np.uint8), np.arange(4), 4)
    trainer = graft.Trainer([large], data, epochs=1, batch_size=4, threads=1, crop_padding=0)
    # A sparse file of as many bytes as it says: 60,000 images of 256 x 256.
    count, side = 60_000, 256
    pixels, labels = folder / "images", folder / "labels"
    pixels.write_bytes(struct.pack(">IIII", 0x803, count, side, side))
    with open(pixels, "r+b") as file:
        file.truncate(16 + count * side * side)
    labels.write_bytes(struct.pack(">II", 0x801, count) + bytes(count))

    def check() -> None:
        assert small.forward(images).tobytes() == expected

    check()
    limit(ROOM)
    refused("network", lambda: graft.resnet(20, 10, base_filters=512), check)
    refused("forward", lambda: large.forward(one), check)
    refused("trainer", trainer.run, check)
    refused("files", lambda: graft.Dataset.idx(pixels, labels), check)
    limit(None)
    # What was refused goes through, with the same handles, when there is memory.
    assert np.isfinite(large.forward(one[:1])).all()
    trainer.run()
    assert trainer.epochs_done == 1
    check()


if __name__ == "__main__":
    main()
