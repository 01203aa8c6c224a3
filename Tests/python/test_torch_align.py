"""Aligning torch modules: channels change places, outputs do not, and copies are found again."""

from __future__ import annotations

import copy
import itertools
import runpy
import sys
from pathlib import Path

import pytest
import reference_networks
import torch
from torch import nn

import graft
import graft.torch as gt

torch.set_num_threads(1)  # small operations: threads that wait for each other cost more


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


class NarrowVGG(reference_networks.VGG):
    """As deep as VGG-11, and an eighth as wide."""

    COLUMNS = {16: [8, "M", 16, "M", 32, 32, "M", 64, 64, "M", 64, 512, "M"]}


def inverted_residuals() -> nn.Module:
    """MobileNetV2's blocks: expanded, depthwise, narrow; with and without a shortcut."""
    block = reference_networks.InvertedResidual
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        block(8, 8, 1, 1), block(8, 12, 6, 2), block(12, 12, 6, 1), block(12, 16, 6, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


NETWORKS = {
    "resnet A": (lambda: reference_networks.ResNet(depth=8, base=8), 16),
    "resnet B": (lambda: reference_networks.ResNet(depth=8, base=8, shortcut="B"), 16),
    "mobilenet": (inverted_residuals, 16),
    "vgg": (NarrowVGG, 32),
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


def test_the_barrier_between_networks_trained_apart_falls(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The example's: the loss in the middle of two networks, above the mean of theirs."""
    example = Path(__file__).resolve().parents[2] / "examples" / "pytorch" / "alignment.py"
    monkeypatch.setattr(sys, "argv", ["alignment.py", "--epochs", "5", "--width", "32"])
    names = runpy.run_path(str(example), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert "channels moved" in lines[0] and lines[2].split()[-1] == "barrier"
    rows = {line[:30].strip(): [float(word) for word in line[30:].split()] for line in lines[3:7]}
    before, after = (rows[name][-1] for name in (
        "as they are, statistics anew", "aligned, statistics anew"))
    assert before > 0.3 and after < 0.5 * before, rows
    for row in rows.values():
        assert row[-1] == pytest.approx(row[2] - (row[0] + row[4]) / 2, abs=2e-3)
    plain, aligned = (float(word) for word in lines[8].split() if word[0].isdigit())
    assert aligned < 0.8 * plain, lines[8]
    names["draw"]({name: dict(zip(names["PRINTED"], row)) for name, row in rows.items()},
                  tmp_path / "lines.png")
    assert (tmp_path / "lines.png").read_bytes().startswith(b"\x89PNG")
