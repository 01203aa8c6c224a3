"""Makes every allocation of every operation fail once, in turn. Run by test_out_of_memory.py.

For each operation: it is done undisturbed; then, from a fresh start each time, its first
allocation fails, its second, and so on until none is left to fail. Each time it must raise
OutOfMemoryError, and the same objects must then do it to the same bits. Prints a line for each
operation: its name and how many allocations failed.
"""

from __future__ import annotations

import ctypes
import gzip
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import graft

failing = ctypes.CDLL(None)
failing.fail_after.argtypes = [ctypes.c_long]
failing.calls_seen.restype = ctypes.c_long

folder = Path(sys.argv[1])
rng = np.random.default_rng(0)
images = rng.standard_normal((8, 3, 8, 8)).astype(np.float32)
labels = rng.integers(0, 4, 8)
pixels = rng.integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
targets = rng.integers(0, 4, 16)


def network(seed: int = 1) -> graft.Network:
    return graft.resnet(depth=8, classes=4, base_filters=4, input_shape=(3, 8, 8), seed=seed)


def dataset() -> graft.Dataset:
    return graft.Dataset.from_arrays(pixels, targets, 4, "NHWC")


def trainer() -> graft.Trainer:
    data = dataset()
    return graft.Trainer(
        [network(1), network(2)], data, data, epochs=1, batch_size=8, threads=1,
        teachers=[network(3)], grafting=graft.Grafting(), distillation=graft.Distillation(),
        ema_decay=0.9, clip_norm=1.0, label_smoothing=0.1,
        augmentation=graft.Augmentation(erasing=0.5, mixup=1.0))


def state(networks: Any) -> bytes:
    return b"".join(
        array.tobytes() for one in networks for array in one.state_dict().values())


Bits = Callable[[], bytes]


def later(*networks: graft.Network) -> Bits:
    return lambda: state(networks)


def trained() -> graft.Trainer:
    one = trainer()
    one.run()
    return one


def train(one: graft.Trainer) -> Bits:
    one.run()
    return lambda: state(one.networks)


def forward(net: graft.Network) -> Bits:
    output = net.forward(images, training=True).tobytes()
    return lambda: output + state([net])


def forwarded() -> tuple[graft.Network, graft.SGD, np.ndarray]:
    net = network()
    sgd = graft.SGD(net, learning_rate=0.1, momentum=0.9, clip_norm=1.0)
    return net, sgd, net.forward(images, training=True) - 1


def backward(one: tuple[graft.Network, graft.SGD, np.ndarray]) -> Bits:
    net, _, gradient = one
    result = net.backward(gradient, input_gradient=True).tobytes()
    return lambda: result + b"".join(array.tobytes() for array in net.gradients().values())


def backwarded() -> tuple[graft.Network, graft.SGD]:
    net, sgd, gradient = forwarded()
    net.backward(gradient)
    return net, sgd


def step(one: tuple[graft.Network, graft.SGD]) -> Bits:
    one[1].step()
    return lambda: state([one[0]])


def grafted(models: list[dict[str, np.ndarray]]) -> bytes:
    graft.graft(models)
    return b"".join(array.tobytes() for model in models for array in model.values())


def models() -> list[dict[str, np.ndarray]]:
    return [network(seed).state_dict() for seed in (1, 2, 3)]


def saved_network() -> graft.Network:
    network(5).save(folder / "a.safetensors")
    return network(6)


def load(net: graft.Network) -> Bits:
    net.load(folder / "a.safetensors")
    return lambda: state([net])


def save(net: graft.Network) -> bytes:
    net.save(folder / "b.safetensors")
    return (folder / "b.safetensors").read_bytes()


def idx_files() -> tuple[Path, Path]:
    pair = folder / "images.gz", folder / "labels.gz"
    pair[0].write_bytes(gzip.compress(struct.pack(">4i", 0x803, 16, 8, 8) + pixels[..., 0].tobytes()))
    pair[1].write_bytes(gzip.compress(
        struct.pack(">2i", 0x801, 16) + targets.astype(np.uint8).tobytes()))
    return pair


def cifar_files() -> Path:
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        records = rng.integers(0, 10, (3, 3073), dtype=np.uint8)
        (folder / name).write_bytes(records.tobytes())
    return folder


def saved_trainer() -> graft.Trainer:
    trained().save(folder / "run")
    return trainer()


def resume(one: graft.Trainer) -> Bits:
    one.load(folder / "run")
    return lambda: state(one.networks)


def save_run(one: graft.Trainer) -> bytes:
    one.save(folder / "other")
    return b"".join(
        path.read_bytes() for path in sorted((folder / "other").rglob("*.safetensors")))


def logits() -> np.ndarray:
    return rng.standard_normal((64, 10)).astype(np.float32)


student, teacher, weights = logits(), logits(), rng.standard_normal((32, 600)).astype(np.float32)

files = cifar_files()

OPERATIONS: dict[str, tuple[Callable[[], Any], Callable[[Any], bytes | Bits]]] = {
    "network": (lambda: None, lambda _: later(network())),
    "densenet": (lambda: None, lambda _: later(graft.densenet(
        depth=10, growth=4, input_shape=(3, 8, 8), classes=4, seed=1))),
    "inference": (network, lambda net: net.forward(images).tobytes()),
    "folded inference": (network, lambda net: net.infer(images).tobytes()),
    "predictor": (network, lambda net: graft.Predictor(net, threads=1)(images).tobytes()),
    "features": (network, lambda net: net.features(images).tobytes()),
    "forward": (network, forward),
    "backward": (forwarded, backward),
    "optimiser": (backwarded, step),
    "graft": (models, grafted),
    "loss": (lambda: None, lambda _: graft.distillation_loss(
        student, [teacher], labels=np.zeros(64, np.int64))[1].tobytes()),
    "entropies": (lambda: None, lambda _: graft.filter_entropies(weights).tobytes()),
    "norms": (lambda: None, lambda _: graft.filter_norms(weights).tobytes()),
    "data set": (lambda: None, lambda _: bytes([len(dataset())])),
    "IDX files": (idx_files, lambda pair: graft.Dataset.idx(*pair).labels.tobytes()),
    "CIFAR files": (lambda: files, lambda path: graft.Dataset.cifar(path).labels.tobytes()),
    "evaluation": (lambda: (network(), dataset()),
                   lambda pair: str(graft.evaluate(*pair)).encode()),
    "save": (network, save),
    "load": (saved_network, load),
    "trainer": (lambda: None, lambda _: later(*trainer().networks)),
    "run": (trainer, train),
    "save a run": (trained, save_run),
    "resume": (saved_trainer, resume),
}


def bits(result: bytes | Bits) -> bytes:
    """What an operation made: read when nothing fails any more."""
    return result if isinstance(result, bytes) else result()


def main() -> None:
    for name, (start, operate) in OPERATIONS.items():
        expected = bits(operate(start()))
        failures = 0
        while True:
            subject = start()
            failing.fail_after(failures)
            try:
                got = operate(subject)
            except graft.OutOfMemoryError:
                failing.fail_after(-1)
                failures += 1
                assert bits(operate(subject)) == expected, f"{name}: other bits after failure {failures}"
                continue
            reached = failing.calls_seen() > failures
            failing.fail_after(-1)
            assert not reached, f"{name}: failure {failures + 1} was not told"
            assert bits(got) == expected, f"{name}: other bits"
            break
        print(f"{name}: {failures}", flush=True)


main()
