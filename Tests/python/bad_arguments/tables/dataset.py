"""dataset.h"""

from __future__ import annotations

import ctypes as c
import gzip

import numpy as np
from graft import _structures as s

from ..kinds import (
    FORMAT,
    INVALID,
    IO,
    MISMATCH,
    OK,
    UNSUPPORTED,
    Any_,
    Array,
    Choice,
    Destroy,
    FINITE,
    Flag,
    Function,
    Handle,
    Out,
    OutStruct,
    Path,
    Row,
    Tensor,
    Whole,
    put,
)
from .augmentation import AUGMENTATION

SHAPE = (20, 2, 6, 6)
LABELS = tuple(i % 3 for i in range(20))
WRONG_LABELS = (
    ("of no class", (*LABELS[:-1], 3), INVALID, r"labels\[19\]"),
    ("negative", (-1, *LABELS[1:]), INVALID, r"labels\[0\]"),
    ("the smallest", (-2**63, *LABELS[1:]), INVALID, r"labels\[0\]"),
)
CLASSES = Whole(1, 65536, 3)
#: Of images in bytes: 4 dimensions.
DIMENSIONS = tuple(
    (what, values, INVALID, "shape|images") for what, values in (
        ("no images", (0, 2, 6, 6)), ("no channels", (20, 0, 6, 6)), ("no rows", (20, 2, 0, 6)),
        ("no columns", (20, 2, 6, 0)), ("negative", (-20, 2, 6, 6)),
        ("the smallest", (-2**63, 2, 6, 6)), ("too many channels", (20, 32769, 6, 6)),
        ("too many rows", (20, 2, 32769, 6)), ("too many columns", (20, 2, 6, 32769)),
        ("a product that overflows", (2**62, 2, 6, 6)),
        ("two that together overflow", (2**40, 32768, 32768, 1))))


def idx(world, what: str, dimensions: tuple[int, ...], fill: int = 1, kind: int = 8,
        length: int | None = None) -> str:
    """An IDX file."""
    data = bytes([0, 0, kind, len(dimensions)])
    data += b"".join(d.to_bytes(4, "big") for d in dimensions)
    count = int(np.prod(dimensions)) if length is None else length
    path = world.folder / f"{what}.idx"
    path.write_bytes(data + bytes([fill]) * count)
    return str(path)


def idx_row(what: str, status: int, *arguments, **options) -> Row:
    return Row(what, lambda world, _: idx(world, "bad", *arguments, **options).encode(), status,
               "bad.idx")


def content(what: str, data: bytes, status: int) -> Row:
    def made(world, _):
        (world.folder / "bad.idx").write_bytes(data)
        return str(world.folder / "bad.idx").encode()
    return Row(what, made, status, "bad.idx")


IDX_ROWS = (
    content("an empty file", b"", FORMAT), content("no IDX file", b"P6 2 2 255 0123", FORMAT),
    content("cut gzip", gzip.compress(bytes(1000))[:20], FORMAT),
    idx_row("of floats", UNSUPPORTED, (4, 6, 6), kind=13, length=4 * 144),
    idx_row("cut short", FORMAT, (4, 6, 6), length=100),
    idx_row("sizes that overflow", FORMAT, (2**32 - 1, 2**32 - 1, 2**32 - 1), length=8),
)


def cifar(world, test: bool = False) -> str:
    folder = world.folder / "cifar"
    folder.mkdir(exist_ok=True)
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        (folder / name).write_bytes(bytes(3073 * 2))
    return str(folder)


def cifar_row(what: str, status: int, named: str, **files: bytes) -> Row:
    def made(world, _):
        folder = world.folder / "broken"
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for name, data in files.items():
            (folder / f"{name}.bin").write_bytes(data)
        return str(folder).encode()
    return Row(what, made, status, named)


TRAIN = {f"data_batch_{i}": bytes(3073) for i in range(1, 6)}


def images_out(count: int) -> Tensor:
    """Where images are written: as many as there are at least."""
    at_least = Tensor((count, 2, 6, 6))
    return Tensor(
        (count, 2, 6, 6), finite=False, written=True, optional=True, empty=MISMATCH, agrees=None,
        more=(
            at_least.changed("one image less", MISMATCH,
                             array=lambda world: world.array((count - 1, 2, 6, 6))),
            at_least.changed("of 3 channels", MISMATCH,
                             array=lambda world: world.array((count, 3, 6, 6))),
            at_least.changed("of 3 dimensions", MISMATCH,
                             array=lambda world: world.array((count, 2, 36))),
            at_least.changed("more room is allowed", OK,
                             array=lambda world: world.array((count + 1, 2, 6, 6)))))


BATCH = {"epoch": Whole(1, 2**63 - 1, 1, allowed=(2**63 - 1,)),
         "batch": Whole(0, 2**63 - 1, 0, allowed=(3, 2**63 - 1)), "batch_size": Whole(1, 65536, 8)}


class Paired(Out):
    """A place for results that is given together with another, or not at all."""

    def __init__(self, type) -> None:
        super().__init__(type, 8)

    def rows(self, name: str):
        yield put("NULL, and the other is not", None, INVALID)


def numbers(name: str, *more: tuple[str, tuple[float, ...]]) -> Array:
    rows = [(what, values, INVALID, rf"{name}\[1\]") for what, values in (
        ("NaN", (0.5, float("nan"))), ("infinity", (0.5, float("inf"))),
        ("minus infinity", (0.5, -float("inf"))), *more)]
    return Array(c.c_double, (0.5, 0.5), tuple(rows))


def strided(what: str, *strides: int) -> tuple:
    return (what, strides, INVALID, "strides")


FUNCTIONS = {
    "graft_dataset_cifar": Function(
        {"directory": Path(cifar, IO, (
            cifar_row("with a file missing", IO, "data_batch_2", data_batch_1=bytes(3073)),
            cifar_row("files of both", INVALID, "broken", **TRAIN, train=bytes(3074)),
            cifar_row("a part of a record", FORMAT, "data_batch_3",
                      **{**TRAIN, "data_batch_3": bytes(3000)}),
            cifar_row("a label of no class", FORMAT, "data_batch_5",
                      **{**TRAIN, "data_batch_5": b"\x0a" + bytes(3072)}))),
         "split": Choice(2), "dataset": Out(c.c_void_p)}),
    "graft_dataset_idx": Function(
        {"images_path": Path(lambda world: idx(world, "images", (4, 6, 6)), IO, (
            *IDX_ROWS, idx_row("of 1 dimension", FORMAT, (4,)),
            idx_row("of 5 dimensions", FORMAT, (4, 1, 1, 1, 1)),
            Row("another count than labels", lambda world, _: idx(
                world, "bad", (5, 6, 6)).encode(), MISMATCH, "bad.idx"))),
         "labels_path": Path(lambda world: idx(world, "labels", (4,)), IO, (
             *IDX_ROWS, idx_row("of 3 dimensions", FORMAT, (4, 1, 1)))),
         "dataset": Out(c.c_void_p)}),
    "graft_dataset_arrays": Function(
        {"images": Tensor(SHAPE, agrees=None, more=(
            Tensor(SHAPE).changed("no channels", INVALID,
                                  array=lambda world: world.array((20, 0, 6, 6))),
            Tensor(SHAPE).changed("of 3 dimensions", INVALID,
                                  array=lambda world: world.array((20, 6, 6))),
            Tensor(SHAPE).changed(
                "too many rows", INVALID, array=lambda world: world.array((1, 1, 32769, 1))))),
         "labels": Array(c.c_int64, LABELS, WRONG_LABELS), "classes": CLASSES,
         "dataset": Out(c.c_void_p)}),
    "graft_dataset_bytes": Function(
        {"images": Array(c.c_uint8, (7,) * 1440),
         "shape": Array(c.c_int64, SHAPE, DIMENSIONS),
         "strides": Array(c.c_int64, (72, 36, 6, 1), (
             strided("negative", -72, 36, 6, 1), strided("the smallest", -2**63, 36, 6, 1),
             strided("that reach too far", 2**62, 36, 6, 1)), optional=True),
         "labels": Array(c.c_int64, LABELS, WRONG_LABELS), "classes": CLASSES,
         "dataset": Out(c.c_void_p)}),
    "graft_dataset_blank": Function(
        {"shape": Array(c.c_int64, SHAPE, DIMENSIONS),
         "labels": Array(c.c_int64, LABELS, WRONG_LABELS), "classes": CLASSES,
         "pixels": Out(c.POINTER(c.c_uint8)), "dataset": Out(c.c_void_p)}),
    "graft_dataset_destroy": Destroy({"dataset": Handle("dataset")}),
    "graft_dataset_get_info": Function(
        {"dataset": Handle("dataset"), "info": OutStruct(s.DatasetInfo)}),
    "graft_dataset_statistics": Function(
        {"dataset": Handle("dataset"), "mean": Out(c.c_double, 2), "deviation": Out(c.c_double, 2),
         "count": Whole(2, 2, 2, c.c_size_t, MISMATCH)}),
    "graft_dataset_normalise": Function(
        {"dataset": Handle("dataset"), "mean": numbers("mean"),
         "deviation": numbers("deviation", ("0", (0.5, 0.0)), ("negative", (0.5, -0.5)),
                              ("a denormal", (0.5, 5e-324)), ("huge", (0.5, FINITE * 2))),
         "count": Whole(2, 2, 2, c.c_size_t, MISMATCH), "normalised": Out(c.c_void_p)}),
    "graft_dataset_read": Function(
        {"dataset": Handle("dataset"),
         "indices": Array(c.c_int64, (0, 19, 3), (
             ("past the last", (0, 20, 3), INVALID, r"indices\[1\]"),
             ("negative", (0, 1, -1), INVALID, r"indices\[2\]"),
             ("the smallest", (-2**63, 1, 1), INVALID, r"indices\[0\]"))),
         "count": Whole(0, 1 << 40, 3, c.c_size_t, allowed=(0,)),
         "images": images_out(3), "labels": Out(c.c_int64, 3, optional=True)}),
    "graft_dataset_batch": Function(
        {"dataset": Handle("dataset"), "seed": Any_(), **BATCH,
         "crop_padding": Whole(0, 4096, 1, allowed=(0, 4096)), "flip": Flag(),
         "images": images_out(8), "labels": Out(c.c_int64, 8, optional=True),
         "count": Out(c.c_size_t)}),
    "graft_dataset_augmented_batch": Function(
        {"dataset": Handle("dataset"), "augmentation": AUGMENTATION, "seed": Any_(), **BATCH,
         "images": images_out(8), "labels": Out(c.c_int64, 8, optional=True),
         "others": Paired(c.c_int64), "shares": Paired(c.c_double), "count": Out(c.c_size_t)},
        (Row("neither others nor shares is allowed", lambda world, _: dict(
            others=None, shares=None), OK),)),
}
