"""IDX files, plain and compressed, against the arrays that were written; and damaged ones."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from images import write_idx

import graft


@pytest.fixture
def arrays():
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (30, 7, 5)), np.arange(30) % 10


@pytest.fixture
def paths(tmp_path, arrays):
    return (write_idx(tmp_path / "images", arrays[0]), write_idx(tmp_path / "labels", arrays[1]))


def raises(kind, words, images, labels):
    with pytest.raises(kind) as caught:
        graft.Dataset.idx(images, labels)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 5])
def test_images_and_labels(tmp_path, compressed, channels):
    rng = np.random.default_rng(2)
    shape = (40, 9, 6) if channels is None else (40, 9, 6, channels)
    pixels, labels = rng.integers(0, 256, shape), rng.integers(0, 47, 40)
    labels[3] = 46
    dataset = graft.Dataset.idx(
        write_idx(tmp_path / "i", pixels, compressed),
        write_idx(tmp_path / "l", labels, compressed))
    expected = pixels[..., None] if channels is None else pixels
    expected = (expected.transpose(0, 3, 1, 2) / 255.0).astype(np.float32)
    images, numbers = dataset.read()
    assert dataset.shape == expected.shape and dataset.classes == 47
    assert np.array_equal(images, expected) and np.array_equal(numbers, labels)


def test_gzip_of_several_members(tmp_path, arrays):
    path = write_idx(tmp_path / "i", arrays[0])
    content = path.read_bytes()
    path.write_bytes(gzip.compress(content[:500]) + gzip.compress(content[500:]))
    dataset = graft.Dataset.idx(path, write_idx(tmp_path / "l", arrays[1], True))
    assert np.array_equal(np.round(dataset.read()[0][:, 0] * 255), arrays[0])


def test_every_truncation_is_an_error(tmp_path, arrays, paths):
    for compressed in (False, True):
        for position, array in enumerate(arrays):
            whole = write_idx(tmp_path / "whole", array, compressed).read_bytes()
            cut = tmp_path / "cut"
            pair = list(paths)
            pair[position] = cut
            lengths = set(range(0, 40)) | set(range(40, len(whole), 29)) | {len(whole) - 1}
            for length in lengths:
                if length >= len(whole):
                    continue
                cut.write_bytes(whole[:length])
                raises(graft.FormatError, [str(cut)], *pair)


def test_a_damaged_byte_never_ends_the_process(tmp_path, arrays, paths):
    rng = np.random.default_rng(3)
    for compressed in (False, True):
        whole = write_idx(tmp_path / "whole", arrays[0], compressed).read_bytes()
        damaged = tmp_path / "damaged"
        for _ in range(400):
            content = bytearray(whole)
            place = rng.integers(0, len(content))
            content[place] ^= rng.integers(1, 256)
            damaged.write_bytes(content)
            try:
                dataset = graft.Dataset.idx(damaged, paths[1])
            except (graft.FormatError, graft.UnsupportedError, graft.ShapeMismatchError) as error:
                assert str(damaged) in str(error)
            else:
                assert len(dataset) == 30
                if compressed:  # only gzip's own header may change unseen
                    assert place < 10
                    assert np.array_equal(np.round(dataset.read()[0][:, 0] * 255), arrays[0])


@pytest.mark.parametrize("magic, kind, words", [
    (b"\1\0\x08\3", graft.FormatError, "not an IDX file"),
    (b"\0\1\x08\3", graft.FormatError, "not an IDX file"),
    (b"\0\0\x07\3", graft.FormatError, "not an IDX file"),
    (b"\0\0\x0d\3", graft.UnsupportedError, "type 13"),
    (b"\0\0\x08\2", graft.FormatError, "2 dimensions; images have 3 or 4"),
    (b"\0\0\x08\5", graft.FormatError, "5 dimensions"),
    (b"\0\0\x08\xff", graft.FormatError, "255 dimensions"),
    (b"PK\3\4", graft.FormatError, "not an IDX file"),
])
def test_a_wrong_beginning(tmp_path, paths, magic, kind, words):
    path = tmp_path / "wrong"
    path.write_bytes(magic + paths[0].read_bytes()[4:])
    raises(kind, [str(path), words], path, paths[1])


def test_images_and_labels_the_other_way_round(paths):
    raises(graft.FormatError, [str(paths[1]), "1 dimensions; images have 3 or 4"], *paths[::-1])
    raises(graft.FormatError, [str(paths[0]), "labels have 1"], paths[0], paths[0])


@pytest.mark.parametrize("shape", [
    (0xFFFFFFFF,) * 3, (0xFFFFFFFF,) * 4, (30, 0xFFFF, 0xFFFF), (30, 7, 6), (31, 7, 5),
    (1 << 31, 1, 1),
])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_header_that_promises_too_much(tmp_path, paths, shape, compressed):
    path = tmp_path / "bomb"
    content = struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + bytes(30 * 35)
    path.write_bytes(gzip.compress(content) if compressed else content)
    labels = write_idx(tmp_path / "many", np.zeros(31)) if shape[0] == 31 else paths[1]
    raises((graft.FormatError, graft.ShapeMismatchError), [str(path)], path, labels)


@pytest.mark.parametrize("compressed", [False, True])
def test_something_behind_the_data(tmp_path, arrays, paths, compressed):
    path = write_idx(tmp_path / "long", arrays[0])
    content = path.read_bytes() + b"\0"
    path.write_bytes(gzip.compress(content) if compressed else content)
    raises(graft.FormatError, [str(path), "more in it"], path, paths[1])


@pytest.mark.parametrize("shape", [(0, 7, 5), (3, 0, 5), (3, 7, 0), (3, 7, 5, 0)])
def test_no_image(tmp_path, shape):
    path = write_idx(tmp_path / "i", np.zeros(shape))
    labels = write_idx(tmp_path / "l", np.zeros(shape[0]))
    raises(graft.FormatError, [str(path), "there must be an image"], path, labels)


def test_counts_that_differ(tmp_path, arrays, paths):
    labels = write_idx(tmp_path / "fewer", arrays[1][:29])
    raises(graft.ShapeMismatchError, ["30 images", "29 labels", str(labels)], paths[0], labels)


def test_files_that_cannot_be_read(tmp_path, paths):
    for images, labels in ((tmp_path / "no", paths[1]), (paths[0], tmp_path / "no")):
        raises(graft.FileError, [str(tmp_path / "no"), "No such file"], images, labels)
    raises(graft.FileError, [str(tmp_path), "is a directory"], tmp_path, paths[1])
    raises(graft.FileError, ["/dev/zero", "not a regular file"], "/dev/zero", paths[1])
    with pytest.raises(graft.InvalidArgumentError, match="NUL"):
        graft.Dataset.idx("a\0b", paths[1])
