"""What the numbers say: cultivation, shares under thresholds, filters that came back or died.

NumPy alone. A filter is *invalid* while its l1 norm is under the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._errors import InvalidArgumentError
from .._record import Recording
from .._record._layers import LEVELS, Structure, Weights


@dataclass(frozen=True)
class Subject:
    """One network of one run.

    Attributes
    ----------
    name : str
        What the page calls it.
    run : str
    recording : Recording
    index : int
        Its number in the run.
    """

    name: str
    run: str
    recording: Recording
    index: int

    @property
    def structure(self) -> Structure:
        """Its layers; without any where no weights were recorded."""
        return self.recording.structure or Structure(())

    @cached_property
    def epochs(self) -> np.ndarray:
        """Epochs whose weights were recorded."""
        return self.recording.measured()[0]

    @cached_property
    def norms(self) -> np.ndarray:
        """l1 norms, epochs x filters."""
        found = [one.norms[self.index] for one in self.recording.measured()[1]]
        return np.array(found, np.float32).reshape(len(found), self.structure.filters)

    @cached_property
    def entropy(self) -> np.ndarray:
        """Entropies in nats, epochs x layers."""
        found = [one.entropy[self.index] for one in self.recording.measured()[1]]
        return np.array(found).reshape(len(found), len(self.structure.layers))

    @property
    def last(self) -> Weights | None:
        """The last weights that were recorded."""
        measured = self.recording.measured()[1]
        return measured[-1] if measured else None

    def metric(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Epochs and values of what was logged; without NaN."""
        epochs, values = self.recording.curve(name)
        mine = values[:, self.index]
        return epochs[~np.isnan(mine)], mine[~np.isnan(mine)]

    def graft(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Epochs that were grafted after, and a column of the reports, epochs x layers."""
        rows = [row for row in self.recording if row.graft]
        return (np.array([row.epoch for row in rows], np.int64),
                np.array([row.graft[column][:, self.index] for row in rows]).reshape(
                    len(rows), len(self.structure.layers)))


def subjects(runs: Mapping[str, Recording]) -> list[Subject]:
    """The networks of all runs; one that is alone in its run takes the run's name."""
    found = []
    for run, recording in runs.items():
        for index, network in enumerate(recording.networks):
            name = run
            if len(recording.networks) > 1:
                name = network if len(runs) == 1 else f"{run}, {network}"
            found.append(Subject(name, run, recording, index))
    return found


# ---- cultivation ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cultivation:
    """A row of the paper's table: mean l1 norms over two sets that the reference fixed.

    Attributes
    ----------
    network : str
    valid, invalid : float
        Means over the filters that are valid, and invalid, in the reference; NaN for an empty set.
    valid_filters, invalid_filters : int
        How many there are of them.
    accuracy : float
        The last test accuracy, a share; NaN where it is not known.
    """

    network: str
    valid: float
    invalid: float
    valid_filters: int
    invalid_filters: int
    accuracy: float


def find_reference(networks: list[Subject], reference: str | None) -> Subject:
    """The network that fixes the sets: the first that has weights, if none is named."""
    measured = [one for one in networks if len(one.epochs)]
    if reference is None:
        if not measured:
            raise InvalidArgumentError("no run has recorded weights")
        return measured[0]
    for one in measured:
        if reference in (one.name, one.run):
            return one
    raise InvalidArgumentError(
        f"reference is {reference!r}; allowed are "
        + ", ".join(repr(one.name) for one in measured))


def cultivation(
    networks: list[Subject], reference: Subject, threshold: float
) -> list[Cultivation]:
    """Every network of the reference's structure, at its last epoch."""
    invalid = reference.norms[-1] < threshold
    rows = []
    for one in networks:
        if not len(one.epochs) or one.structure.layers != reference.structure.layers:
            continue
        norms = one.norms[-1].astype(np.float64)
        accuracies = one.metric("test_accuracy")[1]
        rows.append(Cultivation(
            one.name, _mean(norms[~invalid]), _mean(norms[invalid]), int((~invalid).sum()),
            int(invalid.sum()), float(accuracies[-1]) if len(accuracies) else float("nan")))
    return rows


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


# ---- shares --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shares:
    """How much lies under each of `LEVELS`, epochs x levels.

    Attributes
    ----------
    filters : numpy.ndarray
        Share of the filters, as the paper counts.
    slices : numpy.ndarray
        Share of the 2-d slices: what leads from one input channel to one filter. NaN where the
        network has none.
    """

    filters: np.ndarray
    slices: np.ndarray


def shares(one: Subject) -> Shares:
    """A network's shares at all recorded epochs."""
    filters = np.stack([(one.norms < np.float32(level)).mean(1) for level in LEVELS], 1)
    total = sum(layer.slices for layer in one.structure.layers)
    counts = np.array([
        weights.slices[one.index].sum(0) for weights in one.recording.measured()[1]])
    slices = counts / total if total else np.full(filters.shape, np.nan)
    return Shares(filters, slices.reshape(filters.shape))


# ---- died, came back -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Changes:
    """Filters that crossed the threshold between two recorded epochs.

    Attributes
    ----------
    epochs : numpy.ndarray
        At which each change was first seen.
    filters : numpy.ndarray
        Which filter, counted over all layers.
    back : numpy.ndarray
        True where it came back to life, False where it died.
    invalid : numpy.ndarray
        How many filters were invalid at each recorded epoch.
    """

    epochs: np.ndarray
    filters: np.ndarray
    back: np.ndarray
    invalid: np.ndarray

    def fate(self, count: int, dead: np.ndarray) -> np.ndarray:
        """For each filter, what became of it: "valid" throughout; "back" (invalid once, valid at
        the end); "died" (valid once, invalid at the end); "invalid" throughout."""
        changed = np.zeros(count, bool)
        changed[self.filters] = True
        return np.where(dead, np.where(changed, "died", "invalid"),
                        np.where(changed, "back", "valid"))


def changes(one: Subject, threshold: float) -> Changes:
    """Which filters of a network died and came back, and when."""
    dead = one.norms < np.float32(threshold)
    flips = np.argwhere(dead[1:] != dead[:-1])
    steps, filters = flips[:, 0] + 1, flips[:, 1]
    return Changes(one.epochs[steps], filters, ~dead[steps, filters], dead.sum(1))


def place(structure: Structure, number: int) -> tuple[str, int]:
    """The layer of a filter that is counted over all layers, and its number there."""
    offsets = structure.offsets
    layer = int(np.searchsorted(offsets, number, side="right")) - 1
    return structure.layers[layer].name, number - offsets[layer]


def plain(value: Any) -> Any:
    """For JSON: NaN is null."""
    if isinstance(value, (np.floating, float)):
        return None if np.isnan(value) or np.isinf(value) else float(value)
    if isinstance(value, np.generic):
        return value.item()
    return value
