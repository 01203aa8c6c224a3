"""Live while a run goes on: TensorBoard, and a table on the terminal."""

from __future__ import annotations

import os
import re
import sys
from typing import Any, TextIO

import numpy as np

from .._errors import UnsupportedError
from .._text import printable
from ._recording import Epoch, Recording


class TensorBoard:
    """Writes scalars and histograms for TensorBoard, as a recorder records them.

    Parameters
    ----------
    where
        A folder; or a writer with `add_scalar` and `add_histogram`, as PyTorch's and tensorboardX's
        `SummaryWriter` have.
    threshold
        A filter whose l1 norm is under this counts as invalid.

    Examples
    --------
    >>> recorder = graft.Recorder("run.npz", live=graft.TensorBoard("runs/1"))
    """

    def __init__(self, where: Any, threshold: float = 0.1) -> None:
        self._threshold = float(threshold)
        self.writer = _writer(where) if isinstance(where, (str, os.PathLike)) else where

    def __call__(self, recording: Recording, row: Epoch, new: frozenset[str]) -> None:
        for k, name in enumerate(recording.networks):
            for metric in sorted(new & set(row.metrics)):
                value = row.metrics[metric][k]
                if not np.isnan(value):
                    self._scalar(f"{metric}/{name}", value, row)
            if "graft" in new and row.graft:
                self._grafts(recording, row, k, name)
            if "weights" in new and row.weights is not None:
                self._filters(row, k, name)
        flush = getattr(self.writer, "flush", None)
        if flush is not None:
            flush()

    def _scalar(self, tag: str, value: float, row: Epoch) -> None:
        self.writer.add_scalar(_tag(tag), float(value), row.epoch)

    def _grafts(self, recording: Recording, row: Epoch, k: int, name: str) -> None:
        alphas = row.graft["alpha"][:, k]
        for layer, alpha in zip(recording.structure.layers if recording.structure else (), alphas):
            if not np.isnan(alpha):
                self._scalar(f"alpha/{name}/{layer.name}", alpha, row)

    def _filters(self, row: Epoch, k: int, name: str) -> None:
        assert row.weights is not None
        norms = row.weights.norms[k]
        self._scalar(f"invalid_filters/{name}", int((norms < self._threshold).sum()), row)
        self._scalar(f"entropy/{name}", float(row.weights.entropy[k].sum()), row)
        # A logarithm, or the few filters near zero would all be in one bin.
        self.writer.add_histogram(
            _tag(f"log10_l1_norms/{name}"), np.log10(np.maximum(norms, 1e-9)), row.epoch)

    def close(self) -> None:
        """Close the writer."""
        self.writer.close()


def _tag(name: str) -> str:
    """A name that every writer takes as it is."""
    return re.sub(r"[^\w./-]", "_", name)


def _writer(folder: str | os.PathLike[str]) -> Any:
    if "torch" in sys.modules:  # else tensorboardX: importing torch takes seconds
        try:
            from torch.utils.tensorboard import SummaryWriter

            return SummaryWriter(os.fspath(folder))
        except ImportError:
            pass
    try:
        from tensorboardX import SummaryWriter as Writer
    except ImportError:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise UnsupportedError(
                "TensorBoard needs tensorboardX, or PyTorch and tensorboard: "
                "pip install 'filtergraft[tensorboard]'") from None
        return SummaryWriter(os.fspath(folder))
    return Writer(os.fspath(folder))


class EpochTable:
    """Prints a line for every network and epoch as a run goes on.

    Parameters
    ----------
    file
        Where to; standard output by default.
    threshold
        A filter whose l1 norm is under this counts as invalid.
    """

    _HEAD = ("epoch  network          loss     acc  test loss     acc  alpha  entropy  invalid")

    def __init__(self, file: TextIO | None = None, threshold: float = 0.1) -> None:
        self._file = file
        self._threshold = float(threshold)
        self._begun = False

    def __call__(self, recording: Recording, row: Epoch, new: frozenset[str]) -> None:
        if "weights" not in new or row.weights is None:
            return
        file = sys.stdout if self._file is None else self._file
        if not self._begun:
            print(self._HEAD, file=file)
            self._begun = True
        for k, name in enumerate(recording.networks):
            figures = [
                _figure(row, metric, k, form) for metric, form in (
                    ("train_loss", "9.4f"), ("train_accuracy", "6.2%"), ("test_loss", "9.4f"),
                    ("test_accuracy", "6.2%"))]
            alphas = row.graft["alpha"][:, k] if row.graft else np.array([np.nan])
            alpha = "-" if np.isnan(alphas).all() else f"{np.nanmean(alphas):.3f}"
            invalid = int((row.weights.norms[k] < self._threshold).sum())
            print(
                f"{row.epoch:5d}  {printable(name)[:11]:11} {figures[0]} {figures[1]:>7}  {figures[2]} "
                f"{figures[3]:>7}  {alpha:>5}  {row.weights.entropy[k].sum():7.3f}  {invalid:7d}",
                file=file, flush=True)


def _figure(row: Epoch, metric: str, k: int, form: str) -> str:
    value = row.metrics[metric][k] if metric in row.metrics else np.nan
    return "-".rjust(int(form.split(".")[0])) if np.isnan(value) else format(value, form)
