"""The CSV log holds the trainer's history, at every epoch and after every kind of going on."""

from __future__ import annotations

import csv
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import graft

RNG = np.random.default_rng(0)
DATA = graft.Dataset.from_arrays(
    RNG.integers(0, 256, (60, 1, 8, 8)).astype(np.uint8), RNG.integers(0, 3, 60))


def trainer(epochs: int = 3, test: graft.Dataset | None = DATA, **options) -> graft.Trainer:
    networks = [graft.resnet(8, 3, (1, 8, 8), base_filters=2, seed=seed) for seed in (1, 2)]
    return graft.Trainer(
        networks, DATA, test, epochs=epochs, batch_size=20, schedule="constant",
        grafting=graft.Grafting(every=2), **options)


def read(path: Path) -> list[dict[str, object]]:
    """What is in the file: numbers as numbers, empty cells as NaN."""
    def value(cell: str) -> object:
        if cell == "":
            return math.nan
        try:
            return float(cell)
        except ValueError:
            return cell

    with open(path, newline="") as file:
        return [{name: value(cell) for name, cell in row.items()} for row in csv.DictReader(file)]


def holds(path: Path, history: graft.History) -> None:
    rows = read(path)
    assert len(rows) == len(history) > 0
    for row, record in zip(rows, history):
        expected = asdict(record)
        assert list(row) == list(expected)
        for name, value in expected.items():
            nan = isinstance(value, float) and math.isnan(value)
            assert math.isnan(row[name]) if nan else row[name] == value, name


def test_every_epoch_is_there_as_soon_as_it_is_over(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("of another run\n" * 100)
    run, seen = trainer(), []

    def look(progress: graft.Progress) -> None:
        if progress.phase == "epoch":
            seen.append(len(read(path)))

    history = run.run([graft.CSVLog(path), look])
    assert seen == [2, 4, 6]
    holds(path, history)
    assert {row["grafted"] for row in read(path)} == {0.0, 1.0}
    assert [path] == list(tmp_path.iterdir())


def test_what_is_not_measured_is_empty(tmp_path: Path) -> None:
    history = trainer(1, test=None).run(graft.CSVLog(tmp_path / "log.csv"))
    holds(tmp_path / "log.csv", history)
    assert math.isnan(read(tmp_path / "log.csv")[0]["test_loss"])


def test_a_run_that_is_stopped_and_goes_on(tmp_path: Path) -> None:
    path, run = tmp_path / "log.csv", trainer()
    log = graft.CSVLog(path)

    def stop(progress: graft.Progress) -> bool:
        return not (progress.epoch == 2 and progress.phase == "training" and progress.step == 2)

    with pytest.raises(graft.CancelledError):
        run.run([log, stop])
    assert [row["epoch"] for row in read(path)] == [1, 1]
    holds(path, run.run(log))


def test_a_run_from_a_checkpoint(tmp_path: Path) -> None:
    """The log has gone further than the checkpoint, from which all is done again."""
    path, first = tmp_path / "log.csv", trainer(3, save_every=2, directory=tmp_path / "saved")
    first.run(graft.CSVLog(path))
    assert read(path)[-1]["epoch"] == 3
    again = trainer(3)
    again.load(tmp_path / "saved")
    assert again.epochs_done == 2
    seen = []

    def look(progress: graft.Progress) -> None:
        if progress.phase == "training":
            seen.append([row["epoch"] for row in read(path)])

    holds(path, again.run([graft.CSVLog(path), look]))
    assert all(epochs == [1, 1, 2, 2] for epochs in seen) and seen


def test_a_file_that_cannot_be_written_stops_the_run(tmp_path: Path) -> None:
    run = trainer()
    with pytest.raises(graft.FileError, match="log.csv"):
        run.run(graft.CSVLog(tmp_path / "missing" / "log.csv"))
    assert run.epochs_done == 0
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "log.csv"

    def remove(progress: graft.Progress) -> None:
        if progress.phase == "training" and progress.step == 1:
            path.unlink()
            path.parent.rmdir()

    with pytest.raises(graft.FileError, match="log.csv cannot be written"):
        run.run([graft.CSVLog(path), remove])
    path.parent.mkdir()
    holds(path, run.run(graft.CSVLog(path)))
    with pytest.raises(graft.InvalidStateError, match="Trainer.run"):
        graft.CSVLog(path)(graft.Progress("epoch", 1, 1, 1, 1, 0.0, 0.0, 0.0, 0.0))
