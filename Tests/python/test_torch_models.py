"""Real models of torchvision, timm and PyTorch Geometric, every parameter and buffer against NumPy.

They run in a process of their own (torch_models.py), with those packages in a folder of their own:
an installed torchvision whose operators do not fit breaks the import of other packages.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import graft

TESTS = Path(__file__).resolve().parent
PACKAGES = TESTS.parents[1] / "build" / "models"

MODELS = {
    "resnet50": 53, "mobilenet_v2": 52, "vgg16_bn": 15, "densenet121": 120, "convnext_tiny": 59,
    "vit_b_16": 50, "timm vit_tiny_patch16_224": 50, "timm resnetv2_50": 54,
    "wide_resnet_16_4": 16, "geometric of 2": 3, "geometric of 16": 28}


def install() -> None:
    """Puts the packages into their folder, once."""
    complete = PACKAGES / ".complete"
    if not complete.exists():
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--upgrade", "--target",
             str(PACKAGES), "-r", str(TESTS / "requirements-models.txt")], check=True)
        complete.touch()


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    install()
    package = Path(graft.__file__).resolve().parents[1]
    path = os.pathsep.join(str(folder) for folder in (package, TESTS, PACKAGES))
    output = subprocess.run(
        [sys.executable, str(TESTS / "torch_models.py")], check=True, capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": path}).stdout
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {line["model"]: line for line in lines}


def test_all_have_been_checked(results: dict[str, dict[str, Any]]) -> None:
    assert results.keys() == MODELS.keys()


@pytest.mark.parametrize("model", MODELS)
def test_is_grafted_as_numpy_says(model: str, results: dict[str, dict[str, Any]]) -> None:
    result = results[model]
    assert "error" not in result, result["error"]
    assert result["layers"] == MODELS[model]
    assert result["method"] == ("hooks" if model.startswith("geometric") else "fx")
    assert result["plan seconds"] < 1
