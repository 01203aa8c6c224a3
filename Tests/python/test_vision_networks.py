"""graft.imagenet's networks against torchvision's: names, shapes, counts, plans, passes.

They run in a process of their own (vision_networks.py), as in test_torch_models.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from test_torch_models import PACKAGES, TESTS, install

import graft

# Millions of parameters, as torchvision publishes them, in torchvision's names.
PARAMETERS = {
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032,
    "resnet101": 44_549_160, "resnet152": 60_192_808, "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336, "wide_resnet50_2": 68_883_240, "mobilenet_v2": 3_504_872,
    "densenet121": 7_978_856, "densenet169": 14_149_480, "densenet201": 20_013_928,
    "densenet161": 28_681_000,
}
PASSES = ["resnet18", "resnet50", "resnext50_32x4d", "mobilenet_v2", "densenet121"]


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    install()
    package = os.path.dirname(os.path.dirname(graft.__file__))
    path = os.pathsep.join(str(folder) for folder in (package, TESTS, PACKAGES))
    output = subprocess.run(
        [sys.executable, str(TESTS / "vision_networks.py"), *PARAMETERS], check=True,
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}).stdout
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return {line["model"]: line for line in lines}


@pytest.mark.parametrize("model", PARAMETERS)
def test_names_counts_and_plan_are_torchvision_s(model: str, results) -> None:
    result = results[model]
    assert "error" not in result, result["error"]
    assert result["names"] and result["shapes"] and result["plan"]
    assert result["parameters"] == PARAMETERS[model]


@pytest.mark.parametrize("model", PASSES)
def test_passes_are_as_near_to_float64_as_pytorch(model: str, results) -> None:
    """As in test_resnet.py: several seeds, since a rectifier now and then flips on either side, which
    in networks so deep over so few pixels moves gradients by some percent."""
    own, theirs = (np.array(results[model][key]) for key in ("own", "theirs"))
    middle = len(theirs) // 2
    assert (own[0] <= 2 * theirs[middle]).all()
    assert (own[middle] <= np.maximum(2 * theirs[middle], [2e-2, 1e-5])).all()
    assert (own[-1] <= np.maximum(2 * theirs[-1], [1e-1, 1e-4])).all()
    assert results[model]["statistics"] < 1e-4
    assert results[model]["evaluation"] < 1e-5
