"""A model's weights by name, and how they lie in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import layers

_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_CONVOLUTIONS = _TRANSPOSED + (
    layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv1D, layers.DepthwiseConv2D,
    layers.SeparableConv1D, layers.SeparableConv2D)
# What Keras's own layers call the weights that carry information, in the order that they are used.
_KERNELS = ("depthwise_kernel", "pointwise_kernel", "kernel", "recurrent_kernel", "embeddings")


def is_convolution(layer: Any) -> bool:
    return isinstance(layer, _CONVOLUTIONS)


def named(model: Any) -> dict[str, Any]:
    """All variables by their paths; numbered where two would be of one name."""
    result: dict[str, Any] = {}
    for variable in model.variables:
        name, count = variable.path, 1
        while name in result:
            count += 1
            name = f"{variable.path}#{count}"
        result[name] = variable
    return result


def is_float(variable: Any) -> bool:
    return str(variable.dtype) in ("float16", "bfloat16", "float32", "float64")


def kernels(layer: Any) -> list[Any]:
    """The variables of a layer, without its inner layers', that carry information."""
    own = list(variables(layer))
    known = [getattr(layer, name, None) for name in _KERNELS]
    found = [one for one in known if any(one is variable for variable in own)]
    return found or [one for one in own if len(one.shape) > 1 and is_float(one)]


def variables(layer: Any) -> Iterator[Any]:
    """A layer's own variables."""
    yield from getattr(layer, "_trainable_variables", ())
    yield from getattr(layer, "_non_trainable_variables", ())


def filters_first(array: np.ndarray, kind: str) -> np.ndarray:
    """A view of a kernel with its filters along the first dimension.

    Parameters
    ----------
    kind
        "last": they lie along the last (convolutions, dense layers); "transposed": the last but
        one; "depthwise": the last two are one, channel and multiplier; "first".
    """
    if kind == "depthwise":
        array = array.reshape(*array.shape[:-2], array.shape[-2] * array.shape[-1])
    if kind == "first" or array.ndim < 2:
        return array
    return np.moveaxis(array, -2 if kind == "transposed" else -1, 0)


def kind_of(layer: Any, variable: Any) -> str:
    """How a kernel's filters lie; see `filters_first`."""
    if variable is getattr(layer, "depthwise_kernel", None) or isinstance(
            layer, (layers.DepthwiseConv1D, layers.DepthwiseConv2D)):
        return "depthwise"
    if isinstance(layer, _TRANSPOSED):
        return "transposed"
    return "first" if isinstance(layer, layers.Embedding) else "last"
