"""Follows a network's arrays through its trace: which layer feeds which of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_PRODUCTS = ("conv_general_dilated", "dot_general", "gather")


@dataclass(frozen=True)
class Value:
    """What is known of a value in the trace.

    Attributes
    ----------
    leaves
        The network's arrays that it is made of, where it is made of nothing else.
    active
        Whether it depends on the input.
    feeder
        The layer run last before it.
    features
        Whether it is a convolution's features, so far in the convolution's own order.
    """

    leaves: frozenset[str] = frozenset()
    active: bool = False
    feeder: str | None = None
    features: bool = False


class Flow:
    """What a trace tells.

    Attributes
    ----------
    feeders : dict of str to str
        The layer of each array; its own name for a layer.
    axes : dict of str to int
        The dimension of each layer along which its filters lie, where the trace tells it.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes
        self._turn: dict[str, int] = {}
        self.feeders: dict[str, str] = {}
        self.axes: dict[str, int] = {}

    def run(self, jaxpr: Any, names: Sequence[str]) -> None:
        """Follow a whole trace, whose first inputs are the arrays of these names."""
        known = [Value(leaves=frozenset([name])) for name in names]
        self._walk(jaxpr, known + [Value(active=True)] * (len(jaxpr.invars) - len(names)))

    def _walk(self, jaxpr: Any, inputs: Sequence[Value]) -> list[Value]:
        values: dict[Any, Value] = dict(zip(jaxpr.invars, inputs))

        def value(atom: Any) -> Value:
            return Value() if hasattr(atom, "val") else values.get(atom, Value())

        for equation in jaxpr.eqns:
            given = [value(atom) for atom in equation.invars]
            inner = _inner(equation)
            if inner is not None:
                results = self._walk(inner, given[len(given) - len(inner.invars):])
            else:
                results = [self._step(equation, given)] * len(equation.outvars)
            values.update(zip(equation.outvars, results))
        return [value(atom) for atom in jaxpr.outvars]

    def _step(self, equation: Any, given: Sequence[Value]) -> Value:
        """The result of one operation; places the arrays that it brings to the input's path."""
        name = equation.primitive.name
        active = [one for one in given if one.active]
        if not active:
            return Value(leaves=frozenset().union(*(one.leaves for one in given)))
        feeder = self._last(one.feeder for one in active)
        features = any(one.features for one in active) and name != "transpose"
        if name in _PRODUCTS:
            operand = next((k for k, one in enumerate(given) if one.leaves), None)
            if operand is not None:
                return self._product(equation, name, operand, given[operand].leaves, feeder,
                                     features)
            features = features and name == "gather"
        for one in given:
            self._follow(one.leaves, feeder)
        return Value(active=True, feeder=feeder, features=features)

    def _product(
        self, equation: Any, kind: str, operand: int, leaves: frozenset[str], feeder: str | None,
        features: bool
    ) -> Value:
        """An array meets the input in a convolution, a product, or as a table."""
        kernel = max(sorted(leaves), key=lambda leaf: len(self._shapes[leaf]))
        if len(self._shapes[kernel]) < 2:  # a scale in the guise of a product
            self._follow(leaves, feeder)
            return Value(active=True, feeder=feeder)
        leader = kernel
        if kind == "dot_general" and features and feeder is not None:
            leader = feeder
        if kernel not in self.feeders:
            self.feeders[kernel] = leader
            shape = tuple(equation.invars[operand].aval.shape)
            axis = _filter_axis(equation, kind, operand)
            if shape == tuple(self._shapes[kernel]) and axis is not None:
                self.axes[kernel] = axis
        leader = self.feeders[kernel]
        self._turn[leader] = len(self._turn) if leader == kernel else self._turn[leader]
        self._follow(leaves, leader)
        return Value(active=True, feeder=leader, features=kind == "conv_general_dilated")

    def _follow(self, leaves: frozenset[str], feeder: str | None) -> None:
        for leaf in leaves:
            if feeder is not None:
                self.feeders.setdefault(leaf, feeder)

    def _last(self, feeders: Any) -> str | None:
        known = [one for one in feeders if one is not None]
        return max(known, key=lambda one: self._turn[one]) if known else None


def _inner(equation: Any) -> Any:
    """The trace inside an operation that calls one (jit, remat, custom gradients, scan, cond)."""
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr", "branches"):
        found = equation.params.get(key)
        if isinstance(found, (tuple, list)) and found:
            found = found[0]
        found = getattr(found, "jaxpr", found)
        if hasattr(found, "eqns") and len(found.invars) <= len(equation.invars) \
                and len(found.outvars) == len(equation.outvars):
            return found
    return None


def _filter_axis(equation: Any, kind: str, operand: int) -> int | None:
    """The dimension of a product's kernel that becomes the output's features."""
    if kind == "conv_general_dilated":
        return int(equation.params["dimension_numbers"].rhs_spec[0]) if operand == 1 else None
    if kind == "gather":
        return 0
    contracted, batched = equation.params["dimension_numbers"]
    rank = len(equation.invars[operand].aval.shape)
    free = [axis for axis in range(rank)
            if axis not in contracted[operand] and axis not in batched[operand]]
    return free[-1] if free else None
