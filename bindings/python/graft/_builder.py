"""How a network is built: what adds a layer, and the values that layers put out."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import byref, c_int32
from typing import Any

from . import _checks
from ._errors import InvalidArgumentError, check
from ._library import defaults, lib
from ._structures import ConvolutionOptions, Pooling

__all__ = ["Builder", "Value"]


class Value:
    """What a layer puts out, or the network's input."""

    def __init__(self, network: Builder, index: int) -> None:
        self._network = network
        self._index = index

    @property
    def index(self) -> int:
        """Its number: that of the operation which puts it out."""
        return self._index

    def __repr__(self) -> str:
        return f"<value {self._index} of a network>"


class Builder:
    """A network under construction: each layer takes earlier values and returns a new one."""

    @property
    def input(self) -> Value:
        """The images."""
        return Value(self, 0)

    def convolution(
        self, name: str, input: Value, filters: int, kernel: int | tuple[int, int] = 3, *,
        stride: int | tuple[int, int] = 1, padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1, groups: int = 1, bias: bool = False,
    ) -> Value:
        """Add a convolution, whose weight is filters x channels / groups x height x width.

        Pairs are (height, width); a single number stands for both.
        """
        options = defaults(ConvolutionOptions, "graft_convolution_options_init")
        options.filters = _checks.integer(filters, "filters")
        options.groups, options.bias = _checks.integer(groups, "groups"), bool(bias)
        pairs = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        for field, pair in pairs.items():
            height, width = _checks.pair(pair, field)
            setattr(options, f"{field}_height", height)
            setattr(options, f"{field}_width", width)
        return self._layer(
            "convolution", _checks.text(name, "name"), self._index(input), byref(options))

    def batch_norm(
        self, name: str, input: Value, epsilon: float = 1e-5, momentum: float = 0.1
    ) -> Value:
        """Add a batch norm over the channels."""
        return self._layer(
            "batch_norm", _checks.text(name, "name"), self._index(input),
            _checks.number(epsilon, "epsilon"), _checks.number(momentum, "momentum"))

    def relu(self, input: Value, negative_slope: float = 0.0) -> Value:
        """Add a ReLU; a leaky one where `negative_slope` is not 0."""
        return self._layer(
            "relu", self._index(input), _checks.number(negative_slope, "negative_slope"))

    def clipped_relu(self, input: Value, ceiling: float = 6.0) -> Value:
        """Add min(max(x, 0), ceiling); by default PyTorch's ReLU6."""
        return self._layer(
            "clipped_relu", self._index(input), _checks.number(ceiling, "ceiling"))

    def sum(self, a: Value, b: Value) -> Value:
        """Add the sum of two values of one shape: a residual connection."""
        return self._layer("sum", self._index(a), self._index(b))

    def concatenation(self, inputs: Sequence[Value]) -> Value:
        """Join values of one height and width along their channels, in the order given."""
        indices = [self._index(value) for value in inputs]
        return self._layer("concatenation", (c_int32 * len(indices))(*indices), len(indices))

    def dropout(self, input: Value, probability: float = 0.5) -> Value:
        """Add dropout: in training every number becomes 0 with this probability.

        The others are divided by 1 - `probability`; in evaluation nothing happens. What is dropped
        follows from a seed and a step: `set_dropout`.
        """
        return self._layer(
            "dropout", self._index(input), _checks.number(probability, "probability"))

    def shortcut(self, input: Value, stride: int, channels: int) -> Value:
        """Add the parameterless shortcut (option A): strided, padded with zero channels."""
        return self._layer(
            "shortcut", self._index(input), _checks.integer(stride, "stride"),
            _checks.integer(channels, "channels"))

    def max_pool(
        self, input: Value, kernel: int, stride: int | None = None, padding: int = 0
    ) -> Value:
        """Add maximum pooling over kernel x kernel windows; `stride` is `kernel` by default."""
        return self._pool(input, Pooling.MAX, kernel, stride, padding)

    def average_pool(
        self, input: Value, kernel: int, stride: int | None = None, padding: int = 0
    ) -> Value:
        """Add average pooling; padding counts as zeros."""
        return self._pool(input, Pooling.AVERAGE, kernel, stride, padding)

    def _pool(
        self, input: Value, pooling: Pooling, kernel: int, stride: int | None, padding: int
    ) -> Value:
        sizes = {"kernel": kernel, "stride": kernel if stride is None else stride}
        sizes["padding"] = padding
        return self._layer(
            "pool", self._index(input), pooling,
            *(_checks.integer(size, name) for name, size in sizes.items()))

    def global_pool(self, input: Value) -> Value:
        """Add the mean over height and width."""
        return self._layer("global_pool", self._index(input))

    def linear(self, name: str, input: Value, features: int, bias: bool = True) -> Value:
        """Add a linear layer over all of its input, flattened as PyTorch does."""
        return self._layer(
            "linear", _checks.text(name, "name"), self._index(input),
            _checks.integer(features, "features"), bool(bias))

    def _layer(self, kind: str, *arguments: Any) -> Value:
        output = c_int32()
        check(getattr(lib, f"graft_network_{kind}")(self, *arguments, byref(output)))
        return Value(self, output.value)

    def _index(self, value: Value) -> int:
        if not isinstance(value, Value):
            raise InvalidArgumentError(
                f"{value!r} is not a value of a network: give what a layer returned, or .input")
        if value._network is not self:
            raise InvalidArgumentError("the value belongs to another network")
        return value._index
