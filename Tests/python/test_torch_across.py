"""Grafting between networks of other depth and width: layers and filters that are paired."""

from __future__ import annotations

import copy
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference_networks
import torch
from torch import nn

import graft
import graft.torch as gt
from test_information import numpy_entropy
from test_torch_align import NETWORKS, stirred
from torch_reference import share

IMAGES = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def state(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: one.numpy().copy() for name, one in module.state_dict().items()}


def same(module: nn.Module, before: dict[str, np.ndarray]) -> bool:
    return all(after.tobytes() == before[name].tobytes() for name, after in state(module).items())


def plain(seed: int, *widths: int, classes: int = 5) -> nn.Sequential:
    """Convolutions of these widths with biases and batch norms, and a classifier."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, width in zip((3, *widths), widths):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return stirred(nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes)))


class Dense(nn.Module):
    """Each convolution reads what all before it made."""

    def __init__(self, growth: int, depth: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8 + growth * i) for i in range(depth))
        self.layers = nn.ModuleList(
            nn.Conv2d(8 + growth * i, growth, 3, padding=1) for i in range(depth))
        self.head = nn.Linear(8 + growth * depth, 4)

    def forward(self, x):
        x = self.stem(x)
        for norm, layer in zip(self.norms, self.layers):
            x = torch.cat([x, layer(torch.relu(norm(x)))], 1)
        return self.head(x.mean((2, 3)))


class Tokens(nn.Module):
    """A small vision transformer: a class token and positions belong to no layer."""

    def __init__(self, width: int = 16, depth: int = 1) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.first = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, 17, width))
        self.blocks = nn.Sequential(*(
            nn.TransformerEncoderLayer(width, 2, 2 * width, batch_first=True)
            for _ in range(depth)))
        self.head = nn.Linear(width, 4)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.blocks(x)[:, 0])


ALIKE: dict[str, tuple[Callable[[], nn.Module], int]] = {
    **NETWORKS, "dense": (lambda: Dense(4, 3), 32), "tokens": (Tokens, 32)}


@pytest.mark.parametrize("name", ALIKE)
def test_between_networks_of_one_structure_it_is_the_librarys_graft(name: str) -> None:
    make, size = ALIKE[name]
    torch.manual_seed(0)
    models = [stirred(make()), make().eval()]
    expected = [state(model) for model in models]
    images = IMAGES[..., :size, :size]
    graft.graft(expected, gt.plan(models[0], images))
    report = gt.graft_across(*models, images, mutual=True)
    assert not report.untouched
    for model, one in zip(models, expected):
        assert same(model, one)


def test_one_gives_and_stays() -> None:
    models = [plain(0, 6, 8), plain(1, 6, 8)]
    expected, before = [state(model) for model in models], state(models[1])
    graft.graft(expected, gt.plan(models[0]), source=[1, 1])
    versions = [p._version for p in models[0].parameters()]
    gt.graft_across(*models, IMAGES)
    assert same(models[0], expected[0]) and same(models[1], before)
    assert all(p._version > v for p, v in zip(models[0].parameters(), versions))


def test_resnets_of_20_and_32_layers() -> None:
    """The first and the last blocks of a stage, whole; all that is left over in one piece."""
    pairs = gt.pair_layers(
        reference_networks.ResNet(depth=20), reference_networks.ResNet(depth=32), IMAGES)
    expected = {"conv1.weight": "conv1.weight", "linear.weight": "linear.weight"}
    for stage, blocks in ((1, (0, 3, 4)), (2, (0, 1, 4)), (3, (0, 1, 4))):
        for block, other in enumerate(blocks):
            for conv in ("conv1.weight", "conv2.weight"):
                expected[f"layer{stage}.{block}.{conv}"] = f"layer{stage}.{other}.{conv}"
    assert dict(pairs) == expected
    text = str(pairs).splitlines()
    assert len(text) == 1 + 32  # a line a layer of the deeper one
    assert text[1].split() == ["conv1.weight", "16x3x3x3", "conv1.weight", "16x3x3x3", "32x32"]
    assert text[4].split() == ["layer1.1.conv1.weight", "16x16x3x3"]


def test_names_and_the_order_of_modules_decide_nothing() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 5), nn.BatchNorm2d(6)
            self.c, self.d = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            return self.a(torch.relu(self.b(self.c(torch.relu(self.d(x))))).mean((2, 3)))

    found = gt.pair_layers(Other(), plain(0, 4, 6), IMAGES)
    assert dict(found) == {"d.weight": "0.weight", "c.weight": "3.weight", "a.weight": "8.weight"}
    report = gt.graft_across(Other().eval(), plain(0, 4, 6), mapping=found)
    assert ("b.running_var", "4.running_var") in report["c.weight"].with_it
    # The batch norm behind the first convolution is of the source alone.
    assert report["d.weight"].with_it == (("d.bias", "0.bias"),)


@pytest.mark.parametrize("name, other, count", [
    ("dense", Dense(4, 5), 5), ("tokens", Tokens(depth=3), 6)])
def test_depth_of_other_kinds(name: str, other: nn.Module, count: int) -> None:
    """Concatenations and transformers: each part of what a layer reads finds its own."""
    torch.manual_seed(0)
    one = ALIKE[name][0]().eval()
    report = gt.graft_across(one, other.eval(), IMAGES, weighting=0.25)
    assert len(report) == count and all(layer.blended == 1 for layer in report)
    if name == "dense":
        pairs = [layer.source for layer in report]
        last, theirs = one.layers[2].weight, other.state_dict()[pairs[3]]
        channels = np.concatenate([np.arange(8)] + [
            8 + 4 * int(pair.split(".")[1]) + np.arange(4) for pair in pairs[1:3]])
        assert theirs.shape[1] > len(channels) == last.shape[1]
        torch.manual_seed(0)
        before = ALIKE[name][0]().layers[2].weight
        assert torch.allclose(last, 0.25 * before + 0.75 * theirs[:, channels], atol=1e-6)


class Gated(nn.Module):
    """A residual block of depthwise convolutions with squeeze and excitation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(width, 3 * width, 1)
        self.depthwise = nn.Conv2d(3 * width, 3 * width, 3, padding=1, groups=3 * width)
        self.squeeze, self.excite = nn.Conv2d(3 * width, 4, 1), nn.Conv2d(4, 3 * width, 1)
        self.narrow = nn.Conv2d(3 * width, width, 1)

    def forward(self, x):
        y = torch.relu(self.depthwise(torch.relu(self.wide(x))))
        gate = self.excite(torch.relu(self.squeeze(y.mean((2, 3), keepdim=True))))
        return x + self.narrow(y * torch.sigmoid(gate))


class Bottlenecks(Dense):
    """A DenseNet's layers of two convolutions."""

    def __init__(self, growth: int, depth: int) -> None:
        super().__init__(growth, depth)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8 + growth * i, 12, 1), nn.ReLU(),
                          nn.Conv2d(12, growth, 3, padding=1)) for i in range(depth))


def gated(depth: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), *(Gated(8) for _ in range(depth)), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 4))


@pytest.mark.parametrize("make", [gated, lambda depth: Bottlenecks(4, depth)])
def test_blocks_stay_whole(make: Callable[[int], nn.Module]) -> None:
    pairs = gt.pair_layers(make(3), make(8), IMAGES)
    assert list(pairs) == list(pairs.target.weights)
    blocks: dict[str, set[str]] = {}
    for names in pairs.items():
        one, other = (name.removeprefix("layers.").split(".")[0] for name in names)
        blocks.setdefault(one, set()).add(other)
    assert all(len(found) == 1 for found in blocks.values()), pairs


# ---- filters -------------------------------------------------------------------------------------


def embedded(narrow: nn.Module, wide: nn.Module, seed: int) -> dict[str, np.ndarray]:
    """Writes a ResNet with projections into a wider one, every group of channels in an order of its
    own; returns for each convolution where its filters have come to."""
    random = np.random.default_rng(seed)
    base, wider = narrow.conv1.weight.shape[0], wide.conv1.weight.shape[0]
    stream = [random.permutation(wider << stage)[:base << stage] for stage in range(3)]
    places: dict[str, np.ndarray] = {}
    inputs = {"conv1": np.arange(3)}
    places["conv1"] = stream[0]
    for stage, blocks in enumerate((narrow.layer1, narrow.layer2, narrow.layer3)):
        for block, part in enumerate(blocks):
            path = f"layer{stage + 1}.{block}"
            inside = stream[stage - 1] if stage and not block else stream[stage]
            places[f"{path}.conv1"] = random.permutation(wider << stage)[:base << stage]
            places[f"{path}.conv2"] = stream[stage]
            inputs[f"{path}.conv1"], inputs[f"{path}.conv2"] = inside, places[f"{path}.conv1"]
            if len(part.shortcut):
                places[f"{path}.shortcut.0"], inputs[f"{path}.shortcut.0"] = stream[stage], inside
    places["linear"], inputs["linear"] = np.arange(10), stream[2]
    own, theirs = wide.state_dict(), narrow.state_dict()
    for path, rows in places.items():
        own[f"{path}.weight"][np.ix_(rows, inputs[path])] = theirs[f"{path}.weight"]
        norm = path.replace("conv", "bn").replace("shortcut.0", "shortcut.1")
        for part in ("weight", "bias", "running_mean", "running_var"):
            if f"{norm}.{part}" in own and norm != path:
                own[f"{norm}.{part}"][rows] = theirs[f"{norm}.{part}"]
    own["linear.bias"].copy_(theirs["linear.bias"])
    return places


@pytest.mark.parametrize("receives", ["wide", "narrow"])
def test_a_network_inside_a_wider_one_is_found_exactly(receives: str) -> None:
    torch.manual_seed(0)
    narrow, wide = (
        stirred(reference_networks.ResNet(depth=14, base=base, shortcut="B")) for base in (16, 24))
    with torch.no_grad():
        for one in wide.parameters():  # what has no partner is large: the inner product likes that
            one.mul_(3)
    places = embedded(narrow, wide, seed=1)
    before = state(wide), state(narrow)
    one, other = (wide, narrow) if receives == "wide" else (narrow, wide)
    report = gt.graft_across(one, other, IMAGES, weighting=0.5)
    assert len(report) == len(places) and not report.untouched
    for path, expected in places.items():
        filters = report[f"{path}.weight"].filters
        mine, theirs = (1, 0) if receives == "wide" else (0, 1)
        order = np.argsort(filters[:, mine])
        assert (filters[order, mine] == np.arange(len(expected))).all()
        assert (filters[order, theirs] == expected).all(), path
    # Equal numbers were blended: no bit of either has changed.
    assert same(wide, before[0]) and same(narrow, before[1])


def test_a_permuted_copy_is_found_on_request() -> None:
    torch.manual_seed(0)
    one = stirred(reference_networks.ResNet(depth=8))
    other = copy.deepcopy(one)
    groups = gt.permutation_groups(other, IMAGES)
    gt.permute(other, groups, groups.random(3))
    before = state(one), state(other)
    gt.graft_across(one, other, IMAGES, weighting=0.5, filters="match", mutual=True)
    assert same(one, before[0]) and same(other, before[1])
    gt.graft_across(one, other, IMAGES, weighting=0.5)
    assert not same(one, before[0])


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("widths", [((16, 24), (24, 40)), ((7, 5), (4, 9))])
def test_a_blended_pair_is_numpys(widths: tuple[tuple[int, int], ...], mutual: bool) -> None:
    one, other = plain(0, *widths[0]), plain(1, *widths[1])
    before = state(one), state(other)
    report = gt.graft_across(one, other, IMAGES, c=10, mutual=mutual)
    pairs = {name: report[name].filters for name in ("0.weight", "3.weight", "8.weight")}
    for name, filters in pairs.items():
        assert len(filters) == min(before[0][name].shape[0], before[1][name].shape[0])
        assert all(len(set(column)) == len(filters) for column in filters.T.tolist())
    first, second, last = pairs.values()
    image = np.stack([np.arange(3)] * 2, 1)
    blocks = {"0.weight": (first, image), "3.weight": (second, first), "8.weight": (last, second)}
    blocks |= {f"0.{part}": (first,) for part in ("bias",)} | {"3.bias": (second,)}
    for norm, filters in (("1", first), ("4", second)):
        for part in ("weight", "bias", "running_mean", "running_var"):
            blocks[f"{norm}.{part}"] = (filters,)
    blocks["8.bias"] = (last,)
    feeder = {"0": "0.weight", "1": "0.weight", "3": "3.weight", "4": "3.weight", "8": "3.weight"}
    expected = [dict(one) for one in before]
    for name, axes in blocks.items():
        own, given = (numpy_entropy(one[feeder[name[0]]]) for one in before)
        alpha = share(own, given, 0.4, 10)
        if name in pairs:
            assert report[name].alpha == alpha
            assert report[name].target_entropy == pytest.approx(numpy_entropy(before[0][name]))
            assert report[name].source_entropy == pytest.approx(numpy_entropy(before[1][name]))
        at = [np.ix_(*(axis[:, side] for axis in axes)) for side in (0, 1)]
        values = [one[name][where].astype(np.float64) for one, where in zip(before, at)]
        for side, kept in enumerate((alpha, 1 - alpha)):
            if side == 0 or mutual:
                result = expected[side][name].copy()
                result[at[side]] = kept * values[side] + (1 - kept) * values[1 - side]
                expected[side][name] = result
    for module, arrays in zip((one, other), expected):
        for name, array in state(module).items():
            np.testing.assert_allclose(array, arrays[name], rtol=1e-6, atol=1e-7, err_msg=name)
    report_of_after = numpy_entropy(state(one)["3.weight"])
    assert report["3.weight"].entropy_after == pytest.approx(report_of_after)


def test_the_assignment_is_the_best_of_all() -> None:
    """Against every way to choose and order three of five filters."""
    one, other = plain(2, 3), plain(3, 5)
    a = [one.state_dict()[name].double().numpy() for name in ("0.weight", "0.bias", "1.weight",
                                                            "1.bias")]
    b = [other.state_dict()[name].double().numpy() for name in ("0.weight", "0.bias", "1.weight",
                                                              "1.bias")]
    heads = [model[-1].weight.detach().double().numpy().T for model in (one, other)]

    def distance(chosen: tuple[int, ...]) -> float:
        return sum(float(((x - y[list(chosen)]) ** 2).sum())
                   for x, y in zip([*a, heads[0]], [*b, heads[1]]))

    best = min(itertools.permutations(range(5), 3), key=distance)
    report = gt.graft_across(one, other, IMAGES, dry_run=True)
    assert tuple(report["0.weight"].filters[:, 1]) == best


def test_by_position() -> None:
    one, other = plain(0, 4, 6), plain(1, 6, 5)
    before = state(one), state(other)
    report = gt.graft_across(one, other, IMAGES, weighting=0.75, filters="position")
    assert report["3.weight"].filters.tolist() == [[k, k] for k in range(5)]
    assert report["3.weight"].blended == 5 / 6
    expected = before[0]["3.weight"].copy()
    expected[:5] = 0.75 * expected[:5] + 0.25 * before[1]["3.weight"][:, :4]
    np.testing.assert_allclose(state(one)["3.weight"], expected, rtol=1e-6, atol=1e-8)
    assert report["3.weight"].alpha == 0.75


# ---- mappings, dry runs, refusals ----------------------------------------------------------------


def test_an_edited_mapping_and_one_that_is_given() -> None:
    one, other = plain(0, 6, 6, 6), plain(1, 6, 6)
    before = state(one)
    pairs = gt.pair_layers(one, other, IMAGES)
    assert dict(pairs) == {"0.weight": "0.weight", "6.weight": "3.weight", "11.weight": "8.weight"}
    del pairs["11.weight"]
    pairs["3.weight"] = "3.weight"  # two layers receive from one
    report = gt.graft_across(one, other, mapping=pairs, weighting=0)
    assert [(layer.target, layer.source) for layer in report] == [
        ("0.weight", "0.weight"), ("3.weight", "3.weight"), ("6.weight", "3.weight")]
    stays = {one.name: one.reason for one in report.untouched}
    assert stays == {"11.weight": "has no partner",
                     "11.bias": "goes with a layer that has no partner"}
    assert "stays: 11.weight: has no partner" in str(report)
    after, given = state(one), state(other)
    for k in ("3", "6"):
        assert (after[f"{k}.weight"] == given["3.weight"]).all()
    assert (after["11.weight"] == before["11.weight"]).all()
    # By modules' names; wrapped modules have the names of what is inside.
    single = gt.graft_across(
        torch.compile(one), nn.DataParallel(other), IMAGES, {"6": "3"}, dry_run=True)
    assert [layer.target for layer in single] == ["6.weight"]


def test_a_dry_run_tells_and_writes_nothing() -> None:
    one, other = plain(0, 6, 9), plain(1, 8, 5)
    before = state(one)
    dry = gt.graft_across(one, other, IMAGES, dry_run=True)
    assert same(one, before)
    wet = gt.graft_across(one, other, IMAGES)
    assert dry.to_dict() == wet.to_dict() and not same(one, before)
    assert len(str(wet).splitlines()) == 1 + 3


def test_frozen_layers_and_half_precision() -> None:
    one, other = plain(0, 6, 9).bfloat16(), plain(1, 8, 5).bfloat16()
    one[0].weight.requires_grad_(False)
    before, given = (
        {name: value.clone() for name, value in model.state_dict().items()}
        for model in (one, other))
    pairs = gt.pair_layers(one, other, IMAGES.bfloat16())
    assert "0.weight" not in pairs
    report = gt.graft_across(one, other, mapping=pairs, weighting=0.5)
    after = one.state_dict()
    assert torch.equal(after["0.weight"], before["0.weight"])
    inside = gt.graft_across(one, other, IMAGES.bfloat16(), dry_run=True, frozen="graft")
    assert "0.weight" in [layer.target for layer in inside]
    mine, theirs = report["3.weight"].filters.T
    mixed = (before["4.weight"][mine].double() + given["4.weight"][theirs].double()) / 2
    assert torch.equal(after["4.weight"][mine], mixed.bfloat16())


def test_what_does_not_fit_stays_and_is_named() -> None:
    one, other = plain(0, 6, 8), plain(1, 6, 8, classes=7)
    report = gt.graft_across(one, other, IMAGES)
    assert [layer.target for layer in report] == ["0.weight", "3.weight"]
    assert {entry.name for entry in report.untouched} == {"8.weight", "8.bias"}


def weights(module: nn.Sequential, index: int, value: float) -> nn.Sequential:
    with torch.no_grad():
        module[index].weight.view(-1)[-1] = value
    return module


def grouped() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2))


REFUSED = {
    "no input": (lambda a, b: gt.graft_across(a, b), "example_inputs is None"),
    "filters": (lambda a, b: gt.graft_across(a, b, IMAGES, filters="some"), "filters is 'some'"),
    "weighting": (lambda a, b: gt.graft_across(a, b, IMAGES, weighting="l1"), "weighting is 'l1'"),
    "share": (lambda a, b: gt.graft_across(a, b, IMAGES, weighting=1.5), "weighting is 1.5"),
    "a": (lambda a, b: gt.graft_across(a, b, IMAGES, a=2.0), "a is 2"),
    "module": (lambda a, b: gt.graft_across(a, 3, IMAGES), "source is 'int'"),
    "mapping": (lambda a, b: gt.graft_across(a, b, IMAGES, ["0"]), "mapping is 'list'"),
    "empty": (lambda a, b: gt.graft_across(a, b, IMAGES, {}), "mapping pairs no layers"),
    "unknown": (lambda a, b: gt.graft_across(a, b, IMAGES, {"0": "x"}), "names 'x'.*source"),
    "follower": (lambda a, b: gt.graft_across(a, b, IMAGES, {"1": "0"}), "names '1'.*target"),
    "twice": (lambda a, b: gt.graft_across(a, b, IMAGES, {"0": "0", "0.weight": "0"}),
              "0.weight of the target twice"),
    "two receive": (lambda a, b: gt.graft_across(
        plain(1, 6, 6, 6), a, IMAGES, {"3": "3", "6": "3"}, mutual=True), "source twice"),
    "kernel": (lambda a, b: gt.graft_across(
        a, nn.Sequential(nn.Conv2d(3, 6, 5), nn.Conv2d(6, 6, 3)), IMAGES, {"0": "0"}),
        "0.weight with 0.weight: .*3x3.*and the other of .*5x5"),
    "kind": (lambda a, b: gt.graft_across(
        nn.Sequential(nn.Conv2d(3, 3, 3, bias=False), nn.Conv2d(3, 4, 1)),
        nn.Sequential(nn.ConvTranspose2d(3, 3, 3, bias=False), nn.Conv2d(3, 4, 1)), IMAGES,
        {"0": "0"}), "is of kind .*transposed"),
    "inputs": (lambda a, b: gt.graft_across(a, b, IMAGES, {"0": "3"}), "dimension 1"),
    "classes": (lambda a, b: gt.graft_across(a, plain(1, 6, classes=4), IMAGES, {"8": "5"}),
                "8.weight with 5.weight: .*dimension 0 it has 5, and the other 4"),
    "not finite": (lambda a, b: gt.graft_across(a, weights(b, 3, float("nan")), IMAGES),
                   "source: 3.weight holds NaN"),
    "itself": (lambda a, b: gt.graft_across(a, a, IMAGES), "share memory"),
    "parametrized": (lambda a, b: gt.graft_across(
        a, nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 6, 3))), IMAGES),
        "source: .*weight_norm|source: .*parametrized"),
    "another network": (lambda a, b: gt.graft_across(
        a, plain(0, 7, 8), mapping=gt.pair_layers(a, b, IMAGES)), "source: 0.weight has shape"),
    "grouped": (lambda a, b: gt.graft_across(
        grouped(), grouped(), IMAGES, {"2": "2"}, filters="match"), "2.weight is of a grouped"),
    "type": (lambda a, b: gt.graft_across(a, typed(b), IMAGES, {"3": "3"}),
             "3.weight is of type torch.float32, and the source's is of torch.float64"),
}


def typed(module: nn.Module) -> nn.Module:
    """A layer of another type, and a forward pass that minds it."""
    module[3].double()
    module[3].register_forward_pre_hook(lambda _, given: (given[0].double(),))
    module[3].register_forward_hook(lambda _, given, result: result.float())
    return module


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name_and_nothing_changes(case: str) -> None:
    one, other = plain(0, 6, 8), plain(1, 6, 8)
    before = state(one)
    run, message = REFUSED[case]
    with pytest.raises(graft.GraftError, match=message):
        run(one, other)
    assert same(one, before)


def test_grouped_convolutions_go_by_position() -> None:
    torch.manual_seed(0)
    models = [grouped(), grouped()]
    expected = [state(model) for model in models]
    graft.graft(expected, gt.plan(models[0]))
    gt.graft_across(*models, IMAGES, mutual=True)
    assert all(same(model, one) for model, one in zip(models, expected))


def test_the_example_trains_every_pair() -> None:
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, root / "examples" / "pytorch" / "across.py", "--epochs", "2", "--seeds",
         "1"], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(root / "bindings" / "python")})
    rows = [line.split(" ± ") for line in run.stdout.splitlines()[1:]]
    accuracies = [float(row[0].split()[-1]) for row in rows]
    gains = [float(row[1].split()[-1]) for row in rows]
    assert len(rows) == 4 and all(0 < one <= 100 for one in accuracies)
    assert gains == pytest.approx([one - accuracies[0] for one in accuracies], abs=0.011)


def test_filters_in_another_number_of_groups_are_not_paired() -> None:
    """Behind a grouped convolution's neighbours channels move within their groups only."""
    def make(groups: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 4 * groups, 3), nn.ReLU(),
            nn.Conv2d(4 * groups, 4 * groups, 3, groups=groups), nn.ReLU(),
            nn.Conv2d(4 * groups, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))

    torch.manual_seed(0)
    one, other = make(2), make(3)
    before = state(one)
    report = gt.graft_across(one, other, IMAGES, weighting=0)
    assert all(layer.blended > 0 for layer in report)
    assert [layer.target for layer in report][-1] == "7.weight"
    stays = {entry.name for entry in report.untouched}
    assert {"0.weight", "2.weight"} <= stays
    assert all((state(one)[name] == before[name]).all() for name in stays)
    assert stays == {f"{k}.{part}" for k in (0, 2, 4) for part in ("weight", "bias")}
    with pytest.raises(graft.GraftError, match="0.weight: 0.weight along dimension 0.*2 groups"):
        gt.graft_across(one, other, IMAGES, {"0": "0"})
