"""The demo's live line: which run, how far, how fast, how long it will still take."""

from __future__ import annotations

import shutil
import sys
import time

import graft


class Display:
    """One line over all runs, rewritten on a terminal and written now and then elsewhere.

    Parameters
    ----------
    work
        Of all runs together, in steps of a single network.
    """

    def __init__(self, work: float) -> None:
        self._work = max(work, 1.0)
        self._done = 0.0
        self._title = ""
        self._cost = 1.0
        self._start = self._written = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._interval = 0.1 if self._terminal else 10.0

    def begin(self, title: str, cost: float) -> None:
        """A run begins, whose steps cost this many of a single network."""
        self._title, self._cost = title, cost

    def __call__(self, progress: graft.Progress) -> None:
        """The run's callback."""
        if progress.phase != "training":
            return
        now = time.monotonic()
        if now - self._written < self._interval:
            return
        self._written = now
        steps = (progress.epoch - 1) * progress.steps + progress.step
        done = (self._done + steps * self._cost) / self._work
        left = (now - self._start) * (1 - done) / max(done, 1e-9)
        filled = round(12 * done)
        line = (
            f"{'█' * filled}{'░' * (12 - filled)} {100 * done:2.0f} %, {clock(left)} left, "
            f"{progress.images_per_second:6,.0f} images/s   {self._title}, "
            f"epoch {progress.epoch}/{progress.epochs}, loss {progress.loss:.3f}")
        self._write(line)

    def end(self, line: str, steps: int) -> None:
        """A run is over: `line` stays."""
        self._done += steps * self._cost
        self._write(line)
        if self._terminal:
            sys.stdout.write("\n")
            sys.stdout.flush()

    def _write(self, line: str) -> None:
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            sys.stdout.write("\r\x1b[K" + line[:width])
        else:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()


def clock(seconds: float) -> str:
    """Seconds as minutes:seconds, or hours:minutes:seconds."""
    minutes, rest = divmod(round(min(seconds, 1e9)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
