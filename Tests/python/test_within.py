"""Scions from within, the paper's ablations: internal filters and noise, against NumPy."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import graft

from test_grafting import LAYERS, Network, assert_same, network


def numpy_internal(w: np.ndarray, threshold: float) -> np.ndarray:
    """Of filters in order of l1 norm, the i-th largest is added to the i-th smallest."""
    norms = np.abs(w.astype(np.float64)).reshape(len(w), -1).sum(1)
    order = np.argsort(norms, kind="stable")
    result = w.copy()
    for i in range(len(w) // 2):
        if norms[order[i]] < threshold:
            result[order[i]] = (
                w[order[i]].astype(np.float64) + w[order[-1 - i]].astype(np.float64)
            ).astype(w.dtype)
    return result


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("threshold", [0.0, 0.1, 3.0, 1e9])
def test_internal(count: int, threshold: float) -> None:
    networks = [network(seed) for seed in range(count)]
    before = copy.deepcopy(networks)
    settings = {"source": "internal", "threshold": threshold}
    dry = graft.graft(networks, dry_run=True, **settings)
    assert_same(networks, before)
    report = graft.graft(networks, **settings)
    assert report.to_dict() == dry.to_dict()
    for k in range(count):
        for name, old in before[k].items():
            wanted = numpy_internal(old, threshold) if name in LAYERS else old
            np.testing.assert_array_equal(networks[k][name], wanted, err_msg=name)
        for layer in report:
            entry = layer.networks[k]
            old, new = (np.abs(n[k][layer.name].astype(np.float64)) for n in (before, networks))
            norms = [w.reshape(len(w), -1).sum(1) for w in (old, new)]
            assert (entry.source, entry.alpha) == (k, 1)
            assert entry.invalid_before == (norms[0] < threshold).sum()
            assert entry.invalid_after == (norms[1] < threshold).sum()
            assert entry.norm_after == pytest.approx(norms[1].mean(), rel=1e-12)
    if threshold == 0.1:
        entry = report["conv2"].networks[0]
        assert entry.invalid_before > entry.invalid_after


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_internal_in_other_types(kind: torch.dtype) -> None:
    w = torch.from_numpy(network(3)["conv2"]).clamp(-9, 9).to(kind)
    w[5] = w[6]  # equal norms
    expected = torch.from_numpy(numpy_internal(w.double().numpy(), 1.0)).to(kind)
    plan = graft.Plan({"w": w})
    graft.graft([{"w": w}], plan, source="internal", threshold=1.0)
    assert torch.equal(w, expected)


def test_internal_along_the_other_axis_and_with_a_mask() -> None:
    w = np.random.default_rng(0).standard_normal((6, 9, 3, 3)).astype(np.float32)
    w[:, :4] *= np.float32(1e-4)
    w[:, :, 0, 0] = 0
    for keep in (False, True):
        mine = w.copy()
        plan = graft.Plan({"w": mine})
        plan.set("w", "layer", filter_axis=1)
        graft.graft([{"w": mine}], plan, source="internal", threshold=1.0, keep_zeros=keep)
        expected = np.moveaxis(numpy_internal(np.moveaxis(w, 1, 0), 1.0), 0, 1)
        np.testing.assert_array_equal(mine, np.where(w == 0, w, expected) if keep else expected)


def noisy(seed: int, step: int, base: float, threads: int = 0, **options: object) -> list[Network]:
    networks = [{"a": np.zeros((64, 32, 3, 3), np.float32), "b": np.ones(64, np.float32),
                 "c": np.zeros((40, 64, 5, 5), np.float32)} for _ in range(2)]
    for each in networks:
        each["a"][::2] = 1
    graft.graft(
        networks, source="noise", noise=base, step=step, seed=seed, threads=threads, **options)
    return networks


@pytest.mark.parametrize(("base", "step"), [(0.5, 1), (0.5, 3), (0.9, 20), (0.99, 0)])
def test_noise_is_normal_with_a_to_the_t(base: float, step: int) -> None:
    scipy_free = [0.1587, 0.5, 0.8413]  # the normal distribution at -1, 0 and 1 deviations
    networks = noisy(1, step, base)
    sigma = base**step
    drawn = np.concatenate([
        np.concatenate([each["a"][1::2].ravel(), each["c"].ravel()]) for each in networks])
    assert drawn.mean() == pytest.approx(0, abs=5 * sigma / np.sqrt(drawn.size))
    assert drawn.std() == pytest.approx(sigma, rel=0.02)
    for deviations, share in zip((-1, 0, 1), scipy_free):
        assert (drawn < deviations * sigma).mean() == pytest.approx(share, abs=0.006)
    for each in networks:
        assert (each["a"][::2] == 1).all() and (each["b"] == 1).all()  # valid, and a follower
    assert len(np.unique(drawn)) > 0.99 * drawn.size  # no two places got the same


def test_noise_depends_on_seed_and_step_alone() -> None:
    first = noisy(7, 2, 0.5, threads=1)
    for threads in (1, 2, 5):
        assert_same(noisy(7, 2, 0.5, threads=threads), first)
    other_seed, other_step = noisy(8, 2, 0.5), noisy(7, 3, 0.5)
    for other in (other_seed, other_step):
        assert not np.array_equal(other[0]["c"], first[0]["c"])
    assert not np.array_equal(first[0]["c"], first[1]["c"])
    # It is added: the same noise on other weights, with the types' own rounding.
    for kind in (np.float64, np.float32, np.float16):
        small = np.linspace(-1e-3, 1e-3, 40 * 64 * 25).reshape(40, 64, 5, 5).astype(kind)
        mine = {"a": np.ones((64, 32, 3, 3), kind), "b": np.ones(64, kind), "c": small.copy()}
        graft.graft([mine], source="noise", noise=0.5, step=2, seed=7, threshold=10)
        np.testing.assert_allclose(
            mine["c"], small.astype(np.float64) + first[0]["c"], rtol=2e-3,
            atol=1e-3 if kind == np.float16 else 1e-7)


def test_a_dry_run_of_noise_tells_the_same() -> None:
    for kind in ("float32", "bfloat16"):
        networks = [
            {"w": torch.from_numpy(network(seed)["conv2"]).to(getattr(torch, kind)),
             "tied": torch.zeros(1)} for seed in range(2)]
        for each in networks:
            each["tied"] = each["w"]
        before = copy.deepcopy(networks)
        settings = {"source": "noise", "noise": 0.1, "step": 4, "threshold": 1e9}
        dry = graft.graft(networks, dry_run=True, **settings)
        assert all(torch.equal(n["w"], b["w"]) for n, b in zip(networks, before))
        report = graft.graft(networks, **settings)
        assert report.to_dict() == dry.to_dict()
        assert report["tied"].networks[1].norm_after == report["w"].networks[1].norm_after
        assert all(not torch.equal(n["w"], b["w"]) for n, b in zip(networks, before))
        if kind == "bfloat16":
            stuck = sum(int((n["w"] == b["w"]).sum())
                        for n, b in zip(networks, before))
            assert sum(entry.unmoved for entry in report["w"].networks) == stuck > 0


def test_what_cannot_be() -> None:
    networks = [{"w": np.full((4, 4), 3e38, np.float32)}]
    networks[0]["w"][0] = 1e38
    before = copy.deepcopy(networks)
    for base in (0, 1, -0.5, np.nan):
        with pytest.raises(graft.InvalidArgumentError, match="noise is"):
            graft.graft(networks, source="noise", noise=base)
    with pytest.raises(graft.InvalidArgumentError, match="seed"):
        graft.graft(networks, source="noise", seed=-1)
    with pytest.raises(graft.NotFiniteError, match=r"networks\[0\]: w.*more than float32"):
        graft.graft(networks, source="internal", threshold=1e300)
    assert_same(networks, before)
