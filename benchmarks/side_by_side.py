"""Runs workers in turn and compares their medians: what disturbs one disturbs all."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from machine import busy_seconds

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


class Worker:
    """A process with one case; a line to it lets it do its steps."""

    def __init__(self, case: dict) -> None:
        environment = dict(os.environ, PYTHONPATH=str(ROOT / "bindings" / "python"))
        environment.setdefault("GRAFT_LIBRARY", str(ROOT / "build" / "libgraft.so"))
        self.case = case
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "workers.py"), json.dumps(case)], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )

    def started(self) -> dict:
        """Waits until its case is set up, and tells what it says of it."""
        return self.finish()

    def start(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def finish(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended: {json.dumps(self.case)}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Group:
    """Workers that run at once (two single-thread processes, say) and count together."""

    def __init__(self, name: str, cases: list[dict]) -> None:
        self.name = name
        self.workers = [Worker(case) for case in cases]
        self.rates: list[float] = []
        self.peak = 0.0
        self.told: dict = {}
        #: Processor seconds that others used while this ran, and how long it ran.
        self.others = self.seconds = 0.0

    def prepare(self) -> None:
        """Every worker's first steps, at once: they are not counted."""
        for worker in self.workers:
            self.told = worker.started()
        self.run()
        self.rates.clear()
        self.others = self.seconds = 0.0

    def run(self) -> None:
        began, busy = time.perf_counter(), busy_seconds()
        for worker in self.workers:
            worker.start()
        results = [worker.finish() for worker in self.workers]
        self.seconds += time.perf_counter() - began
        self.others += busy_seconds() - busy - sum(result["processor"] for result in results)
        self.rates.append(sum(result["rate"] for result in results))
        self.peak = max(self.peak, sum(result["peak"] for result in results))

    @property
    def median(self) -> float:
        return statistics.median(self.rates)

    def close(self) -> None:
        for worker in self.workers:
            worker.close()


def interleave(
    groups: list[Group], seconds: float, rounds: tuple[int, int] = (3, 9), pause: float = 0.05
) -> None:
    """Every group in turn, within `seconds` but at least `rounds[0]` times, at most `rounds[1]`.

    The pause lets threads that still spin fall asleep.
    """
    for group in groups:
        group.prepare()
    began = time.perf_counter()
    for turn in range(rounds[1]):
        taken = time.perf_counter() - began
        if turn >= rounds[0] and taken * (turn + 1) / turn > seconds:
            break
        for group in groups:
            time.sleep(pause)
            group.run()
