"""The examples compile and run as their comments say, and print what NumPy finds."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from test_information import numpy_entropy

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = Path(os.environ.get("GRAFT_LIBRARY", ROOT / "build" / "libgraft.so"))


def train(k: int) -> dict[str, np.ndarray]:
    """The weights that every example makes."""
    state = k + 1
    network = {}
    for name, shape in (("conv", (8, 3, 3, 3)), ("norm", (8,)), ("linear", (4, 8))):
        values = []
        for _ in range(int(np.prod(shape))):
            state = (state * 1664525 + 1013904223) % 2**32
            uniform = value = state / 2**31 - 1
            for _ in range(k):
                value *= uniform * uniform
            values.append(value)
        network[name] = np.array(values, np.float32).reshape(shape)
    network["conv"][k] *= np.float32(0.001)
    return network


def expected() -> list[tuple[float, ...]]:
    """For every network: source, alpha, entropy before and after, invalid before and after, and
    the last weight."""
    networks = [train(k) for k in range(3)]
    entropies = [numpy_entropy(network["conv"]) for network in networks]
    rows = []
    for k, own in enumerate(networks):
        other = networks[k - 1]
        alpha = 0.4 / np.pi * np.arctan(500 * (entropies[k] - entropies[k - 1])) + 0.5
        after = {
            name: (alpha * own[name].astype(float) + (1 - alpha) * other[name]).astype(np.float32)
            for name in own}
        invalid = [
            int((np.abs(w["conv"].astype(float)).sum((1, 2, 3)) < 0.1).sum())
            for w in (own, after)]
        rows.append((
            (k - 1) % 3, alpha, entropies[k], numpy_entropy(after["conv"]), *invalid,
            float(after["linear"][-1, -1])))
    return rows


def check(output: str) -> None:
    lines = output.splitlines()
    assert lines[0].split()[0] == "layer"
    assert len(lines) == 4 and lines[1].split()[0] == "conv"
    for k, (line, row) in enumerate(zip(lines[1:], expected())):
        numbers = [float(word) for word in line.split()[1:]]
        assert numbers[0] == k
        np.testing.assert_allclose(numbers[1:], row, atol=6e-5)


def compile_and_run(compiler: list[str], source: Path, out: Path) -> str:
    (out / "libgraft.so.0").symlink_to(LIBRARY.resolve())
    program = out / "example"
    subprocess.run(
        [*compiler, "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{ROOT / 'Include'}",
         str(source), str(LIBRARY), f"-Wl,-rpath,{out}", "-o", str(program)], check=True)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_c(compiler: str, tmp_path: Path) -> None:
    check(compile_and_run(
        [compiler, "-std=c99"], ROOT / "examples" / "c" / "graft_networks.c", tmp_path))


def test_cpp(tmp_path: Path) -> None:
    check(compile_and_run(
        ["g++", "-std=c++17", "-Wshadow", "-Wconversion"],
        ROOT / "examples" / "cpp" / "graft_networks.cpp", tmp_path))


def swift_run(product: str) -> list[str]:
    """Lines that a product of examples/swift prints. Built below build/, so that a second run is
    quick."""
    scratch = ROOT / "build" / "swift-example"
    flags = shlex.split(os.environ.get("SWIFT_FLAGS", ""))
    command = [
        "swift", "run", "-q", "--package-path", str(ROOT / "examples" / "swift"),
        "--scratch-path", str(scratch), *flags, product]
    stale = scratch.exists()
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0 and stale:
        # SwiftPM does not see files that came and went in a package it depends on: begin anew.
        shutil.rmtree(scratch)
        result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.splitlines()


def test_swift() -> None:
    lines = swift_run("Example")
    assert lines[0].split()[:4] == ["layer", "net", "from", "alpha"]
    for k, row in enumerate(expected()):
        words = lines[1 + k].split()[0 if k else 1:]
        net, source, alpha, before, after, filters, invalid, invalid_after = (
            float(word) for word in words[:8])
        np.testing.assert_allclose(
            [source, alpha, before, after, invalid, invalid_after], row[:-1], atol=6e-5)
        assert (net, filters) == (k, 8)
        last = re.fullmatch(rf"network {k}: last weight (\S+)", lines[4 + k])
        assert last and float(last[1]) == pytest.approx(row[-1], abs=1e-6)


def test_swift_engine() -> None:
    """A network of one's own, trained; docs/swift-package.md shows its beginning."""
    shapes, first, last, right = swift_run("Engine")
    assert shapes == "[2, 2] [2, 5]"
    losses = [float(line.split()[-1]) for line in (first, last)]
    assert losses[1] < 0.1 * losses[0]
    assert right == "16 of 16 right"


def test_swift_in_five_minutes() -> None:
    """The program of docs/start/swift.md."""
    lines = swift_run("Start")
    kept = [re.fullmatch(rf"epoch {1 + k}: conv of network 0 keeps (\S+) of itself", line)
            for k, line in enumerate(lines)]
    assert len(kept) == 3 and all(found and 0.3 <= float(found[1]) <= 0.7 for found in kept)
