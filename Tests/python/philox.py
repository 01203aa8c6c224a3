"""Philox4x32-10 in NumPy (Salmon, Moraes, Dror and Shaw, SC 2011), and which numbers a dropout keeps."""

from __future__ import annotations

import numpy as np

DROPOUT = 8  # RandomStream.Purpose


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """The words of counters, ... x 4, under a key."""
    word = [counter[..., i].astype(np.uint64) for i in range(4)]
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    first, second = (np.uint64(one) for one in key)
    for _ in range(10):
        left, right = word[0] * np.uint64(0xD2511F53), word[2] * np.uint64(0xCD9E8D57)
        word = [
            right >> half ^ word[1] ^ first, right & low, left >> half ^ word[3] ^ second, left & low]
        first, second = first + np.uint64(0x9E3779B9) & low, second + np.uint64(0xBB67AE85) & low
    return np.stack(word, -1).astype(np.uint32)


def kept(
    shape: tuple[int, int, int, int], probability: float, seed: int, step: int, layer: int = 0
) -> np.ndarray:
    """Whether each number of N x C x H x W is kept, as Include/graft/network.h says."""
    images, channels, height, width = shape
    family = np.array([step & 0xFFFFFFFF, step >> 32, DROPOUT, 0xFFFFFFFF], np.uint64)
    key = philox(family, (seed & 0xFFFFFFFF, seed >> 32))
    count = channels * height * width
    counter = np.zeros((images, -(-count // 4), 4), np.uint64)
    counter[..., 0] = np.arange(counter.shape[1])
    counter[..., 1] = layer
    counter[..., 2] = np.arange(images)[:, None]
    words = philox(counter, (int(key[0]), int(key[1]))).reshape(images, -1)[:, :count]
    keep = words >= round(probability * 2**32)
    return keep.reshape(images, height, width, channels).transpose(0, 3, 1, 2)
