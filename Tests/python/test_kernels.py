"""The C kernels by themselves, under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "Sources" / "GraftKernels"
# All but those that need OpenBLAS, and memory.c: the program brings its own.
FILES = [
    "convolution.c", "convolution_pack.c", "depthwise.c", "elementwise.c", "instructions.c",
    "norm.c", "parallel.c", "tiles.c", "tiles_avx2.c", "tiles_avx512.c", "tiles_baseline.c",
    "winograd_pack.c",
]


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    # The Swift toolchain's clang: the kernels are compiled with it, and it brings the sanitizers.
    swift = Path(os.path.realpath(shutil.which("swift")))
    result = tmp_path_factory.mktemp("kernels") / "convolutions"
    subprocess.run(
        [swift.with_name("clang"), "-O1", "-g", "-fsanitize=address,undefined",
         "-fno-sanitize-recover=undefined", "-I", SOURCES / "include", "-I", SOURCES,
         *(SOURCES / name for name in FILES), ROOT / "Tests" / "kernels" / "convolutions.c", "-lm",
         "-o", result],
        check=True,
    )
    return result


@pytest.mark.parametrize("instructions", ["avx512", "avx2", "baseline"])
def test_convolutions_stay_within_their_memory_and_are_right(program, instructions) -> None:
    run = subprocess.run(
        [program, "1", "250"], capture_output=True, text=True,
        env={**os.environ, "GRAFT_INSTRUCTIONS": instructions},
    )
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    assert run.stdout.strip() == "250 cases"
