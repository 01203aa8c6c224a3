"""The kernels, the C, C++ and Swift programs, and what failed once in fuzzing, under the sanitizers
and Valgrind; closes with 'N passed, N failed'.

Called by `make sanitize`, which has built what is tested into build/sanitized: `address`, the
library under AddressSanitizer, UndefinedBehaviorSanitizer (C alone: Swift traps by itself) and
LeakSanitizer; `tests`, the Swift tests under the same; `thread`, the library under ThreadSanitizer.
Arguments pick the checks whose names hold one of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILT = ROOT / "build" / "sanitized"
sys.path[:0] = [str(ROOT / "Tests" / "fuzz"), str(ROOT / "Tests" / "kernels")]

import fuzzing  # noqa: E402
import kernels  # noqa: E402

ADDRESS = [*fuzzing.SANITIZERS, "-fno-omit-frame-pointer"]
THREAD = ["-fsanitize=thread"]
ENVIRONMENT = {
    **os.environ,
    "ASAN_OPTIONS": "detect_leaks=1:fast_unwind_on_malloc=0:detect_stack_use_after_return=1",
    "LSAN_OPTIONS": f"suppressions={HERE / 'suppressions.txt'}:print_suppressions=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    # (What libomp itself calls; see thread_checks.)
    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1",
}


class Failed(Exception):
    """A check's, with what there is to say."""


def clang() -> Path:
    return fuzzing.clang()


def run(command: list[str | Path], **environment: str) -> tuple[int, str]:
    """Run it to its end; returns its status and what it printed."""
    done = subprocess.run(
        command, env={**ENVIRONMENT, **environment}, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1200)
    return done.returncode, done.stdout


def passes(command: list[str | Path], expected: str | None = None, **environment: str) -> None:
    """It ends with 0, and prints no more than that where there is something to expect."""
    status, output = run(command, **environment)
    if status != 0 or expected not in (None, output):
        raise Failed(f"status {status}\n{output[-6000:]}")


def reports(command: list[str | Path], *texts: str, **environment: str) -> None:
    """A sanitizer reports what is planted in it."""
    status, output = run(command, **environment)
    if status == 0 or any(text not in output for text in texts):
        raise Failed(f"status {status}; not all of {texts} are in\n{output[-6000:]}")


class Built:
    """Programs linked to one of the libraries."""

    def __init__(self, kind: str, flags: list[str], folder: Path):
        self.library = BUILT / kind / "release"
        self.flags = flags
        self.folder = folder / kind
        self.folder.mkdir()
        runtime = clang().parent.parent / "lib" / "swift" / "linux"
        # The toolchain's ThreadSanitizer knows libdispatch, and asks for it.
        self.more = [
            f"-L{runtime}", "-ldispatch", "-lBlocksRuntime", f"-Wl,-rpath,{runtime}"
        ] if kind == "thread" else []

    def program(self, *sources: str, flags: tuple[str, ...] = ()) -> Path:
        """Compile it, C or C++ by its first source."""
        first = ROOT / sources[0]
        cpp = first.suffix == ".cpp"
        program = self.folder / first.stem
        made = subprocess.run(
            [clang().with_name("clang++") if cpp else clang(),
             "-std=c++17" if cpp else "-std=gnu11", "-O1", "-g", "-fuse-ld=lld", *self.flags,
             f"-I{ROOT / 'Include'}", *flags, *(ROOT / source for source in sources),
             self.library / "libgraft.so.0", *self.more,
             f"-Wl,-rpath,{self.library}", "-lpthread", "-o", program],
            capture_output=True, text=True)
        if made.returncode != 0:
            raise Failed(made.stderr)
        return program

    def scratch(self, name: str) -> Path:
        folder = self.folder / f"{name}-files"
        folder.mkdir()
        return folder


# ---- the checks --------------------------------------------------------------------------------


def kernel_checks(folder: Path) -> dict[str, Callable[[], None]]:
    built: dict[str, Path] = {}

    def check(name: str, instructions: str, cases: int) -> None:
        if not built:
            (folder / "kernels").mkdir()
            built.update(kernels.build(folder / "kernels"))
        wrong = kernels.run(built[name], 2, cases, instructions)
        if wrong:
            raise Failed(wrong)

    def handles(sanitizers: str) -> None:
        wrong = kernels.handles(folder, sanitizers)
        if wrong:
            raise Failed(wrong)

    cases = {"convolutions": 1500, "layers": 1000, "batches": 10000}
    checks = {
        f"address: kernels, {name}, {instructions}, {cases[name]} cases":
            lambda name=name, instructions=instructions: check(name, instructions, cases[name])
        for name in kernels.PROGRAMS for instructions in kernels.INSTRUCTIONS
        if name != "batches" or instructions == "baseline"}
    checks["address: the table of handles"] = lambda: handles("address,undefined")
    checks["thread: the table of handles"] = lambda: handles("thread")
    return checks


def address_checks(folder: Path) -> dict[str, Callable[[], None]]:
    built = Built("address", ADDRESS, folder)
    planted: list[Path] = []

    def plant(kind: str, *texts: str) -> None:
        if not planted:
            planted.append(built.program("Tests/sanitize/planted.c"))
        reports([planted[0], kind], *texts)

    def cpp(name: str) -> None:
        passes([built.program(f"Tests/cpp/{name}.cpp"), built.scratch(name)], "")

    return {
        "address: a planted overrun is reported, in the library":
            lambda: plant("overrun", "heap-buffer-overflow", "Sources/GraftKernels"),
        "address: a planted leak is reported":
            lambda: plant("leak", "1000 byte(s) leaked in 1 allocation", "graft_trainer_run"),
        "address: C, the example": lambda: passes([built.program("examples/c/graft_networks.c")]),
        "address: C, 16 threads": lambda: passes(
            [built.program("Tests/sanitize/threads.c"), built.scratch("threads"), "2"],
            "16 threads\n"),
        "address: C++, graft.hpp's method": lambda: cpp("method"),
        "address: C++, graft.hpp's engine": lambda: cpp("engine"),
        "address: C++, exceptions in callbacks": lambda: cpp("callbacks"),
        "address: C++, the example":
            lambda: passes([built.program("examples/cpp/graft_networks.cpp")]),
        "address: C++, the example that trains":
            lambda: passes([built.program("examples/cpp-trainer/trainer.cpp")]),
    }


def fuzz_checks(folder: Path) -> dict[str, Callable[[], None]]:
    def check(target: str) -> None:
        fuzzer = fuzzing.Fuzzer(
            target, BUILT / "address" / "release" / "libgraft.so.0", folder / "fuzz",
            fuzzing.SANITIZERS)
        for outcome in (fuzzer.replay(fuzzing.corpus(target)), fuzzing.short(fuzzer, 2000, seed=2)):
            if outcome.status != 0:
                raise Failed(outcome.output[-6000:])

    return {f"address: what failed once in fuzzing, and 2000 new inputs, {target}":
            lambda target=target: check(target) for target in fuzzing.TARGETS}


def swift_checks(folder: Path) -> dict[str, Callable[[], None]]:
    def check() -> None:
        # AddressSanitizer's runtime, linked into the program, stands before the functions that it
        # finds missing in an older C library.
        older = folder / "older_libc.so"
        subprocess.run([clang(), "-shared", "-fPIC", "-O1", ROOT / "Tests/fuzz/older_libc.c", "-o",
                        older], check=True)
        tests = BUILT / "tests" / "debug" / "GraftPackageTests.xctest"
        passes([tests, "--testing-library", "swift-testing"], LD_PRELOAD=str(older))

    return {"address: Swift, all tests": check}


def thread_checks(folder: Path) -> dict[str, Callable[[], None]]:
    built = Built("thread", THREAD, folder)
    multiarch = subprocess.run(
        ["gcc", "-print-multiarch"], check=True, capture_output=True, text=True).stdout.strip()
    openmp = Path(os.path.realpath(f"/usr/lib/{multiarch}/libomp5.so"))
    # Archer (Atzeni et al. 2016) tells ThreadSanitizer what libomp, which is not compiled for it,
    # orders. It is a part of libomp-dev.
    archer = {"OMP_TOOL_LIBRARIES": str(openmp.with_name("libarcher.so"))}
    planted: list[Path] = []

    def plant(kind: str) -> list[str | Path]:
        if not planted:
            planted.append(built.program(
                "Tests/sanitize/planted.c", "Sources/GraftKernels/parallel.c",
                flags=("-fopenmp", "-DPLANTED_TILES", f"-I{ROOT / 'Sources/GraftKernels/include'}",
                       f"-L{openmp.parent}")))
        return [planted[0], kind]

    race = "ThreadSanitizer: data race"
    return {
        "thread: a planted race on a handle is reported, in the library":
            lambda: reports(plant("handle"), race, "graft_network_set_threads", **archer),
        "thread: a planted race between tiles is reported":
            lambda: reports(plant("tiles"), race, "planted.c", **archer),
        "thread: tiles without a race are not reported":
            lambda: passes(plant("nothing"), "", **archer),
        "thread: C, 16 threads": lambda: passes(
            [built.program("Tests/sanitize/threads.c"), built.scratch("threads"), "5"],
            "16 threads\n", **archer),
        "thread: C++, graft.hpp's engine": lambda: passes(
            [built.program("Tests/cpp/engine.cpp"), built.scratch("engine")], "", **archer),
    }


def valgrind_checks(folder: Path) -> dict[str, Callable[[], None]]:
    if shutil.which("valgrind") is None:
        print("no valgrind here: its checks are left out (install valgrind)", flush=True)
        return {}
    library = ROOT / "build"

    def check(source: str, compiler: str, *arguments: str) -> None:
        program = folder / f"valgrind-{Path(source).stem}"
        subprocess.run(
            [compiler, "-g", "-O1", f"-I{ROOT / 'Include'}", ROOT / source,
             library / "libgraft.so.0", f"-Wl,-rpath,{library}", "-o", program], check=True)
        # It does not know AVX-512. (Blocks to which only an inner pointer leads, Swift's way of
        # keeping its tables and libomp's of aligning, are not lost.)
        passes(["valgrind", "-q", "--leak-check=full", "--show-leak-kinds=definite,indirect",
                "--errors-for-leak-kinds=definite,indirect", "--error-exitcode=9", program,
                *arguments], GRAFT_INSTRUCTIONS="avx2", OPENBLAS_CORETYPE="Haswell")

    return {
        "valgrind: C, the example": lambda: check("examples/c/graft_networks.c", "gcc"),
        "valgrind: C++, graft.hpp's engine":
            lambda: check("Tests/cpp/engine.cpp", "g++", str(folder)),
    }


def main() -> int:
    passed = failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        groups = (kernel_checks, address_checks, fuzz_checks, swift_checks, thread_checks,
                  valgrind_checks)
        for group in groups:
            for title, check in group(folder).items():
                if sys.argv[1:] and not any(word in title for word in sys.argv[1:]):
                    continue
                start = time.monotonic()
                try:
                    check()
                except (Failed, subprocess.SubprocessError, RuntimeError) as problem:
                    failed += 1
                    print(f"FAILED  {title}\n{problem}", flush=True)
                else:
                    passed += 1
                    print(f"{time.monotonic() - start:6.1f} s  {title}", flush=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
