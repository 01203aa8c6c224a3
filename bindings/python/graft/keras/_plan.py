"""The plan of a Keras model."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _plan
from .._arrange import arrange
from .._errors import InvalidArgumentError
from ._flow import Flow, Value
from ._weights import is_float, named


class Plan(_plan.Plan):
    """Which weights of a model are layers, and which follow them; see `graft.Plan`.

    Attributes
    ----------
    method : str
        "graph" for a functional or sequential model; "order" where layers were taken in the order
        in which a subclassed model holds them.
    kinds : dict of str to str
        How the filters of each kernel lie in Keras's memory: "last", "transposed" (last but one),
        "depthwise" (the last two dimensions are one), "first".
    """

    def __init__(self, model: Any) -> None:
        self.model_name = str(model.name)
        flow = Flow()
        flow.run(model, [Value()])
        self.method = flow.method
        weights = named(model)
        names = {id(variable): name for name, variable in weights.items()}
        self.kinds = {names[one]: kind for one, kind in flow.kinds.items() if one in names}
        super().__init__({
            name: np.zeros(
                self.shape(name, variable), np.float32 if is_float(variable) else np.int64)
            for name, variable in weights.items()})
        feeders: dict[str, str | None] = {}
        for name, variable in weights.items():
            if is_float(variable):
                feeder = flow.feeders.get(id(variable))
                feeders[name] = names.get(feeder) if feeder is not None else None
        arrange(self, feeders)

    def shape(self, name: str, variable: Any) -> tuple[int, ...]:
        """A shape of as many dimensions as the library knows a weight by."""
        return (1,) * (len(variable.shape) - (self.kinds.get(name) == "depthwise"))


def plan(model: Any) -> Plan:
    """Read a plan off a model, which must be built.

    A kernel is a layer; that of a dense layer which reads a convolution's features (through
    pooling, flattening, norms, activations) follows the convolution; all else follows the layer
    that feeds it: after a sum or concatenation, the one that ran last.
    """
    if not getattr(model, "built", False) or not model.variables:
        raise InvalidArgumentError(
            f"{getattr(model, 'name', model)!r} has no weights yet; build the model first")
    return Plan(model)
