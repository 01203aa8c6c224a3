"""The PyTorch example trains."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import graft

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str, folder: Path) -> str:
    package = str(Path(graft.__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": package, "OMP_NUM_THREADS": "1",
                   "GLOO_SOCKET_IFNAME": "lo"}
    library = environment.get("GRAFT_LIBRARY")
    if library:
        environment["GRAFT_LIBRARY"] = str(Path(library).resolve())
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, check=True, capture_output=True,
        text=True).stdout


def test_the_example(tmp_path: Path) -> None:
    start = time.monotonic()
    output = run(str(ROOT / "examples" / "pytorch" / "train.py"), folder=tmp_path)
    assert time.monotonic() - start < 60
    assert "structure found by: fx" in output
    found = re.findall(
        r"^(\w+) *: test accuracy after 8 epochs (\S+), (\S+)$", output, re.MULTILINE)
    assert [name for name, _, _ in found] == ["alone", "grafted"]
    accuracies = [float(value) for _, *values in found for value in values]
    assert min(accuracies) > 0.9, output
    assert found[1][1] == found[1][2]  # two networks that have just been grafted are equal
