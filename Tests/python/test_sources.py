"""Where from and how much, beyond the ring and the entropies: every choice against NumPy."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest

import graft

from test_grafting import FEEDERS, LAYERS, SHAPES, Network, assert_same, network, share
from test_information import numpy_entropy


def numpy_filter_entropies(w: np.ndarray, bins: int = 10) -> float:
    total = 0.0
    for f in w:
        total += numpy_entropy(f, bins)
    return total


def l1(w: np.ndarray) -> float:
    return float(np.abs(w.astype(np.float64)).sum())


INFORMATION = {
    "entropy": numpy_entropy, "filter_entropy": numpy_filter_entropies, "l1": l1,
}


def numpy_shares(source: object, k: int, count: int, step: int) -> dict[int, float]:
    """network -> share, written from the header."""
    if source == "ring":
        return {(k - 1) % count: 1.0}
    if source == "mean":
        return {other: 1 / count for other in range(count)}
    if source == "others":
        return {other: 1 / (count - 1) for other in range(count) if other != k} or {k: 1.0}
    if source == "exponential":
        distances = list(itertools.takewhile(lambda d: d < count, (2**t for t in range(7)))) or [1]
        return {(k - distances[step % len(distances)]) % count: 1.0}
    return {source[k]: 1.0}  # type: ignore[index]


def expected_graft(
    networks: list[Network], source: object = "ring", weighting: str | float = "entropy",
    step: int = 0, keep_zeros: bool = False, a: float = 0.4, c: float = 500.0,
) -> tuple[list[Network], list[dict[str, float]]]:
    count = len(networks)
    known = [
        {name: INFORMATION[weighting](each[name]) for name in LAYERS}
        if isinstance(weighting, str) else {} for each in networks]
    results, alphas = [], []
    for k, own in enumerate(networks):
        shares = numpy_shares(source, k, count, step)
        result, chosen = {}, {}
        for name, w in own.items():
            result[name] = w.copy()
            if name == "steps":
                continue
            feeder = FEEDERS[name]
            if not isinstance(weighting, str):
                alpha = share(1, 1, 0, 0) if weighting == 0.5 else weighting
            elif feeder is None:
                alpha = 0.5
            else:
                other = sum(part * known[j][feeder] for j, part in shares.items())
                alpha = share(known[k][feeder], other, a, c)
            chosen[name] = alpha
            terms = {k: alpha}
            for j, part in shares.items():
                terms[j] = terms.get(j, 0.0) + (1 - alpha) * part
            mixed = np.zeros(w.shape)
            for j in sorted(terms):
                mixed = mixed + terms[j] * networks[j][name].astype(np.float64)
            mixed = mixed.astype(np.float32)
            if keep_zeros and w.ndim > 1:
                mixed = np.where(w == 0, w, mixed)
            result[name][...] = mixed
        results.append(result)
        alphas.append(chosen)
    return results, alphas


def close(networks: list[Network], expected: list[Network]) -> None:
    for k, (mine, theirs) in enumerate(zip(networks, expected, strict=True)):
        for name in theirs:
            # alpha may differ in float32's last bit where sums of entropies are added elsewhere.
            np.testing.assert_allclose(
                mine[name], theirs[name], rtol=2e-6, atol=1e-6 * np.abs(theirs[name]).max(),
                err_msg=f"network {k}: {name}")


SOURCES: list[object] = ["ring", "mean", "others", "exponential"]
WEIGHTINGS: list[object] = ["entropy", "filter_entropy", "l1", 0.99, 0.5, 0.0]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("source", [*SOURCES, "given"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_every_source_with_every_weighting(
    source: object, weighting: str | float, count: int
) -> None:
    if source == "given":
        source = [int(j) for j in np.random.default_rng(count).integers(0, count, count)]
    for step in (0, 1) if source == "exponential" else (0,):
        networks = [network(seed) for seed in range(count)]
        settings = {"a": 0.6, "c": 0.01 if weighting == "l1" else 2.0}
        before = copy.deepcopy(networks)
        expected, alphas = expected_graft(before, source, weighting, step, **settings)
        dry = graft.graft(
            networks, source=source, weighting=weighting, step=step, dry_run=True, **settings)
        assert_same(networks, before)
        report = graft.graft(networks, source=source, weighting=weighting, step=step, **settings)
        assert report.to_dict() == dry.to_dict()
        close(networks, expected)
        for layer in report:
            for k, entry in enumerate(layer.networks):
                assert entry.alpha == pytest.approx(alphas[k][layer.name], abs=1e-6)
                assert entry.source == next(iter(numpy_shares(source, k, count, step)))
                assert entry.entropy_before == pytest.approx(
                    numpy_entropy(before[k][layer.name]), abs=1e-12)
                assert entry.entropy_after == pytest.approx(
                    numpy_entropy(networks[k][layer.name]), abs=1e-12)


def test_64_networks() -> None:
    for source in SOURCES:
        networks = [
            {"w": np.random.default_rng(seed).standard_normal((5, 300)).astype(np.float32)}
            for seed in range(64)]
        before = copy.deepcopy(networks)
        graft.graft(networks, source=source, weighting=0.25, step=5)
        for k, each in enumerate(networks):
            mixed = 0.25 * before[k]["w"].astype(np.float64)
            for j, part in numpy_shares(source, k, 64, 5).items():
                mixed += 0.75 * part * before[j]["w"]
            np.testing.assert_allclose(each["w"], mixed, rtol=1e-6, atol=1e-7)
    with pytest.raises(graft.InvalidArgumentError, match="65"):
        graft.graft([{"w": np.ones((2, 2), np.float32)} for _ in range(65)], source="mean")


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 64])
def test_the_exponential_ring_spreads_to_all(count: int) -> None:
    """After ceil(log2 K) grafts every network holds something of every other; then anew."""
    turns = max(1, int(np.ceil(np.log2(count))))
    networks = [{"w": np.eye(count, dtype=np.float32)[k].reshape(1, -1)} for k in range(count)]
    for step in range(turns):
        assert any((each["w"] == 0).any() for each in networks)
        graft.graft(networks, source="exponential", weighting=0.5, step=step)
    assert all((each["w"] > 0).all() for each in networks)
    first = copy.deepcopy(networks)
    graft.graft(networks, source="exponential", weighting=0.5, step=turns)
    again = copy.deepcopy(first)
    graft.graft(again, source="exponential", weighting=0.5, step=0)
    assert_same(networks, again)


def test_population_averaging_is_papa() -> None:
    """w <- 0.99 w + 0.01 mean, the mean being that of the whole population."""
    networks = [network(seed) for seed in range(5)]
    before = copy.deepcopy(networks)
    graft.graft(networks, source="mean", weighting="constant", constant=0.99)
    for name in SHAPES:
        mean = np.mean([each[name].astype(np.float64) for each in before], axis=0)
        for k in range(5):
            np.testing.assert_allclose(
                networks[k][name], 0.99 * before[k][name].astype(np.float64) + 0.01 * mean,
                rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("source", [*SOURCES, [1, 0, 1, 2]])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_equal_networks_do_not_change(source: object, weighting: object) -> None:
    bits = np.random.default_rng(5).integers(0, 2**32, (40, 500), dtype=np.uint32)
    w = bits.view(np.float32)
    w[~np.isfinite(w)] = -0.0
    networks = [{"w": w.copy(), "b": w[:, 0].copy()} for _ in range(4)]
    graft.graft(networks, source=source, weighting=weighting)
    for each in networks:
        np.testing.assert_array_equal(each["w"].view(np.uint32), w.view(np.uint32))
        np.testing.assert_array_equal(each["b"].view(np.uint32), w[:, 0].view(np.uint32))


@pytest.mark.parametrize("source", ["ring", "others", "exponential", [1, 0]])
@pytest.mark.parametrize("weighting", ["entropy", "filter_entropy", "l1", 0.5])
def test_two_networks_come_out_equal(source: object, weighting: object) -> None:
    networks = [network(1), network(2)]
    graft.graft(networks, source=source, weighting=weighting)
    for name in SHAPES:
        assert networks[0][name].tobytes() == networks[1][name].tobytes(), name


def test_filters_along_another_axis_have_other_entropies() -> None:
    networks = [{"w": network(seed)["conv2"].copy()} for seed in range(2)]
    before = copy.deepcopy(networks)
    plan = graft.Plan(networks[0])
    plan.set("w", "layer", filter_axis=1)
    report = graft.graft(networks, plan, weighting="filter_entropy", c=2.0)
    own, other = (numpy_filter_entropies(np.moveaxis(b["w"], 1, 0)) for b in before)
    assert report["w"].networks[0].alpha == pytest.approx(share(own, other, 0.4, 2.0), abs=1e-6)


# ---- pruned networks -----------------------------------------------------------------------------


def pruned(seed: int) -> Network:
    result = network(seed)
    rng = np.random.default_rng(100 + seed)
    for w in result.values():
        if w.ndim > 0:
            w[rng.random(w.shape) < 0.5] = 0
    result["conv1"].reshape(-1, 4)[:54, :2] = 0
    result["conv1"].reshape(-1)[0] = -0.0
    return result


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("weighting", ["entropy", 0.0, 0.3])
@pytest.mark.parametrize("count", [2, 3])
def test_zeros_stay_or_come_back(source: str, weighting: str | float, count: int) -> None:
    for keep in (False, True):
        networks = [pruned(seed) for seed in range(count)]
        before = copy.deepcopy(networks)
        settings = {"source": source, "weighting": weighting, "keep_zeros": keep}
        expected, _ = expected_graft(before, **settings)
        dry = graft.graft(networks, dry_run=True, **settings)
        assert_same(networks, before)
        assert graft.graft(networks, **settings).to_dict() == dry.to_dict()
        close(networks, expected)
        for k, name in itertools.product(range(count), SHAPES):
            old, new = before[k][name], networks[k][name]
            if old.ndim > 1 and keep:
                assert (new[old == 0] == 0).all() and (new[old != 0] != 0).any()
            elif old.ndim > 1:
                assert (new[old == 0] != 0).any()


# ---- what cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "text"), [
    ({"source": [0, 1]}, "source_count is 2.*3 networks"),
    ({"source": [0, 1, 3]}, r"sources\[2\] is 3"),
    ({"source": [0, -1, 2]}, r"sources\[1\] is -1"),
    ({"source": []}, "source_count is 0"),
    ({"source": [0, 1.5, 2]}, r"source\[1\] is 1.5"),
    ({"source": [0] * 65}, "source_count is 65"),
    ({"source": "given"}, "source is 'given'"),
    ({"source": 3}, "source is 3"),
    ({"step": -1}, "step is -1"),
    ({"weighting": "constant", "constant": 2}, "constant is 2"),
    ({"weighting": "norm"}, "weighting is 'norm'"),
])
def test_settings_that_cannot_be(settings: dict[str, object], text: str) -> None:
    networks = [network(seed) for seed in range(3)]
    before = copy.deepcopy(networks)
    with pytest.raises(graft.InvalidArgumentError, match=text):
        graft.graft(networks, **settings)
    assert_same(networks, before)
