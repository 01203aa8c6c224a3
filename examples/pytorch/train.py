"""Two small networks on scikit-learn's digits, with and without grafting.

    PYTHONPATH=bindings/python python examples/pytorch/train.py

Both arms start from the same weights and see the same batches; the only difference is one line.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import graft.torch


def network(seed: int) -> nn.Module:
    """A plain convolutional network for 8 x 8 pixels."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, test images and labels; every fourth image is for testing."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(data.target)
    test = torch.arange(len(labels)) % 4 == 0
    return images[~test], labels[~test], images[test], labels[test]


def train(epochs: int, grafting: bool) -> list[nn.Module]:
    """Train two networks side by side, each on its own data order."""
    images, labels, _, _ = digits()
    models = [network(seed) for seed in range(2)]
    optimizers = [
        torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
        for model in models]
    schedules = [
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs) for optimizer in optimizers]
    orders = [torch.Generator().manual_seed(10 + k) for k in range(2)]
    grafter = graft.torch.Grafter(models) if grafting else None
    for _ in range(epochs):
        for model, optimizer, schedule, order in zip(models, optimizers, schedules, orders):
            for batch in torch.randperm(len(labels), generator=order).split(64):
                optimizer.zero_grad()
                F.cross_entropy(model(images[batch]), labels[batch]).backward()
                optimizer.step()
            schedule.step()
        if grafter is not None:
            report = grafter.step()  # the one line
    if grafter is not None:
        print(grafter.plan)
        print(report)
    return models


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    """Share of the test images that a network names rightly."""
    _, _, images, labels = digits()
    return float((model.eval()(images).argmax(1) == labels).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    epochs = parser.parse_args().epochs
    torch.set_num_threads(1)  # the images are too small to share among threads
    for grafting in (False, True):
        models = train(epochs, grafting)
        shown = ", ".join(f"{accuracy(model):.4f}" for model in models)
        print(f"{'grafted' if grafting else 'alone  '}: test accuracy after {epochs} epochs {shown}")


if __name__ == "__main__":
    main()
