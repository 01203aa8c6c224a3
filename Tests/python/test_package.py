"""Installs the package from a clean copy of the source tree and uses it from elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = Path(os.environ.get("GRAFT_LIBRARY", ROOT / "build" / "libgraft.so"))

PROGRAM = """
import sys
import numpy as np
import graft
from graft._library import lib

generator = np.random.default_rng(0)
networks = [{"conv.weight": generator.standard_normal((8, 3, 3, 3)).astype(np.float32)}
            for _ in range(2)]
graft.graft(networks)
assert np.array_equal(networks[0]["conv.weight"], networks[1]["conv.weight"])
print(graft.__version__, lib.path)
"""


def clean_environment() -> dict[str, str]:
    """Without what points to the source tree's package and library."""
    return {name: value for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "GRAFT_LIBRARY")}


def install(source: Path, target: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps",
         "--target", target, source / "bindings" / "python"],
        env=clean_environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture
def clone(tmp_path):
    """What a clone holds of the Python package and its build."""
    clone = tmp_path / "clone"
    shutil.copytree(
        ROOT / "bindings" / "python", clone / "bindings" / "python",
        ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    for name in ("LICENSE", "Package.swift"):
        shutil.copy(ROOT / name, clone / name)
    return clone


def test_the_installed_package_has_its_library_inside(clone, tmp_path):
    # A build that only notes that it was asked for: building itself is what this run began with.
    (clone / "Makefile").write_text(
        f"build:\n\tmkdir -p build\n\tcp {LIBRARY} build/libgraft.so\n\ttouch was-built\n")
    target = tmp_path / "site"
    install(clone, target)
    assert (clone / "was-built").is_file()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(clone)
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=elsewhere,
        env=dict(clean_environment(), PYTHONPATH=str(target)), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    version, path = result.stdout.split()
    assert Path(path) == target / "graft" / "libgraft.so"
    assert (target / "graft" / "libomp.so.5").is_file()
    assert (target / f"filtergraft-{version}.dist-info").is_dir()
    wheel = (target / f"filtergraft-{version}.dist-info" / "WHEEL").read_text()
    assert "Tag: py3-none-linux_" in wheel and "Root-Is-Purelib: false" in wheel


def test_a_library_that_is_there_is_not_built_again(clone, tmp_path):
    (clone / "Makefile").write_text("build:\n\tfalse\n")
    (clone / "build").mkdir()
    shutil.copy(LIBRARY, clone / "build" / "libgraft.so")
    install(clone, tmp_path / "site")
    assert (tmp_path / "site" / "graft" / "libgraft.so").is_file()
