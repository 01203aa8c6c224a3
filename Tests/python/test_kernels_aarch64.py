"""The C kernels on another processor: compiled for aarch64 by Debian's cross compiler, run by qemu.

What holds for x86-64 holds there, where nothing but the portable loops is compiled.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
from test_kernels import kernels

SOURCES = kernels.SOURCES
CASES = {"convolutions": 60, "layers": 30, "batches": 1000}
NATIVE = platform.machine() == "aarch64"
COMPILER = "gcc" if NATIVE else "aarch64-linux-gnu-gcc"
EMULATOR = [] if NATIVE else ["qemu-aarch64"]
PACKAGES = {"aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu", "qemu-aarch64": "qemu-user"}


@pytest.mark.parametrize("name", kernels.PROGRAMS)
def test_kernels_are_right_on_aarch64(name, tmp_path: Path) -> None:
    for program in [COMPILER, *EMULATOR]:
        assert shutil.which(program), f"{program} is missing: install {PACKAGES[program]}"
    # Static: no libraries of the other processor are needed to run it. (Pragmas for clang: the
    # compiler that the library is built with.)
    files = [SOURCES / file for file in kernels.PROGRAMS[name]]
    subprocess.run(
        [COMPILER, "-std=gnu11", "-O2", "-static", "-Wall", "-Wno-unknown-pragmas",
         "-I", SOURCES / "include", "-I", SOURCES, *files,
         kernels.HERE / f"{name}.c", "-lm", "-o", tmp_path / name], check=True)
    run = subprocess.run(
        [*EMULATOR, tmp_path / name, "3", str(CASES[name])], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    assert run.stdout.strip() == f"{CASES[name]} cases"


def test_every_kernel_is_compiled_for_aarch64_by_the_library_s_own_compiler(tmp_path: Path) -> None:
    clang = Path(os.path.realpath(shutil.which("swift"))).with_name("clang")
    headers = [] if NATIVE else ["-isystem", "/usr/aarch64-linux-gnu/include"]
    sources = [file for file in sorted(SOURCES.glob("*.c")) if "cblas.h" not in file.read_text()]
    assert len(sources) >= len(kernels.LAYERS)
    subprocess.run(
        [clang, "--target=aarch64-linux-gnu", *headers, "-std=gnu11", "-O0", "-c",
         "-I", SOURCES / "include", "-I", SOURCES, *sources], check=True, cwd=tmp_path)
