"""Data sets: labelled images from CIFAR and IDX files and from arrays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from ctypes import byref, c_double, c_int64, c_size_t, c_uint8
from typing import Any, NamedTuple

import numpy as np

from . import _checks
from ._augmentation import Augmentation
from ._arrays import describe, int64_array, path_bytes, pointer, values
from ._errors import InvalidArgumentError, ShapeMismatchError, check
from ._handles import Handle
from ._library import lib
from ._structures import DatasetInfo

__all__ = ["Dataset", "MixedBatch"]

_SPLITS = {"train": 0, "test": 1}
_LAYOUTS = ("NCHW", "NHWC")


class MixedBatch(NamedTuple):
    """A batch whose images may be mixtures of two.

    Attributes
    ----------
    images
        float32, n x C x H x W.
    labels, others
        int64, n: the images' own labels, and those of what they are mixed with.
    shares
        float64, n, 0 to 1: an image's target is its label by its share, the other by the rest.
    """

    images: np.ndarray
    labels: np.ndarray
    others: np.ndarray
    shares: np.ndarray


class Dataset:
    """Labelled images, immutable. Make one with `cifar`, `idx` or `from_arrays`.

    Images of bytes are shown as value / 255, floats as they are; `normalise` makes a data set that
    shows the same images differently.

    Examples
    --------
    >>> train = graft.Dataset.cifar("cifar-10-batches-bin", "train")
    >>> test = graft.Dataset.cifar("cifar-10-batches-bin", "test")
    >>> mean, deviation = train.statistics()
    >>> train, test = (part.normalise(mean, deviation) for part in (train, test))
    """

    _handle: Handle
    _info: DatasetInfo

    def __init__(self) -> None:
        raise TypeError("make a data set with Dataset.cifar, Dataset.idx or Dataset.from_arrays")

    # ---- making one ------------------------------------------------------------------------------

    @classmethod
    def _made(cls, create: str, *arguments: Any) -> Dataset:
        """The data set that a function of the library makes."""
        dataset = object.__new__(cls)
        dataset._handle = Handle(create, "graft_dataset_destroy", *arguments)
        dataset._info = DatasetInfo()
        check(lib.graft_dataset_get_info(dataset._handle, byref(dataset._info)))
        return dataset

    @classmethod
    def cifar(cls, directory: str | os.PathLike[str], split: str = "train") -> Dataset:
        """Read the binary files of CIFAR-10 or CIFAR-100.

        Parameters
        ----------
        directory
            Holds data_batch_1.bin to data_batch_5.bin and test_batch.bin (CIFAR-10), or train.bin
            and test.bin (CIFAR-100, of which the 100 fine classes are read).
        split
            "train" or "test".

        Raises
        ------
        FileError
            If a file is missing or cannot be read.
        FormatError
            If a file is truncated or holds a label out of range.
        """
        if split not in _SPLITS:
            raise InvalidArgumentError(f'split is {split!r}; allowed are "train" and "test"')
        path = path_bytes(directory, "directory")
        return cls._made("graft_dataset_cifar", path, _SPLITS[split])

    @classmethod
    def idx(cls, images: str | os.PathLike[str], labels: str | os.PathLike[str]) -> Dataset:
        """Read a pair of IDX files (MNIST and its relatives), plain or compressed with gzip.

        Parameters
        ----------
        images, labels
            The two files' paths. The number of classes is the highest label + 1.

        Raises
        ------
        FileError, FormatError
            As `cifar`.
        ShapeMismatchError
            If the files hold different numbers of images and labels.
        """
        paths = path_bytes(images, "images"), path_bytes(labels, "labels")
        return cls._made("graft_dataset_idx", *paths)

    @classmethod
    def from_arrays(
        cls, images: Any, labels: Any, classes: int | None = None, layout: str = "NCHW"
    ) -> Dataset:
        """Copy arrays into a data set.

        Parameters
        ----------
        images
            N x C x H x W (or N x H x W, one channel), uint8, read as value / 255, or floats, read
            as they are and finite; NumPy, PyTorch, or whatever else offers its memory.
        labels
            N class numbers from 0.
        classes
            How many there are; by default the highest label + 1.
        layout
            "NCHW", or "NHWC" for channels last.

        Raises
        ------
        InvalidArgumentError, ShapeMismatchError
            Naming what is wrong.
        NotFiniteError
            Naming the first value that is NaN or infinite.
        """
        if layout not in _LAYOUTS:
            raise InvalidArgumentError(f'layout is {layout!r}; allowed are "NCHW" and "NHWC"')
        pixels = values(images, "images")
        numbers = int64_array(labels, "labels")
        if pixels.ndim == 3:
            pixels = pixels[:, None]
        elif pixels.ndim == 4 and layout == "NHWC":
            pixels = pixels.transpose(0, 3, 1, 2)
        if pixels.ndim != 4:
            raise InvalidArgumentError(
                f"images have shape {pixels.shape}; they must have 4 dimensions, or 3 for one "
                "channel")
        if len(numbers) != len(pixels):
            raise ShapeMismatchError(f"{len(pixels)} images and {len(numbers)} labels")
        if classes is None:
            classes = int(numbers.max()) + 1 if len(numbers) else 1
        classes = _checks.integer(classes, "classes")
        first = pointer(numbers, c_int64)
        if pixels.dtype == np.uint8:
            pixels = _plain(pixels)
            shape, strides = (
                np.array(sizes, np.int64) for sizes in (pixels.shape, pixels.strides))
            return cls._made(
                "graft_dataset_bytes", pointer(pixels, c_uint8), pointer(shape, c_int64),
                pointer(strides, c_int64), first, classes)
        if pixels.dtype.kind != "f":
            raise InvalidArgumentError(
                f"images are of type {pixels.dtype}; they must be uint8 or floats")
        described = describe(_plain(pixels.astype(np.float32, copy=False)), "images")
        return cls._made("graft_dataset_arrays", described.pointer, first, classes)

    # ---- what it holds ---------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Number of images."""
        return self._info.count

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self._info.channels

    @property
    def height(self) -> int:
        """Rows of an image, in pixels."""
        return self._info.height

    @property
    def width(self) -> int:
        """Columns of an image, in pixels."""
        return self._info.width

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self._info.classes

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(count, channels, height, width)."""
        return self.count, self.channels, self.height, self.width

    @property
    def labels(self) -> np.ndarray:
        """The class numbers of all images, int64."""
        numbers, labels = np.arange(self.count), np.empty(self.count, np.int64)
        check(
            lib.graft_dataset_read(
                self._handle, pointer(numbers, c_int64), self.count, None,
                pointer(labels, c_int64)))
        return labels

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        return (
            f"<graft.Dataset: {self.count} images of {self.channels} x {self.height} x "
            f"{self.width}, {self.classes} classes>")

    # ---- using it --------------------------------------------------------------------------------

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of every channel over all images, as they are shown.

        Returns
        -------
        mean, deviation : numpy.ndarray
            float64, one number a channel; the deviation is divided by N, not N - 1.
        """
        mean, deviation = np.empty(self.channels), np.empty(self.channels)
        check(
            lib.graft_dataset_statistics(
                self._handle, pointer(mean, c_double), pointer(deviation, c_double),
                self.channels))
        return mean, deviation

    def normalise(self, mean: Any, deviation: Any) -> Dataset:
        """A data set that shows the same images as (x - mean) / deviation; nothing is copied.

        Parameters
        ----------
        mean, deviation
            One number a channel, or one for all. Give the test set the training set's.
        """
        numbers = [
            _per_channel(given, name, self.channels)
            for given, name in ((mean, "mean"), (deviation, "deviation"))
        ]
        return self._made(
            "graft_dataset_normalise", self._handle, pointer(numbers[0], c_double),
            pointer(numbers[1], c_double), self.channels)

    def read(self, indices: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Copy images out, as they are shown.

        Parameters
        ----------
        indices
            Image numbers from 0, in any order and any number of times; all images by default.

        Returns
        -------
        images : numpy.ndarray
            float32, n x C x H x W.
        labels : numpy.ndarray
            int64, n.
        """
        numbers = int64_array(range(self.count) if indices is None else indices, "indices")
        images = np.empty((len(numbers), *self.shape[1:]), np.float32)
        labels = np.empty(len(numbers), np.int64)
        described = describe(images, "images", writable=True)
        check(
            lib.graft_dataset_read(
                self._handle, pointer(numbers, c_int64), len(numbers), described.pointer,
                pointer(labels, c_int64)))
        return images, labels

    def batch(
        self, seed: int, epoch: int, batch: int, batch_size: int, crop_padding: int = 0,
        flip: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The batch that a trainer would see: a function of the arguments, on any machine.

        Parameters
        ----------
        seed
            0 to 2^64 - 1; with `epoch` it decides order, crops and flips.
        epoch
            From 1.
        batch
            Number of the batch within the epoch, from 0.
        batch_size
            1 to 65536. The epoch's last batch may be smaller; past it, batches are empty.
        crop_padding
            Pixels of padding around an image, of which a window of the image's size is taken at
            random; 0 for none. The padding is black before normalisation.
        flip
            Whether half of the images are mirrored left to right.

        Returns
        -------
        images : numpy.ndarray
            float32, n x C x H x W.
        labels : numpy.ndarray
            int64, n.
        """
        augmentation = Augmentation(crop_padding, flip)
        return self.augmented_batch(augmentation, seed, epoch, batch, batch_size)[:2]

    def augmented_batch(
        self, augmentation: Augmentation, seed: int, epoch: int, batch: int, batch_size: int
    ) -> MixedBatch:
        """The batch that a trainer with this augmentation would see: `batch`, with all of it."""
        size = _checks.integer(batch_size, "batch_size")
        room = max(0, min(size, self.count))
        images = np.empty((room, *self.shape[1:]), np.float32)
        labels, others, shares = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room)
        described = describe(images, "images", writable=True)
        options = _checks.instance(augmentation, Augmentation, "augmentation")._options()
        count = c_size_t()
        check(
            lib.graft_dataset_augmented_batch(
                self._handle, byref(options), _checks.seed(seed), _checks.integer(epoch, "epoch"),
                _checks.integer(batch, "batch"), size, described.pointer,
                pointer(labels, c_int64), pointer(others, c_int64), pointer(shares, c_double),
                byref(count)))
        return MixedBatch(*(part[: count.value] for part in (images, labels, others, shares)))


def _plain(array: np.ndarray) -> np.ndarray:
    """The array, or a copy where strides are negative or no multiple of the elements' size."""
    odd = any(stride < 0 or stride % array.itemsize for stride in array.strides)
    return np.ascontiguousarray(array) if odd or not array.dtype.isnative else array


def _per_channel(given: float | Sequence[float], name: str, channels: int) -> np.ndarray:
    try:
        numbers = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{name} must be numbers: {error}") from error
    if numbers.ndim == 0:
        numbers = np.full(channels, numbers)
    if numbers.shape != (channels,):
        raise ShapeMismatchError(
            f"{name} has shape {numbers.shape}; the data set has {channels} channels")
    return np.ascontiguousarray(numbers)
