"""Runs workers in turn and compares their medians: what disturbs one disturbs all."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


class Worker:
    """A process with one case; `run` lets it do its steps."""

    def __init__(self, case: dict) -> None:
        environment = dict(os.environ, PYTHONPATH=str(ROOT / "bindings" / "python"))
        environment.setdefault("GRAFT_LIBRARY", str(ROOT / "build" / "libgraft.so"))
        self.case = case
        self.rates: list[float] = []
        self.peak = 0.0
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "workers.py"), json.dumps(case)], env=environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        if self.process.stdout.readline().strip() != "ready":
            raise SystemExit(f"a worker did not start: {case}")

    def start(self) -> None:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def finish(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Group:
    """Workers that run at once (two single-thread processes, say) and count together."""

    def __init__(self, name: str, cases: list[dict]) -> None:
        self.name = name
        self.workers = [Worker(case) for case in cases]
        self.rates: list[float] = []
        self.peak = 0.0

    def run(self) -> None:
        for worker in self.workers:
            worker.start()
        results = [worker.finish() for worker in self.workers]
        self.rates.append(sum(result["rate"] for result in results))
        self.peak = max(self.peak, sum(result["peak"] for result in results))

    @property
    def median(self) -> float:
        return statistics.median(self.rates)

    def close(self) -> None:
        for worker in self.workers:
            worker.close()


def interleave(groups: list[Group], rounds: int, pause: float = 0.05) -> None:
    """Every group in turn, `rounds` times; the pause lets spinning threads fall asleep."""
    for _ in range(rounds):
        for group in groups:
            time.sleep(pause)
            group.run()
