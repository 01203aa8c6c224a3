"""`make install`, and programs that are built from what it leaves: the examples, by CMake,
pkg-config and MPI's compiler, run and compared with NumPy."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import graft
from test_examples import train
from test_information import numpy_entropy

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = Path(os.environ.get("GRAFT_LIBRARY", ROOT / "build" / "libgraft.so")).resolve()
EXAMPLES = ROOT / "examples"
DEBIAN = "install {} (Debian has it; `make test` does so)"


def make(*words: str) -> None:
    subprocess.run(["make", "-s", *words, f"LIBRARY={LIBRARY}"], cwd=ROOT, check=True)


def tool(name: str, package: str) -> str:
    """Path of a program that the tests need; a missing one is an error that says what to do."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    assert found, f"{name} is not here: " + DEBIAN.format(package)
    return found


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed tree, moved after it was made: nothing in it may know where it lies."""
    folder = tmp_path_factory.mktemp("installed")
    make("install", f"PREFIX={folder / 'first'}")
    return (folder / "first").rename(folder / "second")


@pytest.fixture(scope="module")
def environment(prefix: Path) -> dict[str, str]:
    return {**os.environ, "PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig"),
            "LD_LIBRARY_PATH": str(prefix / "lib")}


def output_of(*command: object, **options: object) -> str:
    result = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=300, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


# ---- the tree ------------------------------------------------------------------------------------


def test_what_is_installed(prefix: Path) -> None:
    files = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if not path.is_dir()}
    headers = {str(path.relative_to(ROOT / "Include")) for path in (ROOT / "Include").rglob("*.h*")}
    assert {"graft.h", "graft.hpp", "graft/grafting.h"} <= headers
    assert files == {f"include/{header}" for header in headers} | {
        "lib/libgraft.so", "lib/libgraft.so.0", f"lib/libgraft.so.{graft.__version__}",
        "lib/pkgconfig/graft.pc", "lib/cmake/Graft/GraftConfig.cmake",
        "lib/cmake/Graft/GraftConfigVersion.cmake"} | {
        f"share/doc/graft/{name}" for name in (
            "LICENSE", "LLVM-OpenMP.txt", "OpenBLAS.txt", "Swift.txt", "json-c.txt", "zlib.txt")}
    for path in prefix.rglob("*"):
        if path.is_file() and path.suffix in (".pc", ".cmake"):
            text = path.read_text()
            assert not re.search(r"@\w+@", text) and str(prefix.parent) not in text
    assert os.readlink(prefix / "lib" / "libgraft.so") == "libgraft.so.0"
    dynamic = output_of("readelf", "-d", prefix / "lib" / "libgraft.so")
    assert "Library soname: [libgraft.so.0]" in dynamic


def test_destdir_and_uninstall(tmp_path: Path) -> None:
    make("install", "PREFIX=/usr", f"DESTDIR={tmp_path}")
    other = tmp_path / "usr" / "include" / "other.h"
    other.touch()
    assert (tmp_path / "usr" / "lib" / "libgraft.so.0").is_file()
    make("uninstall", "PREFIX=/usr", f"DESTDIR={tmp_path}")
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == [other]


# ---- CMake and pkg-config ------------------------------------------------------------------------


def configure(prefix: Path, source: Path, build: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("cmake", "cmake"), "-S", str(source), "-B", str(build),
         f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_CXX_COMPILER=g++",
         "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wshadow -Wconversion -Werror"],
        capture_output=True, text=True)


def test_cmake_and_a_trainer_of_ones_own(prefix: Path, tmp_path: Path) -> None:
    """The trainer learns, and its last graft is NumPy's."""
    configured = configure(prefix, EXAMPLES / "cpp-trainer", tmp_path)
    assert configured.returncode == 0, configured.stderr
    output_of(tool("cmake", "cmake"), "--build", tmp_path)
    lines = output_of(tmp_path / "trainer", tmp_path).splitlines()
    rows = [re.findall(r"(?:epoch|network|accuracy|from|alpha|entropy) ([\d.]+)", line)
            for line in lines]
    assert [(int(row[0]), int(row[1])) for row in rows] == [
        (epoch, k) for epoch in range(1, 7) for k in range(3)]
    assert all(float(row[2]) > 0.95 for row in rows[-3:])

    sizes = {"conv": 12 * 9, "bias": 12, "linear": 4 * 12}
    before, after = (
        [np.fromfile(tmp_path / f"{when}-{k}.bin", np.float32) for k in range(3)]
        for when in ("before", "after"))
    entropies = [numpy_entropy(weights[:sizes["conv"]]) for weights in before]
    for k, row in enumerate(rows[-3:]):
        assert before[k].size == sum(sizes.values())
        alpha = 0.4 / np.pi * np.arctan(500 * (entropies[k] - entropies[k - 1])) + 0.5
        blended = alpha * before[k].astype(float) + (1 - alpha) * before[k - 1]
        np.testing.assert_allclose(after[k], blended, rtol=1e-6, atol=1e-7)
        assert int(row[3]) == (k - 1) % 3
        assert float(row[4]) == pytest.approx(alpha, abs=1e-6)
        assert float(row[5]) == pytest.approx(entropies[k], abs=1e-6)


def test_libtorch(prefix: Path, tmp_path: Path) -> None:
    """Two modules of libtorch's, trained and grafted in C++; their last graft is NumPy's."""
    both = f"{prefix};{torch.utils.cmake_prefix_path}"
    output_of(tool("cmake", "cmake"), "-S", EXAMPLES / "libtorch", "-B", tmp_path,
              f"-DCMAKE_PREFIX_PATH={both}", "-DCMAKE_CXX_COMPILER=g++")
    output_of(tool("cmake", "cmake"), "--build", tmp_path)
    output = output_of(
        tmp_path / "trainer", tmp_path, env={**os.environ, "OMP_NUM_THREADS": "2"})
    feeders = dict(re.findall(r"^(\S+) +follows (\S+)$", output, re.MULTILINE))
    rows = re.findall(
        r"epoch 4  network (\d)  accuracy (\S+)  conv1.weight (\S+)  conv2.weight (\S+)", output)
    assert [row[0] for row in rows] == ["0", "1"]
    before, after = (
        [torch.jit.load(tmp_path / f"{when}-{k}.pt").state_dict() for k in range(2)]
        for when in ("before", "after"))
    assert before[0].keys() == feeders.keys() and len(feeders) == 16
    for k, row in enumerate(rows):
        assert float(row[1]) > 0.95
        alphas = {}
        for layer, printed in zip(("conv1.weight", "conv2.weight"), row[2:]):
            own, other = (numpy_entropy(before[i][layer].numpy()) for i in (k, 1 - k))
            alphas[layer] = 0.4 / np.pi * np.arctan(500 * (own - other)) + 0.5
            assert float(printed) == pytest.approx(alphas[layer], abs=1e-6)
        for name, result in after[k].items():
            own, other = before[k][name].numpy(), before[1 - k][name].numpy()
            if name.endswith("num_batches_tracked"):
                assert feeders[name] == "nothing" and result == 4 * 16 == int(own)
                continue
            part = name.split(".")[0][-1]  # conv1 and norm1; conv2, norm2 and the classifier
            alpha = alphas[f"conv{part if part.isdigit() else 2}.weight"]
            blended = alpha * own.astype(float) + (1 - alpha) * other
            np.testing.assert_allclose(result, blended, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("asked, found", [
    ("", True), ("0.1", True), ("0.1.0 EXACT", True), ("0.0.9", True),
    ("0.2", False), ("1.0", False), ("0.1.1", False)])
def test_cmake_versions(prefix: Path, tmp_path: Path, asked: str, found: bool) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.15)\nproject(asking NONE)\n"
        f"find_package(Graft {asked})\n"
        'message(STATUS "found=${Graft_FOUND} version=${Graft_VERSION}")\n')
    configured = configure(prefix, tmp_path, tmp_path / "build")
    assert configured.returncode == 0, configured.stderr
    expected = f"found=1 version={graft.__version__}" if found else "found=0"
    assert expected in configured.stdout.replace("TRUE", "1").replace("FALSE", "0")


@pytest.mark.parametrize("compiler, source", [
    ("gcc -std=c99", "c/graft_networks.c"), ("g++ -std=c++17", "cpp/graft_networks.cpp")])
def test_pkg_config(
    compiler: str, source: str, prefix: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    asked = output_of(
        tool("pkg-config", "pkg-config"), "--cflags", "--libs", "graft", env=environment)
    program = tmp_path / "program"
    output_of(*compiler.split(), EXAMPLES / source, "-o", program, *shlex.split(asked))
    rows = output_of(program, env=environment).splitlines()
    version = output_of(
        tool("pkg-config", "pkg-config"), "--modversion", "graft", env=environment)
    assert len(rows) == 4 and version.strip() == graft.__version__
    loaded = output_of("ldd", program, env=environment)
    assert f"libgraft.so.0 => {prefix}/lib/libgraft.so.0" in loaded


# ---- MPI -----------------------------------------------------------------------------------------

MpiRun = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def ring(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> MpiRun:
    """Builds the example, and runs it on as many ranks as asked."""
    folder = tmp_path_factory.mktemp("mpi")
    for name in ("ring.c", "Makefile"):
        shutil.copy(EXAMPLES / "mpi" / name, folder)
    tool("mpicc", "libopenmpi-dev")
    tool("pkg-config", "pkg-config")
    output_of("make", "CFLAGS=-O2 -Wall -Wextra -Wpedantic -Werror", cwd=folder, env=environment)
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMP_NUM_THREADS": "1"}

    def run(ranks: int, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tool("mpirun", "openmpi-bin"), "--oversubscribe", "-n", str(ranks),
             str(folder / "ring"), *arguments],
            capture_output=True, text=True, timeout=120, env={**environment, **allowed})

    return run


def lines_of(output: str) -> list[tuple[str, float, float, float]]:
    found = re.findall(
        r"rank (\d+)  (\w+)  alpha (\S+)  last weight (\S+)  sum of conv (\S+)", output)
    return [(status, *map(float, numbers)) for _, status, *numbers in sorted(found)]


@pytest.mark.parametrize("ranks", [2, 3])
def test_mpi_ring(ring: MpiRun, ranks: int) -> None:
    networks = [train(rank) for rank in range(ranks)]
    entropies = [numpy_entropy(network["conv"]) for network in networks]
    result = ring(ranks)
    assert result.returncode == 0, result.stdout + result.stderr
    rows = lines_of(result.stdout)
    assert len(rows) == ranks
    for rank, (status, alpha, last, total) in enumerate(rows):
        share = 0.4 / np.pi * np.arctan(500 * (entropies[rank] - entropies[rank - 1])) + 0.5
        blended = {
            name: share * own.astype(float) + (1 - share) * networks[rank - 1][name]
            for name, own in networks[rank].items()}
        assert status == "GRAFT_OK"
        assert alpha == pytest.approx(share, abs=1e-6)
        assert last == pytest.approx(blended["linear"][-1, -1], abs=1e-7)
        assert total == pytest.approx(blended["conv"].sum(), abs=1e-5)


def test_mpi_all_or_none(ring: MpiRun) -> None:
    """A NaN on rank 1 fails there and on rank 2, which receives it; nor may rank 0 graft."""
    result = ring(3, "1")
    assert result.returncode != 0 and "rank 1: networks[0]: linear" in result.stderr
    rows = lines_of(result.stdout)
    assert len(rows) == 3
    for rank, (status, alpha, last, total) in enumerate(rows):
        untouched = train(rank)
        assert (status, alpha) == ("GRAFT_NOT_FINITE", 1)
        assert last == pytest.approx(untouched["linear"][-1, -1], abs=1e-7)
        assert total == pytest.approx(untouched["conv"].astype(float).sum(), abs=1e-5)


# ---- the page ------------------------------------------------------------------------------------


def test_docs_install(tmp_path: Path) -> None:
    """docs/install.md from top to bottom, into a prefix of its own."""
    page = (ROOT / "docs" / "install.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert [language for language, _ in blocks] == ["sh", "cmake", "cpp", "sh", "sh", "sh"]
    programs, scripts = tmp_path / "programs", [text for kind, text in blocks if kind == "sh"]
    programs.mkdir()
    (programs / "CMakeLists.txt").write_text(blocks[1][1])
    (programs / "program.cpp").write_text(blocks[2][1])
    # A tree whose make and pip write elsewhere than here; the library has been built already.
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("Makefile", "Include", "LICENSE", "bindings", "build"):
        (tree / name).symlink_to(ROOT / name)
    scripts[0] = scripts[0].replace("make build\n", "").replace(
        "make install", f"make install LIBRARY={LIBRARY}")
    cleaned = {name: value for name, value in os.environ.items()
               if name not in ("PYTHONPATH", "GRAFT_LIBRARY")}
    paths = {"PREFIX": str(tmp_path / "prefix"), "CXX": "g++",
             "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    outputs = [
        output_of("bash", "-euc", script, cwd=folder, env={**cleaned, **paths})
        for script, folder in zip(scripts, (tree, programs, programs, tree))]
    a, b = np.arange(16 * 27) % 7, np.arange(16 * 27) ** 2 % 31
    alpha = 0.4 / np.pi * np.arctan(500 * (numpy_entropy(a) - numpy_entropy(b))) + 0.5
    for output in outputs[1:3]:
        found = re.search(r"alpha (\S+) and (\S+)", output)
        assert found and float(found[1]) == pytest.approx(alpha, abs=1e-5)
        assert float(found[2]) == pytest.approx(1 - alpha, abs=1e-5)
    assert outputs[3].split()[-1] in ("avx512bf16", "avx512", "avx2", "baseline")
    for target in re.findall(r"\]\(([^)#]+)\)", page):
        assert (ROOT / "docs" / target).exists(), target
