"""Runs of any kind as recordings: recorders, trainers, networks, files, checkpoints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from .._cli._files import read
from .._cli._safetensors import Bfloat16Bits
from .._errors import FormatError, InvalidArgumentError, UnsupportedError
from .._plan import Plan
from .._record import Recorder, Recording
from .._record._layers import Structure, measure
from .._record._networks import listed, plan_of, states
from .._record._recording import GRAFT_COLUMNS
from .._trainer import Trainer

_MANIFEST = "manifest.json"
_FIGURES = ("learning_rate", "train_loss", "train_accuracy", "test_loss", "test_accuracy",
            "seconds")
#: The columns of a checkpoint's table of reports, in its order; None is not recorded.
_REPORTED = ("source", "alpha", "entropy_before", "entropy_after", None, "invalid_before",
             "invalid_after", "norm_before", "norm_after")


def recordings(
    runs: Any, bins: int = 10, transposed: Sequence[str] = ()
) -> dict[str, Recording]:
    """What was given, as recordings under the names that the page calls them by."""
    if isinstance(runs, Mapping) and not _is_state(runs):
        found = {str(name): _recording(run, bins, transposed) for name, run in runs.items()}
    elif isinstance(runs, (list, tuple)):
        found = {}
        for index, run in enumerate(runs):
            _add(found, _name(run, f"run {index + 1}"), _recording(run, bins, transposed))
    else:
        found = {_name(runs, "run"): _recording(runs, bins, transposed)}
    if not found:
        raise InvalidArgumentError("runs is empty: there is nothing to report")
    for name, recording in found.items():
        if not len(recording):
            raise InvalidArgumentError(f"{name} has recorded nothing yet")
    return found


def _add(found: dict[str, Recording], name: str, recording: Recording) -> None:
    """Under its name, with a number where that is taken."""
    number, free = 1, name
    while free in found:
        number += 1
        free = f"{name} ({number})"
    found[free] = recording


def _is_state(mapping: Mapping[Any, Any]) -> bool:
    return bool(mapping) and all(
        hasattr(value, "shape") and hasattr(value, "dtype") for value in mapping.values())


def _name(run: Any, otherwise: str) -> str:
    if isinstance(run, (str, os.PathLike)):
        path = Path(os.fsdecode(run))
        return path.stem or path.resolve().name
    return otherwise


def _recording(run: Any, bins: int, transposed: Sequence[str]) -> Recording:
    if isinstance(run, Recording):
        return run
    if isinstance(run, Recorder):
        return run.recording
    if isinstance(run, Trainer):
        return _of_trainer(run, bins)
    if isinstance(run, (str, os.PathLike)):
        return _of_path(Path(os.fsdecode(run)), bins, transposed)
    torch = sys.modules.get("graft.torch")
    if torch is not None and isinstance(run, torch.Grafter):
        if run._recorder is None:
            raise InvalidArgumentError(
                "this Grafter has no recorder: make it with recorder=graft.Recorder(...)")
        return run._recorder.recording
    models = listed(run)
    return snapshot(states(models), plan_of(models[0]), bins, transposed)


def snapshot(
    networks: list[dict[str, Any]], plan: Plan | None = None, bins: int = 10,
    transposed: Sequence[str] = (),
) -> Recording:
    """Weights as they are: a recording of one moment."""
    recording = Recording([f"network {k}" for k in range(len(networks))])
    structure = Structure.of(networks[0], plan)
    recording.structure = replace(structure, layers=tuple(
        replace(layer, filter_axis=1)
        if plan is None and any(fnmatchcase(layer.name, one) for one in transposed) else layer
        for layer in structure.layers))
    recording.row(0).weights = measure(networks, recording.structure, bins)
    return recording


def _of_trainer(trainer: Trainer, bins: int) -> Recording:
    recorder = Recorder(bins=bins)
    recorder.begin(trainer)
    done = trainer.epochs_done
    if done:
        report = trainer.graft_report(done) if trainer.record(done).grafted else None
        recorder.record(trainer.networks, done, report=report)
    return recorder.recording


# ---- files ---------------------------------------------------------------------------------------


def _of_path(path: Path, bins: int, transposed: Sequence[str]) -> Recording:
    if path.is_dir():
        return _of_checkpoint(path, bins)
    if path.suffix == ".npz":
        return Recording.load(path)
    try:
        return snapshot([arrays_of(path)], None, bins, transposed)
    except (InvalidArgumentError, UnsupportedError) as error:
        raise type(error)(f"{path}: {error}") from error


def arrays_of(path: Path) -> dict[str, Any]:
    """A file's arrays; half precision that no library takes becomes float32, exactly."""
    found = {}
    for name, array in read(path).tensors.items():
        if isinstance(array, Bfloat16Bits):
            array = (np.asarray(array).astype(np.uint32) << 16).view(np.float32)
        found[name] = array
    return found


def _of_checkpoint(folder: Path, bins: int) -> Recording:
    """A trainer's checkpoint: its networks' weights, and the records of its epochs."""
    manifest = _json(folder / _MANIFEST)
    try:
        if manifest["format"] != "graft-trainer" or manifest["version"] != 1:
            raise FormatError(f"{folder / _MANIFEST}: not a trainer's checkpoint of version 1")
        count, done = len(manifest["members"]), int(manifest["position"]["epochs_done"])
        networks = [arrays_of(folder / f"network-{k}.safetensors") for k in range(count)]
        recording = snapshot(networks, None, bins)
        weights = recording[0].weights
        recording = Recording(recording.networks, recording.structure)
        for rows in manifest["records"]:
            epoch = int(rows[0]["epoch"])
            recording.add_metrics(epoch, {
                name: [row[name] for row in rows] for name in _FIGURES
                if not all(row[name] is None for row in rows)})
            recording.row(epoch).grafted = bool(rows[0]["grafted"])
        recording.row(done).weights = weights
        recording.settings = {
            **manifest["settings"],
            "learning_rate": [one["learning_rate"] for one in manifest["members"]],
            "seeds": [int(one["seed"]) for one in manifest["members"]]}
        epochs = [int(epoch) for epoch in manifest["report_epochs"]]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(f"{folder / _MANIFEST}: not as it should be: {error!r}") from error
    if epochs:
        _add_reports(recording, epochs, folder / "trainer.safetensors")
    return recording


def _add_reports(recording: Recording, epochs: list[int], path: Path) -> None:
    """The grafts' table: epochs x layers x networks x columns, layers in the network's order."""
    table = read(path).tensors.get("reports")
    layers = recording.structure.layers if recording.structure else ()
    shape = len(epochs), len(layers), len(recording.networks), len(_REPORTED)
    if not isinstance(table, np.ndarray) or table.dtype != np.float64:
        raise FormatError(f"{path}: the reports are missing")
    if table.shape != shape:  # its plan by structure has other layers than one by order
        return
    for epoch, rows in zip(epochs, table):
        if epoch in recording:
            for column, name in enumerate(_REPORTED):
                if name is not None:
                    whole = isinstance(GRAFT_COLUMNS[name], int)
                    recording[epoch].graft[name] = rows[..., column].astype(
                        np.int64 if whole else np.float64)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise FormatError(
            f"{path.parent} is a folder without {path.name}: no checkpoint of a trainer") from None
    except (ValueError, RecursionError, OSError) as error:
        raise FormatError(f"{path}: {error}") from error


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


