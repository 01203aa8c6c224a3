"""How long a graft takes: two networks of ResNet-50's shapes, 25.6 million weights each.

Beside it the least that any graft could take, reading and writing the same bytes once (a copy), and
the authors' published way, restated in PyTorch. The contenders take turns, and medians are printed.

    make bench            or, after `make build`:
    PYTHONPATH=bindings/python python benchmarks/grafting.py [--rounds 7] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import graft


def resnet50() -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes of ResNet-50's weights, in the order of its state dict."""
    result: list[tuple[str, tuple[int, ...]]] = []

    def conv(name: str, outputs: int, inputs: int, size: int) -> None:
        result.append((f"{name}.weight", (outputs, inputs, size, size)))
        for part in ("weight", "bias", "running_mean", "running_var"):
            result.append((f"{name}.bn.{part}", (outputs,)))

    conv("conv1", 64, 3, 7)
    inputs = 64
    for stage, (blocks, width) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], start=1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            conv(f"{name}.conv1", width, inputs, 1)
            conv(f"{name}.conv2", width, width, 3)
            conv(f"{name}.conv3", 4 * width, width, 1)
            if block == 0:
                conv(f"{name}.shortcut", 4 * width, inputs, 1)
            inputs = 4 * width
    result += [("fc.weight", (1000, inputs)), ("fc.bias", (1000,))]
    return result


def network(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(shape, np.float32) * np.float32(0.05))
        for name, shape in resnet50()
    }


def published(threads: int) -> Callable[[list[dict[str, np.ndarray]]], None] | None:
    """The published procedure on the same arrays: a pass over the weights for every bin."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)

    def entropy(w: torch.Tensor, bins: int = 10) -> float:
        x = w.reshape(-1)
        low, width = x.min(), (x.max() - x.min()) / bins
        total = torch.zeros(())
        for b in range(bins):
            inside = (x >= low + b * width) * (x < low + (b + 1) * width)
            p = inside.sum(dtype=torch.float32) / x.numel()
            if p != 0:
                total -= p * torch.log(p)
        return float(total)

    def run(networks: list[dict[str, np.ndarray]]) -> None:
        views = [{name: torch.from_numpy(w) for name, w in each.items()} for each in networks]
        results = []
        for k, own in enumerate(views):
            other, alpha, mixed = views[k - 1], 0.5, {}
            for name, w in own.items():
                if w.dim() == 4:
                    alpha = round(float(
                        0.4 / np.pi * np.arctan(500 * (entropy(w) - entropy(other[name]))) + 0.5),
                        2)
                mixed[name] = w * alpha + other[name] * (1 - alpha)
            results.append(mixed)
        for own, mixed in zip(views, results):
            for name, w in own.items():
                w.copy_(mixed[name])

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=0, help="0: what OpenMP would take")
    arguments = parser.parse_args()

    networks = [network(0), network(1)]
    weights = sum(w.size for w in networks[0].values())
    total_bytes = 4 * weights * len(networks)
    flat = np.concatenate([w.ravel() for each in networks for w in each.values()])
    target = np.empty_like(flat)
    contenders: dict[str, Callable[[], object]] = {
        "copy of the same bytes": lambda: np.copyto(target, flat),
        "graft": lambda: graft.graft(networks, threads=arguments.threads),
        "graft, one thread": lambda: graft.graft(networks, threads=1),
        "entropy of all layers": lambda: [
            graft.entropy(w, threads=arguments.threads)
            for each in networks for w in each.values() if w.ndim > 1],
    }
    loop = published(arguments.threads or 2)
    if loop is not None:
        contenders["published way, PyTorch"] = lambda: loop(networks)

    fresh = [{name: w.copy() for name, w in each.items()} for each in networks]
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(arguments.rounds):
        for name, run in contenders.items():
            for each, original in zip(networks, fresh):
                for key, w in each.items():
                    np.copyto(w, original[key])
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)

    base = statistics.median(seconds["copy of the same bytes"])
    print(f"{len(networks)} networks of {weights:,} weights, {total_bytes / 1e6:.0f} MB, "
          f"{graft.instructions()}, medians of {arguments.rounds}")
    print(f"{'':24}{'ms':>9}{'x copy':>9}{'GB/s':>8}")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:24}{median * 1e3:9.1f}{median / base:9.2f}{total_bytes / median / 1e9:8.1f}")
    write({name: statistics.median(times) for name, times in seconds.items()})


def write(medians: dict[str, float]) -> None:
    """build/bench/graft.json: seconds of ours and of each peer. Beside the copy the ratio is ours to
    its, to be at most the goal; beside the published way it is its to ours, to be at least that."""
    ours, copy = medians["graft"], medians["copy of the same bytes"]
    rows = [{"case": "resnet50/k2/copy", "ours": ours, "peer": copy, "ratio": ours / copy, "goal": 2}]
    published = medians.get("published way, PyTorch")
    if published is not None:
        rows.append({
            "case": "resnet50/k2/published", "ours": ours, "peer": published,
            "ratio": published / ours, "goal": 20,
        })
    target = Path(__file__).resolve().parents[1] / "build" / "bench"
    target.mkdir(parents=True, exist_ok=True)
    (target / "graft.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
