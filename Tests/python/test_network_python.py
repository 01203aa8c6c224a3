"""The Python face of networks and SGD, against PyTorch."""

from __future__ import annotations

import gc
import threading
from ctypes import byref

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn import functional as F

import graft
from graft._errors import check
from graft._library import lib
from graft._structures import Tensor
from reference_networks import ResNet


def images(count: int, shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def torch_state(network: graft.Network) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in network.state_dict().items()}


def assert_close(ours, theirs, tolerance: float = 1e-4) -> None:
    """Equal to a share of the reference's largest value."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * max(np.abs(theirs).max(), 1e-12)


CASES = [
    dict(depth=20),
    dict(depth=14, shortcut="B", classes=7, input_shape=(1, 9, 13), base_filters=8),
    dict(depth=8, negative_slope=0.1, input_shape=(2, 8, 8), base_filters=6),
]


def reference(case: dict) -> ResNet:
    return ResNet(
        case["depth"], case.get("classes", 10), case.get("input_shape", (3, 32, 32))[0],
        case.get("base_filters", 16), case.get("shortcut", "A"), case.get("negative_slope", 0.0))


@pytest.mark.parametrize("case", CASES, ids=["A", "B", "leaky"])
def test_a_saved_resnet_loads_in_torch_with_the_same_logits(case, tmp_path):
    network = graft.resnet(**case, seed=3)
    batch = images(5, case.get("input_shape", (3, 32, 32)))
    network.forward(batch, training=True)  # running statistics that are not 0 and 1
    network.save(tmp_path / "network.safetensors")
    model = reference(case)
    state = {name: torch.from_numpy(array)
             for name, array in load_file(tmp_path / "network.safetensors").items()}
    model.load_state_dict(state, strict=True)
    model.eval()
    with torch.no_grad():
        assert_close(network.forward(batch), model(torch.from_numpy(batch)))


@pytest.mark.parametrize("case", CASES, ids=["A", "B", "leaky"])
def test_torch_weights_load_here_with_the_same_logits(case, tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(1)
    model = reference(case)
    batch = images(4, case.get("input_shape", (3, 32, 32)))
    model(torch.from_numpy(batch))
    model.eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(batch))
    by_mapping, by_file = graft.resnet(**case), graft.resnet(**case)
    by_mapping.load_state_dict(model.state_dict())
    save_file(model.state_dict(), tmp_path / "torch.safetensors")
    by_file.load(tmp_path / "torch.safetensors")
    assert_close(by_mapping.forward(batch), expected)
    assert np.array_equal(by_mapping.forward(batch), by_file.forward(batch))


def test_gradients_and_input_gradient_are_torchs():
    case = dict(depth=8, input_shape=(3, 10, 7), base_filters=8)
    network, model = graft.resnet(**case, seed=2), reference(case)
    model.load_state_dict(torch_state(network))
    batch = images(6, (3, 10, 7))
    labels = torch.arange(6)
    x = torch.from_numpy(batch).requires_grad_()
    logits = model(x)
    logits.retain_grad()
    F.cross_entropy(logits, labels).backward()
    assert_close(network.forward(batch, training=True), logits.detach())
    ours = network.backward(logits.grad, input_gradient=True)
    assert_close(ours, x.grad)
    gradients = network.gradients()
    assert list(gradients) == [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        assert_close(gradients[name], parameter.grad, 1e-3)


def test_sgd_steps_are_torchs():
    network = graft.Network((2, 4, 4))
    x = network.convolution("conv", network.input, 3, bias=True, padding=1)
    network.finish(network.linear("head", network.global_pool(network.relu(x)), 4), seed=5)
    model = torch.nn.Sequential()
    model.conv = torch.nn.Conv2d(2, 3, 3, padding=1)
    model.head = torch.nn.Linear(3, 4)
    state = network.state_dict()
    assert list(state) == ["conv.weight", "conv.bias", "head.weight", "head.bias"]
    model.load_state_dict(torch_state(network))
    settings = dict(momentum=0.8, weight_decay=0.01, nesterov=True)
    ours = graft.SGD(network, learning_rate=0.2, **settings)
    theirs = torch.optim.SGD(model.parameters(), lr=0.2, **settings)
    batch, labels = images(8, (2, 4, 4)), torch.arange(8) % 4
    for step in range(4):
        if step == 2:
            ours.learning_rate = 0.05
            theirs.param_groups[0]["lr"] = 0.05
        logits = model.head(F.relu(model.conv(torch.from_numpy(batch))).mean((2, 3)))
        logits.retain_grad()
        theirs.zero_grad()
        F.cross_entropy(logits, labels).backward()
        network.forward(batch, training=True)
        network.backward(logits.grad)
        ours.step()
        theirs.step()
        for name, parameter in model.named_parameters():
            assert_close(state[name], parameter.detach(), 1e-5)
    assert ours.learning_rate == 0.05
    buffers = ours.momentum_buffers()
    for name, parameter in model.named_parameters():
        assert_close(buffers[name], theirs.state[parameter]["momentum_buffer"], 1e-5)


def test_every_layer_can_be_built():
    network = graft.Network((4, 12, 10))
    x = network.convolution(
        "a", network.input, 8, (3, 5), stride=(2, 1), padding=(1, 2), dilation=1, groups=2)
    x = network.relu(network.batch_norm("b", x, epsilon=1e-3, momentum=0.3), 0.2)
    x = network.sum(x, x)
    y = network.average_pool(network.max_pool(x, 3, 2, 1), 2)
    y = network.shortcut(y, 1, 11)
    network.finish(network.linear("c", y, 5, bias=False), seed=9)
    state = torch_state(network)
    assert {name: tuple(array.shape) for name, array in state.items()} == {
        "a.weight": (8, 2, 3, 5), "b.weight": (8,), "b.bias": (8,), "b.running_mean": (8,),
        "b.running_var": (8,), "b.num_batches_tracked": (), "c.weight": (5, 11 * 1 * 2)}
    batch = torch.from_numpy(images(3, (4, 12, 10)))
    z = F.conv2d(batch, state["a.weight"], None, (2, 1), (1, 2), 1, 2)
    scale, shift = state["b.weight"], state["b.bias"]
    z = F.batch_norm(z, torch.zeros(8), torch.ones(8), scale, shift, False, 0.3, 1e-3)
    z = F.leaky_relu(z, 0.2)
    z = F.avg_pool2d(F.max_pool2d(z + z, 3, 2, 1), 2)
    z = F.pad(z, (0, 0, 0, 0, 1, 2)).flatten(1)
    assert_close(network.forward(batch), z @ state["c.weight"].T)
    assert network.output_shape == (5, 1, 1)
    assert "7 tensors" in repr(network)


def test_an_output_with_height_and_width():
    network = graft.Network((1, 5, 6))
    network.finish(network.convolution("a", network.input, 2, 3))
    assert network.forward(images(3, (1, 5, 6))).shape == (3, 2, 3, 4)
    assert network.output_shape == (2, 3, 4)


def test_strided_images_are_taken_as_they_are():
    network = graft.resnet(8, input_shape=(3, 8, 8), base_filters=4)
    batch = images(4, (3, 8, 8))
    expected = network.forward(batch)
    last = np.ascontiguousarray(batch.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    wide = np.zeros((4, 3, 8, 16), np.float32)
    wide[..., ::2] = batch
    for same in (last, wide[..., ::2], torch.from_numpy(batch)):
        assert np.array_equal(network.forward(same), expected)


# ---- weights -------------------------------------------------------------------------------------


def test_the_state_dict_is_the_networks_memory():
    network = graft.resnet(8, input_shape=(1, 8, 8), base_filters=4)
    state = network.state_dict()
    before = network.forward(images(2, (1, 8, 8)))
    state["linear.bias"][:] += 1
    assert np.allclose(network.forward(images(2, (1, 8, 8))), before + 1, atol=1e-5)
    assert np.shares_memory(network.state_dict()["linear.bias"], state["linear.bias"])
    assert network.state_dict()["bn1.num_batches_tracked"].dtype == np.int64


def test_weights_outlive_their_network():
    weight = graft.resnet(8, input_shape=(1, 8, 8), base_filters=4).state_dict()["conv1.weight"]
    copy = weight.copy()
    gc.collect()
    others = [graft.resnet(8, input_shape=(1, 8, 8), base_filters=4, seed=n) for n in range(20)]
    assert np.array_equal(weight, copy) and len(others) == 20


def test_the_seed_decides_the_weights():
    def weights(seed):
        return graft.resnet(8, base_filters=4, seed=seed).state_dict()["conv1.weight"]

    assert np.array_equal(weights(7), weights(7))
    assert not np.array_equal(weights(7), weights(8))
    assert np.isfinite(weights(2**64 - 1)).all()


def test_load_state_dict_takes_all_or_nothing():
    network = graft.resnet(8, input_shape=(1, 8, 8), base_filters=4)
    other = graft.resnet(8, input_shape=(1, 8, 8), base_filters=4, seed=1).state_dict()
    before = {name: array.copy() for name, array in network.state_dict().items()}
    missing = {name: array for name, array in other.items() if name != "conv1.weight"}
    wrong = dict(other, **{"linear.weight": np.zeros((3, 3), np.float32)})
    for state, words in ((missing, "missing: \\['conv1.weight'\\]"),
                         (dict(other, more=np.zeros(1)), "unknown: \\['more'\\]"),
                         (wrong, "state\\['linear.weight'\\] has shape \\(3, 3\\)")):
        with pytest.raises(graft.ShapeMismatchError, match=words):
            network.load_state_dict(state)
        for name, array in network.state_dict().items():
            assert np.array_equal(array, before[name])
    half = {name: torch.from_numpy(array.copy()).bfloat16() if array.dtype == np.float32
            else array for name, array in other.items() if "num_batches" not in name}
    network.load_state_dict(half)
    expected = torch.from_numpy(other["conv1.weight"].copy()).bfloat16().float().numpy()
    assert np.array_equal(network.state_dict()["conv1.weight"], expected)


def test_copy_from_and_files(tmp_path):
    first, second = (graft.resnet(8, base_filters=4, seed=seed) for seed in (1, 2))
    second.copy_from(first)
    for name, array in first.state_dict().items():
        assert np.array_equal(second.state_dict()[name], array)
    first.save(tmp_path / "a.safetensors")
    third = graft.resnet(8, base_filters=4, seed=3)
    third.load(str(tmp_path / "a.safetensors"))
    assert np.array_equal(third.forward(images(2)), first.forward(images(2)))
    with pytest.raises(OSError, match="nowhere"):
        third.load(tmp_path / "nowhere.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not a safetensors file")
    with pytest.raises(graft.FormatError):
        third.load(tmp_path / "bad.safetensors")
    with pytest.raises(graft.ShapeMismatchError):
        graft.resnet(14, base_filters=4).copy_from(first)
    assert np.array_equal(third.forward(images(2)), first.forward(images(2)))


def test_threads_do_not_change_the_bits():
    network = graft.resnet(8, base_filters=8)
    outputs = []
    for threads in (1, 2):
        network.threads = threads
        assert network.threads == threads
        outputs.append(network.forward(images(33), training=True))
    assert np.array_equal(*outputs)


# ---- errors --------------------------------------------------------------------------------------


def test_wrong_calls_are_named():
    network = graft.Network((3, 8, 8))
    other = graft.Network((3, 8, 8))
    with pytest.raises(ValueError, match="another network"):
        network.relu(other.input)
    with pytest.raises(ValueError, match="not a value of a network"):
        network.relu(0)
    with pytest.raises(ValueError, match="kernel"):
        network.convolution("a", network.input, 4, (3, 3, 3))
    with pytest.raises(ValueError, match="filters is 'many'"):
        network.convolution("a", network.input, "many")
    with pytest.raises(ValueError, match="features"):
        network.linear("a", network.input, 2**70)
    with pytest.raises(graft.GraftError):
        network.convolution("a", network.input, 0)
    network.convolution("a", network.input, 4)
    with pytest.raises(graft.InvalidArgumentError, match="a"):
        network.convolution("a", network.input, 4)
    with pytest.raises(graft.InvalidStateError):
        network.forward(images(1, (3, 8, 8)))
    network.finish(network.input)
    with pytest.raises(graft.InvalidStateError):
        network.relu(network.input)


@pytest.mark.parametrize("arguments, words", [
    (dict(depth=21), "depth"), (dict(depth="deep"), "depth"), (dict(classes=0), "classes"),
    (dict(input_shape=(3, 32)), "input_shape"), (dict(shortcut="C"), "shortcut"),
    (dict(seed=-1), "seed"), (dict(negative_slope=float("nan")), "negative_slope"),
    (dict(base_filters=-4), "base_filters"), (dict(negative_slope="steep"), "negative_slope"),
])
def test_wrong_resnets_are_named(arguments, words):
    with pytest.raises(ValueError, match=words) as caught:
        graft.resnet(**arguments)
    assert isinstance(caught.value, graft.GraftError)


def test_wrong_batches_are_named():
    network = graft.resnet(8, input_shape=(3, 8, 8), base_filters=4)
    with pytest.raises(graft.GraftError, match="images"):
        network.forward(images(2, (3, 9, 8)))
    with pytest.raises(graft.GraftError, match="images"):
        network.forward(images(2, (3, 8, 8)).astype(np.float64))
    with pytest.raises(graft.GraftError, match="images"):
        network.forward(np.zeros((0, 3, 8, 8), np.float32))
    with pytest.raises(graft.InvalidStateError):
        network.backward(np.zeros((2, 10), np.float32))
    with pytest.raises(graft.InvalidStateError):
        network.backward(np.zeros((2, 10), np.float32), input_gradient=True)
    with pytest.raises(graft.InvalidStateError):
        network.gradients()
    network.forward(images(2, (3, 8, 8)), training=True)
    with pytest.raises(graft.GraftError, match="gradient"):
        network.backward(np.zeros((2, 9), np.float32))


# ---- many threads --------------------------------------------------------------------------------


def linear_network() -> graft.Network:
    network = graft.Network((4, 5, 3))
    x = network.relu(network.linear("first", network.input, 130))
    return network.finish(network.linear("second", x, 70), seed=1)


def gradients_of(network: graft.Network, batch: np.ndarray, gradient: np.ndarray) -> bytes:
    network.forward(batch, training=True)
    network.backward(gradient)
    return b"".join(array.tobytes() for array in network.gradients().values())


def test_linear_layers_of_several_tiles_give_the_same_bits_every_time():
    network = linear_network()
    network.threads = 2
    batch, gradient = images(131, (4, 5, 3)), images(131, (70, 1, 1)).reshape(131, 70)
    first = gradients_of(network, batch, gradient)
    assert all(gradients_of(network, batch, gradient) == first for _ in range(500))


def test_two_networks_in_two_threads():
    batch, gradient = images(131, (4, 5, 3)), images(131, (70, 1, 1)).reshape(131, 70)
    expected = gradients_of(linear_network(), batch, gradient)
    wrong = []

    def work() -> None:
        network = linear_network()
        for _ in range(200):
            if gradients_of(network, batch, gradient) != expected:
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_network_without_tensors_has_none_to_ask_for():
    """An index into nothing has no range of allowed values to name; found by random calls."""
    network = graft.Network((3, 8, 8))
    network.finish(network.global_pool(network.input))
    assert network.state_dict() == {} and network.forward(images(2, (3, 8, 8))).shape == (2, 3)
    tensor = Tensor()
    for function in ("graft_network_tensor", "graft_network_gradient"):
        with pytest.raises(graft.InvalidArgumentError, match="index is 0, and there is none"):
            check(getattr(lib, function)(network, 0, byref(tensor)))
