"""Evaluation in chunks, batch norms folded, and predictors: the same numbers, in little memory."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference_joins import DenseNet, ResNeXt
from reference_networks import VGG, MobileNetV2, ResNet, WideResNet, load
from test_operations import run

import graft

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
    pytest.param(lambda: graft.densenet(16, seed=7), lambda: DenseNet(16), id="DenseNet-BC-16"),
]


def images(count: int, shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def trained(network: graft.Network) -> graft.Network:
    """With running statistics, scales and shifts that are not the first ones."""
    rng = np.random.default_rng(1)
    shape = network.operations()[0].shape
    for seed in range(3):
        network.forward(images(8, shape, seed), training=True)
    for operation in network.operations():
        if operation.kind == "batch_norm":
            weight, bias = (network.state_dict()[name] for name in operation.tensors[:2])
            weight[...] = rng.uniform(0.5, 1.5, weight.shape) * rng.choice([-1, 1], weight.shape)
            bias[...] = rng.normal(0, 0.3, bias.shape)
    return network


def near(ours: np.ndarray, theirs: np.ndarray, share: float) -> None:
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= share * np.abs(theirs).max()


@pytest.mark.parametrize("make, module", NETWORKS)
def test_folded_batch_norms_give_pytorch_s_numbers(make, module) -> None:
    network, reference = trained(make()), module()
    load(reference, network)
    x = images(11)
    with torch.no_grad():
        exact = reference.double().eval()(torch.from_numpy(x).double()).numpy()
    near(network.infer(x), exact, 1e-5)
    near(network.forward(x), exact, 1e-5)
    near(graft.Predictor(network)(x), exact, 1e-5)


def odd() -> graft.Network:
    """Batch norms where one cannot be folded, or only some of them."""
    net = graft.Network((3, 9, 7))
    x = net.convolution("conv", net.input, 6, padding=1, bias=True)
    a = net.relu(net.batch_norm("a", x), 0.1)
    b = net.batch_norm("b", x)  # two norms of one convolution
    c = net.batch_norm("c", net.convolution("read", a, 5, bias=True))
    d = net.convolution("kept", b, 5)
    e = net.batch_norm("e", d)  # d is read by a sum, too
    f = net.sum(net.max_pool(b, 3, 1, 0), net.max_pool(a, 3, 1, 0))
    f = net.batch_norm("g", net.relu(net.batch_norm("f", f)))
    g = net.batch_norm("h", net.convolution("after", f, 5, kernel=1))
    joined = net.concatenation([net.relu(c), net.sum(d, e), net.relu(g), f])
    y = net.batch_norm("i", net.linear("hidden", joined, 12))  # of a linear layer
    y = net.dropout(net.clipped_relu(y, 2), 0.5)
    return net.finish(net.linear("head", y, 4), seed=3)


def test_folding_leaves_what_cannot_be_folded() -> None:
    network = trained(odd())
    x = images(5, (3, 9, 7))
    values = run(network, x)
    near(network.infer(x), values[-1].numpy().reshape(5, 4), 1e-5)
    near(network.forward(x), values[-1].numpy().reshape(5, 4), 1e-5)
    for operation in network.operations():
        value = graft.Value(network, operation.index)
        expected = values[operation.index].numpy()
        predicted = graft.Predictor(network, value)(x)
        near(predicted.reshape(expected.shape), expected, 1e-5)


@pytest.mark.parametrize("make", [lambda: graft.resnet(14, seed=1), odd], ids=["ResNet", "odd"])
def test_the_same_bits_at_any_number_of_threads(make) -> None:
    network = trained(make())
    x = images(37, network.operations()[0].shape)
    for count in (1, 3, 37):
        results = []
        for threads in (1, 2, 3, 4, 40):
            network.threads = threads
            folded = graft.Predictor(network, threads=threads)
            plain = graft.Predictor(network, fold=False, threads=threads)
            results.append([
                network.forward(x[:count]), network.infer(x[:count]), folded(x[:count]),
                plain(x[:count]), network.features(x[:count])])
            forward, infer, predicted, unfolded, _ = results[-1]
            assert forward.tobytes() == unfolded.tobytes()
            assert infer.tobytes() == predicted.tobytes()
        for result in results[1:]:
            for one, other in zip(result, results[0], strict=True):
                assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_a_smaller_batch_may_need_more_room_to_work_in(threads: int) -> None:
    """A 7 x 7 kernel's scratch memory is larger for up to 32 images than for more."""
    network = graft.Network((32, 32, 32))
    y = network.convolution("conv", network.input, 32, kernel=7, padding=3, bias=True)
    network.finish(network.global_pool(network.relu(y)), seed=1)
    state = network.state_dict()
    predictor = graft.Predictor(network, threads=threads)
    for count in (33, 32, 7, 33, 32):
        x = images(count, (32, 32, 32), seed=count)
        expected = F.conv2d(
            torch.from_numpy(x), torch.from_numpy(state["conv.weight"]),
            torch.from_numpy(state["conv.bias"]), padding=3).relu().mean((2, 3))
        near(predictor(x).reshape(expected.shape), expected.numpy(), 1e-5)


def test_a_predictor_is_the_network_as_it_was() -> None:
    network = trained(graft.vgg(11, seed=2))
    x = images(6)
    predictor = graft.Predictor(network)
    features = graft.Predictor(network, network.penultimate, fold=False)
    assert predictor.output_shape == (10, 1, 1) and features.output_shape == (512, 1, 1)
    before, then = predictor(x), network.features(x)
    near(before, network.forward(x), 1e-5)
    for value in network.state_dict().values():
        value[...] = 1
    assert predictor(x).tobytes() == before.tobytes()
    assert features(x).tobytes() == then.tobytes()
    del network
    assert predictor(x).tobytes() == before.tobytes()
    assert features(images(300))[:6].tobytes() == then.tobytes()  # in many chunks


def test_evaluation_sees_weights_as_they_are() -> None:
    network = trained(graft.resnet(8, seed=2))
    x = images(4)
    first = network.infer(x)
    network.state_dict()["bn1.weight"][...] *= 2
    values = run(network, x)
    assert not np.allclose(network.infer(x), first)
    near(network.infer(x), values[-1].numpy()[:, :, 0, 0], 1e-5)


def test_what_cannot_be_predicted() -> None:
    network = graft.Network((3, 8, 8))
    with pytest.raises(graft.InvalidStateError, match="under construction"):
        graft.Predictor(network)
    with pytest.raises(graft.InvalidStateError, match="under construction"):
        network.infer(images(1, (3, 8, 8)))
    network = graft.resnet(8)
    with pytest.raises(graft.InvalidArgumentError, match="threads"):
        graft.Predictor(network, threads=-1)
    with pytest.raises(graft.InvalidArgumentError, match="another network"):
        graft.Predictor(network, graft.resnet(8).output)
    predictor = graft.Predictor(network)
    with pytest.raises(graft.ShapeMismatchError, match="images"):
        predictor(images(2, (3, 16, 16)))
    with pytest.raises(graft.InvalidArgumentError, match="allowed are 1 to 65536"):
        predictor(images(0))
    network.forward(images(2), training=True)
    network.forward(images(2))
    with pytest.raises(graft.InvalidStateError, match="backward"):
        network.backward(np.zeros((2, 10), np.float32))


MEMORY = """
import resource, numpy as np, graft
network = graft.wide_resnet(16, 4)
network.threads = 2
x = np.zeros((256, 3, 32, 32), np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
network.{call}(x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("call", ["forward", "infer", "features"])
def test_evaluation_keeps_no_activations(call) -> None:
    """All activations of this batch would take 850 MB."""
    result = subprocess.run(
        [sys.executable, "-c", MEMORY.format(call=call)], check=True, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert int(result.stdout) < 60_000  # KiB; the packed weights are 11 MB of them
