"""What a training run left behind: a record for every network and epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

__all__ = ["EpochRecord", "History", "StepRecord"]


@dataclass(frozen=True, eq=False)
class _Figures:
    """Equal where all figures are; NaN, for what was not measured, equals NaN."""

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(a == b or a != a and b != b for a, b in zip(astuple(self), astuple(other)))

    def __hash__(self) -> int:
        return hash(tuple(None if one != one else one for one in astuple(self)))


@dataclass(frozen=True, eq=False)
class EpochRecord(_Figures):
    """A network's results of one epoch.

    Attributes
    ----------
    epoch, network
        The epoch, from 1, and the network, from 0.
    learning_rate
        At the epoch's first step.
    train_loss, train_accuracy
        Means over the epoch's batches, in training mode; accuracies are shares, 0 to 1. Of a mixed
        image each label counts by its share.
    test_loss, test_accuracy
        Over the test set, in evaluation mode; NaN where there is none.
    evaluated
        "before" or "after" the epoch's graft.
    grafted
        Whether a graft was due after this epoch.
    seconds
        Wall-clock seconds of the epoch, all networks together.
    train_top5, test_top5
        The share of the images whose label is among the five largest logits.
    ema_loss, ema_accuracy, ema_top5
        The weights' moving average over the test set; NaN where it is not evaluated.
    gradient_norm, clipped
        The mean of the gradients' l2 norm over the epoch's steps, before clipping, and the share of
        the steps that were clipped; NaN without `clip_norm`.
    """

    epoch: int
    network: int
    learning_rate: float
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    evaluated: str
    grafted: bool
    seconds: float
    train_top5: float = math.nan
    test_top5: float = math.nan
    ema_loss: float = math.nan
    ema_accuracy: float = math.nan
    ema_top5: float = math.nan
    gradient_norm: float = math.nan
    clipped: float = math.nan


@dataclass(frozen=True, eq=False)
class StepRecord(_Figures):
    """A network's results between two steps of an epoch, where `evaluate_steps` says so.

    Attributes
    ----------
    epoch, step, network
        The epoch, and the steps of it that were done, from 1; the network, from 0.
    train_loss
        Mean of the epoch so far.
    test_loss, test_accuracy, test_top5
        Over the test set, in evaluation mode.
    ema_loss, ema_accuracy, ema_top5
        The same of the weights' moving average; NaN where it is not evaluated.
    """

    epoch: int
    step: int
    network: int
    train_loss: float
    test_loss: float
    test_accuracy: float
    test_top5: float
    ema_loss: float = math.nan
    ema_accuracy: float = math.nan
    ema_top5: float = math.nan


class History(Sequence[EpochRecord]):
    """The records of all networks, epoch by epoch."""

    def __init__(self, records: Sequence[EpochRecord] = ()) -> None:
        self._records = list(records)

    def __getitem__(self, index):  # type: ignore[override]
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[EpochRecord]:
        return iter(self._records)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and self._records == other._records

    __hash__ = None  # type: ignore[assignment]

    @property
    def networks(self) -> int:
        """How many networks were trained."""
        return 1 + max((record.network for record in self), default=-1)

    @property
    def epochs(self) -> int:
        """How many epochs are done."""
        return max((record.epoch for record in self), default=0)

    def network(self, index: int) -> list[EpochRecord]:
        """One network's records."""
        return [record for record in self if record.network == index]

    def last(self, network: int = 0) -> EpochRecord:
        """A network's last epoch: the one to report.

        Raises
        ------
        IndexError
            If no epoch is done.
        """
        return self.network(network)[-1]

    def best(self, network: int = 0) -> EpochRecord:
        """The epoch of the highest test accuracy. To report it is to select on the test set."""
        records = self.network(network)
        return max(records, key=lambda one: -1 if math.isnan(one.test_accuracy)
                   else one.test_accuracy)

    def table(self) -> str:
        """A line for every network and epoch, for a terminal."""
        lines = [
            "epoch  net      lr  train loss     acc  test loss     acc  when      graft  seconds"]
        for one in self:
            tested = f"{one.test_loss:9.4f}  {100 * one.test_accuracy:5.2f}%  {one.evaluated:<8}"
            if math.isnan(one.test_loss):
                tested = f"{'-':>9}  {'-':>6}  {'-':<8}"
            lines.append(
                f"{one.epoch:5d}  {one.network:3d}  {one.learning_rate:6.4f}  "
                f"{one.train_loss:10.4f}  {100 * one.train_accuracy:5.2f}%  {tested}  "
                f"{'yes' if one.grafted else 'no':<5}  {one.seconds:7.2f}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<History of {self.epochs} epochs, {self.networks} networks>"
