"""Two networks trained apart, their mean, and what aligning them first does to it.

    python examples/pytorch/alignment.py [--epochs N]

Prints the loss along the straight line between the two: as they are, aligned, and aligned with
the batch norms' statistics taken anew. On scikit-learn's digits; half a minute.
"""

from __future__ import annotations

import argparse
import copy

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.swa_utils import update_bn

import graft.torch

POINTS = (0.0, 0.25, 0.5, 0.75, 1.0)


def make(seed: int, width: int = 64) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs in (1, width, width):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    epochs = parser.parse_args().epochs
    pixels, digits = load_digits(return_X_y=True)
    x = torch.from_numpy((pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8))
    y = torch.from_numpy(digits)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1347], order[1347:]
    loss = nn.CrossEntropyLoss()
    networks = [make(seed) for seed in (1, 2)]
    for seed, network in enumerate(networks):
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            for batch in train[torch.randperm(len(train), generator=generator)].split(128):
                optimizer.zero_grad()
                loss(network(x[batch]), y[batch]).backward()
                optimizer.step()

    def between(share: float, anew: bool) -> float:
        first, second = networks
        network = copy.deepcopy(first)
        for mine, other in zip(network.state_dict().values(), second.state_dict().values()):
            if mine.is_floating_point():
                mine.lerp_(other, share)
        if anew:
            update_bn([x[train]], network)
        with torch.no_grad():
            return float(loss(network.eval()(x[test]), y[test]))

    rows = {"as they are": [between(share, False) for share in POINTS]}
    rows["as they are, statistics anew"] = [between(share, True) for share in POINTS]
    found = graft.torch.align(networks[1], to=networks[0], example_inputs=x[:2])
    rows["aligned"] = [between(share, False) for share in POINTS]
    rows["aligned, statistics anew"] = [between(share, True) for share in POINTS]
    print(f"{found.moved} of {found.channels} channels moved; cosine between the weights "
          f"{found.similarity_before:.2f} before, {found.similarity_after:.2f} after\n")
    print(f"{'test loss at':30}" + "".join(f"{share:8.2f}" for share in POINTS) + " barrier")
    for name, losses in rows.items():
        barrier = losses[2] - (losses[0] + losses[-1]) / 2
        print(f"{name:30}" + "".join(f"{value:8.3f}" for value in losses) + f"{barrier:8.3f}")


if __name__ == "__main__":
    main()
