"""`Recorder`: takes down a run while it goes on."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .. import _checks
from .._callback import TrainerCallback
from .._errors import FileError, InvalidArgumentError, ShapeMismatchError
from .._plan import Plan
from .._progress import Progress
from .._report import Report
from ._layers import Structure, measure
from ._networks import listed, plan_of, states
from ._recording import Epoch, Recording
from ._session import session

if TYPE_CHECKING:
    from .._trainer import Trainer

#: Told of an epoch as soon as something of it is known: the recording, the epoch, and the names of
#: what is new ("weights", "graft", metrics).
Live = Callable[[Recording, Epoch, frozenset[str]], object]

_METRICS = ("learning_rate", "train_loss", "train_accuracy", "test_loss", "test_accuracy")
_EXISTING = ("refuse", "resume", "replace")


class Watch(Protocol):
    """Sees into networks while they train: `graft.torch.Watch` is one."""

    def take(self) -> Mapping[str, Any]:
        """What was seen since the last call."""


class Recorder(TrainerCallback):
    """Records accuracy, losses, grafts and every filter's l1 norm, epoch by epoch.

    Hand it to `Trainer.run` or to `graft.torch.Grafter`, or call `record` and `log` in a loop of
    your own. `graft.report` makes a page of it, now or later.

    Parameters
    ----------
    path
        A .npz file, written after every epoch; None keeps the recording in memory.
    if_exists
        What to do where the file is there: "refuse", "resume" (go on in it; epochs that the run
        goes through again replace those there) or "replace".
    names
        What the networks are called; "network 0", ... by default.
    every
        Weights are measured after every so many epochs (figures and grafts are noted always).
    bins
        Bins of the entropy.
    gradients
        Note the l2 norm of each layer's gradient, the mean over an epoch's steps. For the library's
        trainer; in PyTorch a `watch` does it.
    watch
        A `graft.torch.Watch`.
    live
        Called with what is new: `graft.TensorBoard`, `graft.EpochTable`, or a function of three
        arguments (the recording, the epoch, the names of what is new).
    settings
        Whatever else made the run what it is, such as the seeds of initial weights; for the page.
    command
        What repeats the run; by default this process's command line.

    Examples
    --------
    >>> recorder = graft.Recorder("run.npz")
    >>> trainer.run(recorder)
    >>> graft.report(recorder, "run.html")
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, if_exists: str = "refuse",
        names: Sequence[str] | None = None, every: int = 1, bins: int = 10,
        gradients: bool = False, watch: Watch | None = None, live: Live | Iterable[Live] = (),
        settings: Mapping[str, Any] | None = None, command: str | None = None,
    ) -> None:
        if if_exists not in _EXISTING:
            raise InvalidArgumentError(
                f"if_exists is {if_exists!r}; allowed are " + ", ".join(map(repr, _EXISTING)))
        self._path = None if path is None else Path(os.fsdecode(path))
        self._names = None if names is None else [str(name) for name in names]
        self._every = _checks.integer(every, "every")
        if self._every < 1:
            raise InvalidArgumentError(f"every is {every}; it must be at least 1")
        self._bins = _checks.integer(bins, "bins")
        self._gradients = bool(gradients)
        self._watch = watch
        self._live: list[Live] = [live] if callable(live) else list(live)
        self._settings = dict(settings or {})
        self._session = session(command)
        self._trainer: Trainer | None = None
        self._steps = 0
        self._sums: np.ndarray | None = None
        self._recording: Recording | None = None
        if self._path is not None:
            self._open(self._path, if_exists)

    def _open(self, path: Path, if_exists: str) -> None:
        if not path.parent.is_dir():
            raise FileError(f"{path} cannot be written: {path.parent} is no folder")
        if not path.exists() or if_exists == "replace":
            return
        if if_exists == "refuse":
            raise InvalidArgumentError(
                f"{path} is there: give if_exists='resume' to go on in it, 'replace' to lose it")
        self._begin(Recording.load(path))

    def _begin(self, recording: Recording) -> None:
        if self._names is not None:
            if len(self._names) != len(recording.networks):
                raise InvalidArgumentError(
                    f"names has {len(self._names)} names for {len(recording.networks)} networks")
            recording.networks = list(self._names)
        recording.settings.update(self._settings)
        recording.sessions.append(self._session)
        self._recording = recording

    def _of(self, count: int) -> Recording:
        """The recording, begun where this is the first that is heard of K networks."""
        if self._recording is None:
            self._begin(Recording([f"network {k}" for k in range(count)]))
        recording = self.recording
        if len(recording.networks) != count:
            raise ShapeMismatchError(
                f"{count} networks; the recording is of {len(recording.networks)}")
        return recording

    @property
    def recording(self) -> Recording:
        """What has been recorded so far.

        Raises
        ------
        InvalidArgumentError
            Where nothing was yet.
        """
        if self._recording is None:
            raise InvalidArgumentError("nothing has been recorded yet")
        return self._recording

    # ---- in a loop of one's own ------------------------------------------------------------------

    def record(
        self, models: Any, epoch: int | None = None, *, report: Report | None = None,
        plan: Plan | None = None, **metrics: Any,
    ) -> None:
        """Measure the networks after an epoch and its graft.

        Parameters
        ----------
        models
            The K networks: `graft.Network`, torch modules, or mappings of name -> array.
        epoch
            Its number, counted from 1 (0: before training); the one after the last by default.
            Later epochs of the recording are dropped: a resumed run goes through them again.
        report
            What the graft did, if there was one.
        plan
            Says which arrays are layers. Read off the network, or by the arrays' order, where it is
            not given.
        metrics
            As for `log`.

        Raises
        ------
        NotFiniteError
            Where weights are NaN or infinite.
        """
        self._record(models, epoch, report, plan, metrics)

    def log(self, epoch: int, **metrics: Any) -> None:
        """Note figures of an epoch: a number for all networks, or one for each.

        `train_loss`, `test_loss`, `train_accuracy`, `test_accuracy` (shares, 0 to 1) and
        `learning_rate` have figures of their own in a report; others are drawn as they are.
        """
        epoch = _epoch(epoch)
        count = max((np.size(_plain(value)) for value in metrics.values()), default=1)
        recording = self.recording if self._recording is not None else self._of(
            len(self._names) if self._names else int(count))
        recording.add_metrics(epoch, metrics)
        self._publish(recording[epoch], metrics)

    def note(self, **settings: Any) -> None:
        """Note settings for the page; shown as they are."""
        self._settings.update(settings)
        if self._recording is not None:
            self._recording.settings.update(settings)

    def save(self, path: str | os.PathLike[str] | None = None) -> None:
        """Write the recording now, to `path` or to where it is written anyway."""
        target = self._path if path is None else path
        if target is None:
            raise InvalidArgumentError("path is None, and the recorder was given none")
        self.recording.save(target)

    def _record(
        self, models: Any, epoch: int | None, report: Report | None, plan: Plan | None,
        metrics: Mapping[str, Any], ranks: list[int] | None = None, last: bool = False,
    ) -> None:
        models = listed(models)
        networks = states(models)
        recording = self._of(len(networks))
        epoch = max(recording.last + 1, 1) if epoch is None else _epoch(epoch)
        if recording.structure is None:
            recording.structure = Structure.of(networks[0], plan or plan_of(models[0]))
        new = list(metrics)
        weights = None
        if epoch % self._every == 0 or last:
            weights = measure(networks, recording.structure, self._bins)
            new.append("weights")
        recording.forget_after(epoch)
        recording.row(epoch).weights = weights
        if report is not None:
            recording.add_graft(epoch, report, ranks)
            new.append("graft")
        if self._watch is not None:
            new += self._look(recording, epoch, self._watch.take())
        recording.add_metrics(epoch, metrics)
        self._publish(recording[epoch], new)

    def _look(self, recording: Recording, epoch: int, seen: Mapping[str, Any]) -> list[str]:
        """Take over what a watch saw."""
        row = recording.row(epoch)
        count = len(recording.networks)
        if seen.get("gradients") is not None:
            by_name: list[Mapping[str, float]] = seen["gradients"]
            layers = recording.structure.layers if recording.structure else ()
            row.gradients = np.array([
                [by_name[k].get(layer.name, math.nan) for layer in layers] for k in range(count)])
        if seen.get("units"):
            units = [(str(name), int(number)) for name, number in seen["units"]]
            if recording.watched and recording.watched != units:
                raise ShapeMismatchError("the watch sees other activations than were recorded")
            recording.watched = units
            row.activity = {
                name: np.array(seen[name], np.float64) for name in ("silent", "saturated")}
        return [name for name in ("gradients", "activity")
                if (row.gradients is not None if name == "gradients" else row.activity)]

    def _publish(self, row: Epoch, new: Iterable[str]) -> None:
        if self._path is not None:
            self.save()
        for one in self._live:
            one(self.recording, row, frozenset(new))

    # ---- the trainer's callback ------------------------------------------------------------------

    def begin(self, trainer: Trainer) -> None:
        self._trainer = trainer
        recording = self._of(len(trainer.networks))
        recording.settings = {**trainer.settings, **self._settings}
        done = trainer.epochs_done
        recording.forget_after(done)
        if done == 0:
            self._record(trainer.networks, 0, None, None, {}, last=True)
            return
        recording.structure = recording.structure or Structure.of(
            states(trainer.networks)[0], trainer.networks[0].plan())
        for epoch in range(1, done + 1):  # what the trainer remembers, where nobody recorded
            if epoch not in recording:
                self._take_over(trainer, epoch)

    def _take_over(self, trainer: Trainer, epoch: int) -> None:
        recording = self.recording
        recording.add_metrics(epoch, _figures(trainer, epoch))
        if trainer.record(epoch).grafted:
            recording.add_graft(epoch, trainer.graft_report(epoch))

    def __call__(self, progress: Progress) -> None:
        """What `Trainer.run` calls."""
        trainer = self._trainer
        if trainer is None:
            raise InvalidArgumentError("the recorder was called by no trainer of graft's")
        if progress.phase == "training" and self._gradients:
            self._add_gradients(trainer)
        elif progress.phase == "epoch":
            epoch = progress.epoch
            grafted = trainer.record(epoch).grafted
            report = trainer.graft_report(epoch) if grafted else None
            if self._sums is not None:
                self.recording.row(epoch).gradients = self._sums / self._steps
                self._sums, self._steps = None, 0
            self._record(trainer.networks, epoch, report, None, _figures(trainer, epoch),
                         last=epoch == progress.epochs)

    def _add_gradients(self, trainer: Trainer) -> None:
        structure = self.recording.structure
        if structure is None:
            return
        norms = np.array([
            [float(np.linalg.norm(gradients[layer.name].ravel())) for layer in structure.layers]
            for gradients in (network.gradients() for network in trainer.networks)])
        self._sums = norms if self._sums is None else self._sums + norms
        self._steps += 1


def _epoch(number: Any) -> int:
    number = _checks.integer(number, "epoch")
    if not 0 <= number < 2**31:
        raise InvalidArgumentError(f"epoch is {number}; it must be 0 or more")
    return number


def _plain(value: Any) -> Any:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _figures(trainer: Trainer, epoch: int) -> dict[str, list[float]]:
    records = [trainer.record(epoch, k) for k in range(len(trainer.networks))]
    found = {name: [getattr(one, name) for one in records] for name in _METRICS}
    found["seconds"] = [one.seconds for one in records]
    return {name: values for name, values in found.items() if not all(map(math.isnan, values))}
