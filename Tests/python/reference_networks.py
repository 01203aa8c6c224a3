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


class InvertedResidual(nn.Module):
    """MobileNetV2's block, with a projected shortcut where the filters change at the same size."""

    def __init__(self, inside: int, outside: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = expansion * inside
        self.conv1 = nn.Conv2d(inside, wide, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.conv3 = nn.Conv2d(wide, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.stride = stride
        self.shortcut = nn.Sequential()
        if stride == 1 and inside != outside:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return y + self.shortcut(x) if self.stride == 1 else y


class MobileNetV2(nn.Module):
    """MobileNetV2 for CIFAR."""

    STAGES = [
        (1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]

    def __init__(self, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        layers, inside = [], 32
        for expansion, outside, repeats, stride in self.STAGES:
            for block in range(repeats):
                layers.append(
                    InvertedResidual(inside, outside, expansion, 1 if block else stride)
                )
                inside = outside
        self.layers = nn.Sequential(*layers)
        self.conv2 = nn.Conv2d(320, 1280, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(1280)
        self.linear = nn.Linear(1280, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layers(F.relu(self.bn1(self.conv1(x))))
        return self.linear(F.relu(self.bn2(self.conv2(x))).mean((2, 3)))


class VGG(nn.Module):
    """VGG-16 with batch norm for CIFAR."""

    COLUMNS = {
        11: [64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"],
        16: [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"],
    }

    def __init__(self, depth: int = 16, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for item in self.COLUMNS[depth]:
            if item == "M":
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(channels, item, 3, padding=1), nn.BatchNorm2d(item), nn.ReLU()]
            channels = item
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(512, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


class WideBlock(nn.Module):
    """The pre-activation block B(3, 3)."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.convShortcut = (
            nn.Conv2d(inside, outside, 1, stride, bias=False) if inside != outside else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(x))
        branch = self.conv2(F.relu(self.bn2(self.conv1(y))))
        # As in the published code the shortcut's convolution runs last.
        return branch + (x if self.convShortcut is None else self.convShortcut(y))


class WideResNet(nn.Module):
    """WRN-depth-widen without dropout."""

    def __init__(
        self, depth: int = 28, widen: int = 10, classes: int = 10, channels: int = 3
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        inside = 16
        for group in range(3):
            outside = 16 * widen << group
            blocks = []
            for block in range((depth - 4) // 6):
                blocks.append(WideBlock(inside, outside, 2 if group and not block else 1))
                inside = outside
            holder = nn.Module()
            holder.layer = nn.Sequential(*blocks)
            setattr(self, f"block{group + 1}", holder)
        self.bn1 = nn.BatchNorm2d(inside)
        self.fc = nn.Linear(inside, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        for block in (self.block1, self.block2, self.block3):
            x = block.layer(x)
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))
