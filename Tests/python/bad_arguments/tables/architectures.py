"""architectures.h"""

from __future__ import annotations

import ctypes as c

from graft import _structures as s

from ..kinds import INVALID, Any_, Choice, Flag, Function, Init, Out, Real, Row, Struct, Whole

CLASSES = Whole(1, 65536, 3)
SEED = Any_()
DROPOUT = Real(0, 1, 0, open_high=True)


def image(least: int = 1) -> dict:
    side = Whole(least, 65536, max(least, 8))
    return {"channels": Whole(1, 65536, 3), "height": side, "width": side}


def depths(first: int, step: int, sound: int, last: int) -> Whole:
    """Every `step`-th from `first` on."""
    return Whole(first, last, sound, wrong=tuple(
        value for value in (0, first + 1, first + step - 1, last - 1) if (value - first) % step))


STRUCTS = {
    "graft_resnet_options": {
        "depth": depths(8, 6, 8, 1202), "classes": CLASSES, **image(),
        "base_filters": Whole(1, 4096, 2), "shortcut": Choice(2),
        "negative_slope": Real(0, 1, allowed=(1.0,)), "seed": SEED,
    },
    "graft_mobilenet_options": {"classes": CLASSES, **image(), "seed": SEED},
    "graft_vgg_options": {
        "depth": Whole(11, 19, 11, wrong=(0, 12, 14, 15, 17, 18)), "classes": CLASSES, **image(32),
        "seed": SEED,
    },
    "graft_wide_resnet_options": {
        "depth": depths(10, 6, 10, 1204), "widen": Whole(1, 64), "classes": CLASSES, **image(),
        "seed": SEED, "dropout": DROPOUT,
    },
    "graft_resnext_options": {
        "depth": depths(11, 9, 11, 1100), "cardinality": Whole(1, 1024),
        "base_width": Whole(1, 1024), "classes": CLASSES, **image(), "seed": SEED,
    },
    "graft_densenet_options": {
        "depth": depths(10, 6, 10, 1204), "growth": Whole(1, 1024, 2),
        "base_filters": Whole(0, 4096, 2, allowed=(0,)), "bottleneck": Flag(1),
        "reduction": Real(0, 1, 0.5, open_low=True, allowed=(1.0,)), "classes": CLASSES, **image(),
        "dropout": DROPOUT, "seed": SEED,
    },
    "graft_imagenet_options": {
        "model": Choice(13, 8), "classes": CLASSES, **image(),
        "dropout": Real(0, 1, -1, open_high=True, allowed=(-1.0, 0.0)), "seed": SEED,
    },
}


def architecture(type, fields: dict) -> Function:
    """With options of a small network's; what an image has too many of in all is told, too."""
    def sound(world) -> dict:
        return {name: kind.sound(world) for name, kind in fields.items()}

    def large(world, _) -> dict:
        return {"options": c.byref(world.struct(
            type, **{**sound(world), "height": 65536, "width": 65536}))}

    return Function(
        {"options": Struct(type, fields, sound=sound, large=True), "network": Out(c.c_void_p)},
        (Row("an image too large in all", large, INVALID, "input"),))


NAMES = {"resnet": s.ResnetOptions, "mobilenet": s.MobilenetOptions, "vgg": s.VggOptions,
         "wide_resnet": s.WideResnetOptions, "resnext": s.ResnextOptions,
         "densenet": s.DensenetOptions, "imagenet": s.ImagenetOptions}

FUNCTIONS = {
    **{f"graft_{name}_options_init": Init(type) for name, type in NAMES.items()},
    **{f"graft_network_{name}": architecture(type, STRUCTS[f"graft_{name}_options"])
       for name, type in NAMES.items()},
}
