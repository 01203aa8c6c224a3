"""Two networks of different depth and width that graft each other while they train.

    python examples/pytorch/across.py [--epochs N] [--seeds N]

A small residual network is trained on 100 of scikit-learn's digits: alone, with one like itself,
which is the paper's grafting, with a deeper one, and with a wider one; the other network of a pair
trains beside it, and both receive after every epoch. Prints the small network's test accuracy after
the last epoch, batch norms' statistics taken anew, and its gain over the network trained alone on
the same data from the same start. Ten minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

import graft.torch


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.layers(x))


def network(blocks: int = 1, width: int = 12) -> nn.Sequential:
    """8 x 8 pixels, two stages of `blocks` residual blocks."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        *(Block(width) for _ in range(blocks)),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(2 * width), nn.ReLU(), *(Block(2 * width) for _ in range(blocks)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 10))


def train_together(
    models: list[nn.Module], x: Tensor, y: Tensor, epochs: int, seed: int,
    after_epoch: Callable[[], object],
) -> None:
    optimizers = [
        torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
        for model in models]
    schedules = [
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs) for optimizer in optimizers]
    loss = nn.CrossEntropyLoss()
    for epoch in range(epochs):
        for k, (model, optimizer) in enumerate(zip(models, optimizers)):
            generator = torch.Generator().manual_seed(1000 * seed + 100 * k + epoch)
            for batch in torch.randperm(len(x), generator=generator).split(20):
                optimizer.zero_grad()
                loss(model(x[batch]), y[batch]).backward()
                optimizer.step()
        for schedule in schedules:
            schedule.step()
        if epoch + 1 < epochs:  # the last epoch repairs what a graft costs
            after_epoch()
    for model in models:  # a blend's statistics are those of neither network
        update_bn([x], model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)  # enough for networks of this size
    pixels, digits = load_digits(return_X_y=True)
    x = torch.from_numpy((pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8))
    y = torch.from_numpy(digits)
    others = {
        "alone": None, "with one like it": {}, "with a deeper one": {"blocks": 3},
        "with a wider one": {"width": 18}}
    print(f"{'of ' + str(options.seeds) + ' runs':20} test accuracy, %     gain ± standard error")
    alone: list[float] = []
    for name, shape in others.items():
        found = []
        for seed in range(options.seeds):
            torch.manual_seed(seed)
            order = torch.randperm(len(x))
            train, test = order[:100], order[100:]
            models: list[nn.Module] = [network()]
            torch.manual_seed(100 + seed)
            if shape is not None:
                models.append(network(**shape))
            pairs = graft.torch.pair_layers(models[0], models[-1], x[:2])

            def after_epoch() -> None:
                if len(models) > 1:
                    graft.torch.graft_across(*models, mapping=pairs, mutual=True)

            train_together(models, x[train], y[train], options.epochs, seed, after_epoch)
            with torch.no_grad():
                right = models[0].eval()(x[test]).argmax(1) == y[test]
            found.append(100 * float(right.double().mean()))
        alone = alone or found
        gains = np.subtract(found, alone)
        error = _deviation(gains) / len(gains) ** 0.5
        print(f"{name:20} {np.mean(found):6.2f} ± {_deviation(found):.2f}      "
              f"{np.mean(gains):+8.2f} ± {error:.2f}", flush=True)


def _deviation(numbers: Sequence[float]) -> float:
    return float(np.std(numbers, ddof=min(1, len(numbers) - 1)))


if __name__ == "__main__":
    main()
