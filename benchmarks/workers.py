"""Processes that train or run one network each, so that no two libraries share a process.

A worker prints a line when it is ready, then for every line it reads runs a few steps and prints a
JSON object: images a second, its peak memory, the processor time it took. Started by
side_by_side.py.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
#: Steps that are timed at once take at least so long.
LEAST_SECONDS = 0.25
#: Batches of an epoch where a trainer grafts after each. The paper's epochs have 391.
EPOCH_BATCHES = 8

Step = Callable[[], object]


def batch(shape: tuple[int, int, int], count: int, classes: int):
    rng = np.random.default_rng(0)
    channels, height, width = shape
    images = rng.standard_normal((count, height, width, channels)).astype(np.float32)
    return images.transpose(0, 3, 1, 2), rng.integers(0, classes, count)


# ---- ours ----------------------------------------------------------------------------------------


def our_network(case: dict, seed: int = 1):
    import graft

    network = getattr(graft, case["network"])(
        **case["arguments"], input_shape=tuple(case["shape"]), seed=seed
    )
    network.threads = case["threads"]
    if case["dtype"] == "bfloat16":
        use_bfloat16(network)
    return network


def has_bfloat16() -> bool:
    """Whether the library can train in bfloat16 at all: cases in it are left out otherwise."""
    import graft

    return hasattr(graft.Network, "precision")


def use_bfloat16(network) -> None:
    """Has a network compute its passes in bfloat16, its weights staying float32."""
    network.precision = "bfloat16"


def operations_an_image(network, mode: str) -> float:
    """Multiplications and additions of the convolutions and linear layers, computed directly.

    Training takes them three times (output, input gradient, weight gradient), but twice in the
    layers that read the images.
    """
    from counting import counted

    layers = counted(network)
    if mode == "inference":
        return sum(layer.forward for layer in layers)
    return sum(layer.forward + layer.backward for layer in layers)


def ours(case: dict) -> tuple[Step, dict]:
    import graft

    images, labels = batch(case["shape"], case["batch"], case["classes"])
    if case["mode"] == "grafting":
        return grafting(case)
    network = our_network(case)
    told = {"operations": operations_an_image(network, case["mode"])}
    if case["mode"] == "inference":
        predictor = graft.Predictor(network, threads=case["threads"], take=True)
        return lambda: predictor(images), told
    sgd = graft.SGD(network, learning_rate=0.01, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        logits = network.forward(images, training=True)
        _, gradient = graft.distillation_loss(logits, [], labels)
        network.backward(gradient)
        sgd.step()

    return step, told


def grafting(case: dict) -> tuple[Step, dict]:
    """K networks in one trainer: its batches are drawn and augmented, and epochs end in a graft."""
    import graft

    count = case["networks"]
    networks = [our_network(case, seed) for seed in range(count)]
    images, labels = batch(case["shape"], case["batch"] * EPOCH_BATCHES, case["classes"])
    data = graft.Dataset.from_arrays(
        np.clip(images * 64 + 128, 0, 255).astype(np.uint8), labels, classes=case["classes"])
    trainer = graft.Trainer(
        networks, data, epochs=10**6, batch_size=case["batch"], learning_rate=0.01,
        schedule="constant", threads=case["threads"],
        grafting=graft.Grafting() if count > 1 else None)

    def epoch() -> None:
        try:
            trainer.run(lambda progress: progress.phase != "epoch")
        except graft.CancelledError:
            pass

    return epoch, {
        "operations": operations_an_image(networks[0], "training"),
        "images": case["batch"] * EPOCH_BATCHES * count}


# ---- PyTorch -------------------------------------------------------------------------------------


def their_module(case: dict):
    import torch

    if case["module"].startswith("torchvision."):
        sys.path.insert(0, str(ROOT / "build" / "models"))
        # Its compiled operators need another PyTorch than the one here; its models need none.
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(
                f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision.models

        return getattr(torchvision.models, case["module"].split(".")[1])(
            **case["module_arguments"])
    sys.path.insert(0, str(ROOT / "Tests" / "python"))
    import reference_joins
    import reference_networks

    make = getattr(reference_networks, case["module"], None) or getattr(
        reference_joins, case["module"])
    return make(**case["module_arguments"])


def pytorch(case: dict) -> tuple[Step, dict]:
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(case["threads"])
    module = their_module(case)
    images, labels = batch(case["shape"], case["batch"], case["classes"])
    layout = torch.channels_last if case["layout"] == "channels_last" else torch.contiguous_format
    module = module.to(memory_format=layout)
    x = torch.from_numpy(np.ascontiguousarray(images)).contiguous(memory_format=layout)
    y = torch.from_numpy(labels)
    half = case["dtype"] == "bfloat16"

    def autocast():
        return torch.autocast("cpu", torch.bfloat16, enabled=half)

    if case["mode"] == "inference":
        module.eval()

        def run() -> None:
            with torch.inference_mode(), autocast():
                module(x)

        return run, {}
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        optimiser.zero_grad()
        with autocast():
            loss = F.cross_entropy(module(x), y)
        loss.backward()
        optimiser.step()

    return step, {}


# ---- the process ---------------------------------------------------------------------------------


def usage() -> tuple[float, float]:
    """Seconds of processor that this process took, and its peak memory in MiB.

    (Not getrusage's ru_maxrss: that is no less than what the parent had when it started this.)
    """
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return time.process_time(), int(peak.split()[1]) / 1024


def main() -> None:
    case = json.loads(sys.argv[1])
    step, told = {"ours": ours, "pytorch": pytorch}[case["library"]](case)
    images = told.get("images", case["batch"])
    print(json.dumps(told), flush=True)
    steps = 0
    for _ in sys.stdin:
        before, _ = usage()
        began = time.perf_counter()
        if steps == 0:  # memory and plans are made in the first step; the next tells its length
            step()
            began = time.perf_counter()
            step()
            seconds, done = time.perf_counter() - began, 1
            steps = max(1, math.ceil(LEAST_SECONDS / seconds))
        else:
            for _ in range(steps):
                step()
            seconds, done = time.perf_counter() - began, steps
        after, peak = usage()
        print(json.dumps({
            "rate": images * done / seconds, "peak": peak, "processor": after - before,
        }), flush=True)


if __name__ == "__main__":
    main()
