"""What sound calls are made with: memory of the caller's, and objects behind handles."""

from __future__ import annotations

import ctypes as c
from pathlib import Path
from typing import Any, Callable

import numpy as np
from graft import _functions
from graft import _structures as s

#: What is in memory that a call writes, beforehand.
CANARY = 0xA5
TYPES = {np.dtype(np.float32): 0, np.dtype(np.float64): 1, np.dtype(np.float16): 2,
         np.dtype(np.uint16): 3, np.dtype(np.int64): 4}
#: Images and classes of the objects.
IMAGE = (2, 6, 6)
CLASSES = 3
COUNT = 20
#: The values of a network as `World.network` builds it, the last of them its output.
VALUES = ("input", "conv", "norm", "relu", "dropout", "pool", "linear")


class World:
    """Everything that one call after another is made with. Objects are made when first asked for,
    the same ones in every world."""

    def __init__(self, library: c.CDLL, folder: Path) -> None:
        self.library = library
        self.folder = folder
        self.memory: list[Any] = []
        self.objects: dict[str, int] = {}
        self.kinds: dict[str, str] = {}

    # -- calls --------------------------------------------------------------------------------

    def raw(self, name: str, *arguments: object) -> Any:
        function = getattr(self.library, name)
        function.restype, function.argtypes = _functions.FUNCTIONS[name]
        return function(*arguments)

    def call(self, name: str, *arguments: object) -> None:
        status = self.raw(name, *arguments)
        assert status == 0, (name, status, self.message())

    def made(self, name: str, *arguments: object) -> int:
        """The handle that a call gives."""
        out = c.c_void_p()
        self.call(name, *arguments, c.byref(out))
        assert out.value
        return out.value

    def message(self) -> str:
        return self.raw("graft_last_error").decode()

    def end(self, made: object) -> None:
        """Ends an object of any kind: a handle of another is left alone."""
        for kind in set(kind for _, kind in OBJECTS.values()):
            self.raw(f"graft_{kind}_destroy", made)

    def close(self) -> None:
        for name in reversed(list(self.objects)):
            self.raw(f"graft_{self.kinds[name]}_destroy", self.objects[name])

    # -- memory -------------------------------------------------------------------------------

    def keep(self, one: Any) -> Any:
        """Watches memory: no refused call may change it."""
        self.memory.append(one)
        return one

    def bytes(self) -> list[bytes]:
        return [one.tobytes() if isinstance(one, np.ndarray) else bytes(one)
                for one in self.memory]

    def room(self, kind: Any, count: int = 1) -> Any:
        """Memory for a result."""
        made = (kind * count)()
        c.memset(made, CANARY, c.sizeof(made))
        return self.keep(made)

    def numbers(self, kind: Any, values: Any) -> Any:
        return self.keep((kind * len(values))(*values))

    def array(self, shape: tuple[int, ...], kind: Any = np.float32, seed: int = 0) -> np.ndarray:
        """Small numbers, none 0."""
        count = int(np.prod(shape))
        if kind == np.int64:
            return self.keep((np.arange(count, dtype=np.int64) % CLASSES).reshape(shape))
        values = (np.random.default_rng(seed).permutation(count) + 1) / (count + 1)
        if kind == np.uint16:  # bfloat16: the upper half of a float32
            return self.keep((values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
                             .reshape(shape))
        return self.keep(values.astype(kind).reshape(shape))

    def tensor(self, array: np.ndarray, name: bytes | None = None) -> s.Tensor:
        made = self.keep(s.Tensor())
        made.struct_size = c.sizeof(s.Tensor)
        made.name = name
        made.data = array.ctypes.data if array.size else None
        made.dtype = TYPES[array.dtype]
        made.rank = array.ndim
        made.shape = self.numbers(c.c_int64, array.shape or (0,))
        made.strides = None
        return made

    def struct(self, kind: Any, **fields: Any) -> Any:
        """Options with their defaults, some fields changed."""
        made = self.keep(kind())
        init = next((name for name, (_, takes) in _functions.FUNCTIONS.items()
                     if name.endswith("_init") and takes[0]._type_ is kind), None)
        if init:
            self.raw(init, c.byref(made), c.sizeof(made))
        else:
            made.struct_size = c.sizeof(made)
        for name, value in fields.items():
            setattr(made, name, value)
        return made

    # -- objects ------------------------------------------------------------------------------

    def get(self, name: str) -> int:
        """A handle by the name of what it is for."""
        if name not in self.objects:
            make, kind = OBJECTS[name]
            handle = make(self)
            self.objects[name], self.kinds[name] = handle, kind
        return self.objects[name]

    def also(self, name: str, handle: int, kind: str) -> int:
        """Watches an object that was made apart."""
        self.objects[name], self.kinds[name] = handle, kind
        return handle

    def network(self, seed: int = 1, filters: int = 4, finished: bool = True,
                channels: int = IMAGE[0], classes: int = CLASSES) -> int:
        made = self.made("graft_network_create", channels, *IMAGE[1:])
        value = c.c_int32()
        out = c.byref(value)
        options = self.struct(
            s.ConvolutionOptions, filters=filters, padding_height=1, padding_width=1)
        self.call("graft_network_convolution", made, b"conv", 0, c.byref(options), out)
        self.call("graft_network_batch_norm", made, b"norm", value, 1e-5, 0.1, out)
        self.call("graft_network_relu", made, value, 0, out)
        self.call("graft_network_dropout", made, value, 0.5, out)
        self.call("graft_network_pool", made, value, 0, 2, 2, 0, out)
        if finished:
            self.call("graft_network_linear", made, b"linear", value, classes, 1, out)
            self.call("graft_network_finish", made, value, seed)
        return made

    def images(self, count: int = 4) -> s.Tensor:
        return self.tensor(self.array((count, *IMAGE), seed=5))

    def logits(self, count: int = 4) -> s.Tensor:
        return self.tensor(self.array((count, CLASSES), seed=6))

    def forward(self, network: int) -> None:
        self.call("graft_network_forward", network, 1, c.byref(self.images()),
                  c.byref(self.logits()))

    def backward(self, network: int) -> None:
        self.forward(network)
        self.call("graft_network_backward", network, c.byref(self.logits()), None)

    def weights(self, seed: int, count: int = 5) -> Any:
        """A network of one's own: five tensors, a layer, its followers, a classifier, a counter."""
        arrays = [self.array((4, 2, 3, 3), seed=seed), self.array((4,), seed=seed + 1),
                  self.array((3, 16), seed=seed + 2), self.array((3,), seed=seed + 3),
                  self.array((), np.int64)]
        names = [b"conv.weight", b"conv.bias", b"linear.weight", b"linear.bias", b"counter"]
        made = [self.tensor(a, n) for a, n in zip(arrays[:count], names)]
        return self.keep((s.Tensor * count)(*made))

    def networks(self, count: int = 2, tensors: int = 5) -> Any:
        made = [self.weights(10 * (k + 1), tensors) for k in range(count)]
        return self.keep((c.POINTER(s.Tensor) * count)(
            *[c.cast(one, c.POINTER(s.Tensor)) for one in made]))

    def dataset(self, image: tuple[int, ...] = IMAGE, classes: int = CLASSES) -> int:
        pixels = self.array((COUNT, *image), np.float32, seed=8)
        labels = self.array((COUNT,), np.int64)
        return self.made("graft_dataset_arrays", c.byref(self.tensor(pixels)),
                         labels.ctypes.data_as(c.POINTER(c.c_int64)), classes)

    def trainer_options(self) -> s.TrainerOptions:
        return self.struct(
            s.TrainerOptions, epochs=2, batch_size=8, threads=1, grafting=1, crop_padding=1,
            clip_norm=1.0, ema_decay=0.5, evaluate_ema=1, evaluate_steps=2, schedule=0)

    def trainer(self, name: str, members: int = 2, epochs: int = 1) -> int:
        data = self.get("dataset")
        made = self.made("graft_trainer_create", c.byref(self.trainer_options()), None, None, data,
                         data)
        for seed in range(members):
            network = self.network(seed + 1)
            member = self.struct(s.MemberOptions, seed=seed)
            self.call("graft_trainer_add", made, network, c.byref(member))
            self.also(f"{name}'s member {seed}", network, "network")
        if epochs:
            stop = s.Callback(
                lambda progress, _: progress.contents.phase == 3
                and progress.contents.epoch == epochs)
            assert self.raw("graft_trainer_run", made, stop, None) == 7, self.message()
        return made

    def sgd(self) -> int:
        network = self.get("trained")
        options = self.struct(s.SgdOptions, clip_norm=1.0)
        made = self.made("graft_sgd_create", network, c.byref(options))
        self.call("graft_sgd_step", made)
        return made

    def report(self) -> int:
        return self.made("graft_apply", None, self.networks(), c.sizeof(s.Tensor), 5, 2, None)

    def trained(self) -> int:
        network = self.network()
        self.backward(network)
        return network

    def open(self) -> int:
        network = self.network()
        self.forward(network)
        return network

    def timed(self) -> int:
        network = self.open()
        self.call("graft_network_set_timing", network, 1)
        return network

    # -- what can be seen of objects ----------------------------------------------------------

    def state(self) -> dict[str, Any]:
        return {name: LOOK[self.kinds[name]](self, handle)
                for name, handle in self.objects.items()}

    def probe(self) -> dict[str, Any]:
        """What becomes of the objects from here on: shows what cannot be looked at, such as the
        state of random numbers and settings. Changes them."""
        return {name: PROBE[self.kinds[name]](self, handle)
                for name, handle in list(self.objects.items())}


# -- looking ---------------------------------------------------------------------------------------


def _described(world: World, function: str, handle: int, count: int) -> list[Any]:
    found = []
    for index in range(count):
        tensor = s.Tensor()
        if world.raw(function, handle, index, c.byref(tensor)) == 0:
            shape = tensor.shape[:tensor.rank]
            size = (8 if tensor.dtype in (1, 4) else 4) * int(np.prod(shape))
            found.append((index, tensor.name, tuple(shape), c.string_at(tensor.data, size)))
    return found


def _look_network(world: World, handle: int) -> Any:
    count = world.raw("graft_network_tensor_count", handle)
    operations = []
    for index in range(world.raw("graft_network_operation_count", handle)):
        one = s.Operation()
        world.call("graft_network_operation", handle, index, c.byref(one))
        operations.append((one.kind, one.name, one.channels, one.height, one.width))
    return (operations, _described(world, "graft_network_tensor", handle, count),
            _described(world, "graft_network_gradient", handle, count))


def _fields(one: Any) -> str:
    """By value, NaN equal to itself."""
    return repr([getattr(one, name) for name, _ in type(one)._fields_])


def _filled(world: World, kind: Any, function: str, *arguments: object) -> str:
    one = kind()
    world.call(function, *arguments, c.byref(one))
    return _fields(one)


def _look_dataset(world: World, handle: int) -> Any:
    info = s.DatasetInfo()
    world.call("graft_dataset_get_info", handle, c.byref(info))
    images = np.empty((info.count, info.channels, info.height, info.width), np.float32)
    labels = np.empty(info.count, np.int64)
    tensor = s.Tensor(data=images.ctypes.data, rank=4, shape=(c.c_int64 * 4)(*images.shape))
    world.call("graft_dataset_read", handle, (c.c_int64 * info.count)(*range(info.count)),
               info.count, c.byref(tensor), labels.ctypes.data_as(c.POINTER(c.c_int64)))
    return bytes(info), images.tobytes(), labels.tobytes()


def _look_plan(world: World, handle: int) -> Any:
    entries = []
    for index in range(world.raw("graft_plan_count", handle)):
        one = s.PlanEntry()
        world.call("graft_plan_get", handle, index, c.byref(one))
        entries.append(_fields(one))
    return entries


def _look_report(world: World, handle: int) -> Any:
    return [_filled(world, s.LayerReport, "graft_report_layer", handle, layer, network)
            for layer in range(world.raw("graft_report_layer_count", handle))
            for network in range(world.raw("graft_report_network_count", handle))]


def _look_sgd(world: World, handle: int) -> Any:
    norm = c.c_double()
    world.raw("graft_sgd_gradient_norm", handle, c.byref(norm))
    return norm.value, _described(world, "graft_sgd_momentum", handle, 8)


def _look_trainer(world: World, handle: int) -> Any:
    epochs = world.raw("graft_trainer_epochs_done", handle)
    steps = world.raw("graft_trainer_step_record_count", handle)
    return (
        epochs, steps,
        [_filled(world, s.EpochRecord, "graft_trainer_record", handle, epoch + 1, 0)
         for epoch in range(epochs)],
        [_filled(world, s.StepRecord, "graft_trainer_step_record", handle, index, 0)
         for index in range(steps)])


def _look_predictor(world: World, handle: int) -> Any:
    shape = (c.c_int64 * 3)()
    world.call("graft_predictor_output_shape", handle, shape)
    return bytes(shape)


LOOK: dict[str, Callable[[World, int], Any]] = {
    "network": _look_network, "dataset": _look_dataset, "plan": _look_plan,
    "report": _look_report, "sgd": _look_sgd, "trainer": _look_trainer,
    "predictor": _look_predictor,
}


# -- going on --------------------------------------------------------------------------------------


def _probe_network(world: World, handle: int) -> Any:
    shape = (c.c_int64 * 3)()
    if world.raw("graft_network_output_shape", handle, shape) != 0:
        last = world.raw("graft_network_operation_count", handle) - 1
        world.call("graft_network_finish", handle, last, 3)
        world.call("graft_network_output_shape", handle, shape)
    takes = s.Operation()
    world.call("graft_network_operation", handle, 0, c.byref(takes))
    images = world.tensor(world.array((4, takes.channels, takes.height, takes.width)))
    output = world.array((4, *(list(shape) if shape[1] * shape[2] > 1 else shape[:1])))
    # Whether a forward pass is open for a backward one.
    pending = world.raw("graft_network_backward", handle, c.byref(world.tensor(output)), None)
    gradients = _look_network(world, handle)
    world.call("graft_network_forward", handle, 1, c.byref(images), c.byref(world.tensor(output)))
    return pending, gradients, output.tobytes(), _look_network(world, handle)


def _probe_plan(world: World, handle: int) -> Any:
    tensors = world.raw("graft_plan_count", handle)
    before = len(world.memory)
    if tensors == 5:
        world.raw("graft_apply", handle, world.networks(), c.sizeof(s.Tensor), 5, 2, None, None)
    return [one.tobytes() for one in world.memory[before:] if isinstance(one, np.ndarray)]


def _probe_trainer(world: World, handle: int) -> Any:
    status = world.raw("graft_trainer_run", handle, s.Callback(0), None)
    if status != 0:
        return status, world.message()
    weights = []
    for index in range(2):
        into = world.network(9)
        weights.append((world.raw("graft_trainer_ema", handle, index, into),
                        _look_network(world, into)))
        world.raw("graft_network_destroy", into)
    return status, world.raw("graft_trainer_epochs_done", handle), weights


def _probe_sgd(world: World, handle: int) -> Any:
    return world.raw("graft_sgd_step", handle), _look_sgd(world, handle)


def _probe_predictor(world: World, handle: int) -> Any:
    output = world.array((4, CLASSES))
    world.call("graft_predictor_run", handle, c.byref(world.images()),
               c.byref(world.tensor(output)))
    return output.tobytes()


PROBE: dict[str, Callable[[World, int], Any]] = {
    "network": _probe_network, "dataset": _look_dataset, "plan": _probe_plan,
    "report": _look_report, "sgd": _probe_sgd, "trainer": _probe_trainer,
    "predictor": _probe_predictor,
}

#: Name -> (how it is made, what kind of handle it is).
OBJECTS: dict[str, tuple[Callable[[World], int], str]] = {
    "network": (lambda w: w.network(), "network"),
    "other": (lambda w: w.network(2), "network"),
    "alien": (lambda w: w.network(1, filters=6), "network"),
    "wide": (lambda w: w.network(1, channels=3), "network"),
    "more classes": (lambda w: w.network(1, classes=4), "network"),
    "started": (lambda w: w.network(finished=False), "network"),
    "open": (World.open, "network"),
    "timed": (World.timed, "network"),
    "trained": (World.trained, "network"),
    "dataset": (lambda w: w.dataset(), "dataset"),
    "narrow": (lambda w: w.dataset((2, 4, 4)), "dataset"),
    "plan": (lambda w: w.made("graft_plan_create", w.weights(10), c.sizeof(s.Tensor), 5), "plan"),
    "short plan": (
        lambda w: w.made("graft_plan_create", w.weights(10), c.sizeof(s.Tensor), 2), "plan"),
    "report": (World.report, "report"),
    "sgd": (World.sgd, "sgd"),
    "new sgd": (lambda w: w.made("graft_sgd_create", w.get("network"), None), "sgd"),
    "trainer": (lambda w: w.trainer("trainer"), "trainer"),
    "ready trainer": (lambda w: w.trainer("ready trainer", epochs=0), "trainer"),
    "new trainer": (lambda w: w.trainer("new trainer", 0, 0), "trainer"),
    "predictor": (lambda w: w.made("graft_predictor_create", w.get("network"), None), "predictor"),
}
