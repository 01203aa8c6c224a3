"""Concatenation, dropout and the rectifier with a ceiling, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from philox import kept, philox
from test_layers import compare
from test_same_bits import assert_same, data, interrupted
from torch import nn

import graft

# ---- concatenation -------------------------------------------------------------------------------


class Branches(nn.Module):
    """Branches of different kinds next to each other, with a batch norm over all of them."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.widths = widths
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.norm0 = nn.BatchNorm2d(widths[0])
        self.conv1 = nn.Conv2d(widths[0], widths[1], 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(widths[0], widths[2], 1, bias=False)
        self.norm2 = nn.BatchNorm2d(widths[2])
        self.norm = nn.BatchNorm2d(sum(widths) + widths[0] + 3)
        self.last = nn.Conv2d(sum(widths) + widths[0] + 3, 5, 3)

    def forward(self, x):
        stem = self.stem(x)
        y = F.relu(self.norm0(stem))
        pooled = F.max_pool2d(y, 3, 1, 1)
        parts = [y, self.conv1(y), F.leaky_relu(self.norm2(self.conv2(pooled)), 0.2), x, stem]
        return self.last(F.relu(self.norm(torch.cat(parts, 1))))


def branches(net: graft.Network, x: graft.Value, widths: list[int]) -> graft.Value:
    stem = net.convolution("stem", x, widths[0], padding=1)
    y = net.relu(net.batch_norm("norm0", stem))
    pooled = net.max_pool(y, 3, 1, 1)
    conv1 = net.convolution("conv1", y, widths[1], padding=1)
    conv2 = net.convolution("conv2", pooled, widths[2], kernel=1)
    parts = [y, conv1, net.relu(net.batch_norm("norm2", conv2), 0.2), x, stem]
    joined = net.batch_norm("norm", net.concatenation(parts))
    return net.convolution("last", net.relu(joined), 5, bias=True)


@pytest.mark.parametrize("widths", [[16, 32, 8], [7, 1, 13], [2, 1, 3], [40, 12, 100]])
@pytest.mark.parametrize("shape", [(3, 3, 9, 7), (1, 3, 33, 40)])
def test_concatenation(widths, shape) -> None:
    compare(lambda net, x: branches(net, x, widths), Branches(widths), shape)


def test_wide_concatenations_nested_and_of_one_value_twice() -> None:
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(2, 3000, 1, bias=False)
            self.b = nn.Conv2d(2, 70, 1, bias=False)
            self.norm = nn.BatchNorm2d(6140)
            self.linear = nn.Linear(6140, 3)

        def forward(self, x):
            a, b = self.a(x), self.b(x)
            first = torch.cat([a, b], 1)
            return self.linear(F.relu(self.norm(torch.cat([first, first], 1))).mean((2, 3)))

    def build(net, x):
        a = net.convolution("a", x, 3000, kernel=1)
        b = net.convolution("b", x, 70, kernel=1)
        first = net.concatenation([a, b])
        joined = net.relu(net.batch_norm("norm", net.concatenation([first, first])))
        return net.linear("linear", net.global_pool(joined), 3)

    compare(build, Module(), (2, 2, 3, 2))


def test_concatenations_that_cannot_be() -> None:
    net = graft.Network((3, 8, 8))
    smaller = net.max_pool(net.input, 2)
    with pytest.raises(graft.ShapeMismatchError, match=r"inputs\[1\] is 3 x 4 x 4"):
        net.concatenation([net.input, smaller])
    with pytest.raises(graft.InvalidArgumentError, match="count"):
        net.concatenation([])
    with pytest.raises(graft.InvalidArgumentError, match="another network"):
        net.concatenation([graft.Network((3, 8, 8)).input])
    wide = net.concatenation([net.input] * 4096)
    with pytest.raises(graft.InvalidArgumentError, match="too large"):
        net.concatenation([wide] * 6)


# ---- the rectifier with a ceiling ----------------------------------------------------------------


@pytest.mark.parametrize("channels", [19, 64])
def test_a_rectifier_with_a_ceiling(channels) -> None:
    """ReLU6 before every kind of operation that reads through it."""

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, channels, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(channels)
            self.depthwise = nn.Conv2d(
                channels, channels, 3, padding=1, groups=channels, bias=False)
            self.norm2 = nn.BatchNorm2d(channels)
            self.linear = nn.Linear(channels, 4)

        def forward(self, x):
            x = F.relu6(self.norm(self.conv(x)))
            y = F.hardtanh(self.norm2(self.depthwise(x)), 0, 0.5)
            return self.linear((F.max_pool2d(F.relu6(x + y), 2)).mean((2, 3)))

    def build(net, x):
        x = net.convolution("conv", x, channels, padding=1)
        x = net.clipped_relu(net.batch_norm("norm", x))
        y = net.convolution("depthwise", x, channels, padding=1, groups=channels)
        y = net.clipped_relu(net.batch_norm("norm2", y), 0.5)
        y = net.max_pool(net.clipped_relu(net.sum(x, y)), 2)
        return net.linear("linear", net.global_pool(y), 4)

    compare(build, Module(), (5, 3, 9, 8))


def test_not_a_number_passes_the_ceiling() -> None:
    net = graft.Network((1, 1, 4))
    net.finish(net.clipped_relu(net.input), seed=0)
    x = np.array([[[[np.nan, 7, -1, 2]]]], np.float32)
    np.testing.assert_array_equal(net.forward(x), [[[[np.nan, 6, 0, 2]]]])


# ---- dropout -------------------------------------------------------------------------------------


def test_philox_gives_the_published_numbers() -> None:
    # Known answers of Random123, philox4x32-10.
    ones = np.full(4, 0xFFFFFFFF, np.uint64)
    assert [hex(w) for w in philox(np.zeros(4, np.uint64), (0, 0))] == [
        "0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]
    assert [hex(w) for w in philox(ones, (0xFFFFFFFF, 0xFFFFFFFF))] == [
        "0x408f276d", "0x41c83b0e", "0xa20bc7c6", "0x6d5451fd"]


@pytest.mark.parametrize("shape", [(3, 5, 7, 6), (2, 32, 40, 33), (2, 1, 1, 1), (4, 70, 1, 1)])
@pytest.mark.parametrize("probability", [0.0, 0.3, 0.75])
def test_dropout_keeps_what_the_header_says(shape, probability) -> None:
    net = graft.Network(shape[1:])
    first = net.dropout(net.input, probability)
    net.finish(net.dropout(net.relu(first, 0.5), 0.25), seed=2**40 + 3)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    gradient = rng.standard_normal(shape).astype(np.float32)
    for seed, step in [(2**40 + 3, 0), (2**40 + 3, 1), (9, 2**33 + 5)]:
        if seed == 9:
            net.set_dropout(seed, step)
        one = kept(shape, probability, seed, step, 0) / np.float64(1 - probability)
        two = kept(shape, 0.25, seed, step, 1) / 0.75
        y = x * one
        out = net.forward(x, training=True).reshape(shape)
        np.testing.assert_allclose(out, np.where(y > 0, y, y / 2) * two, rtol=1e-6)
        flat = shape[:2] if shape[2:] == (1, 1) else shape
        back = net.backward(gradient.reshape(flat), input_gradient=True)
        expected = gradient * two * np.where(y > 0, 1, 0.5) * one
        np.testing.assert_allclose(back.reshape(shape), expected, rtol=1e-6)
    evaluated = net.forward(x).reshape(shape)
    np.testing.assert_array_equal(evaluated, np.where(x > 0, x, x / 2))


def test_dropout_after_batch_norm_and_rectifier() -> None:
    """WideResNet's place for it, against PyTorch with the same numbers dropped."""
    shape = (6, 24, 5, 7)
    mask = torch.from_numpy(kept(shape, 0.4, 5, 0) / np.float32(0.6))

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 24, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(24)
            self.last = nn.Conv2d(24, 9, 3)

        def forward(self, x):
            x = F.relu(self.norm(self.conv(x)))
            return self.last(x * mask if self.training else x)

    def build(net, x):
        x = net.relu(net.batch_norm("norm", net.convolution("conv", x, 24, padding=1)))
        return net.convolution("last", net.dropout(x, 0.4), 9, bias=True)

    compare(build, Module(), (6, 3, 5, 7), seed=5)


def test_dropout_drops_its_share_and_differs_between_images() -> None:
    keep = kept((64, 8, 8, 8), 0.2, 1, 0)
    assert abs(keep.mean() - 0.8) < 5 * np.sqrt(0.16 / keep.size)
    overlap = (keep[:-1] == keep[1:]).mean()
    assert abs(overlap - (0.64 + 0.04)) < 0.01


def dropping(seed: int) -> graft.Network:
    net = graft.Network((3, 10, 10))
    x = net.convolution("conv1", net.input, 8, padding=1)
    x = net.dropout(net.relu(net.batch_norm("bn1", x)), 0.3)
    y = net.relu(net.batch_norm("bn2", net.convolution("conv2", x, 8, padding=1)))
    x = net.dropout(net.concatenation([x, y]), 0.1)
    return net.finish(net.linear("fc", net.global_pool(x), 4), seed=seed)


def trainer(threads: int = 1) -> graft.Trainer:
    train, test = data(100, 40)
    return graft.Trainer(
        [dropping(seed) for seed in (0, 1)], train, test, epochs=2, batch_size=32,
        threads=threads, seeds=[3, 4], grafting=graft.Grafting(), teaching="others")


def test_training_with_dropout_gives_the_same_bits(tmp_path) -> None:
    """At any number of threads, and stopped and resumed anywhere; but not without dropping."""
    whole = trainer()
    calls = []
    whole.run(calls.append)
    for threads in (2, 3):
        other = trainer(threads)
        other.run()
        assert_same(other, whole)
    for after in range(1, len(calls) + 1, 3):
        run = trainer()
        interrupted(run, after)
        run.save(tmp_path / "run")
        resumed = trainer()
        resumed.load(tmp_path / "run")
        resumed.run()
        assert_same(resumed, whole)


def test_dropout_s_probability_is_checked() -> None:
    net = graft.Network((3, 8, 8))
    for probability in (-0.1, 1.0, float("nan")):
        with pytest.raises(graft.InvalidArgumentError, match="probability"):
            net.dropout(net.input, probability)
    for ceiling in (0.0, -1.0, float("inf"), float("nan"), 1e300):
        with pytest.raises(graft.InvalidArgumentError, match="ceiling"):
            net.clipped_relu(net.input, ceiling)
