"""The networks with groups and concatenations that ours are compared with, in PyTorch."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn


class Bottleneck(nn.Module):
    """ResNeXt's block (Xie et al. 2017, figure 3c)."""

    def __init__(self, inside: int, wide: int, outside: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(inside, wide, 1, bias=False)
        self.bn_reduce = nn.BatchNorm2d(wide)
        self.conv_conv = nn.Conv2d(wide, wide, 3, stride, 1, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(wide)
        self.conv_expand = nn.Conv2d(wide, outside, 1, bias=False)
        self.bn_expand = nn.BatchNorm2d(outside)
        self.shortcut = nn.Sequential()
        if inside != outside:
            self.shortcut = nn.Sequential(OrderedDict(
                shortcut_conv=nn.Conv2d(inside, outside, 1, stride, bias=False),
                shortcut_bn=nn.BatchNorm2d(outside)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn_reduce(self.conv_reduce(x)))
        y = F.relu(self.bn(self.conv_conv(y)))
        y = self.bn_expand(self.conv_expand(y))
        return F.relu(self.shortcut(x) + y)


class ResNeXt(nn.Module):
    """ResNeXt for CIFAR, named as in the PyTorch port of the authors' code."""

    def __init__(
        self, depth: int = 29, cardinality: int = 8, base_width: int = 64, classes: int = 10,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.conv_1_3x3 = nn.Conv2d(channels, 64, 3, 1, 1, bias=False)
        self.bn_1 = nn.BatchNorm2d(64)
        inside = 64
        for stage in (1, 2, 3):
            blocks = OrderedDict()
            for block in range((depth - 2) // 9):
                outside = 256 << stage - 1
                blocks[f"stage_{stage}_bottleneck_{block}"] = Bottleneck(
                    inside, cardinality * base_width << stage - 1, outside,
                    2 if stage > 1 and not block else 1, cardinality)
                inside = outside
            setattr(self, f"stage_{stage}", nn.Sequential(blocks))
        self.classifier = nn.Linear(1024, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.bn_1(self.conv_1_3x3(x)))
        x = self.stage_3(self.stage_2(self.stage_1(x)))
        return self.classifier(x.mean((2, 3)))


class DenseLayer(nn.Module):
    def __init__(self, inside: int, growth: int, bottleneck: bool) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.bottleneck = bottleneck
        if bottleneck:
            self.conv1 = nn.Conv2d(inside, 4 * growth, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(4 * growth)
            self.conv2 = nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False)
        else:
            self.conv1 = nn.Conv2d(inside, growth, 3, 1, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(F.relu(self.bn1(x)))
        if self.bottleneck:
            y = self.conv2(F.relu(self.bn2(y)))
        return torch.cat([x, y], 1)


class Transition(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(self.conv1(F.relu(self.bn1(x))), 2)


class DenseNet(nn.Module):
    """DenseNet for CIFAR (Huang et al. 2017)."""

    def __init__(
        self, depth: int = 100, growth: int = 12, classes: int = 10, bottleneck: bool = True,
        reduction: float = 0.5, base: int = 0, channels: int = 3,
    ) -> None:
        super().__init__()
        inside = base or 2 * growth
        self.conv1 = nn.Conv2d(channels, inside, 3, 1, 1, bias=False)
        for block in (1, 2, 3):
            layers = []
            for _ in range((depth - 4) // (6 if bottleneck else 3)):
                layers.append(DenseLayer(inside, growth, bottleneck))
                inside += growth
            holder = nn.Module()
            holder.layer = nn.Sequential(*layers)
            setattr(self, f"block{block}", holder)
            if block < 3:
                setattr(self, f"trans{block}", Transition(inside, int(inside * reduction)))
                inside = int(inside * reduction)
        self.bn1 = nn.BatchNorm2d(inside)
        self.fc = nn.Linear(inside, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.trans1(self.block1.layer(self.conv1(x)))
        x = self.block3.layer(self.trans2(self.block2.layer(x)))
        return self.fc(F.relu(self.bn1(x)).mean((2, 3)))
