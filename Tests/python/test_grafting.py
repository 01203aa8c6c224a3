"""The graft of K networks against NumPy: who receives what, in place, checked before written."""

from __future__ import annotations

import copy
import ctypes
from ctypes import byref

import numpy as np
import pytest
import torch

import graft
from graft import _structures as s
from graft._described_network import DescribedNetwork
from graft._library import lib

from test_information import numpy_entropy, published_entropy

Network = dict[str, np.ndarray]

SHAPES = {
    "scale": (),
    "conv1": (8, 3, 3, 3), "bn1": (8,), "bn1.mean": (8,),
    "conv2": (300, 8, 3, 3), "conv2.bias": (300,),
    "conv3": (4, 300, 5, 5),
    "fc1": (20, 1200), "fc1.bias": (20,),
    "fc2": (10, 20), "fc2.bias": (10,),
}
FEEDERS = {
    "scale": None, "conv1": "conv1", "bn1": "conv1", "bn1.mean": "conv1", "conv2": "conv2",
    "conv2.bias": "conv2", "conv3": "conv3", "fc1": "conv3", "fc1.bias": "conv3", "fc2": "fc2",
    "fc2.bias": "fc2",
}
LAYERS = ["conv1", "conv2", "conv3", "fc2"]


def network(seed: int) -> Network:
    """Weights whose entropies differ by little and by much, some filters dead, and a counter."""
    rng = np.random.default_rng(seed)
    result = {}
    for name, shape in SHAPES.items():
        w = np.asarray(rng.standard_t(2 + seed, shape), np.float32)
        if w.ndim > 1:
            w[rng.random(len(w)) < 0.3] *= np.float32(1e-6)
        result[name] = w
    result["steps"] = np.array(100 + seed)
    return result


def share(own: float, other: float, a: float, c: float) -> float:
    """alpha, rounded to float32 on the side >= 1/2."""
    larger = float(np.float32(a / np.pi * np.arctan(c * abs(own - other)) + 0.5))
    return larger if own >= other else 1 - larger


def expected_graft(
    networks: list[Network], a: float = 0.4, c: float = 500.0, bins: int = 10,
    constant: float | None = None,
) -> list[Network]:
    results = []
    for k, own in enumerate(networks):
        other = networks[k - 1]
        result = {}
        for name, w in own.items():
            if name == "steps":
                result[name] = w
                continue
            feeder = FEEDERS[name]
            if constant is not None:
                alpha = constant
            elif feeder is None:
                alpha = 0.5
            else:
                alpha = share(
                    numpy_entropy(own[feeder], bins), numpy_entropy(other[feeder], bins), a, c)
            mixed = alpha * w.astype(np.float64) + (1 - alpha) * other[name].astype(np.float64)
            result[name] = mixed.astype(np.float32)
        results.append(result)
    return results


def assert_same(networks: list[Network], expected: list[Network]) -> None:
    """The same bits in every array."""
    for k, (mine, theirs) in enumerate(zip(networks, expected)):
        for name in theirs:
            assert mine[name].tobytes() == theirs[name].tobytes(), f"network {k}: {name}"


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64])
def test_ring_receives_the_state_before(count: int) -> None:
    networks = [network(seed) for seed in range(count)]
    expected = expected_graft(networks)
    graft.graft(networks)
    # alpha may round otherwise in the last bit of float32 where arctan differs: exact all the same
    # on this data.
    assert_same(networks, expected)


@pytest.mark.parametrize("settings", [
    {"a": 0.0}, {"a": 1.0, "c": 1.0}, {"c": 0.0}, {"c": 1e6}, {"bins": 3}, {"bins": 100}])
def test_settings(settings: dict[str, float]) -> None:
    networks = [network(seed) for seed in range(3)]
    expected = expected_graft(networks, **settings)
    graft.graft(networks, **settings)
    assert_same(networks, expected)


@pytest.mark.parametrize("settings", [{}, {"a": 1.0}, {"c": 3.0}, {"compatibility": True},
                                      {"weighting": 0.5}])
def test_two_networks_come_out_equal(settings: dict[str, object]) -> None:
    networks = [network(1), network(2)]
    before = copy.deepcopy(networks)
    graft.graft(networks, **settings)
    for name in SHAPES:
        assert networks[0][name].tobytes() == networks[1][name].tobytes(), name
        assert networks[0][name].tobytes() != before[0][name].tobytes(), name
    assert networks[0]["steps"] == 101 and networks[1]["steps"] == 102


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("settings", [{}, {"weighting": 0.3}, {"compatibility": True}])
def test_equal_networks_do_not_change(count: int, settings: dict[str, object]) -> None:
    bits = np.random.default_rng(3).integers(0, 2**32, (50, 1000), dtype=np.uint32)
    w = bits.view(np.float32)
    w[~np.isfinite(w)] = -0.0
    w[0, :3] = [-0.0, 1e-45, -1e-45]
    networks = [{"w": w.copy(), "b": w[:, 0].copy()} for _ in range(count)]
    graft.graft(networks, **settings)
    for each in networks:
        np.testing.assert_array_equal(each["w"].view(np.uint32), w.view(np.uint32))
        np.testing.assert_array_equal(each["b"].view(np.uint32), w[:, 0].view(np.uint32))


@pytest.mark.parametrize("constant", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("count", [2, 3])
def test_constant_weighting(constant: float, count: int) -> None:
    networks = [network(seed) for seed in range(count)]
    expected = expected_graft(networks, constant=constant)
    graft.graft(networks, weighting=constant)
    assert_same(networks, expected)


def test_rotation_hands_on_every_bit() -> None:
    networks = [{"w": np.full((2, 2), value, np.float32)} for value in (-0.0, 3e-45, 1.0)]
    graft.graft(networks, weighting=0)
    assert [n["w"].view(np.uint32)[0, 0] for n in networks] == [0x3F800000, 0x80000000, 2]


def test_the_largest_weights_stay_finite() -> None:
    largest = np.finfo(np.float32).max
    networks = [{"w": np.full((4, 4), sign * largest, np.float32)} for sign in (1, 1, -1)]
    networks[0]["w"][0] = -largest
    graft.graft(networks)
    for each in networks:
        assert np.isfinite(each["w"]).all()


def test_report() -> None:
    networks = [network(seed) for seed in range(3)]
    before = copy.deepcopy(networks)
    report = graft.graft(networks, threshold=0.5)
    assert [layer.name for layer in report] == LAYERS
    assert (len(report), report.network_count) == (4, 3)
    for layer in report:
        assert list(SHAPES)[layer.tensor] == layer.name
        assert layer.filters == SHAPES[layer.name][0]
        for k, entry in enumerate(layer.networks):
            assert entry.source == (k - 1) % 3
            old, new = before[k][layer.name], networks[k][layer.name]
            giver = before[k - 1][layer.name]
            assert entry.entropy_before == pytest.approx(numpy_entropy(old), abs=1e-12)
            assert entry.entropy_after == pytest.approx(numpy_entropy(new), abs=1e-12)
            assert entry.alpha == share(numpy_entropy(old), numpy_entropy(giver), 0.4, 500)
            for w, invalid, norm in [
                (old, entry.invalid_before, entry.norm_before),
                (new, entry.invalid_after, entry.norm_after),
            ]:
                norms = np.abs(w.astype(np.float64)).reshape(len(w), -1).sum(1)
                assert invalid == (norms < 0.5).sum()
                assert norm == pytest.approx(norms.mean(), rel=1e-12)
    assert any(e.invalid_before > e.invalid_after for layer in report for e in layer.networks)


def test_report_as_text_and_dict() -> None:
    report = graft.graft([network(1), network(2)])
    rows = report.table().splitlines()
    assert rows[0].split()[:4] == ["layer", "net", "from", "alpha"]
    assert rows[1].split()[:4] == ["conv1", "0", "1", f"{report[0].networks[0].alpha:.4f}"]
    assert len(rows) == 1 + 2 * 4
    plain = report.to_dict()
    assert plain["network_count"] == 2
    assert plain["layers"][1]["networks"][1]["alpha"] == report["conv2"].networks[1].alpha


def test_a_dry_run_tells_the_same_and_writes_nothing() -> None:
    for count in (1, 2, 3):
        networks = [network(seed) for seed in range(count)]
        before = copy.deepcopy(networks)
        for each in networks:
            for w in each.values():
                w.setflags(write=False)
        dry = graft.graft(networks, dry_run=True)
        assert_same(networks, before)
        networks = copy.deepcopy(before)
        assert graft.graft(networks).to_dict() == dry.to_dict()


def test_the_same_bits_at_any_number_of_threads() -> None:
    """Large enough to wake threads: tensors that one takes alone, and one that they share."""
    def large(seed: int) -> Network:
        rng = np.random.default_rng(seed)
        shapes = [(200, 300, 3, 3), (150, 200, 3, 3), (400, 500), (300, 500, 3, 3), (100, 2000)]
        return {
            f"w{i}": (1 + seed * i) * rng.standard_normal(shape, np.float32) ** (1 + seed % 2 * 2)
            for i, shape in enumerate(shapes)}

    for count in (2, 3):
        before = [large(seed) for seed in range(count)]
        results = []
        for threads in (1, 2, 3, 8):
            networks = copy.deepcopy(before)
            report = graft.graft(networks, threads=threads)
            results.append((networks, report.to_dict()))
        for networks, report in results[1:]:
            assert_same(networks, results[0][0])
            assert report == results[0][1]
        for layer in report["layers"]:
            for k, entry in enumerate(layer["networks"]):
                found = numpy_entropy(networks[k][layer["name"]])
                assert entry["entropy_after"] == pytest.approx(found, abs=1e-12)


def test_compatibility_is_the_published_formula() -> None:
    """Alpha in two decimals from float32 entropies with an open last bin."""
    for seed in range(5):
        networks = [network(10 + seed), network(20 + seed), network(30 + seed)]
        before = copy.deepcopy(networks)
        graft.graft(networks, compatibility=True, c=10)
        for k, each in enumerate(networks):
            for name in SHAPES:
                feeder = FEEDERS[name]
                alpha = 0.5
                if feeder is not None:
                    own = published_entropy(before[k][feeder], 10)
                    other = published_entropy(before[k - 1][feeder], 10)
                    alpha = round(0.4 / np.pi * np.arctan(10 * (own - other)) + 0.5, 2)
                exact = alpha * before[k][name].astype(np.float64) + (
                    1 - alpha) * before[k - 1][name].astype(np.float64)
                np.testing.assert_allclose(each[name], exact, rtol=1e-6, atol=1e-6)


def test_a_plan_decides() -> None:
    networks = [network(seed) for seed in range(3)]
    before = copy.deepcopy(networks)
    plan = graft.Plan(networks[0])
    plan.set("conv1", "layer", filter_axis=1)
    plan.set("fc1", "layer")
    plan.set("fc1.bias", "leave")
    plan.set("bn1", "half")
    report = graft.graft(networks, plan)
    assert [layer.name for layer in report] == ["conv1", "conv2", "conv3", "fc1", "fc2"]
    assert report["conv1"].filters == 3
    norms = np.abs(before[1]["conv1"].astype(np.float64)).sum((0, 2, 3))
    assert report["conv1"].networks[1].norm_before == pytest.approx(norms.mean(), rel=1e-12)
    for k in range(3):
        assert (networks[k]["fc1.bias"] == before[k]["fc1.bias"]).all()
        half = (before[k]["bn1"].astype(np.float64) + before[k - 1]["bn1"]) / 2
        np.testing.assert_array_equal(networks[k]["bn1"], half.astype(np.float32))
        own, other = (numpy_entropy(before[j]["fc1"]) for j in (k, k - 1))
        assert report["fc1"].networks[k].alpha == share(own, other, 0.4, 500)


def test_arrays_of_any_strides_in_place() -> None:
    """Each network lies in memory in another way; the result is that of plain arrays."""
    plain = [network(seed) for seed in range(3)]
    odd: list[Network] = []
    for k, each in enumerate(plain):
        odd.append({})
        for name, w in each.items():
            if w.ndim == 0 or k == 0:
                odd[k][name] = w.copy()
            elif k == 1:
                odd[k][name] = w.copy(order="F")
            else:
                roomy = np.full((*w.shape[:-1], 3 * w.shape[-1]), 9, np.float32)
                roomy[..., ::3] = w
                odd[k][name] = roomy[..., ::3]
    report = graft.graft(odd)
    assert graft.graft(plain).to_dict() == report.to_dict()
    assert_same(
        [{n: np.ascontiguousarray(w) for n, w in each.items()} for each in odd], plain)
    assert (odd[2]["conv2"].base[..., 1] == 9).all()


@pytest.mark.parametrize("axis", [0, 1, 2, 4])
def test_a_stack_of_networks_is_no_shared_memory(axis: int) -> None:
    stack = np.random.default_rng(4).standard_normal((6, 3, 4, 4, 5)).astype(np.float32)
    parts = [np.take(stack, k, axis).copy() for k in range(stack.shape[axis])]
    views = list(np.moveaxis(stack, axis, 0))
    graft.graft([{"w": view} for view in views])
    graft.graft([{"w": part} for part in parts])
    for view, part in zip(views, parts):
        np.testing.assert_array_equal(view, part)


def test_torch_modules_in_place() -> None:
    torch.manual_seed(0)
    models = [
        torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Flatten(),
            torch.nn.Linear(8, 2))
        for _ in range(2)
    ]
    graft.graft([model.state_dict() for model in models])
    for a, b in zip(models[0].parameters(), models[1].parameters()):
        assert torch.equal(a, b)


def test_tied_weights_are_grafted_once() -> None:
    networks = []
    for seed in range(3):
        w = np.random.default_rng(seed).standard_normal((6, 5)).astype(np.float32)
        networks.append({"embedding": w, "head": w, "bias": w[:, 0].copy()})
    single = [{"embedding": n["embedding"].copy()} for n in networks]
    report = graft.graft(networks)
    single_report = graft.graft(single)
    assert_same([{"embedding": n["embedding"]} for n in networks], single)
    assert report["embedding"].networks == single_report["embedding"].networks
    assert report["head"].networks == single_report["embedding"].networks


def test_names_may_come_in_another_order() -> None:
    networks = [network(1), network(2)]
    expected = copy.deepcopy(networks)
    graft.graft(expected)
    networks[1] = dict(reversed(networks[1].items()))
    graft.graft(networks)
    assert_same(networks, expected)


# ---- when ----------------------------------------------------------------------------------------


def test_when_a_graft_is_due() -> None:
    assert [e for e in range(1, 30) if graft.is_due(e)] == [*range(1, 30)]
    assert [e for e in range(1, 30) if graft.is_due(e, 3, 4, 16)] == [3, 7, 11, 15]
    assert [e for e in range(1, 30) if graft.is_due(e, every=10)] == [1, 11, 21]
    assert not graft.is_due(5, start=6)
    assert graft.is_due(2**63 - 1, every=2)
    for bad, text in [
        ({"epoch": 0}, "index is 0"), ({"start": 0}, "start is 0"), ({"every": 0}, "every is 0"),
        ({"stop": -1}, "stop is -1"),
    ]:
        with pytest.raises(graft.InvalidArgumentError, match=text):
            graft.is_due(**{"epoch": 1, **bad})


# ---- errors: nothing has changed -----------------------------------------------------------------


def shared_buffer(first: Network, second: Network) -> None:
    second["conv2"] = first["conv2"]


def overlapping(first: Network, second: Network) -> None:
    room = np.zeros(2164, np.float32)
    first["conv1"], second["conv1"] = (
        room[start:start + 216].reshape(8, 3, 3, 3) for start in (0, 215))


def overlapping_within(first: Network, second: Network) -> None:
    first["bn1"] = first["conv1"].reshape(-1)[5:13]


def spoil(name: str, value: float, position: int = -1):  # type: ignore[no-untyped-def]
    def change(first: Network, second: Network) -> None:
        second[name].reshape(-1)[position] = value
    return change


def replace(name: str, shape: tuple[int, ...], dtype: str = "f4", both: bool = False):
    def change(first: Network, second: Network) -> None:
        second[name] = np.ones(shape, dtype)
        if both:
            first[name] = np.ones(shape, dtype)
    return change


def read_only(first: Network, second: Network) -> None:
    second["fc2.bias"].setflags(write=False)


@pytest.mark.parametrize(("change", "error", "text"), [
    (spoil("conv1", np.nan, 0), graft.NotFiniteError, r"networks\[1\]: conv1.*\[0, 0, 0, 0\].*nan"),
    (spoil("fc2.bias", np.inf), graft.NotFiniteError, r"networks\[1\]: fc2.bias.*\[9\].*inf"),
    (spoil("fc1", -np.inf), graft.NotFiniteError, r"networks\[1\]: fc1.*\[19, 1199\]"),
    (spoil("scale", np.nan), graft.NotFiniteError, r"networks\[1\]: scale"),
    (replace("conv1", (8, 3, 3, 1)), graft.ShapeMismatchError,
     r"networks\[1\]: conv1 has shape \[8, 3, 3, 1\].*\[8, 3, 3, 3\]"),
    (replace("fc2", (200,)), graft.ShapeMismatchError, r"networks\[1\]: fc2"),
    (replace("bn1", (8,), "f8"), graft.ShapeMismatchError, r"networks\[1\]: bn1.*float64"),
    (replace("bn1", (8,), "f2", both=True), graft.ShapeMismatchError, r"bn1.*float16"),
    (replace("conv3", (0, 300, 5, 5), both=True), graft.InvalidArgumentError, "conv3: empty"),
    (shared_buffer, graft.InvalidArgumentError, "conv2.*conv2.*share memory"),
    (overlapping, graft.InvalidArgumentError, "conv1.*conv1.*share memory"),
    (overlapping_within, graft.InvalidArgumentError, "bn1"),
    (read_only, graft.InvalidArgumentError, "fc2.bias.*read-only"),
    (lambda a, b: b.pop("fc2"), graft.ShapeMismatchError, r"networks\[1\] lacks 'fc2'"),
    (lambda a, b: a.pop("fc2"), graft.ShapeMismatchError, r"networks\[1\] has 'fc2'"),
])
def test_errors_change_nothing(change, error, text) -> None:  # type: ignore[no-untyped-def]
    networks = [network(1), network(2), network(3)]
    change(networks[0], networks[1])
    before = [{name: w.tobytes() for name, w in each.items()} for each in networks]
    for dry_run in (False, True):
        if change is read_only and dry_run:
            continue
        with pytest.raises(error, match=text):
            graft.graft(networks, dry_run=dry_run)
    assert before == [{name: w.tobytes() for name, w in each.items()} for each in networks]


@pytest.mark.parametrize(("settings", "text"), [
    ({"a": -0.1}, "a is -0.1"), ({"a": 1.5}, "a is 1.5"), ({"c": np.inf}, "c is inf"),
    ({"bins": 0}, "bins is 0"), ({"threshold": -1.0}, "threshold"), ({"threads": 1000}, "threads"),
    ({"weighting": 1.5}, "weighting is 1.5"), ({"weighting": "l3"}, "weighting is 'l3'"),
    ({"weighting": np.nan}, "weighting"), ({"source": "moon"}, "source is 'moon'"),
    ({"plan": "plan"}, "plan is 'str'")])
def test_settings_that_cannot_be(settings: dict[str, object], text: str) -> None:
    networks = [network(1), network(2)]
    before = copy.deepcopy(networks)
    with pytest.raises(graft.InvalidArgumentError, match=text):
        graft.graft(networks, **settings)
    assert_same(networks, before)


def test_wrong_networks() -> None:
    with pytest.raises(graft.InvalidArgumentError, match="network"):
        graft.graft([])
    with pytest.raises(graft.InvalidArgumentError, match="count"):
        graft.graft([{}, {}])
    with pytest.raises(graft.InvalidArgumentError, match="65"):
        graft.graft([{"w": np.ones((2, 2), np.float32)} for _ in range(65)])
    with pytest.raises(graft.InvalidArgumentError, match="list of mappings"):
        graft.graft(network(1))  # type: ignore[arg-type]
    with pytest.raises(graft.InvalidArgumentError, match=r"networks\[1\]"):
        graft.graft([network(1), [1, 2]])  # type: ignore[list-item]
    plan = graft.Plan({"w": np.ones((2, 2), np.float32)})
    with pytest.raises(graft.ShapeMismatchError, match="plan has 1"):
        graft.graft([network(1), network(2)], plan)
    with pytest.raises(graft.ShapeMismatchError, match="dimensions"):
        graft.graft([{"w": np.ones(4, np.float32)}], plan)


def test_through_the_c_interface() -> None:
    weights = [np.full((2, 2), k, np.float32) for k in range(2)]
    networks = [DescribedNetwork({"w": array}) for array in weights]
    tensor = ctypes.POINTER(s.Tensor)
    pointers = (tensor * 2)(*[each.pointer for each in networks])
    size = ctypes.sizeof(s.Tensor)
    report = ctypes.c_void_p(7)
    invalid = 1
    for arguments in [
        (None, None, size, 1, 2, None),
        (None, pointers, 0, 1, 2, None),
        (None, pointers, size + 1, 1, 2, None),
        (None, pointers, size, 0, 2, None),
        (None, pointers, size, 2**63, 2, None),
        (None, pointers, size, 1, 0, None),
        (None, pointers, size, 1, 65, None),
        (None, (tensor * 2)(networks[0].pointer, None), size, 1, 2, None),
    ]:
        assert lib.graft_apply(*arguments, byref(report)) == invalid
        assert lib.graft_last_error()
    options = s.GraftOptions()
    lib.graft_options_init(byref(options), ctypes.sizeof(options))
    for field, value in [("source", 99), ("weighting", 99), ("dry_run", 2), ("every", 0),
                         ("compatibility", -1), ("constant", np.nan), ("struct_size", 1)]:
        kept = getattr(options, field)
        setattr(options, field, value)
        assert lib.graft_apply(
            None, pointers, size, 1, 2, byref(options), byref(report)) == invalid, field
        assert field.encode() in lib.graft_last_error()
        setattr(options, field, kept)
    assert report.value == 7
    assert [array.max() for array in weights] == [0, 1]

    # Without a report, and with a plan and a report that are read.
    assert lib.graft_apply(None, pointers, size, 1, 2, None, None) == 0
    assert [array.max() for array in weights] == [0.5, 0.5]
    assert lib.graft_apply(None, pointers, size, 1, 2, byref(options), byref(report)) == 0
    out = s.LayerReport()
    assert lib.graft_report_layer(report, 0, 1, byref(out)) == 0
    assert (out.name, out.source, out.alpha, out.norm_after) == (b"w", 0, 0.5, 1.0)
    assert lib.graft_report_layer(report, 1, 0, byref(out)) == invalid
    assert lib.graft_report_layer(report, 0, 2**64 - 1, byref(out)) == invalid
    assert lib.graft_report_layer(report, 0, 0, None) == invalid
    assert lib.graft_plan_count(report) == 0, "a report is no plan"
    assert lib.graft_apply(report, pointers, size, 1, 2, None, None) == invalid
    lib.graft_report_destroy(report)
    lib.graft_report_destroy(None)
    assert lib.graft_report_layer_count(None) == lib.graft_report_network_count(None) == 0
    lib.graft_options_init(None, 100)


def test_defaults_are_the_papers() -> None:
    options = s.GraftOptions()
    lib.graft_options_init(byref(options), ctypes.sizeof(options))
    assert (options.a, options.c, options.bins, options.threshold) == (0.4, 500, 10, 0.1)
    assert (options.start, options.every, options.stop) == (1, 1, 0)
    assert options.struct_size == ctypes.sizeof(options)
    small = (ctypes.c_uint8 * ctypes.sizeof(options))(*[255] * ctypes.sizeof(options))
    lib.graft_options_init(ctypes.cast(small, ctypes.POINTER(s.GraftOptions)), 24)
    assert set(small[24:]) == {255} and small[0] == 24
