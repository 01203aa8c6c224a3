"""augmentation.h"""

from __future__ import annotations

from graft import _structures as s

from ..kinds import FINITE, Flag, Init, Real, Struct, Whole

STRUCTS = {
    "graft_augmentation": {
        "crop_padding": Whole(0, 4096, 1, allowed=(0, 4096)),
        "flip": Flag(),
        "erasing": Real(0, 1, allowed=(1.0,)),
        # Each with its partner: the lower may not be above the higher.
        "erasing_area_low": Real(0, 0.33, 0.02, allowed=(0.33,)),
        "erasing_area_high": Real(0.02, 1, 0.33, allowed=(0.02, 1.0)),
        "erasing_ratio_low": Real(0, 3.3, 0.3, open_low=True, allowed=(3.3,)),
        "erasing_ratio_high": Real(0.3, FINITE, 3.3, allowed=(0.3,)),
        "mixup": Real(0, 1e6, allowed=(1e6,)),
        "cutmix": Real(0, 1e6, allowed=(1e6,)),
        "mixing": Real(0, 1, 1, allowed=(1.0,)),
    },
}
AUGMENTATION = Struct(s.Augmentation, STRUCTS["graft_augmentation"])

FUNCTIONS = {"graft_augmentation_init": Init(s.Augmentation)}
