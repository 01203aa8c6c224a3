"""The recognition example prints what PyTorch's features and scikit-learn's measure come to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from images import cifar_records, read_cifar
from reference_networks import ResNet
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score
from sklearn.metrics.pairwise import cosine_distances

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "recognition" / "recognise.py"
UNSEEN = (98, 99)


def write(folder: Path) -> None:
    """Each class a pattern of its own under noise; 3 classes to train on, 2 to retrieve."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 120, (100, 3, 32, 32))
    folder.mkdir()
    for name, each in (("train.bin", 20), ("test.bin", 8)):
        labels = rng.permutation(np.repeat([0, 1, 2, *UNSEEN, 50], each))
        images = patterns[labels] + rng.integers(0, 130, (len(labels), 3, 32, 32))
        folder.joinpath(name).write_bytes(
            cifar_records(np.stack([labels // 5, labels], axis=1), images))


def test_the_numbers_are_right(tmp_path: Path) -> None:
    write(tmp_path / "cifar")
    result = subprocess.run(
        [sys.executable, EXAMPLE, tmp_path / "cifar", "--classes", "3", "--unseen", "2",
         "--images", "15", "--depth", "8", "--epochs", "3", "--batch-size", "16",
         "--save", tmp_path / "networks"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python")}, capture_output=True,
        text=True)
    assert result.returncode == 0, result.stderr
    head, _, *lines = result.stdout.splitlines()
    assert head == ("45 images of 3 classes to train on; 16 queries and a gallery of 30 of 2 others")

    (images, labels), (tests, test_labels) = (
        read_cifar(tmp_path / "cifar" / name, 2) for name in ("train.bin", "test.bin"))

    def chosen(labels: np.ndarray, classes: tuple[int, ...], limit: int) -> np.ndarray:
        return np.concatenate([np.flatnonzero(labels == one)[:limit] for one in classes])

    seen = images[chosen(labels, (0, 1, 2), 15)] / 255
    mean, deviation = (f(seen, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    gallery, queries = chosen(labels, UNSEEN, 15), chosen(test_labels, UNSEEN, 15)
    assert len(lines) == 4
    for line, name in zip(lines, ("each-by-itself-0", "each-by-itself-1", "grafted-0", "grafted-1")):
        module = ResNet(8, classes=3)
        module.load_state_dict(load_file(tmp_path / "networks" / f"{name}.safetensors"))
        module.eval()
        kept: list[torch.Tensor] = []
        module.linear.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
        with torch.no_grad():
            for part in (tests[queries], images[gallery]):
                module(torch.from_numpy(((part / 255 - mean) / deviation).astype(np.float32)))
        distances = cosine_distances(*(features.numpy().astype(float) for features in kept))
        matches = test_labels[queries][:, None] == labels[gallery]
        precision = np.mean([
            average_precision_score(hit, -row) for hit, row in zip(matches, distances)])
        nearest = np.take_along_axis(matches, distances.argsort(1), 1)
        ours = [float(word) for word in line.split()[-4:-1]]
        expected = [100 * precision, 100 * nearest[:, 0].mean(), 100 * nearest[:, :5].any(1).mean()]
        # Rounding may swap two images that lie equally near: of one query at most.
        assert abs(ours[0] - expected[0]) < 0.2
        assert abs(np.subtract(ours[1:], expected[1:])).max() < 100 / 16 + 0.01
    assert lines[2].split()[-4:-1] != lines[0].split()[-4:-1]
