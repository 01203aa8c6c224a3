"""Image files written and read in the plainest way, for the data set tests."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np

CIFAR10_FILES = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]


def write_idx(path: Path, array: np.ndarray, compressed: bool = False) -> Path:
    """An IDX file of unsigned bytes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if compressed else content)
    return path


def cifar_records(labels: np.ndarray, images: np.ndarray) -> bytes:
    """Records of CIFAR: `labels` n x 1 or n x 2 (coarse, fine), `images` n x 3 x 32 x 32, bytes."""
    return np.hstack([labels, images.reshape(len(images), -1)]).astype(np.uint8).tobytes()


def read_cifar(path: Path, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """What is in a CIFAR file, decoded by NumPy: images as bytes, and the last label."""
    records = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, label_bytes + 3072)
    return records[:, label_bytes:].reshape(-1, 3, 32, 32), records[:, label_bytes - 1]


def write_cifar10(folder: Path, rng: np.random.Generator, records: int = 20) -> None:
    folder.mkdir(exist_ok=True)
    for name in CIFAR10_FILES:
        images = rng.integers(0, 256, (records, 3, 32, 32))
        folder.joinpath(name).write_bytes(
            cifar_records(rng.integers(0, 10, (records, 1)), images))


def write_cifar100(folder: Path, rng: np.random.Generator, records: int = 200) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("train.bin", "test.bin"):
        labels = np.stack([rng.integers(0, 20, records), rng.integers(0, 100, records)], axis=1)
        images = rng.integers(0, 256, (records, 3, 32, 32))
        folder.joinpath(name).write_bytes(cifar_records(labels, images))
