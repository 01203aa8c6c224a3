"""How a network does on a data set."""

from __future__ import annotations

import math
from ctypes import byref
from typing import NamedTuple

from . import _checks, _structures
from ._data import Dataset
from ._errors import check
from ._library import lib
from ._network import Network

__all__ = ["Evaluation", "evaluate"]


class _LossAndAccuracy(NamedTuple):
    loss: float
    accuracy: float


class Evaluation(_LossAndAccuracy):
    """Loss and accuracy (a share, 0 to 1) on a data set; a tuple of the two.

    Attributes
    ----------
    loss
        The mean cross entropy.
    accuracy
        The share of the images whose label has the largest logit.
    top5
        The share of those whose label is among the five largest.
    """

    top5: float

    def __new__(cls, loss: float, accuracy: float, top5: float = math.nan) -> Evaluation:
        self = super().__new__(cls, loss, accuracy)
        self.top5 = top5
        return self

    def __getnewargs__(self) -> tuple[float, float, float]:  # type: ignore[override]
        return self.loss, self.accuracy, self.top5

    def __repr__(self) -> str:
        return f"Evaluation(loss={self.loss!r}, accuracy={self.accuracy!r}, top5={self.top5!r})"


def evaluate(network: Network, dataset: Dataset, batch_size: int = 256) -> Evaluation:
    """Loss, accuracy and top-5 accuracy of a network on a data set, in evaluation mode."""
    told = _structures.Evaluation()
    check(lib.graft_network_evaluate(
        _checks.instance(network, Network, "network"),
        _checks.instance(dataset, Dataset, "dataset")._handle,
        _checks.integer(batch_size, "batch_size"), byref(told)))
    return Evaluation(told.loss, told.accuracy, told.top5)
