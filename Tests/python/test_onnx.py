"""Networks written as ONNX files do in ONNX Runtime what they do here."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import pytest

import graft


def own_network() -> graft.Network:
    """Every kind of operation with settings that the ready-made networks do not use."""
    network = graft.Network((4, 15, 11))
    x = network.convolution(
        "stem", network.input, 12, kernel=(3, 5), stride=(2, 1), padding=(1, 2), dilation=(2, 1),
        groups=2, bias=True)
    x = network.clipped_relu(network.batch_norm("stem_norm", x, epsilon=1e-3))
    pools = [network.max_pool(x, 3, stride=2, padding=1),
             network.average_pool(x, 3, stride=2, padding=1)]
    x = network.dropout(network.concatenation([*pools, pools[0]]), 0.3)
    y = network.shortcut(network.relu(x, negative_slope=0.2), stride=2, channels=43)
    z = network.convolution("wide", x, 43, kernel=3, stride=2, padding=1)
    x = network.label(network.sum(y, network.relu(network.batch_norm("wide_norm", z))), "join")
    x = network.batch_norm("late_norm", x)
    x = network.relu(network.linear("hidden", x, 20))
    x = network.batch_norm("hidden_norm", network.linear("narrow", x, 16, bias=False))
    x = network.sum(x, network.clipped_relu(x, ceiling=0.5))
    x = network.convolution("pointwise", network.batch_norm("again", x), 10, kernel=1)
    return network.finish(network.linear("head", network.dropout(x), 7), seed=3)


NETWORKS = {
    "ResNet-20 A": lambda: graft.resnet(20, seed=1),
    "ResNet-14 B": lambda: graft.resnet(14, shortcut="B", classes=100, seed=2),
    "leaky ResNet-14": lambda: graft.resnet(14, negative_slope=0.1, seed=3),
    "MobileNetV2": lambda: graft.mobilenet_v2(seed=4),
    "VGG-16": lambda: graft.vgg(16, seed=5),
    "WRN-16-2": lambda: graft.wide_resnet(16, 2, dropout=0.3, seed=6),
    "ResNeXt": lambda: graft.resnext(11, cardinality=4, base_width=8, seed=7),
    "DenseNet": lambda: graft.densenet(16, growth=6, seed=8),
    "ResNet-18 for ImageNet": lambda: graft.imagenet(
        "resnet18", classes=20, input_shape=(3, 64, 64), seed=9),
    "own": own_network,
}


def trained(make: Callable[[], graft.Network]) -> tuple[graft.Network, np.ndarray]:
    """A network whose running statistics are not the first ones, and images for it."""
    network = make()
    rng = np.random.default_rng(0)
    images = rng.standard_normal((6, *network.operations()[0].shape)).astype(np.float32)
    for name, array in network.state_dict().items():
        if array.dtype == np.float32 and array.ndim == 1:  # norms and biases that do something
            array *= rng.uniform(0.8, 1.2, array.shape).astype(np.float32)
            array += rng.normal(0, 0.05, array.shape).astype(np.float32)
    for _ in range(3):
        network.forward(images, training=True)
    return network, images


def run(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"images": images})
    return result


def near(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()
    assert np.abs(theirs).max() > 0.01


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("fold", [False, True], ids=["norms", "folded"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_does_what_the_network_does(name: str, fold: bool, tmp_path: Path) -> None:
    network, images = trained(NETWORKS[name])
    before = {key: array.copy() for key, array in network.state_dict().items()}
    path = tmp_path / "network.onnx"
    network.to_onnx(path, fold_batch_norm=fold)
    expected = network.forward(images)
    near(run(path, images), expected)
    near(run(path, images[2:3]), expected[2:3])  # the number of images is free
    for key, array in network.state_dict().items():
        np.testing.assert_array_equal(array, before[key])
    norms = kinds(onnx.load(path)).count("BatchNormalization")
    every = sum(one.kind == "batch_norm" for one in network.operations())
    # In a WRN the first norms of all blocks but the first read sums, as the very last does; so do
    # two of our own network's. In a DenseNet those of its six layers, two transitions and end do.
    left = {"WRN-16-2": 5 + 1, "DenseNet": 6 + 2 + 1, "own": 2}.get(name, 0)
    assert norms == (left if fold else every)


def test_constants_are_the_state_dict(tmp_path: Path) -> None:
    network, _ = trained(lambda: graft.resnet(8, seed=1))
    network.to_onnx(tmp_path / "network.onnx")
    model = onnx.load(tmp_path / "network.onnx")
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    for name, array in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(constants[name], array)
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]
    assert model.producer_name == "graft" and model.producer_version == graft.__version__
    assert {"conv1", "layer1.0.bn1", "linear"} <= {node.name for node in model.graph.node}


def test_rectifiers_keep_their_numbers(tmp_path: Path) -> None:
    """Slope and ceiling on values that reach both."""
    network = graft.Network((3, 2, 2))
    x = network.sum(
        network.relu(network.input, negative_slope=0.3), network.clipped_relu(network.input, 1.5))
    network.finish(x)
    images = np.linspace(-4, 4, 12, dtype=np.float32).reshape(1, 3, 2, 2)
    network.to_onnx(tmp_path / "r.onnx")
    leaky = np.where(images > 0, images, np.float32(0.3) * images)
    np.testing.assert_allclose(
        run(tmp_path / "r.onnx", images), leaky + np.clip(images, 0, 1.5), rtol=1e-6)


def test_features_can_be_what_it_puts_out(tmp_path: Path) -> None:
    network, images = trained(lambda: graft.resnet(8, seed=1))
    network.to_onnx(tmp_path / "features.onnx", output=network.penultimate, fold_batch_norm=True)
    near(run(tmp_path / "features.onnx", images), network.features(images))
    assert "Gemm" not in kinds(onnx.load(tmp_path / "features.onnx"))
    place = network.find("layer2.0.conv1")  # its norm reads it, and it is wanted itself
    network.to_onnx(tmp_path / "place.onnx", output=place, fold_batch_norm=True)
    near(run(tmp_path / "place.onnx", images), network.features(images, place))


def test_a_value_read_twice_is_not_folded(tmp_path: Path) -> None:
    network = graft.Network((2, 5, 5))
    x = network.convolution("conv", network.input, 4, padding=1)
    x = network.sum(network.batch_norm("norm", x), x)
    network.finish(network.linear("head", x, 3), seed=1)
    network, images = trained(lambda: network)
    network.to_onnx(tmp_path / "n.onnx", fold_batch_norm=True)
    near(run(tmp_path / "n.onnx", images), network.forward(images))


def test_names_that_collide_are_told_apart(tmp_path: Path) -> None:
    network = graft.Network((2, 5, 5))
    x = network.convolution("images", network.input, 4, padding=1, bias=False)
    x = network.batch_norm("output", x)
    x = network.linear("images.bias", network.relu(x), 3)
    network.finish(x, seed=1)
    network, images = trained(lambda: network)
    network.to_onnx(tmp_path / "n.onnx", fold_batch_norm=True)
    near(run(tmp_path / "n.onnx", images), network.forward(images))


def test_what_cannot_be_written_says_so(tmp_path: Path, monkeypatch) -> None:
    network = graft.resnet(8)
    with pytest.raises(graft.FileError, match="missing"):
        network.to_onnx(tmp_path / "missing" / "network.onnx")
    with pytest.raises(graft.InvalidArgumentError, match="another network"):
        network.to_onnx(tmp_path / "network.onnx", output=graft.resnet(8).output)
    unfinished = graft.Network((1, 4, 4))
    value = unfinished.relu(unfinished.input)
    for output in (None, value):
        with pytest.raises(graft.InvalidStateError, match="construction"):
            unfinished.to_onnx(tmp_path / "network.onnx", output=output)
    monkeypatch.setattr("graft._onnx.SIZE_LIMIT", 1000)
    with pytest.raises(graft.UnsupportedError, match="2 GiB"):
        network.to_onnx(tmp_path / "network.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(graft.UnsupportedError, match=r"filtergraft\[onnx\]"):
        network.to_onnx(tmp_path / "network.onnx")
    assert list(tmp_path.iterdir()) == [] and math.isfinite(network.forward(
        np.zeros((1, 3, 32, 32), np.float32)).sum())
