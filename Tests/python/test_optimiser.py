"""What an SGD step does besides momentum, against torch.optim.SGD and clip_grad_norm_ in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import graft

SHAPE, CLASSES = (3, 6, 5), 4


def pair() -> tuple[graft.Network, torch.nn.Sequential]:
    """A network with biases and a batch norm, and the same in PyTorch."""
    network = graft.Network(SHAPE)
    x = network.convolution("conv", network.input, 7, bias=True, padding=1)
    x = network.relu(network.batch_norm("norm", x))
    network.finish(network.linear("head", network.global_pool(x), CLASSES), seed=5)
    model = torch.nn.Sequential()
    model.conv = torch.nn.Conv2d(3, 7, 3, padding=1)
    model.norm = torch.nn.BatchNorm2d(7)
    model.relu = torch.nn.ReLU()
    model.pool = torch.nn.AdaptiveAvgPool2d(1)
    model.flat = torch.nn.Flatten()
    model.head = torch.nn.Linear(7, CLASSES)
    model.load_state_dict({
        name: torch.from_numpy(value.copy()) for name, value in network.state_dict().items()})
    return network, model.double()


def batch(seed: int, size: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((size, *SHAPE)).astype(np.float32), rng.integers(0, CLASSES, size)


def backward(network: graft.Network, model, seed: int, scale: float = 1.0) -> None:
    """The gradients of one batch's loss, times `scale`, in both."""
    images, labels = batch(seed)
    _, gradient = graft.distillation_loss(network.forward(images, training=True), [], labels)
    network.backward(gradient * np.float32(scale))
    model.zero_grad()
    loss = F.cross_entropy(model(torch.from_numpy(images).double()), torch.from_numpy(labels))
    (loss * scale).backward()


def assert_equal(network: graft.Network, model, share: float = 2e-5) -> None:
    state = network.state_dict()
    for name, value in model.named_parameters():
        expected = value.detach().numpy()
        scale = max(np.abs(expected).max(), 1e-3)
        assert np.abs(state[name] - expected).max() <= share * scale, name


@pytest.mark.parametrize("weights_only", [False, True])
def test_decay_that_spares_batch_norms_and_biases(weights_only: bool) -> None:
    network, model = pair()
    decay = 0.1  # large, so that a wrong parameter shows
    ours = graft.SGD(
        network, learning_rate=0.1, weight_decay=decay, decay_weights_only=weights_only)
    weights = [model.conv.weight, model.head.weight]
    others = [one for one in model.parameters() if not any(one is weight for weight in weights)]
    theirs = torch.optim.SGD(
        [{"params": weights, "weight_decay": decay},
         {"params": others, "weight_decay": 0.0 if weights_only else decay}],
        lr=0.1, momentum=0.9)
    for step in range(4):
        backward(network, model, step)
        ours.step()
        theirs.step()
        assert_equal(network, model)


@pytest.mark.parametrize("limit", [0.01, 0.5, 1e9, math.inf])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_gradients_are_clipped_as_torch_clips_them(limit: float, scale: float) -> None:
    network, model = pair()
    ours = graft.SGD(network, learning_rate=0.05, clip_norm=limit)
    theirs = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for step in range(3):
        backward(network, model, step, scale)
        before = {name: value.copy() for name, value in network.gradients().items()}
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
        ours.step()
        theirs.step()
        assert ours.gradient_norm == pytest.approx(norm.item(), rel=1e-5)
        assert_equal(network, model, 1e-4 if scale > 1 else 2e-5)
        for name, value in network.gradients().items():
            assert np.array_equal(value, before[name])


def test_the_norm_is_exact_whatever_its_size() -> None:
    """A sum of squares in float64 of a large tensor, and of numbers whose squares float32 has not."""
    network = graft.Network((1, 40, 50))
    network.finish(network.linear("head", network.input, 60), seed=1)
    sgd = graft.SGD(network, clip_norm=math.inf)
    images = np.random.default_rng(0).standard_normal((2, 1, 40, 50)).astype(np.float32)
    for scale in (1e-30, 1.0, 1e30):
        network.forward(images, training=True)
        network.backward(np.full((2, 60), scale, np.float32))
        found = np.concatenate([g.ravel() for g in network.gradients().values()])
        norm = np.linalg.norm(found.astype(np.longdouble))
        for threads in (1, 2, 3):
            network.threads = threads
            sgd.step()
            assert sgd.gradient_norm == pytest.approx(float(norm), rel=1e-13)


def test_clipping_at_infinity_changes_no_bit() -> None:
    results = []
    for clip in (None, math.inf, 1e30):
        network, model = pair()
        sgd = graft.SGD(network, clip_norm=clip)
        for step in range(3):
            backward(network, model, step)
            sgd.step()
        results.append(b"".join(value.tobytes() for value in network.state_dict().values()))
    assert results[0] == results[1] == results[2]


def test_gradients_that_are_not_finite_change_nothing() -> None:
    network, model = pair()
    sgd = graft.SGD(network, clip_norm=1.0)
    network.forward(batch(0)[0], training=True)
    gradient = np.zeros((9, CLASSES), np.float32)
    gradient[3, 1] = np.inf
    network.backward(gradient)
    before = [value.copy() for value in network.state_dict().values()]
    with pytest.raises(graft.NotFiniteError, match="norm is"):
        sgd.step()
    for value, same in zip(network.state_dict().values(), before):
        assert np.array_equal(value, same)
    with pytest.raises(graft.InvalidStateError, match="clip_norm"):
        sgd.gradient_norm


@pytest.mark.parametrize("clip", [-1.0, math.nan, -math.inf])
def test_wrong_arguments(clip: float) -> None:
    network, model = pair()
    with pytest.raises(graft.InvalidArgumentError, match="clip_norm is"):
        graft.SGD(network, clip_norm=clip)
    sgd = graft.SGD(network)
    backward(network, model, 0)
    sgd.step()
    with pytest.raises(graft.InvalidStateError, match="clip_norm"):
        sgd.gradient_norm
