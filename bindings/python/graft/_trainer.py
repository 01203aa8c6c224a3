"""Training K networks side by side, with grafting at the end of epochs and distillation."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from ctypes import byref, c_double
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _arrays, _checks, _method, _structures
from ._callback import Relay, Signals, TrainerCallback
from ._data import Dataset
from ._errors import InvalidArgumentError, check
from ._handles import Handle
from ._history import EpochRecord, History
from ._library import defaults, lib
from ._network import Network
from ._progress import Progress, ProgressBar
from ._structures import Moment, Schedule, Teaching

if TYPE_CHECKING:
    from ._report import Report

Callback = Callable[[Progress], object]

__all__ = ["Distillation", "EpochRecord", "Evaluation", "Grafting", "History", "Progress",
           "ProgressBar", "Trainer", "evaluate"]


@dataclass(frozen=True)
class Grafting:
    """How and when a trainer grafts. The defaults are the paper's.

    Attributes
    ----------
    source
        Where from: "ring" (each network receives from its predecessor), "mean", "others",
        "exponential", "internal", "noise", or a list of the source of each network; as for
        `graft.graft`, which is told how many grafts came before, and for "noise" the epoch.
    weighting
        How much: "entropy" (adaptive, the paper's), "filter_entropy", "l1", "filter" (by
        batch-norm scales) or "constant".
    a, c
        Range and steepness of the adaptive coefficient; a = 0 is the plain average.
    constant
        The share of its own weights that a layer keeps under weighting "constant".
    bins
        Bins of the entropy.
    threshold
        A filter whose l1 norm is under this counts as invalid in reports.
    compatibility
        True follows the published code's bins and rounding.
    start, every, stop
        When: after epoch `start`, then every so many, up to epoch `stop` (None for no end).
    keep_zeros
        Weights that are 0 stay 0: pruned networks keep their masks.
    noise, seed
        For source "noise": the base of its deviation, and what numbers are drawn.
    """

    source: str | Sequence[int] = "ring"
    weighting: str = "entropy"
    a: float = 0.4
    c: float = 500.0
    constant: float = 0.5
    bins: int = 10
    threshold: float = 0.1
    compatibility: bool = False
    start: int = 1
    every: int = 1
    stop: int | None = None
    keep_zeros: bool = False
    noise: float = 0.9
    seed: int = 0

    def _options(self) -> _structures.GraftOptions:
        options = defaults(_structures.GraftOptions, "graft_options_init")
        _method.set_source(options, self.source)
        _method.set_weighting(options, self.weighting, self.constant)
        options.keep_zeros = bool(self.keep_zeros)
        options.seed = _checks.seed(self.seed)
        for name in ("a", "c", "threshold", "noise"):
            setattr(options, name, _checks.number(getattr(self, name), name))
        for name in ("bins", "start", "every"):
            setattr(options, name, _checks.integer(getattr(self, name), name))
        options.stop = 0 if self.stop is None else _checks.integer(self.stop, "stop")
        options.compatibility = bool(self.compatibility)
        return options


@dataclass(frozen=True)
class Distillation:
    """The loss's weights: label_weight CE + distillation_weight T^2 KL(teachers || student)."""

    temperature: float = 2.0
    label_weight: float = 1.0
    distillation_weight: float = 1.0

    def _options(self) -> _structures.DistillationOptions:
        options = defaults(_structures.DistillationOptions, "graft_distillation_options_init")
        for name in ("temperature", "label_weight", "distillation_weight"):
            setattr(options, name, _checks.number(getattr(self, name), name))
        return options


class Evaluation(NamedTuple):
    """Loss and accuracy (a share, 0 to 1) on a data set."""

    loss: float
    accuracy: float


class Trainer:
    """Trains networks side by side, in place.

    Parameters
    ----------
    networks
        One to 64; of one structure if they graft.
    train, test
        Data sets; without `test` nothing is evaluated.
    epochs, batch_size
        How long, and how many images a step.
    learning_rate
        The schedule's start: one for all networks or one for each.
    seeds
        Data order, crops and flips of each network; 0, 1, ... by default.
    momentum, weight_decay, nesterov
        As `SGD`.
    schedule
        "step" (times `step_factor` after every `step_epochs` epochs), "cosine" or "constant".
    warmup_epochs
        The learning rate rises linearly over these first epochs.
    crop_padding, flip
        Augmentation: random crop after this padding, random horizontal flip.
    grafting
        How and when to graft; None does not.
    teachers
        Networks that teach, of any structure; never changed.
    teaching
        Who teaches besides: "given" (nobody), "predecessor" (in the ring) or "others".
    distillation
        The loss's weights; the paper's by default.
    evaluate, save
        "before" or "after" the epoch's graft.
    save_every, directory
        Save to this directory after every so many epochs; 0 never.
    threads
        For the whole trainer; 0 takes what OpenMP would. The same bits at any count.
    """

    def __init__(
        self, networks: Sequence[Network], train: Dataset, test: Dataset | None = None, *,
        epochs: int = 200, batch_size: int = 128, learning_rate: float | Sequence[float] = 0.1,
        seeds: Sequence[int] | None = None, momentum: float = 0.9, weight_decay: float = 5e-4,
        nesterov: bool = False, schedule: str = "step", step_epochs: int = 60,
        step_factor: float = 0.1, warmup_epochs: int = 0, crop_padding: int = 4,
        flip: bool = True, grafting: Grafting | None = None, teachers: Sequence[Network] = (),
        teaching: str = "given", distillation: Distillation | None = None,
        evaluate: str = "after", save: str = "after", save_every: int = 0,
        directory: str | os.PathLike[str] | None = None, threads: int = 0,
    ) -> None:
        if isinstance(networks, Network):
            networks = [networks]
        self._networks = [
            _checks.instance(network, Network, f"networks[{index}]")
            for index, network in enumerate(networks)]
        self._teachers = [
            _checks.instance(teacher, Network, f"teachers[{index}]")
            for index, teacher in enumerate(teachers)]
        _checks.instance(train, Dataset, "train")
        if test is not None:
            _checks.instance(test, Dataset, "test")
        options = defaults(_structures.TrainerOptions, "graft_trainer_options_init")
        for name, value in (
            ("epochs", epochs), ("batch_size", batch_size), ("step_epochs", step_epochs),
            ("warmup_epochs", warmup_epochs), ("crop_padding", crop_padding),
            ("save_every", save_every),
        ):
            setattr(options, name, _checks.integer(value, name))
        for name, rate in (
            ("momentum", momentum), ("weight_decay", weight_decay), ("step_factor", step_factor),
        ):
            setattr(options, name, _checks.number(rate, name))
        options.threads = _checks.integer(threads, "threads", bits=32)
        options.nesterov, options.flip = bool(nesterov), bool(flip)
        options.grafting = grafting is not None
        options.schedule = _checks.choice(schedule, Schedule, "schedule")
        options.teaching = _checks.choice(teaching, Teaching, "teaching")
        options.evaluate = _checks.choice(evaluate, Moment, "evaluate")
        options.save = _checks.choice(save, Moment, "save")
        if directory is not None:
            options.directory = _arrays.path_bytes(directory, "directory")
        count = len(self._networks)
        rates = _each(learning_rate, count, "learning_rate")
        seeds = range(count) if seeds is None else _each(seeds, count, "seeds")
        graft = None if grafting is None else _checks.instance(
            grafting, Grafting, "grafting")._options()
        distil = None if distillation is None else _checks.instance(
            distillation, Distillation, "distillation")._options()
        self._handle = Handle(
            "graft_trainer_create", "graft_trainer_destroy", byref(options),
            None if graft is None else byref(graft), None if distil is None else byref(distil),
            train._handle, None if test is None else test._handle)
        for index, network in enumerate(self._networks):
            member = defaults(_structures.MemberOptions, "graft_member_options_init")
            member.seed = _checks.seed(seeds[index], f"seeds[{index}]")
            member.learning_rate = _checks.number(rates[index], f"learning_rate[{index}]")
            check(lib.graft_trainer_add(self, network, byref(member)))
        for teacher in self._teachers:
            check(lib.graft_trainer_add_teacher(self, teacher))
        self._settings: dict[str, Any] = {
            "epochs": epochs, "batch_size": batch_size,
            "learning_rate": [float(rate) for rate in rates], "seeds": [int(one) for one in seeds],
            "momentum": momentum, "weight_decay": weight_decay, "nesterov": bool(nesterov),
            "schedule": schedule, "step_epochs": step_epochs, "step_factor": step_factor,
            "warmup_epochs": warmup_epochs, "crop_padding": crop_padding, "flip": bool(flip),
            "grafting": None if grafting is None else asdict(grafting), "teaching": teaching,
            "teachers": len(self._teachers),
            "distillation": asdict(distillation or Distillation()), "evaluate": evaluate,
            "threads": threads,
            "training_images": _described(train), "test_images": test and _described(test)}

    @property
    def _as_parameter_(self) -> Any:
        return self._handle._as_parameter_

    @property
    def networks(self) -> list[Network]:
        """The networks in training; their weights can be read at any time between steps."""
        return list(self._networks)

    @property
    def teachers(self) -> list[Network]:
        """The teachers that were given."""
        return list(self._teachers)

    @property
    def settings(self) -> dict[str, Any]:
        """What this trainer was told, as text, numbers, lists and dicts."""
        return copy.deepcopy(self._settings)

    @property
    def epochs_done(self) -> int:
        """Number of whole epochs done."""
        return lib.graft_trainer_epochs_done(self)

    def run(
        self, callback: Callback | Sequence[Callback] | None = None, progress: bool = False
    ) -> History:
        """Train until all epochs are done.

        Ctrl-C, and an exception in the callback, stop at the next batch and come out of this call;
        a further `run` goes on from there, to the same bits as if nothing had happened.

        Parameters
        ----------
        callback
            Called after every batch, part of an evaluation, graft and epoch; returning False
            stops. It may read weights, history and reports, and save; it may not run the trainer.
            A `graft.Recorder` is one. Several may be given as a list.
        progress
            Whether to show progress on standard error.

        Raises
        ------
        CancelledError
            If the callback returned False.
        NotFiniteError
            If a loss becomes NaN or infinite; the message names network, epoch and batch.
        """
        bar = ProgressBar() if progress else None
        callbacks: list[Callback] = [] if bar is None else [bar]
        callbacks += [callback] if callable(callback) else callback or []
        try:
            for one in callbacks:
                if isinstance(one, TrainerCallback):
                    one.begin(self)
            with Signals() as signals:
                relay = Relay(callbacks, signals)
                status = lib.graft_trainer_run(self, relay.function, None)
            signals.deliver()
        finally:
            if bar is not None:
                bar.close()
        if relay.raised is not None:
            raise relay.raised
        check(status)
        return self.history

    @property
    def history(self) -> History:
        """The records of all epochs done."""
        return History([
            self.record(epoch, network) for epoch in range(1, self.epochs_done + 1)
            for network in range(len(self._networks))])

    def record(self, epoch: int, network: int = 0) -> EpochRecord:
        """One network's record of an epoch that is done, counted from 1."""
        told = _structures.EpochRecord()
        check(lib.graft_trainer_record(
            self, _checks.integer(epoch, "epoch"), _checks.integer(network, "network"),
            byref(told)))
        return EpochRecord(
            told.epoch, network, told.learning_rate, told.train_loss, told.train_accuracy,
            told.test_loss, told.test_accuracy, Moment(told.evaluated).name.lower(),
            bool(told.grafted), told.seconds)

    def graft_report(self, epoch: int) -> Report:
        """What the graft after `epoch` did, layer by layer and network by network.

        Raises
        ------
        InvalidArgumentError
            If there was none.
        """
        from ._report import Report

        return Report.read(Handle(
            "graft_trainer_graft_report", "graft_report_destroy", self,
            _checks.integer(epoch, "epoch")))

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Save everything that a run needs to go on; written beside and renamed as a whole."""
        check(lib.graft_trainer_save(self, _arrays.path_bytes(directory, "directory")))

    def load(self, directory: str | os.PathLike[str]) -> None:
        """Load what `save` wrote, into a trainer made with the same settings, networks and data.

        Raises
        ------
        ShapeMismatchError
            Naming what differs; on any error nothing has changed.
        """
        check(lib.graft_trainer_load(self, _arrays.path_bytes(directory, "directory")))

    def __repr__(self) -> str:
        return f"<Trainer of {len(self._networks)} networks, {self.epochs_done} epochs done>"


def evaluate(network: Network, dataset: Dataset, batch_size: int = 256) -> Evaluation:
    """Loss and accuracy of a network on a data set, in evaluation mode."""
    loss, accuracy = c_double(), c_double()
    check(lib.graft_evaluate(
        _checks.instance(network, Network, "network"),
        _checks.instance(dataset, Dataset, "dataset")._handle,
        _checks.integer(batch_size, "batch_size"), byref(loss), byref(accuracy)))
    return Evaluation(loss.value, accuracy.value)


def _described(dataset: Dataset) -> str:
    return (f"{dataset.count} of {dataset.channels} x {dataset.height} x {dataset.width}, "
            f"{dataset.classes} classes")


def _each(value: Any, count: int, name: str) -> list[Any]:
    """A value for every network."""
    if not hasattr(value, "__len__"):
        return [value] * count
    if len(value) != count:
        raise InvalidArgumentError(f"{name} has {len(value)} values for {count} networks")
    return list(value)
