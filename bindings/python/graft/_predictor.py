"""A network as it is deployed."""

from __future__ import annotations

from ctypes import byref, c_int64
from typing import Any

import numpy as np

from . import _arrays, _checks
from ._builder import Value
from ._errors import check
from ._handles import Handle
from ._library import defaults, lib
from ._network import Network
from ._structures import PredictorOptions

__all__ = ["Predictor"]


class Predictor:
    """A network's forward pass with a copy of its weights, and nothing that only training needs.

    What happens to the network later does not show. One thread at a time may use it.

    Parameters
    ----------
    network
        A finished network.
    value
        What it gives; by default the network's output. `network.penultimate` gives features.
    fold
        Whether a batch norm that alone follows a convolution becomes part of its weights: the same
        numbers but for rounding. Without, the bits are those of `Network.forward`.
    threads
        How many threads it uses; 0 takes what OpenMP would. The same bits at any number.
    take
        Whether the network is not needed any more: its weights go over to the predictor layer by
        layer, and no two copies of all are ever in memory. The network's tensors are zeros then.

    Examples
    --------
    >>> predict = graft.Predictor(network)
    >>> predict(images).argmax(1)
    """

    def __init__(
        self, network: Network, value: Value | None = None, *, fold: bool = True, threads: int = 0,
        take: bool = False,
    ) -> None:
        _checks.instance(network, Network, "network")
        options = defaults(PredictorOptions, "graft_predictor_options_init")
        if value is not None:
            options.value = network._index(value)
        options.fold = bool(fold)
        options.threads = _checks.integer(threads, "threads", bits=32)
        self._handle = Handle(
            "graft_predictor_take" if take else "graft_predictor_create",
            "graft_predictor_destroy", network, byref(options))
        shape = (c_int64 * 3)()
        check(lib.graft_predictor_output_shape(self, shape))
        self._shape: tuple[int, int, int] = tuple(shape)

    @property
    def _as_parameter_(self) -> Any:
        return self._handle._as_parameter_

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what it gives for one image."""
        return self._shape

    def __call__(self, images: Any) -> np.ndarray:
        """Run it.

        Parameters
        ----------
        images
            N x C x H x W, float32, any strides, any kind of array; not copied.

        Returns
        -------
        numpy.ndarray
            N x channels, or N x C x H x W where the output has a height and width.
        """
        seen = _arrays.describe(images, "images")
        output = _arrays.room(seen, self._shape)
        check(lib.graft_predictor_run(
            self, seen.pointer, _arrays.describe(output, "output").pointer))
        return output
