"""The C kernels by themselves, under sanitizers."""

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


def compiled(name: str, files: list[str], folder: Path,
             sanitizers: str = "address,undefined") -> Path:
    # The Swift toolchain's clang: the kernels are compiled with it, and it brings the sanitizers,
    # but for threads one that needs more than C.
    swift = Path(os.path.realpath(shutil.which("swift")))
    compiler = "gcc" if sanitizers == "thread" else swift.with_name("clang")
    subprocess.run(
        [compiler, "-O1", "-g", f"-fsanitize={sanitizers}",
         "-fno-sanitize-recover=undefined", "-DGK_LARGE=4096", "-I", SOURCES / "include", "-I", SOURCES,
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


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_handles_are_told_from_all_that_is_none_from_any_thread(tmp_path, sanitizers) -> None:
    program = compiled("handles", ["handles.c", "memory.c"], tmp_path, sanitizers)
    run = subprocess.run([program], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    assert run.stdout.strip() == "560000 handles"
