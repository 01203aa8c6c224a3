"""Networks of the library's own engine: built layer by layer or ready made, run, trained, saved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ctypes import byref, c_double, c_int64
from pathlib import Path
from typing import Any

import numpy as np

from . import _arrays, _checks
from ._builder import Builder, Value
from ._errors import InvalidArgumentError, InvalidStateError, ShapeMismatchError, check
from ._handles import Handle
from ._library import lib
from ._operations import Operation, operations
from ._plan import Plan
from ._structures import Mode, Precision, Tensor
from ._structures import Operation as OperationStruct

__all__ = ["Network", "Value"]


class Network(Builder):
    """A convolutional network; one thread at a time may use it.

    Build one by adding layers to `input` and calling `finish`, or take `graft.resnet`. Images are
    N x C x H x W float32 of any strides; weights have PyTorch's names, shapes and order.

    Parameters
    ----------
    input_shape
        Channels, height and width of the images.

    Examples
    --------
    >>> network = Network((1, 8, 8))
    >>> x = network.convolution("conv", network.input, 16, kernel=3, padding=1)
    >>> x = network.relu(network.batch_norm("norm", x))
    >>> network.finish(network.linear("head", network.global_pool(x), 10), seed=1)
    >>> network.forward(images).shape
    (100, 10)
    """

    def __init__(self, input_shape: tuple[int, int, int] = (3, 32, 32)) -> None:
        shape = _checks.image_shape(input_shape, "input_shape")
        self._start(Handle("graft_network_create", "graft_network_destroy", *shape))

    @classmethod
    def _of(cls, handle: Handle) -> Network:
        network = cls.__new__(cls)
        network._start(handle)
        return network

    def _start(self, handle: Handle) -> None:
        self._handle = handle
        self._threads, self._precision = 0, "float32"
        self._timing = False
        self._views: dict[str, np.ndarray] = {}
        self._names: list[str] = []
        self._image_shape: tuple[int, ...] | None = None

    @property
    def _as_parameter_(self) -> Any:
        return self._handle._as_parameter_

    # ---- construction ----------------------------------------------------------------------------

    def finish(self, output: Value, seed: int = 0) -> Network:
        """End the construction: `output` is what the network computes; weights start from `seed`.

        Returns
        -------
        Network
            The network itself.
        """
        check(lib.graft_network_finish(self, self._index(output), _checks.seed(seed)))
        return self

    # ---- structure -------------------------------------------------------------------------------

    def label(self, value: Value, name: str) -> Value:
        """Name a value that has no name yet (a join, say), to be found again; returns it."""
        check(lib.graft_network_label(self, self._index(value), _checks.text(name, "name")))
        return value

    def find(self, name: str) -> Value:
        """The value of the layer, or with the label, of this name."""
        return self._layer("find", _checks.text(name, "name"))

    @property
    def output(self) -> Value:
        """What the network puts out."""
        return self._layer("output")

    @property
    def penultimate(self) -> Value:
        """What the network's last layer, a linear one, reads.

        Raises
        ------
        UnsupportedError
            Where the network does not end in a linear layer.
        """
        return self._layer("penultimate")

    def operations(self) -> list[Operation]:
        """All operations in the order in which they were added; operation i puts out value i."""
        self.state_dict()
        return operations(self, self._names)

    @property
    def timing(self) -> bool:
        """Whether training passes take the time of every operation; setting it begins at 0."""
        return self._timing

    @timing.setter
    def timing(self, on: bool) -> None:
        check(lib.graft_network_set_timing(self, bool(on)))
        self._timing = bool(on)

    def operation_times(self) -> list[tuple[float, float]]:
        """Seconds of each operation, forward and backward, in the order of `operations`.

        Over all training passes since `timing` was set. What is done along with a neighbour's work
        counts to that neighbour: a rectifier to those who read through it, a batch norm's
        statistics to the convolution before it.

        Raises
        ------
        InvalidStateError
            Where `timing` is not set.
        """
        forward, backward = c_double(), c_double()
        times = []
        for index in range(lib.graft_network_operation_count(self)):
            check(lib.graft_network_operation_time(self, index, byref(forward), byref(backward)))
            times.append((forward.value, backward.value))
        return times

    def plan(self) -> Plan:
        """The plan of a graft of such networks, read off the structure: a trainer uses it."""
        self.state_dict()
        return Plan._made(self._names, "graft_network_plan", self)

    # ---- weights ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """All weights and running statistics by name, in PyTorch's order.

        The arrays are the network's own memory: reading and writing them reads and writes the
        network. They stay valid as long as any of them is referred to.
        """
        if not self._views:
            tensor = Tensor()
            for index in range(lib.graft_network_tensor_count(self)):
                check(lib.graft_network_tensor(self, index, byref(tensor)))
                name = tensor.name.decode("utf-8")
                self._views[name] = _arrays.from_tensor(tensor, self._handle)
                self._names.append(name)
        return dict(self._views)

    def gradients(self) -> dict[str, np.ndarray]:
        """The parameters' gradients by name, as the last `backward` left them; live, as weights.

        Raises
        ------
        InvalidStateError
            Before the first backward pass.
        """
        return self._parameters("graft_network_gradient", self)

    def _parameters(self, function: str, handle: Any) -> dict[str, np.ndarray]:
        """What `function` tells of every parameter; running statistics have none."""
        self.state_dict()
        found = {}
        tensor = Tensor()
        owner = handle._handle
        for index, name in enumerate(self._names):
            try:
                check(getattr(lib, function)(handle, index, byref(tensor)))
            except InvalidArgumentError:
                continue
            found[name] = _arrays.from_tensor(tensor, owner)
        return found

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy weights in by name, from arrays of any floating type (PyTorch's too).

        Names and shapes must be the network's own, all of them; `num_batches_tracked` may be
        missing. On an error nothing has changed.

        Raises
        ------
        ShapeMismatchError
            Naming what is missing, unknown, or of another shape.
        """
        own = self.state_dict()
        missing = [
            name for name in own if name not in state and not name.endswith("num_batches_tracked")]
        unknown = [name for name in state if name not in own]
        if missing or unknown:
            raise ShapeMismatchError(
                f"state has not the network's names; missing: {missing}, unknown: {unknown}")
        new = {}
        for name, array in state.items():
            values = _arrays.values(array, f"state[{name!r}]")
            if values.shape != own[name].shape:
                raise ShapeMismatchError(
                    f"state[{name!r}] has shape {values.shape}; the network's is {own[name].shape}")
            new[name] = values
        for name, values in new.items():
            own[name][...] = values

    def copy_from(self, other: Network) -> None:
        """Copy all weights and running statistics from a network of the same structure."""
        check(lib.graft_network_copy(self, _checks.instance(other, Network, "other")))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .safetensors file that is this network's PyTorch state_dict."""
        check(lib.graft_network_save(self, _arrays.path_bytes(path)))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Read weights from a .safetensors file; on an error the network has not changed."""
        check(lib.graft_network_load(self, _arrays.path_bytes(path)))

    def to_onnx(
        self, path: str | os.PathLike[str], *, fold_batch_norm: bool = False,
        output: Value | None = None,
    ) -> None:
        """Write the network as an ONNX file, as it runs in evaluation.

        It takes "images", N x C x H x W float32 with N free, and gives "output". Constants have the
        names of the state dict. Needs the onnx package (`pip install "filtergraft[onnx]"`).

        Parameters
        ----------
        path
            The file; it appears whole.
        fold_batch_norm
            Whether batch norms become part of the convolution or linear layer that they alone read.
            Those behind a sum or a pool, as in pre-activation networks, stay.
        output
            What the model puts out; by default what the network does. `penultimate` gives a model
            of the features.

        Raises
        ------
        UnsupportedError
            Where the onnx package is not installed.
        InvalidStateError
            Where the network is under construction.
        FileError
            Where the file cannot be written.
        """
        from . import _onnx
        from ._write import write_all

        whole = self.output  # raises while the network is under construction
        end = self._index(whole if output is None else output)
        made = _onnx.model(self.operations(), self.state_dict(), end, bool(fold_batch_norm))
        write_all([(Path(path), lambda file: file.write(made.SerializeToString()))])

    # ---- running ---------------------------------------------------------------------------------

    @property
    def threads(self) -> int:
        """How many threads the passes use; 0 takes what OpenMP would. Same bits at any count."""
        return self._threads

    @threads.setter
    def threads(self, count: int) -> None:
        count = _checks.integer(count, "threads", bits=32)
        check(lib.graft_network_set_threads(self, count))
        self._threads = count

    @property
    def precision(self) -> str:
        """What training passes multiply in: "float32" or "bfloat16".

        With "bfloat16" convolutions round what they multiply, forward and backward, and add up in
        float32. Weights, batch norms and everything else stay float32, and so do evaluation and the
        convolutions that would gain nothing: depthwise ones, groups with fewer than 16 channels or
        filters, and kernels larger than 1 x 1 that put out at most 16 pixels. What a convolution
        puts out for batch norms alone is kept rounded, in half of the memory. Faster where
        `graft.instructions()` is "avx512bf16", slower elsewhere. (A `Trainer` sets it itself.)
        """
        return self._precision

    @precision.setter
    def precision(self, precision: str) -> None:
        chosen = _checks.choice(precision, Precision, "precision")
        check(lib.graft_network_set_precision(self, chosen))
        self._precision = Precision(chosen).name.lower()

    def set_dropout(self, seed: int, step: int = 0) -> None:
        """Say what the next training pass's dropouts draw from; each such pass counts `step` up.

        A network starts with the seed of its construction at step 0. The same seed and step drop
        the same: a run that is resumed at step n sets n. (A `Trainer` sets both itself.)
        """
        check(lib.graft_network_set_dropout(
            self, _checks.seed(seed), _checks.seed(step, "step")))

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the output for one image."""
        shape = (c_int64 * 3)()
        check(lib.graft_network_output_shape(self, shape))
        return tuple(shape)

    def forward(self, images: Any, training: bool = False) -> np.ndarray:
        """Run the network.

        Parameters
        ----------
        images
            N x C x H x W, float32, any strides, any kind of array; not copied.
        training
            Whether batch norm uses (and remembers) the batch's statistics and dropout drops;
            `backward` needs it.

        Returns
        -------
        numpy.ndarray
            N x classes, or N x C x H x W where the output has a height and width.
        """
        seen = _arrays.describe(images, "images")
        output = _arrays.room(seen, self.output_shape)
        mode = Mode.TRAINING if training else Mode.EVALUATION
        check(lib.graft_network_forward(
            self, mode, seen.pointer, _arrays.describe(output, "output").pointer))
        if training:
            self._image_shape = seen.array.shape
        return output

    def infer(self, images: Any) -> np.ndarray:
        """Run the network in evaluation, batch norms folded into the convolutions before them.

        The same numbers as `forward` but for rounding, in less time. The weights are read at every
        call.
        """
        seen = _arrays.describe(images, "images")
        output = _arrays.room(seen, self.output_shape)
        check(lib.graft_network_infer(
            self, seen.pointer, _arrays.describe(output, "output").pointer))
        return output

    def features(self, images: Any, value: Value | None = None) -> np.ndarray:
        """What is at a place within the network, in evaluation.

        Parameters
        ----------
        images
            N x C x H x W, float32, any strides, any kind of array; not copied.
        value
            The place: what a layer returned, or `find` gives; by default `penultimate`, the
            features that the last, linear layer reads.

        Returns
        -------
        numpy.ndarray
            N x channels, or N x C x H x W where the value has a height and width.
        """
        seen = _arrays.describe(images, "images")
        index = self._index(self.penultimate if value is None else value)
        told = OperationStruct()
        check(lib.graft_network_operation(self, index, byref(told)))
        output = _arrays.room(seen, (told.channels, told.height, told.width))
        check(lib.graft_network_features(
            self, index, seen.pointer, _arrays.describe(output, "output").pointer))
        return output

    def backward(self, gradient: Any, input_gradient: bool = False) -> np.ndarray | None:
        """Run the network backward, once after each forward pass in training.

        Parameters
        ----------
        gradient
            d loss / d output, of the output's shape, float32.
        input_gradient
            Whether to return d loss / d images.
        """
        seen = _arrays.describe(gradient, "gradient")
        if not input_gradient:
            check(lib.graft_network_backward(self, seen.pointer, None))
            return None
        if self._image_shape is None:
            raise InvalidStateError("backward needs a forward pass with training=True before it")
        result = np.empty(self._image_shape, np.float32)
        check(lib.graft_network_backward(
            self, seen.pointer, _arrays.describe(result, "input_gradient").pointer))
        return result

    def __repr__(self) -> str:
        tensors = self.state_dict().values()
        count = sum(array.size for array in tensors if array.dtype == np.float32)
        return f"<Network of {len(tensors)} tensors, {count} weights>"
