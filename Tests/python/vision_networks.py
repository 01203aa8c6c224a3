"""Compares the networks of graft.imagenet with torchvision's, a line of JSON a model. Run by
test_vision_networks.py in a process of its own, with torchvision on its path.

    python vision_networks.py MODEL...
"""

from __future__ import annotations

import json
import sys
import traceback

import numpy as np
import torch

library = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision.models as vision  # noqa: E402
from reference_networks import load  # noqa: E402
from test_resnet import batch, distance, gradients, ours  # noqa: E402

import graft  # noqa: E402
import graft.torch  # noqa: E402

# Whose passes are compared, on how many seeds; names and counts are for all.
PASSES = {
    "resnet18": 3, "resnet50": 2, "resnext50_32x4d": 2, "mobilenet_v2": 8, "densenet121": 6,
}
SHAPE = (3, 64, 48)


def make(model: str, classes: int):
    """torchvision's, without dropout: what it drops is its own."""
    more = {"dropout": 0.0} if model == "mobilenet_v2" else {}
    return getattr(vision, model)(num_classes=classes, **more)


def names(model: str) -> dict[str, object]:
    """Names, shapes, order and the plan of a graft; and torchvision's own count."""
    with torch.device("meta"):
        reference = getattr(vision, model)()
    network = graft.imagenet(model)
    state = network.state_dict()
    theirs = {name: tuple(value.shape) for name, value in reference.state_dict().items()}
    plan = {entry.name: (entry.role, entry.feeder) for entry in graft.torch.plan(reference)}
    return {
        "names": list(state) == list(theirs),
        "shapes": {name: value.shape for name, value in state.items()} == theirs,
        "plan": {e.name: (e.role, e.feeder) for e in network.plan()} == plan,
        "parameters": sum(state[name].size for name, _ in reference.named_parameters()),
    }


def passes(model: str) -> dict[str, object]:
    """Distances from PyTorch's float64, ours and those of PyTorch's float32, sorted over seeds: the
    median of the gradients', and the logits'."""
    own, theirs, statistics = [], [], 0.0
    for seed in range(PASSES[model]):
        images, labels = batch(4, SHAPE, seed=seed)
        network = graft.imagenet(model, 10, SHAPE, dropout=0, seed=seed)
        exact, single = make(model, 10), make(model, 10)
        load(exact, network)
        load(single, network)
        exact_logits, exact_found = gradients(exact.double(), images, labels, torch.float64)

        def far(logits, found) -> tuple[float, float]:
            assert sorted(found) == sorted(exact_found)
            each = [distance(np.asarray(value), exact_found[name]) for name, value in found.items()]
            return float(np.median(each)), distance(np.asarray(logits.detach()), exact_logits)

        theirs.append(far(*gradients(single, images, labels, torch.float32)))
        logits, found = ours(network, images, labels)
        own.append(far(torch.from_numpy(logits), found))
        if seed > 0:
            continue
        moved, state = exact.state_dict(), network.state_dict()
        for name in moved:
            if name.endswith("running_mean"):  # as a share of the deviation
                deviation = moved[name.replace("mean", "var")].sqrt().max()
                difference = np.abs(state[name] - moved[name].numpy()).max()
                statistics = max(statistics, float(difference / deviation))
            elif name.endswith("running_var"):
                statistics = max(statistics, distance(state[name], moved[name]))
        exact.eval()
        with torch.no_grad():
            expected = exact(torch.from_numpy(images).double())
        evaluation = distance(network.forward(images), expected)
    own, theirs = (np.sort(np.array(each), axis=0).tolist() for each in (own, theirs))
    return {"own": own, "theirs": theirs, "statistics": statistics, "evaluation": evaluation}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for model in sys.argv[1:]:
        try:
            result = {**names(model), **(passes(model) if model in PASSES else {})}
        except Exception:
            result = {"error": traceback.format_exc()}
        print(json.dumps({"model": model, **result}), flush=True)
