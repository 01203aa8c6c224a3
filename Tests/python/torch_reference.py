"""The published formula in NumPy over a PyTorch module, and modules of many kinds with what follows
what in them, written down by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from test_information import numpy_entropy

torch.set_num_threads(1)

#: For every tensor the layer that decides for it, or "half" or "leave".
Leaders = Mapping[str, str]


def share(own: float, other: float, a: float, c: float) -> float:
    """alpha, rounded to float32 on the side >= 1/2."""
    larger = float(np.float32(a / np.pi * np.arctan(c * abs(own - other)) + 0.5))
    return larger if own >= other else 1 - larger


def arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """Copies of all parameters and buffers, under plain names."""
    tensors = [*module.named_parameters(remove_duplicate=False),
               *module.named_buffers(remove_duplicate=False)]
    return {plain(name): tensor.detach().numpy().copy() for name, tensor in tensors}


def plain(name: str) -> str:
    return name.replace("_orig_mod.", "").removeprefix("module.")


def numpy_graft(
    networks: list[dict[str, np.ndarray]], leaders: Leaders, a: float = 0.4, c: float = 500.0
) -> list[dict[str, np.ndarray]]:
    """Every network's tensors after a graft around the ring."""
    entropies = [
        {name: numpy_entropy(network[name]) for name in set(leaders.values()) & set(network)}
        for network in networks]
    results = []
    for k, own in enumerate(networks):
        result = {}
        for name, w in own.items():
            leader = leaders[name]
            if leader == "leave":
                result[name] = w
                continue
            alpha = 0.5 if leader == "half" else share(
                entropies[k][leader], entropies[k - 1][leader], a, c)
            mixed = w.astype(np.float64) * alpha
            mixed += networks[k - 1][name].astype(np.float64) * (1 - alpha)
            result[name] = mixed.astype(np.float32)
        results.append(result)
    return results


def assert_same(modules: list[nn.Module], expected: list[dict[str, np.ndarray]]) -> None:
    """The same bits in every parameter and buffer."""
    for k, (module, arrays_of_k) in enumerate(zip(modules, expected)):
        found = arrays(module)
        assert found.keys() == arrays_of_k.keys()
        for name, w in arrays_of_k.items():
            assert found[name].tobytes() == w.tobytes(), f"network {k}: {name}"


def randomise(module: nn.Module, seed: int) -> nn.Module:
    """Fills every parameter and float buffer with numbers whose entropies differ by network."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.normal_(generator=generator)
                tensor.mul_(tensor.abs().pow(seed % 3)).add_(0.01 * seed)
        for name, buffer in module.named_buffers():
            if name.endswith("running_var"):
                buffer.abs_().add_(0.1)
    return module


@dataclass(frozen=True)
class Sample:
    """A module, an input, and what follows what.

    Attributes
    ----------
    layers
        The leaders of a module's tensors by prefix: "conv" for "conv.weight" and its bias.
    """

    make: Callable[[], nn.Module]
    inputs: Any
    leaders: dict[str, str]


def by_module(module: nn.Module, leaders: Mapping[str, str]) -> dict[str, str]:
    """Leaders of all tensors, from ones given for whole modules ("bn": "conv.weight") and for
    single tensors. A weight "layer" leads itself and its bias."""
    result = {}
    for name in arrays(module):
        parts = name.split(".")
        for count in range(len(parts), 0, -1):
            prefix = ".".join(parts[:count])
            if prefix in leaders:
                leader = leaders[prefix]
                result[name] = f"{prefix}.weight" if leader == "layer" else leader
                break
        else:
            raise AssertionError(f"nothing is said about {name}")
        if name.endswith("num_batches_tracked"):
            result[name] = "leave"
    return result


# ---- modules -------------------------------------------------------------------------------------


class Residual(nn.Module):
    """A pre-activation block after a convolution: norms that follow sums."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv1 = nn.Conv2d(4, 8, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(4, 8, 1)
        self.bn3 = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        out = F.relu(self.bn1(x))
        skip = self.shortcut(out)
        out = self.conv2(F.relu(self.bn2(self.conv1(out))))
        out = F.relu(self.bn3(out + skip))
        return self.fc(F.adaptive_avg_pool2d(out, 1).flatten(1))


class Dense(nn.Module):
    """Registered in another order than it runs; concatenations."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(10, 3)
        self.norm = nn.BatchNorm2d(10)
        self.second = nn.Conv2d(6, 4, 3, padding=1)
        self.first = nn.Conv2d(3, 3, 3, padding=1, groups=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = torch.cat([x, self.first(x)], 1)
        features = torch.cat([features, self.second(features)], 1)
        return self.head(self.norm(features).mean([2, 3]))


class Tokens(nn.Module):
    """A small vision transformer with bare parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.position = nn.Parameter(torch.zeros(1, 5, 8))
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.norm1 = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.scale = nn.Parameter(torch.ones(8))
        self.norm2 = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        y = self.norm1(x)
        x = x + self.scale * self.attention(y, y, y, need_weights=False)[0]
        x = x + self.mlp(self.norm2(x))
        return self.head(x[:, 0])


class SeparateAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.attention = nn.MultiheadAttention(
            8, 2, kdim=6, vdim=4, batch_first=True, add_bias_kv=True)
        self.key = nn.Linear(8, 6)
        self.value = nn.Linear(8, 4)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        return self.norm(x + self.attention(x, self.key(x), self.value(x))[0])


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.lstm = nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True, proj_size=3)
        self.norm = nn.LayerNorm(6)
        self.cell = nn.GRUCell(6, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, _ = self.lstm(self.embed(x))
        return self.out(self.cell(self.norm(x[:, -1])))


class GraphConvolution(nn.Module):
    """A message-passing layer with a matrix of its own; no type that PyTorch knows."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.zeros(inputs, outputs))
        self.offset = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        messages = (x @ self.matrix)[edges[0]]
        return torch.zeros_like(messages[: len(x)]).index_add(0, edges[1], messages) + self.offset


class Graph(nn.Module):
    """Cannot be traced symbolically: a loop over data."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.first = GraphConvolution(5, 6)
        self.layers = nn.ModuleList(GraphConvolution(6, 6) for _ in range(depth - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(6) for _ in range(depth - 1))

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        assert int(edges.max()) < len(x)
        x = self.first(x, edges)
        for layer, norm in zip(self.layers, self.norms):
            x = x + layer(F.relu(norm(x)), edges)
        return x


class Functional(nn.Module):
    """Weights of its own, used by functions; nothing is called what it is."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.Parameter(torch.zeros(6, 3, 3, 3))
        self.fc = nn.Parameter(torch.zeros(6))
        self.conv = nn.Parameter(torch.zeros(4, 6))
        self.weight = nn.Parameter(torch.zeros(6))
        self.unused = nn.Parameter(torch.zeros(3, 3))
        self.register_buffer("running_mean", torch.zeros(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.conv2d(x, self.bn / 2, self.fc) * self.weight[:, None, None]
        return F.linear(F.relu(x).amax((2, 3)), self.conv)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 6)
        self.block = nn.Linear(6, 6)
        self.norm = nn.LayerNorm(6)
        self.again = self.block
        self.out = nn.Linear(6, 9)
        self.out.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.norm(self.again(torch.relu(self.block(self.embed(x))))))


class Squeeze(nn.Module):
    """Squeeze-and-excitation: a gate scales, it does not feed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.down = nn.Linear(8, 2)
        self.up = nn.Linear(2, 8)
        self.norm = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        return self.fc(self.norm(x * gate[:, :, None, None]).mean((2, 3)))


def image(channels: int = 3, size: int = 8) -> torch.Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


def numbers(limit: int) -> torch.Tensor:
    return torch.arange(8).reshape(2, 4) % limit


EDGES = torch.tensor([[0, 1, 2, 3, 3], [1, 2, 0, 0, 2]])


def graph_sample(depth: int) -> Sample:
    leaders = {"first": "first.matrix"}
    for index in range(depth - 1):
        leaders[f"layers.{index}"] = f"layers.{index}.matrix"
        leaders[f"norms.{index}"] = f"layers.{index - 1}.matrix" if index else "first.matrix"
    return Sample(lambda: Graph(depth), (torch.randn(4, 5), EDGES), leaders)


def lstm_leaders() -> dict[str, str]:
    result = {}
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        for kind in ("ih", "hh"):
            for what in ("weight", "bias"):
                result[f"lstm.{what}_{kind}_{suffix}"] = f"lstm.weight_{kind}_{suffix}"
        result[f"lstm.weight_hr_{suffix}"] = f"lstm.weight_hr_{suffix}"
    return result


SAMPLES: dict[str, Sample] = {
    "conv1d": Sample(
        lambda: nn.Sequential(
            nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 5, 3, bias=False),
            nn.InstanceNorm1d(5, affine=True, track_running_stats=True), nn.AdaptiveMaxPool1d(1),
            nn.Flatten(), nn.Dropout(), nn.Linear(5, 3)),
        torch.randn(2, 3, 9),
        {"0": "layer", "1": "0.weight", "3": "layer", "4": "3.weight", "8": "3.weight"}),
    "conv3d": Sample(
        lambda: nn.Sequential(
            nn.Conv3d(2, 4, 3), nn.BatchNorm3d(4), nn.PReLU(4), nn.MaxPool3d(2), nn.Flatten(),
            nn.Linear(32, 6), nn.ReLU(), nn.Linear(6, 2)),
        torch.randn(2, 2, 6, 6, 6),
        {"0": "layer", "1": "0.weight", "2": "0.weight", "5": "0.weight", "7": "layer"}),
    "depthwise and grouped": Sample(
        lambda: nn.Sequential(
            nn.Conv2d(4, 4, 3, groups=4), nn.GroupNorm(2, 4), nn.Conv2d(4, 8, 1, groups=2),
            nn.BatchNorm2d(8, affine=False)),
        image(4),
        {"0": "layer", "1": "0.weight", "2": "layer", "3": "2.weight"}),
    "transposed": Sample(
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 5, 3), nn.BatchNorm2d(5), nn.ConvTranspose2d(5, 6, 2, groups=1),
            nn.Tanh()),
        image(),
        {"0": "layer", "1": "0.weight", "2": "layer"}),
    "transposed 1d and 3d": Sample(
        lambda: nn.Sequential(
            nn.ConvTranspose1d(3, 5, 3), nn.Unflatten(2, (2, 2, 2)), nn.ConvTranspose3d(5, 2, 2)),
        torch.randn(2, 3, 6),
        {"0": "layer", "2": "layer"}),
    "mlp": Sample(
        lambda: nn.Sequential(
            nn.BatchNorm1d(6), nn.Linear(6, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 9),
            nn.LayerNorm(9), nn.Linear(9, 2)),
        torch.randn(4, 6),
        {"0": "half", "1": "layer", "2": "1.weight", "4": "layer", "5": "4.weight", "6": "layer"}),
    "pre-activation": Sample(
        Residual, image(), {
            "stem": "layer", "bn1": "stem.weight", "conv1": "layer", "bn2": "conv1.weight",
            "conv2": "layer", "shortcut": "layer", "bn3": "conv2.weight", "fc": "conv2.weight"}),
    "concatenation": Sample(
        Dense, image(), {
            "head": "second.weight", "norm": "second.weight", "second": "layer",
            "first": "layer"}),
    "tokens": Sample(
        Tokens, image(), {
            "token": "patches.weight", "position": "patches.weight", "patches": "layer",
            "norm1": "patches.weight", "attention": "attention.in_proj_weight",
            "attention.out_proj": "layer", "scale": "attention.out_proj.weight",
            "norm2": "attention.out_proj.weight", "mlp.0": "layer", "mlp.2": "layer",
            "head": "layer"}),
    "separate attention": Sample(
        SeparateAttention, numbers(11), {
            "embed": "layer", "attention.q_proj_weight": "attention.q_proj_weight",
            "attention.k_proj_weight": "attention.k_proj_weight",
            "attention.v_proj_weight": "attention.v_proj_weight",
            "attention.in_proj_bias": "attention.q_proj_weight",
            "attention.bias_k": "attention.k_proj_weight",
            "attention.bias_v": "attention.v_proj_weight", "attention.out_proj": "layer",
            "key": "layer", "value": "layer", "norm": "attention.out_proj.weight"}),
    "recurrent": Sample(
        Recurrent, numbers(11), {
            "embed": "layer", **lstm_leaders(), "norm": "lstm.weight_hr_l1_reverse",
            **{f"cell.{what}_{kind}": f"cell.weight_{kind}"
               for what in ("weight", "bias") for kind in ("ih", "hh")},
            "out": "layer"}),
    "graph of 2": graph_sample(2),
    "graph of 16": graph_sample(16),
    "functional": Sample(
        Functional, image(), {
            "bn": "bn", "fc": "bn", "conv": "bn", "weight": "bn", "unused": "bn",
            "running_mean": "leave"}),
    "tied": Sample(
        Tied, numbers(9), {
            "embed": "layer", "block": "layer", "again": "block.weight", "norm": "block.weight",
            "out.weight": "embed.weight", "out.bias": "embed.weight"}),
    "squeeze": Sample(
        Squeeze, image(), {
            "conv": "layer", "down": "conv.weight", "up": "layer", "norm": "conv.weight",
            "fc": "conv.weight"}),
    "bilinear": Sample(
        lambda: nn.Bilinear(3, 4, 5), (torch.randn(2, 3), torch.randn(2, 4)),
        {"weight": "weight", "bias": "weight"}),
    "embedding bag": Sample(
        lambda: nn.Sequential(nn.EmbeddingBag(9, 4), nn.RMSNorm(4), nn.Linear(4, 2)), numbers(9),
        {"0": "layer", "1": "0.weight", "2": "layer"}),
}
