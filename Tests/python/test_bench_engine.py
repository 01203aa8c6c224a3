"""The benchmark of the engine: what it counts is what PyTorch counts, and its file is right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from reference_joins import DenseNet, ResNeXt
from reference_networks import VGG, MobileNetV2, ResNet
from torch.utils.flop_counter import FlopCounterMode

import graft

ROOT = Path(__file__).resolve().parents[2]
BINDINGS = ROOT / "bindings" / "python"
sys.path.insert(0, str(ROOT / "benchmarks"))
import cases  # noqa: E402
import workers  # noqa: E402


@pytest.mark.parametrize(
    "network, module",
    [
        (lambda: graft.resnet(20), lambda: ResNet(20)),
        (lambda: graft.mobilenet_v2(), MobileNetV2),
        (lambda: graft.vgg(16), lambda: VGG(16)),
        (lambda: graft.resnext(29, 32, 4), lambda: ResNeXt(29, 32, 4)),
        (lambda: graft.densenet(22), lambda: DenseNet(22)),
    ],
    ids=["ResNet-20", "MobileNetV2", "VGG-16", "ResNeXt-29 32x4d", "DenseNet-BC-22-12"],
)
def test_operations_are_counted_as_pytorch_counts_them(network, module) -> None:
    reference = module()
    images = torch.zeros(2, 3, 32, 32)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        reference(images)
    with FlopCounterMode(display=False) as training:
        reference(images).sum().backward()
    ours = network()
    # PyTorch counts a grouped convolution's weight gradient as if it were not grouped.
    grouped = any(isinstance(m, torch.nn.Conv2d) and m.groups > 1 for m in reference.modules())
    assert 2 * workers.operations_an_image(ours, "inference") == forward.get_total_flops()
    if not grouped:
        assert 2 * workers.operations_an_image(ours, "training") == training.get_total_flops()


def test_cases_have_names_of_their_own_and_are_found_by_them() -> None:
    every = cases.cases(threads=2, bfloat16=True)
    names = [case.name for case in every]
    assert len(set(names)) == len(names)
    assert {"resnet20/train/float32", "mobilenet_v2/inference/float32", "resnet20/k2/float32",
            "resnet20/train/bfloat16", "resnet20/train/float32/batch8"} <= set(names)
    found = [case.name for case in cases.chosen(every, ["vgg16", "*/k2"])]
    assert found == ["vgg16/train/float32", "vgg16/inference/float32", "resnet20/k2/float32",
                     "resnet56/k2/float32", "mobilenet_v2/k2/float32"]
    quick = {case.network.name for case in cases.cases(threads=2, quick=True)}
    assert quick == {"resnet20", "mobilenet_v2"}


def test_the_smallest_case(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "engine.py", "--cases",
         "resnet20/train/float32/batch1", "--rounds", "1", "--minutes", "0.01", "--output",
         tmp_path],
        env={**os.environ, "OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(BINDINGS)},
        capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 of 1: resnet20/train/float32/batch1; " in result.stderr
    [row] = json.loads((tmp_path / "engine.json").read_text())
    machine = json.loads((tmp_path / "machine.json").read_text())
    assert row["peer"] == max(row["peers"].values()) == row["peers"][row["peer_kind"]]
    assert row["ratio"] == pytest.approx(row["ours"] / row["peer"]) and row["ours"] > 0
    assert row["met"] is (row["ratio"] >= row["goal"])
    assert row["memory_ratio"] == pytest.approx(row["peak_mib"] / row["peer_peak_mib"])
    assert row["memory_met"] is (row["memory_ratio"] <= 0.7)
    # An image of ResNet-20 is 41 million multiply-adds forward, and three times that in all.
    assert row["gigaflops"] / row["ours"] == pytest.approx(6 * 0.041, rel=0.02)
    assert 0 < row["peak_share"] < 1 and machine["peak_float32"] > row["gigaflops"] * 1e9
    assert row["case"] == "resnet20/train/float32/batch1" and row["growth"] == ["batch", 1]
    assert row["peers"].keys() == {"contiguous", "channels_last", "processes"}
    assert (tmp_path / "engine.png").read_bytes().startswith(b"\x89PNG")


def test_a_step_layer_by_layer(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "roofline.py", "resnet20", "--batch", "4",
         "--rounds", "2", "--output", tmp_path],
        env={**os.environ, "PYTHONPATH": str(BINDINGS)}, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    [told] = json.loads((tmp_path / "roofline.json").read_text())
    # ResNet-20: 19 convolutions and as many batch norms, a linear layer.
    passes = told["passes"]
    assert sum(one["kind"] == "convolution" for one in passes) == 2 * 19
    convolution = next(
        one for one in passes if one["layer"] == "layer2.1.conv1" and one["direction"] == "forward")
    # 3 x 3 x 32 x 32 weights on 16 x 16 pixels of 4 images; its input, its output and its weights.
    assert convolution["operations"] == 2 * 9 * 32 * 32 * 16 * 16 * 4
    assert convolution["bytes"] == 4 * (2 * 32 * 16 * 16 * 4 + 9 * 32 * 32)
    for one in passes:
        arithmetic = one["operations"] / told["peak_float32"]
        assert one["limit"] == pytest.approx(max(arithmetic, one["bytes"] / told["copy_bandwidth"]))
        assert one["seconds"] >= 0 and min(one["code"], one["memory"], one["threads"]) >= 0
    # Medians of two steps: together nearly the step.
    assert sum(row["seconds"] for row in told["profile"]) == pytest.approx(told["step"], rel=0.25)
    assert (tmp_path / "roofline.png").read_bytes().startswith(b"\x89PNG")
