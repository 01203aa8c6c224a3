"""A coefficient for each filter from its batch-norm scale (weighting "filter"), against NumPy."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import graft
import graft.torch


def vgg(seed: int) -> nn.Sequential:
    """Plain, grouped and depthwise convolutions with batch norms, a flattened classifier."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, groups=2, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 12, 3, groups=12, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.ConvTranspose2d(12, 6, 2), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(54, 4))
    with torch.no_grad():
        for part in model:
            if isinstance(part, nn.BatchNorm2d):
                for value in (part.weight, part.bias, part.running_mean, part.running_var):
                    value.copy_(torch.randn_like(value))
                part.weight[::3] = 0  # dead in every network
    return model


CHAIN = [("0", "1"), ("3", "4"), ("6", "7"), ("9", "10")]  # convolution, batch norm


def plan_of(state: dict[str, torch.Tensor]) -> graft.Plan:
    plan = graft.Plan(state)
    plan.set("9.weight", "layer", filter_axis=1)
    before = None
    for conv, norm in CHAIN:
        plan.set_scales(
            f"{conv}.weight", f"{norm}.weight", f"{before}.weight" if before else None)
        before = norm
    plan.set_scales("12.weight", None, "10.weight")
    return plan


def alphas(states: list[dict[str, np.ndarray]], scale: str, givers: list[list[int]]) -> list:
    found = []
    for k, own in enumerate(states):
        g, other = np.abs(own[scale].astype(np.float64)), 0.0
        for j in givers[k]:
            other = other + np.abs(states[j][scale].astype(np.float64)) / len(givers[k])
        total = g + other
        found.append(np.where(total == 0, 0.5, g / np.where(total == 0, 1, total)))
    return found


def expected_graft(states: list[dict[str, np.ndarray]], source: str) -> list[dict[str, np.ndarray]]:
    count = len(states)
    givers = [[(k - 1) % count] if source == "ring" else list(range(count)) for k in range(count)]
    shares = {}  # name -> per network an array that broadcasts against the weight
    before = None
    for conv, norm in CHAIN:
        own = alphas(states, f"{norm}.weight", givers)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shares[f"{norm}.{part}"] = own
        shares[f"{conv}.bias"] = own
        w = states[0][f"{conv}.weight"]
        transposed = conv == "9"
        along = [a.reshape((1, -1, 1, 1) if transposed else (-1, 1, 1, 1)) for a in own]
        if before:
            fed = alphas(states, f"{before}.weight", givers)
            for k in range(count):
                inputs = fed[k]
                if transposed:
                    wide = inputs.reshape(-1, 1, 1, 1)
                elif conv == "3":  # two groups of four channels, of six filters each
                    wide = np.repeat(inputs.reshape(2, 4), 6, axis=0).reshape(12, 4, 1, 1)
                else:  # depthwise: filter j sees channel j
                    wide = inputs.reshape(12, 1, 1, 1)
                along[k] = (along[k] + wide) / 2
        shares[f"{conv}.weight"] = [np.broadcast_to(a, w.shape) for a in along]
        before = norm
    fed = alphas(states, "10.weight", givers)
    shares["12.weight"] = [np.repeat(a, 9).reshape(1, 54) for a in fed]
    results = []
    for k, own in enumerate(states):
        result = {}
        for name, w in own.items():
            if "num_batches" in name:
                result[name] = w
                continue
            alpha = shares[name][k] if name in shares else 0.5
            other = np.mean([states[j][name].astype(np.float64) for j in givers[k]], axis=0)
            result[name] = alpha * w.astype(np.float64) + (1 - alpha) * other
        results.append(result)
    return results


def arrays(models: list[nn.Module]) -> list[dict[str, np.ndarray]]:
    return [{n: t.double().numpy().copy() for n, t in m.state_dict().items()} for m in models]


@pytest.mark.parametrize("source", ["ring", "mean"])
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_every_filter_by_its_scale(kind: torch.dtype, count: int, source: str) -> None:
    models = [vgg(seed).to(kind) for seed in range(count)]
    states = [model.state_dict() for model in models]
    before = arrays(models)
    plan = plan_of(states[0])
    dry = graft.graft(states, plan, source=source, weighting="filter", dry_run=True)
    for state, old in zip(arrays(models), before):
        assert all((state[name] == old[name]).all() for name in old)
    report = graft.graft(states, plan, source=source, weighting="filter")
    assert report.to_dict() == dry.to_dict()
    # alpha is rounded to float32 on its larger side; then the weights to their own type.
    tolerance = {torch.float32: 1e-6, torch.float64: 2e-7, torch.bfloat16: 2.0**-8}[kind]
    for k, wanted in enumerate(expected_graft(before, source)):
        for name, w in states[k].items():
            np.testing.assert_allclose(
                w.double().numpy(), wanted[name], rtol=tolerance, atol=tolerance * 3,
                err_msg=f"network {k}: {name}")
        for conv, norm in CHAIN:
            givers = [[(j - 1) % count] if source == "ring" else list(range(count))
                      for j in range(count)]
            mean = alphas(before, f"{norm}.weight", givers)[k].mean()
            assert report[f"{conv}.weight"].networks[k].alpha == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_two_networks_come_out_equal_and_equal_ones_stay(kind: torch.dtype) -> None:
    models = [vgg(seed).to(kind) for seed in range(2)]
    states = [model.state_dict() for model in models]
    graft.graft(states, plan_of(states[0]), weighting="filter")
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name
    kept = copy.deepcopy(states)
    for source in ("ring", "mean"):
        three = [copy.deepcopy(kept[0]) for _ in range(3)]
        graft.graft(three, plan_of(three[0]), source=source, weighting="filter")
        for state in three:
            for name in state:
                assert torch.equal(state[name], kept[0][name]), name


def test_what_order_tells_and_what_it_does_not() -> None:
    plan = graft.Plan(vgg(0).state_dict())
    assert [(e.name, e.scale) for e in plan if e.scale is not None] == [
        (f"{place}.{part}", f"{norm}.weight")
        for conv, norm, bias in [("0", "1", True), ("3", "4", False), ("6", "7", False),
                                 ("9", "10", True)]
        for place, parts in [
            (conv, ["weight", "bias"] if bias else ["weight"]),
            (norm, ["weight", "bias", "running_mean", "running_var"])]
        for part in parts]
    assert all(entry.input_scale is None for entry in plan)
    # Two norms of other kinds beside a bias look like no batch norm.
    other = graft.Plan(nn.TransformerEncoderLayer(8, 2, 16).state_dict())
    assert all(entry.scale is None for entry in other)
    plan.set_scales("0.weight")
    assert plan["0.weight"].scale is None and plan["0.bias"].scale == "1.weight"


def test_without_scales_it_is_half_and_half() -> None:
    rng = np.random.default_rng(0)
    networks = [{"w": rng.standard_normal((6, 5, 3, 3)), "b": rng.standard_normal(6)}
                for _ in range(3)]
    before = copy.deepcopy(networks)
    report = graft.graft(networks, weighting="filter")
    for k in range(3):
        for name in ("w", "b"):
            np.testing.assert_allclose(
                networks[k][name], (before[k][name] + before[k - 1][name]) / 2, rtol=1e-15)
        assert report["w"].networks[k].alpha == 0.5


def test_scales_that_do_not_fit() -> None:
    def make() -> list[dict[str, torch.Tensor]]:
        return [vgg(seed).state_dict() for seed in range(2)]

    networks, before = make(), make()
    for tensor, scale, input_scale, text in [
        ("0.weight", "4.weight", None, "0.weight has 8 filters.*4.weight.*12"),
        ("3.weight", "4.weight", "10.weight", "3.weight has 4 input channels.*10.weight.*6"),
        ("1.bias", "4.weight", None, "1.bias has 8 filters"),
    ]:
        plan = plan_of(networks[0])
        plan.set_scales(tensor, scale, input_scale)
        for dry_run in (True, False):
            with pytest.raises(graft.ShapeMismatchError, match=text):
                graft.graft(networks, plan, weighting="filter", dry_run=dry_run)
    assert all(torch.equal(n[name], b[name]) for n, b in zip(networks, before) for name in n)
    plan = plan_of(networks[0])
    for arguments, text in [
        (("0.weight", "3.weight"), "scale is 7.*one dimension"),
        (("0.weight", "1.num_batches_tracked"), "one dimension"),
        (("0.bias", None, "1.weight"), "no input channels"),
        (("moon",), "moon"), (("0.weight", "moon"), "moon"), (("0.weight", 99), "99"),
    ]:
        with pytest.raises(graft.InvalidArgumentError, match=text):
            plan.set_scales(*arguments)
    # Found by order, it is no error: what looks like a norm need not be one.
    odd = [{"w": n["0.weight"].clone(), "a": torch.rand(3), "b": torch.rand(3), "c": torch.rand(3),
            "d": torch.rand(3), "steps": torch.tensor(0)} for n in networks]
    graft.graft(odd, weighting="filter")
    assert torch.equal(odd[0]["w"], odd[1]["w"])


def test_zeros_and_threads() -> None:
    results = []
    for threads in (1, 3):
        networks = []
        for seed in range(3):
            rng = np.random.default_rng(seed)
            w = rng.standard_normal((200, 300, 3, 3)).astype(np.float32)
            w[rng.random(w.shape) < 0.5] = 0
            networks.append({"w": w, **{
                name: rng.standard_normal(200).astype(np.float32)
                for name in ("weight", "bias", "mean", "var")}, "steps": np.array(1)})
        zeros = [each["w"] == 0 for each in networks]
        graft.graft(networks, weighting="filter", keep_zeros=True, threads=threads)
        for each, mask in zip(networks, zeros):
            assert (each["w"][mask] == 0).all() and (each["w"][~mask] != 0).mean() > 0.99
        results.append([each["w"].tobytes() for each in networks])
    assert results[0] == results[1]


# ---- torch modules: the structure tells the scales, of inputs too --------------------------------


def test_a_modules_structure_tells_all_scales() -> None:
    plan = graft.torch.plan(vgg(0))
    expected = plan_of(vgg(0).state_dict())
    assert [(e.name, e.filter_axis, e.scale, e.input_scale) for e in plan] == [
        (e.name, e.filter_axis, e.scale, e.input_scale) for e in expected]


@pytest.mark.parametrize("backend", ["library", "torch"])
@pytest.mark.parametrize("source", ["ring", "mean"])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_modules_are_grafted_as_numpy_says(count: int, source: str, backend: str) -> None:
    models = [vgg(seed) for seed in range(count)]
    before = arrays(models)
    grafter = graft.torch.Grafter(models, source, "filter", backend=backend)
    dry = grafter.dry_run()
    assert all((now[name] == old[name]).all()
               for now, old in zip(arrays(models), before) for name in old)
    assert grafter.step().to_dict() == dry.to_dict()
    for k, wanted in enumerate(expected_graft(before, source)):
        for name, w in models[k].state_dict().items():
            np.testing.assert_allclose(
                w.double().numpy(), wanted[name], rtol=1e-6, atol=3e-6,
                err_msg=f"network {k}: {name}")


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("source", ["ring", "others", [0, 0, 1]])
def test_torch_and_the_library_agree_to_the_bit(kind: torch.dtype, source: object) -> None:
    sets = [[vgg(seed).to(kind) for seed in range(3)] for _ in range(2)]
    reports = [
        graft.torch.Grafter(models, source, "filter", backend=backend).step()
        for models, backend in zip(sets, ("library", "torch"))]
    for mine, other in zip(*reports, strict=True):
        for x, y in zip(mine.networks, other.networks, strict=True):
            assert (x.source, x.alpha, x.entropy_before, x.entropy_after, x.unmoved) == \
                (y.source, y.alpha, y.entropy_before, y.entropy_after, y.unmoved)
            assert x.norm_after == pytest.approx(y.norm_after, rel=1e-14)
    for one, other in zip(*sets):
        for (name, w), v in zip(one.state_dict().items(), other.state_dict().values()):
            assert w.numpy(force=True).tobytes() == v.numpy(force=True).tobytes() \
                if kind != torch.bfloat16 else torch.equal(w, v), name


class Residual(nn.Module):
    """Sums, a gate, a pre-activation, a concatenation, and layers that nothing scales."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.inner, self.inner_norm = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.gate = nn.Conv2d(6, 6, 1)
        self.after_sum, self.plain = nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1)
        self.without = nn.BatchNorm2d(4, affine=False)
        self.joined = nn.Conv2d(10, 5, 1)
        self.last, self.head = nn.BatchNorm2d(5), nn.Linear(5 * 4, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        y = self.inner_norm(self.inner(x))
        y = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True)))
        x = self.after_sum(x + y)
        z = self.without(self.plain(torch.relu(x)))
        z = self.joined(torch.cat([x, z], 1))
        z = nn.functional.adaptive_avg_pool2d(nn.functional.relu(self.last(z)), 2)
        return self.head(z.view(z.size(0), -1))


def test_scales_through_sums_gates_and_concatenations() -> None:
    torch.manual_seed(0)
    for inputs in (None, torch.randn(2, 3, 8, 8)):
        plan = graft.torch.plan(Residual(), inputs)
        assert {e.name: (e.scale, e.input_scale) for e in plan if "weight" in e.name} == {
            "stem.weight": ("norm.weight", None), "norm.weight": ("norm.weight", None),
            "inner.weight": ("inner_norm.weight", "norm.weight"),
            "inner_norm.weight": ("inner_norm.weight", None),
            "gate.weight": (None, "inner_norm.weight"),
            # Behind a sum nobody's filters are scaled one by one, but its own channels are.
            "after_sum.weight": ("after_sum.weight", None),
            "plain.weight": (None, "after_sum.weight"), "joined.weight": ("last.weight", None),
            "last.weight": ("last.weight", None), "head.weight": (None, "last.weight")}
        assert plan["stem.bias"].scale == "norm.weight" and plan["head.bias"].scale is None
        assert plan["without.running_mean"].scale is None
    models = [Residual() for _ in range(2)]
    with torch.no_grad():
        for model in models:
            for part in (model.norm, model.inner_norm, model.after_sum, model.last):
                part.weight.uniform_(-1, 2)
    before = arrays(models)
    graft.torch.Grafter(models, weighting="filter").step()
    after = arrays(models)
    assert all((after[0][name] == after[1][name]).all() for name in after[0])
    half = [(old["gate.bias"] + new["gate.bias"]) / 2 for old, new in (before,)]
    np.testing.assert_allclose(after[0]["gate.bias"], half[0], rtol=1e-6, atol=1e-7)


def test_frozen_norms_have_no_say() -> None:
    models = [vgg(seed) for seed in range(2)]
    for model in models:
        model[1].requires_grad_(False)
    plan = graft.torch.plan(models[0])
    assert plan["0.weight"].scale is None and plan["3.weight"].input_scale is None
    graft.torch.Grafter(models, weighting="filter").step()
    # The caller's own edit that leaves scales out is an error, by name.
    for backend in ("library", "torch"):
        grafter = graft.torch.Grafter(models, weighting="filter", backend=backend)
        grafter.plan.set("4.weight", "leave")
        with pytest.raises(graft.ShapeMismatchError, match="12 filters.*4.weight.* 0"):
            grafter.step()


def test_what_filter_level_cannot_do_in_torch_is_refused() -> None:
    models = [vgg(seed) for seed in range(2)]
    optimizers = [torch.optim.SGD(model.parameters(), 0.1, momentum=0.9) for model in models]
    with pytest.raises(graft.UnsupportedError, match="momentum is 'graft'.*'filter'"):
        graft.torch.Grafter(
            models, weighting="filter", optimizers=optimizers, momentum="graft")
    with pytest.raises(graft.UnsupportedError, match="no batch norm whose scales"):
        graft.torch.Grafter([nn.Linear(3, 2), nn.Linear(3, 2)], weighting="filter")
