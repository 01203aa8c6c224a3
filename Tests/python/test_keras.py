"""Grafts of Keras models, against NumPy, with the backend that KERAS_BACKEND names."""

from __future__ import annotations

import os
import subprocess
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import pytest
import torch
from keras import layers
from sklearn.datasets import load_digits

import graft
import graft.keras

from test_grafting import share
from test_information import numpy_entropy

torch.set_num_threads(1)


def network(name: str, seed: int) -> keras.Model:
    """A residual block, a separable and a transposed convolution, a nested classifier."""
    keras.utils.set_random_seed(seed)
    given = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="z")(given)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, name="norm1")(x))
    side = layers.Conv2D(12, 1, name="side")(x)
    x = layers.SeparableConv2D(12, 3, padding="same", depth_multiplier=2, name="pair")(x)
    x = layers.Add()([side, layers.BatchNormalization(momentum=0.9, name="norm2")(x)])
    x = layers.ReLU()(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2DTranspose(10, 2, name="up")(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9, name="norm3")(x))
    head = keras.Sequential([
        layers.GlobalAveragePooling2D(), layers.Dropout(0.05), layers.Dense(16, "relu", name="d1"),
        layers.Dense(10, name="d2")], name="head")
    return keras.Model(given, head(x), name=name)


FEEDERS = {
    "z/kernel": "z/kernel", "side/kernel": "side/kernel", "side/bias": "side/kernel",
    "pair/depthwise_kernel": "pair/depthwise_kernel",
    "pair/pointwise_kernel": "pair/pointwise_kernel", "pair/bias": "pair/pointwise_kernel",
    "up/kernel": "up/kernel", "up/bias": "up/kernel",
    "head/d1/kernel": "up/kernel", "head/d1/bias": "up/kernel",
    "head/d2/kernel": "head/d2/kernel", "head/d2/bias": "head/d2/kernel",
    **{f"{norm}/{name}": feeder for norm, feeder in (
        ("norm1", "z/kernel"), ("norm2", "pair/pointwise_kernel"), ("norm3", "up/kernel"))
       for name in ("gamma", "beta", "moving_mean", "moving_variance")},
}


def arrays(model: keras.Model) -> dict[str, np.ndarray]:
    return {one.path: np.array(keras.ops.convert_to_numpy(one.value)) for one in model.variables}


def expected(networks: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    results = []
    for k, own in enumerate(networks):
        other, result = networks[k - 1], dict(own)
        for name, feeder in FEEDERS.items():
            alpha = share(
                numpy_entropy(own[feeder], 10), numpy_entropy(other[feeder], 10), 0.4, 500.0)
            result[name] = (alpha * own[name].astype(np.float64)
                            + (1 - alpha) * other[name].astype(np.float64)).astype(np.float32)
        results.append(result)
    return results


def assert_same(model: keras.Model, wanted: dict[str, np.ndarray]) -> None:
    for name, array in arrays(model).items():
        assert array.tobytes() == wanted[name].tobytes(), name


def test_the_plan_is_read_off_the_graph() -> None:
    plan = graft.keras.plan(network("a", 0))
    found = {entry.name: entry.name if entry.role == "layer" else entry.feeder for entry in plan
             if entry.role != "leave"}
    assert found == FEEDERS and plan.method == "graph"
    assert ["seed_generator" in entry.name for entry in plan if entry.role == "leave"] == [True]


def test_a_graft_against_numpy() -> None:
    models = [network(f"net{seed}", seed) for seed in range(3)]
    before = [arrays(model) for model in models]
    graft.keras.graft(models, dry_run=True)
    for model, one in zip(models, before):
        assert_same(model, one)
    report = graft.keras.graft(models)
    for model, wanted in zip(models, expected(before)):
        assert_same(model, wanted)
    # Filters lie along the last dimension, the last but one, or the last two.
    for name, axes in (("z/kernel", (3,)), ("up/kernel", (2,)), ("pair/depthwise_kernel", (2, 3))):
        w = before[0][name].astype(np.float64)
        norms = np.abs(w).sum(tuple(set(range(4)) - set(axes))).ravel()
        assert report[name].filters == len(norms), name
        assert report[name].networks[0].norm_before == pytest.approx(norms.mean(), rel=1e-12)


def test_an_edited_plan() -> None:
    models = [network(f"net{seed}", seed) for seed in range(2)]
    before = [arrays(model) for model in models]
    plan = graft.keras.plan(models[0])
    plan.set("side/bias", "leave")
    plan.set("head/d1/kernel", "half")
    graft.keras.graft(models, plan, weighting=0.25)
    for k, model in enumerate(models):
        found = arrays(model)
        for name in FEEDERS:
            own, other = (one[name].astype(np.float64) for one in (before[k], before[1 - k]))
            keep = 1.0 if name == "side/bias" else 0.25
            wanted = (keep * own + (1 - keep) * other).astype(np.float32)
            assert np.array_equal(found[name], wanted), name


def test_fit_on_digits() -> None:
    digits = load_digits()
    images = (digits.images[..., None] / 8 - 1).astype(np.float32)
    networks = [network("a", 0), network("b", 1)]
    given = keras.Input((8, 8, 1))
    model = keras.Model(given, [one(given) for one in networks])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, 0.9), loss=[loss, loss])
    callback = graft.keras.GraftingCallback(networks, every=2)
    grafts = []

    class Watch(keras.callbacks.Callback):
        """Compares with NumPy: the weights before come from just before the graft."""

        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            if hasattr(self.model, "jax_state_sync"):
                self.model.jax_state_sync()
            self.before = [arrays(one) for one in networks]

    class Check(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            wanted = expected(watch.before) if epoch % 2 == 0 else watch.before
            for one, weights in zip(networks, wanted):
                assert_same(one, weights)
            grafts.append("graft_alpha_0" in logs)
            if grafts[-1]:
                rows = [layer.networks[0] for layer in callback.report]
                assert logs["graft_alpha_0"] == pytest.approx(np.mean([row.alpha for row in rows]))

    watch = Watch()
    labels = digits.target[:1400]
    on_torch = keras.backend.backend() == "torch"
    epochs = 3 if on_torch else 11
    model.fit(images[:1400], [labels, labels], batch_size=32, epochs=epochs, verbose=0,
              callbacks=[watch, callback, Check()])
    assert grafts == [True, False] * (epochs // 2) + [True]
    if on_torch:
        return  # Keras 3.15 on torch diverges on this network, without any graft too
    for one in networks:
        found = np.argmax(one.predict(images[1400:], verbose=0), 1)
        assert np.mean(found == digits.target[1400:]) > 0.8


def test_other_layers() -> None:
    given = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 8, name="table")(given)
    x = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.LSTM(5, name="lstm")(x)
    plan = graft.keras.plan(keras.Model(given, layers.Dense(3, name="out")(x)))
    table = {entry.name: entry.name if entry.role == "layer" else entry.feeder for entry in plan
             if entry.role != "leave"}
    assert table["table/embeddings"] == "table/embeddings"
    for name in ("query", "key", "value", "attention_output"):
        kernel = f"attention/{name}/kernel"
        assert table[kernel] == kernel and table[f"attention/{name}/bias"] == kernel
    assert table["norm/gamma"] == "attention/attention_output/kernel"
    assert table["lstm/lstm_cell/bias"] == "lstm/lstm_cell/recurrent_kernel"
    assert table["out/kernel"] == "out/kernel"


def test_a_subclassed_model() -> None:
    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first = layers.Conv2D(4, 3, name="first")
            self.norm = layers.BatchNormalization(name="norm")
            self.out = layers.Dense(2, name="out")

        def call(self, x):
            return self.out(keras.ops.mean(self.norm(self.first(x)), (1, 2)))

    model = Net()
    with pytest.raises(graft.InvalidArgumentError, match="no weights yet"):
        graft.keras.plan(model)
    model(np.zeros((1, 8, 8, 1), np.float32))
    plan = graft.keras.plan(model)
    feeders = {entry.name.split("/", 1)[1]: entry.feeder for entry in plan}
    assert plan.method == "order"
    assert feeders["norm/gamma"].endswith("first/kernel")
    assert feeders["out/kernel"].endswith("first/kernel")


def test_refusals() -> None:
    models = [network("a", 0), network("b", 1)]
    with pytest.raises(graft.InvalidArgumentError, match="list of keras.Model"):
        graft.keras.graft(models[0])
    other = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    with pytest.raises(graft.ShapeMismatchError, match="weights"):
        graft.keras.graft([models[0], other])
    wider = keras.Sequential([keras.Input((3,)), layers.Dense(3)])
    with pytest.raises(graft.ShapeMismatchError, match="kernel"):
        graft.keras.graft([other, wider])


def test_the_torch_backend_too() -> None:
    if keras.backend.backend() == "torch":  # this is that run
        return
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__], text=True,
        capture_output=True, env={**os.environ, "KERAS_BACKEND": "torch"})
    assert result.returncode == 0, result.stdout + result.stderr
