"""What becomes of an optimiser's momentum when its weights are grafted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .._errors import InvalidArgumentError, InvalidStateError
from .._report import Report
from ._operator._blend import mix
from ._module._inventory import Item
from ._operator._graft import Settings, Task, rows_of

CHOICES = ("keep", "reset", "graft")


class Momentum:
    """The state that optimisers keep beside the weights: momentum, squared gradients.

    Parameters
    ----------
    optimizers
        The optimisers of all networks, in any order.
    treatment
        "keep" leaves it as it is, "reset" drops it, "graft" blends it as its weight.
    """

    def __init__(self, optimizers: Any, treatment: str) -> None:
        if treatment not in CHOICES:
            raise InvalidArgumentError(
                f"momentum is {treatment!r}; allowed are {', '.join(map(repr, CHOICES))}")
        given = [optimizers] if isinstance(optimizers, Optimizer) else list(optimizers or [])
        for one in given:
            if not isinstance(one, Optimizer):
                raise InvalidArgumentError(
                    f"optimizers holds {type(one).__name__!r}: it must hold torch optimisers")
        if treatment != "keep" and not given:
            raise InvalidArgumentError(f"momentum is {treatment!r}, and there are no optimizers")
        self.treatment = treatment
        self.optimizers = given

    def _state(self, parameter: Tensor) -> dict[str, Any]:
        for optimizer in self.optimizers:
            if parameter in optimizer.state:
                return optimizer.state[parameter]
        return {}

    def check(self, tasks: Sequence[Task], networks: Sequence[Sequence[Item]]) -> None:
        """Raises where the state cannot be grafted alike; before anything changes."""
        if self.treatment == "graft":
            for task in tasks:
                self._buffers(task, networks)

    def _buffers(
        self, task: Task, networks: Sequence[Sequence[Item]]
    ) -> dict[str, list[Tensor]]:
        """A weight's state tensors of its own shape, in every network."""
        index = task.entry.index
        found = []
        for items in networks:
            weight = items[index].tensor
            found.append({
                name: value for name, value in self._state(weight).items()
                if isinstance(value, Tensor) and value.shape == weight.shape
                and value.is_floating_point() and name != "step"})
        for k, buffers in enumerate(found):
            if {name: value.dtype for name, value in buffers.items()} != \
                    {name: value.dtype for name, value in found[0].items()}:
                raise InvalidStateError(
                    f"models[{k}]: the optimiser's state of {task.entry.name} is not like that in "
                    "models[0], so it cannot be grafted")
        return {name: [buffers[name] for buffers in found] for name in found[0]}

    def apply(
        self, tasks: Sequence[Task], networks: Sequence[Sequence[Item]], report: Report,
        settings: Settings, step: int,
    ) -> None:
        """Treats the state of what has been grafted."""
        if self.treatment == "reset":
            for task in tasks:
                for items in networks:
                    for optimizer in self.optimizers:
                        optimizer.state.pop(items[task.entry.index].tensor, None)
        elif self.treatment == "graft":
            count = len(networks)
            alphas = {
                layer.tensor: [network.alpha for network in layer.networks] for layer in report}
            with torch.no_grad():
                for task in tasks:
                    rows = rows_of(task, alphas, settings, count, step)
                    for tensors in self._buffers(task, networks).values():
                        mix(tensors, rows, [tensors[row.receiver] for row in rows])
