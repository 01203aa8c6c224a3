"""`GraftingCallback` for a Lightning trainer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from .._errors import InvalidArgumentError, UnsupportedError
from .._report import Report
from ..torch import Grafter


def _base() -> Any:
    """The callback class of the distribution in use: each refuses the other's."""
    if "lightning" not in sys.modules and "pytorch_lightning" in sys.modules:
        import pytorch_lightning

        return pytorch_lightning.Callback
    try:
        import lightning.pytorch
    except ImportError:
        import pytorch_lightning

        return pytorch_lightning.Callback
    return lightning.pytorch.Callback


Networks = str | Callable[[Any], Sequence[nn.Module]]


class GraftingCallback(_base()):  # type: ignore[misc]
    """Grafts K networks at the end of the training epochs of one trainer.

    A trainer trains one LightningModule: have it hold the K networks, each trained in
    `training_step` (by one optimiser over all, or with manual optimisation).

    Parameters
    ----------
    networks
        The attribute of the LightningModule that holds them (a `ModuleList`), or a function that
        is given the LightningModule and returns them.
    options
        As for `graft.torch.Grafter`: `source`, `weighting`, `a`, `c`, `start`, `every`, `stop`,
        `exclude`, `plan`, `example_inputs`, ...

    Attributes
    ----------
    grafter : graft.torch.Grafter or None
        Made when training begins; how far it has counted goes into the trainer's checkpoints.
    report : Report or None
        What the last graft did. Its means over the layers are logged as "graft/alpha_K" and
        "graft/entropy_K" for each network K.
    """

    def __init__(self, networks: Networks = "networks", **options: Any) -> None:
        super().__init__()
        self.networks = networks
        self.grafter: Grafter | None = None
        self.report: Report | None = None
        self._options = options
        self._state: dict[str, int] | None = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.world_size > 1:
            # Every replica would graft alike, but sharded strategies hold parts of the weights.
            name = type(trainer.strategy).__name__
            if "DDP" not in name:
                raise UnsupportedError(
                    f"the trainer's strategy is {name}; with several processes DDP is supported")
        self.grafter = Grafter(self._find(pl_module), **self._options)
        if self._state is not None:
            self.grafter.load_state_dict(self._state)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self.grafter is None:
            raise InvalidArgumentError("on_train_epoch_end came before on_fit_start")
        report = self.grafter.step()
        self._state = self.grafter.state_dict()
        if report is None:
            return
        self.report = report
        if len(report):
            for k in range(report.network_count):
                rows = [layer.networks[k] for layer in report]
                pl_module.log_dict({
                    f"graft/alpha_{k}": sum(row.alpha for row in rows) / len(rows),
                    f"graft/entropy_{k}": sum(row.entropy_after for row in rows) / len(rows)})

    def state_dict(self) -> dict[str, Any]:
        return {} if self._state is None else dict(self._state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._state = dict(state_dict) or None

    def _find(self, module: Any) -> list[nn.Module]:
        if callable(self.networks):
            return list(self.networks(module))
        found = getattr(module, self.networks, None)
        if not isinstance(found, (nn.ModuleList, list, tuple)):
            raise InvalidArgumentError(
                f"networks is {self.networks!r}: {type(module).__name__} has "
                + ("no such attribute" if found is None
                   else f"{type(found).__name__!r} there, and a ModuleList is needed"))
        return list(found)
