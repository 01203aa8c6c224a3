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
    "convolution.c", "convolution_pack.c", "depthwise.c", "elementwise.c", "grouped.c",
    "instructions.c", "norm.c", "parallel.c", "tiles.c", "tiles_avx2.c", "tiles_avx512.c",
    "tiles_baseline.c", "winograd_pack.c",
]


def compiled(name: str, files: list[str], folder: Path) -> Path:
    # The Swift toolchain's clang: the kernels are compiled with it, and it brings the sanitizers.
    swift = Path(os.path.realpath(shutil.which("swift")))
    subprocess.run(
        [swift.with_name("clang"), "-O1", "-g", "-fsanitize=address,undefined",
         "-fno-sanitize-recover=undefined", "-I", SOURCES / "include", "-I", SOURCES,
         *(SOURCES / file for file in files), ROOT / "Tests" / "kernels" / f"{name}.c", "-lm",
         "-o", folder / name],
        check=True,
    )
    return folder / name


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    return compiled("convolutions", FILES, tmp_path_factory.mktemp("kernels"))


@pytest.mark.parametrize("instructions", ["avx512", "avx2", "baseline"])
def test_convolutions_stay_within_their_memory_and_are_right(program, instructions) -> None:
    run = subprocess.run(
        [program, "1", "250"], capture_output=True, text=True,
        env={**os.environ, "GRAFT_INSTRUCTIONS": instructions},
    )
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    assert run.stdout.strip() == "250 cases"


def test_batches_stay_within_their_memory_and_are_right(tmp_path) -> None:
    program = compiled("batches", ["batch.c", "optimiser.c", "parallel.c"], tmp_path)
    run = subprocess.run([program, "1", "2000"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    assert run.stdout.strip() == "2000 cases"
