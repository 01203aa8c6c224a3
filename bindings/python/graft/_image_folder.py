"""Directories of image files, a folder a class, decoded by Pillow on several threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from ctypes import POINTER, byref, c_int64, c_uint8
from itertools import islice
from typing import Any

import numpy as np

from . import _checks
from ._arrays import int64_array, pointer
from ._data import Dataset, _per_channel
from ._errors import (
    FileError,
    FormatError,
    GraftError,
    InvalidArgumentError,
    OutOfMemoryError,
    UnsupportedError,
)

__all__ = ["ImageFolder"]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_CHANNELS = {"RGB": 3, "L": 1}
_FITS = ("crop", "stretch")
#: Images that a thread takes at once.
_PIECE = 16


class ImageFolder:
    """Image files in folders, one folder a class, as torchvision's ImageFolder has them.

    Classes are numbered by their folders' names in order, images lie in the order of their paths,
    folders within a class's folder included. Pillow decodes them (`pip install
    "filtergraft[images]"`), on several threads, straight into the memory where they are used.

    Parameters
    ----------
    path
        The directory that holds the classes' folders.
    size
        Height and width of the images, or one number for both. None takes them as they are: then
        all must be of one size.
    fit
        "crop" scales an image, keeping its proportions, until it covers `size`, and takes the
        middle, as torchvision's Resize and CenterCrop do; "stretch" scales it to exactly that. Both
        are Pillow's bilinear scaling, which looks at all pixels that fall together.
    mode
        "RGB" or "L" (grey): what every image becomes.
    classes
        The folders' names in the order of their numbers, where they are known: give a test set the
        training set's, as it may lack some. Folders that are not among them are an error.
    threads
        That decode; 0 for as many as there are processors.

    Attributes
    ----------
    classes : list of str
    paths : list of str
    labels : numpy.ndarray
        int64, one a path.

    Examples
    --------
    >>> train = graft.ImageFolder("flowers/train", size=64)
    >>> test = graft.ImageFolder("flowers/test", size=64, classes=train.classes)
    >>> train, test = train.dataset(), test.dataset()
    """

    def __init__(
        self, path: str | os.PathLike[str], size: int | tuple[int, int] | None = None, *,
        fit: str = "crop", mode: str = "RGB", classes: Sequence[str] | None = None,
        threads: int = 0,
    ) -> None:
        if fit not in _FITS:
            raise InvalidArgumentError(f'fit is {fit!r}; allowed are "crop" and "stretch"')
        if mode not in _CHANNELS:
            raise InvalidArgumentError(f'mode is {mode!r}; allowed are "RGB" and "L"')
        self._fit, self._mode = fit, mode
        self._size = None if size is None else _checks.pair(size, "size")
        if self._size is not None and not all(1 <= one <= 32768 for one in self._size):
            raise InvalidArgumentError(f"size is {size!r}; allowed are 1 to 32768")
        count = _checks.integer(threads, "threads")
        if count < 0:
            raise InvalidArgumentError(f"threads is {threads}; it must be 0 or more")
        self._threads = count or len(os.sched_getaffinity(0))
        self._image = _pillow()
        self.classes, self.paths, labels = _listed(os.fspath(path), classes)
        self.labels = np.array(labels, np.int64)
        self._kept_size = self._size is None
        if self._size is None:
            self._size = self._shape_of(self.paths[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        assert self._size is not None
        return _CHANNELS[self._mode], *self._size

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        channels, height, width = self.shape
        return (f"<graft.ImageFolder: {len(self)} images, {channels} x {height} x {width}, "
                f"{len(self.classes)} classes>")

    # ---- reading ---------------------------------------------------------------------------------

    def dataset(self) -> Dataset:
        """All images decoded, as a data set: bytes, written where the data set keeps them.

        Raises
        ------
        FileError
            Where a file cannot be read.
        FormatError
            Where one is no image, is damaged, or (without `size`) has another size.
        OutOfMemoryError
            Where they do not fit: use `batches`.
        """
        shape = np.array([len(self), *self.shape], np.int64)
        pixels = POINTER(c_uint8)()
        dataset = Dataset._made(
            "graft_dataset_blank", pointer(shape, c_int64), pointer(self.labels, c_int64),
            len(self.classes), byref(pixels))
        count, channels, height, width = shape.tolist()
        self._decode(
            range(count), np.ctypeslib.as_array(pixels, (count, height, width, channels)))
        return dataset

    def read(self, indices: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Images as bytes.

        Parameters
        ----------
        indices
            Image numbers from 0; all by default.

        Returns
        -------
        images : numpy.ndarray
            uint8, n x C x H x W; in memory the channels come last.
        labels : numpy.ndarray
            int64, n.
        """
        numbers = self._numbers(indices)
        channels, height, width = self.shape
        images = np.empty((len(numbers), height, width, channels), np.uint8)
        self._decode(numbers, images)
        return images.transpose(0, 3, 1, 2), self.labels[numbers]

    def batches(
        self, batch_size: int, *, seed: int | None = None, mean: Any = 0.0, deviation: Any = 1.0,
        ahead: int = 2,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Go through all images once, decoding what comes next while a batch is in use.

        Parameters
        ----------
        batch_size
            Images a batch; the last may be smaller.
        seed
            Shuffles them; give each epoch another. None leaves them in their order.
        mean, deviation
            Of the channels, 0 to 1 (`Dataset.statistics`): images are shown as
            (byte / 255 - mean) / deviation.
        ahead
            How many batches are decoded ahead.

        Yields
        ------
        images : numpy.ndarray
            float32, n x C x H x W; in memory the channels come last, as networks of the engine have
            it: `Network.forward` takes it without a copy.
        labels : numpy.ndarray
            int64, n.
        """
        size, ahead = _checks.integer(batch_size, "batch_size"), _checks.integer(ahead, "ahead")
        if size < 1 or ahead < 0:
            raise InvalidArgumentError(
                f"batch_size is {size} and ahead {ahead}; allowed are at least 1 and 0")
        channels, height, width = self.shape
        mean = _per_channel(mean, "mean", channels)
        deviation = _per_channel(deviation, "deviation", channels)
        if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()):
            raise InvalidArgumentError("mean must be finite, and deviation finite and above 0")
        # What each byte is shown as, the same float32 as Dataset.normalise has.
        shown = ((np.arange(256)[:, None] / 255 - mean) / deviation).astype(np.float32)
        order = np.arange(len(self))
        if seed is not None:
            np.random.default_rng(_checks.seed(seed)).shuffle(order)
        return self._batches(order, size, shown, ahead)

    def _batches(
        self, order: np.ndarray, size: int, shown: np.ndarray, ahead: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        channels, height, width = self.shape
        lane = np.arange(channels)

        def one(index: int, into: np.ndarray) -> None:
            image = np.empty((height, width, channels), np.uint8)
            self._one(index, image)
            into[...] = shown[image, lane]

        waiting: deque[tuple[list[Future[None]], np.ndarray, np.ndarray]] = deque()
        with ThreadPoolExecutor(self._threads, "graft-decode") as pool:
            def begin(first: int) -> None:
                numbers = order[first:first + size]
                images = np.empty((len(numbers), height, width, channels), np.float32)
                work = [pool.submit(one, int(index), images[at])
                        for at, index in enumerate(numbers)]
                waiting.append((work, images, self.labels[numbers]))

            firsts = iter(range(0, len(order), size))
            try:
                for first in islice(firsts, ahead):
                    begin(first)
                while True:
                    for first in islice(firsts, 1):
                        begin(first)
                    if not waiting:
                        return
                    work, images, labels = waiting.popleft()
                    for future in work:
                        future.result()
                    yield images.transpose(0, 3, 1, 2), labels
            finally:  # an error, or the caller has had enough
                pool.shutdown(wait=False, cancel_futures=True)

    # ---- one image -------------------------------------------------------------------------------

    def _decode(self, numbers: Sequence[int] | np.ndarray, images: np.ndarray) -> None:
        """Images into n x H x W x C bytes; the first error ends it."""
        def some(first: int) -> None:
            for at in range(first, min(first + _PIECE, len(images))):
                self._one(int(numbers[at]), images[at])

        with ThreadPoolExecutor(self._threads, "graft-decode") as pool:
            try:
                for _ in pool.map(some, range(0, len(images), _PIECE)):
                    pass
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _one(self, index: int, into: np.ndarray) -> None:
        """Image `index` as H x W x C bytes."""
        path = self.paths[index]
        with _named(path, self._image), self._image.open(path) as file:
            height, width = into.shape[:2]
            if file.size != (width, height):
                file = self._fitted(file.convert(self._mode), path, height, width)
            into[...] = np.asarray(file.convert(self._mode)).reshape(into.shape)

    def _fitted(self, image: Any, path: str, height: int, width: int) -> Any:
        """It at this size."""
        if self._kept_size:
            raise FormatError(
                f"{path} is {image.height} x {image.width}, and the first image {height} x {width}: "
                "say which size they are to have")
        bilinear = self._image.Resampling.BILINEAR
        if self._fit == "stretch":
            return image.resize((width, height), bilinear)
        if height * image.width >= width * image.height:  # the height decides
            scaled = (max(width, int(height * image.width / image.height)), height)
        else:
            scaled = (width, max(height, int(width * image.height / image.width)))
        left, top = (round((a - b) / 2) for a, b in zip(scaled, (width, height)))
        return image.resize(scaled, bilinear).crop((left, top, left + width, top + height))

    def _shape_of(self, path: str) -> tuple[int, int]:
        with _named(path, self._image), self._image.open(path) as file:
            return file.height, file.width

    def _numbers(self, indices: Any) -> np.ndarray:
        numbers = int64_array(range(len(self)) if indices is None else indices, "indices")
        wrong = numbers[(numbers < 0) | (numbers >= len(self))]
        if len(wrong):
            raise InvalidArgumentError(
                f"indices holds {wrong[0]}; there are images 0 to {len(self) - 1}")
        return numbers


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise UnsupportedError(
            "ImageFolder needs Pillow: pip install 'filtergraft[images]'") from None
    return Image


@contextmanager
def _named(path: str, image: Any) -> Iterator[None]:
    """Errors of Pillow and of the system as this package's, with the file's name."""
    try:
        yield
    except GraftError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
        raise FormatError(f"{path} is no image, or a damaged one: {error}") from error
    except MemoryError as error:
        raise OutOfMemoryError(f"no memory to decode {path}") from error
    except Exception as error:  # decoders raise many kinds: SyntaxError, ValueError, struct.error
        raise FormatError(f"{path} cannot be decoded: {error}") from error


def _listed(
    folder: str, known: Sequence[str] | None
) -> tuple[list[str], list[str], list[int]]:
    """Classes, paths and labels, in torchvision's order."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError as error:
        raise FileError(f"{folder} cannot be read: {error.strerror or error}") from error
    if known is None:
        classes = found
    else:
        classes = [str(name) for name in known]
        unknown = [name for name in found if name not in classes]
        if unknown or len(set(classes)) < len(classes):
            raise InvalidArgumentError(
                f"{folder} holds {unknown[0]!r}, which is not among classes" if unknown
                else "classes holds a name twice")
    if not found:
        raise FormatError(f"{folder} holds no folders, one for each class")
    paths: list[str] = []
    labels: list[int] = []
    for name in found:
        before = len(paths)
        for root, _, files in sorted(os.walk(os.path.join(folder, name), followlinks=True)):
            for file in sorted(files):
                if file.lower().endswith(EXTENSIONS):
                    paths.append(os.path.join(root, file))
                    labels.append(classes.index(name))
        if len(paths) == before:
            raise FormatError(
                f"{os.path.join(folder, name)} holds no image: none of its files ends in "
                + ", ".join(EXTENSIONS))
    return classes, paths, labels
