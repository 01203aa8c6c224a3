"""network.h, but for the optimiser"""

from __future__ import annotations

import ctypes as c
import shutil

import numpy as np
from graft import _structures as s

from ..kinds import (
    FORMAT,
    INVALID,
    IO,
    MISMATCH,
    STATE,
    Any_,
    Array,
    Choice,
    Count,
    Destroy,
    Flag,
    Function,
    Handle,
    Index,
    Init,
    Out,
    OutStruct,
    Path,
    Real,
    Row,
    Struct,
    Tensor,
    Text,
    Threads,
    Whole,
)
from ..world import VALUES

LEFT = len(VALUES) - 1
SIDE = Whole(1, 1024, 1)

STRUCTS = {
    "graft_convolution_options": {
        "filters": Whole(1, 65536, 4),
        "kernel_height": Whole(1, 31, 3), "kernel_width": Whole(1, 31, 3),
        "stride_height": SIDE, "stride_width": SIDE,
        "padding_height": Whole(0, 1024), "padding_width": Whole(0, 1024),
        "dilation_height": SIDE, "dilation_width": SIDE,
        "groups": Whole(1, 65536, 1),
        "bias": Flag(),
    },
}

#: The network under construction that layers are added to, and that a finished one takes none.
STARTED = Handle("started", rows=(
    Row("a finished network", lambda world, _: world.get("network"), STATE, "finished"),))
UNFINISHED = Row("a network under construction", lambda world, _: world.get("started"), STATE,
                 "under construction")
FINISHED = Handle("network", rows=(UNFINISHED,))
#: A value of the network under construction, which has 6.
VALUE = Whole(0, LEFT - 1, 0, c.c_int32)
OUTPUT = Out(c.c_int32)
IMAGES = Tensor((4, 2, 6, 6), finite=False, empty=None, agrees=None, more=(
    Tensor((4, 2, 6, 6)).changed("of 3 channels", MISMATCH,
                                 array=lambda world: world.array((4, 3, 6, 6))),
    Tensor((4, 2, 6, 6)).changed("of 7 rows", MISMATCH,
                                 array=lambda world: world.array((4, 2, 7, 6))),
    Tensor((4, 2, 6, 6)).changed("of 3 dimensions", MISMATCH,
                                 array=lambda world: world.array((2, 6, 6))),
    Tensor((4, 2, 6, 6)).changed("one image more", MISMATCH, "output",
                                 array=lambda world: world.array((5, 2, 6, 6))),
))
LOGITS = Tensor((4, 3), finite=False, written=True, empty=MISMATCH)


def batches(output: str) -> tuple[Row, ...]:
    """Batches of none and of too many images."""
    def of(count: int):
        def made(world, _):
            # The same image over and over takes no memory.
            images = world.tensor(world.array((1, 2, 6, 6)))
            images.shape = world.numbers(c.c_int64, (count, 2, 6, 6))
            images.strides = world.numbers(c.c_int64, (0, 36, 6, 1))
            to = world.tensor(world.array((count, 3)))
            to.shape = world.numbers(c.c_int64, (count, 3))
            return {"images": c.byref(images), output: c.byref(to)}
        return made
    return (Row("a batch of none", of(0), INVALID, "images"),
            Row("a batch of 65537", of(65537), INVALID, "images"))


def layer(**parameters) -> Function:
    return Function({"network": STARTED, **parameters, "output": OUTPUT})


def options_row(what: str, status: int, named: str, **fields) -> Row:
    return Row(what, lambda world, _: {"options": c.byref(
        world.struct(s.ConvolutionOptions, **{"filters": 4, **fields}))}, status, named)


def saved(world) -> str:
    """Weights in a file."""
    path = f"{world.folder}/weights.safetensors"
    world.call("graft_network_save", world.get("other"), path.encode())
    return path


def file_of(what: str, status: int, content, named: str = "bad.safetensors") -> Row:
    def made(world, _):
        path = world.folder / "bad.safetensors"
        path.write_bytes(content(world))
        return str(path).encode()
    return Row(what, made, status, named)


def cut(world) -> bytes:
    with open(saved(world), "rb") as file:
        return file.read()[:-3]


def of_alien(world) -> bytes:
    path = f"{world.folder}/alien.safetensors"
    world.call("graft_network_save", world.get("alien"), path.encode())
    with open(path, "rb") as file:
        return file.read()


def directory(world, _) -> bytes:
    folder = world.folder / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return str(folder).encode()


CONVOLUTION = Struct(s.ConvolutionOptions, STRUCTS["graft_convolution_options"], optional=False,
                     sound=lambda world: {"filters": 4})

FUNCTIONS = {
    "graft_network_create": Function(
        {"channels": Whole(1, 65536, 3), "height": Whole(1, 65536, 8),
         "width": Whole(1, 65536, 8), "network": Out(c.c_void_p)},
        (Row("too large in all", lambda world, _: dict(channels=65536, height=65536, width=65536),
             INVALID, "input"),)),
    "graft_network_destroy": Destroy({"network": Handle("network")}),
    "graft_convolution_options_init": Init(s.ConvolutionOptions),
    "graft_network_convolution": Function(
        {"network": STARTED, "name": Text(), "input": VALUE, "options": CONVOLUTION,
         "output": OUTPUT},
        (options_row("groups that do not divide the channels", MISMATCH, "groups", groups=3),
         options_row("groups that do not divide the filters", MISMATCH, "groups", filters=5,
                     groups=2),
         options_row("a window larger than its input", MISMATCH, "new", kernel_height=31),
         options_row("an output too large", INVALID, "new", filters=65536, padding_height=1024,
                     padding_width=1024))),
    "graft_network_batch_norm": layer(
        name=Text(), input=VALUE, epsilon=Real(0, 1, 1e-5, open_low=True,
                                                             allowed=(1.0,)),
        momentum=Real(0, 1, 0.1, allowed=(1.0,))),
    "graft_network_relu": layer(
        input=VALUE, negative_slope=Real(0, 1, allowed=(1.0,))),
    "graft_network_clipped_relu": layer(
        input=VALUE, ceiling=Real(
            float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max), 6)),
    "graft_network_sum": Function(
        {"network": STARTED, "a": Whole(0, LEFT - 1, 1, c.c_int32),
         "b": Whole(0, LEFT - 1, 2, c.c_int32), "output": OUTPUT},
        (Row("of different channels", lambda world, _: dict(a=0), MISMATCH, "a"),
         Row("of different sizes", lambda world, _: dict(b=5), MISMATCH, "b"))),
    "graft_network_shortcut": layer(
        input=VALUE, stride=Whole(1, 1024), channels=Whole(
            1, 65536, 4)),
    "graft_network_concatenation": Function(
        {"network": STARTED,
         "inputs": Array(c.c_int32, (1, 2), (
             ("the second is none", (1, 6), INVALID, r"inputs\[1\]"),
             ("the first is none", (-1, 1), INVALID, r"inputs\[0\]"),
             ("of different heights", (1, 5), MISMATCH, r"inputs\[1\]"))),
         "count": Whole(1, 4096, 2, c.c_size_t), "output": OUTPUT}),
    "graft_network_dropout": layer(
        input=VALUE, probability=Real(0, 1, 0.5, open_high=True)),
    "graft_network_pool": Function(
        {"network": STARTED, "input": VALUE, "pooling": Choice(2),
         "kernel": Whole(1, 65536, 2), "stride": Whole(1, 65536, 2),
         "padding": Whole(0, 1, 0, allowed=(0, 1)), "output": OUTPUT},
        (Row("a window larger than its input", lambda world, _: dict(kernel=7), MISMATCH,
             "kernel"),)),
    "graft_network_global_pool": layer(input=VALUE),
    "graft_network_linear": layer(
        name=Text(), input=VALUE, features=Whole(1, 65536, 3), bias=Flag()),
    "graft_network_finish": Function(
        {"network": STARTED, "output": VALUE, "seed": Any_()}),
    "graft_network_tensor_count": Count({"network": Handle("network")}),
    "graft_network_tensor": Function(
        {"network": FINISHED, "index": Index(8), "tensor": OutStruct(s.Tensor)}),
    "graft_network_gradient": Function(
        {"network": Handle("trained", rows=(
            UNFINISHED,
            Row("before the first backward pass", lambda world, _: world.get("network"), STATE,
                "backward"))),
         "index": Index(8), "tensor": OutStruct(s.Tensor)},
        (Row("of running statistics", lambda world, _: dict(index=3), INVALID, "index"),)),
    "graft_network_copy": Function(
        {"network": FINISHED,
         "from": Handle("other", rows=(
             UNFINISHED,
             Row("of another structure", lambda world, _: world.get("alien"), MISMATCH)))}),
    "graft_network_save": Function(
        {"network": FINISHED,
         "path": Path(lambda world: f"{world.folder}/out.safetensors", IO, (
             Row("a directory", directory, INVALID, "folder"),), empty=INVALID)}),
    "graft_network_load": Function(
        {"network": FINISHED,
         "path": Path(saved, IO, (
             Row("a directory", directory, IO, "folder"),
             file_of("an empty file", FORMAT, lambda world: b""),
             file_of("no safetensors", FORMAT, lambda world: b"\xff" * 100),
             file_of("cut short", FORMAT, cut),
             file_of("of another network", MISMATCH, of_alien)))}),
    "graft_network_set_threads": Function({"network": Handle("network"), "threads": Threads()}),
    "graft_network_set_precision": Function(
        {"network": Handle("network"), "precision": Choice(2)}),
    "graft_network_set_dropout": Function(
        {"network": Handle("network"), "seed": Any_(), "step": Any_()}),
    "graft_network_output_shape": Function({"network": FINISHED, "shape": Out(c.c_int64, 3)}),
    "graft_network_forward": Function(
        # A pass that is refused leaves the one before it open for its backward pass.
        {"network": Handle("open", rows=(UNFINISHED,)), "mode": Choice(2, 1), "images": IMAGES,
         "output": LOGITS}, (*batches("output"), Row(
             "a single image whose batch norm has one value a channel", lambda world, _: dict(
                 network=single(world), images=c.byref(world.tensor(world.array((1, 2, 1, 1)))),
                 output=c.byref(world.tensor(world.array((1, 2))))), INVALID, "norm.weight"))),
    "graft_network_infer": Function(
        {"network": Handle("open", rows=(UNFINISHED,)), "images": IMAGES, "output": LOGITS},
        batches("output")),
    "graft_network_backward": Function(
        {"network": Handle("open", rows=(
            Row("no forward pass before it", lambda world, _: world.get("network"), STATE,
                "forward"),)),
         "output_gradient": Tensor((4, 3), finite=False, empty=MISMATCH),
         "input_gradient": Tensor((4, 2, 6, 6), finite=False, written=True, empty=MISMATCH,
                                  optional=True)}),
}


def single(world) -> int:
    """A network of a batch norm over one pixel."""
    made = world.made("graft_network_create", 2, 1, 1)
    value = c.c_int32()
    world.call("graft_network_batch_norm", made, b"norm", 0, 1e-5, 0.1, c.byref(value))
    world.call("graft_network_finish", made, value, 1)
    return world.also("single", made, "network")
