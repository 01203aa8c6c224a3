"""Aligning torch modules: channels change places, outputs do not, and copies are found again."""

from __future__ import annotations

import copy
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference_networks
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.swa_utils import update_bn

import graft
import graft.torch as gt


def stirred(module: nn.Module) -> nn.Module:
    """A network whose batch norms all differ, so that a channel left behind shows."""
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in ((part.weight, 0.5, 1.5), (part.bias, -1, 1),
                                      (part.running_mean, -0.1, 0.1), (part.running_var, 0.5, 1.5)):
                tensor.data.uniform_(low, high, generator=generator)
    return module.eval()


class Joined(nn.Module):
    """Concatenation, a depthwise convolution, and rows of pixels flattened into a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(9, 8, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.linear = nn.Linear(8 * 6 * 6, 4)

    def forward(self, x):
        joined = torch.cat([x, torch.relu(self.first(x))], 1)
        return self.linear(torch.relu(self.depthwise(torch.relu(self.second(joined)))).flatten(1))


NETWORKS = {
    "resnet A": (lambda: reference_networks.ResNet(depth=8), 32),
    "resnet B": (lambda: reference_networks.ResNet(depth=8, shortcut="B"), 32),
    "mobilenet": (reference_networks.MobileNetV2, 32),
    "vgg": (lambda: reference_networks.VGG(depth=11), 32),
    "joined": (Joined, 8),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_permuted_copy_computes_the_same_and_is_found(name: str) -> None:
    make, size = NETWORKS[name]
    torch.manual_seed(0)
    module = stirred(make())
    example = torch.randn(2, 3, size, size)
    groups = gt.permutation_groups(module, example)
    assert sum(group.size for group in groups) > 10
    other = copy.deepcopy(module)
    gt.permute(other, groups, groups.random(5))
    assert any(not torch.equal(a, b) for a, b in zip(
        module.state_dict().values(), other.state_dict().values()))
    with torch.no_grad():
        expected, got = module(example), other(example)
    assert float((got - expected).abs().max() / expected.abs().max()) < 1e-4
    found = gt.align(other, module, example)
    assert found.similarity_before < 0.9
    assert found.similarity_after == pytest.approx(1, abs=1e-5)
    for (key, a), b in zip(module.state_dict().items(), other.state_dict().values()):
        assert torch.equal(a, b), key


def mlp(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))


def inner(a: nn.Module, b: nn.Module) -> float:
    return sum(float((x.detach().double() * y.detach().double()).sum())
               for x, y in zip(a.parameters(), b.parameters())
               if not torch.equal(x, a[2].bias))  # the classes stay


def test_the_order_is_the_best_of_all() -> None:
    """One hidden layer of five has 120 orders: each is tried."""
    a, b = mlp(0), mlp(1)
    scores = []
    for order in itertools.permutations(range(5)):
        one = copy.deepcopy(b)
        one[0].weight.data = b[0].weight.data[list(order)]
        one[0].bias.data = b[0].bias.data[list(order)]
        one[2].weight.data = b[2].weight.data[:, list(order)]
        scores.append(inner(a, one))
    before = inner(a, b)
    found = gt.align(b, a, torch.randn(1, 6))
    assert inner(a, b) == pytest.approx(max(scores), rel=1e-6)
    assert found.objectives[0] == pytest.approx(before, rel=1e-5)
    assert found.objectives[-1] == pytest.approx(max(scores), rel=1e-5)
    assert list(found.objectives) == sorted(found.objectives)


def test_momentum_goes_with_its_channels() -> None:
    a, b = mlp(0), mlp(1)
    optimizer = torch.optim.SGD(b.parameters(), lr=0.1, momentum=0.9)
    b(torch.randn(8, 6)).square().sum().backward()
    optimizer.step()
    before = [(p.detach().clone(), optimizer.state[p]["momentum_buffer"].clone())
              for p in b.parameters()]
    found = gt.align(b, a, torch.randn(1, 6), optimizer=optimizer)
    [order] = found.permutations
    order = torch.from_numpy(order)
    assert found.moved > 0
    for (old, momentum), new in zip(before[:2], b[0].parameters()):
        assert torch.equal(new, old[order])
        assert torch.equal(optimizer.state[new]["momentum_buffer"], momentum[order])
    assert torch.equal(b[2].weight, before[2][0][:, order])


def test_bad_input_changes_nothing() -> None:
    a, b = mlp(0), mlp(1)
    before = copy.deepcopy(b.state_dict())
    with pytest.raises(graft.InvalidArgumentError, match="example_inputs"):
        gt.align(b, a)
    with pytest.raises(graft.ShapeMismatchError):
        gt.align(b, nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 4)), torch.randn(1, 6))
    with pytest.raises(graft.InvalidArgumentError, match="own memory"):
        gt.align(b, b, torch.randn(1, 6))
    a[0].weight.data[0, 0] = float("nan")
    with pytest.raises(graft.NotFiniteError):
        gt.align(b, a, torch.randn(1, 6))
    assert all(torch.equal(x, y) for x, y in zip(before.values(), b.state_dict().values()))


class Small(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inputs, outputs in ((1, 64), (64, 64), (64, 64)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        return self.linear(self.features(x).mean((2, 3)))


def test_the_barrier_between_networks_trained_apart_falls() -> None:
    """The loss in the middle of two networks, above the mean of theirs."""
    pixels, labels = load_digits(return_X_y=True)
    x = torch.from_numpy((pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8))
    y = torch.from_numpy(labels)
    loss = nn.CrossEntropyLoss()
    networks = [Small(seed) for seed in (0, 1)]
    for seed, network in enumerate(networks):
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(6):
            for batch in torch.randperm(len(x), generator=generator).split(128):
                optimizer.zero_grad()
                loss(network(x[batch]), y[batch]).backward()
                optimizer.step()

    def value(network: nn.Module) -> float:
        with torch.no_grad():
            return float(loss(network.eval()(x), y))

    def barrier(a: nn.Module, b: nn.Module) -> float:
        middle = copy.deepcopy(a)
        for mine, other in zip(middle.parameters(), b.parameters()):
            mine.data.lerp_(other.data, 0.5)
        update_bn([x], middle)
        return value(middle) - (value(a) + value(b)) / 2

    before = barrier(*networks)
    gt.align(networks[1], networks[0], x[:2])
    after = barrier(*networks)
    assert before > 0.3 and after < 0.5 * before, (before, after)


def test_the_example_prints_what_alignment_is_for() -> None:
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, root / "examples" / "pytorch" / "alignment.py", "--epochs", "4"],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(root / "bindings" / "python")})
    lines = run.stdout.splitlines()
    assert "channels moved" in lines[0] and lines[2].split()[-1] == "barrier"
    barriers = [float(line.split()[-1]) for line in lines[3:]]
    assert len(barriers) == 4 and barriers[3] < 0.5 * barriers[1]
