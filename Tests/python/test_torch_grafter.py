"""`graft.torch.Grafter` against the published formula in NumPy, over every kind of module."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import graft
import graft.torch
from graft.torch._operator._measure import measure
from test_information import KINDS, numpy_entropy, published_entropy, spread
from torch_reference import (
    SAMPLES, Graph, Residual, Tied, Tokens, arrays, assert_same, by_module, image, numpy_graft,
    randomise, share)

BACKENDS = ["library", "torch"]


def networks(make, count: int) -> list[nn.Module]:
    return [randomise(make(), seed) for seed in range(count)]


def grafter_of(modules: list[nn.Module], **settings: object) -> graft.torch.Grafter:
    return graft.torch.Grafter(modules, **settings)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SAMPLES)
def test_every_kind_of_module(name: str, backend: str) -> None:
    sample = SAMPLES[name]
    modules = networks(sample.make, 3)
    leaders = by_module(modules[0], sample.leaders)
    expected = numpy_graft([arrays(module) for module in modules], leaders)
    report = grafter_of(modules, example_inputs=sample.inputs, backend=backend).step()
    assert_same(modules, expected)
    tied = graft.torch.plan(modules[0], sample.inputs).tied
    assert [layer.name for layer in report] == [
        name for name in arrays(modules[0]) if leaders[name] == name and name not in tied]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [1, 2, 5, 64])
@pytest.mark.parametrize("settings", [{}, {"a": 0.0}, {"a": 1.0, "c": 3.0}])
def test_number_of_networks(count: int, settings: dict[str, float], backend: str) -> None:
    modules = networks(Residual, count)
    leaders = by_module(modules[0], SAMPLES["pre-activation"].leaders)
    expected = numpy_graft([arrays(module) for module in modules], leaders, **settings)
    grafter_of(modules, backend=backend, **settings).step()
    assert_same(modules, expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_come_out_equal_and_equal_ones_unchanged(backend: str) -> None:
    modules = networks(Tokens, 2)
    grafter_of(modules, backend=backend).step()
    assert_same(modules[:1], [arrays(modules[1])])
    before = arrays(modules[0])
    trio = [modules[0], copy.deepcopy(modules[0]), copy.deepcopy(modules[0])]
    grafter_of(trio, backend=backend).step()
    assert_same(trio, [before] * 3)


@pytest.mark.parametrize("settings", [
    {}, {"bins": 3}, {"bins": 300}, {"a": 1.0, "c": 1.0}, {"weighting": 0.3}, {"weighting": 0},
    {"compatibility": True}, {"compatibility": True, "bins": 64}, {"threshold": 3.0},
    {"source": "mean"}, {"source": "others", "weighting": 0.9}, {"source": [2, 2, 0]},
    {"source": "exponential"}, {"weighting": "l1", "c": 0.01},
    {"weighting": "filter_entropy", "c": 2.0}, {"weighting": "constant", "constant": 0.8},
    {"weighting": "filter_entropy", "compatibility": True, "source": "others"}])
@pytest.mark.parametrize("dry_run", [False, True])
def test_backends_agree(settings: dict[str, object], dry_run: bool) -> None:
    ours = networks(Residual, 3)
    for module in ours:  # far outliers, equal values, dead filters
        with torch.no_grad():
            module.conv1.weight[2:5] *= 1e-6
            module.conv2.weight.mul_(4).round_()
            module.stem.weight[0, 0, 0, 0] = 1e20
            module.shortcut.weight.fill_(0.7)
    theirs = copy.deepcopy(ours)
    reports = []
    for modules, backend in ((ours, "library"), (theirs, "torch")):
        grafter = grafter_of(modules, backend=backend, **settings)
        reports.append(grafter.dry_run() if dry_run else grafter.step())
    assert_same(ours, [arrays(module) for module in theirs])
    for mine, other in zip(*reports, strict=True):
        assert (mine.name, mine.tensor, mine.filters) == (other.name, other.tensor, other.filters)
        for x, y in zip(mine.networks, other.networks, strict=True):
            assert (x.source, x.alpha, x.entropy_before, x.entropy_after) == \
                (y.source, y.alpha, y.entropy_before, y.entropy_after)
            assert (x.invalid_before, x.invalid_after) == (y.invalid_before, y.invalid_after)
            np.testing.assert_allclose(x.norm_before, y.norm_before, rtol=1e-12)
            np.testing.assert_allclose(x.norm_after, y.norm_after, rtol=1e-12)


def test_report_of_torch_is_numpys() -> None:
    modules = networks(Residual, 2)
    before = [arrays(module) for module in modules]
    report = grafter_of(modules, backend="torch", threshold=20.0).step()
    for layer in report:
        for k, network in enumerate(layer.networks):
            w = before[k][layer.name].astype(float)
            norms = np.abs(w).reshape(len(w), -1).sum(1)
            assert network.source == 1 - k and layer.filters == len(w)
            assert network.entropy_before == pytest.approx(numpy_entropy(w), abs=1e-12)
            assert network.alpha == pytest.approx(share(
                numpy_entropy(w), numpy_entropy(before[1 - k][layer.name]), 0.4, 500), abs=1e-7)
            assert network.invalid_before == (norms < 20).sum()
            assert network.norm_before == pytest.approx(norms.mean(), rel=1e-12)
            after = arrays(modules[k])[layer.name]
            assert network.entropy_after == pytest.approx(numpy_entropy(after), abs=1e-12)


def test_compatibility_of_torch_is_the_published_codes() -> None:
    modules = networks(lambda: nn.Conv2d(3, 9, 3), 2)
    entropies = [published_entropy(module.weight.detach().numpy(), 10) for module in modules]
    report = grafter_of(modules, backend="torch", compatibility=True).dry_run()
    for k, network in enumerate(report[0].networks):
        assert network.entropy_before == pytest.approx(entropies[k], abs=1e-6)
        assert network.alpha == pytest.approx(round(
            0.4 / np.pi * np.arctan(500 * (entropies[k] - entropies[1 - k])) + 0.5, 2), abs=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_torch_measures_as_the_library_to_the_bit(kind: str) -> None:
    rng = np.random.default_rng(KINDS.index(kind))
    for round_ in range(20):
        bins = int(rng.integers(1, 120))
        w = torch.from_numpy(spread(rng, int(rng.integers(2, 3000)), bins, kind))
        for compatibility in (False, True):
            ours, theirs = (
                measure(w, 0, bins, 0.1, compatibility, library) for library in (True, False))
            assert ours.entropy == theirs.entropy, (round_, bins)
            assert (ours.filters, ours.invalid) == (theirs.filters, theirs.invalid)
            assert ours.norm == pytest.approx(theirs.norm, rel=1e-12)
        pairs = [[nn.Module(), nn.Module()] for _ in range(2)]
        for pair in pairs:
            for module, values in zip(pair, (w, w.flip(0) * 0.999)):
                module.w = nn.Parameter(values.clone().reshape(1, -1))
        for pair, backend in zip(pairs, BACKENDS):
            plan = graft.torch.plan(pair[0])
            plan.set("w", "layer", filter_axis=1)
            grafter_of(pair, plan=plan, backend=backend, bins=bins).step()
        assert_same(pairs[0], [arrays(module) for module in pairs[1]])


# ---- types and memory ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count", [2, 3])
def test_other_types(dtype: torch.dtype, count: int) -> None:
    """Rounded once from the exact sum, as a fraction of integers says."""
    modules = [module.to(dtype) for module in networks(Residual, count)]
    before = [{n: t.double() for n, t in m.state_dict().items()} for m in copy.deepcopy(modules)]
    leaders = by_module(randomise(Residual(), 0), SAMPLES["pre-activation"].leaders)
    report = grafter_of(modules).step()
    alphas = {layer.name: [one.alpha for one in layer.networks] for layer in report}
    for layer in report:
        for k, one in enumerate(layer.networks):
            assert one.entropy_before == pytest.approx(
                numpy_entropy(before[k][layer.name].numpy()), abs=1e-12)
    for k, module in enumerate(modules):
        for name, tensor in module.state_dict().items():
            if leaders[name] == "leave":
                continue
            alpha = alphas[leaders[name]][k]
            exact = before[k][name] * alpha + before[k - 1][name] * (1 - alpha)
            error = (tensor.double() - exact).abs()
            unit = torch.finfo(dtype).eps * exact.abs().clamp(min=torch.finfo(dtype).tiny)
            assert bool((error <= unit * (0.5 + 1e-9 if dtype != torch.float64 else 1)).all()), name
    if count == 2:
        for one, other in zip(modules[0].parameters(), modules[1].parameters()):
            assert torch.equal(one, other)
        kept = copy.deepcopy(modules[0].state_dict())
        grafter_of(modules).step()
        for name, tensor in modules[0].state_dict().items():
            assert torch.equal(tensor, kept[name])


def test_mixed_types_and_views() -> None:
    """A network partly in half precision; weights that are views, channels last, transposed."""
    def make(seed: int) -> nn.Module:
        module = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(24, 5),
            nn.Linear(5, 4).to(torch.bfloat16))
        randomise(module, seed)
        module[0].to(memory_format=torch.channels_last)
        stack = torch.zeros(24, 7)
        stack[:, :5] = module[3].weight.detach().t()
        module[3].weight = nn.Parameter(stack[:, :5].t())
        assert not module[0].weight.is_contiguous() and not module[3].weight.is_contiguous()
        return module

    modules, plain = [make(seed) for seed in range(3)], [make(seed) for seed in range(3)]
    for module in plain:
        module[0].to(memory_format=torch.contiguous_format)
        module[3].weight = nn.Parameter(module[3].weight.detach().contiguous())
    places = [p.data_ptr() for module in modules for p in module.parameters()]
    grafter_of(modules).step()
    grafter_of(plain, backend="torch").step()
    for mine, theirs in zip(modules, plain):
        for one, other in zip(mine.state_dict().values(), theirs.state_dict().values()):
            assert torch.equal(one, other)
    assert [p.data_ptr() for module in modules for p in module.parameters()] == places


@pytest.mark.parametrize("backend", ["library", "torch"])
@pytest.mark.parametrize("dtype, apart", [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_a_slow_pull_that_rounds_to_nothing_says_so(
    dtype: torch.dtype, apart: float, backend: str
) -> None:
    """A half type cannot hold a hundredth of the distance between weights that are near each
    other."""
    first = nn.Linear(64, 64, bias=False)
    pair = [copy.deepcopy(first), copy.deepcopy(first)]
    with torch.no_grad():
        pair[1].weight.mul_(1 + apart)
    for module in pair:
        module.to(dtype)
    with pytest.warns(RuntimeWarning, match="did not move"):
        grafter_of(pair, weighting=0.99, backend=backend).step()
    assert float((pair[0].weight == first.weight.to(dtype)).float().mean()) > 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grafter_of(pair, backend=backend).step()
        grafter_of(pair, weighting=0.99, backend=backend).step()  # equal by now


@pytest.mark.parametrize("backend", ["library", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_slow_pulls_reach_the_mean_or_say_that_they_cannot(
    dtype: torch.dtype, backend: str
) -> None:
    modules = [randomise(nn.Linear(32, 32, bias=False), seed).to(dtype) for seed in range(3)]
    mean = torch.stack([module.weight.detach().double() for module in modules]).mean(0)
    distance = [float((module.weight.detach() - mean).abs().mean()) for module in modules]
    grafter = grafter_of(modules, source="mean", weighting=0.9, backend=backend)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(60):
            grafter.step()
    left = [float((module.weight.detach() - mean).abs().mean()) for module in modules]
    reached = all(now < 0.9**60 * before * 1.1 for now, before in zip(left, distance))
    assert reached == (dtype == torch.float32)
    assert reached != any("did not move" in str(one.message) for one in caught)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("settings", [
    {}, {"source": "mean", "weighting": 0.99}, {"weighting": "l1", "c": 0.01}, {"bins": 100}])
@pytest.mark.filterwarnings("ignore:.*did not move")
def test_backends_agree_on_other_types(dtype: torch.dtype, settings: dict[str, object]) -> None:
    ours = [module.to(dtype) for module in networks(Residual, 3)]
    theirs = copy.deepcopy(ours)
    reports = [
        grafter_of(modules, backend=backend, **settings).step()
        for modules, backend in ((ours, "library"), (theirs, "torch"))]
    for mine, other in zip(ours, theirs):
        for name, tensor in mine.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name
    for mine, other in zip(*reports, strict=True):
        for x, y in zip(mine.networks, other.networks, strict=True):
            assert (x.alpha, x.entropy_before, x.entropy_after, x.unmoved) == \
                (y.alpha, y.entropy_before, y.entropy_after, y.unmoved)
    unmoved = sum(one.unmoved for layer in reports[0] for one in layer.networks)
    if dtype == torch.float64:
        assert unmoved == 0
    elif "source" in settings:
        assert unmoved > 10


def test_torch_takes_no_weights_through_host_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What leaves the device are counts, ranges and norms: at most a number a filter or bin."""
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            if func.__name__ in (
                "cpu", "numpy", "tolist", "item", "__array__", "__float__", "__int__", "__bool__",
                "__index__", "untyped_storage", "data_ptr",
            ) and isinstance(args[0], torch.Tensor):
                largest = max(largest, args[0].numel() if func.__name__ != "data_ptr" else 0)
            return func(*args, **(kwargs or {}))

    modules = networks(lambda: nn.Conv2d(20, 30, 3), 3)
    grafter = grafter_of(modules, backend="torch")
    monkeypatch.setattr("graft._method.graft", lambda *_, **__: pytest.fail("the library"))
    monkeypatch.setattr("graft._method.entropy", lambda *_, **__: pytest.fail("the library"))
    with Watch():
        grafter.step()
    assert 10 <= largest <= 30


def test_memory_beside_the_networks() -> None:
    """At most twice the largest layer times K, whatever computes."""
    code = """
import resource, sys, torch
import graft.torch
torch.set_num_threads(1)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
layers = lambda: torch.nn.Sequential(*[torch.nn.Linear(2048, 2048, bias=False) for _ in range(6)])
small = [torch.nn.Linear(8, 8) for _ in range(2)]
big = [layers(), layers()]
for one in big:
    for p in one.parameters(): p.data += 0.0
for backend in sys.argv[1:]:
    graft.torch.Grafter(small, backend=backend).step()
    grafter = graft.torch.Grafter(big, backend=backend)
    before = peak()
    grafter.step()
    print(peak() - before)
"""
    output = subprocess.run(
        [sys.executable, "-c", code, *BACKENDS], check=True, env=environment(),
        capture_output=True, text=True).stdout
    for backend, used in zip(BACKENDS, output.split(), strict=True):
        assert int(used) <= 2 * 2 * 2048 * 2048 * 4, backend


def test_in_place_without_a_copy() -> None:
    modules = networks(Residual, 2)
    places = [tensor.data_ptr() for module in modules for tensor in module.state_dict().values()]
    before = [arrays(module) for module in modules]
    grafter_of(modules).step()
    assert places == [t.data_ptr() for module in modules for t in module.state_dict().values()]
    assert not np.array_equal(arrays(modules[0])["stem.weight"], before[0]["stem.weight"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_autograd_notices(backend: str) -> None:
    """As after an optimiser's step: a graph from before is refused, one from after is right."""
    modules = networks(Residual, 2)
    grafter = grafter_of(modules, backend=backend)
    loss = modules[0](image()).square().sum()
    versions = [p._version for p in modules[0].parameters()]
    grafter.step()
    assert all(p._version > v for p, v in zip(modules[0].parameters(), versions))
    assert all(p.requires_grad and p.is_leaf and p.grad is None for p in modules[0].parameters())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    modules[0](image()).square().sum().backward()
    clean = Residual()
    clean.load_state_dict(modules[0].state_dict())
    clean(image()).square().sum().backward()
    for mine, theirs in zip(modules[0].parameters(), clean.parameters()):
        torch.testing.assert_close(mine.grad, theirs.grad)


# ---- when ----------------------------------------------------------------------------------------


def test_when() -> None:
    modules = networks(lambda: nn.Linear(4, 3), 3)
    grafter = grafter_of(modules, start=2, every=3, stop=8)
    assert [grafter.step() is not None for _ in range(12)] == [
        i in (2, 5, 8) for i in range(1, 13)]
    assert grafter.steps == 12


def test_state_dict() -> None:
    first, second = networks(Residual, 3), networks(Residual, 3)
    grafter = grafter_of(first, every=2, start=2)
    for _ in range(3):
        grafter.step()
    for one, other in zip(first, second):
        other.load_state_dict(one.state_dict())
    resumed = grafter_of(second, every=2, start=2)
    resumed.load_state_dict(grafter.state_dict())
    assert resumed.step() is not None and grafter.step() is not None
    assert resumed.state_dict() == grafter.state_dict()
    assert_same(first, [arrays(module) for module in second])
    for bad in ({}, {"version": 2}, {"version": 1, "steps": -1, "grafts": 0},
                {"version": 1, "steps": "x", "grafts": 0}):
        with pytest.raises(graft.InvalidArgumentError):
            resumed.load_state_dict(bad)
    assert resumed.steps == 4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("source, expected", [
    ("mean", [[1 / 3] * 3] * 3), ("others", [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    ([1, 2, 0], [[0, 1, 0], [0, 0, 1], [1, 0, 0]])])
def test_other_sources(source: object, expected: list[list[float]], backend: str) -> None:
    modules = networks(lambda: nn.Linear(4, 3), 3)
    before = [module.weight.detach().double().clone() for module in modules]
    grafter_of(modules, source=source, weighting=0.25, backend=backend).step()
    for module, own, weights in zip(modules, before, expected):
        mixed = 0.25 * own + 0.75 * sum(w * b for w, b in zip(weights, before))
        torch.testing.assert_close(module.weight.double(), mixed, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_exponential_source(backend: str) -> None:
    modules = networks(lambda: nn.Linear(3, 2), 5)
    grafter = grafter_of(modules, source="exponential", weighting=0, backend=backend)
    order = list(range(5))
    first = [module.weight.detach().clone() for module in modules]
    for distance in (1, 2, 4, 1):
        order = [order[(k - distance) % 5] for k in range(5)]
        grafter.step()
        for module, k in zip(modules, order):
            assert torch.equal(module.weight, first[k])


@pytest.mark.parametrize("source", ["internal", "noise"])
def test_scions_from_within_are_the_librarys(source: str) -> None:
    modules, plain = networks(Residual, 2), networks(Residual, 2)
    for module in (*modules, *plain):
        with torch.no_grad():
            module.conv1.weight[:3] *= 1e-6
    before = [arrays(module) for module in modules]
    with pytest.raises(graft.InvalidArgumentError, match=f"source is '{source}'"):
        grafter_of(modules, source=source, backend="torch").step()
    assert_same(modules, before)
    grafter = grafter_of(modules, source=source, seed=3)
    grafter.step()
    graft.graft([module.state_dict() for module in plain], grafter.plan, source=source, seed=3)
    assert_same(modules, [arrays(module) for module in plain])
    revived = arrays(modules[0])["conv1.weight"]
    assert not np.array_equal(revived[:3], before[0]["conv1.weight"][:3])
    assert np.array_equal(revived[3:], before[0]["conv1.weight"][3:])


# ---- plans ---------------------------------------------------------------------------------------


def test_an_edited_plan() -> None:
    modules = networks(Residual, 2)
    before = [arrays(module) for module in modules]
    plan = graft.torch.plan(modules[0])
    plan.set("fc.weight", "layer")
    plan.set("fc.bias", "follows", "fc.weight")
    plan.set("bn1.weight", "half")
    plan.set("shortcut.bias", "leave")
    leaders = by_module(modules[0], {
        **SAMPLES["pre-activation"].leaders, "fc": "layer", "bn1.weight": "half",
        "shortcut.bias": "leave"})
    grafter = grafter_of(modules, plan=plan)
    assert grafter.plan is plan
    grafter.step()
    assert_same(modules, numpy_graft(before, leaders))
    with pytest.raises(graft.InvalidArgumentError, match="include"):
        grafter_of(modules, plan=plan, include="fc")
    with pytest.raises(graft.ShapeMismatchError, match="lacks 'token'"):
        grafter_of(modules, plan=graft.torch.plan(Tokens()))
    grafter.plan = graft.torch.plan(modules[0], exclude=nn.Conv2d)
    with pytest.raises(graft.InvalidArgumentError, match="plan is 'str'"):
        grafter.plan = "fx"


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_left_alone_stays(backend: str) -> None:
    def make() -> nn.Module:
        module = Residual()
        module.stem.requires_grad_(False)
        module.register_buffer("note", torch.ones(3, dtype=torch.complex64))
        module.register_buffer("mask", torch.ones(3, dtype=torch.bool))
        return module

    modules = networks(make, 2)
    modules[1].bn1.num_batches_tracked += 5
    with torch.no_grad():
        modules[1].conv2.weight[0] = torch.nan
        modules[1].note += 1
    before = [arrays(module) for module in modules]
    grafter_of(modules, exclude="conv2", backend=backend).step()
    for module, old in zip(modules, before):
        new = arrays(module)
        same = {name for name in new if new[name].tobytes() == old[name].tobytes()}
        left = [name for name in new if name.startswith(("stem", "conv2", "bn3", "note", "mask"))]
        assert same == {*left, *(name for name in new if "tracked" in name)}


def test_zeros_are_kept_on_request() -> None:
    def masked(seed: int) -> nn.Module:
        module = randomise(Residual(), seed)
        with torch.no_grad():
            module.conv1.weight[:: seed + 2] = 0
            module.fc.weight.view(-1, 2)[:, seed % 2] = 0
        return module

    for keep in (False, True):
        modules = [masked(seed) for seed in range(2)]
        masks = [(m.conv1.weight == 0, m.fc.weight == 0) for m in modules]
        grafter_of(modules, keep_zeros=keep).step()
        for module, (conv, fc) in zip(modules, masks):
            assert bool((module.conv1.weight[conv] == 0).all()) == keep
            assert bool((module.fc.weight[fc] == 0).all()) == keep
            assert bool((module.conv1.weight[~conv] != 0).all())


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_of_four_stay_zero_on_request(backend: str) -> None:
    """2:4 sparsity, whose masks differ by network: kept, or grown full again."""
    def sparse(seed: int) -> nn.Module:
        module = randomise(nn.Sequential(nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(32, 16)), seed)
        with torch.no_grad():
            for layer in (module[0], module[2]):
                fours = layer.weight.view(-1, 4)
                fours.scatter_(1, fours.abs().topk(2, largest=False).indices, 0)
        return module

    for keep in (True, False):
        modules = [sparse(seed) for seed in range(3)]
        before = [[m[0].weight.clone(), m[2].weight.clone()] for m in modules]
        grafter_of(modules, keep_zeros=keep, backend=backend).step()
        for module, old in zip(modules, before):
            for layer, was in zip((module[0], module[2]), old):
                zeros = (layer.weight.view(-1, 4) == 0).sum(1)
                assert bool((zeros == 2).all()) == keep
                assert torch.equal(layer.weight == 0, was == 0) == keep
                assert bool((layer.weight != was)[was != 0].any())


# ---- wrappers, AMP, optimisers -------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_compiled_and_wrapped() -> None:
    inner, plain = networks(Residual, 3), networks(Residual, 3)
    wrapped = [torch.compile(inner[0], backend="eager"), nn.DataParallel(inner[1]), inner[2]]
    for module in wrapped:
        module(image())
    for module in plain:
        module(image())
    grafter_of(wrapped).step()
    grafter_of(plain).step()
    assert_same(inner, [arrays(module) for module in plain])
    for mine, theirs in zip(wrapped, plain):  # a compiled module sees the new weights
        assert torch.equal(mine.eval()(image()), theirs.eval()(image()))


def test_under_autocast() -> None:
    modules = networks(Residual, 2)
    grafter = grafter_of(modules)
    optimizers = [torch.optim.SGD(m.parameters(), 1e-4, momentum=0.9) for m in modules]
    with torch.autocast("cpu", torch.bfloat16):
        for module, optimizer in zip(modules, optimizers):
            loss = F.cross_entropy(module(image()), torch.tensor([0, 1]))
            loss.backward()
            optimizer.step()
        before = [arrays(module) for module in modules]
        grafter.step()
    leaders = by_module(modules[0], SAMPLES["pre-activation"].leaders)
    assert_same(modules, numpy_graft(before, leaders))


def trained(kind: str) -> tuple[list[nn.Module], list[torch.optim.Optimizer]]:
    modules = networks(Residual, 3)
    make = {
        "sgd": lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9),
        "adam": lambda p: torch.optim.AdamW(p, 1e-3)}[kind]
    optimizers = [make(module.parameters()) for module in modules]
    for k, (module, optimizer) in enumerate(zip(modules, optimizers)):
        for _ in range(2):
            optimizer.zero_grad()
            module(image() * (k + 1)).square().sum().backward()
            optimizer.step()
    return modules, optimizers


@pytest.mark.parametrize("kind, names", [
    ("sgd", ["momentum_buffer"]), ("adam", ["exp_avg", "exp_avg_sq"])])
@pytest.mark.parametrize("together", [False, True])
def test_momentum(kind: str, names: list[str], together: bool) -> None:
    for treatment in ("keep", "reset", "graft"):
        modules, optimizers = trained(kind)
        given: object = optimizers
        if together:
            merged = type(optimizers[0])(
                [p for m in modules for p in m.parameters()], 1e-3)
            for optimizer in optimizers:
                merged.state.update(optimizer.state)
            given, optimizers = merged, [merged] * 3
        before = [
            {n: {b: optimizer.state[p][b].clone() for b in names}
             for n, p in module.named_parameters()}
            for module, optimizer in zip(modules, optimizers)]
        report = grafter_of(modules, optimizers=given, momentum=treatment).step()
        alphas = {layer.name: [one.alpha for one in layer.networks] for layer in report}
        leaders = by_module(modules[0], SAMPLES["pre-activation"].leaders)
        for k, (module, optimizer) in enumerate(zip(modules, optimizers)):
            for name, parameter in module.named_parameters():
                if treatment == "reset":
                    assert parameter not in optimizer.state
                    continue
                for buffer in names:
                    own, other = before[k][name][buffer], before[k - 1][name][buffer]
                    alpha = alphas[leaders[name]][k]
                    if treatment == "graft":
                        own = (alpha * own.double() + (1 - alpha) * other.double()).float()
                    assert torch.equal(optimizer.state[parameter][buffer], own)
        for module, optimizer in zip(modules, optimizers):
            module(image()).sum().backward()
            optimizer.step()


def test_momentum_that_cannot_be_grafted() -> None:
    modules, optimizers = trained("sgd")
    del optimizers[1].state[modules[1].conv1.weight]
    grafter = grafter_of(modules, optimizers=optimizers, momentum="graft")
    before = [arrays(module) for module in modules]
    with pytest.raises(graft.InvalidStateError, match=r"models\[1\].*conv1.weight"):
        grafter.step()
    assert_same(modules, before)
    assert grafter.steps == 0
    for arguments, text in [
        ({"momentum": "drop"}, "momentum is 'drop'"), ({"momentum": "reset"}, "no optimizers"),
        ({"optimizers": [3]}, "optimizers holds 'int'")]:
        with pytest.raises(graft.InvalidArgumentError, match=text):
            grafter_of(modules, **arguments)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_nothing_changes_on_an_error(backend: str) -> None:
    for spoil in ("nan", "inf", "shape", "dtype", "tied", "shared"):
        modules = networks(Tied, 3)
        grafter = grafter_of(modules, backend=backend)
        with torch.no_grad():
            if spoil in ("nan", "inf"):
                modules[2].out.bias[3] = float(spoil)
            elif spoil == "shape":
                modules[2].out.bias = nn.Parameter(torch.zeros(8))
            elif spoil == "dtype":
                modules[2].out.bias = nn.Parameter(torch.zeros(9, dtype=torch.float64))
            elif spoil == "tied":
                modules[2].out.weight = nn.Parameter(torch.zeros(9, 6))
            else:
                modules[2].norm = modules[0].norm
        before = [arrays(module) for module in modules]
        with pytest.raises(graft.GraftError, match="out|norm") as raised:
            grafter.step()
        assert "[2]" in str(raised.value)
        assert_same(modules, before)
        assert grafter.steps == 0


def test_memory_that_is_shared() -> None:
    storage = torch.randn(40)

    def pair(*offsets: int) -> list[nn.Module]:
        modules = [nn.Linear(4, 4, bias=False) for _ in offsets]
        for module, offset in zip(modules, offsets):
            module.weight = nn.Parameter(storage[offset:offset + 16].view(4, 4))
        return modules

    for backend in BACKENDS:
        for offsets in ((0, 0), (0, 8)):
            with pytest.raises(graft.InvalidArgumentError, match="share memory"):
                grafter_of(pair(*offsets), backend=backend).step()
        with pytest.raises(graft.InvalidArgumentError, match="expanded"):
            one = nn.Linear(4, 4, bias=False)
            one.weight = nn.Parameter(storage[:4].expand(4, 4))
            grafter_of([one, nn.Linear(4, 4, bias=False)], backend=backend).step()
    apart = pair(0, 16)  # neighbours in one storage
    grafter_of(apart).step()
    assert torch.equal(apart[0].weight, apart[1].weight)
    stack = torch.randn(4, 4, 2)  # interleaved
    stacked = [nn.Linear(4, 4, bias=False) for _ in range(2)]
    for k, module in enumerate(stacked):
        module.weight = nn.Parameter(stack[:, :, k])
    grafter_of(stacked).step()
    assert torch.equal(stack[..., 0], stack[..., 1])


def test_arguments() -> None:
    modules = networks(lambda: nn.Linear(4, 3), 2)
    for given, settings, text in [
        ([], {}, "holds 0"), ([modules[0], 3], {}, r"models\[1\] is 'int'"), (3, {}, "models is"),
        ([modules[0]] * 65, {}, "holds 65"), (modules, {"a": 2}, "a is 2"),
        (modules, {"c": -1}, "c is -1"), (modules, {"bins": 0}, "bins is 0"),
        (modules, {"weighting": 1.5}, "weighting is 1.5"), (modules, {"every": 0}, "every"),
        (modules, {"start": "x"}, "start"), (modules, {"threshold": -1}, "threshold"),
        (modules, {"backend": "gpu"}, "backend is 'gpu'"),
        (modules, {"bin": 3}, "bin is no option"),
        (modules, {"frozen": "x"}, "frozen"), (modules, {"exclude": "x"}, "exclude"),
    ]:
        with pytest.raises(graft.InvalidArgumentError, match=text):
            graft.torch.Grafter(given, **settings)
    for settings in ({"source": "star"}, {"weighting": "size"}):
        for backend in BACKENDS:
            with pytest.raises(graft.InvalidArgumentError, match=next(iter(settings))):
                graft.torch.Grafter(modules, backend=backend, **settings).step()
    with pytest.raises(graft.ShapeMismatchError, match=r"models\[1\]"):
        graft.torch.Grafter([nn.Linear(4, 3), nn.Linear(4, 3, bias=False)])
    with torch.device("meta"):
        empty = [nn.Linear(4, 3), nn.Linear(4, 3)]
    with pytest.raises(graft.UnsupportedError, match="meta"):
        graft.torch.Grafter(empty)


def test_import_graft_does_not_import_torch() -> None:
    code = "import sys, graft; assert 'torch' not in sys.modules; import graft.torch"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())


def environment() -> dict[str, str]:
    package = str(Path(graft.__file__).resolve().parents[1])
    return {**os.environ, "PYTHONPATH": package}


def test_a_deep_graph_without_inputs_grafts_by_order() -> None:
    modules = networks(lambda: Graph(3), 2)
    grafter = grafter_of(modules)
    assert grafter.plan.method == "order"
    grafter.step()
    assert_same(modules[:1], [arrays(modules[1])])
