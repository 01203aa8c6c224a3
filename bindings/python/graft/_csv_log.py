"""A run's records as a CSV file that grows with every epoch."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._callback import TrainerCallback
from ._errors import FileError, InvalidStateError
from ._history import EpochRecord
from ._progress import Progress
from ._write import write_all

if TYPE_CHECKING:
    from ._trainer import Trainer

__all__ = ["CSVLog"]

_COLUMNS = [field.name for field in fields(EpochRecord)]


class CSVLog(TrainerCallback):
    """Writes a line for every network and epoch to a CSV file, as soon as the epoch is over.

    The columns are the fields of `EpochRecord`, numbers in full precision; what was not measured
    is empty, and yes and no are 1 and 0. The file always holds the trainer's whole history: a run
    that goes on from a checkpoint has the lines of the epochs before, and none of epochs that are
    yet to be done again. A file that is there is replaced.

    Parameters
    ----------
    path
        The file. Its folder must exist.

    Examples
    --------
    >>> trainer.run(graft.CSVLog("run.csv"))
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._trainer: Trainer | None = None

    def begin(self, trainer: Trainer) -> None:
        """Write what has been done; called before the first batch."""
        self._trainer = trainer
        content = _lines([_COLUMNS]) + _lines(map(_cells, trainer.history))
        write_all([(self._path, lambda file: file.write(content))])

    def __call__(self, progress: Progress) -> None:
        """Add the epoch that has just ended."""
        if progress.phase != "epoch":
            return
        if self._trainer is None:
            raise InvalidStateError("a CSVLog is handed to Trainer.run, which tells it its trainer")
        records = [self._trainer.record(progress.epoch, network)
                   for network in range(len(self._trainer.networks))]
        try:
            with open(self._path, "ab") as file:
                file.write(_lines(map(_cells, records)))
        except OSError as error:
            raise FileError(f"{self._path} cannot be written: {error.strerror or error}") from error


def _cells(record: EpochRecord) -> list[Any]:
    cells: list[Any] = []
    for name in _COLUMNS:
        value = getattr(record, name)
        if isinstance(value, bool):
            value = int(value)
        elif isinstance(value, float) and math.isnan(value):
            value = ""
        cells.append(value)
    return cells


def _lines(rows: Iterable[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
