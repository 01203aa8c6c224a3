"""Entropy, histogram, norms, coefficient and blend against NumPy, and the published code's
formula against PyTorch."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from ctypes import byref

import numpy as np
import pytest
import torch

import graft
from graft import _structures as s
from graft._arrays import describe
from graft._library import lib

TINIEST = np.float32(1.4e-45)
LARGEST = np.finfo(np.float32).max


def numpy_entropy(w: np.ndarray, bins: int = 10) -> float:
    counts = np.histogram(w.astype(np.float64), bins)[0]
    p = counts[counts > 0] / w.size
    return float(-(p * np.log(p)).sum())


def published_entropy(w: np.ndarray, bins: int) -> float:
    """The authors' definition, restated: float32 throughout, open last bin."""
    x = torch.from_numpy(np.ascontiguousarray(w)).reshape(-1)
    low = x.min()
    width = (x.max() - low) / bins
    total = torch.zeros(())
    for b in range(bins):
        inside = torch.logical_and(x >= low + b * width, x < low + (b + 1) * width)
        p = inside.sum().to(torch.float32) / x.numel()
        if p > 0:
            total = total - p * p.log()
    return float(total)


def spread(rng: np.random.Generator, count: int, bins: int, kind: str) -> np.ndarray:
    """Weights of a kind that tries bins where they are hard to tell apart."""
    w = rng.standard_normal(count).astype(np.float32)
    scale = np.float32(10.0 ** rng.integers(-20, 20))
    if kind == "normal":
        return w * scale
    if kind == "rounded":  # many equal values, many on edges
        return (np.round(w * 8) / 8).astype(np.float32)
    if kind == "on edges":
        low, high = np.sort(rng.standard_normal(2)).astype(np.float32) * scale
        edges = np.linspace(np.float64(low), np.float64(high), bins + 1).astype(np.float32)
        near = np.concatenate([
            edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)])
        near = near[(near >= low) & (near <= high)]
        return np.concatenate([[low, high], rng.choice(near, count)]).astype(np.float32)
    if kind == "narrow":  # a few units in the last place wide
        start = np.float32(rng.uniform(1, 2) * scale)
        steps = rng.integers(0, 9, count)
        return (start.view(np.int32) + steps).astype(np.int32).view(np.float32)
    if kind == "denormal":
        return (rng.integers(-999, 999, count) * np.float64(TINIEST)).astype(np.float32)
    if kind == "widest":
        return (rng.uniform(-1, 1, count) * LARGEST).astype(np.float32)
    if kind == "far outlier":
        w[rng.integers(count)] = np.float32(1e30)
        return w
    raise AssertionError(kind)


KINDS = ["normal", "rounded", "on edges", "narrow", "denormal", "widest", "far outlier"]


@pytest.mark.parametrize("kind", KINDS)
def test_bins_are_numpys(kind: str) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    for _ in range(150):
        bins = int(rng.choice([1, 2, 3, 5, 7, 9, 10, 10, 10, 16, 31, 32, 33, 64, 100, 1000]))
        w = spread(rng, int(rng.integers(1, 6000)), bins, kind)
        expected = np.histogram(w.astype(np.float64), bins)[0]
        np.testing.assert_array_equal(graft.histogram(w, bins), expected, f"{bins} bins")
        assert graft.entropy(w, bins) == pytest.approx(numpy_entropy(w, bins), abs=1e-12)


@pytest.mark.parametrize("bins", [1, 7, 10, 33, 65536])
def test_bins_of_many_weights(bins: int) -> None:
    rng = np.random.default_rng(1)
    w = rng.standard_normal((512, 300, 3, 3)).astype(np.float32)
    expected = np.histogram(w.astype(np.float64), bins)[0]
    for threads in (1, 2, 5):
        np.testing.assert_array_equal(graft.histogram(w, bins, threads=threads), expected)


@pytest.mark.parametrize("bins", [1, 2, 10, 11, 32, 33, 1000])
@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, -3e-45, 3e38, 1e9])
def test_constants_carry_no_information(value: float, bins: int) -> None:
    for count in (1, 5, 40_000):
        w = np.full(count, value, np.float32)
        assert graft.entropy(w, bins) == 0
        assert graft.entropy(w, bins, compatibility=True) == 0
        counts = graft.histogram(w, bins)
        assert counts.sum() == count
        if abs(value) < 1e6:  # NumPy refuses to widen a range that 0.5 does not change
            np.testing.assert_array_equal(counts, np.histogram(w.astype(np.float64), bins)[0])


def test_zeros_of_both_signs_are_one_value() -> None:
    assert graft.entropy(np.array([0.0, -0.0, 0.0], np.float32)) == 0


def test_any_strides() -> None:
    rng = np.random.default_rng(2)
    base = rng.standard_normal((40, 30, 5, 7)).astype(np.float32)
    views = [
        base[::2], base[:, ::3], base[..., ::2], base.transpose(3, 1, 0, 2), base[3, 4],
        base[:, :1], base.transpose(1, 0, 2, 3)[1:, 2:, 1:-1],
        np.lib.stride_tricks.as_strided(base, (4, 4), (0, 8)),
    ]
    for view in views:
        dense = np.ascontiguousarray(view)
        np.testing.assert_array_equal(
            graft.histogram(view), np.histogram(dense.astype(np.float64), 10)[0])
        sums = np.abs(dense.astype(np.float64)).reshape(len(dense), -1).sum(1)
        np.testing.assert_allclose(graft.filter_norms(view), sums, rtol=1e-13)
        other = np.abs(dense.astype(np.float64)).swapaxes(0, 1)
        np.testing.assert_allclose(
            graft.filter_norms(view, filter_axis=1), other.reshape(len(other), -1).sum(1),
            rtol=1e-13)
        np.testing.assert_array_equal(graft.filter_norms(view), graft.filter_norms(dense))


@pytest.mark.parametrize(
    "shape", [(1,), (7,), (4097,), (16, 1), (3, 2049), (5, 16385), (64, 3, 7, 7), (40_000, 9), (),
              (2, 100_003)])
def test_filters_one_by_one(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    w = np.asarray(rng.standard_normal(shape), np.float32)
    filters = w.reshape(shape[0] if shape else 1, -1)
    norms = np.abs(filters.astype(np.float64)).sum(1)
    np.testing.assert_allclose(graft.filter_norms(w), norms, rtol=1e-12)
    some = [*range(min(len(filters), 200))]
    entropies = graft.filter_entropies(w)
    assert entropies.shape == (len(filters),)
    np.testing.assert_allclose(
        entropies[some], [numpy_entropy(filters[f]) for f in some], atol=1e-12)
    threshold = float(np.median(norms))
    np.testing.assert_array_equal(graft.invalid_filters(w, threshold), norms < threshold)


def test_filters_along_the_second_dimension() -> None:
    rng = np.random.default_rng(4)
    w = rng.standard_normal((6, 4, 3, 3)).astype(np.float32)
    expected = [numpy_entropy(w[:, f]) for f in range(4)]
    np.testing.assert_allclose(graft.filter_entropies(w, filter_axis=1), expected, atol=1e-12)
    assert graft.invalid_filters(w, 1e9, filter_axis=1).tolist() == [True] * 4
    many = graft.filter_entropies(w, 1000, filter_axis=1, compatibility=True)
    np.testing.assert_allclose(
        many, [published_entropy(w[:, f], 1000) for f in range(4)], atol=1e-5)


def test_invalid_means_under_the_threshold() -> None:
    w = np.array([[0.0, 0.0], [0.25, 0.25], [0.5, -0.5]], np.float32)
    assert graft.invalid_filters(w, 0.5).tolist() == [True, False, False]
    assert graft.invalid_filters(w, 0).tolist() == [False, False, False]
    assert graft.invalid_filters(w).dtype == bool


def test_norms_of_the_largest_weights_do_not_overflow() -> None:
    w = np.full((2, 5000), LARGEST, np.float32)
    np.testing.assert_allclose(graft.filter_norms(w), [5000 * float(LARGEST)] * 2, rtol=1e-12)
    assert graft.entropy(np.array([-LARGEST, LARGEST], np.float32)) == pytest.approx(np.log(2))


@pytest.mark.parametrize("kind", KINDS)
def test_compatibility_bins_are_the_published_ones(kind: str) -> None:
    rng = np.random.default_rng(10 + KINDS.index(kind))
    for _ in range(40):
        bins = int(rng.choice([1, 2, 7, 10, 10, 32, 33, 100]))
        w = spread(rng, int(rng.integers(1, 3000)), bins, kind)
        expected = published_entropy(w, bins)
        assert graft.entropy(w, bins, compatibility=True) == pytest.approx(expected, abs=1e-5)


def test_compatibility_leaves_the_maximum_out() -> None:
    w = np.array([0, 1, 2, 4, 4, 4, 4, 4], np.float32)
    counts = graft.histogram(w, 4, compatibility=True)
    assert counts.tolist() == [1, 1, 1, 0]
    assert graft.histogram(w, 4).tolist() == [1, 1, 1, 5]


def test_denormals_count_where_the_host_flushes_them() -> None:
    """torch.set_flush_denormal changes the thread's floating-point state, not our results."""
    if not torch.set_flush_denormal(True):
        raise AssertionError("this processor cannot flush denormals, so the test says nothing")
    try:
        # (NumPy would flush them too: whole numbers are laid over them.)
        w = np.arange(10, dtype=np.int32).view(np.float32)
        assert graft.histogram(w).tolist() == [1] * 10
        same = w.copy()
        graft.blend(same, w.copy(), 0.3)
        assert same.view(np.int32).tolist() == list(range(10))
    finally:
        torch.set_flush_denormal(False)


# ---- coefficient and blend -----------------------------------------------------------------------


def test_coefficient() -> None:
    rng = np.random.default_rng(5)
    for _ in range(2000):
        own, other = rng.uniform(0, 3, 2)
        if rng.random() < 0.5:
            other = own + rng.normal() * 10.0 ** rng.integers(-12, 0)
        a, c = rng.uniform(0, 1), 10.0 ** rng.uniform(-3, 6)
        alpha = graft.coefficient(own, other, a, c)
        assert alpha == pytest.approx(a / np.pi * np.arctan(c * (own - other)) + 0.5, abs=1e-7)
        assert alpha + graft.coefficient(other, own, a, c) == 1
        larger = max(alpha, 1 - alpha)
        assert np.float32(larger) == larger and np.float32(1 - larger) == 1 - larger


def test_coefficient_at_its_ends() -> None:
    assert graft.coefficient(1, 1) == 0.5
    assert graft.coefficient(2, 1) == pytest.approx(0.7, abs=1e-3)
    assert graft.coefficient(1e308, -1e308) == np.float32(0.7)
    assert graft.coefficient(1e308, -1e308, c=0) == 0.5
    assert graft.coefficient(5, 1, a=0) == 0.5
    assert graft.coefficient(1e300, 1, a=1) == 1
    assert graft.coefficient(1, 1e300, a=1) == 0


def test_compatibility_coefficient_has_two_decimals() -> None:
    rng = np.random.default_rng(6)
    for _ in range(500):
        own, other = rng.uniform(0, 3) + rng.normal(size=2) * 1e-3
        exact = 0.4 / np.pi * np.arctan(500 * (own - other)) + 0.5
        alpha = graft.coefficient(own, other, compatibility=True)
        assert alpha == pytest.approx(round(exact, 2), abs=1e-7)


def test_blend() -> None:
    rng = np.random.default_rng(7)
    for shape in [(1,), (5, 3), (64, 33, 3, 3), (200_001,), ()]:
        a = np.asarray(rng.standard_normal(shape), np.float32)
        b = np.asarray(rng.standard_normal(shape), np.float32)
        for alpha in (0.0, 0.3, 0.5, 0.7000001, 1.0):
            mine, other = a.copy(), b.copy()
            graft.blend(mine, other, alpha)
            share = float(np.float32(alpha)) if alpha >= 0.5 else 1 - float(np.float32(1 - alpha))
            exact = share * a.astype(np.float64) + (1 - share) * b.astype(np.float64)
            np.testing.assert_array_equal(mine, exact.astype(np.float32))
            np.testing.assert_array_equal(other, b)


def test_blend_of_equals_changes_no_bit() -> None:
    bits = np.random.default_rng(8).integers(0, 2**32, 300_000, dtype=np.uint32)
    w = bits.view(np.float32)
    w = w[np.isfinite(w)]
    w[:3] = [-0.0, TINIEST, -TINIEST]
    for alpha in (0.0, 0.1, 0.3, 1 / 3, 0.5, 0.61803, 1.0):
        mine = w.copy()
        graft.blend(mine, w.copy(), alpha)
        np.testing.assert_array_equal(mine.view(np.uint32), w.view(np.uint32))
    graft.blend(mine, mine, 0.3)
    np.testing.assert_array_equal(mine.view(np.uint32), w.view(np.uint32))


def test_blend_at_the_ends_keeps_signs_of_zero() -> None:
    a, b = np.array([-0.0], np.float32), np.array([7.0], np.float32)
    graft.blend(a, b, 1.0)
    assert np.signbit(a[0])
    graft.blend(b, a, 0.0)
    assert b[0] == 0 and np.signbit(b[0])


def test_blend_of_strided_arrays() -> None:
    rng = np.random.default_rng(9)
    base = rng.standard_normal((30, 40, 6)).astype(np.float32)
    before = base.copy()
    other = rng.standard_normal((6, 20, 30)).astype(np.float32)
    graft.blend(base[:, ::2], other.T, 0.25)
    exact = 0.25 * before[:, ::2].astype(np.float64) + 0.75 * other.T.astype(np.float64)
    np.testing.assert_array_equal(base[:, ::2], exact.astype(np.float32))
    np.testing.assert_array_equal(base[:, 1::2], before[:, 1::2])


def test_blend_refuses_shared_memory() -> None:
    base = np.arange(10, dtype=np.float32)
    with pytest.raises(graft.InvalidArgumentError, match="share"):
        graft.blend(base[1:], base[:-1], 0.5)
    np.testing.assert_array_equal(base, np.arange(10))
    graft.blend(base[::2], base[1::2], 0.5)  # interleaved, with nothing in common
    np.testing.assert_array_equal(base[::2], np.arange(0, 10, 2) + 0.5)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 1, 17, 2047, 2048, 16383, 16384, 39_999])
def test_weights_that_are_not_finite_are_named(bad: float, position: int) -> None:
    w = np.ones((100, 400), np.float32)
    w.flat[position] = bad
    where = rf"\[{position // 400}, {position % 400}\]"
    for call in (graft.entropy, graft.filter_entropies, graft.histogram, graft.filter_norms,
                 graft.invalid_filters):
        with pytest.raises(graft.NotFiniteError, match=where):
            call(w)
    good = np.ones_like(w)
    for pair in ((w, good), (good, w)):
        with pytest.raises(graft.NotFiniteError, match=where):
            graft.blend(*pair, 0.5)
    assert (good == 1).all()


def test_bad_arguments_are_named() -> None:
    w = np.ones((3, 4), np.float32)
    for call, error, text in [
        (lambda: graft.entropy(w, 0), graft.InvalidArgumentError, "bins is 0"),
        (lambda: graft.entropy(w, 65537), graft.InvalidArgumentError, "bins is 65537"),
        (lambda: graft.entropy(w, 2**70), graft.InvalidArgumentError, "bins"),
        (lambda: graft.entropy(w, 2.5), graft.InvalidArgumentError, "bins"),
        (lambda: graft.histogram(w, -1), graft.InvalidArgumentError, "bins is -1"),
        (lambda: graft.entropy(w, threads=-1), graft.InvalidArgumentError, "threads is -1"),
        (lambda: graft.entropy(w, threads=257), graft.InvalidArgumentError, "threads is 257"),
        (lambda: graft.entropy(w[:0]), graft.InvalidArgumentError, "empty"),
        (lambda: graft.filter_norms(w[:, :0]), graft.InvalidArgumentError, "empty"),
        (lambda: graft.entropy(w.astype(np.int64)), graft.UnsupportedError, "int64"),
        (lambda: graft.filter_norms(w, filter_axis=2), graft.InvalidArgumentError, "filter_axis"),
        (lambda: graft.filter_norms(w[0], filter_axis=1), graft.InvalidArgumentError,
         "filter_axis"),
        (lambda: graft.invalid_filters(w, -1), graft.InvalidArgumentError, "threshold is -1"),
        (lambda: graft.invalid_filters(w, np.nan), graft.InvalidArgumentError, "threshold"),
        (lambda: graft.coefficient(np.nan, 1), graft.InvalidArgumentError, "h_self"),
        (lambda: graft.coefficient(1, np.inf), graft.InvalidArgumentError, "h_other"),
        (lambda: graft.coefficient(1, 1, a=1.1), graft.InvalidArgumentError, "a is 1.1"),
        (lambda: graft.coefficient(1, 1, c=-1), graft.InvalidArgumentError, "c is -1"),
        (lambda: graft.blend(w, w[:2], 0.5), graft.ShapeMismatchError, r"\[2, 4\]"),
        (lambda: graft.blend(w, w.copy(), 1.5), graft.InvalidArgumentError, "alpha is 1.5"),
        (lambda: graft.blend(np.broadcast_to(w[0], (3, 4)), w, 0.5), graft.InvalidArgumentError,
         "read-only"),
    ]:
        with pytest.raises(error, match=text):
            call()
    assert (w == 1).all()


def test_null_and_wrong_counts_through_the_c_interface() -> None:
    w = describe(np.ones((3, 4), np.float32), "w")
    value, values = ctypes.c_double(-7), (ctypes.c_double * 3)(-7, -7, -7)
    options = s.InformationOptions()
    options.struct_size = 0
    invalid, mismatch = 1, 2
    assert lib.graft_entropy(None, None, byref(value)) == invalid
    assert lib.graft_entropy(w.pointer, None, None) == invalid
    assert lib.graft_entropy(w.pointer, byref(options), byref(value)) == invalid
    assert b"struct_size" in lib.graft_last_error()
    assert lib.graft_filter_norms(w.pointer, None, values, 2) == mismatch
    assert b"number of filters, 3" in lib.graft_last_error()
    assert lib.graft_filter_entropies(w.pointer, None, values, 2**64 - 1) == mismatch
    assert lib.graft_histogram(w.pointer, None, (ctypes.c_int64 * 3)(), 3) == mismatch
    assert lib.graft_invalid_filters(w.pointer, 0.1, None, None, 3) == invalid
    assert lib.graft_coefficient(1, 1, 0.4, 500, 2, byref(value)) == invalid
    assert lib.graft_coefficient(1, 1, 0.4, 500, 0, None) == invalid
    assert lib.graft_blend(w.pointer, None, 0.5, 0) == invalid
    assert value.value == -7 and list(values) == [-7, -7, -7]
    lib.graft_information_options_init(None, 8)


def test_overlapping_writes_are_refused() -> None:
    """Through the C interface: NumPy itself marks such views read-only or warns."""
    base = np.zeros(4, np.float32)
    shape, strides = (ctypes.c_int64 * 2)(3, 4), (ctypes.c_int64 * 2)(0, 1)
    mine = describe(np.zeros((3, 4), np.float32), "mine")
    mine.tensor.data, mine.tensor.shape, mine.tensor.strides = base.ctypes.data, shape, strides
    other = describe(np.ones((3, 4), np.float32), "other")
    assert lib.graft_blend(mine.pointer, other.pointer, 0.5, 0) == 1
    assert (base == 0).all()


# ---- the same bits everywhere --------------------------------------------------------------------

SCRIPT = """
import hashlib, sys
import numpy as np, graft
rng = np.random.default_rng(0)
digest = hashlib.sha256()
for shape in [(1,), (9,), (64, 3, 7, 7), (300, 1111), (3, 70000), (5, 4, 3)]:
    nets = [{"w": rng.standard_normal(shape).astype("f4")} for _ in range(3)]
    for bins in (10, 33):
        digest.update(np.float64(graft.entropy(nets[0]["w"], bins)).tobytes())
        digest.update(graft.filter_entropies(nets[0]["w"], bins).tobytes())
    digest.update(graft.filter_norms(nets[1]["w"]).tobytes())
    digest.update(repr(graft.graft(nets, threads=int(sys.argv[1])).to_dict()).encode())
    for net in nets:
        digest.update(net["w"].tobytes())
print(graft.instructions(), digest.hexdigest())
"""


def test_instruction_sets_and_threads_give_the_same_bits() -> None:
    seen = {}
    for level in ("baseline", "avx2", "avx512"):
        for threads in ("1", "2", "7"):
            environment = {
                **os.environ, "GRAFT_INSTRUCTIONS": level,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            result = subprocess.run(
                [sys.executable, "-c", SCRIPT, threads], env=environment, check=True,
                capture_output=True, text=True).stdout.split()
            seen[level, threads] = result[1]
            if level == "baseline":
                assert result[0] == level
    assert len(set(seen.values())) == 1, seen
