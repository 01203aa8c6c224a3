"""Two networks trained apart, what lies between them, and what aligning them first does to it.

    python examples/pytorch/alignment.py [--epochs N] [--width N] [--picture FILE]

Prints the loss along the straight line between the two: as they are, aligned, and aligned with the
batch norms' statistics taken anew; then the loss after one graft, plain and aligned. On
scikit-learn's digits; a minute. --picture draws the lines (needs matplotlib).
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

import graft.torch

PRINTED = (0.0, 0.25, 0.5, 0.75, 1.0)
DRAWN = tuple(k / 12 for k in range(13))
#: By name, the loss at each share.
Lines = Mapping[str, Mapping[float, float]]


def make(seed: int, width: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs in (1, width, width):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


@dataclass
class Digits:
    """1347 digits to train on, 450 to test with."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @classmethod
    def load(cls) -> Digits:
        pixels, labels = load_digits(return_X_y=True)
        x = torch.from_numpy((pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8))
        y = torch.from_numpy(labels)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        train, test = order[:1347], order[1347:]
        return cls((x[train], y[train]), (x[test], y[test]))

    def fit(self, network: nn.Module, epochs: int, seed: int) -> None:
        x, y = self.train
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            for batch in torch.randperm(len(x), generator=generator).split(128):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
                optimizer.step()

    def loss(self, network: nn.Module) -> float:
        x, y = self.test
        with torch.no_grad():
            return float(nn.functional.cross_entropy(network.eval()(x), y))


def between(pair: Sequence[nn.Module], share: float) -> nn.Module:
    """The network at a share of the way from the first to the second."""
    network = copy.deepcopy(pair[0])
    for mine, other in zip(network.state_dict().values(), pair[1].state_dict().values()):
        if mine.is_floating_point():
            mine.lerp_(other, share)
    return network


def along(
    pair: Sequence[nn.Module], shares: Sequence[float], digits: Digits, anew: bool
) -> dict[float, float]:
    """The test loss on the way, with batch norms' statistics blended or taken anew."""
    losses = {}
    for share in shares:
        network = between(pair, share)
        if anew:
            update_bn([digits.train[0]], network)
        losses[share] = digits.loss(network)
    return losses


def grafted(pair: Sequence[nn.Module], digits: Digits, align: bool) -> float:
    """The mean test loss of copies of both after one graft."""
    copies = [copy.deepcopy(network) for network in pair]
    x = digits.train[0]
    choices = {"align": True, "example_inputs": x[:2], "statistics": [x]} if align else {}
    graft.torch.Grafter(copies, **choices).step()
    return sum(digits.loss(network) for network in copies) / len(copies)


def show(lines: Lines) -> None:
    """The table; a barrier is the loss in the middle beyond the mean of the ends'."""
    print(f"{'test loss at':30}" + "".join(f"{share:8.2f}" for share in PRINTED) + " barrier")
    for name, losses in lines.items():
        barrier = losses[0.5] - (losses[0.0] + losses[1.0]) / 2
        print(f"{name:30}" + "".join(f"{losses[share]:8.3f}" for share in PRINTED)
              + f"{barrier:8.3f}")


def draw(lines: Lines, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    # The two ways to blend by colour, whose statistics by line: dashed as blended, solid anew.
    grey, blue = "#777777", "#0072B2"
    styles = dict(zip(lines, ((grey, "--"), (grey, "-"), (blue, "--"), (blue, "-"))))
    figure, axes = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
    for name, losses in lines.items():
        colour, style = styles[name]
        axes.plot(list(losses), list(losses.values()), style, color=colour, linewidth=2)
        peak = max(losses, key=lambda share: losses[share])
        axes.annotate(
            name.replace(", ", ",\n"), (peak, losses[peak]), (0, 3), fontsize=9,
            textcoords="offset points", ha="center", va="bottom", color=colour)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.12 * max(max(losses.values()) for losses in lines.values()))
    axes.set_xlabel("share of the second network's weights")
    axes.set_ylabel("test loss")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--width", type=int, default=64, help="filters of each convolution")
    parser.add_argument("--picture", type=Path, help="a file to draw the lines into")
    options = parser.parse_args()
    digits = Digits.load()
    pair = [make(seed, options.width) for seed in (1, 2)]
    for seed, network in enumerate(pair):
        digits.fit(network, options.epochs, seed)
    after = {align: grafted(pair, digits, align) for align in (False, True)}
    shares = PRINTED if options.picture is None else DRAWN
    lines = {"as they are": along(pair, shares, digits, False)}
    lines["as they are, statistics anew"] = along(pair, shares, digits, True)
    found = graft.torch.align(pair[1], to=pair[0], example_inputs=digits.train[0][:2])
    lines["aligned"] = along(pair, shares, digits, False)
    lines["aligned, statistics anew"] = along(pair, shares, digits, True)
    print(f"{found.moved} of {found.channels} channels moved; cosine between the weights "
          f"{found.similarity_before:.2f} before, {found.similarity_after:.2f} after\n")
    show(lines)
    print(f"\nafter one graft: {after[False]:.3f} plain, {after[True]:.3f} with align and "
          "statistics")
    if options.picture is not None:
        draw(lines, options.picture)
        print(f"drew {options.picture}")


if __name__ == "__main__":
    main()
