"""The networks of the paper, ready made."""

from __future__ import annotations

from ctypes import byref
from typing import Any

from . import _checks
from ._handles import Handle
from ._library import defaults
from ._network import Network
from ._structures import (
    MobilenetOptions,
    ResnetOptions,
    Shortcut,
    VggOptions,
    WideResnetOptions,
)

__all__ = ["mobilenet_v2", "resnet", "vgg", "wide_resnet"]


def _make(name: str, options: Any, classes: int, input_shape: tuple[int, int, int], seed: int):
    options.classes = _checks.integer(classes, "classes")
    shape = _checks.image_shape(input_shape, "input_shape")
    options.channels, options.height, options.width = shape
    options.seed = _checks.seed(seed)
    return Network._of(Handle(f"graft_network_{name}", "graft_network_destroy", byref(options)))


def resnet(
    depth: int = 20, classes: int = 10, input_shape: tuple[int, int, int] = (3, 32, 32), *,
    base_filters: int = 16, shortcut: str = "A", negative_slope: float = 0.0, seed: int = 0,
) -> Network:
    """A CIFAR ResNet (He et al. 2016, section 4.2).

    Parameters
    ----------
    depth
        6n + 2: 8, 14, 20, 32, 44, 56, 110, ...
    classes
        Number of classes.
    input_shape
        Channels, height and width of the images.
    base_filters
        Filters of the first stage; the later ones have 2 and 4 times as many.
    shortcut
        "A" (zero-padded identity) or "B" (strided 1 x 1 convolution).
    negative_slope
        0 for ReLU, else the slope of a leaky ReLU.
    seed
        Decides the initial weights.
    """
    options = defaults(ResnetOptions, "graft_resnet_options_init")
    options.depth = _checks.integer(depth, "depth")
    options.base_filters = _checks.integer(base_filters, "base_filters")
    options.shortcut = _checks.choice(shortcut, Shortcut, "shortcut")
    options.negative_slope = _checks.number(negative_slope, "negative_slope")
    return _make("resnet", options, classes, input_shape, seed)


def mobilenet_v2(
    classes: int = 10, input_shape: tuple[int, int, int] = (3, 32, 32), *, seed: int = 0
) -> Network:
    """MobileNetV2 as it is trained on CIFAR (Sandler et al. 2018): 2.3 M weights at 10 classes.

    Parameters
    ----------
    classes
        Number of classes.
    input_shape
        Channels, height and width of the images.
    seed
        Decides the initial weights.
    """
    options = defaults(MobilenetOptions, "graft_mobilenet_options_init")
    return _make("mobilenet", options, classes, input_shape, seed)


def vgg(
    depth: int = 16, classes: int = 10, input_shape: tuple[int, int, int] = (3, 32, 32), *,
    seed: int = 0,
) -> Network:
    """VGG with batch norm and one linear layer (Simonyan and Zisserman 2015), for small images.

    Parameters
    ----------
    depth
        11, 13, 16 or 19.
    classes
        Number of classes.
    input_shape
        Channels, height and width of the images, at least 32 x 32.
    seed
        Decides the initial weights.
    """
    options = defaults(VggOptions, "graft_vgg_options_init")
    options.depth = _checks.integer(depth, "depth")
    return _make("vgg", options, classes, input_shape, seed)


def wide_resnet(
    depth: int = 28, widen: int = 10, classes: int = 10,
    input_shape: tuple[int, int, int] = (3, 32, 32), *, seed: int = 0,
) -> Network:
    """A wide residual network without dropout (Zagoruyko and Komodakis 2016).

    Parameters
    ----------
    depth
        6n + 4: 10, 16, 22, 28, 34, 40, ...
    widen
        How many times wider than a ResNet.
    classes
        Number of classes.
    input_shape
        Channels, height and width of the images.
    seed
        Decides the initial weights.
    """
    options = defaults(WideResnetOptions, "graft_wide_resnet_options_init")
    options.depth = _checks.integer(depth, "depth")
    options.widen = _checks.integer(widen, "widen")
    return _make("wide_resnet", options, classes, input_shape, seed)
