"""The machine that numbers come from: what it can do, as measured, and how busy others keep it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent / "build" / "bench"


@dataclass(frozen=True)
class Peak:
    """Of some threads together: multiply-adds count as two operations, copied bytes twice."""

    float32: float
    bfloat16: float  #: of bfloat16 numbers, summed in float32; 0 where the processor has none
    copy: float  #: bytes read and written a second

    def of(self, dtype: str) -> float:
        """Operations a second in this type, float32's where the processor has no other."""
        return self.bfloat16 or self.float32 if dtype == "bfloat16" else self.float32


def peak(threads: int, milliseconds: int = 100) -> Peak:
    """Measures it: peak.c, compiled for this processor."""
    source, program = HERE / "peak.c", BUILT / "peak"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILT.mkdir(parents=True, exist_ok=True)
        compiler = shutil.which("gcc") or shutil.which("clang") or "cc"
        subprocess.run(
            [compiler, "-O3", "-march=native", "-pthread", source, "-o", program], check=True)
    output = subprocess.run(
        [program, str(threads), str(milliseconds)], check=True, capture_output=True, text=True)
    return Peak(*(float(number) for number in output.stdout.split()))


def busy_seconds() -> float:
    """Seconds that all processors together have worked since the machine started."""
    line = Path("/proc/stat").read_text().split("\n", 1)[0]
    fields = [int(number) for number in line.split()[1:]]
    user, nice, system, _, _, irq, softirq, *_ = fields
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def described(threads: int) -> dict[str, object]:
    """What a reader of the numbers wants to know of the machine."""
    import torch

    import graft

    name = next((line.split(":", 1)[1].strip() for line in
                 Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")),
                platform.machine())
    measured = peak(threads)
    return {
        "processor": name, "cores": os.cpu_count(), "threads": threads,
        "instructions": graft.instructions(), "graft": graft.__version__,
        "pytorch": torch.__version__, "load": os.getloadavg()[0],
        "peak_float32": measured.float32, "peak_bfloat16": measured.bfloat16,
        "copy_bandwidth": measured.copy,
    }
