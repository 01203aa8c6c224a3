"""Writes a network of the engine down as an ONNX model, with the well-kept `onnx` package.

Every operation becomes the ONNX operator of the same meaning, in evaluation; weights keep the names
of the state dict. Values have PyTorch's shapes: N x C x H x W, and N x features behind a linear
layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ._errors import InternalError, UnsupportedError
from ._operations import Operation
from ._version import __version__

#: Operators of 2021, which every runtime in use reads.
OPSET, IR_VERSION = 17, 8
#: A protocol buffer holds no more.
SIZE_LIMIT = 2**31 - 2**20


def model(
    operations: Sequence[Operation], weights: dict[str, np.ndarray], output: int,
    fold_batch_norm: bool,
) -> Any:
    """The `onnx.ModelProto` of a network.

    Parameters
    ----------
    operations
        All of them, in order.
    weights
        The state dict.
    output
        The value to put out.
    fold_batch_norm
        Whether a batch norm that alone reads a convolution or linear layer becomes part of it.
    """
    onnx = _package()
    if sum(array.nbytes for array in weights.values()) > SIZE_LIMIT:
        raise UnsupportedError("the weights exceed 2 GiB, which an ONNX file cannot hold")
    writer = _Writer(onnx.helper, operations, weights, output)
    if fold_batch_norm:
        writer.fold()
    made = writer.model()
    onnx.checker.check_model(made, full_check=True)
    return made


def _package() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise UnsupportedError(
            "to_onnx needs the onnx package: pip install 'filtergraft[onnx]'") from error
    return onnx


def _without_dropout(
    operations: Sequence[Operation], output: int
) -> tuple[list[Operation], int]:
    """The operations that do something in evaluation, and what then is the output."""
    same: dict[int, int] = {}
    kept = []
    for operation in operations:
        inputs = tuple(same.get(index, index) for index in operation.inputs)
        if operation.kind == "dropout":
            same[operation.index] = inputs[0]
        else:
            kept.append(replace(operation, inputs=inputs))
    return kept, same.get(output, output)


def _needed(operations: Sequence[Operation], output: int) -> list[Operation]:
    """What `output` is computed from, in order, the input in any case."""
    wanted = {0, output}
    for operation in reversed(operations):
        if operation.index in wanted:
            wanted.update(operation.inputs)
    return [operation for operation in operations if operation.index in wanted]


class _Writer:
    """A graph while it is written: nodes, constants, and how each value is called."""

    def __init__(
        self, helper: Any, operations: Sequence[Operation], weights: dict[str, np.ndarray],
        output: int,
    ) -> None:
        self._helper = helper
        self._shapes = [operation.shape for operation in operations]
        operations, self._output = _without_dropout(operations, output)
        self._operations = _needed(operations, self._output)
        self._weights = weights
        self._folded: dict[int, Operation] = {}  # by the layer that takes the norm in
        self._nodes: list[Any] = []
        self._constants: dict[str, np.ndarray] = {}
        self._names: dict[int, str] = {}
        self._flat: set[int] = set()  # N x features, not N x C x 1 x 1
        self._taken: set[str] = set(weights)

    def fold(self) -> None:
        """Find the batch norms that a layer before them takes in."""
        readers: dict[int, list[Operation]] = {}
        for operation in self._operations:
            for index in operation.inputs:
                readers.setdefault(index, []).append(operation)
        for layer in self._operations:
            if layer.kind in ("convolution", "linear") and layer.index != self._output:
                reading = readers.get(layer.index, [])
                if [one.kind for one in reading] == ["batch_norm"]:
                    self._folded[layer.index] = reading[0]

    def model(self) -> Any:
        """The whole of it."""
        absorbed = {norm.index for norm in self._folded.values()}
        for operation in self._operations:
            if operation.index in absorbed:
                continue
            write: Callable[[Operation], None] | None = getattr(
                self, f"_write_{operation.kind}", None)
            if write is None:
                raise InternalError(f"no ONNX operator is known for {operation.kind!r}")
            write(operation)
        helper, number = self._helper, 1  # TensorProto.FLOAT
        shape = list(self._shapes[self._output])
        flat = shape[1:] == [1, 1]
        self._nodes.append(self._node(
            "Flatten" if flat and self._output not in self._flat else "Identity",
            [self._names[self._output]], "output"))
        graph = helper.make_graph(
            self._nodes, "network",
            [helper.make_tensor_value_info("images", number, ["batch", *self._shapes[0]])],
            [helper.make_tensor_value_info(
                "output", number, ["batch", *(shape[:1] if flat else shape)])],
            [_tensor(name, array) for name, array in self._constants.items()])
        return helper.make_model(
            graph, producer_name="graft", producer_version=__version__, ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)])

    # ---- parts -----------------------------------------------------------------------------------

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        return self._helper.make_node(kind, inputs, [output], output, **attributes)

    def _fresh(self, wish: str) -> str:
        """A name that nothing has yet."""
        name, number = wish, 1
        while name in self._taken or name in ("images", "output", ""):
            number += 1
            name = f"{wish}_{number}"
        self._taken.add(name)
        return name

    def _add(
        self, operation: Operation, kind: str, inputs: list[str], last: bool = True,
        **attributes: Any,
    ) -> str:
        """A node for an operation; the last one's output is the operation's value."""
        wish = operation.name or f"{operation.kind}_{operation.index}"
        name = self._fresh(wish if last else f"{wish}.{kind.lower()}")
        self._nodes.append(self._node(kind, inputs, name, **attributes))
        if last:
            folded = self._folded.get(operation.index)
            for index in (operation.index, *([folded.index] if folded else [])):
                self._names[index] = name
        return name

    def _constant(self, name: str, array: np.ndarray) -> str:
        self._constants[name] = np.ascontiguousarray(array)
        return name

    def _integers(self, operation: Operation, what: str, *numbers: int) -> str:
        name = f"{operation.name or operation.kind}_{operation.index}.{what}"
        return self._constant(self._fresh(name), np.array(numbers, np.int64))

    def _image(self, index: int) -> str:
        """A value as N x C x H x W, whatever layer it comes from."""
        if index not in self._flat:
            return self._names[index]
        name = self._fresh(f"{self._names[index]}.image")
        axes = self._constant(self._fresh(f"{name}.axes"), np.array([2, 3], np.int64))
        self._nodes.append(self._node("Unsqueeze", [self._names[index], axes], name))
        return name

    def _images(self, operation: Operation) -> list[str]:
        return [self._image(index) for index in operation.inputs]

    def _layer(self, operation: Operation) -> list[str]:
        """Names of a layer's weight and, where there is one, bias; its norm folded in."""
        names = list(operation.tensors)
        arrays = [self._weights[name] for name in names]
        norm = self._folded.get(operation.index)
        if norm is not None:
            arrays = _fold(arrays, [self._weights[name] for name in norm.tensors], norm)
            if len(names) == 1:
                names.append(self._fresh(f"{operation.name}.bias"))
        return [self._constant(name, array) for name, array in zip(names, arrays)]

    # ---- operations ------------------------------------------------------------------------------

    def _write_input(self, operation: Operation) -> None:
        self._names[operation.index] = "images"

    def _write_convolution(self, operation: Operation) -> None:
        told = operation.attributes
        self._add(
            operation, "Conv", self._images(operation) + self._layer(operation),
            kernel_shape=told["kernel"], strides=told["stride"], pads=told["padding"] * 2,
            dilations=told["dilation"], group=told["groups"])

    def _write_linear(self, operation: Operation) -> None:
        index = operation.inputs[0]
        flat = self._names[index]
        if index not in self._flat:
            flat = self._add(operation, "Flatten", [flat], last=False, axis=1)
        self._add(operation, "Gemm", [flat, *self._layer(operation)], transB=1)
        self._flat.add(operation.index)
        if operation.index in self._folded:
            self._flat.add(self._folded[operation.index].index)

    def _write_batch_norm(self, operation: Operation) -> None:
        # weight, bias, mean, variance, as ONNX has them; not the count of batches.
        own = [self._constant(name, self._weights[name]) for name in operation.tensors[:4]]
        self._add(
            operation, "BatchNormalization", self._images(operation) + own,
            epsilon=operation.attributes["epsilon"])

    def _write_relu(self, operation: Operation) -> None:
        slope, ceiling = (operation.attributes[name] for name in ("negative_slope", "ceiling"))
        value = self._names[operation.inputs[0]]
        if operation.inputs[0] in self._flat:
            self._flat.add(operation.index)
        bounded = not math.isinf(ceiling)
        most = []
        if bounded:
            wish = f"{operation.kind}_{operation.index}"
            least = "" if slope else self._constant(
                self._fresh(f"{wish}.floor"), np.array(0, np.float32))
            most = [least, self._constant(
                self._fresh(f"{wish}.ceiling"), np.array(ceiling, np.float32))]
        if slope:
            value = self._add(operation, "LeakyRelu", [value], last=not bounded, alpha=slope)
        elif not bounded:
            self._add(operation, "Relu", [value])
        if bounded:
            self._add(operation, "Clip", [value, *most])

    def _write_sum(self, operation: Operation) -> None:
        self._add(operation, "Add", self._images(operation))

    def _write_concatenation(self, operation: Operation) -> None:
        self._add(operation, "Concat", self._images(operation), axis=1)

    def _write_shortcut(self, operation: Operation) -> None:
        told = operation.attributes
        before = told["first_channel"]
        after = operation.shape[0] - self._shapes[operation.inputs[0]][0] - before
        padded = before > 0 or after > 0
        value = self._image(operation.inputs[0])
        rows, columns = told["stride"]
        integers = [
            self._integers(operation, *part) for part in (
                ("starts", 0, 0), ("ends", 2**31 - 1, 2**31 - 1), ("axes", 2, 3),
                ("steps", rows, columns))]
        value = self._add(operation, "Slice", [value, *integers], last=not padded)
        if padded:
            pads = self._integers(operation, "pads", 0, before, 0, 0, 0, after, 0, 0)
            self._add(operation, "Pad", [value, pads])

    def _write_pool(self, operation: Operation) -> None:
        told = operation.attributes
        kind, more = "MaxPool", dict[str, Any]()
        if told["pooling"] == "average":
            kind, more["count_include_pad"] = "AveragePool", 1
        self._add(
            operation, kind, self._images(operation), kernel_shape=told["kernel"],
            strides=told["stride"], pads=told["padding"] * 2, **more)

    def _write_global_pool(self, operation: Operation) -> None:
        self._add(operation, "GlobalAveragePool", self._images(operation))


def _tensor(name: str, array: np.ndarray) -> Any:
    import onnx.numpy_helper

    return onnx.numpy_helper.from_array(array, name)


def _fold(
    layer: list[np.ndarray], norm: list[np.ndarray], operation: Operation
) -> list[np.ndarray]:
    """Weight and bias that do what the layer and then the norm do, in the norm's evaluation."""
    weight, bias = layer[0].astype(np.float64), layer[1] if layer[1:] else 0.0
    gamma, beta, mean, variance = (array.astype(np.float64) for array in norm[:4])
    scale = gamma / np.sqrt(variance + operation.attributes["epsilon"])
    weight *= scale.reshape(-1, *[1] * (weight.ndim - 1))
    return [weight.astype(np.float32), ((bias - mean) * scale + beta).astype(np.float32)]
