"""Features of many images, batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _checks
from .._arrays import view
from .._data import Dataset
from .._errors import InvalidArgumentError
from .._network import Network, Value


def features(
    network: Network, images: Any, *, value: Value | None = None, batch_size: int = 256
) -> np.ndarray:
    """What a network of the engine makes of images, before its classifier.

    Parameters
    ----------
    network
        Run in evaluation.
    images
        A `graft.Dataset`, or an array N x C x H x W of float32.
    value
        The place in the network; by default `Network.penultimate`, what the last, linear layer
        reads.
    batch_size
        How many images are run at once.

    Returns
    -------
    numpy.ndarray
        float32, N x channels; flattened where the place has a height and width.
    """
    _checks.instance(network, Network, "network")
    size = _checks.integer(batch_size, "batch_size")
    if not 1 <= size <= 65536:
        raise InvalidArgumentError(f"batch_size is {size}; allowed are 1 to 65536")
    if isinstance(images, Dataset):
        count = images.count

        def batch(first: int) -> np.ndarray:
            return images.read(range(first, min(first + size, count)))[0]
    else:
        array = view(images, "images")
        if array.ndim != 4 or not len(array):
            raise InvalidArgumentError(
                f"images have shape {array.shape}; give N x C x H x W, or a Dataset")
        count = len(array)

        def batch(first: int) -> np.ndarray:
            return array[first:first + size]

    result: np.ndarray | None = None
    for first in range(0, count, size):
        found = network.features(batch(first), value)
        found = found.reshape(len(found), -1)
        if result is None:
            result = np.empty((count, found.shape[1]), np.float32)
        result[first:first + len(found)] = found
    assert result is not None
    return result
