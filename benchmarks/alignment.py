"""Aligning two ResNet-50s, beside weight matching as Git Re-Basin publishes it.

The peer is written after algorithm 1 of arXiv 2209.04836 and its published code: which channels
belong together is written down by hand for these networks; groups are visited in random order,
each a matrix product for every weight that it has and SciPy's linear assignment, until none gains.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

import graft.torch

Sizes = Sequence[int]
Arrays = dict[str, np.ndarray]
#: By group: the axes of the weights that its channels lie along.
Spec = dict[str, list[tuple[str, int]]]


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1, and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = None
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_bn = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.shortcut is None else self.shortcut_bn(self.shortcut(x))))


class ResNet(nn.Module):
    """A ResNet of bottlenecks; as it comes ResNet-50 for ImageNet: 25.6 million parameters."""

    def __init__(
        self, blocks: Sizes = (3, 4, 6, 3), widths: Sizes = (64, 128, 256, 512)
    ) -> None:
        super().__init__()
        inputs = widths[0]
        self.conv1 = nn.Conv2d(3, inputs, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.stages = nn.ModuleList()
        for stage, (count, width) in enumerate(zip(blocks, widths)):
            parts = []
            for block in range(count):
                parts.append(Bottleneck(inputs, width, 2 if stage and not block else 1))
                inputs = 4 * width
            self.stages.append(nn.Sequential(*parts))
        self.fc = nn.Linear(inputs, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in self.stages:
            x = stage(x)
        return self.fc(x.mean((2, 3)))


# ---- the peer ------------------------------------------------------------------------------------


def specification(blocks: Sizes) -> Spec:
    """The ResNet's, written down."""
    spec: Spec = {}

    def layer(conv: str, norm: str, inputs: str | None, outputs: str) -> None:
        lie = spec.setdefault(outputs, [])
        lie += [(f"{conv}.weight", 0), (f"{norm}.weight", 0), (f"{norm}.bias", 0)]
        if inputs is not None:
            spec[inputs].append((f"{conv}.weight", 1))

    layer("conv1", "bn1", None, "stem")
    stream = "stem"
    for stage, count in enumerate(blocks):
        for block in range(count):
            name = f"stages.{stage}.{block}"
            layer(f"{name}.conv1", f"{name}.bn1", stream, f"{name}.1")
            layer(f"{name}.conv2", f"{name}.bn2", f"{name}.1", f"{name}.2")
            layer(f"{name}.conv3", f"{name}.bn3", f"{name}.2", f"stage {stage}")
            if block == 0:
                layer(f"{name}.shortcut", f"{name}.shortcut_bn", stream, f"stage {stage}")
            stream = f"stage {stage}"
    spec[stream].append(("fc.weight", 1))
    return spec


def weight_matching(spec: Spec, a: Arrays, b: Arrays, seed: int = 0) -> Arrays:
    """`b` in the order of `a`, as the published code does it."""
    rng = np.random.default_rng(seed)
    sizes = {group: a[axes[0][0]].shape[axes[0][1]] for group, axes in spec.items()}
    orders = {group: np.arange(size) for group, size in sizes.items()}
    along: dict[str, list[tuple[int, str]]] = {}
    for group, axes in spec.items():
        for name, axis in axes:
            along.setdefault(name, []).append((axis, group))

    def permuted(name: str, but: int | None = None) -> np.ndarray:
        w = b[name]
        for axis, group in along.get(name, []):
            if axis != but:
                w = np.take(w, orders[group], axis)
        return w

    groups = list(spec)
    for _ in range(100):
        progress = False
        for index in rng.permutation(len(groups)):
            group = groups[index]
            n = sizes[group]
            gains = np.zeros((n, n))
            for name, axis in spec[group]:
                first = np.moveaxis(a[name], axis, 0).reshape(n, -1)
                second = np.moveaxis(permuted(name, axis), axis, 0).reshape(n, -1)
                gains += first @ second.T
            _, order = linear_sum_assignment(gains, maximize=True)
            rows = np.arange(n)
            progress |= bool(gains[rows, order].sum() > gains[rows, orders[group]].sum() + 1e-12)
            orders[group] = order
        if not progress:
            break
    return {name: permuted(name) for name in b}


# ---- both, on the same networks ------------------------------------------------------------------


class Pair:
    """Two networks, drawn independently, the second to be put in the order of the first."""

    def __init__(self, *sizes: Sizes) -> None:
        torch.manual_seed(0)
        self.first, self.second = ResNet(*sizes), ResNet(*sizes)
        self._original = copy.deepcopy(self.second.state_dict())
        self._example = torch.randn(1, 3, 64, 64)
        self._groups = graft.torch.permutation_groups(self.second, self._example)
        self._spec = specification([len(stage) for stage in self.first.stages])
        if sorted(_axes_of(self._groups)) != sorted(sorted(one) for one in self._spec.values()):
            raise SystemExit("the groups read off the module are not those written down")
        self._a, self._b = (
            {name: w.detach().numpy() for name, w in one.named_parameters()}
            for one in (self.first, self.second))
        #: The inner product of the two networks' weights before, and as each contender leaves it.
        self.reached = {"before": self._inner(self._b)}

    def restore(self) -> None:
        self.second.load_state_dict(self._original)

    def contenders(self) -> dict[str, Callable[[], object]]:
        """What to time, by name."""
        return {"graft": self._ours, "graft, traced": self._traced, "Git Re-Basin": self._peer}

    def verify(self) -> None:
        """After a run of each: ours is as good a match as the peer's."""
        gained = {name: value - self.reached["before"] for name, value in self.reached.items()}
        for name in ("graft", "graft, traced"):
            if not gained[name] > 0.95 * gained["Git Re-Basin"]:
                raise SystemExit(f"{name} gains {gained[name]}, and the peer "
                                 f"{gained['Git Re-Basin']}")

    def _ours(self) -> None:
        """As with the peer, what can move is known."""
        graft.torch.align(self.second, self.first, groups=self._groups)
        self.reached["graft"] = self._inner(self._b)

    def _traced(self) -> None:
        graft.torch.align(self.second, self.first, self._example)
        self.reached["graft, traced"] = self._inner(self._b)

    def _peer(self) -> None:
        found = weight_matching(self._spec, self._a, self._b)
        self.reached["Git Re-Basin"] = self._inner(found)

    def _inner(self, other: Arrays) -> float:
        return sum(float(np.vdot(w, other[name])) for name, w in self._a.items())


def _axes_of(groups: graft.torch.PermutationGroups) -> Iterator[list[tuple[str, int]]]:
    for group in groups:
        yield sorted((one.tensor, one.axis) for one in group.members
                     if not one.tensor.endswith(("running_mean", "running_var")))
