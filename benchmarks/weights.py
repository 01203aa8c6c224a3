"""Networks' weights to graft: names and shapes of real networks, values drawn at random."""

from __future__ import annotations

import numpy as np

import graft

Network = dict[str, np.ndarray]
Shapes = list[tuple[str, tuple[int, ...]]]


def resnet50() -> Shapes:
    """ResNet-50 for ImageNet, in the order of its state dict."""
    result: Shapes = []

    def conv(name: str, outputs: int, inputs: int, size: int) -> None:
        result.append((f"{name}.weight", (outputs, inputs, size, size)))
        for part in ("weight", "bias", "running_mean", "running_var"):
            result.append((f"{name}.bn.{part}", (outputs,)))
        result.append((f"{name}.bn.num_batches_tracked", ()))

    conv("conv1", 64, 3, 7)
    inputs = 64
    for stage, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            conv(f"{name}.conv1", width, inputs, 1)
            conv(f"{name}.conv2", width, width, 3)
            conv(f"{name}.conv3", 4 * width, width, 1)
            if block == 0:
                conv(f"{name}.shortcut", 4 * width, inputs, 1)
            inputs = 4 * width
    return [*result, ("fc.weight", (1000, inputs)), ("fc.bias", (1000,))]


def resnet32() -> Shapes:
    """ResNet-32 for CIFAR-10: many small layers."""
    return [(name, array.shape) for name, array in graft.resnet(32).state_dict().items()]


def mobilenet_v2() -> Shapes:
    """MobileNetV2 for CIFAR-10."""
    return [(name, array.shape) for name, array in graft.mobilenet_v2().state_dict().items()]


def drawn(shapes: Shapes, seed: int) -> Network:
    """Weights of these shapes; the counters of batch norms are counters here too."""
    rng = np.random.default_rng(seed)
    return {
        name: np.array(7, np.int64) if name.endswith("num_batches_tracked")
        else rng.standard_normal(shape, np.float32) * np.float32(0.05)
        for name, shape in shapes}
