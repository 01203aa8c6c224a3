"""Graft beside other libraries with threads, in one process, in any order: right results, no hang,
no abort, nobody's thread count changed, and one runtime of LLVM's family at most."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graft
from graft import _openmp

TESTS = Path(__file__).resolve().parent
PACKAGES = TESTS.parents[1] / "build" / "openmp"
SITE = PACKAGES / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"

OTHER = """
long long sum_of_squares(int count) {
  long long sum = 0;
#pragma omp parallel for reduction(+ : sum) num_threads(2)
  for (int i = 0; i < count; ++i) sum += (long long)i * i;
  return sum;
}
int team_size(void) {
  int size = 0;
#pragma omp parallel num_threads(2)
#pragma omp atomic
  ++size;
  return size;
}
"""

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def peers() -> Path:
    complete = PACKAGES / ".complete"
    if not complete.exists():
        subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q",
             "--no-deps", "--ignore-installed", "--prefix", str(PACKAGES), "-r",
             str(TESTS / "requirements-openmp.txt")], check=True)
        complete.touch()
    return PACKAGES


@pytest.fixture(scope="module")
def intel(peers: Path) -> Path:
    return (peers / "lib" / "libiomp5.so").resolve()


def run_program(
    order: str, runtime: Path | None = None, work: Path | None = None, prefix: Path | None = None
) -> dict[str, Any]:
    package = Path(graft.__file__).resolve().parents[1]
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(package), str(SITE)]),
        "OTHER_RUNTIME": str(runtime or ""), "OTHER_WORK": str(work or ""),
        "PREFIX_OF_PYTHON": str(prefix or ""), "OMP_NUM_THREADS": "2"}
    library = os.environ.get("GRAFT_LIBRARY")
    if library:
        environment["GRAFT_LIBRARY"] = str(Path(library).resolve())
    result = subprocess.run(
        [sys.executable, TESTS / "openmp_program.py", *order.split()], env=environment,
        capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, f"{result.returncode}: {result.stderr[-2000:]}"
    found = json.loads(result.stdout.splitlines()[-1])
    assert all(right for _, right in found["results"]), found["results"]
    assert found["changed"] == []
    assert len(found["runtimes"]) == 1, found["runtimes"]
    assert found["team"] >= 2, "nothing has worked in parallel: nothing has been shown"
    return found


def compiled(folder: Path, runtime: Path) -> Path:
    """A program's parallel work, linked with a runtime of LLVM's family through GNU's names."""
    (folder / "other.c").write_text(OTHER)
    subprocess.run(["gcc", "-O1", "-fPIC", "-fopenmp", "-c", "other.c"], cwd=folder, check=True)
    subprocess.run(
        ["gcc", "-shared", "other.o", runtime, "-o", "other.so",
         f"-Wl,-rpath,{runtime.parent}"], cwd=folder, check=True)
    return folder / "other.so"


# ---- libraries with GNU's runtime ----------------------------------------------------------------


@pytest.mark.parametrize("order", [
    "graft numpy torch sklearn forked threads",
    "torch graft sklearn numpy threads",
    "sklearn graft forked torch threads",
    "numpy sklearn torch graft threads",
    "torch graft loader",
    "graft loader torch",
    "graft lightgbm xgboost forked threads",
    "lightgbm xgboost graft threads",
    "xgboost graft lightgbm torch",
])
def test_libraries_with_other_runtimes(order: str, peers: Path) -> None:
    found = run_program(order)
    words = order.split()
    assert [name for name, _ in found["results"]] == words + [
        word for word in words if word not in ("forked", "loader", "threads")]
    assert Path(found["runtimes"][0]).name == "libomp.so.5"


# ---- LLVM's family -------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [
    "intel graft forked threads", "intel torch graft sklearn threads", "numpy intel graft numpy"])
def test_intels_runtime_before(order: str, intel: Path, tmp_path: Path) -> None:
    found = run_program(order, intel, compiled(tmp_path, intel))
    assert found["runtimes"] == [str(intel)]


@pytest.mark.parametrize("order", [
    "graft intel forked threads", "torch graft sklearn intel threads", "graft forked intel"])
def test_intels_runtime_of_this_environment_after(
    order: str, intel: Path, peers: Path, tmp_path: Path
) -> None:
    """What the environment has installed is taken at once."""
    found = run_program(order, intel, compiled(tmp_path, intel), prefix=peers)
    assert found["runtimes"] == [str(intel)]


def test_an_installed_runtime_that_cannot_be_loaded_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libiomp5.so").write_text("no library")
    found = run_program("graft", prefix=tmp_path)
    assert Path(found["runtimes"][0]).name == "libomp.so.5"


def llvms_runtime() -> Path:
    """The file that this very process has."""
    paths = [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()]
    return next(Path(path) for path in paths if path.endswith("/libomp.so.5"))


@pytest.mark.parametrize("order", ["other graft forked threads", "graft other threads"])
def test_the_same_name_elsewhere(order: str, tmp_path: Path) -> None:
    """Another file with the soname that graft asks for: the loader itself takes the first."""
    copy = tmp_path / "libomp.so.5"
    copy.write_bytes(llvms_runtime().read_bytes())
    work = compiled(tmp_path, copy)
    if order.startswith("other"):
        assert run_program(order, copy, work)["runtimes"] == [str(copy)]
    else:
        # By name, as programs that were linked with it do; a path would be a second copy.
        assert run_program(order, Path("libomp.so.5"), work)["runtimes"] != [str(copy)]


def test_another_name_of_llvms_runtime(tmp_path: Path) -> None:
    """As packagers of wheels rename what they put inside, soname included."""
    renamed = tmp_path / "libomp-0a1b2c3d.so.5"
    renamed.write_bytes(llvms_runtime().read_bytes().replace(b"libomp.so.5", b"libomq.so.5"))
    work = compiled(tmp_path, renamed)
    (tmp_path / "libomq.so.5").symlink_to(renamed.name)
    assert run_program("other graft forked threads", renamed, work)["runtimes"] == [str(renamed)]


PROGRAM = """
#include <graft.h>
#include <stdio.h>
long long sum_of_squares(int);
int main(void) {
  static float weights[2][512 * 64 * 9];
  for (int i = 0; i < 2 * 512 * 64 * 9; ++i) weights[0][i] = (float)(i % 1013) - (float)(i % 7);
  int64_t shape[] = {512, 64, 3, 3};
  graft_tensor a = {sizeof a, "a", weights[0], GRAFT_FLOAT32, 4, shape, NULL}, b = a;
  b.data = weights[1];
  const graft_tensor *networks[] = {&a, &b};
  long long before = sum_of_squares(3000);
  graft_status status = graft_apply(NULL, networks, sizeof a, 1, 2, NULL, NULL);
  printf("%lld %d %lld\\n", before, (int)status, sum_of_squares(3000));
  return 0;
}
"""


def test_a_program_in_c_with_intels_runtime(intel: Path, tmp_path: Path) -> None:
    """As docs/install.md says: a link beside libgraft.so.0."""
    root = TESTS.parents[1]
    library = Path(os.environ.get("GRAFT_LIBRARY", root / "build" / "libgraft.so"))
    (tmp_path / "libgraft.so.0").write_bytes(library.read_bytes())
    (tmp_path / "libomp.so.5").symlink_to(intel)
    compiled(tmp_path, intel)
    (tmp_path / "main.c").write_text(PROGRAM)
    subprocess.run(
        ["gcc", "main.c", "./other.so", "./libgraft.so.0", "-o", "main", f"-I{root / 'Include'}",
         f"-Wl,-rpath,{tmp_path}"], cwd=tmp_path, check=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    result = subprocess.run(
        [tmp_path / "main"], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=60)
    total = sum(i * i for i in range(3000))
    assert (result.returncode, result.stdout) == (0, f"{total} 0 {total}\n"), result.stderr


def test_nothing_becomes_global(intel: Path) -> None:
    """Functions of the runtime that was found must not take the place of anybody else's."""
    package = Path(graft.__file__).resolve().parents[1]
    program = (
        f"import ctypes, sys\nctypes.CDLL({str(intel)!r})\nsys.path.insert(0, {str(package)!r})\n"
        "import graft\nprint(hasattr(ctypes.CDLL(None), 'GOMP_parallel'))")
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_an_alias_is_a_library_that_tools_read(tmp_path: Path) -> None:
    header = Path(sys.executable).resolve().read_bytes()[:20]
    path = tmp_path / "alias.so"
    path.write_bytes(_openmp.alias(header, "libone.so.1", "/somewhere/lib other.so"))
    dynamic = subprocess.run(
        ["readelf", "-dlW", path], check=True, capture_output=True, text=True)
    assert dynamic.stderr == ""
    assert "Shared library: [/somewhere/lib other.so]" in dynamic.stdout
    assert "Library soname: [libone.so.1]" in dynamic.stdout
    assert "GNU_STACK" in dynamic.stdout and "RWE" not in dynamic.stdout
