"""The numbers behind the figures, as tables: for CSV, for JSON, and for the page."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .._record._layers import LEVELS
from .._record._recording import GRAFT_COLUMNS
from .._text import cell
from ._analysis import Cultivation, Subject, changes, cultivation, place, plain, shares

_LEVEL_NAMES = tuple(f"under_{level:g}".replace(".", "_") for level in LEVELS)


@dataclass(frozen=True)
class Table:
    """Rows of numbers and text."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def csv(self) -> bytes:
        """With a head; NaN as nothing, text as `cell` has it."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(map(cell, self.columns))
        writer.writerows(
            ["" if plain(value) is None else cell(plain(value)) for value in row]
            for row in self.rows)
        return text.getvalue().encode()

    def to_list(self) -> list[dict[str, Any]]:
        """For JSON."""
        return [dict(zip(self.columns, map(plain, row))) for row in self.rows]


def tables(networks: list[Subject], reference: Subject, threshold: float) -> dict[str, Table]:
    """All of them, under the names of their files."""
    rows = cultivation(networks, reference, threshold)
    found = {
        "cultivation": Table(
            tuple(Cultivation.__dataclass_fields__), [tuple(asdict(row).values()) for row in rows]),
        "epochs": _epochs(networks),
        "grafts": _grafts(networks),
        "layers": _layers(networks, threshold),
        "shares": _shares(networks),
        "changes": _changes(networks, threshold),
        "norms": _norms(networks),
        "gradients": _gradients(networks),
        "activity": _activity(networks),
        "scales": _scales(networks)}
    return {name: table for name, table in found.items() if table.rows}


def _epochs(networks: list[Subject]) -> Table:
    metrics = list(dict.fromkeys(
        name for one in networks for name in one.recording.metrics))
    rows = []
    for one in networks:
        for row in one.recording:
            weights = row.weights
            rows.append((
                one.name, row.epoch, int(row.grafted),
                *(row.metrics[name][one.index] if name in row.metrics else np.nan
                  for name in metrics),
                np.nan if weights is None else weights.entropy[one.index].sum()))
    return Table(("network", "epoch", "grafted", *metrics, "entropy"), rows)


def _grafts(networks: list[Subject]) -> Table:
    rows = [
        (one.name, row.epoch, layer.name,
         *(row.graft[name][index, one.index] for name in GRAFT_COLUMNS))
        for one in networks for row in one.recording if row.graft
        for index, layer in enumerate(one.structure.layers)]
    return Table(("network", "epoch", "layer", *GRAFT_COLUMNS), rows)


def _layers(networks: list[Subject], threshold: float) -> Table:
    """Each layer at the last epoch."""
    rows = []
    for one in networks:
        if one.last is None:
            continue
        offsets = one.structure.offsets
        for index, layer in enumerate(one.structure.layers):
            norms = one.norms[-1, offsets[index]:offsets[index + 1]].astype(np.float64)
            under = [(norms < np.float32(level)).mean() for level in LEVELS]
            slices = one.last.slices[one.index, index] / layer.slices if layer.slices else [
                np.nan] * len(LEVELS)
            rows.append((
                one.name, layer.name, layer.filters, one.last.entropy[one.index, index],
                norms.min(), norms.mean(), norms.max(), int((norms < np.float32(threshold)).sum()),
                *under, *slices))
    return Table(
        ("network", "layer", "filters", "entropy", "norm_min", "norm_mean", "norm_max", "invalid",
         *_LEVEL_NAMES, *(f"slices_{name}" for name in _LEVEL_NAMES)), rows)


def _shares(networks: list[Subject]) -> Table:
    rows = []
    for one in networks:
        if len(one.epochs):
            both = shares(one)
            rows += [
                (one.name, epoch, *filters, *slices) for epoch, filters, slices in zip(
                    one.epochs.tolist(), both.filters, both.slices)]
    return Table(("network", "epoch", *_LEVEL_NAMES, *(
        f"slices_{name}" for name in _LEVEL_NAMES)), rows)


def _changes(networks: list[Subject], threshold: float) -> Table:
    rows = []
    for one in networks:
        if len(one.epochs) > 1:
            found = changes(one, threshold)
            rows += [
                (one.name, epoch, *place(one.structure, number),
                 "came back" if back else "died") for epoch, number, back in zip(
                     found.epochs.tolist(), found.filters.tolist(), found.back)]
    return Table(("network", "epoch", "layer", "filter", "what"), rows)


def _norms(networks: list[Subject]) -> Table:
    """Every filter's norm at the last epoch."""
    return Table(("network", "layer", "filter", "norm"), [
        (one.name, *place(one.structure, number), norm)
        for one in networks if len(one.epochs)
        for number, norm in enumerate(one.norms[-1].tolist())])


def _gradients(networks: list[Subject]) -> Table:
    return Table(("network", "epoch", "layer", "gradient_norm"), [
        (one.name, row.epoch, layer.name, row.gradients[one.index, index])
        for one in networks for row in one.recording if row.gradients is not None
        for index, layer in enumerate(one.structure.layers)])


def _activity(networks: list[Subject]) -> Table:
    return Table(("network", "epoch", "activation", "units", "silent", "saturated"), [
        (one.name, row.epoch, name, units, int(row.activity["silent"][one.index, index]),
         row.activity["saturated"][one.index, index])
        for one in networks for row in one.recording if row.activity
        for index, (name, units) in enumerate(one.recording.watched)])


def _scales(networks: list[Subject]) -> Table:
    """Batch norms' scales at the last epoch."""
    rows = []
    for one in networks:
        if one.last is not None:
            rows += [
                (one.name, name, count, one.last.scale_means[one.index, index],
                 *one.last.scales[one.index, index].tolist())
                for index, (name, count) in enumerate(one.structure.scales)]
    return Table(("network", "norm", "scales", "mean", *_LEVEL_NAMES), rows)
