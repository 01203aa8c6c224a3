"""How much memory training and predictors take, as the system counts it, each in its process."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import graft

MIB = 1 << 20

BEGINNING = """
import re
from pathlib import Path

import numpy as np
import graft


def held(what):  # MiB: VmRSS now, VmHWM at most so far
    status = Path("/proc/self/status").read_text()
    return int(re.search(what + r":\\s+(\\d+)", status)[1]) / 1024


images = np.ones((2, 3, 32, 32), np.float32)
graft.resnet(8).forward(images, training=True)  # the first use of threads and of the library
empty = held("VmRSS")
"""
VGG = """
network = graft.vgg(16, seed=1)
network.threads = 2
"""


def told(program: str) -> list[float]:
    """What the program prints, a number a line."""
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + program], check=True, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    return [float(line) for line in done.stdout.split()]


def weights(network: graft.Network) -> float:
    return sum(array.nbytes for array in network.state_dict().values()) / MIB


def test_training_keeps_no_second_copy_of_the_weights() -> None:
    """Weights, gradients, momentum, the values of two images; a layer's packed weights and sums."""
    peak, = told(VGG + """
sgd = graft.SGD(network, learning_rate=0.01, momentum=0.9)
for _ in range(2):
    output = network.forward(images, training=True)
    network.backward(np.ones_like(output))
    sgd.step()
print(held("VmHWM") - empty)
""")
    network = graft.vgg(16)
    values = sum(
        2 * 4 * np.prod(operation.shape) for operation in network.operations()
        if operation.kind in ("convolution", "pool", "linear")) / MIB
    largest = max(array.nbytes for array in network.state_dict().values()) / MIB
    # (Winograd's way has up to 16 numbers for 9.)
    expected = 3 * weights(network) + values
    assert weights(network) > 50  # all of them packed once would take this much more
    # The rest: gradients on their way, what threads work in.
    assert expected - 10 < peak < expected + 2 * largest * 16 / 9 + 20


def test_what_no_backward_pass_reads_is_not_kept() -> None:
    """A convolution's output of 4 MiB that a sum alone reads lies where the sum does."""
    peak, = told("""
network = graft.Network((16, 32, 32))
x = network.input
for index in range(20):
    x = network.sum(network.convolution(f"conv{index}", x, 16, padding=1), x)
network.finish(x)
gradient = np.ones((64, 16, 32, 32), np.float32)
network.backward(network.forward(gradient, training=True))
print(held("VmHWM") - empty)
""")
    values = 4 * (1 + 20)
    given = 4 * 3  # images, output and gradient as arrays
    assert values < peak < values + given + 40


def test_bfloat16_halves_what_batch_norms_read() -> None:
    """Ten convolutions of 4 MiB each in float32, each before a batch norm."""
    program = """
network = graft.Network((16, 32, 32))
x = network.input
for index in range(10):
    x = network.convolution(f"conv{index}", x, 16, padding=1)
    x = network.relu(network.batch_norm(f"norm{index}", x))
network.finish(x)
network.precision = "%s"
gradient = np.ones((64, 16, 32, 32), np.float32)
network.backward(network.forward(gradient, training=True))
print(held("VmHWM") - empty)
"""
    whole, half = told(program % "float32")[0], told(program % "bfloat16")[0]
    assert 15 < whole - half < 25


@pytest.mark.parametrize("take", [False, True])
def test_a_predictor_that_takes_the_weights_holds_none_twice(take: bool) -> None:
    predicted = f"""
predict = graft.Predictor(network, take={take}, threads=2)
predict(images)
"""
    peak, = told(VGG + predicted + "print(held('VmHWM') - empty)")
    trained, = told(VGG + """
network.backward(np.ones_like(network.forward(images, training=True)))
state = network.state_dict()
""" + predicted + "print(held('VmRSS') - empty)")
    once = weights(graft.vgg(16))
    # (Packed they may take more. A network that was trained has gradients, too.)
    if take:
        assert peak < 1.75 * once and trained < 1.75 * once
    else:
        assert peak > 1.9 * once and trained > 2.7 * once


def test_what_a_predictor_has_taken() -> None:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((3, 3, 32, 32), np.float32)
    network, other = graft.wide_resnet(10, 2, seed=3), graft.wide_resnet(10, 2, seed=3)
    for one in (network, other):
        one.backward(np.ones_like(one.forward(images, training=True)))
    gradients, state = network.gradients(), network.state_dict()
    for fold in (False, True):
        whole = graft.Predictor(other, fold=fold)
        taken = graft.Predictor(network, fold=fold, take=True)
        assert taken(images).tobytes() == whole(images).tobytes()
        for array in (*state.values(), *gradients.values()):
            assert not array.any()
        with pytest.raises(graft.InvalidStateError, match="gradient"):
            network.gradients()
        with pytest.raises(graft.InvalidStateError, match="backward"):
            network.backward(np.ones((3, 10), np.float32))
        network.copy_from(other)  # it can be used again
        assert taken(images).tobytes() == whole(images).tobytes()
        one, same = (made.forward(images, training=True) for made in (network, other))
        assert one.tobytes() == same.tobytes()
        network.backward(np.ones_like(one))


def test_what_cannot_be_taken_stays() -> None:
    network = graft.Network((3, 8, 8))
    layer = network.convolution("a", network.input, 4)
    with pytest.raises(graft.InvalidStateError, match="under construction"):
        graft.Predictor(network, take=True)
    network.finish(layer, seed=1)
    before = network.state_dict()["a.weight"].copy()
    with pytest.raises(graft.InvalidArgumentError, match="threads"):
        graft.Predictor(network, take=True, threads=1000)
    assert before.any() and (network.state_dict()["a.weight"] == before).all()
