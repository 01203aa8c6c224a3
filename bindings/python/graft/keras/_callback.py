"""`GraftingCallback` for Keras's `fit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from .. import _method
from .._report import Report
from ._graft import graft
from ._plan import Plan, plan as make_plan


class GraftingCallback(keras.callbacks.Callback):
    """Grafts K networks at the end of the epochs of one `fit`.

    `fit` trains one model: make one that runs the K networks side by side, each with its loss. (To
    train them apart, on data orders of their own, call `fit` for an epoch on each, then
    `graft.keras.graft`.)

    Parameters
    ----------
    networks
        The K networks, inside the model that is fitted.
    plan
        From `graft.keras.plan` of the first; None makes one when training begins.
    start, every, stop
        When: the first epoch, counted from 1, every how many, and the last.
    options
        As for `graft.graft`.

    Attributes
    ----------
    report : Report or None
        What the last graft did. Its means over the layers go into `fit`'s logs:
        "graft_alpha_K" and "graft_entropy_K" for each network K.
    """

    def __init__(
        self, networks: Sequence[Any], plan: Plan | None = None, *, start: int = 1, every: int = 1,
        stop: int | None = None, **options: Any
    ) -> None:
        super().__init__()
        _method.is_due(1, start, every, stop)
        self.networks = list(networks)
        self.plan = plan
        self.report: Report | None = None
        self._period = (start, every, stop)
        self._grafts = 0
        self._options = options

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self.plan is None:
            self.plan = make_plan(self.networks[0])
        # What does not fit is refused now, not after an epoch.
        graft(self.networks, self.plan, **{**self._options, "dry_run": True})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not _method.is_due(epoch + 1, *self._period):
            return
        if hasattr(self.model, "jax_state_sync"):  # that backend keeps weights elsewhere meanwhile
            self.model.jax_state_sync()
        self.report = graft(self.networks, self.plan, **{"step": self._grafts, **self._options})
        self._grafts += 1
        if logs is not None and len(self.report):
            for k in range(self.report.network_count):
                rows = [layer.networks[k] for layer in self.report]
                logs[f"graft_alpha_{k}"] = sum(row.alpha for row in rows) / len(rows)
                logs[f"graft_entropy_{k}"] = sum(row.entropy_after for row in rows) / len(rows)
