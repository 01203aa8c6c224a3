"""How far a run is: what callbacks are told, and a display for the terminal."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any, TextIO

from . import _structures

__all__ = ["Progress", "ProgressBar"]


@dataclass(frozen=True)
class Progress:
    """What a callback is told.

    Attributes
    ----------
    phase
        "training" after a batch, "evaluation" after a part of the test set, "graft" when the
        epoch's graft is done, "epoch" when everything of the epoch is, "evaluated" when an
        evaluation between two steps is (`evaluate_steps`).
    epoch, epochs
        From 1, and how many.
    step, steps
        Steps done in this phase of this epoch, and how many.
    loss
        Mean training loss of the epoch so far, over all networks.
    images_per_second
        Training images a second over this run so far, all networks together.
    seconds, seconds_left
        Since this run began, and an estimate of those to come.
    """

    phase: str
    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    images_per_second: float
    seconds: float
    seconds_left: float

    @classmethod
    def _of(cls, told: _structures.Progress) -> Progress:
        return cls(
            _structures.Phase(told.phase).name.lower(), told.epoch, told.epochs, told.step,
            told.steps, told.loss, told.images_per_second, told.seconds, told.seconds_left)


class ProgressBar:
    """Shows a run on a terminal: share done, loss, rate, time left. A callback of its own.

    With tqdm installed it is tqdm's bar, otherwise a line that is rewritten.

    Parameters
    ----------
    title
        Written in front.
    file
        Where to; standard error by default.
    tqdm
        False does without tqdm even where it is installed.
    """

    #: Seconds between two writes, on a terminal and elsewhere (a log file).
    INTERVALS = (0.1, 15.0)

    def __init__(self, title: str = "", file: TextIO | None = None, tqdm: bool = True) -> None:
        self._title = f"{title} " if title else ""
        self._file = sys.stderr if file is None else file
        terminal = hasattr(self._file, "isatty") and self._file.isatty()
        self._interval = self.INTERVALS[0 if terminal else 1]
        self._end = "" if terminal else "\n"
        self._written = 0.0
        self._width = 0
        self._done = -1
        self._bar: Any = None
        self._tqdm: Any = _tqdm() if tqdm and terminal else None

    def __call__(self, progress: Progress) -> None:
        """Show how far it is."""
        if progress.phase != "training":
            return
        total = progress.epochs * progress.steps
        done = (progress.epoch - 1) * progress.steps + progress.step
        if self._tqdm is not None:
            self._show_bar(progress, done, total)
        elif time.monotonic() - self._written >= self._interval or done == total:
            self._written = time.monotonic()
            self._write(progress, done, total)

    def _show_bar(self, progress: Progress, done: int, total: int) -> None:
        if self._bar is None:
            start = done - 1  # a run that goes on where another stopped
            self._bar = self._tqdm(
                total=total, initial=start, file=self._file, unit="step", dynamic_ncols=True,
                leave=True)
        self._bar.set_description_str(
            f"{self._title}epoch {progress.epoch}/{progress.epochs}", refresh=False)
        self._bar.set_postfix_str(
            f"loss {progress.loss:.3f}, {progress.images_per_second:.0f} img/s", refresh=False)
        self._bar.update(done - self._bar.n)

    def _write(self, progress: Progress, done: int, total: int) -> None:
        line = (
            f"{self._title}epoch {progress.epoch}/{progress.epochs} "
            f"{100 * done // max(total, 1):3d}%  loss {progress.loss:.3f}  "
            f"{progress.images_per_second:.0f} images/s  {duration(progress.seconds_left)} left")
        start = "" if self._end else "\r"
        self._file.write(start + line.ljust(self._width) + self._end)
        self._file.flush()
        self._width = len(line)

    def close(self) -> None:
        """End the display's line."""
        if self._bar is not None:
            self._bar.close()
        elif self._width and not self._end:
            self._file.write("\n")
            self._file.flush()


def duration(seconds: float) -> str:
    """Seconds as minutes:seconds or hours:minutes:seconds."""
    if not 0 <= seconds < 1e9:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped]
    except ImportError:
        return None
    return tqdm
