"""Training in bfloat16: against PyTorch, the same bits, checkpoints, accuracy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference_networks import MobileNetV2, ResNet, load
from sklearn.datasets import load_digits
from test_same_bits import EVERYTHING, assert_same, interrupted, trainer

import graft
from graft._library import lib

torch.set_num_threads(1)


def distance(ours: np.ndarray, exact: torch.Tensor) -> float:
    """The largest difference, as a share of the tensor's largest value."""
    exact = exact.detach().numpy().astype(np.float64)
    return float(np.abs(ours.astype(np.float64) - exact).max() / max(np.abs(exact).max(), 1e-30))


def rounded(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(values)).bfloat16().double().requires_grad_()


def passes(network: graft.Network, images: np.ndarray, gradient: np.ndarray):
    output = network.forward(images, training=True)
    back = network.backward(gradient, input_gradient=True)
    return [output, back, *(value.copy() for value in network.gradients().values())]


SHAPES = {
    # channels, height, width, filters, kernel, stride, padding, dilation, groups, bias
    "resnet": (16, 16, 16, 16, 3, 1, 1, 1, 1, False),
    "strided": (32, 9, 11, 64, 3, 2, 1, 1, 1, False),
    "pointwise": (24, 7, 5, 144, 1, 1, 0, 1, 1, False),
    "odd": (19, 10, 13, 21, 3, 1, 1, 1, 1, True),
    "dilated": (17, 12, 12, 40, 3, 1, 2, 2, 1, True),
    "groups": (34, 8, 8, 36, 3, 1, 1, 1, 2, False),
    "one pixel": (64, 1, 1, 48, 1, 1, 0, 1, 1, False),
    "larger than a cache": (64, 64, 80, 16, 3, 1, 1, 1, 1, False),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("count", [1, 5])
def test_a_convolution_multiplies_rounded_numbers(shape, count) -> None:
    """PyTorch's result in float64 for rounded operands, as near as float32 adds up."""
    channels, height, width, filters, kernel, stride, padding, dilation, groups, bias = shape
    network = graft.Network((channels, height, width))
    network.finish(network.convolution(
        "c", network.input, filters, kernel=kernel, stride=stride, padding=padding,
        dilation=dilation, groups=groups, bias=bias), seed=1)
    network.precision = "bfloat16"
    rng = np.random.default_rng(2)
    images = rng.standard_normal((count, channels, height, width), np.float32)
    gradient = rng.standard_normal((count, *network.output_shape), np.float32)
    found = passes(network, images, gradient)

    state = network.state_dict()
    x, w = rounded(images), rounded(state["c.weight"])
    shift = torch.from_numpy(state["c.bias"].astype(np.float64)).requires_grad_() if bias else None
    y = F.conv2d(x, w, shift, stride, padding, dilation, groups)
    y.backward(rounded(gradient))
    exact = [y, x.grad, w.grad, *([shift.grad] if bias else [])]
    for ours, theirs in zip(found, exact, strict=True):
        assert distance(ours.reshape(theirs.shape), theirs) < 2e-6
    # And it is not what float32 gives.
    network.precision = "float32"
    assert distance(passes(network, images, gradient)[0].reshape(y.shape), y) > 1e-4


@pytest.mark.parametrize("channels, filters, groups, size", [
    (3, 16, 1, 8), (16, 15, 1, 8), (30, 32, 2, 8), (32, 32, 32, 8), (32, 32, 8, 8), (32, 32, 1, 4),
])
def test_convolutions_that_gain_nothing_stay_float32(channels, filters, groups, size) -> None:
    rng = np.random.default_rng(3)
    images = rng.standard_normal((4, channels, size, size), np.float32)
    gradient = rng.standard_normal((4, filters, size, size), np.float32)
    network = graft.Network((channels, size, size))
    network.finish(network.convolution(
        "c", network.input, filters, padding=1, groups=groups), seed=1)
    plain = passes(network, images, gradient)
    network.precision = "bfloat16"
    for one, same in zip(plain, passes(network, images, gradient), strict=True):
        np.testing.assert_array_equal(one, same)


def test_infinities_and_nan_stay_what_they_are() -> None:
    network = graft.Network((16, 4, 4))
    network.finish(network.convolution("c", network.input, 16, kernel=1), seed=1)
    network.precision = "bfloat16"
    weight = network.state_dict()["c.weight"]
    weight[...] = 0
    weight[np.arange(16), np.arange(16)] = 1
    images = np.ones((1, 16, 4, 4), np.float32)
    # Of not-a-numbers also those whose upper half alone would be an infinity or overflow.
    images[0, 0, 0] = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0xFF800001], np.uint32).view(
        np.float32)
    images[0, 1, 1] = [3.4e38, 1.0040, -1.00390625, 1.01171875]
    output = network.forward(images, training=True)
    assert np.isnan(output[0, 0, 0]).all() and np.isnan(output[0, :, 0]).all()
    # 3.4e38 rounds to infinity, ties go to the even neighbour: 1 and not 1.0078125.
    assert output[0, 1, 1].tolist()[1:] == [1.0078125, -1.0, 1.015625]
    assert np.isinf(output[0, 1, 1, 0]) and np.isfinite(output[0, 2, 2:]).all()


@pytest.mark.parametrize("make, module", [
    (lambda seed: graft.resnet(20, seed=seed), lambda: ResNet(20)),
    (lambda seed: graft.mobilenet_v2(seed=seed), MobileNetV2),
])
def test_networks_are_as_near_to_float64_as_pytorch_s_autocast(make, module) -> None:
    """Gradients, in the median over all tensors no further away than PyTorch's bfloat16."""
    own, theirs = [], []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        images = rng.standard_normal((16, 3, 32, 32), np.float32)
        labels = rng.integers(0, 10, 16)
        network = make(seed)
        network.precision = "bfloat16"
        exact, half = module(), module()
        load(exact, network)
        load(half, network)
        exact = exact.double()
        logits = network.forward(images, training=True)
        network.backward(graft.distillation_loss(logits, [], labels)[1])
        answer = exact(torch.from_numpy(images).double())
        F.cross_entropy(answer, torch.from_numpy(labels)).backward()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = F.cross_entropy(half(torch.from_numpy(images)), torch.from_numpy(labels))
        loss.backward()
        for (name, value), other in zip(exact.named_parameters(), half.parameters(), strict=True):
            size = float(value.grad.norm())
            ours = torch.from_numpy(network.gradients()[name].astype(np.float64))
            own.append(float((ours - value.grad).norm()) / size)
            theirs.append(float((other.grad.double() - value.grad).norm()) / size)
    assert np.median(own) <= np.median(theirs)
    assert np.median(own) > 1e-4  # bfloat16 it is


def test_the_same_bits_at_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((37, 3, 19, 13), np.float32)
    gradient = rng.standard_normal((37, 10), np.float32)
    results = []
    for threads in (1, 2, 3, 4):
        network = graft.resnet(20, input_shape=(3, 19, 13), shortcut="B", seed=1)
        network.threads, network.precision = threads, "bfloat16"
        found = passes(network, images, gradient) + list(network.state_dict().values())
        results.append(b"".join(value.tobytes() for value in found))
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("pool", ["max_pool", "average_pool", "global_pool"])
def test_a_dropout_of_nothing_changes_nothing(pool: str) -> None:
    """Pools read what they pool in float32, whatever stands between them and a batch norm."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((9, 16, 8, 8), np.float32)
    results = []
    for drops in (False, True):
        net = graft.Network((16, 8, 8))
        y = net.relu(net.batch_norm("bn", net.convolution("conv", net.input, 48)))
        y = net.dropout(y, 0) if drops else y
        y = net.global_pool(y) if pool == "global_pool" else getattr(net, pool)(y, 2)
        network = net.finish(net.linear("fc", y, 5), seed=1)
        network.precision = "bfloat16"
        gradient = np.random.default_rng(1).standard_normal((9, 5), np.float32)
        results.append(passes(network, images, gradient))
    assert all(np.isfinite(one).all() for one in results[0])
    for one, other in zip(*results, strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_backward_pass_does_as_its_forward_pass_did() -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((4, 16, 8, 8), np.float32)
    gradient = rng.standard_normal((4, 16, 8, 8), np.float32)
    network = graft.Network((16, 8, 8))
    network.finish(network.convolution("c", network.input, 16, padding=1), seed=1)
    network.precision = "bfloat16"
    whole = passes(network, images, gradient)
    network.forward(images, training=True)
    network.precision = "float32"
    np.testing.assert_array_equal(network.backward(gradient, input_gradient=True), whole[1])


def test_a_run_is_resumed_to_the_same_bits(tmp_path) -> None:
    options = {**EVERYTHING, "precision": "bfloat16"}
    unbroken, broken = trainer(threads=1, **options), trainer(threads=3, **options)
    unbroken.run()
    interrupted(broken, 7)
    broken.save(tmp_path / "run")
    again = trainer(threads=2, **options)
    again.load(tmp_path / "run")
    assert all(network.precision == "bfloat16" for network in again.networks)
    again.run()
    assert_same(again, unbroken)
    # A run in the other precision is another run, and it comes out otherwise.
    with pytest.raises(graft.ShapeMismatchError, match="precision"):
        trainer(**EVERYTHING).load(tmp_path / "run")
    plain = trainer(**EVERYTHING)
    plain.run()
    assert (plain.networks[0].state_dict()["layer1.0.conv1.weight"]
            != again.networks[0].state_dict()["layer1.0.conv1.weight"]).any()
    plain.save(tmp_path / "plain")
    with pytest.raises(graft.ShapeMismatchError, match="precision"):
        trainer(**options).load(tmp_path / "plain")


def test_digits_are_learnt_as_in_float32() -> None:
    digits = load_digits()
    images = (digits.images * 15).astype(np.uint8)[:, None]
    train = graft.Dataset.from_arrays(images[:1200], digits.target[:1200], 10)
    test = graft.Dataset.from_arrays(images[1200:], digits.target[1200:], 10)
    accuracy = {}
    for precision in ("float32", "bfloat16"):
        networks = [
            graft.resnet(8, input_shape=(1, 8, 8), classes=10, seed=seed) for seed in range(3)]
        run = graft.Trainer(
            networks, train, test, epochs=5, batch_size=50, schedule="cosine", crop_padding=1,
            flip=False, precision=precision)
        run.run()
        accuracy[precision] = np.mean([run.history.last(k).test_accuracy for k in range(3)])
        # Evaluation is float32: a network of the same weights that never knew of bfloat16 agrees.
        fresh = graft.resnet(8, input_shape=(1, 8, 8), classes=10)
        fresh.copy_from(networks[0])
        assert graft.evaluate(fresh, test) == graft.evaluate(networks[0], test)
    assert accuracy["float32"] > 0.9
    assert accuracy["bfloat16"] > accuracy["float32"] - 0.015


def test_an_unknown_precision_is_named() -> None:
    network = graft.resnet(8)
    with pytest.raises(graft.InvalidArgumentError, match="precision is 'half'; allowed are"):
        network.precision = "half"
    with pytest.raises(graft.InvalidArgumentError, match="precision is 'float16'"):
        trainer(1, precision="float16")
    assert lib.graft_network_set_precision(network, 2) == 1
    assert lib.graft_last_error() == b"precision is 2; it must be a graft_precision"
