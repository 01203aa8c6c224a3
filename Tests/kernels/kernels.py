"""Builds and runs the programs of this folder: the C kernels by themselves, against plain loops,
under the address and undefined-behaviour sanitizers.

Called by test_kernels.py, and with more cases by `make sanitize`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[1] / "Sources" / "GraftKernels"
# All of the layers' but those that need OpenBLAS, and memory.c: the programs bring their own.
LAYERS = [
    "concatenation.c", "convolution.c", "convolution_pack.c", "depthwise.c", "dropout.c",
    "elementwise.c", "grouped.c", "instructions.c", "layout.c", "norm.c", "parallel.c",
    "pooling.c", "tiles.c", "tiles_avx2.c", "tiles_avx512.c", "tiles_avx512bf16.c",
    "tiles_baseline.c",
    "winograd_pack.c",
]
# Each program with the kernels that it calls.
PROGRAMS = {
    "convolutions": LAYERS,
    "layers": LAYERS,
    "batches": ["batch.c", "optimiser.c", "parallel.c"],
}
INSTRUCTIONS = ["avx512bf16", "avx512", "avx2", "baseline"]


def compile(*arguments: str | Path, sanitizers: str = "address,undefined") -> None:
    # The Swift toolchain's clang: the kernels are compiled with it, and it brings the sanitizers,
    # but for threads one that needs more than C.
    swift = Path(os.path.realpath(shutil.which("swift")))
    compiler = ["gcc"] if sanitizers == "thread" else [swift.with_name("clang")]
    if sanitizers != "thread" and "-c" not in arguments:
        compiler.append("-fuse-ld=lld")  # binutils' gold warns of each of the sanitizer's names
    subprocess.run(
        [*compiler, "-O1", "-g", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=undefined",
         "-DGK_LARGE=4096", "-DGK_FLAT_MANY=2", "-DGK_WINOGRAD_ROOM=65536",
         "-I", SOURCES / "include", "-I", SOURCES, *arguments], check=True)


def build(folder: Path) -> dict[str, Path]:
    """Compile everything, each kernel once."""
    files = sorted({file for files in PROGRAMS.values() for file in files})
    objects = {file: folder / f"{file}.o" for file in files}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda file: compile("-c", SOURCES / file, "-o", objects[file]), files))
    for name, files in PROGRAMS.items():
        compile(HERE / f"{name}.c", *(objects[file] for file in files), "-lm", "-o", folder / name)
    return {name: folder / name for name in PROGRAMS}


def handles(folder: Path, sanitizers: str) -> str:
    """Build and run the table of handles' program; what was wrong, "" for nothing."""
    program = folder / f"handles-{sanitizers}"
    compile(HERE / "handles.c", SOURCES / "handles.c", SOURCES / "memory.c", "-o", program,
            sanitizers=sanitizers)
    return said(subprocess.run([program], capture_output=True, text=True), "560000 handles\n")


def run(program: Path, seed: int, cases: int, instructions: str) -> str:
    """What was wrong; "" for nothing."""
    done = subprocess.run(
        [program, str(seed), str(cases)], capture_output=True, text=True,
        env={**os.environ, "GRAFT_INSTRUCTIONS": instructions})
    return said(done, f"{cases} cases\n")


def said(done: subprocess.CompletedProcess, expected: str) -> str:
    output = done.stdout + done.stderr
    return "" if done.returncode == 0 and output == expected else output[-3000:] or "died"
