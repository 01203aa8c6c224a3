"""Walks a model's graph: which layer feeds which weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from ._weights import is_convolution, is_float, kernels, kind_of, variables


@dataclass(frozen=True)
class Value:
    """What is known of a tensor in the graph.

    Attributes
    ----------
    feeder
        The kernel run last before it (its variable's id).
    features
        Whether it is a convolution's features, so far in the convolution's own order.
    """

    feeder: int | None = None
    features: bool = False


class Flow:
    """What a walk over a model tells.

    Attributes
    ----------
    feeders : dict of int to int or None
        For each variable's id its kernel's; its own for a kernel.
    kinds : dict of int to str
        How each kernel's filters lie.
    method : str
        "graph", or "order" where a model without a graph was walked in its layers' order.
    """

    def __init__(self) -> None:
        self.feeders: dict[int, int | None] = {}
        self.kinds: dict[int, str] = {}
        self.method = "graph"
        self._turn: dict[int, int] = {}

    def run(self, layer: Any, given: Sequence[Value]) -> list[Value]:
        """Walk a layer or model; returns what is known of its outputs."""
        if isinstance(layer, keras.Sequential):
            result = self._last(given)
            for one in layer.layers:
                result = self.run(one, [result])[0]
            return [result]
        if isinstance(layer, keras.Model) and getattr(layer, "operations", None):
            return self._graph(layer, given)
        inside = getattr(layer, "_layers", ())
        if len(inside) > 1 and not type(layer).__module__.startswith("keras."):
            self.method = "order"
        result = self._layer(layer, self._last(given))
        for one in inside:
            result = self.run(one, [result])[0]
        return [result]

    def _graph(self, model: Any, given: Sequence[Value]) -> list[Value]:
        known = {id(tensor): value for tensor, value in zip(
            keras.tree.flatten(model.inputs), [*given] + [Value()] * len(model.inputs))}
        for operation in model.operations:
            for node in operation._inbound_nodes:
                tensors = [id(tensor) for tensor in node.input_tensors]
                if not tensors or any(tensor not in known for tensor in tensors):
                    continue  # an input, or a use of a shared layer elsewhere
                results = self.run(operation, [known[tensor] for tensor in tensors])
                for k, tensor in enumerate(node.output_tensors):
                    known[id(tensor)] = results[min(k, len(results) - 1)]
        return [known.get(id(tensor), Value()) for tensor in keras.tree.flatten(model.outputs)]

    def _layer(self, layer: Any, given: Value) -> Value:
        """Place a layer's own weights."""
        own = list(variables(layer))
        leading = kernels(layer)
        feeder, features = given.feeder, given.features and not isinstance(layer, layers.Permute)
        if leading:
            follows = isinstance(layer, layers.Dense) and features and feeder is not None
            for kernel in leading:
                self.kinds[id(kernel)] = kind_of(layer, kernel)
                if id(kernel) not in self.feeders:
                    self.feeders[id(kernel)] = feeder if follows else id(kernel)
                feeder = self.feeders[id(kernel)]
                if feeder is not None and feeder == id(kernel):
                    self._turn[feeder] = len(self._turn)
            features = is_convolution(layer)
        for variable in own:
            if is_float(variable):
                self.feeders.setdefault(id(variable), feeder)
        return Value(feeder, features)

    def _last(self, given: Sequence[Value]) -> Value:
        known = [one for one in given if one.feeder is not None]
        if not known:
            return Value()
        latest = max(known, key=lambda one: self._turn[one.feeder or 0])
        return Value(latest.feeder, any(one.features for one in known))
