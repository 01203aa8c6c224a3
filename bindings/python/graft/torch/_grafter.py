"""`Grafter`: one line an epoch in a training loop."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import _method
from .._checks import instance, integer
from .._errors import InvalidArgumentError, UnsupportedError
from .._plan import Plan
from .._report import Report
from ._alignment._aligner import aligner_of, renew_statistics
from ._module._networks import Networks
from ._operator._graft import FILTER, Settings, Task, graft_with_torch, tasks_of, warn_of_unmoved
from ._optimizers import Momentum
from ._alignment._permutations import PermutationGroups
from ._structure._plan import Pattern, plan as make_plan
from ._operator._sources import Source, shares

if TYPE_CHECKING:
    from .._record import Recorder

_BACKENDS = ("auto", "library", "torch")


class Grafter:
    """Grafts K networks of one structure, in place, while they train.

    On the CPU the library works on the tensors' own memory. On any other device, and for types
    that the library does not take, the same is computed by torch's operations where the tensors
    lie: equal to the bit, with no trip through host memory.

    Everything is checked before the first weight changes: where a call raises, nothing has changed.

    Parameters
    ----------
    models
        The networks, wrapped or compiled as they may be. With `process_group`: this process's one.
    source
        Where from: "ring", network k receives from network k - 1; "mean", "others", "exponential",
        or a list of the source of each network: see `graft.graft`.
    weighting
        How much: "entropy", the paper's adaptive coefficient, or a number, the share that every
        tensor keeps; "filter_entropy" or "l1"; "filter", for each filter from the batch norm's
        scale (`plan` tells which; what has none is blended half and half): see `graft.graft`.
    a, c, bins
        Range and steepness of the adaptive coefficient, bins of the entropy.
    start, every, stop
        When: the first call of `step` that grafts, counted from 1, every how many, and the last.
    include, exclude, frozen
        Which layers; see `graft.torch.plan`.
    keep_zeros
        Weights that are exactly 0 before a graft are 0 after it: a pruned network stays pruned.
        (Otherwise grafting brings pruned filters back, which is what it is for.)
    optimizers
        The networks' optimisers, for `momentum` and `align`.
    momentum
        What becomes of the optimisers' state of grafted weights: "keep", "reset" or "graft".
    plan
        A plan to be used as it is; `include`, `exclude` and `frozen` then have no say.
    example_inputs
        See `graft.torch.plan`; `align` needs it too.
    align
        For networks that were trained apart: True or "first" puts the channels of all but the
        first in the order in which they match the first's, in place, before the first graft; a
        number n before every n-th as well. What they compute stays the same, and the state of
        `optimizers` goes along. Networks that have grafted stay in one order, so that once is
        enough. See `graft.torch.align`; this is ours, and not the paper's.
    groups
        What `graft.torch.permutation_groups` found, for `align`; takes the place of
        `example_inputs`.
    statistics
        Batches, as a DataLoader or list holds them, of which batch norms' statistics are taken
        anew after a graft that `align` preceded: blends of networks trained apart need it. A batch
        is a tensor of inputs or begins with one.
    process_group
        A group of `torch.distributed` with one network a process: the ring is by rank. See
        docs/machines.md for what happens when a process dies.
    backend
        "auto", "library" or "torch".
    recorder
        A `graft.Recorder`, which measures the networks at every `step`.
    options
        Further arguments of `graft.graft`, such as `threshold` and `compatibility`.

    Examples
    --------
    >>> grafter = graft.torch.Grafter([model_a, model_b])
    >>> for epoch in range(epochs):
    ...     train_one_epoch()
    ...     report = grafter.step()
    """

    def __init__(
        self,
        models: nn.Module | Sequence[nn.Module],
        source: Source = "ring",
        weighting: str | float = "entropy",
        a: float = 0.4,
        c: float = 500.0,
        bins: int = 10,
        *,
        start: int = 1,
        every: int = 1,
        stop: int | None = None,
        include: Iterable[Pattern] | Pattern | None = None,
        exclude: Iterable[Pattern] | Pattern | None = None,
        frozen: str = "keep",
        keep_zeros: bool = False,
        optimizers: Any = None,
        momentum: str = "keep",
        plan: Plan | None = None,
        example_inputs: Any = None,
        align: bool | str | int = False,
        groups: PermutationGroups | None = None,
        statistics: Any = None,
        process_group: Any = None,
        backend: str = "auto",
        recorder: Recorder | None = None,
        **options: Any,
    ) -> None:
        self._models = _checked_models(models, process_group is not None)
        self._settings = _settings(source, weighting, a, c, bins, options)
        self._period = (start, every, stop)
        _method.is_due(1, *self._period)
        if backend not in _BACKENDS:
            raise InvalidArgumentError(
                f"backend is {backend!r}; allowed are {', '.join(map(repr, _BACKENDS))}")
        self._backend = backend
        self._keep_zeros = bool(keep_zeros)
        self._momentum = Momentum(optimizers, momentum)
        if momentum == "graft":
            if self._settings.weighting == FILTER:
                raise UnsupportedError(
                    "momentum is 'graft': with weighting 'filter' it can be kept or reset")
            self._settings.for_torch()
            shares(source, 0, max(len(self._models), 1), 0)
        if plan is not None and (include is not None or exclude is not None):
            raise InvalidArgumentError("plan is given: include and exclude have no say then")
        if plan is None:
            plan = make_plan(
                self._models[0], example_inputs, include=include, exclude=exclude, frozen=frozen)
        self.plan = plan
        self._steps = 0
        self._grafts = 0
        self._aligner = aligner_of(
            self._models, align, example_inputs, groups, statistics, self._momentum.optimizers,
            self._settings.source, process_group)
        self._group = None
        if process_group is not None:
            from ._distributed import Ring

            if momentum == "graft":
                raise UnsupportedError(
                    "momentum is 'graft': between processes it can be kept or reset")
            self._settings.for_torch()
            self._group = Ring(process_group)
        self._recorder = recorder
        if recorder is not None:
            from .._record import Recorder

            instance(recorder, Recorder, "recorder").note(grafting=self._described())

    @property
    def plan(self) -> Plan:
        """What a graft does to which tensor; may be edited, or replaced by another."""
        return self._plan

    @plan.setter
    def plan(self, plan: Plan) -> None:
        if not isinstance(plan, Plan):
            raise InvalidArgumentError(f"plan is {type(plan).__name__!r}: it must be a Plan")
        Networks(self._models, plan)
        if self._settings.weighting == FILTER and not any(
                entry.scale or entry.input_scale for entry in plan if entry.role != "leave"):
            raise UnsupportedError(
                "weighting is 'filter', and the networks have no batch norm whose scales a layer "
                "could go by")
        self._plan = plan

    @property
    def steps(self) -> int:
        """How often `step` has been called."""
        return self._steps

    def step(self) -> Report | None:
        """Count an epoch (or whatever is called an epoch), and graft if that is due.

        Returns
        -------
        Report or None
            What happened to every layer of every network; None when no graft was due.

        Raises
        ------
        GraftError
            Nothing has changed then, and the call does not count. (An error of the recorder, such
            as of a full disk, or of the data of `statistics`, comes after the graft, which counts.)
        """
        report = None
        if _method.is_due(self._steps + 1, *self._period):
            report = self._graft(dry_run=False)
            self._grafts += 1
        self._steps += 1
        aligner = self._aligner
        if aligner is not None and report is not None and report.alignment is not None:
            aligner.count += 1
            if aligner.statistics is not None:
                for model in self._models:
                    renew_statistics(model, aligner.statistics)
        if self._recorder is not None:
            self._recorder._record(
                self._models, self._steps, report, self._plan, {},
                None if self._group is None else [self._group.rank])
        return report

    def _described(self) -> dict[str, Any]:
        """The choices, as text and numbers."""
        one = self._settings
        start, every, stop = self._period
        return {
            "source": one.source if isinstance(one.source, str) else list(one.source),
            "weighting": one.weighting, "a": one.a, "c": one.c, "bins": one.bins,
            "threshold": one.threshold, "compatibility": one.compatibility, "start": start,
            "every": every, "stop": stop, "keep_zeros": self._keep_zeros,
            "momentum": self._momentum.treatment, **one.others}

    def dry_run(self) -> Report:
        """What a graft would do now. Nothing is written or counted."""
        if self._group is not None:
            raise UnsupportedError("a dry run between processes is not possible")
        return self._graft(dry_run=True)

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint needs of this object: how far it has counted."""
        alignments = 0 if self._aligner is None else self._aligner.count
        return {
            "version": 1, "steps": self._steps, "grafts": self._grafts, "alignments": alignments}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a checkpoint; from one without alignments, with the alignment to come."""
        if state.get("version") != 1:
            raise InvalidArgumentError(
                f"state has version {state.get('version')!r}; this package knows 1")
        counts = [
            integer(state.get(name, missing), f"state[{name!r}]")
            for name, missing in (("steps", None), ("grafts", None), ("alignments", 0))]
        if min(counts) < 0:
            raise InvalidArgumentError("state counts less than 0")
        self._steps, self._grafts = counts[:2]
        if self._aligner is not None:
            self._aligner.count = counts[2]

    # ---- one graft -------------------------------------------------------------------------------

    def _graft(self, dry_run: bool) -> Report:
        networks = Networks(self._models, self._plan)
        tasks = tasks_of(self._plan, networks.tied)
        self._momentum.check(tasks, networks.items)
        aligner = self._aligner
        if aligner is None or not aligner.is_due(self._grafts):
            return self._graft_tensors(networks, networks.tensors, tasks, dry_run)
        found = aligner.find(networks.items)
        if dry_run:
            copies = aligner.copies(networks.items, found)
            report = self._graft_tensors(networks, copies, tasks, dry_run)
        else:
            aligner.apply(networks.items, found)
            try:
                report = self._graft_tensors(networks, networks.tensors, tasks, dry_run)
            except BaseException:
                aligner.undo(networks.items, found)
                raise
        report.alignment = found
        return report

    def _graft_tensors(
        self, networks: Networks, tensors: list[list[Tensor]], tasks: Sequence[Task], dry_run: bool
    ) -> Report:
        zeros = self._zeros(tasks, tensors) if self._keep_zeros and not dry_run else []
        with torch.no_grad():
            if self._group is not None:
                report = self._group.graft(
                    tasks, tensors[0], self._settings, self._steps, self._grafts, self._plan)
            else:
                report = self._graft_here(tasks, tensors, dry_run)
            for tensor, mask in zeros:
                tensor.masked_fill_(mask, 0)
        if not dry_run:
            self._momentum.apply(tasks, networks.items, report, self._settings, self._grafts)
        return report

    def _graft_here(
        self, tasks: Sequence[Task], networks: list[list[Tensor]], dry_run: bool
    ) -> Report:
        """By the library where it can; it says itself what types it takes, and has changed nothing
        where it says no."""
        on_cpu = all(
            network[task.entry.index].device.type == "cpu"
            for network in networks for task in tasks)
        if self._backend == "library" or (self._backend == "auto" and on_cpu):
            try:
                return self._graft_with_library(tasks, networks, dry_run)
            except UnsupportedError:
                if self._backend == "library":
                    raise
        return graft_with_torch(
            tasks, networks, self._settings, self._grafts, dry_run, plan=self._plan)

    def _graft_with_library(
        self, tasks: Sequence[Task], networks: list[list[Tensor]], dry_run: bool
    ) -> Report:
        settings = self._settings
        described = [
            {entry.name: _unread(tensor) if entry.role == "leave" else tensor
             for entry, tensor in zip(self._plan, network)} for network in networks]
        source: Any = settings.source
        report = _method.graft(
            described, self._plan, source, settings.weighting, settings.a, settings.c,
            settings.bins, threshold=settings.threshold, compatibility=settings.compatibility,
            dry_run=dry_run, step=self._grafts, **settings.others)
        self._warn_of_unmoved(report, networks)
        if not dry_run:  # autograd learns of what it did not see
            for network in networks:
                for task in tasks:
                    torch.autograd.graph.increment_version(network[task.entry.index])
        return report

    def _warn_of_unmoved(self, report: Report, networks: list[list[Tensor]]) -> None:
        """Says where most weights of half precision could not move."""
        stuck = sum(entry.unmoved for layer in report for entry in layer.networks)
        if stuck:
            of_half = sum(
                tensor.numel() for network in networks for tensor in network
                if tensor.dtype in (torch.float16, torch.bfloat16))
            if stuck * 2 > of_half:
                warn_of_unmoved(stuck, of_half)

    def _zeros(
        self, tasks: Sequence[Task], networks: list[list[Tensor]]
    ) -> list[tuple[Tensor, Tensor]]:
        """Weights and where they are 0."""
        found = []
        for task in tasks:
            for network in networks:
                tensor = network[task.entry.index]
                if tensor.dim() > 1:
                    mask = tensor == 0
                    if bool(mask.any()):
                        found.append((tensor, mask))
        return found


def _unread(tensor: Tensor) -> np.ndarray:
    """Stands for a tensor that is left alone: the library sees its shape."""
    return np.lib.stride_tricks.as_strided(
        np.zeros(1, np.int64), tuple(tensor.shape), (0,) * tensor.dim())


def _checked_models(models: Any, alone: bool) -> list[nn.Module]:
    given = [models] if isinstance(models, nn.Module) else models
    if not isinstance(given, Iterable):
        raise InvalidArgumentError(
            f"models is {type(models).__name__!r}: it must be a module or a list of modules")
    given = list(given)
    for k, model in enumerate(given):
        if not isinstance(model, nn.Module):
            raise InvalidArgumentError(
                f"models[{k}] is {type(model).__name__!r}: it must be a torch.nn.Module")
    if not given or len(given) > 64:
        raise InvalidArgumentError(f"models holds {len(given)} networks; allowed are 1 to 64")
    if alone and len(given) != 1:
        raise InvalidArgumentError(
            f"models holds {len(given)} networks; with process_group every process has one")
    return given


def _settings(
    source: Any, weighting: Any, a: float, c: float, bins: int, options: dict[str, Any]
) -> Settings:
    allowed = set(inspect.signature(_method.graft).parameters) - {
        "networks", "plan", "dry_run", "step", "keep_zeros", "source", "weighting", "a", "c",
        "bins"}
    for name in options:
        if name not in allowed:
            raise InvalidArgumentError(
                f"{name} is no option; besides those of Grafter allowed are "
                + ", ".join(sorted(allowed)))
    others = dict(options)
    constant = others.pop("constant", 0.5)
    settings = Settings(
        source, constant if weighting == "constant" else weighting, a, c, bins,
        others.pop("threshold", 0.1), bool(others.pop("compatibility", False)), others)
    replace(settings, others={}).for_torch()  # so that a slip shows at once
    return settings
