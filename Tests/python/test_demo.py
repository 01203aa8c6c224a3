"""The demo, short: every arm runs, the table's numbers are right, the picture is drawn."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "demo"
sys.path.insert(0, str(DEMO))

import results  # noqa: E402
from results import Result  # noqa: E402


def run(*arguments: str) -> subprocess.CompletedProcess:
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "bindings" / "python"))
    return subprocess.run(
        [sys.executable, DEMO / "demo.py", *arguments], env=environment, capture_output=True,
        text=True)


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")


def test_the_demo_on_digits(tmp_path):
    picture, page = tmp_path / "demo.png", tmp_path / "demo.html"
    result = run("--epochs", "2", "--seeds", "2", "--picture", str(picture), "--report", str(page))
    assert result.returncode == 0, result.stderr
    for arm in ("baseline", "grafted", "grafted + distilled"):
        lines = [line for line in result.stdout.splitlines() if line.startswith(f"{arm}  ")]
        assert len(lines) == 1 and re.search(r"\d+\.\d+ ± \d+\.\d+", lines[0])
    text = " ".join(result.stdout.split())
    assert text.count("against the baseline:") == 2
    assert text.count("95 % interval") == 2
    assert "bit for bit" in text
    assert max(map(len, result.stdout.splitlines())) < 100
    assert png_size(picture) == (1800, 1440)
    html = page.read_text()
    for network in ("baseline", "grafted, network 1", "grafted + distilled, network 0"):
        assert f">{network}<" in html
    assert "5 networks, 3 runs, 2 epochs, 2 grafts" in html
    check_readme(result.stdout)


def shape(text: str) -> str:
    """A text with every number (or "none") as #, so that other numbers have the same shape."""
    return re.sub(r"[+-]?\d+(\.\d+)?|\bnone\b", "#", " ".join(text.split()))


def check_readme(printed: str) -> None:
    """What the README shows is what this command prints: other numbers, and maybe other verdicts."""
    readme = (ROOT / "README.md").read_text()
    [shown] = re.findall(r"^```text\n( +test accuracy.*?)^```$", readme, re.M | re.S)
    table, sentences = shown.split("\n\n", 1)
    assert shape(table) in shape(printed)
    claims = shape(sentences).split(". ")
    assert len(claims) == 2
    for claim in claims:
        assert claim.rpartition(": ")[0] in shape(printed)


@pytest.fixture
def cifar(tmp_path):
    """A CIFAR-10 folder of noise: records of a label and 3 x 32 x 32 bytes."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "cifar"
    folder.mkdir()
    names = [f"data_batch_{index}.bin" for index in range(1, 6)] + ["test_batch.bin"]
    for name in names:
        records = generator.integers(0, 256, (40, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(40) % 10
        records.tofile(folder / name)
    return folder


def test_the_demo_on_cifar_files(cifar, tmp_path):
    picture = tmp_path / "cifar.png"
    result = run("--data", "cifar10", "--directory", str(cifar), "--epochs", "1",
                 "--picture", str(picture), "--report", str(tmp_path / "cifar.html"))
    assert result.returncode == 0, result.stderr
    assert "CIFAR-10: 200 images to train on, 40 to test" in result.stdout
    assert "at one seed, which says nothing about noise" in " ".join(result.stdout.split())
    assert png_size(picture) == (1800, 1440)


def test_cifar_without_a_folder_is_explained():
    result = run("--data", "cifar10")
    assert result.returncode == 2 and "DIR=folder" in result.stderr


# ---- the table's numbers -------------------------------------------------------------------------

NAMES = {"baseline": "baseline", "grafted": "grafted"}


def made(arm: str, seed: int, last: float, norms: list[float]) -> Result:
    return Result(arm, seed, [last + 1, last], {"conv": np.array(norms)}, np.zeros((0, 1)), 10.0)


def test_cultivation_takes_the_sets_of_the_same_seeds_baseline():
    everything = [
        made("baseline", 1, 90, [0.01, 2.0, 3.0]), made("baseline", 2, 92, [5.0, 0.03, 7.0]),
        made("grafted", 1, 91, [1.0, 0.02, 3.0]), made("grafted", 2, 94, [4.0, 2.0, 6.0])]
    assert results.cultivation(everything[:2], everything, 0.1) == ("4.250", "0.020")
    assert results.cultivation(everything[2:], everything, 0.1) == ("3.255", "1.500")
    text = results.table(everything, NAMES, 0.1)
    baseline, grafted = (line for line in text.splitlines() if line.startswith(("base", "graf")))
    assert baseline.split() == [
        "baseline", "91.00", "±", "1.41", "92.00", "1.0", "4.250", "0.020", "10.0"]
    assert grafted.split() == [
        "grafted", "92.50", "±", "2.12", "93.50", "0.5", "3.255", "1.500", "10.0"]


@pytest.mark.parametrize("gains, words", [
    ((1.0, 1.1, 0.9), "a gain beyond noise"), ((-1.0, -1.1, -0.9), "a loss beyond noise"),
    ((1.0, -0.5, 0.6), "within noise"), ((0.0, 0.0, 0.0), "within noise")])
def test_the_verdict_pairs_the_seeds(gains, words):
    everything = []
    for seed, gain in enumerate(gains):
        everything += [made("baseline", seed, 80 + 5 * seed, [1.0]),
                       made("grafted", seed, 80 + 5 * seed + gain, [1.0])]
    [sentence] = results.verdicts(everything, NAMES)
    assert sentence.endswith(f"{words}.")
    assert f"{np.mean(gains):+.2f} points" in sentence
    from scipy.stats import ttest_1samp
    if np.std(gains) > 0:
        low, high = ttest_1samp(gains, 0).confidence_interval(0.95)
        assert f"95 % interval {low:+.2f} to {high:+.2f}" in sentence


def test_a_baseline_that_lost_no_filter_is_said_so():
    everything = [made("baseline", 1, 90, [1.0]), made("grafted", 1, 90, [1.0])]
    assert results.cultivation(everything[:1], everything, 0.1) == ("1.000", "none")
