"""Training K networks side by side, with grafting at the end of epochs and distillation."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from ctypes import byref, c_double
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from . import _arrays, _checks, _structures
from ._augmentation import Augmentation
from ._callback import Relay, Signals, TrainerCallback
from ._data import Dataset
from ._errors import check
from ._handles import Handle
from ._history import EpochRecord, History, StepRecord
from ._library import defaults, lib
from ._network import Network
from ._progress import Progress, ProgressBar
from ._settings import Distillation, Grafting, Own, each, plain
from ._structures import Moment, Precision, Schedule, Teaching

if TYPE_CHECKING:
    from ._report import Report

Callback = Callable[[Progress], object]

__all__ = ["Trainer"]


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
        As `SGD`; one weight decay for all networks or one for each.
    decay_weights_only
        True spares batch norms and biases the decay; one for all or one for each.
    clip_norm
        The greatest l2 norm of a network's gradients, as ``torch.nn.utils.clip_grad_norm_``; None
        neither measures nor clips, infinity measures only.
    label_smoothing
        The share of every label's target that is spread over all classes; one for all or one for
        each, None for the distillation's.
    schedule
        "step" (times `step_factor` after every `step_epochs` epochs), "cosine" or "constant".
    warmup_epochs
        The learning rate rises linearly over these first epochs.
    crop_padding, flip
        Augmentation: random crop after this padding, random horizontal flip.
    augmentation
        An `Augmentation`, or one for each network: takes the place of those two.
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
    evaluate_steps
        Evaluates after every so many steps too (`step_history`); 0 at the ends of epochs alone.
    ema_decay, ema_every
        Keeps an exponential moving average of the weights, moved every so many steps by 1 - decay
        of the way to them (torch.optim.swa_utils.AveragedModel with use_buffers); 0 keeps none.
    evaluate_ema
        Whether evaluations measure the averages too.
    save_every, directory
        Save to this directory after every so many epochs; 0 never.
    precision
        What the networks multiply in while they train: "float32" or "bfloat16"
        (`Network.precision`).
    threads
        For the whole trainer; 0 takes what OpenMP would. The same bits at any count.
    """

    def __init__(
        self, networks: Sequence[Network], train: Dataset, test: Dataset | None = None, *,
        epochs: int = 200, batch_size: int = 128, learning_rate: float | Sequence[float] = 0.1,
        seeds: Sequence[int] | None = None, momentum: float = 0.9,
        weight_decay: float | Sequence[float] = 5e-4, nesterov: bool = False,
        schedule: str = "step", step_epochs: int = 60,
        step_factor: float = 0.1, warmup_epochs: int = 0, crop_padding: int = 4,
        flip: bool = True, grafting: Grafting | None = None, teachers: Sequence[Network] = (),
        teaching: str = "given", distillation: Distillation | None = None,
        evaluate: str = "after", save: str = "after", save_every: int = 0,
        directory: str | os.PathLike[str] | None = None, threads: int = 0,
        decay_weights_only: bool | Sequence[bool] = False, clip_norm: float | None = None,
        label_smoothing: float | Sequence[float] | None = None,
        augmentation: Augmentation | Sequence[Augmentation] | None = None,
        evaluate_steps: int = 0, ema_decay: float = 0.0, ema_every: int = 1,
        evaluate_ema: bool = False, precision: str = "float32",
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
            ("save_every", save_every), ("ema_every", ema_every),
            ("evaluate_steps", evaluate_steps),
        ):
            setattr(options, name, _checks.integer(value, name))
        for name, rate in (
            ("momentum", momentum), ("step_factor", step_factor), ("ema_decay", ema_decay),
            ("clip_norm", 0.0 if clip_norm is None else clip_norm),
        ):
            setattr(options, name, _checks.number(rate, name))
        options.threads = _checks.integer(threads, "threads", bits=32)
        options.nesterov, options.flip = bool(nesterov), bool(flip)
        options.evaluate_ema = bool(evaluate_ema)
        options.grafting = grafting is not None
        options.schedule = _checks.choice(schedule, Schedule, "schedule")
        options.precision = _checks.choice(precision, Precision, "precision")
        options.teaching = _checks.choice(teaching, Teaching, "teaching")
        options.evaluate = _checks.choice(evaluate, Moment, "evaluate")
        options.save = _checks.choice(save, Moment, "save")
        if directory is not None:
            options.directory = _arrays.path_bytes(directory, "directory")
        count = len(self._networks)
        rates = each(learning_rate, count, "learning_rate")
        seeds = range(count) if seeds is None else each(seeds, count, "seeds")
        graft = None if grafting is None else _checks.instance(
            grafting, Grafting, "grafting")._options()
        distillation = _checks.instance(
            Distillation() if distillation is None else distillation, Distillation, "distillation")
        distil = distillation._options()
        own = Own(options, distil, count, weight_decay, decay_weights_only, label_smoothing,
                   augmentation)
        self._handle = Handle(
            "graft_trainer_create", "graft_trainer_destroy", byref(options),
            None if graft is None else byref(graft), byref(distil),
            train._handle, None if test is None else test._handle)
        for index, network in enumerate(self._networks):
            member = defaults(_structures.MemberOptions, "graft_member_options_init")
            member.seed = _checks.seed(seeds[index], f"seeds[{index}]")
            member.learning_rate = _checks.number(rates[index], f"learning_rate[{index}]")
            own.fill(member, index)
            check(lib.graft_trainer_add(self, network, byref(member)))
            network.precision = precision
        for teacher in self._teachers:
            check(lib.graft_trainer_add_teacher(self, teacher))
        self._settings: dict[str, Any] = {
            "epochs": epochs, "batch_size": batch_size,
            "learning_rate": [float(rate) for rate in rates], "seeds": [int(one) for one in seeds],
            "momentum": momentum, "weight_decay": plain(weight_decay), "nesterov": bool(nesterov),
            "decay_weights_only": plain(decay_weights_only), "clip_norm": clip_norm,
            "label_smoothing": plain(
                distillation.label_smoothing if label_smoothing is None else label_smoothing),
            "schedule": schedule, "step_epochs": step_epochs, "step_factor": step_factor,
            "warmup_epochs": warmup_epochs, "crop_padding": crop_padding, "flip": bool(flip),
            "augmentation": plain(augmentation),
            "grafting": None if grafting is None else asdict(grafting), "teaching": teaching,
            "teachers": len(self._teachers), "distillation": asdict(distillation),
            "evaluate": evaluate, "evaluate_steps": evaluate_steps, "ema_decay": ema_decay,
            "ema_every": ema_every, "evaluate_ema": bool(evaluate_ema),
            "precision": precision, "threads": threads,
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
            bool(told.grafted), told.seconds, told.train_top5, told.test_top5, told.ema_loss,
            told.ema_accuracy, told.ema_top5, told.gradient_norm, told.clipped)

    @property
    def step_history(self) -> list[StepRecord]:
        """The results between two steps of an epoch (`evaluate_steps`), network by network."""
        return [
            self._step_record(index, network)
            for index in range(lib.graft_trainer_step_record_count(self))
            for network in range(len(self._networks))]

    def _step_record(self, index: int, network: int) -> StepRecord:
        told = _structures.StepRecord()
        check(lib.graft_trainer_step_record(self, index, network, byref(told)))
        return StepRecord(
            told.epoch, told.step, network, told.train_loss, told.test_loss, told.test_accuracy,
            told.test_top5, told.ema_loss, told.ema_accuracy, told.ema_top5)

    def gradient_norm(self, network: int = 0) -> float:
        """The l2 norm of a network's gradients in its last step, before clipping.

        Raises
        ------
        InvalidStateError
            Without `clip_norm`, and before the first step.
        """
        norm = c_double()
        check(lib.graft_trainer_gradient_norm(
            self, _checks.integer(network, "network", signed=False), byref(norm)))
        return norm.value

    def ema(self, network: int, into: Network) -> Network:
        """Write the moving average of a network's weights into a network, and return that.

        Parameters
        ----------
        network
            Its number, from 0.
        into
            Of the same structure; to be evaluated or saved. May be the network in training.

        Raises
        ------
        InvalidStateError
            Without `ema_decay`.
        """
        check(lib.graft_trainer_ema(
            self, _checks.integer(network, "network", signed=False),
            _checks.instance(into, Network, "into")))
        return into

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


def _described(dataset: Dataset) -> str:
    return (f"{dataset.count} of {dataset.channels} x {dataset.height} x {dataset.width}, "
            f"{dataset.classes} classes")
