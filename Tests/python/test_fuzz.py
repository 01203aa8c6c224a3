"""Files of all kinds of contents, and calls in any order, do not take the process down.

The targets are those of Tests/fuzz, here on the product; `make fuzz` runs them for long, on a
library whose coverage guides them and whose memory the sanitizers watch.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = Path(os.environ.get("GRAFT_LIBRARY", ROOT / "build" / "libgraft.so")).resolve()
sys.path.insert(0, str(ROOT / "Tests" / "fuzz"))

import fuzzing  # noqa: E402

# As many as take two seconds or so.
RUNS = {
    "safetensors": 40000, "checkpoint": 8000, "idx": 40000, "cifar": 15000, "options": 2000,
    "calls": 10000}


@pytest.fixture(scope="module", params=sorted(fuzzing.TARGETS))
def fuzzer(request, tmp_path_factory) -> fuzzing.Fuzzer:
    folder = tmp_path_factory.mktemp("fuzz")
    # Where the program looks for it, whatever the file is called.
    (folder / "libgraft.so.0").symlink_to(LIBRARY)
    return fuzzing.Fuzzer(request.param, folder / "libgraft.so.0", folder)


def test_what_once_failed_does_not_any_more(fuzzer) -> None:
    inputs = fuzzing.corpus(fuzzer.target)
    outcome = fuzzer.replay(inputs)
    assert outcome.status == 0, outcome.output[-3000:]
    assert outcome.output.count("Executed ") == len(inputs)


def test_thousands_of_inputs_keep_the_promises(fuzzer) -> None:
    runs = RUNS[fuzzer.target]
    outcome = fuzzing.short(fuzzer, runs)
    assert outcome.status == 0, outcome.output[-3000:]
    assert outcome.executions == runs
