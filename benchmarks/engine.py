"""Training and inference, images a second, beside PyTorch: `make bench`.

Prints a table and writes build/bench/engine.json. PyTorch runs as contiguous, as channels_last, and
as one single-thread process a core; the best of its medians is the peer.

    python benchmarks/engine.py [--quick] [--threads N] [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from side_by_side import ROOT, Group, interleave  # noqa: E402

# name, ours, its arguments, PyTorch's module, its arguments, batch, training and inference goals
NETWORKS = [
    ("resnet20", "resnet", {"depth": 20}, "ResNet", {"depth": 20}, 128, 1.5, 1.5),
    ("resnet32", "resnet", {"depth": 32}, "ResNet", {"depth": 32}, 128, 1.5, 1.5),
    ("resnet56", "resnet", {"depth": 56}, "ResNet", {"depth": 56}, 128, 1.5, 1.5),
    ("mobilenet_v2", "mobilenet_v2", {}, "MobileNetV2", {}, 128, 2.5, 1.5),
    ("vgg16", "vgg", {"depth": 16}, "VGG", {"depth": 16}, 128, 1.2, 1.5),
    ("wrn16-4", "wide_resnet", {"depth": 16, "widen": 4}, "WideResNet",
     {"depth": 16, "widen": 4}, 64, 1.2, 1.5),
    ("resnext29-32x4d", "resnext", {"cardinality": 32, "base_width": 4}, "ResNeXt",
     {"cardinality": 32, "base_width": 4}, 32, 1, 1.5),
    ("densenet-bc100-12", "densenet", {}, "DenseNet", {}, 64, 1, 1.5),
]
QUICK = {"resnet20", "mobilenet_v2"}


def measure(network: tuple, mode: str, threads: int, rounds: int) -> dict:
    name, function, arguments, module, module_arguments, batch, train_goal, inference_goal = network
    shape, classes = (3, 32, 32), 10
    common = {
        "shape": shape, "classes": classes, "batch": batch, "mode": mode, "threads": threads,
        "steps": 1 if mode == "training" else 2, "network": function, "arguments": arguments,
        "module": module, "module_arguments": module_arguments,
        "reference": str(ROOT / "Tests" / "python"), "layout": "contiguous",
    }
    theirs = {**common, "library": "pytorch"}
    single = {**theirs, "threads": 1, "layout": "channels_last"}
    groups = [
        Group("ours", [{**common, "library": "ours"}]),
        Group("contiguous", [theirs]),
        Group("channels_last", [{**theirs, "layout": "channels_last"}]),
        Group("processes", [single] * threads),
    ]
    interleave(groups, rounds)
    for group in groups:
        group.close()
    own, peers = groups[0], groups[1:]
    best = max(peers, key=lambda group: group.median)
    goal = train_goal if mode == "training" else inference_goal
    return {
        "case": f"{name}/{'train' if mode == 'training' else 'inference'}/float32",
        "ours": own.median, "peer": best.median, "ratio": own.median / best.median, "goal": goal,
        "peer_kind": best.name, "unit": "images/s", "threads": threads, "batch": batch,
        "peers": {group.name: group.median for group in peers},
        "peak_mib": own.peak, "peer_peak_mib": best.peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="ResNet-20 and MobileNetV2 alone")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rows = []
    print(f"{'case':32} {'ours':>8} {'PyTorch':>8} {'ratio':>6} {'goal':>5}  "
          f"{'PyTorch at its best as':22} {'MiB':>6} {'theirs':>7}")
    for network in NETWORKS:
        if options.quick and network[0] not in QUICK:
            continue
        for mode in ("training", "inference"):
            row = measure(network, mode, options.threads, options.rounds)
            rows.append(row)
            print(f"{row['case']:32} {row['ours']:8.0f} {row['peer']:8.0f} {row['ratio']:6.2f} "
                  f"{row['goal']:5.1f}  {row['peer_kind']:22} {row['peak_mib']:6.0f} "
                  f"{row['peer_peak_mib']:7.0f}", flush=True)
    target = ROOT / "build" / "bench"
    target.mkdir(parents=True, exist_ok=True)
    (target / "engine.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(f"images a second, medians of {options.rounds} rounds in turn, {options.threads} threads; "
          f"written to {(target / 'engine.json').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
