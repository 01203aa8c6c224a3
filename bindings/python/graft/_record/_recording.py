"""`Recording`: a run's numbers, epoch by epoch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._errors import InvalidArgumentError
from .._report import Report
from ._layers import Structure, Weights

#: Columns of a graft's report that are kept, and what stands for "none".
GRAFT_COLUMNS = {
    "source": -1, "alpha": np.nan, "entropy_before": np.nan, "entropy_after": np.nan,
    "invalid_before": -1, "invalid_after": -1, "norm_before": np.nan, "norm_after": np.nan}
#: What a watch may have seen: per unit layer, and per layer of weights.
ACTIVITY = ("silent", "saturated")


@dataclass
class Epoch:
    """One epoch of K networks.

    Attributes
    ----------
    epoch : int
    metrics : dict of str to numpy.ndarray
        A value for each network, NaN where there is none: "train_loss", "test_accuracy" (shares,
        0 to 1), "learning_rate", and whatever else was logged.
    grafted : bool
        Whether a graft followed this epoch.
    graft : dict of str to numpy.ndarray
        What it did, layers x networks a column of `GRAFT_COLUMNS`; empty where nothing is known.
    weights : Weights or None
        As they were at the epoch's end, after the graft.
    gradients : numpy.ndarray or None
        l2 norm of each layer's gradient, mean over the epoch's steps, networks x layers.
    activity : dict of str to numpy.ndarray
        "silent": how many units never fired; "saturated": share of activations near their limit;
        networks x watched layers.
    """

    epoch: int
    metrics: dict[str, np.ndarray] = field(default_factory=dict)
    grafted: bool = False
    graft: dict[str, np.ndarray] = field(default_factory=dict)
    weights: Weights | None = None
    gradients: np.ndarray | None = None
    activity: dict[str, np.ndarray] = field(default_factory=dict)


class Recording:
    """What a run recorded: iterates over its epochs.

    Attributes
    ----------
    networks : list of str
        What the networks are called.
    structure : Structure or None
        The layers, once weights were recorded.
    watched : list of (str, int)
        Activations that were watched, and how many units each has.
    settings : dict
        What the run was told.
    sessions : list of dict
        The processes that it ran in: command, versions, seeds. More than one where it was resumed.
    """

    def __init__(self, networks: list[str], structure: Structure | None = None) -> None:
        if not networks or len(networks) > 64:
            raise InvalidArgumentError(
                f"a recording of {len(networks)} networks; allowed are 1 to 64")
        self.networks = list(networks)
        self.structure = structure
        self.watched: list[tuple[str, int]] = []
        self.settings: dict[str, Any] = {}
        self.sessions: list[dict[str, Any]] = []
        self._epochs: dict[int, Epoch] = {}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Read a recording that `save` wrote.

        Raises
        ------
        FileError, FormatError
        """
        from ._file import load

        return load(path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to a .npz file; written beside and renamed."""
        from ._file import save

        save(self, path)

    # ---- epochs ----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._epochs)

    def __iter__(self) -> Iterator[Epoch]:
        return (self._epochs[number] for number in sorted(self._epochs))

    def __getitem__(self, epoch: int) -> Epoch:
        return self._epochs[epoch]

    def __contains__(self, epoch: int) -> bool:
        return epoch in self._epochs

    @property
    def last(self) -> int:
        """The last epoch; -1 where there is none yet."""
        return max(self._epochs, default=-1)

    def row(self, epoch: int) -> Epoch:
        """An epoch's entry, made if it is not there."""
        return self._epochs.setdefault(epoch, Epoch(epoch))

    def forget_after(self, epoch: int) -> None:
        """Drop later epochs: a resumed run goes through them again."""
        for number in [number for number in self._epochs if number > epoch]:
            del self._epochs[number]

    def add_metrics(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Note figures of an epoch, one for each network or one for all."""
        count = len(self.networks)
        checked = {}
        for name, given in metrics.items():
            try:
                values = np.atleast_1d(np.array(
                    [np.nan if one is None else float(one) for one in np.ravel(_listed(given))]))
            except (TypeError, ValueError):
                raise InvalidArgumentError(
                    f"{name} is {given!r}; it must be a number, or one for each network") from None
            if len(values) not in (1, count):
                raise InvalidArgumentError(
                    f"{name} has {len(values)} values for {count} networks")
            checked[name] = np.broadcast_to(values, (count,)).astype(np.float64)
        self.row(epoch).metrics.update(checked)

    def add_graft(self, epoch: int, report: Report | None, ranks: list[int] | None = None) -> None:
        """Note what the graft after an epoch did; `ranks` are our networks among the report's."""
        row = self.row(epoch)
        row.grafted, row.graft = True, {}
        if report is None or self.structure is None:
            return
        ranks = list(range(len(self.networks))) if ranks is None else ranks
        if max(ranks) >= report.network_count:
            raise InvalidArgumentError(
                f"the report is of {report.network_count} networks, the recording of "
                f"{len(self.networks)}")
        layers = {layer.name: layer for layer in report}
        shape = len(self.structure.layers), len(ranks)
        for name, none in GRAFT_COLUMNS.items():
            column = np.full(shape, none, np.int64 if isinstance(none, int) else np.float64)
            for index, layer in enumerate(self.structure.layers):
                if layer.name in layers:
                    entries = layers[layer.name].networks
                    column[index] = [getattr(entries[rank], name) for rank in ranks]
            row.graft[name] = column

    # ---- over the epochs -------------------------------------------------------------------------

    @property
    def metrics(self) -> list[str]:
        """Names of everything that was logged, in the order of first mention."""
        return list(dict.fromkeys(name for row in self for name in row.metrics))

    def curve(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Epochs at which a metric was logged, and its values, epochs x networks."""
        rows = [row for row in self if metric in row.metrics]
        values = np.array([row.metrics[metric] for row in rows]).reshape(-1, len(self.networks))
        return np.array([row.epoch for row in rows], np.int64), values

    def measured(self) -> tuple[np.ndarray, list[Weights]]:
        """Epochs whose weights were recorded, and what was."""
        rows = [row for row in self if row.weights is not None]
        return (np.array([row.epoch for row in rows], np.int64),
                [row.weights for row in rows if row.weights is not None])

    def __repr__(self) -> str:
        return f"<Recording of {len(self.networks)} networks, {len(self)} epochs>"


def _listed(given: Any) -> Any:
    if hasattr(given, "detach"):
        given = given.detach().cpu().numpy()
    if isinstance(given, (list, tuple)):
        return np.array([one.item() if hasattr(one, "item") else one for one in given], object)
    return np.array(given, object)
