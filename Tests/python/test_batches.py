"""Batches: every image once an epoch, the same from the same seed, and augmentation that is exactly
one of the windows and mirror images that NumPy makes, each as often as the others."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graft

RNG = np.random.default_rng(1)


def numbered(count: int, height: int = 3, width: int = 4, channels: int = 2) -> graft.Dataset:
    """A data set whose labels are the images' own numbers."""
    images = RNG.integers(0, 256, (count, channels, height, width)).astype(np.uint8)
    return graft.Dataset.from_arrays(images, np.arange(count))


def epoch_of(dataset, seed, epoch, size, **options):
    """All batches of an epoch."""
    batches = (dataset.batch(seed, epoch, number, size, **options) for number in itertools.count())
    return list(itertools.takewhile(lambda batch: len(batch[1]), batches))


def order(dataset, seed, epoch, size=7):
    return np.concatenate([labels for _, labels in epoch_of(dataset, seed, epoch, size)])


# ---- order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count, size", [(1, 1), (1, 5), (10, 3), (10, 5), (10, 10), (10, 11)])
def test_every_image_once_an_epoch(count, size):
    dataset = numbered(count)
    everything, _ = dataset.read()
    batches = epoch_of(dataset, 4, 1, size)
    assert [len(labels) for _, labels in batches] == [
        min(size, count - first) for first in range(0, count, size)]
    labels = np.concatenate([labels for _, labels in batches])
    images = np.concatenate([images for images, _ in batches])
    assert sorted(labels) == list(range(count))
    assert np.array_equal(images, everything[labels])
    for number in (len(batches), len(batches) + 7, 1 << 62):
        assert dataset.batch(4, 1, number, size)[0].shape == (0, 2, 3, 4)


def test_the_order_does_not_depend_on_the_batch_size_or_the_data():
    dataset = numbered(50)
    assert np.array_equal(order(dataset, 3, 2, 7), order(dataset, 3, 2, 50))
    assert np.array_equal(order(dataset, 3, 2), order(numbered(50, channels=1), 3, 2))


def test_seeds_and_epochs_give_other_orders():
    dataset = numbered(40)
    seeds, epochs = [0, 1, 2, 1 << 32, (1 << 64) - 1], [1, 2, 3, 1 << 32, (1 << 63) - 1]
    keys = list(itertools.product(seeds, epochs))
    orders = {tuple(order(dataset, *key, 40)) for key in keys}
    assert len(orders) == len(keys)


def test_the_same_arguments_give_the_same_bits():
    first, second = numbered(40), None
    second = graft.Dataset.from_arrays((first.read()[0] * 255).round().astype(np.uint8), range(40))
    for epoch in (1, 2):
        for (images, labels), (others, numbers) in zip(
            epoch_of(first, 9, epoch, 16, crop_padding=2, flip=True),
            epoch_of(second, 9, epoch, 16, crop_padding=2, flip=True)):
            assert np.array_equal(images, others) and np.array_equal(labels, numbers)


def test_an_order_that_must_never_change():
    """What a seed gives is part of what a result means. Philox4x32-10, Lemire's bounded numbers and
    the Fisher-Yates shuffle, written down once more."""
    for count, seed, epoch in ((10, 0, 1), (33, 1234567890123456789, 7)):
        assert list(order(numbered(count), seed, epoch)) == shuffle(count, seed, epoch)


def philox(counter, key):
    a, b, c, d = counter
    k, l = key
    for _ in range(10):
        left, right = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (right >> 32) ^ b ^ k, right & MASK, (left >> 32) ^ d ^ l, left & MASK
        k, l = (k + 0x9E3779B9) & MASK, (l + 0xBB67AE85) & MASK
    return a, b, c, d


MASK = 0xFFFFFFFF
SHUFFLE, AUGMENTATION = 2, 3


def words(seed, purpose, epoch, index=0):
    key = philox((epoch & MASK, epoch >> 32, purpose, MASK), (seed & MASK, seed >> 32))[:2]
    for block in itertools.count():
        yield from philox((block, 0, index & MASK, index >> 32), key)


def below(stream, limit):
    if limit == 1:
        return 0
    while True:
        wide = next(stream) * limit
        if wide & MASK >= (1 << 32) % limit:
            return wide >> 32


def shuffle(count, seed, epoch):
    stream, numbers = words(seed, SHUFFLE, epoch), list(range(count))
    for last in range(count - 1, 0, -1):
        other = below(stream, last + 1)
        numbers[last], numbers[other] = numbers[other], numbers[last]
    return numbers


def test_orders_are_uniform():
    """All 24 orders of four images, over 4800 seeds."""
    dataset = numbered(4)
    counts = {}
    for seed in range(4800):
        key = tuple(order(dataset, seed, 1, 4))
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 24
    assert chi_square(list(counts.values())) < 49.7  # 23 degrees of freedom, one in a thousand


def chi_square(counts):
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


# ---- augmentation --------------------------------------------------------------------------------


def candidates(image, padding, flip):
    """(top, left, mirrored) -> what NumPy makes of a C x H x W image whose padding holds zeros."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    offsets = range(2 * padding + 1)
    return {
        (top, left, mirrored): padded[:, top : top + height, left : left + width][
            :, :, :: -1 if mirrored else 1]
        for top, left, mirrored in itertools.product(offsets, offsets, range(1 + flip))
    }


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("padding, flip", [(0, True), (1, False), (1, True), (2, True)])
def test_augmented_images(channels, floats, padding, flip):
    """Every image is exactly one of the candidates; all candidates come, each as often."""
    rng = np.random.default_rng(2)
    count, epochs = 8, 150
    pixels = rng.integers(1, 256, (count, channels, 5, 4)).astype(np.uint8)
    mean, deviation = rng.normal(size=channels), rng.uniform(0.5, 2, channels)
    values = pixels.astype(np.float32) if floats else pixels
    dataset = graft.Dataset.from_arrays(values, np.arange(count)).normalise(mean, deviation)

    def shown(image):
        raw = image.astype(np.float64) if floats else image / 255.0
        return ((raw - mean[:, None, None]) / deviation[:, None, None]).astype(np.float32)

    keys = {}
    for index, image in enumerate(pixels):
        for key, candidate in candidates(image, padding, flip).items():
            keys[index, shown(candidate).tobytes()] = key
    assert len(keys) == count * (2 * padding + 1) ** 2 * (1 + flip)

    counts = dict.fromkeys(keys.values(), 0)
    for epoch in range(1, epochs + 1):
        batches = epoch_of(dataset, 5, epoch, 3, crop_padding=padding, flip=flip)
        labels = np.concatenate([labels for _, labels in batches])
        assert sorted(labels) == list(range(count))
        for images, labels in batches:
            for image, label in zip(images, labels):
                counts[keys[label, image.tobytes()]] += 1
    assert min(counts.values()) > 0
    freedom = len(counts) - 1
    # The chi-square's mean is `freedom`, its variance twice that; four deviations, and some for
    # its skew.
    assert chi_square(list(counts.values())) < freedom + 4 * np.sqrt(2 * freedom) + 8


def test_crops_and_flips_that_must_never_change():
    """The draws of an image are those of its own stream: flip, top, left."""
    dataset, padding, seed, epoch = numbered(20), 2, 77, 3
    images, labels = dataset.batch(seed, epoch, 0, 20, crop_padding=padding, flip=True)
    plain, _ = dataset.read()
    for image, label in zip(images, labels):
        stream = words(seed, AUGMENTATION, epoch, int(label))
        mirrored = next(stream) >> 31
        top, left = below(stream, 5), below(stream, 5)
        assert np.array_equal(image, candidates(plain[label], padding, True)[top, left, mirrored])


def test_augmentation_depends_on_the_image_not_on_the_batch():
    dataset = numbered(30)
    options = {"crop_padding": 1, "flip": True}
    whole = np.concatenate([images for images, _ in epoch_of(dataset, 1, 4, 30, **options)])
    parts = np.concatenate([images for images, _ in epoch_of(dataset, 1, 4, 8, **options)])
    assert np.array_equal(whole, parts)
    assert not np.array_equal(whole, dataset.batch(1, 4, 0, 30, crop_padding=1)[0])


@pytest.mark.parametrize("padding", [4, 5, 9, 100])
def test_padding_larger_than_the_image(padding):
    """A window may lie wholly in the padding, which is black before normalisation."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(1, 256, (64, 3, 4, 5)).astype(np.uint8)
    plain = graft.Dataset.from_arrays(pixels, range(64))
    shown = plain.normalise([0.5, 0.25, 0.125], 0.5)
    black = np.float32([-1, -0.5, -0.25])[:, None, None]
    for epoch in range(1, 4):
        images, labels = plain.batch(6, epoch, 0, 64, crop_padding=padding, flip=True)
        others, _ = shown.batch(6, epoch, 0, 64, crop_padding=padding, flip=True)
        mean = np.float64([0.5, 0.25, 0.125])[:, None, None]
        raw = np.round(images * 255).astype(np.uint8) / 255.0
        assert np.array_equal(others, ((raw - mean) / 0.5).astype(np.float32))
        assert np.all((images != 0) | (others == black))
        for image, label in zip(images, labels):
            stream = words(6, AUGMENTATION, epoch, int(label))
            mirrored = next(stream) >> 31
            top, left = below(stream, 2 * padding + 1), below(stream, 2 * padding + 1)
            padded = np.pad(pixels[label], ((0, 0), (padding, padding), (padding, padding)))
            window = padded[:, top : top + 4, left : left + 5][:, :, :: -1 if mirrored else 1]
            assert np.array_equal(image, (window / 255.0).astype(np.float32))


def test_wrong_arguments():
    dataset = numbered(5)
    for arguments, words_ in (
        ((-1, 1, 0, 1), "seed is -1"), ((1 << 64, 1, 0, 1), "seed"), ((0.5, 1, 0, 1), "seed"),
        ((0, 0, 0, 1), "epoch is 0"), ((0, 1, -1, 1), "batch is -1"),
        ((0, 1, 0, 0), "batch_size is 0"),
        ((0, 1, 0, -1), "batch_size is -1"), ((0, 1, 0, 65537), "batch_size is 65537"),
        ((0, 1, 0, 1, -1), "crop_padding is -1"), ((0, 1, 0, 1, 4097), "0 to 4096"),
        ((0, 1.0, 0, 1), "epoch is 1.0"), ((0, 1 << 70, 0, 1), "epoch"),
    ):
        with pytest.raises(graft.InvalidArgumentError, match=words_):
            dataset.batch(*arguments)
