"""What of a network is measured: its layers' filters, and its norms' scales."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _method
from .._errors import GraftError, InvalidArgumentError, ShapeMismatchError
from .._plan import Plan

#: The paper's thresholds on l1 norms.
LEVELS = (1.0, 0.1, 0.01, 0.001)
#: What the scale of a norm is called beside its running statistics.
_SCALES = ("weight", "gamma", "scale")
_STATISTICS = ("running_var", "moving_variance", "var")


@dataclass(frozen=True)
class Layer:
    """An array that decides its own share in a graft: a convolution's weight, for instance.

    Attributes
    ----------
    name : str
    shape : tuple of int
    filter_axis : int
        The dimension along which its filters lie.
    """

    name: str
    shape: tuple[int, ...]
    filter_axis: int = 0

    @property
    def filters(self) -> int:
        """How many filters it has."""
        return self.shape[self.filter_axis]

    @property
    def slices(self) -> int:
        """How many kernels: what leads from one input channel to one filter, 3 x 3 weights for
        instance. 0 for a matrix, which has none."""
        return self.shape[0] * self.shape[1] if len(self.shape) > 2 else 0


@dataclass(frozen=True)
class Structure:
    """The layers of a network in the order in which they run, and its norms' scales.

    Attributes
    ----------
    layers : tuple of Layer
    scales : tuple of (str, int)
        Names and lengths of the batch norms' scales.
    """

    layers: tuple[Layer, ...]
    scales: tuple[tuple[str, int], ...] = ()

    @property
    def filters(self) -> int:
        """How many filters all layers have."""
        return sum(layer.filters for layer in self.layers)

    @property
    def offsets(self) -> list[int]:
        """Where each layer's filters begin among all filters; one more, where the last ends."""
        return [0, *np.cumsum([layer.filters for layer in self.layers]).tolist()]

    @classmethod
    def of(cls, arrays: Mapping[str, Any], plan: Plan | None = None) -> Structure:
        """What a plan calls layers; one is made by the arrays' order where none is given."""
        if plan is None:
            plan = Plan(arrays)
        layers = tuple(
            Layer(entry.name, tuple(map(int, arrays[entry.name].shape)), entry.filter_axis)
            for entry in plan
            if entry.role == "layer" and entry.name in arrays and len(arrays[entry.name].shape) > 1
            and 0 not in arrays[entry.name].shape)
        if not layers:
            raise InvalidArgumentError(
                "the network has no layer to record: no array of two or more dimensions")
        return cls(layers, tuple(_scales(arrays)))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "layers": [
                {"name": one.name, "shape": list(one.shape), "filter_axis": one.filter_axis}
                for one in self.layers],
            "scales": [list(one) for one in self.scales]}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Structure:
        """The inverse of `to_dict`; raises KeyError, TypeError or ValueError for what is not."""
        layers = []
        for one in told["layers"]:
            shape, axis = tuple(map(_size, one["shape"])), _size(one["filter_axis"])
            if len(shape) < 2 or axis >= len(shape) or math.prod(shape) == 0:
                raise ValueError(f"layer {one['name']!r} of shape {shape}")
            layers.append(Layer(str(one["name"]), shape, axis))
        scales = tuple((str(name), _size(count)) for name, count in told["scales"])
        return cls(tuple(layers), scales)


def _size(number: Any) -> int:
    if type(number) is not int or not 0 <= number < 2**40:
        raise ValueError(f"{number!r} is no size")
    return number


def _scales(arrays: Mapping[str, Any]) -> Iterable[tuple[str, int]]:
    """Scales of norms that keep running statistics: a vector with those beside it."""
    for name, array in arrays.items():
        owner, dot, last = name.rpartition(".")
        if last in _SCALES and len(array.shape) == 1 and array.shape[0] and any(
                f"{owner}{dot}{other}" in arrays for other in _STATISTICS):
            yield name, int(array.shape[0])


@dataclass
class Weights:
    """What an epoch's end shows of K networks.

    Attributes
    ----------
    norms : numpy.ndarray
        l1 norm of every filter, networks x filters, float32.
    entropy : numpy.ndarray
        In nats, networks x layers.
    slices : numpy.ndarray
        How many kernels lie under each of `LEVELS`, networks x layers x levels.
    scales : numpy.ndarray
        How many batch-norm scales lie under each of them in absolute value, networks x norms x
        levels.
    scale_means : numpy.ndarray
        Mean absolute scale, networks x norms.
    """

    norms: np.ndarray
    entropy: np.ndarray
    slices: np.ndarray
    scales: np.ndarray
    scale_means: np.ndarray


def measure(networks: Sequence[Mapping[str, Any]], structure: Structure, bins: int) -> Weights:
    """Measure K networks of one structure.

    Raises
    ------
    ShapeMismatchError
        If a network is of another structure.
    NotFiniteError
        Where weights are NaN or infinite.
    """
    layers, norms = structure.layers, structure.scales
    count = len(networks)
    found = Weights(
        np.empty((count, structure.filters), np.float32), np.empty((count, len(layers))),
        np.zeros((count, len(layers), len(LEVELS)), np.int64),
        np.zeros((count, len(norms), len(LEVELS)), np.int64), np.empty((count, len(norms))))
    offsets = structure.offsets
    for k, arrays in enumerate(networks):
        for index, layer in enumerate(layers):
            array = _find(arrays, layer.name, layer.shape, k)
            try:
                found.norms[k, offsets[index]:offsets[index + 1]] = _method.filter_norms(
                    array, filter_axis=layer.filter_axis)
                found.entropy[k, index] = _method.entropy(array, bins)
                if layer.slices:
                    kernels = _method.filter_norms(array.reshape(layer.slices, -1))
                    found.slices[k, index] = [(kernels < level).sum() for level in LEVELS]
            except GraftError as error:
                raise type(error)(f"networks[{k}]: {layer.name}: {error}") from error
        for index, (name, length) in enumerate(norms):
            scale = np.abs(_floats(_find(arrays, name, (length,), k)))
            found.scales[k, index] = [(scale < level).sum() for level in LEVELS]
            found.scale_means[k, index] = scale.mean()
    return found


def _find(arrays: Mapping[str, Any], name: str, shape: tuple[int, ...], network: int) -> Any:
    if name not in arrays:
        raise ShapeMismatchError(f"networks[{network}] has no {name!r}, which was recorded before")
    array = arrays[name]
    if tuple(array.shape) != shape:
        raise ShapeMismatchError(
            f"networks[{network}]: {name} has shape {tuple(array.shape)}; recorded was {shape}")
    return array


def _floats(array: Any) -> np.ndarray:
    """A short vector as float64, whatever holds it."""
    if hasattr(array, "double"):  # torch's, in any precision
        array = array.double()
    return np.asarray(array, np.float64)
