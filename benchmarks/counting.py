"""How many operations and bytes a network's layers take, from its own description."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Counted:
    """A layer, for one image: multiplications and additions, and floats.

    Convolutions and linear layers count as they are defined, however they are computed.
    """

    index: int
    name: str
    kind: str
    forward: float  #: operations
    backward: float  #: without the input gradient where the layer reads the images
    inputs: float  #: numbers read
    outputs: float  #: numbers written
    weights: float  #: parameters
    reads_images: bool


def counted(network: Any) -> list[Counted]:
    """Every operation of a graft.Network but its input, in order."""
    operations, state = network.operations(), network.state_dict()
    result = []
    for operation in operations[1:]:
        outputs = math.prod(operation.shape)
        sources = [operations[index] for index in operation.inputs]
        inputs = sum(math.prod(source.shape) for source in sources)
        tensors = [state[name] for name in operation.tensors]
        weights = sum(tensor.size for tensor in tensors if tensor.dtype.kind == "f")
        multiplied = 0.0
        if operation.kind == "convolution":
            kernel, groups = operation.attributes["kernel"], operation.attributes["groups"]
            multiplied = 2 * outputs * math.prod(kernel) * sources[0].shape[0] / groups
        elif operation.kind == "linear":
            multiplied = 2 * outputs * inputs
        images = all(source.kind == "input" for source in sources)
        result.append(Counted(
            operation.index, operation.name, operation.kind, multiplied,
            multiplied * (1 if images else 2), inputs, outputs, weights, images))
    return result
