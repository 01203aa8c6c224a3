"""Whatever a caller passes, the library answers; it never takes the process down.

Each function is called in a process of its own, first with NULL and 0 for everything, then with
arguments drawn from values that callers get wrong: NULL, handles of another kind, numbers out of
every range, NaN, structs of a wrong size, tensors that describe nothing sensible.
"""

from __future__ import annotations

import json
import subprocess
import sys
from ctypes import c_int
from pathlib import Path

import pytest
from graft._functions import FUNCTIONS

ROUNDS = 400
# Those that may make large networks, which takes its time.
HEAVY = {f"graft_network_{name}" for name in (
    "resnet", "mobilenet", "vgg", "wide_resnet", "resnext", "densenet", "imagenet")}
# Those that find nothing wrong with any arguments: they fail softly to 0, or take numbers alone.
HARMLESS = {"graft_version", "graft_status_name"}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_process_lives_on(name: str, tmp_path: Path) -> None:
    rounds = 12 if name in HEAVY else ROUNDS
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("bad_arguments.py"), name, str(rounds)],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )
    assert run.returncode == 0, f"{name}: exit {run.returncode}\n{run.stderr[-2000:]}"
    counts = json.loads(run.stdout.splitlines()[-1])
    if FUNCTIONS[name][0] is c_int and name not in HARMLESS:
        assert counts["error"] > 0
