"""The graft with torch's own operations: any device, no trip through host memory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ... import _method, _plan
from ..._errors import InvalidArgumentError, NotFiniteError
from ..._report import LayerReport, NetworkReport, Report
from ._blend import Row, Tally, mix, round_share
from ._filter_level import FilterCoefficients
from ._measure import Measure, filter_entropies, in_order, is_finite, measure
from ._sources import Source, shares

#: What adaptive weightings go by.
INFORMATION = ("entropy", "filter_entropy", "l1")
#: A coefficient for each filter, from batch norms' scales.
FILTER = "filter"

#: By layer and network: how many weights of half precision did not move.
Unmoved = dict[tuple[int, int], int]


@dataclass(frozen=True)
class Settings:
    """The choices of a graft, as `graft.graft` takes them."""

    source: Source = "ring"
    weighting: str | float = "entropy"
    a: float = 0.4
    c: float = 500.0
    bins: int = 10
    threshold: float = 0.1
    compatibility: bool = False
    others: dict[str, Any] = field(default_factory=dict)

    def for_torch(self) -> None:
        """Raises where torch's operations do not cover a choice; values as the library does."""
        allowed = (*INFORMATION, FILTER)
        if isinstance(self.weighting, str) and self.weighting not in allowed:
            raise InvalidArgumentError(
                f"weighting is {self.weighting!r}; computed with torch are "
                + ", ".join(map(repr, allowed)) + " and a number")
        if not self.adapts and not 0 <= _method.real(self.weighting, "weighting") <= 1:
            raise InvalidArgumentError(f"weighting is {self.weighting!r}; allowed are 0 to 1")
        _method.coefficient(0.0, 0.0, self.a, self.c)
        if not 1 <= _method.integer(self.bins, "bins") <= 65536:
            raise InvalidArgumentError(f"bins is {self.bins}; allowed are 1 to 65536")
        if not 0 <= _method.real(self.threshold, "threshold") < float("inf"):
            raise InvalidArgumentError(
                f"threshold is {self.threshold}; it must be finite and at least 0")
        for name in self.others:
            if name != "threads":
                raise InvalidArgumentError(f"{name} is not covered by what torch computes here")

    @property
    def adapts(self) -> bool:
        """Whether the coefficient goes by information; else it is the weighting itself."""
        return isinstance(self.weighting, str)

    def alpha(self, own: float, other: float) -> float:
        """The share that a layer keeps."""
        if not self.adapts:
            return round_share(float(self.weighting))
        return _method.coefficient(
            own, other, self.a, self.c, compatibility=self.compatibility)

    @property
    def without_layer(self) -> float:
        """The share of what belongs to no layer."""
        return 0.5 if self.adapts else round_share(float(self.weighting))

    def measure(self, tensor: Tensor, axis: int, library: bool) -> Measure:
        """What a report tells of a layer."""
        return measure(
            tensor, axis, self.bins, self.threshold, self.compatibility, library)

    def inform(self, tensor: Tensor, axis: int, library: bool) -> Measure:
        """The same, with what the weighting goes by."""
        found = self.measure(tensor, axis, library)
        if self.weighting == "l1":
            return replace(found, information=found.norms)
        if self.weighting == "filter_entropy":
            entropies = filter_entropies(tensor, axis, self.bins, self.compatibility, library)
            return replace(found, information=in_order(entropies))
        return found


@dataclass(frozen=True)
class Task:
    """A tensor that is grafted, at its place in the plan."""

    entry: _plan.PlanEntry
    feeder: int | None


def tasks_of(plan: _plan.Plan, tied: dict[str, str]) -> list[Task]:
    """What of a plan is grafted; a tied tensor once."""
    names = {entry.name: entry.index for entry in plan}
    return [
        Task(entry, names[entry.feeder] if entry.feeder is not None else
             entry.index if entry.role == "layer" else None)
        for entry in plan if entry.role != "leave" and entry.name not in tied]


def check_finite(tasks: Sequence[Task], network: Sequence[Tensor], label: str) -> None:
    """Raises for the first tensor that holds NaN or infinity."""
    for task in tasks:
        if not is_finite(network[task.entry.index]):
            raise NotFiniteError(f"{label}: {task.entry.name} holds NaN or an infinite number")


def alphas_of(
    before: dict[int, list[Measure]], settings: Settings, count: int, step: int
) -> dict[int, list[float]]:
    """Every layer's share in every network."""
    result = {}
    for index, measures in before.items():
        result[index] = [
            settings.alpha(measures[k].information, in_order([
                weight * measures[other].information
                for other, weight in shares(settings.source, k, count, step)]))
            for k in range(count)]
    return result


def rows_of(
    task: Task, alphas: dict[int, list[float]], settings: Settings, count: int, step: int,
    by_filter: FilterCoefficients | None = None,
) -> list[Row]:
    """What every network's tensor comes to; by filters, what it receives."""
    if by_filter is not None and by_filter.has(task.entry.index):
        return [row for row in by_filter.rows() if not row.changes_nothing]
    rows = []
    for k in range(count):
        alone = task.feeder is None or by_filter is not None
        alpha = settings.without_layer if alone else alphas[task.feeder][k]
        rows.append(Row.make(k, alpha, shares(settings.source, k, count, step)))
    return [row for row in rows if not row.changes_nothing]


def graft_with_torch(
    tasks: Sequence[Task], networks: Sequence[Sequence[Tensor]], settings: Settings,
    step: int = 0, dry_run: bool = False, library: bool = False, plan: _plan.Plan | None = None,
) -> Report:
    """Graft K networks in place; nothing is written before everything is checked.

    Parameters
    ----------
    plan
        Needed for the weighting "filter": it tells the scales.
    networks
        Each network's tensors, in the order of the plan.
    step
        How many grafts came before.
    library
        Whether the library may measure what it can.
    """
    settings.for_torch()
    count = len(networks)
    for k, network in enumerate(networks):
        check_finite(tasks, network, f"networks[{k}]")
    layers = [task for task in tasks if task.entry.role == "layer"]
    before = {
        task.entry.index: [
            settings.inform(network[task.entry.index], task.entry.filter_axis, library)
            for network in networks]
        for task in layers}
    by_filter = None
    if settings.weighting == FILTER and plan is not None:
        by_filter = FilterCoefficients(
            plan, networks, [shares(settings.source, k, count, step) for k in range(count)])
        alphas = {
            index: [by_filter.mean(index, k) for k in range(count)] for index in before}
    else:
        alphas = alphas_of(before, settings, count, step)
    after = dict(before)
    unmoved: Unmoved = {}
    apart = stuck = 0
    for task in tasks:
        index = task.entry.index
        tensors = [network[index] for network in networks]
        rows = rows_of(task, alphas, settings, count, step, by_filter)
        is_layer = task.entry.role == "layer"
        if dry_run and not is_layer:
            continue
        targets = [
            torch.empty_like(tensors[row.receiver]) if dry_run else tensors[row.receiver]
            for row in rows]
        tally = Tally()
        if by_filter is not None and by_filter.has(index):
            by_filter.mix(task.entry, tensors, rows, targets, tally)
        else:
            mix(tensors, rows, targets, tally)
        apart += tally.apart
        for k, number in tally.stuck.items():
            stuck += number
            if task.feeder is not None:
                unmoved[task.feeder, k] = unmoved.get((task.feeder, k), 0) + number
        if is_layer:
            after[index] = list(before[index])
            for row, target in zip(rows, targets):
                after[index][row.receiver] = settings.measure(
                    target, task.entry.filter_axis, library)
    if stuck * 2 > apart:
        warn_of_unmoved(stuck, apart)
    return make_report(layers, before, after, alphas, settings, count, step, unmoved)


def warn_of_unmoved(stuck: int, count: int) -> None:
    """Says that a pull was too small for the weights' type."""
    warnings.warn(
        f"{stuck} of {count} weights of half precision did not move: the step is smaller than "
        "their type can tell. Keep float32 weights, or pull harder and less often",
        RuntimeWarning, stacklevel=5)


def make_report(
    layers: Sequence[Task], before: dict[int, list[Measure]], after: dict[int, list[Measure]],
    alphas: dict[int, list[float]], settings: Settings, count: int, step: int,
    unmoved: Unmoved | None = None,
) -> Report:
    """The report that the library would give."""
    found = []
    for task in layers:
        index = task.entry.index
        networks = []
        for k in range(count):
            old, new = before[index][k], after[index][k]
            networks.append(NetworkReport(
                shares(settings.source, k, count, step)[0][0], alphas[index][k], old.entropy,
                new.entropy, old.invalid, new.invalid, old.norm, new.norm,
                (unmoved or {}).get((index, k), 0)))
        found.append(LayerReport(
            task.entry.name, index, before[index][0].filters, tuple(networks)))
    return Report(tuple(found), count)
