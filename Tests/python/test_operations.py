"""A network's operations as they are told, run by PyTorch; features, names, and the plan of a graft."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference_joins import DenseNet, ResNeXt
from reference_networks import VGG, MobileNetV2, ResNet, WideResNet, load

import graft
import graft.torch

NETWORKS = [
    pytest.param(lambda: graft.resnet(14, seed=1), lambda: ResNet(14), id="ResNet-14 A"),
    pytest.param(
        lambda: graft.resnet(14, shortcut="B", negative_slope=0.1, seed=2),
        lambda: ResNet(14, shortcut="B", slope=0.1), id="ResNet-14 B"),
    pytest.param(lambda: graft.mobilenet_v2(seed=3), MobileNetV2, id="MobileNetV2"),
    pytest.param(lambda: graft.vgg(11, seed=4), lambda: VGG(11), id="VGG-11"),
    pytest.param(
        lambda: graft.wide_resnet(10, 2, dropout=0.3, seed=5), lambda: WideResNet(10, 2),
        id="WRN-10-2"),
    pytest.param(
        lambda: graft.resnext(11, 2, 8, seed=6), lambda: ResNeXt(11, 2, 8), id="ResNeXt-11 2x8d"),
    pytest.param(
        lambda: graft.densenet(16, dropout=0.2, seed=7), lambda: DenseNet(16), id="DenseNet-BC-16"),
]


def run(network: graft.Network, images: np.ndarray) -> list[torch.Tensor]:
    """The value of every operation, by nothing but what the network tells of itself."""
    state = {name: torch.from_numpy(array.copy()) for name, array in network.state_dict().items()}
    values: list[torch.Tensor] = []
    for operation in network.operations():
        assert operation.index == len(values)
        inputs = [values[index] for index in operation.inputs]
        own = [state[name] for name in operation.tensors]
        told = operation.attributes
        match operation.kind:
            case "input":
                value = torch.from_numpy(images)
            case "convolution":
                value = F.conv2d(
                    inputs[0], own[0], own[1] if own[1:] else None, told["stride"],
                    told["padding"], told["dilation"], told["groups"])
            case "batch_norm":
                weight, bias, mean, variance, _ = own
                value = F.batch_norm(
                    inputs[0], mean, variance, weight, bias, False, told["momentum"],
                    told["epsilon"])
            case "relu":
                value = F.leaky_relu(inputs[0], told["negative_slope"]).clamp(max=told["ceiling"])
            case "sum":
                value = inputs[0] + inputs[1]
            case "shortcut":
                rows, columns = told["stride"]
                before = told["first_channel"]
                after = operation.shape[0] - inputs[0].shape[1] - before
                value = F.pad(inputs[0][:, :, ::rows, ::columns], (0, 0, 0, 0, before, after))
            case "pool":
                pool = F.max_pool2d if told["pooling"] == "max" else F.avg_pool2d
                value = pool(inputs[0], told["kernel"], told["stride"], told["padding"])
            case "global_pool":
                value = inputs[0].mean((2, 3), keepdim=True)
            case "linear":
                bias = own[1] if own[1:] else None
                value = F.linear(inputs[0].flatten(1), own[0], bias)[:, :, None, None]
            case "concatenation":
                value = torch.cat(inputs, 1)
            case "dropout":
                value = inputs[0]
        assert tuple(value.shape[1:]) == operation.shape
        values.append(value)
    return values


def batch(network: graft.Network, count: int = 4) -> np.ndarray:
    shape = (count, *network.operations()[0].shape)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def near(ours: np.ndarray, theirs: torch.Tensor, share: float = 1e-4) -> None:
    theirs = theirs.numpy().reshape(ours.shape)
    assert np.abs(ours - theirs).max() <= share * max(np.abs(theirs).max(), 1e-6)


@pytest.mark.parametrize("make, module", NETWORKS)
def test_the_operations_are_the_network(make, module) -> None:
    network = make()
    images = batch(network)
    network.forward(images, training=True)  # running statistics that are not the first ones
    values = run(network, images)
    assert network.output._index == len(values) - 1
    near(network.forward(images), values[-1])
    owned = [name for operation in network.operations() for name in operation.tensors]
    assert owned == list(network.state_dict())


@pytest.mark.parametrize("make, module", NETWORKS)
def test_features_are_what_pytorch_hands_to_the_classifier(make, module) -> None:
    network, reference = make(), module()
    images = batch(network, 5)
    network.forward(images, training=True)
    load(reference, network)
    reference.eval()
    seen: list[torch.Tensor] = []
    classifier = [one for one in reference.modules() if isinstance(one, torch.nn.Linear)][-1]
    classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        logits = reference(torch.from_numpy(images))
    features = network.features(images)
    assert features.shape == (5, classifier.in_features)
    near(features, seen[0])
    near(network.forward(images), logits)


def test_every_value_can_be_had() -> None:
    network = graft.wide_resnet(10, 1, input_shape=(3, 12, 9), seed=5)
    images = batch(network)
    for index, value in enumerate(run(network, images)):
        near(network.features(images, graft.Value(network, index)), value)
    near(network.forward(images), run(network, images)[-1])


@pytest.mark.parametrize("make, module", NETWORKS)
def test_the_plan_is_that_of_the_pytorch_module(make, module) -> None:
    plan, reference = make().plan(), graft.torch.plan(module())
    theirs = {entry.name: entry for entry in reference}
    assert len(plan) == len(theirs)
    for entry in plan:
        other = theirs[entry.name]
        assert (entry.role, entry.feeder) == (other.role, other.feeder), entry.name


def test_names_find_values() -> None:
    network = graft.Network((2, 6, 6))
    x = network.convolution("conv", network.input, 4, padding=1)
    join = network.label(network.sum(network.relu(x), x), "join")
    network.finish(network.linear("head", network.global_pool(join), 3), seed=1)
    images = batch(network)
    np.testing.assert_array_equal(
        network.features(images, network.find("join")), network.features(images, join))
    values = run(network, images)
    near(network.features(images, network.find("conv")), values[1])
    near(network.features(images, network.find("head")), values[-1])
    assert [one.name for one in network.operations()] == ["", "conv", "", "join", "", "head"]
    with pytest.raises(graft.InvalidArgumentError, match="'nothing'"):
        network.find("nothing")
    with pytest.raises(graft.InvalidArgumentError, match="'join' is taken"):
        network.label(network.input, "join")
    with pytest.raises(graft.InvalidArgumentError, match="has a name already, 'conv'"):
        network.label(x, "other")


def test_what_has_no_features_says_so() -> None:
    network = graft.Network((2, 6, 6))
    x = network.global_pool(network.relu(network.convolution("conv", network.input, 4)))
    with pytest.raises(graft.InvalidStateError, match="under construction"):
        network.features(np.zeros((1, 2, 6, 6), np.float32), x)
    network.finish(x, seed=1)
    with pytest.raises(graft.UnsupportedError, match="does not end in a linear layer"):
        network.features(np.zeros((1, 2, 6, 6), np.float32))
    with pytest.raises(graft.ShapeMismatchError, match="images"):
        network.features(np.zeros((1, 3, 6, 6), np.float32), x)


def test_operations_are_timed() -> None:
    """The times add up to the passes', layers with much to do take more, and it can be begun anew."""
    net = graft.Network((3, 24, 24))
    small = net.convolution("small", net.input, 4, kernel=1)
    large = net.relu(net.batch_norm("norm", net.convolution("large", small, 128, padding=1)))
    large = net.convolution("larger", large, 128, padding=1)
    net.finish(net.linear("head", net.global_pool(large), 10), seed=0)
    images = np.random.default_rng(0).standard_normal((32, 3, 24, 24)).astype(np.float32)
    gradient = np.ones((32, 10), np.float32)

    def passes() -> float:
        began = time.perf_counter()
        net.forward(images, training=True)
        net.backward(gradient)
        return time.perf_counter() - began

    assert not net.timing
    passes()
    with pytest.raises(graft.InvalidStateError, match="graft_network_set_timing"):
        net.operation_times()
    net.timing = True
    assert net.operation_times() == [(0.0, 0.0)] * len(net.operations())
    whole = passes() + passes()
    every = net.operation_times()
    times = {
        operation.name: both for operation, both in zip(net.operations(), every) if operation.name}
    assert 0.5 * whole < sum(map(sum, every)) <= whole
    assert all(min(times[name]) > 0 for name in ("small", "large", "larger", "head"))
    assert times["norm"][1] > 1e-5  # its sums; its statistics come with the convolution before it
    assert sum(times["larger"]) > sum(times["small"])
    net.forward(images)  # evaluation is not training
    assert net.operation_times() == every
    net.timing = True
    assert sum(map(sum, net.operation_times())) == 0
    net.timing = False
    with pytest.raises(graft.InvalidStateError):
        net.operation_times()
