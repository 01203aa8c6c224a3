"""float64, float16, bfloat16: measured, grafted, rounded once, against NumPy and exact sums."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import graft

from test_information import numpy_entropy

HALF = ["float16", "bfloat16"]
TYPES = ["float64", "float32", *HALF]
TORCH = {name: getattr(torch, name) for name in TYPES}


def as_double(w: torch.Tensor) -> np.ndarray:
    return w.double().numpy()


def bits(w: torch.Tensor) -> np.ndarray:
    kinds = {8: torch.int64, 4: torch.int32, 2: torch.int16}
    return w.contiguous().view(kinds[w.element_size()]).numpy()


def any_finite(name: str, count: int, seed: int) -> torch.Tensor:
    """Values of every exponent, denormals and both zeros among them."""
    rng = np.random.default_rng(seed)
    size = {"float64": 8, "float32": 4}.get(name, 2)
    raw = rng.integers(0, 256, count * size, dtype=np.uint8).tobytes()
    w = torch.frombuffer(bytearray(raw), dtype=TORCH[name]).clone()
    limit = 1e200 if name == "float64" else torch.inf  # the sum of magnitudes must be finite
    w[~torch.isfinite(w) | (w.abs() > limit)] = -0.0
    w[0] = -0.0
    return w


def weights(name: str, shape: tuple[int, ...], seed: int, scale: float = 1.0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(scale * rng.standard_t(3, shape)).to(TORCH[name])


def round_once(exact: Fraction, name: str) -> float:
    """The nearest number of a half type to an exact one, ties to even: by whole numbers alone."""
    digits, least = {"float16": (11, -24), "bfloat16": (8, -133)}[name]
    if exact == 0:
        return 0.0
    exponent = least
    while abs(exact) >= Fraction(2) ** (exponent + digits):
        exponent += 1
    steps = exact / Fraction(2) ** exponent
    return float(round(steps) * Fraction(2) ** exponent)  # round() of a Fraction: ties to even


# ---- information ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("bins", [1, 2, 10, 15, 32, 33, 1000])
def test_information_is_that_of_the_values(name: str, bins: int) -> None:
    for shape, seed in [((1,), 0), ((7,), 1), ((30, 3, 5, 5), 2), ((4, 5000), 3), ((2, 40000), 4)]:
        w = weights(name, shape, seed)
        exact = as_double(w)
        counts = np.histogram(exact, bins)[0]
        np.testing.assert_array_equal(graft.histogram(w, bins), counts)
        assert graft.entropy(w, bins) == pytest.approx(numpy_entropy(exact, bins), abs=1e-12)
        if w.dim() > 1:
            rows = exact.reshape(len(exact), -1)
            np.testing.assert_allclose(graft.filter_norms(w), np.abs(rows).sum(1), rtol=1e-12)
            np.testing.assert_allclose(
                graft.filter_entropies(w, bins), [numpy_entropy(f, bins) for f in rows], atol=1e-12)


def test_bins_of_float64_that_float32_cannot_tell_apart() -> None:
    rng = np.random.default_rng(0)
    for w in [
        1 + 1e-12 * rng.random(5000), 1e300 * rng.random(1000), 1e-310 * rng.random(1000),
        np.r_[0.0, 0.1, 0.2, 0.3, 0.7, 1.0], np.linspace(0, 1, 101), np.full(9, 1e17),
        np.full(9, 0.1), 1e16 + np.arange(0, 40.0, 2),
    ]:
        for bins in (2, 3, 10, 100):
            try:
                counts = np.histogram(w, bins)[0]
            except ValueError:  # NumPy refuses bins narrower than the weights' own steps
                assert graft.histogram(w, bins).sum() == len(w)
                continue
            np.testing.assert_array_equal(graft.histogram(w, bins), counts)


def test_compatibility_in_float64() -> None:
    """The published loop as it reads, on float64 weights: open last bin, shares in float32."""
    rng = np.random.default_rng(1)
    for w in [rng.standard_normal(3000), rng.random(17), np.zeros(5), np.linspace(-1, 1, 21)]:
        low, width = w.min(), (w.max() - w.min()) / 10
        total = np.float32(0)
        for b in range(10):
            inside = (w >= low + b * width) & (w < low + (b + 1) * width)
            p = np.float32(inside.sum()) / np.float32(w.size)
            if p != 0:
                total -= p * np.log(p)
        assert graft.entropy(w, compatibility=True) == pytest.approx(float(total), abs=1e-6)


# ---- the blend -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HALF)
@pytest.mark.parametrize("alpha", [0.5, 0.3, 0.99, 0.7000000238418579, 2.0**-20])
def test_half_types_are_rounded_once(name: str, alpha: float) -> None:
    """To the nearest, ties to even, of the exact sum: every exponent, denormals, mixed signs."""
    own, other = any_finite(name, 1500, 1), any_finite(name, 1500, 2)
    other[:500] = own[:500] * torch.tensor(1 + 2.0**-6, dtype=TORCH[name])
    other[~torch.isfinite(other)] = 1
    large = alpha if alpha >= 0.5 else 1 - alpha
    share = Fraction(float(np.float32(large)))
    share = share if alpha >= 0.5 else 1 - share
    expected = [
        round_once(share * Fraction(float(x)) + (1 - share) * Fraction(float(y)), name)
        for x, y in zip(own, other)]
    graft.blend(own, other, alpha)
    np.testing.assert_array_equal(as_double(own), expected)


@pytest.mark.parametrize("instructions", ["baseline", "avx2", "avx512"])
def test_the_same_bits_with_every_instruction_set(instructions: str) -> None:
    code = """
import hashlib, numpy as np, torch, graft
from test_dtypes import any_finite, bits, TYPES
digest = hashlib.sha256()
for name in TYPES:
    networks = [{"w": any_finite(name, 4000, seed).reshape(40, 100)} for seed in range(3)]
    for each in networks: each["w"][each["w"].abs() > 1e4] = 1
    report = graft.graft(networks, c=3.0)
    for each in networks: digest.update(bits(each["w"]).tobytes())
    digest.update(repr(report.to_dict()).encode())
print(digest.hexdigest())
"""
    outputs = set()
    for chosen in ("baseline", instructions):
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "GRAFT_INSTRUCTIONS": chosen},
            cwd=Path(__file__).parent)
        outputs.add(run.stdout)
    assert len(outputs) == 1


def test_float64_is_within_a_rounding_of_the_exact_sum() -> None:
    own, other = any_finite("float64", 2000, 1), any_finite("float64", 2000, 2)
    share = Fraction(float(np.float32(0.7)))
    exact = [share * Fraction(float(x)) + (1 - share) * Fraction(float(y))
             for x, y in zip(own, other)]
    sizes = [max(abs(float(x)), abs(float(y)), 1e-300) for x, y in zip(own, other)]
    graft.blend(own, other, 0.7)
    for found, wanted, size in zip(own.tolist(), exact, sizes):
        assert abs(Fraction(found) - wanted) <= Fraction(size) * Fraction(3, 2**53)


# ---- properties ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("settings", [
    {}, {"a": 1.0, "c": 1.0}, {"weighting": 0.1}, {"weighting": 0.99, "source": "mean"},
    {"source": "others", "a": 0.7}, {"compatibility": True}, {"keep_zeros": True}])
def test_equal_networks_do_not_change(name: str, settings: dict[str, object]) -> None:
    for count in (2, 3, 7, 64):
        w = any_finite(name, 3000, count).reshape(30, 100)
        networks = [{"w": w.clone(), "b": w[:, 0].clone()} for _ in range(count)]
        report = graft.graft(networks, **settings)
        for each in networks:
            np.testing.assert_array_equal(bits(each["w"]), bits(w))
            np.testing.assert_array_equal(bits(each["b"]), bits(w[:, 0]))
        assert all(entry.unmoved == 0 for entry in report[0].networks)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("settings", [
    {}, {"a": 1.0, "c": 1.0}, {"c": 3.0}, {"compatibility": True}, {"weighting": "l1"},
    {"weighting": "filter_entropy", "c": 1.0}, {"source": "others"}])
def test_two_networks_come_out_equal(name: str, settings: dict[str, object]) -> None:
    networks = [
        {"w": any_finite(name, 3000, seed).reshape(30, 100), "b": any_finite(name, 30, 9 + seed)}
        for seed in (1, 2)]
    graft.graft(networks, **settings)
    for key in ("w", "b"):
        np.testing.assert_array_equal(bits(networks[0][key]), bits(networks[1][key]))


def mixed_network(seed: int) -> dict[str, torch.Tensor]:
    """Half-precision convolutions, float32 norms, a float64 head, and odd strides."""
    roomy = torch.zeros(20, 8, 5, 6, dtype=torch.bfloat16)
    roomy[..., :5].copy_(weights("bfloat16", (20, 8, 5, 5), seed))
    return {
        "conv1": weights("bfloat16", (8, 3, 3, 3), seed),
        "bn1": weights("float32", (8,), seed),
        "conv2": roomy[..., :5],
        "conv3": weights("float16", (300, 20, 3, 3), seed).to(memory_format=torch.channels_last),
        "bn3": weights("float32", (300,), seed),
        "steps": torch.tensor(seed),
        "fc": weights("float64", (700, 400), seed).T,
        "fc2": weights("float64", (60, 700), seed)[::2, ::3],
    }


@pytest.mark.parametrize("source", ["ring", "mean"])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_mixed_types_against_numpy(source: str, count: int) -> None:
    networks = [mixed_network(seed) for seed in range(count)]
    before = [{name: w.clone() for name, w in each.items()} for each in networks]
    feeders = {"bn1": "conv1", "bn3": "conv3", "fc": "conv3"}
    dry = graft.graft(networks, source=source, c=2.0, dry_run=True)
    for each, old in zip(networks, before):
        assert all(torch.equal(each[name], old[name]) for name in old)
    report = graft.graft(networks, source=source, c=2.0)
    assert report.to_dict() == dry.to_dict()
    for k, each in enumerate(networks):
        for name, w in each.items():
            if name == "steps":
                assert int(w) == k
                continue
            alpha = report[feeders.get(name, name)].networks[k].alpha
            known = [numpy_entropy(as_double(b[feeders.get(name, name)])) for b in before]
            other = known[k - 1] if source == "ring" else np.mean(known)
            assert alpha == pytest.approx(
                0.4 / np.pi * np.arctan(2 * (known[k] - other)) + 0.5, abs=1e-7)
            giver = as_double(before[k - 1][name]) if source == "ring" else np.mean(
                [as_double(b[name]) for b in before], axis=0)
            wanted = torch.from_numpy(alpha * as_double(before[k][name]) + (1 - alpha) * giver)
            wanted = wanted.to(w.dtype)
            if w.element_size() == 8:
                np.testing.assert_allclose(as_double(w), as_double(wanted), rtol=1e-14, atol=1e-15)
            else:  # NumPy's mean may differ in float64's last bit, torch rounds once
                assert (bits(w) != bits(wanted)).mean() < 1e-3
                np.testing.assert_allclose(as_double(w), as_double(wanted), rtol=0.01, atol=1e-6)
        for layer in report:
            w = as_double(each[layer.name])
            assert layer.networks[k].entropy_after == pytest.approx(numpy_entropy(w), abs=1e-12)
            norms = np.abs(w).reshape(len(w), -1).sum(1)
            assert layer.networks[k].norm_after == pytest.approx(norms.mean(), rel=1e-12)


@pytest.mark.parametrize("name", TYPES)
def test_the_same_bits_at_any_number_of_threads(name: str) -> None:
    before = [
        {"a": weights(name, (300, 300, 3, 3), s), "b": weights(name, (50, 90), s)} for s in range(3)]
    results = []
    for threads in (1, 2, 5):
        networks = copy.deepcopy(before)
        report = graft.graft(networks, weighting=0.99, source="mean", threads=threads)
        results.append(([bits(w).tobytes() for n in networks for w in n.values()], report.to_dict()))
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("source", ["ring", "mean", "exponential", [1, 2, 3, 4, 0]])
@pytest.mark.parametrize("weighting", ["entropy", 0.3])
def test_the_same_bits_as_torchs_own_operations(
    name: str, source: object, weighting: object
) -> None:
    """Step by step: `Grafter` counts its grafts for the exponential ring on either path."""
    import graft.torch as graft_torch

    def make(seed: int) -> torch.nn.Module:
        module = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
            torch.nn.Conv2d(8, 16, 3), torch.nn.Flatten(), torch.nn.Linear(16, 4))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        return module.to(TORCH[name])

    mine, theirs = [make(seed) for seed in range(5)], [make(seed) for seed in range(5)]
    for models, backend in ((mine, "library"), (theirs, "torch")):
        grafter = graft_torch.Grafter(
            models, source=source, weighting=weighting, c=2.0, backend=backend)
        for _ in range(3):
            grafter.step()
    for one, other in zip(mine, theirs):
        for key, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key


# ---- a pull too small for its type ---------------------------------------------------------------


@pytest.mark.parametrize("name", HALF)
@pytest.mark.parametrize("source", ["mean", "ring"])
def test_a_slow_pull_that_rounds_to_nothing_is_counted(name: str, source: str) -> None:
    def make() -> list[dict[str, torch.Tensor]]:
        return [
            {"w": 1 + weights(name, (20, 50), seed, 0.02), "b": 1 + weights(name, (20,), seed, 0.1),
             "half": weights("float32", (20, 3), seed)} for seed in range(3)]

    networks = make()
    before = make()
    settings = {"source": source, "weighting": 0.99}
    dry = graft.graft(networks, dry_run=True, **settings)
    report = graft.graft(networks, **settings)
    assert report.to_dict() == dry.to_dict()
    for k in range(3):
        count = 0
        for key in ("w", "b"):
            old = as_double(before[k][key])
            givers = [k - 1] if source == "ring" else range(3)
            apart = np.any([as_double(before[j][key]) != old for j in givers], axis=0)
            stuck = apart & (as_double(networks[k][key]) == old)
            count += int(stuck.sum())
        assert report["w"].networks[k].unmoved == count
        assert count > 500  # most cannot move: a step of 1 % of a few hundredths, beside 1
        assert report["half"].networks[k].unmoved == 0
    # What does not fit one type fits another.
    slow = sum(entry.unmoved for entry in report["w"].networks)
    wide = [{key: w.float() for key, w in each.items()} for each in before]
    report = graft.graft(wide, **settings)
    assert all(entry.unmoved == 0 for layer in report for entry in layer.networks)
    assert all((wide[k]["w"] != before[k]["w"].float()).any(1).all() for k in range(3))
    # And a pull that is strong enough moves nearly all.
    strong = make()
    report = graft.graft(strong, source=source, weighting=0.5)
    assert sum(entry.unmoved for entry in report["w"].networks) < slow / 2


# ---- what cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_named(name: str, value: float) -> None:
    networks = [{"w": weights(name, (30, 20), seed)} for seed in range(2)]
    networks[1]["w"][4, 7] = value
    before = [bits(each["w"]).copy() for each in networks]
    with pytest.raises(graft.NotFiniteError, match=rf"networks\[1\]: w.*\[4, 7\] is {value}"):
        graft.graft(networks)
    for each, old in zip(networks, before):
        np.testing.assert_array_equal(bits(each["w"]), old)


def test_types_must_agree_between_networks() -> None:
    networks = [{"w": weights("float16", (3, 2), 0)}, {"w": weights("bfloat16", (3, 2), 0)}]
    with pytest.raises(graft.ShapeMismatchError, match=r"networks\[1\]: w.*bfloat16.*float16"):
        graft.graft(networks)
    with pytest.raises(graft.ShapeMismatchError, match="float16.*bfloat16"):
        graft.blend(networks[0]["w"], networks[1]["w"], 0.5)
    with pytest.raises(graft.NotFiniteError, match="more than float64"):
        graft.entropy(np.full(20, 1e308))


# ---- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "layers", "kind"), [(2, 20, "float32"), (16, 6, "float32"),
                                                       (4, 10, "float64"), (8, 10, "bfloat16")])
def test_no_copy_of_a_network_is_made(count: int, layers: int, kind: str) -> None:
    """Peak memory rises by no more than twice the largest layer, times K; here by far less."""
    code = f"""
import torch, graft
def status(key):
    for line in open("/proc/self/status"):
        if line.startswith(key): return int(line.split()[1]) * 1024
def make(size):
    return [{{f"w{{i}}": torch.rand(size, 1000).to(torch.{kind}) for i in range({layers})}}
            for _ in range({count})]
graft.graft(make(4), source="mean")       # libraries are loaded, threads are there
networks = make(1000)
largest = networks[0]["w0"].numel() * networks[0]["w0"].element_size()
open("/proc/self/clear_refs", "w").write("5")
before = status("VmHWM")
graft.graft(networks, source="mean", weighting=0.9)
ring = status("VmHWM") - before
graft.graft(networks, dry_run=True)
print(ring, status("VmHWM") - before, largest)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ring, dry, largest = map(int, run.stdout.split())
    assert ring < 2 * largest * count
    assert ring < 2 * largest + (8 << 20), "a graft needs next to nothing"
    assert dry < 2 * largest + (8 << 20)
