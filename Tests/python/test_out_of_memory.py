"""Every allocation whose size the caller or a file decides fails once, in every operation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

MEMORY = Path(__file__).resolve().parents[1] / "memory"


def test_what_has_failed_is_told_and_works_when_there_is_memory_again(tmp_path: Path) -> None:
    library = tmp_path / "failing.so"
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", MEMORY / "failing.c", "-o", library],
        check=True)
    run = subprocess.run(
        [sys.executable, MEMORY / "out_of_memory.py", tmp_path], capture_output=True, text=True,
        env={**os.environ, "LD_PRELOAD": str(library)})
    assert run.returncode == 0, run.stderr[-3000:]
    failures = dict(re.findall(r"^(.+): (\d+)$", run.stdout, re.M))
    # Each of these asks for memory of its caller's size, or the injection has stopped working.
    for name in ("network", "inference", "forward", "backward", "graft", "loss", "data set",
                 "IDX files", "load", "trainer", "run", "resume"):
        assert int(failures[name]) > 0, run.stdout


def test_more_than_a_hard_limit_leaves_is_refused(tmp_path: Path) -> None:
    """Networks, batches, runs and files that are too large, under RLIMIT_AS."""
    run = subprocess.run(
        [sys.executable, MEMORY / "limited.py", tmp_path], capture_output=True, text=True,
        timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    risen = dict(re.findall(r"^(.+): (\d+)$", run.stdout, re.M))
    assert list(risen) == ["network", "forward", "trainer", "files"]
    # Of the hundreds of MiB that each would take, at most a copy of the batch (12 MiB) was written.
    assert all(int(kibibytes) < 16 << 10 for kibibytes in risen.values()), risen
