"""CIFAR's binary files against NumPy's own decoding of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from images import (
    CIFAR10_FILES, cifar_records, read_cifar, write_cifar10, write_cifar100,
)

import graft

TRAIN, TEST = CIFAR10_FILES[:5], CIFAR10_FILES[5:]


def check_split(folder: Path, split: str, files: list[str], label_bytes: int, classes: int) -> None:
    dataset = graft.Dataset.cifar(folder, split)
    parts = [read_cifar(folder / name, label_bytes) for name in files]
    pixels = np.concatenate([images for images, _ in parts])
    labels = np.concatenate([numbers for _, numbers in parts])
    assert dataset.shape == pixels.shape and dataset.classes == classes
    for first in range(0, len(dataset), 10000):
        numbers = range(first, min(first + 10000, len(dataset)))
        images, own = dataset.read(numbers)
        expected = (pixels[numbers] / 255.0).astype(np.float32)
        assert np.array_equal(images, expected)
        assert np.array_equal(own, labels[numbers])


@pytest.mark.parametrize("records", [1, 64, 150])
def test_cifar10(tmp_path, records):
    write_cifar10(tmp_path, np.random.default_rng(1), records)
    check_split(tmp_path, "train", TRAIN, 1, 10)
    check_split(tmp_path, "test", TEST, 1, 10)


def test_cifar100_gives_the_fine_classes(tmp_path):
    write_cifar100(tmp_path, np.random.default_rng(2))
    check_split(tmp_path, "train", ["train.bin"], 2, 100)
    check_split(tmp_path, "test", ["test.bin"], 2, 100)


def test_the_real_files(tmp_path):
    """With GRAFT_CIFAR10 naming the real files' directory, those; else synthetic ones."""
    folder = os.environ.get("GRAFT_CIFAR10")
    if folder is None:
        write_cifar10(tmp_path, np.random.default_rng(3))
    real = Path(folder or tmp_path)
    check_split(real, "train", TRAIN, 1, 10)
    check_split(real, "test", TEST, 1, 10)
    if folder is not None:
        mean, deviation = graft.Dataset.cifar(real, "train").statistics()
        # The well-known figures; copies that went through JPEG differ in the third decimal.
        assert np.allclose(mean, [0.4914, 0.4822, 0.4465], atol=3e-3)
        assert np.allclose(deviation, [0.2470, 0.2435, 0.2616], atol=3e-3)


def raises(kind: type[Exception], words: list[str], folder: Path, split: str = "train") -> None:
    with pytest.raises(kind) as caught:
        graft.Dataset.cifar(folder, split)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_missing_files_are_named(tmp_path):
    raises(graft.FileError, [str(tmp_path / "none"), "No such file"], tmp_path / "none")
    raises(graft.FileError, [str(tmp_path), "data_batch_1.bin", "train.bin"], tmp_path)
    write_cifar10(tmp_path, np.random.default_rng(4))
    (tmp_path / TRAIN[2]).unlink()
    raises(graft.FileError, [str(tmp_path / TRAIN[2]), "No such file"], tmp_path)
    assert len(graft.Dataset.cifar(tmp_path, "test")) == 20


def test_what_cannot_be_read_is_named(tmp_path):
    write_cifar10(tmp_path, np.random.default_rng(5))
    path = tmp_path / TRAIN[1]
    path.unlink()
    path.mkdir()
    raises(graft.FileError, [str(path), "is a directory"], tmp_path)
    path.rmdir()
    path.symlink_to(path)
    raises(graft.FileError, [str(path), "symbolic links"], tmp_path)
    path.unlink()
    os.mkfifo(path)
    raises(graft.FileError, [str(path), "not a regular file"], tmp_path)
    raises(graft.FileError, [str(tmp_path / TRAIN[0]), "Not a directory"], tmp_path / TRAIN[0])


@pytest.mark.parametrize("length", [0, 1, 3072, 3074, 20 * 3073 - 1])
def test_a_length_that_is_no_number_of_records(tmp_path, length):
    write_cifar10(tmp_path, np.random.default_rng(6))
    path = tmp_path / TRAIN[3]
    path.write_bytes(path.read_bytes().ljust(4000, b"\0")[:length])
    raises(graft.FormatError, [str(path), f"{length} bytes", "3073"], tmp_path)


def test_a_label_out_of_range(tmp_path):
    write_cifar10(tmp_path, np.random.default_rng(7), records=100)
    path = tmp_path / TEST[0]
    content = bytearray(path.read_bytes())
    content[70 * 3073] = 10
    path.write_bytes(content)
    raises(graft.FormatError, [str(path), "record 70", "label 10", "0 to 9"], tmp_path, "test")
    hundred = tmp_path / "hundred"
    write_cifar100(hundred, np.random.default_rng(8))
    for label, words in ((bytes([20, 0]), "0 to 19"), (bytes([0, 100]), "0 to 99")):
        images = np.zeros((1, 3, 32, 32))
        (hundred / "train.bin").write_bytes(
            cifar_records(np.frombuffer(label, np.uint8)[None], images))
        raises(graft.FormatError, [str(hundred / "train.bin"), "record 0", words], hundred)


def test_files_of_both_are_ambiguous(tmp_path):
    write_cifar10(tmp_path, np.random.default_rng(9))
    write_cifar100(tmp_path, np.random.default_rng(9))
    raises(graft.InvalidArgumentError, [str(tmp_path), "CIFAR-10 and of CIFAR-100"], tmp_path)


def test_an_unknown_split(tmp_path):
    raises(graft.InvalidArgumentError, ["split", "'valid'", '"train"'], tmp_path, "valid")
