"""Grafts during a Lightning trainer's run, against NumPy."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import graft
import graft.lightning

from test_grafting import share
from test_information import numpy_entropy

torch.set_num_threads(1)
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

NORM = ("weight", "bias", "running_mean", "running_var")
FEEDERS = {"0.weight": "0.weight", "4.weight": "4.weight", "9.weight": "4.weight",
           "9.bias": "4.weight", **{f"1.{name}": "0.weight" for name in NORM},
           **{f"5.{name}": "4.weight" for name in NORM}}


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


class Together(lightning.LightningModule):
    """Two networks in one module."""

    def __init__(self) -> None:
        super().__init__()
        self.networks = nn.ModuleList([network(0), network(1)])

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        images, labels = batch
        return sum(F.cross_entropy(one(images), labels) for one in self.networks)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.05, momentum=0.9)


def states(module: Together) -> list[dict[str, np.ndarray]]:
    return [{name: tensor.numpy().copy() for name, tensor in one.state_dict().items()}
            for one in module.networks]


def expected(networks: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    results = []
    for k, own in enumerate(networks):
        other, result = networks[k - 1], dict(own)
        for name, feeder in FEEDERS.items():
            alpha = share(
                numpy_entropy(own[feeder], 10), numpy_entropy(other[feeder], 10), 0.4, 500.0)
            result[name] = (alpha * own[name].astype(np.float64)
                            + (1 - alpha) * other[name].astype(np.float64)).astype(np.float32)
        results.append(result)
    return results


class Before(lightning.Callback):
    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.states = states(module)


class After(lightning.Callback):
    def __init__(self, before: Before, grafting: Any, start: int = 1, every: int = 1) -> None:
        self.before, self.grafting, self.start, self.every = before, grafting, start, every
        self.epochs: list[bool] = []

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        epoch = trainer.current_epoch + 1
        due = epoch >= self.start and (epoch - self.start) % self.every == 0
        wanted = expected(self.before.states) if due else self.before.states
        for found, one in zip(states(module), wanted):
            for name, array in one.items():
                assert found[name].tobytes() == array.tobytes(), (epoch, name)
        if due:
            rows = [layer.networks[1] for layer in self.grafting.report]
            logged = trainer.callback_metrics
            assert float(logged["graft/alpha_1"]) == pytest.approx(
                np.mean([row.alpha for row in rows]), rel=1e-6)
            entropy = np.mean([numpy_entropy(wanted[1][name], 10)
                               for name in ("0.weight", "4.weight")])
            assert float(logged["graft/entropy_1"]) == pytest.approx(entropy, rel=1e-6)
        self.epochs.append(due)


def loader() -> tuple[DataLoader, torch.Tensor, torch.Tensor]:
    digits = load_digits()
    images = torch.tensor(digits.images[:, None] / 8 - 1, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    data = TensorDataset(images[:1400], labels[:1400])
    generator = torch.Generator().manual_seed(0)
    return DataLoader(data, 32, shuffle=True, generator=generator), images[1400:], labels[1400:]


def trainer(folder: Path, epochs: int, callbacks: list[Any]) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, callbacks=callbacks,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        default_root_dir=folder)


def test_digits(tmp_path: Path) -> None:
    data, images, labels = loader()
    module, before = Together(), Before()
    grafting = graft.lightning.GraftingCallback("networks", start=2, every=2)
    after = After(before, grafting, start=2, every=2)
    trainer(tmp_path, 8, [before, grafting, after]).fit(module, data)
    assert after.epochs == [False, True] * 4
    module.eval()
    with torch.no_grad():
        for one in module.networks:
            assert (one(images).argmax(1) == labels).float().mean() > 0.85


def test_a_function_finds_the_networks_and_a_checkpoint_goes_on(tmp_path: Path) -> None:
    data, _, _ = loader()
    grafting = graft.lightning.GraftingCallback(lambda module: list(module.networks), every=3)
    module = Together()
    first = trainer(tmp_path, 2, [grafting])
    first.fit(module, data)
    first.save_checkpoint(tmp_path / "run.ckpt")
    assert grafting.grafter.steps == 2
    before, module = Before(), Together()
    grafting = graft.lightning.GraftingCallback(lambda module: list(module.networks), every=3)
    after = After(before, grafting, every=3)
    trainer(tmp_path, 4, [before, grafting, after]).fit(
        module, data, ckpt_path=tmp_path / "run.ckpt")
    assert grafting.grafter.steps == 4 and after.epochs == [False, True]


def test_refusals(tmp_path: Path) -> None:
    data, _, _ = loader()
    for name, message in (("nets", "no such attribute"), ("training_step", "ModuleList")):
        with pytest.raises(graft.InvalidArgumentError, match=message):
            trainer(tmp_path, 1, [graft.lightning.GraftingCallback(name)]).fit(Together(), data)
    with pytest.raises(graft.InvalidArgumentError, match="speed"):
        trainer(tmp_path, 1, [graft.lightning.GraftingCallback(speed=2)]).fit(Together(), data)
