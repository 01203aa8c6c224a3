"""Grafts models of torchvision, timm and PyTorch Geometric and compares every parameter and buffer
with NumPy. Run by test_torch_models.py in a process of its own, with those packages on its path;
prints a line of JSON a model.

What follows what is written down here from each model's names, which the library never looks at.
"""

from __future__ import annotations

import copy
import json
import re
import sys
import time
import traceback
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import graft.torch
from test_information import numpy_entropy
from torch_reference import arrays, share

library = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import timm  # noqa: E402
import torch_geometric.nn as geometric  # noqa: E402
import torchvision.models as vision  # noqa: E402


# ---- what follows what ---------------------------------------------------------------------------


def by_order(module: nn.Module) -> dict[str, str]:
    """For models that are registered in the order in which they run."""
    leaders: dict[str, str] = {}
    last, after_convolution = "half", False
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            leaders[name] = "leave"
        elif tensor.dim() > 2 or (tensor.dim() == 2 and not after_convolution):
            leaders[name] = last = name
            after_convolution = tensor.dim() > 2
        else:
            leaders[name] = last
            after_convolution = after_convolution and tensor.dim() < 2
    return leaders


def by_names(module: nn.Module, rules: list[tuple[str, str]]) -> dict[str, str]:
    """The first pattern that a tensor's module matches says what it follows; "" is itself."""
    leaders = {}
    for name, tensor in module.state_dict().items():
        owner = name.rpartition(".")[0] or name
        for pattern, target in rules:
            match = re.fullmatch(pattern, owner)
            if match:
                leaders[name] = match.expand(target) if target else f"{owner}.weight"
                break
        else:
            raise AssertionError(f"no rule for {name}")
        if not tensor.is_floating_point():
            leaders[name] = "leave"
    return leaders


def resnet50(module: nn.Module) -> dict[str, str]:
    return by_names(module, [
        (r"(.*)bn(\d)", r"\1conv\2.weight"), (r"(.*downsample)\.1", r"\1.0.weight"),
        ("fc", "layer4.2.conv3.weight"), (r".*", "")])


def previous_block(module: nn.Module, pattern: str, last: str, first: str) -> dict[str, str]:
    """For every block (a path that matches), the last layer of the block before it."""
    blocks = [name for name, _ in module.named_modules() if re.fullmatch(pattern, name)]
    return {
        block: f"{before}.{last}" if before else first
        for before, block in zip(["", *blocks], [*blocks, "end"])}


def convnext(module: nn.Module) -> dict[str, str]:
    before = previous_block(
        module, r"features\.[1357]\.\d+", "block.5.weight", "features.0.0.weight")
    ends = {
        f"features.{stage}.0": before[f"features.{stage + 1}.0"] for stage in (2, 4, 6)}
    return by_names(module, [
        (r"features\.0\.1", "features.0.0.weight"),
        *((re.escape(name), leader) for name, leader in ends.items()),
        (r"(.*\.block)\.2", r"\1.0.weight"), (r"classifier\.0", before["end"]),
        (r"(features\.[1357]\.\d+)", r"\1.block.5.weight"), (r".*", "")])


def vit(module: nn.Module) -> dict[str, str]:
    block = r"encoder\.layers\.encoder_layer_\d+"
    before = previous_block(module, block, "mlp.3.weight", "conv_proj.weight")
    return by_names(module, [
        ("class_token|encoder", "conv_proj.weight"),
        *((re.escape(f"{name}.ln_1"), leader) for name, leader in before.items()),
        (f"({block})\\.ln_2", r"\1.self_attention.out_proj.weight"),
        (f"({block}\\.self_attention)", r"\1.in_proj_weight"), (r"encoder\.ln", before["end"]),
        (r".*", "")])


def timm_vit(module: nn.Module) -> dict[str, str]:
    before = previous_block(module, r"blocks\.\d+", "mlp.fc2.weight", "patch_embed.proj.weight")
    return by_names(module, [
        ("cls_token|pos_embed", "patch_embed.proj.weight"),
        *((re.escape(f"{name}.norm1"), leader) for name, leader in before.items()),
        (r"(blocks\.\d+)\.norm2", r"\1.attn.proj.weight"), ("norm", before["end"]), (r".*", "")])


def timm_preactivation(module: nn.Module) -> dict[str, str]:
    before = previous_block(
        module, r"stages\.\d+\.blocks\.\d+", "conv3.weight", "stem.conv.weight")
    return by_names(module, [
        *((re.escape(f"{name}.norm1"), leader) for name, leader in before.items()),
        (r"(.*)\.norm2", r"\1.conv1.weight"), (r"(.*)\.norm3", r"\1.conv2.weight"),
        ("norm", before["end"]), (r".*", "")])  # its head is a convolution of 1 x 1


class WideBlock(nn.Module):
    """Zagoruyko and Komodakis, arXiv 1605.07146, figure 1 (d) without dropout."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = (
            nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(x))
        skip = x if self.shortcut is None else self.shortcut(out)
        return skip + self.conv2(F.relu(self.bn2(self.conv1(out))))


class WideResNet(nn.Module):
    """WRN-16-4."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        widths = [16, 64, 64, 128, 128, 256, 256]
        self.blocks = nn.Sequential(*(
            WideBlock(a, b, 2 if a != b and a != 16 else 1)
            for a, b in zip(widths, widths[1:])))
        self.bn = nn.BatchNorm2d(256)
        self.fc = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.relu(self.bn(self.blocks(self.conv(x)))).mean((2, 3)))


def wide(module: nn.Module) -> dict[str, str]:
    before = previous_block(module, r"blocks\.\d+", "conv2.weight", "conv.weight")
    return by_names(module, [
        *((re.escape(f"{name}.bn1"), leader) for name, leader in before.items()),
        (r"(.*)\.bn2", r"\1.conv1.weight"), ("bn|fc", before["end"]), (r".*", "")])


class Graph(nn.Module):
    """Kinds of message passing, each followed by a norm."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        kinds: list[Callable[[int], nn.Module]] = [
            lambda n: geometric.GCNConv(n, 8), lambda n: geometric.SAGEConv(n, 8),
            lambda n: geometric.GraphConv(n, 8),
            lambda n: geometric.GINConv(nn.Sequential(nn.Linear(n, 8), nn.ReLU(), nn.Linear(8, 8)))]
        self.layers = nn.ModuleList(kinds[i % 4](8 if i else 5) for i in range(depth))
        self.norms = nn.ModuleList(geometric.LayerNorm(8) for _ in range(depth))

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        for layer, norm in zip(self.layers, self.norms):
            x = F.relu(norm(layer(x, edges)))
        return x


def graph(module: nn.Module) -> dict[str, str]:
    """In each kind, the matrix that runs last: GCN's only one, SAGE's and GraphConv's for a node
    itself, the second of GIN's two."""
    rules = []
    for i, layer in enumerate(module.layers):
        at = f"layers.{i}"
        last = {"GCNConv": "lin", "SAGEConv": "lin_r", "GraphConv": "lin_root", "GINConv": "nn.2"}
        rules += [(re.escape(f"norms.{i}"), f"{at}.{last[type(layer).__name__]}.weight"),
                  (re.escape(at), f"{at}.lin.weight" if "GCN" in type(layer).__name__ else "leave")]
    return by_names(module, [*rules, (r".*", "")])


EDGES = torch.tensor([[0, 1, 2, 3, 3], [1, 2, 0, 0, 2]])

MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], dict[str, str]], object]] = {
    "resnet50": (vision.resnet50, resnet50, None),
    "mobilenet_v2": (vision.mobilenet_v2, by_order, None),
    "vgg16_bn": (vision.vgg16_bn, by_order, None),
    "densenet121": (vision.densenet121, by_order, None),
    "convnext_tiny": (vision.convnext_tiny, convnext, None),
    "vit_b_16": (vision.vit_b_16, vit, None),
    "timm vit_tiny_patch16_224": (
        lambda: timm.create_model("vit_tiny_patch16_224"), timm_vit, None),
    "timm resnetv2_50": (lambda: timm.create_model("resnetv2_50"), timm_preactivation, None),
    "wide_resnet_16_4": (WideResNet, wide, None),
    "geometric of 2": (lambda: Graph(2), graph, (torch.ones(4, 5), EDGES)),
    "geometric of 16": (lambda: Graph(16), graph, (torch.ones(4, 5), EDGES)),
}


# ---- the comparison ------------------------------------------------------------------------------


def fill(module: nn.Module, seed: int) -> nn.Module:
    module = module.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            tensor.data.normal_(generator=generator)
        else:
            tensor.fill_(seed)
    return module


def check(name: str) -> dict[str, object]:
    """Grafts two networks; raises where anything is not what NumPy says."""
    make, leaders_of, inputs = MODELS[name]
    with torch.device("meta"):
        empty = make()
    modules = [fill(copy.deepcopy(empty), seed) for seed in range(2)]
    leaders = leaders_of(modules[0])
    before = [arrays(module) for module in modules]
    start = time.process_time()  # of this process: the machine may be busy
    grafter = graft.torch.Grafter(modules, example_inputs=inputs)
    plan_seconds = time.process_time() - start
    planned = time.perf_counter()
    report = grafter.step()
    grafted = time.perf_counter()

    found = {
        entry.name: entry.name if entry.role == "layer" else entry.feeder or entry.role
        for entry in grafter.plan}
    assert found == leaders, {
        name: (found[name], leaders[name]) for name in found if found[name] != leaders[name]}
    layers = [name for name in leaders if leaders[name] == name]
    assert [layer.name for layer in report] == layers
    entropies = {name: [numpy_entropy(one[name]) for one in before] for name in layers}
    after = [dict(module.state_dict()) for module in modules]
    for name, leader in leaders.items():
        own, other = before[0][name], before[1][name]
        new = [one[name].numpy() for one in after]
        if leader == "leave":
            assert new[0].tobytes() == own.tobytes() and new[1].tobytes() == other.tobytes(), name
            continue
        alpha = 0.5 if leader == "half" else share(*entropies[leader], 0.4, 500)
        arrays_of = [one.reshape(-1) for one in (own, other, *new)]
        for at in range(0, own.size, 1 << 18):  # pieces that a cache holds
            mine, theirs, *found_here = (one[at:at + (1 << 18)] for one in arrays_of)
            mixed = alpha * mine.astype(np.float64) + (1 - alpha) * theirs.astype(np.float64)
            expected = mixed.astype(np.float32).tobytes()
            # Two networks come out equal.
            assert all(one.tobytes() == expected for one in found_here), name
    kept = {key: tensor.clone() for key, tensor in after[0].items()}
    grafter.step()  # equal ones do not change
    for key, tensor in modules[0].state_dict().items():
        assert torch.equal(tensor, kept[key]), key
    return {
        "method": grafter.plan.method, "tensors": len(leaders), "layers": len(layers),
        "parameters": sum(w.size for w in before[0].values()),
        "plan seconds": plan_seconds, "graft seconds": grafted - planned}


if __name__ == "__main__":
    for model in sys.argv[1:] or MODELS:
        try:
            begin = time.perf_counter()
            result = check(model)
            result["seconds"] = time.perf_counter() - begin
        except Exception:
            result = {"error": traceback.format_exc()}
        print(json.dumps({"model": model, **result}), flush=True)
