"""Grafts of JAX pytrees, against NumPy."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from sklearn.datasets import load_digits

import graft
import graft.jax

from test_grafting import share
from test_information import numpy_entropy


def convolve(x: jax.Array, kernel: jax.Array, groups: int = 1) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups)


def norm(x: jax.Array, p: dict) -> jax.Array:
    return (x - p["mean"]) * lax.rsqrt(p["var"] + 1e-5) * p["scale"] + p["bias"]


def apply(p: dict, x: jax.Array) -> jax.Array:
    """A residual block with a projection, a depthwise convolution, a classifier of two layers.

    Names are chosen so that their order misleads.
    """
    x = jax.nn.relu(norm(convolve(x, p["z"]["kernel"]), p["a_norm"]))
    side = convolve(x, p["side"]["kernel"])
    x = jax.nn.relu(convolve(x, p["b"]["kernel"]) + p["b"]["bias"] + side)
    x = jax.jit(lambda x: norm(convolve(x, p["depthwise"], 8), p["m_norm"]))(x)
    x = jax.nn.relu(x).mean((1, 2))
    x = jax.nn.relu(x @ p["head1"]["kernel"] + p["head1"]["bias"])
    return x @ p["head2"]["kernel"] + p["head2"]["bias"]


def initial(seed: int) -> dict:
    rng = np.random.default_rng(seed)

    def kernel(*shape: int) -> jax.Array:
        fan = np.prod(shape[:-1])
        return jnp.asarray(rng.standard_normal(shape) * np.sqrt(2 / fan), jnp.float32)

    def norms(count: int) -> dict:
        return {"scale": jnp.ones(count), "bias": jnp.zeros(count),
                "mean": jnp.asarray(rng.standard_normal(count) * .1, jnp.float32),
                "var": jnp.ones(count)}

    return {
        "z": {"kernel": kernel(3, 3, 1, 4)}, "a_norm": norms(4),
        "side": {"kernel": kernel(1, 1, 4, 8)},
        "b": {"kernel": kernel(3, 3, 4, 8), "bias": jnp.zeros(8)}, "depthwise": kernel(3, 3, 1, 8),
        "m_norm": norms(8), "head1": {"kernel": kernel(8, 16), "bias": jnp.zeros(16)},
        "head2": {"kernel": kernel(16, 10), "bias": jnp.zeros(10)}, "steps": jnp.asarray(seed)}


FEEDERS = {
    "['z']['kernel']": "['z']['kernel']", "['side']['kernel']": "['side']['kernel']",
    "['b']['kernel']": "['b']['kernel']", "['b']['bias']": "['b']['kernel']",
    "['depthwise']": "['depthwise']", "['head1']['kernel']": "['depthwise']",
    "['head1']['bias']": "['depthwise']", "['head2']['kernel']": "['head2']['kernel']",
    "['head2']['bias']": "['head2']['kernel']",
    **{f"['a_norm']['{name}']": "['z']['kernel']" for name in ("scale", "bias", "mean", "var")},
    **{f"['m_norm']['{name}']": "['depthwise']" for name in ("scale", "bias", "mean", "var")},
}


def arrays(tree: dict) -> dict[str, np.ndarray]:
    return {jax.tree_util.keystr(path): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def expected(networks: list[dict], feeders: dict[str, str], a: float = .4) -> list[dict]:
    results = []
    for k, own in enumerate(networks):
        other, result = networks[k - 1], dict(own)
        for name, feeder in feeders.items():
            alpha = share(numpy_entropy(own[feeder], 10), numpy_entropy(other[feeder], 10), a, 500.)
            result[name] = (alpha * own[name].astype(np.float64)
                            + (1 - alpha) * other[name].astype(np.float64)).astype(np.float32)
        results.append(result)
    return results


def test_the_plan_is_read_off_the_function() -> None:
    plan = graft.jax.plan(apply, initial(0), jnp.zeros((1, 8, 8, 1)))
    found = {entry.name: entry.name if entry.role == "layer" else entry.feeder for entry in plan}
    assert found == {**FEEDERS, "['steps']": None}
    assert plan["['steps']"].role == "leave"
    assert plan.axes["['z']['kernel']"] == 3 and plan.axes["['head1']['kernel']"] == 1


def test_other_layers_are_read_too() -> None:
    def network(p: dict, tokens: jax.Array) -> jax.Array:
        x = p["table"][tokens] + p["position"]
        queries = jnp.einsum("btf,fhd->bthd", x, p["query"])
        scores = jax.nn.softmax(jnp.einsum("bthd,bshd->bhts", queries, queries))
        x = jnp.einsum("bhts,bshd->bthd", scores, queries).reshape(x.shape)
        return jax.checkpoint(lambda x: x @ p["transposed"].T + p["bias"])(x) * p["unit"]

    p = {"table": jnp.ones((5, 8)), "position": jnp.ones((3, 8)), "query": jnp.ones((8, 2, 4)),
         "transposed": jnp.ones((6, 8)), "bias": jnp.ones(6), "unit": jnp.ones(()),
         "unread": jnp.ones(2)}
    plan = graft.jax.plan(network, p, jnp.zeros((1, 3), jnp.int32))
    found = {entry.name: entry.name if entry.role == "layer" else entry.feeder for entry in plan}
    assert found == {
        "['table']": "['table']", "['position']": "['table']", "['query']": "['query']",
        "['transposed']": "['transposed']", "['bias']": "['transposed']",
        "['unit']": "['transposed']", "['unread']": None}
    assert plan["['unread']"].role == "half" and plan.axes["['table']"] == 0


def test_a_graft_against_numpy() -> None:
    networks = [initial(seed) for seed in range(3)]
    before = [arrays(one) for one in networks]
    plan = graft.jax.plan(apply, networks[0], jnp.zeros((1, 8, 8, 1)))
    results, report = graft.jax.graft(networks, plan)
    for k, (result, wanted) in enumerate(zip(results, expected(before, FEEDERS))):
        for name, array in arrays(result).items():
            assert array.tobytes() == wanted[name].tobytes(), (k, name)
            assert before[k][name].tobytes() == arrays(networks[k])[name].tobytes(), name
        assert isinstance(result["z"]["kernel"], jax.Array)
        assert jax.tree_util.tree_structure(result) == jax.tree_util.tree_structure(networks[k])
    for name, axis in (("['z']['kernel']", 3), ("['b']['kernel']", 3), ("['side']['kernel']", 3)):
        w = before[0][name].astype(np.float64)
        norms = np.abs(w).sum(tuple(set(range(w.ndim)) - {axis}))
        assert report[name].filters == len(norms)
        assert report[name].networks[0].norm_before == pytest.approx(norms.mean(), rel=1e-12)


def test_a_plan_can_be_overridden() -> None:
    networks = [initial(seed) for seed in range(2)]
    before = [arrays(one) for one in networks]
    plan = graft.jax.plan(apply, networks[0], jnp.zeros((1, 8, 8, 1)))
    plan.set("['head1']['kernel']", "layer")
    plan.set("['side']['kernel']", "leave")
    feeders = {**FEEDERS, "['head1']['kernel']": "['head1']['kernel']"}
    del feeders["['side']['kernel']"]
    results, _ = graft.jax.graft(networks, plan, a=1.0)
    for result, wanted in zip(results, expected(before, feeders, a=1.0)):
        for name, array in arrays(result).items():
            assert array.tobytes() == wanted[name].tobytes(), name


def test_digits() -> None:
    """Two networks train apart, are grafted each epoch, and end equal and good."""
    digits = load_digits()
    images = jnp.asarray(digits.images[..., None] / 8 - 1, jnp.float32)
    labels = jnp.asarray(digits.target)
    networks = [initial(seed) for seed in range(2)]
    frozen = ("mean", "var")

    def loss(p: dict, x: jax.Array, y: jax.Array) -> jax.Array:
        return -jnp.mean(jax.nn.log_softmax(apply(p, x))[jnp.arange(len(y)), y])

    @jax.jit
    def step(p: dict, v: dict, x: jax.Array, y: jax.Array) -> tuple[dict, dict]:
        g = jax.grad(loss, allow_int=True)(p, x, y)
        names = [path[-1].key for path, _ in jax.tree_util.tree_flatten_with_path(p)[0]]
        leaves, structure = jax.tree_util.tree_flatten(p)
        moved, speeds = [], []
        for name, w, gradient, speed in zip(
                names, leaves, jax.tree_util.tree_leaves(g), jax.tree_util.tree_leaves(v)):
            still = name in frozen or not jnp.issubdtype(w.dtype, jnp.floating)
            speed = speed if still else 0.9 * speed + gradient
            speeds.append(speed)
            moved.append(w if still else w - 0.05 * speed)
        unflatten = jax.tree_util.tree_unflatten
        return unflatten(structure, moved), unflatten(structure, speeds)

    plan = graft.jax.plan(apply, networks[0], images[:1])
    speeds = [jax.tree_util.tree_map(jnp.zeros_like, one) for one in networks]
    rng = np.random.default_rng(0)
    for _ in range(16):
        for k in range(2):
            for batch in rng.permutation(1400)[:1376].reshape(-1, 32):
                networks[k], speeds[k] = step(networks[k], speeds[k], images[batch], labels[batch])
        before = [arrays(one) for one in networks]
        networks, _ = graft.jax.graft(networks, plan)
    wanted = expected(before, FEEDERS)
    for k in range(2):
        for name, array in arrays(networks[k]).items():
            assert array.tobytes() == wanted[k][name].tobytes(), name
    found = jnp.argmax(apply(networks[0], images[1400:]), 1)
    assert float(jnp.mean(found == labels[1400:])) > 0.85


def test_without_a_plan() -> None:
    rng = np.random.default_rng(0)
    networks = [[{"w": rng.standard_normal((5, 4)).astype(np.float32),
                  "b": rng.standard_normal(4).astype(np.float32)} for _ in range(2)]
                for _ in range(2)]
    before = [arrays(one) for one in networks]
    results, report = graft.jax.graft(networks)
    wanted = expected(before, {
        f"[{k}]['{name}']": f"[{k}]['w']" for k in range(2) for name in "wb"})
    for result, one in zip(results, wanted):
        for name, array in arrays(result).items():
            assert array.tobytes() == one[name].tobytes(), name
    assert isinstance(results[0][0]["w"], np.ndarray) and len(report) == 2


def test_refusals() -> None:
    networks = [initial(0), initial(1)]
    with pytest.raises(graft.InvalidArgumentError, match="graft.jax.plan"):
        graft.jax.graft(networks)
    with pytest.raises(graft.ShapeMismatchError, match="lacks .'side'"):
        graft.jax.graft([networks[0], {k: v for k, v in networks[1].items() if k != "side"}])
    networks[1]["z"]["kernel"] = networks[1]["z"]["kernel"][..., :3]
    plan = graft.jax.plan(apply, networks[0], jnp.zeros((1, 8, 8, 1)))
    with pytest.raises(graft.ShapeMismatchError, match="'z'"):
        graft.jax.graft(networks, plan)
    with pytest.raises(graft.InvalidArgumentError, match="outside of jax.jit"):
        jax.jit(lambda p: graft.jax.graft([p, p], plan)[0])(networks[0])


def test_importing_graft_imports_no_jax() -> None:
    program = (
        "import sys, graft; "
        "assert not {'jax', 'torch', 'keras', 'lightning'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", program], check=True, env={
        "PYTHONPATH": str(graft.__path__[0]) + "/..",
        "GRAFT_LIBRARY": str(graft._library.lib.path)})
