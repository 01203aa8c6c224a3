"""Whole residual networks against PyTorch: forward, gradients, training steps, files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference_networks import ResNet, load
from safetensors.torch import load_file, save_file
from training_steps import follow

import graft

torch.set_num_threads(1)


def distance(ours: np.ndarray, exact: torch.Tensor) -> float:
    """The largest difference, as a share of the tensor's largest value."""
    exact = exact.detach().numpy().astype(np.float64)
    return float(np.abs(ours.astype(np.float64) - exact).max() / max(np.abs(exact).max(), 1e-30))


def batch(count: int, shape=(3, 32, 32), classes: int = 10, seed: int = 0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, *shape)).astype(np.float32), rng.integers(0, classes, count)


def gradients(module, images, labels, dtype) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    module.zero_grad()
    logits = module(torch.from_numpy(images).to(dtype))
    F.cross_entropy(logits, torch.from_numpy(labels)).backward()
    return logits, {name: value.grad.clone() for name, value in module.named_parameters()}


def ours(network, images, labels):
    logits = network.forward(images, training=True)
    _, gradient = graft.distillation_loss(logits, [], labels)
    network.backward(gradient)
    return logits, network.gradients()


@pytest.mark.parametrize("shortcut, slope", [("A", 0.0), ("B", 0.0), ("A", 0.1)])
def test_gradients_are_as_near_to_float64_as_pytorch(shortcut, slope) -> None:
    """No further than twice what PyTorch's own float32 is.

    In a network this deep now and then a rectifier's input lies so near to 0 that rounding decides
    its side, which moves every gradient before it by some 1e-3, in PyTorch as here (its two layouts
    differ so much between themselves). So several networks are looked at: in the better half of
    them, where no rectifier has flipped, and in the worst, ours may be no worse than twice theirs.
    """
    own, contiguous, last = [], [], []
    for seed in range(8):
        images, labels = batch(8, seed=seed)
        network = graft.resnet(20, shortcut=shortcut, negative_slope=slope, seed=seed)
        modules = [ResNet(20, shortcut=shortcut, slope=slope) for _ in range(3)]
        for module in modules:
            load(module, network)
        exact_logits, exact = gradients(modules[0].double(), images, labels, torch.float64)

        def far(logits, found) -> tuple[float, float]:
            assert sorted(found) == sorted(exact)
            each = [distance(np.asarray(value), exact[name]) for name, value in found.items()]
            return float(np.median(each)), distance(np.asarray(logits.detach()), exact_logits)

        modules[2] = modules[2].to(memory_format=torch.channels_last)
        contiguous.append(far(*gradients(modules[1], images, labels, torch.float32)))
        last.append(far(*gradients(modules[2], images, labels, torch.float32)))
        logits, found = ours(network, images, labels)
        own.append(far(torch.from_numpy(logits), found))
    own, contiguous, last = (np.sort(np.array(each), axis=0) for each in (own, contiguous, last))
    theirs = np.maximum(contiguous, last)
    assert (own[1] <= 2 * np.minimum(contiguous, last)[2]).all()
    assert (own[3] <= 2 * theirs[4]).all()
    assert (own[-1] <= 2 * theirs[-1]).all()


def test_a_hundred_steps_each_from_pytorch_s_state() -> None:
    network = graft.resnet(8, base_filters=8, input_shape=(3, 16, 16), seed=2)
    far, limit = follow(
        network, lambda: ResNet(8, base=8), 100, lambda step: batch(32, (3, 16, 16), seed=step),
        ours, distance)
    for share in (0.25, 0.5, 0.75, 0.9):
        assert np.quantile(far, share) <= 2 * np.quantile(limit, share)
    assert max(far) <= max(2 * max(limit), 1e-3)  # a rectifier's flip: see the test above


@pytest.mark.parametrize("depth", [32, 44, 56, 110])
def test_deeper_ones_are_as_near_to_float64_as_pytorch(depth) -> None:
    """On small images, of few seeds: the deeper, the more often a rectifier flips."""
    own, theirs = [], []
    for seed in range(5):
        images, labels = batch(4, (3, 8, 8), seed=seed)
        network = graft.resnet(depth, input_shape=(3, 8, 8), seed=seed)
        exact, single = ResNet(depth), ResNet(depth)
        load(exact, network)
        load(single, network)
        exact_logits, found = gradients(exact.double(), images, labels, torch.float64)

        def far(logits, gradients) -> tuple[float, float]:
            each = [distance(np.asarray(gradients[name]), found[name]) for name in found]
            return float(np.median(each)), distance(np.asarray(logits.detach()), exact_logits)

        theirs.append(far(*gradients(single, images, labels, torch.float32)))
        logits, mine = ours(network, images, labels)
        own.append(far(torch.from_numpy(logits), mine))
    own, theirs = (np.sort(np.array(each), axis=0) for each in (own, theirs))
    assert (own[0] <= 2 * theirs[1]).all()
    assert (own[2] <= 2 * theirs[3]).all()
    assert (own[-1] <= np.maximum(2 * theirs[-1], [2e-2, 1e-5])).all()


@pytest.mark.parametrize("depth, parameters", [(20, 269_722), (32, 464_154), (110, 1_727_962)])
def test_parameters_are_as_many_as_published(depth, parameters) -> None:
    # He et al. 2016, table 6: 0.27 M, 0.46 M, 1.7 M (the option-A networks).
    network = graft.resnet(depth)
    module = ResNet(depth)
    load(module, network)
    assert sum(p.numel() for p in module.parameters()) == parameters


@pytest.mark.parametrize(
    "depth, shortcut, shape, classes, base",
    [(20, "A", (3, 32, 32), 10, 16), (14, "B", (1, 28, 28), 7, 12), (8, "A", (5, 9, 17), 100, 10)],
)
def test_files_are_exchanged_with_pytorch(tmp_path, depth, shortcut, shape, classes, base) -> None:
    network = graft.resnet(
        depth, classes=classes, input_shape=shape, base_filters=base, shortcut=shortcut, seed=4
    )
    images, labels = batch(16, shape, classes)
    ours(network, images, labels)  # running statistics that are not the first ones
    path = tmp_path / "network.safetensors"
    network.save(path)
    module = ResNet(depth, classes, shape[0], base, shortcut)
    module.load_state_dict(load_file(path), strict=True)
    module.eval()
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(network.forward(images), expected, atol=1e-4 * np.abs(expected).max())

    # And back: a PyTorch network of other weights.
    other = ResNet(depth, classes, shape[0], base, shortcut)
    other.train()
    with torch.no_grad():
        other(torch.from_numpy(images))
    other.eval()
    save_file(other.state_dict(), path)
    network.load(path)
    with torch.no_grad():
        expected = other(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(network.forward(images), expected, atol=1e-4 * np.abs(expected).max())


def test_a_file_that_does_not_fit_changes_nothing(tmp_path) -> None:
    network = graft.resnet(8, seed=1)
    before = {name: value.copy() for name, value in network.state_dict().items()}
    path = tmp_path / "other.safetensors"

    def refused(kind, *words: str) -> None:
        with pytest.raises(kind) as caught:
            network.load(path)
        for word in words:
            assert word in str(caught.value)
        for name, value in network.state_dict().items():
            np.testing.assert_array_equal(value, before[name])

    refused(graft.FileError, "other.safetensors")
    graft.resnet(14, seed=2).save(path)
    refused(graft.ShapeMismatchError, "layer1.1.conv1.weight")
    graft.resnet(8, classes=5, seed=2).save(path)
    refused(graft.ShapeMismatchError, "linear.weight", "[5, 64]")
    state = {name: torch.from_numpy(value.copy()) for name, value in before.items()}
    save_file({**state, "conv1.weight": state["conv1.weight"].double()}, path)
    refused(graft.UnsupportedError, "conv1.weight")
    save_file({k: v for k, v in state.items() if k != "bn1.bias"}, path)
    refused(graft.ShapeMismatchError, "bn1.bias")
    network.save(path)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    refused(graft.FormatError, "checksum")
    path.write_bytes(content[:5000])
    refused(graft.FormatError, "other.safetensors")


def test_weights_are_drawn_as_documented() -> None:
    network = graft.resnet(56, seed=11)
    state = network.state_dict()
    for name, value in state.items():
        if value.ndim == 4 and value.size > 4000:
            deviation = np.sqrt(2 / (value.shape[0] * 9))
            assert abs(value.std() / deviation - 1) < 0.1
            assert abs(value.mean()) < 4 * deviation / np.sqrt(value.size)
    bound = 1 / np.sqrt(64)
    assert np.abs(state["linear.weight"]).max() <= bound
    assert np.abs(state["linear.weight"]).max() > 0.9 * bound
    again = graft.resnet(56, seed=11).state_dict()
    other = graft.resnet(56, seed=12).state_dict()
    for name, value in state.items():
        np.testing.assert_array_equal(value, again[name])
    assert not np.array_equal(state["conv1.weight"], other["conv1.weight"])
