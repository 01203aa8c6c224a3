"""What training does to images at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import _checks, _structures
from ._errors import InvalidArgumentError
from ._library import defaults

__all__ = ["Augmentation"]


@dataclass(frozen=True)
class Augmentation:
    """What training does to images at random, in this order.

    All is drawn from (seed, epoch, image) alone: an image is cropped, mirrored and erased alike at
    any batch size and number of threads.

    Attributes
    ----------
    crop_padding
        Pixels of padding around an image, of which a window of the image's size is taken; 0 for
        none. The padding is black before normalisation.
    flip
        Whether half of the images are mirrored left to right.
    erasing
        The share of the images of which a rectangle is set to 0, after normalisation; the
        distribution is that of torchvision.transforms.RandomErasing.
    erasing_area, erasing_ratio
        The smallest and largest share of the image that is erased, and height over width of it.
    mixup
        Mixup: an image becomes share x + (1 - share) x', x' the next of its batch, the share drawn
        for every image from Beta(mixup, mixup); 0 for none.
    cutmix
        CutMix: a rectangle of x' is laid over x, of 1 - l of its area, l drawn from
        Beta(cutmix, cutmix); 0 for none. With both, an image gets one of them, equally often.
    mixing
        The share of the images that are mixed at all.
    """

    crop_padding: int = 4
    flip: bool = True
    erasing: float = 0.0
    erasing_area: Sequence[float] = (0.02, 0.33)
    erasing_ratio: Sequence[float] = (0.3, 3.3)
    mixup: float = 0.0
    cutmix: float = 0.0
    mixing: float = 1.0

    def _options(self) -> _structures.Augmentation:
        options = defaults(_structures.Augmentation, "graft_augmentation_init")
        options.crop_padding = _checks.integer(self.crop_padding, "crop_padding")
        options.flip = bool(self.flip)
        for name in ("erasing", "mixup", "cutmix", "mixing"):
            setattr(options, name, _checks.number(getattr(self, name), name))
        for name in ("erasing_area", "erasing_ratio"):
            given = getattr(self, name)
            if not hasattr(given, "__len__") or len(given) != 2:
                raise InvalidArgumentError(f"{name} is {given!r}; give (low, high)")
            setattr(options, f"{name}_low", _checks.number(given[0], name))
            setattr(options, f"{name}_high", _checks.number(given[1], name))
        return options
