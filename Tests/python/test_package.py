"""Installs the package from a clean copy of the source tree and uses it from elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
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
    licences = target / f"filtergraft-{version}.dist-info" / "licenses" / "licenses"
    assert {path.stem for path in licences.iterdir()} == {
        "LLVM-OpenMP", "OpenBLAS", "Swift", "json-c", "zlib"}
    wheel = (target / f"filtergraft-{version}.dist-info" / "WHEEL").read_text()
    assert "Tag: py3-none-linux_" in wheel and "Root-Is-Purelib: false" in wheel


def test_a_library_that_is_there_is_not_built_again(clone, tmp_path):
    (clone / "Makefile").write_text("build:\n\tfalse\n")
    (clone / "build").mkdir()
    shutil.copy(LIBRARY, clone / "build" / "libgraft.so")
    install(clone, tmp_path / "site")
    assert (tmp_path / "site" / "graft" / "libgraft.so").is_file()


# What every Linux that Python wheels are made for has (PEP 600), and what lies beside.
EVERYWHERE = {"libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libc.so.6", "ld-linux-x86-64.so.2",
              "ld-linux-aarch64.so.1", "libpthread.so.0", "libdl.so.2", "librt.so.1"}
LOADED = """
import numpy as np
import graft
graft.graft([{"w": np.random.rand(64, 32, 3, 3).astype("f4")} for _ in range(2)], threads=2)
for line in open("/proc/self/maps"):
    if "libomp" in line or "libgraft" in line:
        print(line.split()[-1])
"""


def test_the_wheel_brings_what_it_needs(clone, tmp_path):
    """Nothing but the C and C++ libraries is needed of the system, and what is inside is used."""
    (clone / "build").mkdir()
    shutil.copy(LIBRARY, clone / "build" / "libgraft.so")
    target = tmp_path / "site"
    install(clone, target)
    inside = {path.name for path in (target / "graft").glob("*.so*")}
    assert inside == {"libgraft.so", "libomp.so.5"}
    assert {path.name for path in (target / "graft" / "_page" / "assets").iterdir()} == {
        path.name for path in (ROOT / "bindings/python/graft/_page/assets").iterdir()}
    for name in inside:
        dynamic = subprocess.run(
            ["readelf", "-d", target / "graft" / name], check=True, capture_output=True,
            text=True).stdout
        needed = set(re.findall(r"Shared library: \[(.+)\]", dynamic))
        assert needed and needed <= EVERYWHERE | inside, needed
    environment = dict(clean_environment(), PYTHONPATH=str(target))
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=tmp_path, env=environment, check=True,
        capture_output=True, text=True).stdout
    assert set(loaded.split()) == {str(target / "graft" / name) for name in inside}
    assert seconds_of_import(environment, tmp_path) < 0.06


def test_the_wheel_is_tagged_for_other_machines_unchanged(clone, tmp_path):
    """As docs/install.md says: auditwheel finds nothing missing, and its repair changes the tag and
    no library: the OpenMP runtime keeps its name, without which two could meet in a process."""
    (clone / "build").mkdir()
    shutil.copy(LIBRARY, clone / "build" / "libgraft.so")
    environment = clean_environment()
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"

    def run(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *map(str, words)], cwd=tmp_path, env=environment,
            capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("pip", "wheel", "-q", "--no-deps", "-w", "dist", clone / "bindings" / "python")
    [built] = (tmp_path / "dist").iterdir()
    assert re.search(r"py3-none-linux_\w+\.whl$", built.name)
    shown = " ".join(run("auditwheel", "show", built).split())
    tag = re.search(r'following platform tag: "(manylinux_2_\d+_\w+)"', shown)
    assert tag, shown
    run("auditwheel", "repair", "-w", "tagged", built)
    [tagged] = (tmp_path / "tagged").iterdir()
    assert tagged.name.endswith(f"-py3-none-{tag[1]}.whl")
    before, after = (
        {name: one.read(name) for name in one.namelist() if ".so" in name}
        for one in map(zipfile.ZipFile, (built, tagged)))
    assert before == after and len(after) == 2


def seconds_of_import(environment: dict[str, str], folder: Path) -> float:
    """What `import graft` adds to `import numpy`, at best: 15 ms where nothing else runs. The goal
    is 30, and the test's machine may be busy."""
    best = float("inf")
    for _ in range(12):
        log = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", "import numpy, graft"], cwd=folder,
            env=environment, check=True, capture_output=True, text=True).stderr
        [microseconds] = re.findall(r"\| +(\d+) \| graft$", log, re.MULTILINE)
        best = min(best, int(microseconds) / 1e6)
        if best < 0.03:
            break
    return best
