"""What a network of the engine is made of, operation by operation."""

from __future__ import annotations

from ctypes import byref
from dataclasses import dataclass, field
from typing import Any

from . import _structures as s
from ._errors import check
from ._library import lib

__all__ = ["Operation"]

_PAIRS = ("kernel", "stride", "padding", "dilation")
# Which attributes an operation of each kind has.
_ATTRIBUTES: dict[s.OperationKind, tuple[str, ...]] = {
    s.OperationKind.CONVOLUTION: (*_PAIRS, "groups"),
    s.OperationKind.BATCH_NORM: ("epsilon", "momentum"),
    s.OperationKind.RELU: ("negative_slope", "ceiling"),
    s.OperationKind.SHORTCUT: ("stride", "first_channel"),
    s.OperationKind.POOL: ("pooling", "kernel", "stride", "padding"),
    s.OperationKind.DROPOUT: ("probability",),
}


@dataclass(frozen=True)
class Operation:
    """An operation of a network, and the value that it puts out.

    Attributes
    ----------
    index : int
        Its number, and that of its value.
    kind : str
        "input", "convolution", "batch_norm", "relu", "sum", "shortcut", "pool", "global_pool",
        "linear", "concatenation" or "dropout".
    name : str
        The layer's name, or the value's label; "" for none.
    inputs : tuple of int
        The numbers of the values that it reads.
    shape : tuple of int
        Channels, height and width of its value, for one image.
    tensors : tuple of str
        Names of the tensors that it owns: weight and bias where there is one, or a batch norm's
        weight, bias, running_mean, running_var and num_batches_tracked.
    attributes : dict
        Convolution: kernel, stride, padding, dilation (each height and width), groups. Batch norm:
        epsilon, momentum. Rectifier: negative_slope, ceiling (infinity for none). Shortcut: stride,
        first_channel (how many zero channels come before the input's). Pool: pooling ("max" or
        "average"), kernel, stride, padding. Dropout: probability.
    """

    index: int
    kind: str
    name: str
    inputs: tuple[int, ...]
    shape: tuple[int, int, int]
    tensors: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)


def operations(network: Any, names: list[str]) -> list[Operation]:
    """The operations of a network whose tensors have these names."""
    found = []
    told = s.Operation()
    for index in range(lib.graft_network_operation_count(network)):
        check(lib.graft_network_operation(network, index, byref(told)))
        kind = s.OperationKind(told.kind)
        attributes: dict[str, Any] = {}
        for attribute in _ATTRIBUTES.get(kind, ()):
            if attribute in _PAIRS:
                attributes[attribute] = (
                    getattr(told, f"{attribute}_height"), getattr(told, f"{attribute}_width"))
            elif attribute == "pooling":
                attributes[attribute] = s.Pooling(told.pooling).name.lower()
            else:
                attributes[attribute] = getattr(told, attribute)
        found.append(Operation(
            index, kind.name.lower(), told.name.decode("utf-8"),
            tuple(told.inputs[:told.input_count]), (told.channels, told.height, told.width),
            tuple(names[told.first_tensor:told.first_tensor + told.tensor_count]), attributes))
    return found
