"""Every layer's forward pass and gradients against PyTorch, to 1e-4 of the tensor's largest value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import graft


def near(ours, theirs, share: float = 1e-4) -> None:
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    scale = max(float(np.abs(theirs).max()), 1e-6)
    assert float(np.abs(ours - theirs).max()) <= share * scale


def compare(build, module, shape, seed: int = 0, buffers: bool = True) -> None:
    """Builds one network on both sides, with the same weights, and compares all that comes out."""
    rng = np.random.default_rng(seed)
    batch, *image = shape
    network = graft.Network(tuple(image))
    network.finish(build(network, network.input), seed=seed)
    state = network.state_dict()
    for value in state.values():
        if value.dtype == np.float32:
            value[...] = rng.uniform(0.2, 1.2, value.shape) * rng.choice([-1, 1], value.shape)
        if value.ndim == 1:
            np.abs(value, out=value) if value.dtype == np.float32 else None
    if state:
        module.load_state_dict(
            {name: torch.from_numpy(value.copy()) for name, value in state.items()}, strict=True
        )
    module.train()
    x = rng.standard_normal(shape).astype(np.float32)
    images = torch.from_numpy(x.copy()).requires_grad_()
    expected = module(images)
    ours = network.forward(x, training=True)
    near(ours.reshape(expected.shape), expected)

    gradient = rng.standard_normal(tuple(expected.shape)).astype(np.float32)
    expected.backward(torch.from_numpy(gradient))
    back = network.backward(gradient.reshape(ours.shape), input_gradient=True)
    near(back, images.grad)
    gradients = network.gradients()
    named = dict(module.named_parameters())
    assert sorted(gradients) == sorted(named)
    for name, value in named.items():
        near(gradients[name], value.grad)
    if buffers:
        for name, value in module.named_buffers():
            near(network.state_dict()[name].astype(np.float64), value.double(), 1e-5)

    module.eval()
    ours = network.forward(x)
    near(ours.reshape(expected.shape), module(torch.from_numpy(x)))


CONVOLUTIONS = [
    # batch, channels, height, width, filters, kernel, stride, padding, dilation, groups, bias
    (2, 3, 8, 8, 16, (3, 3), (1, 1), (1, 1), (1, 1), 1, False),
    (1, 1, 5, 7, 1, (3, 3), (1, 1), (0, 0), (1, 1), 1, True),
    (3, 16, 9, 9, 32, (3, 3), (2, 2), (1, 1), (1, 1), 1, False),
    (2, 17, 7, 5, 33, (3, 3), (2, 1), (1, 2), (1, 1), 1, True),
    (2, 64, 8, 8, 64, (3, 3), (1, 1), (1, 1), (1, 1), 1, False),
    (2, 32, 6, 6, 48, (1, 1), (1, 1), (0, 0), (1, 1), 1, True),
    (2, 32, 7, 7, 48, (1, 1), (2, 2), (0, 0), (1, 1), 1, False),
    (2, 8, 9, 11, 12, (5, 3), (3, 2), (2, 1), (1, 1), 4, True),
    (2, 24, 8, 8, 24, (3, 3), (1, 1), (1, 1), (1, 1), 24, False),
    (2, 24, 9, 9, 48, (3, 3), (2, 2), (1, 1), (1, 1), 24, True),
    (2, 48, 9, 21, 48, (3, 3), (1, 1), (1, 1), (1, 1), 12, True),  # narrow groups
    (3, 64, 8, 7, 64, (3, 3), (2, 2), (1, 1), (1, 1), 8, False),
    (2, 96, 5, 6, 96, (3, 3), (1, 1), (1, 1), (1, 1), 6, True),
    (2, 6, 12, 12, 10, (3, 3), (1, 1), (2, 2), (2, 2), 1, False),
    (2, 6, 13, 12, 10, (3, 2), (2, 3), (2, 1), (2, 3), 2, True),
    (2, 5, 9, 9, 7, (2, 2), (4, 4), (0, 0), (1, 1), 1, True),  # stride larger than kernel
    (4, 7, 1, 1, 9, (1, 1), (1, 1), (0, 0), (1, 1), 1, True),
    (4, 7, 1, 1, 9, (3, 3), (1, 1), (1, 1), (1, 1), 1, True),
    (1, 3, 40, 33, 20, (7, 7), (2, 2), (3, 3), (1, 1), 1, False),
    (5, 128, 4, 4, 96, (3, 3), (1, 1), (1, 1), (1, 1), 1, False),
    (1, 64, 56, 56, 64, (3, 3), (1, 1), (1, 1), (1, 1), 1, False),  # in bands
    (2, 96, 30, 30, 80, (3, 3), (2, 2), (1, 1), (1, 1), 1, True),  # in bands, strided
]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolution(case) -> None:
    batch, channels, height, width, filters, kernel, stride, padding, dilation, groups, bias = case

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(
                channels, filters, kernel, stride, padding, dilation, groups, bias
            )

        def forward(self, x):
            return self.conv(x)

    compare(
        lambda net, x: net.convolution(
            "conv", x, filters, kernel=kernel, stride=stride, padding=padding, dilation=dilation,
            groups=groups, bias=bias,
        ),
        Module(), (batch, channels, height, width),
    )


def test_convolutions_of_random_shapes() -> None:
    rng = np.random.default_rng(7)
    for _ in range(60):
        groups = int(rng.choice([1, 1, 1, 2, 3]))
        channels, filters = (int(rng.integers(1, 21)) * groups for _ in range(2))
        kernel, stride, dilation = (tuple(map(int, rng.integers(1, 4, 2))) for _ in range(3))
        padding = tuple(map(int, rng.integers(0, 3, 2)))
        size = [
            max(1, d * (k - 1) + 1 - 2 * p) + int(rng.integers(0, 9))
            for k, p, d in zip(kernel, padding, dilation)
        ]
        test_convolution(
            (int(rng.integers(1, 5)), channels, *size, filters, kernel, stride, padding, dilation,
             groups, bool(rng.integers(2)))
        )


@pytest.mark.parametrize("seed", range(12))
def test_layers_of_random_shapes_in_a_row(seed) -> None:
    """Convolution, batch norm, rectifier, pool, depthwise convolution, linear: from batches of one
    image and one channel, from one pixel on, strides larger than kernels, no side like another."""
    rng = np.random.default_rng(seed)

    def draw(low: int, high: int) -> tuple[int, int]:
        return tuple(map(int, rng.integers(low, high, 2)))

    batch, channels = int(rng.integers(1, 5)), int(rng.integers(1, 38))
    kernel, stride, dilation, (window, step) = (draw(1, 4) for _ in range(4))
    padding = tuple(int(rng.integers(0, d * (k - 1) + 1)) for k, d in zip(kernel, dilation))
    pool = nn.MaxPool2d if rng.integers(2) else nn.AvgPool2d
    # The smallest image that leaves the pool one window, and some more or none.
    size = [
        max(1, s * (window - 1) + 1 + d * (k - 1) - 2 * p) + int(more)
        for k, s, d, p, more in zip(
            kernel, stride, dilation, padding, rng.choice([0, 0, 1, 7], 2))]
    # Of a few numbers a channel, a batch norm's gradient is nothing but rounding.
    norm = batch * size[0] * size[1] > 60

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, channels, kernel, stride, padding, dilation, bias=False)
            if norm:
                self.bn = nn.BatchNorm2d(channels)
            self.deep = nn.Conv2d(channels, channels, 3, 2, 1, groups=channels)
            self.fc = nn.Linear(channels, 5)

        def forward(self, x):
            x = self.bn(self.conv(x)) if norm else self.conv(x)
            x = pool(window, step)(F.leaky_relu(x, 0.3))
            return self.fc(self.deep(x).mean((2, 3)))

    def build(net, x):
        x = net.convolution(
            "conv", x, channels, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
        x = net.relu(net.batch_norm("bn", x) if norm else x, 0.3)
        pooled = net.max_pool if pool is nn.MaxPool2d else net.average_pool
        x = pooled(x, window, step)
        x = net.convolution(
            "deep", x, channels, stride=2, padding=1, groups=channels, bias=True)
        return net.linear("fc", net.global_pool(x), 5)

    compare(build, Module(), (batch, 3, *size), seed)


@pytest.mark.parametrize("channels", [1, 3, 16, 20, 70])
@pytest.mark.parametrize("slope", [None, 0.0, 0.2])
def test_convolution_with_batch_norm_and_rectifier(channels, slope) -> None:
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, channels, 3, 1, 1)
            self.bn = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.3)
            self.last = nn.Conv2d(channels, 4, 3, 2, 1)

        def forward(self, x):
            x = self.bn(self.conv(x))
            return self.last(x if slope is None else F.leaky_relu(x, slope))

    def build(net, x):
        x = net.convolution("conv", x, channels, padding=1, bias=True)
        x = net.batch_norm("bn", x, epsilon=1e-3, momentum=0.3)
        x = x if slope is None else net.relu(x, slope)
        return net.convolution("last", x, 4, stride=2, padding=1, bias=True)

    # A bias before a batch norm has no gradient but rounding noise, on either side.
    module = Module()
    module.conv.bias.requires_grad_(False)
    rng = np.random.default_rng(0)
    network = graft.Network((3, 9, 7))
    network.finish(build(network, network.input), seed=3)
    module.load_state_dict(
        {name: torch.from_numpy(value.copy()) for name, value in network.state_dict().items()}
    )
    x = rng.standard_normal((4, 3, 9, 7)).astype(np.float32)
    images = torch.from_numpy(x).requires_grad_()
    expected = module(images)
    near(network.forward(x, training=True), expected)
    gradient = rng.standard_normal(tuple(expected.shape)).astype(np.float32)
    expected.backward(torch.from_numpy(gradient))
    near(network.backward(gradient, input_gradient=True), images.grad)
    for name, value in module.named_parameters():
        if value.grad is not None:
            near(network.gradients()[name], value.grad)
    for name, value in module.named_buffers():
        near(network.state_dict()[name].astype(np.float64), value.double(), 1e-5)


def test_batch_norm_on_images_and_statistics_far_from_zero() -> None:
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm2d(5)

        def forward(self, x):
            return self.bn(x + 0)

    compare(lambda net, x: net.batch_norm("bn", x), Module(), (6, 5, 3, 4))

    # A mean a thousand times the deviation: the variance must not drown in it.
    network = graft.Network((3, 8, 8))
    network.finish(network.batch_norm("bn", network.input))
    rng = np.random.default_rng(1)
    x = (1000 + rng.standard_normal((16, 3, 8, 8))).astype(np.float32)
    network.forward(x, training=True)
    state = network.state_dict()
    variance = x.astype(np.float64).var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(state["bn.running_var"], 0.9 + 0.1 * variance, rtol=1e-5)
    assert int(state["bn.num_batches_tracked"]) == 1


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_rectifier(slope) -> None:
    class Module(nn.Module):
        def forward(self, x):
            return F.leaky_relu(F.leaky_relu(x, slope) - 0, 0.5)

    compare(lambda net, x: net.relu(net.relu(x, slope), 0.5), Module(), (3, 5, 4, 6))


@pytest.mark.parametrize("folded", [True, False])
def test_residual_sum(folded) -> None:
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(4, 20, 3, 1, 1)
            self.b = nn.Conv2d(4, 20, 1)
            self.c = nn.Conv2d(20, 20, 3, 1, 1)

        def forward(self, x):
            a, b = F.relu(self.a(x)), self.b(x)
            s = a + b
            y = F.relu(s)
            y = self.c(y) + y
            # Without folding the sum has a second reader besides its rectifier.
            return y if folded else y + s + s

    def build(net, x):
        a = net.relu(net.convolution("a", x, 20, padding=1, bias=True))
        b = net.convolution("b", x, 20, kernel=1, bias=True)
        s = net.sum(a, b)
        y = net.relu(s)
        y = net.sum(net.convolution("c", y, 20, padding=1, bias=True), y)
        return y if folded else net.sum(net.sum(y, s), s)

    compare(build, Module(), (3, 4, 6, 5))


def test_preactivation_block() -> None:
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 18, 3, 1, 1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(18), nn.BatchNorm2d(18)
            self.conv1 = nn.Conv2d(18, 18, 3, 1, 1, bias=False)
            self.conv2 = nn.Conv2d(18, 18, 3, 1, 1, bias=False)

        def forward(self, x):
            x = self.stem(x)
            x = x + self.conv1(F.relu(self.bn1(x)))
            return x + self.conv2(F.relu(self.bn2(x)))

    def build(net, x):
        x = net.convolution("stem", x, 18, padding=1)
        first = net.relu(net.batch_norm("bn1", x))
        x = net.sum(x, net.convolution("conv1", first, 18, padding=1))
        second = net.relu(net.batch_norm("bn2", x))
        return net.sum(x, net.convolution("conv2", second, 18, padding=1))

    compare(build, Module(), (4, 3, 6, 6))


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1)])
def test_shortcut_of_option_a(size) -> None:
    class Module(nn.Module):
        def forward(self, x):
            return F.pad(F.relu(x)[:, :, ::2, ::2], (0, 0, 0, 0, 2, 3))

    compare(lambda net, x: net.shortcut(net.relu(x), 2, 11), Module(), (3, 6, *size))


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("kernel, stride, padding", [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0)])
def test_pooling(kind, kernel, stride, padding) -> None:
    pool = (nn.MaxPool2d if kind == "max" else nn.AvgPool2d)(kernel, stride, padding)

    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 3, 1, 1)

        def forward(self, x):
            return pool(F.relu(self.conv(x)))

    def build(net, x):
        x = net.relu(net.convolution("conv", x, 6, padding=1, bias=True))
        pooled = net.max_pool if kind == "max" else net.average_pool
        return pooled(x, kernel, stride, padding)

    compare(build, Module(), (3, 3, 9, 8))


def test_global_pooling_and_linear() -> None:
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 21, 3)
            self.linear = nn.Linear(21, 5)

        def forward(self, x):
            return self.linear(F.relu(self.conv(x)).mean((2, 3)))

    def build(net, x):
        x = net.relu(net.convolution("conv", x, 21, bias=True))
        return net.linear("linear", net.global_pool(x), 5)

    compare(build, Module(), (5, 3, 9, 6))


@pytest.mark.parametrize("bias", [True, False])
def test_linear_over_a_map(bias) -> None:
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4 * 5 * 3, 130, bias=bias)
            self.second = nn.Linear(130, 70, bias=bias)

        def forward(self, x):
            return self.second(F.relu(self.first(F.relu(x).flatten(1))))

    def build(net, x):
        x = net.relu(net.linear("first", net.relu(x), 130, bias=bias))
        return net.linear("second", x, 70, bias=bias)

    compare(build, Module(), (67, 4, 5, 3))


def test_inputs_of_any_strides_give_the_same_bits() -> None:
    network = graft.resnet(8, input_shape=(3, 12, 12), base_filters=8, seed=1)
    x = np.random.default_rng(0).standard_normal((4, 3, 12, 12)).astype(np.float32)
    plain = network.forward(x)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(network.forward(last), plain)
    padded = np.zeros((4, 5, 14, 13), np.float32)[:, 1:4, 1:13, 1:]
    padded[...] = x
    np.testing.assert_array_equal(network.forward(padded), plain)
