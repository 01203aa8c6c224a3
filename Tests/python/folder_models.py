"""What torchvision makes of a directory of images; run by test_image_folder.py in a process of its
own, with torchvision on its path. Writes an .npz.

    python folder_models.py DIRECTORY SIZE OUTPUT
"""

from __future__ import annotations

import sys

import numpy as np
import torch

library = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from torchvision.datasets import ImageFolder  # noqa: E402
from torchvision.transforms import CenterCrop, Compose, Resize  # noqa: E402

directory, size, output = sys.argv[1], int(sys.argv[2]), sys.argv[3]
data = ImageFolder(directory, Compose([Resize(size), CenterCrop(size)]))
np.savez(
    output, images=np.stack([np.asarray(image) for image, _ in data]), labels=data.targets,
    classes=data.classes, paths=[path for path, _ in data.samples])
