"""Builds and runs the fuzz targets of this folder: each `TARGET.c` is one, with the `TARGET_*.c`
beside it.

A target is linked to a library, which it calls through the C interface alone: the product, in the
tests, or one that was built with the sanitizers and with coverage for libFuzzer to follow
(`make fuzz`). `corpus/TARGET` holds every input that ever failed, under a name that says how.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# The longest input that is tried.
TARGETS = {
    "safetensors": 2000, "checkpoint": 6000, "idx": 600, "cifar": 200, "options": 60, "calls": 400}
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def clang() -> Path:
    """The Swift toolchain's clang, which compiles the kernels, and brings libFuzzer."""
    swift = shutil.which("swift")
    if swift is None:
        raise FileNotFoundError("no swift on the PATH")
    return Path(os.path.realpath(swift)).with_name("clang")


def corpus(target: str) -> list[Path]:
    """Inputs that once failed."""
    return sorted((HERE / "corpus" / target).glob("*"))


def kept(target: str) -> list[Path]:
    """The folder of those, where there is one."""
    folder = HERE / "corpus" / target
    return [folder] if folder.is_dir() else []


@dataclass
class Outcome:
    """What came of a run."""

    target: str
    #: 0 where nothing failed.
    status: int
    executions: int
    seconds: float
    #: Edges of the library that the inputs reach, and how many it has; 0 for a library without
    #: coverage. (The target's own edges are among them: one in forty.)
    edges: int
    total: int
    output: str


class Fuzzer:
    """A target, compiled."""

    def __init__(self, target: str, library: Path, folder: Path, flags: list[str] | None = None):
        self.target = target
        self.program = folder / target
        folder.mkdir(parents=True, exist_ok=True)
        static = ROOT / "build" / "static"
        command = [
            clang(), "-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-fsanitize=fuzzer",
            *(flags or []), f"-I{ROOT / 'Include'}", *HERE.glob(f"{target}*.c"),
            HERE / "fuzz.c", HERE / "older_libc.c", library, f"-L{static}", "-ljson-c", "-lz",
            "-lm", f"-Wl,-rpath,{library.parent}", "-o", self.program]
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode != 0:
            raise RuntimeError(made.stderr)
        self.environment = {
            **os.environ,
            # What cannot be had is NULL, as without the sanitizer; a gigabyte cannot be had.
            "ASAN_OPTIONS": "allocator_may_return_null=1:max_allocation_size_mb=1024",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }

    def run(self, *arguments: str | Path, seeds: Path | None = None,
            progress: bool = False) -> Outcome:
        """Run the program with arguments of libFuzzer's.

        Parameters
        ----------
        seeds
            A folder that the program fills first with what the library itself would write.
        progress
            Prints every minute how far it is.
        """
        environment = dict(self.environment)
        if seeds is not None:
            seeds.mkdir(parents=True, exist_ok=True)
            environment["FUZZ_SEEDS"] = str(seeds)
        start = shown = time.monotonic()
        lines, done, edges = [], 0, 0
        with subprocess.Popen(
            [self.program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", env=environment, cwd=self.program.parent,
        ) as process:
            for line in process.stdout:
                # Of the millions of lines about new inputs, the numbers.
                if told := re.match(r"#(\d+)\s.*\bcov: (\d+)", line):
                    done, edges = int(told[1]), int(told[2])
                else:
                    lines.append(line)
                if progress and time.monotonic() - shown >= 60:
                    shown = time.monotonic()
                    print(f"{shown - start:8.0f} s {done:10} inputs, {edges} edges", flush=True)
        output = "".join(lines)
        total = re.findall(r"Loaded .*\((\d+) inline 8-bit counters\)", output)
        ended = re.findall(r"Done (\d+) runs in", output)
        return Outcome(
            self.target, process.returncode, int(ended[-1]) if ended else done,
            time.monotonic() - start, edges, int(total[-1]) if total else 0, output)

    def replay(self, inputs: list[Path]) -> Outcome:
        """Each input once."""
        # (Without any, libFuzzer would make up its own, for ever.)
        return self.run(*inputs) if inputs else Outcome(self.target, 0, 0, 0, 0, 0, "")

    def fuzz(self, seconds: int, inputs: Path, progress: bool = False) -> Outcome:
        """For so long, from what is in a folder, which keeps what is found to reach further.

        An input that fails is kept with those of this folder's corpus, so that the tests fail
        until it does not.
        """
        failed = HERE / "corpus" / self.target
        failed.mkdir(parents=True, exist_ok=True)
        # (What takes long, but not too long, is no failure to be kept.)
        return self.run(
            f"-max_total_time={seconds}", f"-max_len={TARGETS[self.target]}", "-timeout=60",
            "-report_slow_units=61", "-rss_limit_mb=4096",
            f"-artifact_prefix={failed}{os.sep}", inputs, failed, seeds=inputs, progress=progress)


def short(fuzzer: Fuzzer, runs: int, seed: int = 1) -> Outcome:
    """So many inputs, the same ones every time; nothing is kept."""
    with tempfile.TemporaryDirectory() as folder:
        return fuzzer.run(
            f"-runs={runs}", f"-seed={seed}", f"-max_len={TARGETS[fuzzer.target]}", "-timeout=60",
            "-rss_limit_mb=4096", "-len_control=0", f"-artifact_prefix={folder}{os.sep}",
            Path(folder) / "seeds", *kept(fuzzer.target), seeds=Path(folder) / "seeds")
