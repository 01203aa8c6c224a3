"""What the demo runs: the data sets, the arms, and the settings of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import graft


MOMENTUM = 0.9


@dataclass(frozen=True)
class Settings:
    """One data set's experiment."""

    title: str
    train: graft.Dataset
    test: graft.Dataset
    depth: int
    base_filters: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_epochs: int
    crop_padding: int
    flip: bool
    seeds: int
    threshold: float

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.train.channels, self.train.height, self.train.width

    @property
    def steps(self) -> int:
        """Training steps of one network."""
        return self.epochs * -(-self.train.count // self.batch_size)

    @property
    def shrinkage(self) -> float:
        """What weight decay alone leaves of a filter that gets no gradient.

        About exp(-steps x lr x decay / (1 - momentum)), with the mean learning rate of a cosine.
        """
        rate = self.learning_rate / 2
        return float(np.exp(-self.steps * rate * self.weight_decay / (1 - MOMENTUM)))


@dataclass(frozen=True)
class Arm:
    """One way to train, compared with the others.

    Attributes
    ----------
    distils
        Whether the baseline of the same seed, trained, teaches.
    """

    key: str
    name: str
    networks: int
    grafts: bool
    distils: bool

    @property
    def cost(self) -> float:
        """Work of a step, in a baseline's: a teacher is run forward only."""
        return self.networks * (4 / 3 if self.distils else 1)


ARMS = (
    Arm("baseline", "baseline", 1, grafts=False, distils=False),
    Arm("grafted", "grafted", 2, grafts=True, distils=False),
    Arm("distilled", "grafted + distilled", 2, grafts=True, distils=True),
)


def digits() -> Settings:
    """scikit-learn's digits: 1,797 scans of 8 x 8 pixels; the first half trains, the second tests.

    Small batches and a strong weight decay stand for the paper's 78,000 steps: without enough of
    both no filter dies, and there is nothing to revive.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images[:, None] / 16).astype(np.float32)
    half = len(images) // 2
    train = graft.Dataset.from_arrays(images[:half], data.target[:half], 10)
    test = graft.Dataset.from_arrays(images[half:], data.target[half:], 10)
    mean, deviation = train.statistics()
    return Settings(
        "scikit-learn's digits", train.normalise(mean, deviation), test.normalise(mean, deviation),
        depth=14, base_filters=8, epochs=70, batch_size=16, learning_rate=0.05, weight_decay=1e-2,
        warmup_epochs=5, crop_padding=1, flip=False, seeds=3, threshold=0.1)


def cifar10(directory: Path) -> Settings:
    """CIFAR-10's binary files: 60,000 photographs of 32 x 32 pixels."""
    train = graft.Dataset.cifar(directory, "train")
    test = graft.Dataset.cifar(directory, "test")
    mean, deviation = train.statistics()
    return Settings(
        "CIFAR-10", train.normalise(mean, deviation), test.normalise(mean, deviation),
        depth=20, base_filters=16, epochs=10, batch_size=64, learning_rate=0.1, weight_decay=1.5e-3,
        warmup_epochs=1, crop_padding=4, flip=True, seeds=1, threshold=0.1)
