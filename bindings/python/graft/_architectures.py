"""The networks of the paper, ready made."""

from __future__ import annotations

from ctypes import byref
from typing import Any

from . import _checks
from ._handles import Handle
from ._library import defaults
from ._network import Network
from ._structures import (
    DensenetOptions,
    ImagenetModel,
    ImagenetOptions,
    MobilenetOptions,
    ResnetOptions,
    ResnextOptions,
    Shortcut,
    VggOptions,
    WideResnetOptions,
)

__all__ = ["densenet", "imagenet", "mobilenet_v2", "resnet", "resnext", "vgg", "wide_resnet"]


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
    input_shape: tuple[int, int, int] = (3, 32, 32), *, dropout: float = 0.0, seed: int = 0,
) -> Network:
    """A wide residual network (Zagoruyko and Komodakis 2016).

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
    dropout
        Probability of the dropout between a block's convolutions.
    seed
        Decides the initial weights.
    """
    options = defaults(WideResnetOptions, "graft_wide_resnet_options_init")
    options.dropout = _checks.number(dropout, "dropout")
    options.depth = _checks.integer(depth, "depth")
    options.widen = _checks.integer(widen, "widen")
    return _make("wide_resnet", options, classes, input_shape, seed)


def resnext(
    depth: int = 29, cardinality: int = 8, base_width: int = 64, classes: int = 10,
    input_shape: tuple[int, int, int] = (3, 32, 32), *, seed: int = 0,
) -> Network:
    """ResNeXt for small images (Xie et al. 2017, section 5.2); by default ResNeXt-29, 8x64d.

    Parameters
    ----------
    depth
        9n + 2: 11, 20, 29, 38, ...
    cardinality
        Groups of the 3 x 3 convolutions.
    base_width
        Filters of a group in the first stage.
    classes
        Number of classes.
    input_shape
        Channels, height and width of the images.
    seed
        Decides the initial weights.
    """
    options = defaults(ResnextOptions, "graft_resnext_options_init")
    options.depth = _checks.integer(depth, "depth")
    options.cardinality = _checks.integer(cardinality, "cardinality")
    options.base_width = _checks.integer(base_width, "base_width")
    return _make("resnext", options, classes, input_shape, seed)


def densenet(
    depth: int = 100, growth: int = 12, classes: int = 10,
    input_shape: tuple[int, int, int] = (3, 32, 32), *, bottleneck: bool = True,
    reduction: float = 0.5, base_filters: int = 0, dropout: float = 0.0, seed: int = 0,
) -> Network:
    """DenseNet for small images (Huang et al. 2017); by default DenseNet-BC-100-12.

    `densenet(40, bottleneck=False, reduction=1)` is DenseNet-40-12, with the paper's
    `base_filters=16` or without.

    Parameters
    ----------
    depth
        6n + 4 with bottlenecks, 3n + 4 without.
    growth
        Channels that every layer adds.
    classes
        Number of classes.
    input_shape
        Channels, height and width of the images.
    bottleneck
        Whether a 1 x 1 convolution to 4 * growth channels comes before each 3 x 3 one.
    reduction
        What share of its channels a transition keeps.
    base_filters
        Filters of the first convolution; 0 for 2 * growth.
    dropout
        Probability of the dropout after each of a layer's convolutions.
    seed
        Decides the initial weights.
    """
    options = defaults(DensenetOptions, "graft_densenet_options_init")
    options.depth = _checks.integer(depth, "depth")
    options.growth = _checks.integer(growth, "growth")
    options.base_filters = _checks.integer(base_filters, "base_filters")
    options.bottleneck = bool(bottleneck)
    options.reduction = _checks.number(reduction, "reduction")
    options.dropout = _checks.number(dropout, "dropout")
    return _make("densenet", options, classes, input_shape, seed)


def imagenet(
    model: str = "resnet50", classes: int = 1000,
    input_shape: tuple[int, int, int] = (3, 224, 224), *, dropout: float | None = None,
    seed: int = 0,
) -> Network:
    """A network for images of ImageNet's size, with torchvision's names, shapes and counts.

    Parameters
    ----------
    model
        "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d",
        "resnext101_32x8d", "wide_resnet50_2", "mobilenet_v2", "densenet121", "densenet161",
        "densenet169" or "densenet201".
    classes
        Number of classes.
    input_shape
        Channels, height and width of the images.
    dropout
        Probability of MobileNetV2's dropout before the classifier, or of DenseNet's in each layer;
        None for torchvision's.
    seed
        Decides the initial weights.
    """
    options = defaults(ImagenetOptions, "graft_imagenet_options_init")
    options.model = _checks.choice(model, ImagenetModel, "model")
    if dropout is not None:
        options.dropout = _checks.number(dropout, "dropout")
    return _make("imagenet", options, classes, input_shape, seed)
