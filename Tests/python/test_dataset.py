"""Data sets from arrays, statistics, normalising, reading; wrong arguments; the C interface."""

from __future__ import annotations

import ctypes
import gc
import re
import weakref
from ctypes import byref, c_double, c_int64, c_size_t, c_void_p, sizeof

import numpy as np
import pytest
import torch

import graft
from graft import _structures
from graft._arrays import describe, pointer
from graft._library import lib

RNG = np.random.default_rng(1)
BYTES = RNG.integers(0, 256, (12, 3, 5, 4)).astype(np.uint8)
FLOATS = RNG.normal(size=(12, 3, 5, 4)).astype(np.float32)
LABELS = np.arange(12) % 4


def layouts(array: np.ndarray) -> dict[str, np.ndarray]:
    """The same array at other strides."""
    wide = np.zeros((array.shape[0], array.shape[1] + 1, 2 * array.shape[2], 3 * array.shape[3]),
                    array.dtype)
    wide[:, 1:, ::2, 1::3] = array
    return {
        "plain": array,
        "channels last": np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "reversed axes": np.ascontiguousarray(array.T).T,
        "with gaps": wide[:, 1:, ::2, 1::3],
        "backwards": array[::-1].copy()[::-1],
        "big-endian": array.astype(array.dtype.newbyteorder(">")),
        "read-only": np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape),
    }


@pytest.mark.parametrize("layout", layouts(BYTES))
def test_bytes_of_any_layout(layout):
    dataset = graft.Dataset.from_arrays(layouts(BYTES)[layout], LABELS)
    images, labels = dataset.read()
    assert np.array_equal(images, (BYTES / 255.0).astype(np.float32))
    assert np.array_equal(labels, LABELS)
    assert images.dtype == np.float32 and labels.dtype == np.int64
    assert dataset.shape == (12, 3, 5, 4) and dataset.classes == 4 and len(dataset) == 12


@pytest.mark.parametrize("layout", layouts(FLOATS))
def test_floats_of_any_layout(layout):
    dataset = graft.Dataset.from_arrays(layouts(FLOATS)[layout], LABELS, classes=9)
    assert np.array_equal(dataset.read()[0], FLOATS)
    assert dataset.classes == 9


def test_other_kinds_of_arrays():
    last = graft.Dataset.from_arrays(FLOATS.transpose(0, 2, 3, 1), LABELS, layout="NHWC")
    assert np.array_equal(last.read()[0], FLOATS)
    from_torch = graft.Dataset.from_arrays(torch.from_numpy(BYTES), torch.from_numpy(LABELS))
    assert np.array_equal(from_torch.read()[0], (BYTES / 255.0).astype(np.float32))
    half = graft.Dataset.from_arrays(torch.from_numpy(FLOATS).bfloat16(), LABELS)
    expected = torch.from_numpy(FLOATS).bfloat16().float().numpy()
    assert np.array_equal(half.read()[0], expected)
    grey = graft.Dataset.from_arrays(FLOATS[:, 0].astype(np.float64), LABELS.tolist())
    assert grey.shape == (12, 1, 5, 4)
    assert np.array_equal(grey.read()[0][:, 0], FLOATS[:, 0])
    assert "12 images of 3 x 5 x 4, 4 classes" in repr(last)


def test_the_arrays_are_copied():
    images, labels = FLOATS.copy(), LABELS.copy()
    dataset = graft.Dataset.from_arrays(images, labels)
    images[:], labels[:] = 0, 0
    assert np.array_equal(dataset.read()[0], FLOATS)
    assert np.array_equal(dataset.read()[1], LABELS)


def test_reading_in_any_order():
    dataset = graft.Dataset.from_arrays(FLOATS, LABELS)
    images, labels = dataset.read([5, 0, 5, 11])
    assert np.array_equal(images, FLOATS[[5, 0, 5, 11]])
    assert np.array_equal(labels, LABELS[[5, 0, 5, 11]])
    assert dataset.read([])[0].shape == (0, 3, 5, 4)
    for bad in (-1, 12, 1 << 40):
        with pytest.raises(graft.InvalidArgumentError, match=rf"indices\[1\] is {bad}.* 0 to 11"):
            dataset.read([0, bad])
    with pytest.raises(graft.InvalidArgumentError, match="indices"):
        dataset.read([0.5])


@pytest.mark.parametrize("images", [BYTES, FLOATS, FLOATS * 1e-3 + 1000, BYTES[:1, :1, :1, :1]])
def test_statistics(images):
    values = images / 255.0 if images.dtype == np.uint8 else images.astype(np.float64)
    mean, deviation = graft.Dataset.from_arrays(images, LABELS[: len(images)]).statistics()
    np.testing.assert_allclose(mean, values.mean((0, 2, 3)), rtol=1e-13)
    np.testing.assert_allclose(deviation, values.std((0, 2, 3)), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("images", [BYTES, FLOATS])
def test_normalising(images):
    values = images / 255.0 if images.dtype == np.uint8 else images.astype(np.float64)
    dataset = graft.Dataset.from_arrays(images, LABELS)
    mean, deviation = np.array([0.1, -0.2, 0.3]), np.array([0.5, 2.0, 1e-3])
    shown = dataset.normalise(mean, deviation)
    expected = (values - mean[:, None, None]) / deviation[:, None, None]
    assert np.array_equal(shown.read()[0], expected.astype(np.float32))
    assert np.array_equal(dataset.read()[0], values.astype(np.float32))  # the first is as it was
    again = shown.normalise(*shown.statistics())
    np.testing.assert_allclose(again.statistics(), [[0] * 3, [1] * 3], atol=1e-12)
    half = dataset.normalise(0.5, 0.5).read()[0]
    assert np.array_equal(half, ((values - 0.5) / 0.5).astype(np.float32))
    del dataset, shown
    gc.collect()
    assert np.isfinite(again.read()[0]).all()  # it holds the shared images itself


@pytest.mark.parametrize("mean, deviation, kind, words", [
    ([0, 0], [1, 1, 1], graft.ShapeMismatchError, "mean"),
    ([0, 0, 0], [[1, 1, 1]], graft.ShapeMismatchError, "deviation"),
    ([0, 0, 0], [1, 0, 1], graft.InvalidArgumentError, r"deviation\[1\] is 0"),
    ([0, 0, 0], [1, 1, -1], graft.InvalidArgumentError, r"deviation\[2\] is -1"),
    ([0, 0, 0], [np.nan, 1, 1], graft.InvalidArgumentError, r"deviation\[0\] is nan"),
    ([0, 0, 0], [np.inf, 1, 1], graft.InvalidArgumentError, r"deviation\[0\] is inf"),
    ([0, np.nan, 0], [1, 1, 1], graft.InvalidArgumentError, r"mean\[1\] is nan"),
    (["a", 0, 0], [1, 1, 1], graft.InvalidArgumentError, "mean"),
])
def test_normalising_with_wrong_numbers(mean, deviation, kind, words):
    with pytest.raises(kind, match=words):
        graft.Dataset.from_arrays(FLOATS, LABELS).normalise(mean, deviation)


@pytest.mark.parametrize("images, labels, options, kind, words", [
    (FLOATS[0, 0], LABELS, {}, graft.InvalidArgumentError, r"shape \(5, 4\)"),
    (FLOATS[:0], LABELS[:0], {}, graft.InvalidArgumentError, r"shape \[0, 3, 5, 4\]"),
    (FLOATS[:, :0], LABELS, {}, graft.InvalidArgumentError, r"\[12, 0, 5, 4\]"),
    (BYTES[:, :, :0], LABELS, {}, graft.InvalidArgumentError, r"\[12, 3, 0, 4\]"),
    (FLOATS, LABELS[:11], {}, graft.ShapeMismatchError, "12 images and 11 labels"),
    (FLOATS, LABELS - 1, {}, graft.InvalidArgumentError, r"labels\[0\] is -1"),
    (FLOATS, LABELS, {"classes": 3}, graft.InvalidArgumentError, r"labels\[3\] is 3.*0 to 2"),
    (BYTES, LABELS, {"classes": 3}, graft.InvalidArgumentError, r"labels\[3\] is 3.*0 to 2"),
    (FLOATS, LABELS, {"classes": 0}, graft.InvalidArgumentError, "classes is 0.*1 to 65536"),
    (FLOATS, LABELS, {"classes": 1 << 64}, graft.InvalidArgumentError, "classes"),
    (FLOATS, LABELS, {"classes": 2.0}, graft.InvalidArgumentError, "classes is 2.0"),
    (FLOATS, LABELS + (1 << 40), {}, graft.InvalidArgumentError, "classes is 1099511627780"),
    (FLOATS, LABELS / 2, {}, graft.InvalidArgumentError, "labels"),
    (FLOATS, LABELS, {"layout": "CHWN"}, graft.InvalidArgumentError, "layout is 'CHWN'"),
    (BYTES.astype(np.int16), LABELS, {}, graft.InvalidArgumentError, "int16"),
    ("images", LABELS, {}, graft.InvalidArgumentError, "images"),
])
def test_wrong_arrays(images, labels, options, kind, words):
    with pytest.raises(kind, match=words):
        graft.Dataset.from_arrays(images, labels, **options)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(value):
    images = FLOATS.copy()
    images[7, 2, 4, 1] = images[9, 0, 0, 0] = value
    with pytest.raises(graft.NotFiniteError, match=re.escape(f"images[7, 2, 4, 1] is {value}")):
        graft.Dataset.from_arrays(images, LABELS)


def test_a_data_set_ends_with_its_object():
    dataset = graft.Dataset.from_arrays(FLOATS, LABELS)
    watch = weakref.ref(dataset)
    del dataset
    gc.collect()
    assert watch() is None
    with pytest.raises(TypeError, match="Dataset.cifar"):
        graft.Dataset()


# ---- the C interface, past what Python checks ----------------------------------------------------


def message(status: int) -> tuple[int, str]:
    return status, lib.graft_last_error().decode()


@pytest.fixture
def handle():
    dataset = graft.Dataset.from_arrays(FLOATS, LABELS)
    yield dataset._handle
    del dataset


def test_null_pointers(handle):
    out, numbers = c_void_p(), (c_double * 3)()
    indices, count = (c_int64 * 1)(0), c_size_t()
    images, labels = describe(FLOATS, "images"), pointer(LABELS, c_int64)
    pixels = BYTES.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
    shape = (c_int64 * 4)(12, 3, 5, 4)
    info = _structures.DatasetInfo()
    calls = [
        (lib.graft_dataset_cifar(None, 0, byref(out)), "directory"),
        (lib.graft_dataset_cifar(b"/", 0, None), "dataset"),
        (lib.graft_dataset_idx(None, b"l", byref(out)), "images_path"),
        (lib.graft_dataset_idx(b"i", None, byref(out)), "labels_path"),
        (lib.graft_dataset_idx(b"i", b"l", None), "dataset"),
        (lib.graft_dataset_arrays(None, labels, 4, byref(out)), "images"),
        (lib.graft_dataset_arrays(images.pointer, None, 4, byref(out)), "labels"),
        (lib.graft_dataset_arrays(images.pointer, labels, 4, None), "dataset"),
        (lib.graft_dataset_bytes(None, shape, None, labels, 4, byref(out)), "images"),
        (lib.graft_dataset_bytes(pixels, None, None, labels, 4, byref(out)), "shape"),
        (lib.graft_dataset_bytes(pixels, shape, None, None, 4, byref(out)), "labels"),
        (lib.graft_dataset_bytes(pixels, shape, None, labels, 4, None), "dataset"),
        (lib.graft_dataset_get_info(None, byref(info)), "dataset"),
        (lib.graft_dataset_get_info(handle, None), "info"),
        (lib.graft_dataset_statistics(None, numbers, numbers, 3), "dataset"),
        (lib.graft_dataset_statistics(handle, None, numbers, 3), "mean"),
        (lib.graft_dataset_statistics(handle, numbers, None, 3), "deviation"),
        (lib.graft_dataset_normalise(None, numbers, numbers, 3, byref(out)), "dataset"),
        (lib.graft_dataset_normalise(handle, None, numbers, 3, byref(out)), "mean"),
        (lib.graft_dataset_normalise(handle, numbers, None, 3, byref(out)), "deviation"),
        (lib.graft_dataset_normalise(handle, numbers, numbers, 3, None), "normalised"),
        (lib.graft_dataset_read(None, indices, 1, None, None), "dataset"),
        (lib.graft_dataset_read(handle, None, 1, None, None), "indices"),
        (lib.graft_dataset_batch(None, 0, 1, 0, 1, 0, 0, None, None, byref(count)), "dataset"),
        (lib.graft_dataset_batch(handle, 0, 1, 0, 1, 0, 0, None, None, None), "count"),
    ]
    for status, name in calls:
        assert status == graft.InvalidArgumentError.status, name
    for call, name in (
        (lambda: lib.graft_dataset_get_info(handle, None), "info is NULL"),
        (lambda: lib.graft_dataset_read(handle, None, 1, None, None), "indices is NULL"),
    ):
        assert message(call()) == (1, name)
    assert not out.value
    lib.graft_dataset_destroy(None)


def test_what_the_library_checks_itself(handle):
    numbers, indices, count = (c_double * 3)(7, 7, 7), (c_int64 * 1)(0), c_size_t(99)
    status, text = message(lib.graft_dataset_statistics(handle, numbers, numbers, 2))
    assert status == graft.ShapeMismatchError.status and "count is 2" in text
    assert list(numbers) == [7, 7, 7]
    for shape in ((1, 3, 5, 3), (1, 4, 5, 4), (0, 3, 5, 4), (3, 5, 4)):
        target = describe(np.zeros(shape, np.float32), "images", writable=True)
        status, text = message(lib.graft_dataset_read(handle, indices, 1, target.pointer, None))
        assert status == graft.ShapeMismatchError.status and str(list(shape)) in text
    target = describe(np.zeros((1, 3, 5, 4)), "images", writable=True)
    status, text = message(lib.graft_dataset_read(handle, indices, 1, target.pointer, None))
    assert status == graft.UnsupportedError.status and "float32" in text
    for arguments, name in (
        ((0, 0, 1), "epoch"), ((1, -1, 1), "batch"), ((1, 0, 0), "batch_size"),
        ((1, 0, 65537), "batch_size"), ((1, 0, 1, -1), "crop_padding"),
        ((1, 0, 1, 4097), "crop_padding"), ((1, 0, 1, 0, 2), "flip"),
    ):
        arguments = (*arguments, 0, 0)[:5]
        status, text = message(
            lib.graft_dataset_batch(handle, 0, *arguments, None, None, byref(count)))
        assert status == graft.InvalidArgumentError.status and text.startswith(name), text
    assert count.value == 99
    status, text = message(lib.graft_dataset_cifar(b"/", 2, byref(c_void_p())))
    assert status == graft.InvalidArgumentError.status and "split is 2" in text
    status, text = message(lib.graft_dataset_cifar(b"\xff", 0, byref(c_void_p())))
    assert status == graft.InvalidArgumentError.status and "UTF-8" in text


@pytest.mark.parametrize("shape, strides", [
    ((1 << 62, 1, 1, 1), None), ((1 << 40, 1 << 15, 1 << 15, 1 << 15), None), ((-1, 3, 5, 4), None),
    ((12, 3, 5, 32769), None), ((12, 3, 5, 4), (-1, 20, 4, 1)),
    ((12, 3, 5, 4), (1 << 62, 1 << 62, 1 << 62, 1 << 62)),
])
def test_sizes_that_no_memory_has(shape, strides):
    out = c_void_p()
    status = lib.graft_dataset_bytes(
        BYTES.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)), (c_int64 * 4)(*shape),
        strides and (c_int64 * 4)(*strides), pointer(LABELS, c_int64), 4, byref(out))
    assert status in (graft.InvalidArgumentError.status, graft.OutOfMemoryError.status)
    assert not out.value


def test_an_info_struct_of_an_older_version(handle):
    info = _structures.DatasetInfo(count=-1, channels=-1, height=-1)
    info.struct_size = 2 * sizeof(c_int64) + sizeof(c_size_t)
    assert lib.graft_dataset_get_info(handle, byref(info)) == 0
    assert (info.count, info.channels, info.height) == (12, 3, -1)


def test_images_into_memory_of_any_layout(handle):
    indices = (c_int64 * 3)(4, 2, 9)
    roomy = np.full((4, 5, 7, 5), 7, np.float32)
    for target in (np.zeros((3, 5, 4, 3), np.float32).transpose(0, 3, 1, 2), roomy[:3, 2:, :5, 1:],
                   np.zeros((4, 5, 3, 3), np.float32).T, np.zeros((9, 3, 5, 4), np.float32)):
        described = describe(target, "images", writable=True)
        assert lib.graft_dataset_read(handle, indices, 3, described.pointer, None) == 0
        assert np.array_equal(target[:3], FLOATS[[4, 2, 9]])
        assert not target[3:].any()
    roomy[:3, 2:, :5, 1:] = 7
    assert (roomy == 7).all()  # nothing was written beside it
