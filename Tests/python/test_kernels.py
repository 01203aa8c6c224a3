"""The C kernels by themselves, under sanitizers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels"))

import kernels  # noqa: E402


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> dict[str, Path]:
    return kernels.build(tmp_path_factory.mktemp("kernels"))


@pytest.mark.parametrize("instructions", kernels.INSTRUCTIONS)
def test_convolutions_stay_within_their_memory_and_are_right(programs, instructions) -> None:
    assert kernels.run(programs["convolutions"], 1, 350, instructions) == ""


@pytest.mark.parametrize("instructions", kernels.INSTRUCTIONS)
def test_other_layers_stay_within_their_memory_and_are_right(programs, instructions) -> None:
    assert kernels.run(programs["layers"], 1, 100, instructions) == ""


def test_batches_stay_within_their_memory_and_are_right(programs) -> None:
    assert kernels.run(programs["batches"], 1, 2000, "baseline") == ""


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_handles_are_told_from_all_that_is_none_from_any_thread(tmp_path, sanitizers) -> None:
    assert kernels.handles(tmp_path, sanitizers) == ""
