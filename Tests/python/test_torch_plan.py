"""What follows what, read off PyTorch modules, against lists written by hand."""

from __future__ import annotations

import copy
import time
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import graft
import graft.torch
from torch_reference import SAMPLES, Functional, Graph, Residual, Tied, Tokens, by_module, image


def leaders_of(plan: graft.torch.Plan) -> dict[str, str]:
    return {
        entry.name: entry.name if entry.role == "layer" else entry.feeder or entry.role
        for entry in plan}


@pytest.mark.parametrize("name", SAMPLES)
def test_plans(name: str) -> None:
    sample = SAMPLES[name]
    module = sample.make()
    plan = graft.torch.plan(module, sample.inputs)
    assert plan.method == ("hooks" if name.startswith("graph") else "fx"), plan.notes
    assert leaders_of(plan) == by_module(module, sample.leaders)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", SAMPLES)
def test_hooks_find_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no symbolic trace")

    monkeypatch.setattr("graft.torch._structure._plan.trace_symbolically", fail)
    sample = SAMPLES[name]
    module = sample.make()
    plan = graft.torch.plan(module, sample.inputs)
    assert plan.method == "hooks"
    assert plan.notes == ("fx: RuntimeError: no symbolic trace",)
    assert leaders_of(plan) == by_module(module, sample.leaders)


def test_order_is_the_last_resort() -> None:
    plan = graft.torch.plan(Graph(2))
    assert plan.method == "order" and len(plan.notes) == 2
    assert "no example_inputs" in str(plan)

    class Untraceable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.zeros(3, 3))
            self.conv = nn.Conv2d(3, 4, 3)
            self.norm = nn.BatchNorm2d(4)
            self.scale = nn.Parameter(torch.ones(4))
            self.pool = nn.AdaptiveAvgPool2d(1)
            self.fc1 = nn.Linear(4, 4)
            self.fc2 = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.sum() > 0:
                x = -x
            return self.fc2(self.fc1(self.pool(self.norm(self.conv(x))).flatten(1)))

    plan = graft.torch.plan(Untraceable())
    assert plan.method == "order"
    assert leaders_of(plan) == {
        "token": "half", "scale": "half", "conv.weight": "conv.weight", "conv.bias": "conv.weight",
        **{f"norm.{name}": "conv.weight" for name in
           ("weight", "bias", "running_mean", "running_var")},
        "norm.num_batches_tracked": "leave", "fc1.weight": "conv.weight", "fc1.bias": "conv.weight",
        "fc2.weight": "fc2.weight", "fc2.bias": "fc2.weight"}


def test_names_decide_nothing() -> None:
    module = SAMPLES["conv3d"].make()
    renamed = nn.Sequential()
    for index, child in enumerate(module):
        renamed.add_module(f"fc{index}_bn_conv_embed", child)
    first, second = graft.torch.plan(module), graft.torch.plan(renamed)
    assert [(e.role, e.rule, e.filter_axis) for e in first] == \
        [(e.role, e.rule, e.filter_axis) for e in second]


def test_filters_of_transposed_convolutions_lie_along_dimension_1() -> None:
    plan = graft.torch.plan(SAMPLES["transposed"].make())
    assert plan["0.weight"].filter_axis == plan["2.weight"].filter_axis == 1
    assert graft.torch.plan(Residual())["conv1.weight"].filter_axis == 0
    assert graft.torch.plan(Graph(2), SAMPLES["graph of 2"].inputs)["first.matrix"].filter_axis == 1


def test_rules_are_told() -> None:
    plan = graft.torch.plan(Tokens())
    assert {entry.name: entry.rule for entry in plan if "mlp" not in entry.name} == {
        "token": "parameter", "position": "parameter", "patches.weight": "convolution",
        "patches.bias": "bias", "norm1.weight": "norm", "norm1.bias": "norm",
        "attention.in_proj_weight": "attention", "attention.in_proj_bias": "bias",
        "attention.out_proj.weight": "linear", "attention.out_proj.bias": "bias",
        "scale": "parameter", "norm2.weight": "norm", "norm2.bias": "norm",
        "head.weight": "linear", "head.bias": "bias"}
    plan = graft.torch.plan(Residual())
    assert plan["fc.weight"].rule == "classifier"
    assert plan["bn1.running_var"].rule == "batch norm"
    assert plan["bn1.num_batches_tracked"].rule == "integer"
    assert graft.torch.plan(Functional())["running_mean"].rule == "buffer"
    lines = str(plan).splitlines()
    assert len(lines) == 1 + len(plan) + 1 and lines[-1] == "structure found by: fx"
    plan.set("fc.weight", "layer")
    assert (plan["fc.weight"].role, plan["fc.weight"].rule) == ("layer", "given")


def test_tied_tensors() -> None:
    plan = graft.torch.plan(Tied())
    assert plan.tied == {
        "again.weight": "block.weight", "again.bias": "block.bias", "out.weight": "embed.weight"}
    assert plan["out.weight"].rule == "tied"


def test_nothing_about_the_module_changes() -> None:
    for name in ("pre-activation", "graph of 2", "recurrent", "functional"):
        sample = SAMPLES[name]
        module = sample.make().train()
        before = copy.deepcopy(module.state_dict())
        attributes = [set(one.__dict__) for one in module.modules()]
        torch.manual_seed(7)
        graft.torch.plan(module, sample.inputs)
        assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(7))
        assert all(one.training for one in module.modules())
        assert [set(one.__dict__) for one in module.modules()] == attributes
        assert not any(one._forward_hooks or one._forward_pre_hooks for one in module.modules())
        for key, value in module.state_dict().items():
            assert torch.equal(value, before[key])


def test_a_forward_pass_may_keep_things(monkeypatch: pytest.MonkeyPatch) -> None:
    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.register_buffer("calls", torch.zeros(()))
            self.seen: list[torch.Tensor] = []
            self.by_name: dict[str, object] = {"x": 1}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            self.features = self.conv(x)
            self.seen.append(self.features)
            self.by_name["x"] = x
            return self.features

    def fail(*_: object) -> None:
        raise RuntimeError("no symbolic trace")

    for inputs in (None, image()):
        if inputs is not None:
            monkeypatch.setattr("graft.torch._structure._plan.trace_symbolically", fail)
        module = Keeps()
        assert graft.torch.plan(module, inputs).method == ("fx" if inputs is None else "hooks")
        assert not hasattr(module, "features") and module.calls == 0
        assert module.seen == [] and module.by_name == {"x": 1}
        assert type(module(image())) is torch.Tensor


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_wrappers() -> None:
    inner = Residual()
    expected = leaders_of(graft.torch.plan(inner))
    compiled = torch.compile(inner, backend="eager")
    for wrapped in (compiled, nn.DataParallel(inner), nn.DataParallel(compiled)):
        assert any(name.startswith(("_orig_mod.", "module.")) for name in wrapped.state_dict())
        plan = graft.torch.plan(wrapped)
        assert plan.method == "fx" and leaders_of(plan) == expected
    within = Residual()
    within.conv1 = torch.compile(within.conv1, backend="eager")
    assert "conv1._orig_mod.weight" in within.state_dict()
    for inputs in (None, image()):
        plan = graft.torch.plan(within, inputs)
        assert plan.method == "fx" and leaders_of(plan) == expected
    inner.compile(backend="eager")
    assert leaders_of(graft.torch.plan(inner)) == expected


def test_optional_arguments_keep_their_defaults() -> None:
    class Optional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 4)
            self.other = nn.Linear(3, 4)
            self.norm = nn.LayerNorm(4)

        def forward(
            self, x: torch.Tensor, mask: torch.Tensor | None = None, *, other: bool = False
        ) -> torch.Tensor:
            x = self.other(x) if other else self.fc(x)
            return self.norm(x if mask is None else x * self.other(mask))

    plan = graft.torch.plan(Optional())
    assert plan.method == "fx" and plan["norm.weight"].feeder == "fc.weight"
    assert plan["other.weight"].role == "layer"


def test_transformer_layers_of_torch() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    plan = graft.torch.plan(encoder, torch.randn(2, 3, 8))
    assert plan.method in ("fx", "hooks")
    for index in range(2):
        at = f"layers.{index}"
        assert plan[f"{at}.norm1.weight"].feeder == f"{at}.self_attn.out_proj.weight"
        assert plan[f"{at}.norm2.bias"].feeder == f"{at}.linear2.weight"
        assert plan[f"{at}.self_attn.in_proj_bias"].feeder == f"{at}.self_attn.in_proj_weight"


# ---- what is left out ----------------------------------------------------------------------------


def test_include_and_exclude() -> None:
    def roles(**settings: object) -> dict[str, str]:
        return leaders_of(graft.torch.plan(Residual(), **settings))

    everything = roles()
    without = roles(exclude="conv1")
    gone = [name for name in everything if name.startswith(("conv1.", "bn2."))]
    assert {name for name in without if without[name] == "leave"} - {
        name for name in everything if everything[name] == "leave"} == \
        {name for name in gone if "tracked" not in name}
    only = roles(include=["conv1", "fc"])
    assert {name for name in only if only[name] != "leave"} == {
        "conv1.weight", "bn2.weight", "bn2.bias", "bn2.running_mean", "bn2.running_var",
        "fc.weight", "fc.bias"}
    assert only["fc.weight"] == only["fc.bias"] == "fc.weight"
    by_type = roles(exclude=nn.BatchNorm2d)
    assert {name for name in by_type if by_type[name] == "leave"} == {
        name for name in everything if name.startswith("bn")}
    assert roles(exclude=[nn.Conv2d])["fc.weight"] == "fc.weight"
    assert roles(exclude="*.weight")["conv1.weight"] == "leave"
    assert roles(include=nn.BatchNorm2d)["bn1.weight"] == "half"
    for argument in ("include", "exclude"):
        with pytest.raises(graft.InvalidArgumentError, match=f"{argument} holds 'conv7'"):
            roles(**{argument: "conv7"})
        with pytest.raises(graft.InvalidArgumentError, match=argument):
            roles(**{argument: [3]})


def test_frozen() -> None:
    module = Residual()
    for frozen in (module.stem, module.bn1, module.conv2):
        frozen.requires_grad_(False)
    assert leaders_of(graft.torch.plan(module, frozen="graft")) == leaders_of(
        graft.torch.plan(Residual()))
    plan = leaders_of(graft.torch.plan(module))
    left = {name for name in plan if plan[name] == "leave"}
    assert left == {
        "stem.weight", "stem.bias", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var",
        "conv2.weight", *(f"bn{i}.num_batches_tracked" for i in (1, 2, 3))}
    # What followed the frozen layer and trains: a matrix by itself, the rest half and half.
    assert plan["fc.weight"] == plan["fc.bias"] == "fc.weight"
    assert plan["bn3.weight"] == plan["bn3.running_mean"] == "half"
    with pytest.raises(graft.InvalidArgumentError, match="frozen"):
        graft.torch.plan(module, frozen="thaw")


# ---- what is refused -----------------------------------------------------------------------------


def parametrized() -> nn.Module:
    module = Residual()
    parametrizations.weight_norm(module.conv1)
    return module


def spectral() -> nn.Module:
    module = Residual()
    parametrizations.spectral_norm(module.conv1)
    return module


def weight_norm() -> nn.Module:
    module = Residual()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(module.conv1)
    return module


def pruned() -> nn.Module:
    module = Residual()
    prune.l1_unstructured(module.conv1, "weight", 0.5)
    return module


def sparse() -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    module[1].weight = nn.Parameter(torch.eye(3).to_sparse())
    return module


def complex_numbers() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, dtype=torch.complex64))


@pytest.mark.parametrize("make, name, reason", [
    (parametrized, "conv1.parametrizations", "_WeightNorm"),
    (spectral, "conv1.parametrizations", "_SpectralNorm"),
    (weight_norm, "conv1.weight_g", "WeightNorm"),
    (pruned, "conv1.weight_orig", "L1Unstructured"),
    (lambda: nn.Sequential(nn.Linear(3, 3), nn.LazyLinear(4)), "1.weight", "lazy"),
    (sparse, "1.weight", "sparse"),
    (complex_numbers, "1.weight", "complex64"),
])
def test_refused_by_name(make, name: str, reason: str) -> None:
    with pytest.raises(graft.UnsupportedError, match=f"{name}.*{reason}.*exclude"):
        graft.torch.plan(make())
    with pytest.raises(graft.UnsupportedError, match=f"{name}.*{reason}"):
        graft.torch.Grafter([make(), make()])
    top = name.split(".")[0]
    plan = graft.torch.plan(make(), exclude=top)
    assert all(e.role == "leave" for e in plan if e.name.startswith(f"{top}."))
    assert any(e.role == "layer" for e in plan)


@pytest.mark.filterwarnings("ignore")
def test_quantized_and_scripted_are_refused() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    quantized = torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, torch.qint8)
    with pytest.raises(graft.UnsupportedError, match="0 is quantized"):
        graft.torch.plan(quantized)
    mixed = nn.Sequential(nn.Conv2d(3, 3, 3), *quantized)
    with pytest.raises(graft.UnsupportedError, match="1 is quantized"):
        graft.torch.plan(mixed)
    with pytest.raises(graft.UnsupportedError, match="1 is a ScriptModule"):
        graft.torch.plan(nn.Sequential(nn.Linear(2, 2), torch.jit.script(nn.Linear(2, 2))))


def test_arguments() -> None:
    with pytest.raises(graft.InvalidArgumentError, match="dict"):
        graft.torch.plan({"w": torch.zeros(2)})
    with pytest.raises(graft.InvalidArgumentError, match="no parameters"):
        graft.torch.plan(nn.ReLU())
    with pytest.raises(graft.InvalidArgumentError, match="example_inputs.*forward"):
        graft.torch.plan(Graph(2), torch.zeros(2))


def test_a_thousand_layers_take_under_a_second() -> None:
    with torch.device("meta"):
        blocks = [
            nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
            for _ in range(1000)]
        module = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))

        class Scaled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(1000))
                self.scales = nn.ParameterList(torch.ones(8) for _ in range(1000))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                for layer, scale in zip(self.layers, self.scales):
                    x = x + scale * layer(x)
                return x

        scaled = Scaled()
    for one, count in ((module, 7002), (scaled, 3000)):
        seconds = []
        for _ in range(2):
            start = time.process_time()
            plan = graft.torch.plan(one)
            seconds.append(time.process_time() - start)
        assert plan.method == "fx" and len(plan) == count
        assert min(seconds) < 1
    assert plan["scales.500"].feeder == "layers.500.weight"
