"""The networks that ours are compared with, in PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    """A basic residual block (He et al. 2016), with the option-A or option-B shortcut."""

    def __init__(self, inside: int, outside: int, stride: int, shortcut: str, slope: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.stride, self.slope = stride, slope
        self.added = outside - inside
        self.shortcut = nn.Sequential()
        if self.added and shortcut == "B":
            self.shortcut = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.leaky_relu(self.bn1(self.conv1(x)), self.slope)
        y = self.bn2(self.conv2(y))
        if len(self.shortcut):
            x = self.shortcut(x)
        elif self.added:
            before = self.added // 2
            x = F.pad(
                x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.added - before)
            )
        return F.leaky_relu(y + x, self.slope)


class ResNet(nn.Module):
    """The CIFAR ResNet of depth 6n + 2."""

    def __init__(
        self, depth: int = 20, classes: int = 10, channels: int = 3, base: int = 16,
        shortcut: str = "A", slope: float = 0.0,
    ) -> None:
        super().__init__()
        self.slope = slope
        self.conv1 = nn.Conv2d(channels, base, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        inside = base
        for stage in range(3):
            blocks = []
            for block in range((depth - 2) // 6):
                stride = 2 if stage and not block else 1
                blocks.append(Block(inside, base << stage, stride, shortcut, slope))
                inside = base << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(inside, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.bn1(self.conv1(x)), self.slope)
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def load(module: nn.Module, network) -> None:
    """Copies a network's weights into a module, every name required."""
    module.load_state_dict(
        {name: torch.from_numpy(value.copy()) for name, value in network.state_dict().items()},
        strict=True,
    )
