"""A recording as a file: .npz, arrays stacked over the epochs, with a JSON text among them.

`numpy.load(path)` shows all of it; "recording" is the JSON as bytes. A name that ends in "@" holds
the epochs to which the array of that name belongs.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import FileError, FormatError, UnsupportedError
from .._write import write_all
from ._layers import LEVELS, Structure, Weights
from ._recording import ACTIVITY, GRAFT_COLUMNS, Epoch, Recording

_FORMAT, _VERSION = "graft-recording", 1
_HEAD = "recording"
_WEIGHTS = tuple(Weights.__dataclass_fields__)


def save(recording: Recording, path: str | os.PathLike[str]) -> None:
    """Write a recording; what stood there stays until the new file is complete."""
    head = {
        "format": _FORMAT, "version": _VERSION, "networks": recording.networks,
        "structure": recording.structure and recording.structure.to_dict(),
        "watched": [list(one) for one in recording.watched], "settings": recording.settings,
        "sessions": recording.sessions, "metrics": recording.metrics}
    text = json.dumps(head, default=str).encode("utf-8", "surrogatepass")
    arrays = {_HEAD: np.frombuffer(text, np.uint8), **_stacked(list(recording))}
    write_all([(Path(path), lambda file: np.savez_compressed(file, **arrays))])


def _stacked(rows: list[Epoch]) -> dict[str, np.ndarray]:
    found: dict[str, list[tuple[int, np.ndarray]]] = {}
    for row in rows:
        parts: dict[str, Any] = {f"metric/{name}": value for name, value in row.metrics.items()}
        parts |= {f"graft/{name}": value for name, value in row.graft.items()}
        parts |= {f"activity/{name}": value for name, value in row.activity.items()}
        if row.weights is not None:
            parts |= {f"weights/{name}": getattr(row.weights, name) for name in _WEIGHTS}
        if row.gradients is not None:
            parts["gradients"] = row.gradients
        for name, value in parts.items():
            found.setdefault(name, []).append((row.epoch, value))
    arrays = {
        "epochs": np.array([row.epoch for row in rows], np.int64),
        "grafted": np.array([row.grafted for row in rows], bool)}
    for name, values in found.items():
        arrays[f"{name}@"] = np.array([epoch for epoch, _ in values], np.int64)
        arrays[name] = np.stack([value for _, value in values])
    return arrays


def load(path: str | os.PathLike[str]) -> Recording:
    """Read a recording.

    Raises
    ------
    FileError, FormatError, UnsupportedError
    """
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise FormatError(f"{path}: this is no recording")
        with file:
            arrays = {name: file[name] for name in file.files}
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile,
            NotImplementedError) as error:
        raise FormatError(f"{path}: this is no recording: {error}") from error
    except Exception as error:  # zlib's, and whatever else a broken archive brings up
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path}: broken: {error}") from error
    try:
        return _Reader(arrays, str(path)).read()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"{path}: not as a recording should be: {error}") from error


class _Reader:
    """Checks the arrays' types and shapes against each other."""

    def __init__(self, arrays: Mapping[str, np.ndarray], path: str) -> None:
        self._arrays = arrays
        self._path = path

    def read(self) -> Recording:
        if _HEAD not in self._arrays or self._arrays[_HEAD].dtype != np.uint8:
            raise FormatError(f"{self._path}: this is no recording")
        head = json.loads(self._arrays[_HEAD].tobytes().decode("utf-8", "surrogatepass"))
        if head["format"] != _FORMAT:
            raise FormatError(f"{self._path}: this is no recording")
        if head["version"] != _VERSION:
            raise UnsupportedError(
                f"{self._path} is of version {head['version']!r}; this package knows {_VERSION}")
        told = head["structure"]
        structure = None if told is None else Structure.from_dict(told)
        recording = Recording([str(name) for name in head["networks"]], structure)
        recording.watched = [(str(name), int(count)) for name, count in head["watched"]]
        recording.settings, recording.sessions = dict(head["settings"]), list(head["sessions"])
        self._fill(recording, [str(name) for name in head["metrics"]])
        return recording

    def _fill(self, recording: Recording, metrics: list[str]) -> None:
        epochs = self._array("epochs", np.int64, (-1,))
        grafted = self._array("grafted", np.bool_, (len(epochs),))
        for epoch, flag in zip(epochs.tolist(), grafted.tolist()):
            recording.row(epoch).grafted = flag
        count = len(recording.networks)
        for name in metrics:
            for row, value in self._rows(recording, f"metric/{name}", np.float64, (count,)):
                row.metrics[name] = value
        layers = len(recording.structure.layers) if recording.structure else 0
        for name, none in GRAFT_COLUMNS.items():
            kind = np.int64 if isinstance(none, int) else np.float64
            for row, value in self._rows(recording, f"graft/{name}", kind, (layers, count)):
                row.graft[name] = value
        for row, value in self._rows(recording, "gradients", np.float64, (count, layers)):
            row.gradients = value
        for name in ACTIVITY:
            shape = count, len(recording.watched)
            for row, value in self._rows(recording, f"activity/{name}", np.float64, shape):
                row.activity[name] = value
        if recording.structure is not None:
            self._weights(recording, recording.structure)

    def _weights(self, recording: Recording, structure: Structure) -> None:
        count, layers, norms = (
            len(recording.networks), len(structure.layers), len(structure.scales))
        kinds = {
            "norms": (np.float32, (count, structure.filters)),
            "entropy": (np.float64, (count, layers)),
            "slices": (np.int64, (count, layers, len(LEVELS))),
            "scales": (np.int64, (count, norms, len(LEVELS))),
            "scale_means": (np.float64, (count, norms))}
        columns = {
            name: dict((row.epoch, value) for row, value in self._rows(
                recording, f"weights/{name}", kind, shape))
            for name, (kind, shape) in kinds.items()}
        for epoch in columns["norms"]:
            recording[epoch].weights = Weights(**{
                name: column[epoch] for name, column in columns.items()})

    def _array(self, name: str, kind: Any, shape: tuple[int, ...]) -> np.ndarray:
        array = self._arrays[name]
        if array.dtype != kind or array.ndim != len(shape) or any(
                wanted not in (-1, found) for wanted, found in zip(shape, array.shape)):
            raise ValueError(f"{name} is {array.dtype} of shape {array.shape}")
        return array

    def _rows(
        self, recording: Recording, name: str, kind: Any, shape: tuple[int, ...]
    ) -> list[tuple[Epoch, np.ndarray]]:
        if name not in self._arrays:
            return []
        epochs = self._array(f"{name}@", np.int64, (-1,)).tolist()
        array = self._array(name, kind, (len(epochs), *shape))
        return [(recording[epoch], value) for epoch, value in zip(epochs, array)]
