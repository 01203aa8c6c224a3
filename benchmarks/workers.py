"""Processes that train or run one network each, so that no two libraries share a process.

A worker prints a line when it is ready, then for every line it reads runs a few steps and prints a
JSON object: images a second, and its peak memory. Started by side_by_side.py.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np


def batch(shape: tuple[int, int, int], count: int, classes: int):
    rng = np.random.default_rng(0)
    channels, height, width = shape
    images = rng.standard_normal((count, height, width, channels)).astype(np.float32)
    return images.transpose(0, 3, 1, 2), rng.integers(0, classes, count)


def ours(case: dict):
    import graft

    network = getattr(graft, case["network"])(
        **case["arguments"], input_shape=tuple(case["shape"]), seed=1
    )
    network.threads = case["threads"]
    images, labels = batch(case["shape"], case["batch"], case["classes"])
    if case["mode"] == "inference":
        predictor = graft.Predictor(network, threads=case["threads"])
        return lambda: predictor(images)
    sgd = graft.SGD(network, learning_rate=0.01, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        logits = network.forward(images, training=True)
        _, gradient = graft.distillation_loss(logits, [], labels)
        network.backward(gradient)
        sgd.step()

    return step


def pytorch(case: dict):
    import torch
    import torch.nn.functional as F

    sys.path.insert(0, case["reference"])
    import reference_joins
    import reference_networks

    torch.set_num_threads(case["threads"])
    make = getattr(reference_networks, case["module"], None) or getattr(
        reference_joins, case["module"])
    module = make(**case["module_arguments"])
    images, labels = batch(case["shape"], case["batch"], case["classes"])
    layout = torch.channels_last if case["layout"] == "channels_last" else torch.contiguous_format
    module = module.to(memory_format=layout)
    x = torch.from_numpy(np.ascontiguousarray(images)).contiguous(memory_format=layout)
    y = torch.from_numpy(labels)
    if case["mode"] == "inference":
        module.eval()

        def run() -> None:
            with torch.inference_mode():
                module(x)

        return run
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step() -> None:
        optimiser.zero_grad()
        F.cross_entropy(module(x), y).backward()
        optimiser.step()

    return step


def main() -> None:
    case = json.loads(sys.argv[1])
    step = {"ours": ours, "pytorch": pytorch}[case["library"]](case)
    step()
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        for _ in range(case["steps"]):
            step()
        seconds = time.perf_counter() - began
        rate = case["batch"] * case["steps"] / seconds
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"rate": rate, "peak": peak}), flush=True)


if __name__ == "__main__":
    main()
