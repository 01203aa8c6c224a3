"""The C interface as a compiler sees it: every header alone, as C99 and as C++17, and the functions
that they declare against what the library exports."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "Include"
LIBRARY = Path(os.environ.get("GRAFT_LIBRARY", ROOT / "build" / "libgraft.so"))
HEADERS = sorted(str(path.relative_to(INCLUDE)) for path in INCLUDE.rglob("*.h"))
STRICT = ["-Wall", "-Wextra", "-pedantic", "-Werror"]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("compiler", [
    ["gcc", "-std=c99", "-Wstrict-prototypes", "-xc"], ["g++", "-std=c++17", "-xc++"],
    ["clang", "-std=c99", "-Wstrict-prototypes", "-xc"], ["clang", "-std=c++17", "-xc++"],
], ids=["gcc-c99", "gcc-c++17", "clang-c99", "clang-c++17"])
def test_every_header_compiles_alone_and_twice(header: str, compiler: list[str]) -> None:
    source = f'#include "{header}"\n#include "{header}"\nint nothing;\n'
    subprocess.run(
        [*compiler, *STRICT, "-I", INCLUDE, "-fsyntax-only", "-"], input=source, text=True,
        check=True)


def test_the_umbrella_includes_every_header(tmp_path: Path) -> None:
    dependencies = subprocess.run(
        ["gcc", "-MM", "-I", INCLUDE, "-xc", "-"], input="#include <graft.h>\n", text=True,
        check=True, capture_output=True).stdout
    for header in HEADERS:
        assert f"/{header}" in dependencies


def declared(tmp_path: Path) -> set[str]:
    """The functions of the headers, as gcc lists them."""
    listing = tmp_path / "functions"
    subprocess.run(
        ["gcc", "-std=c99", "-I", INCLUDE, "-aux-info", listing, "-fsyntax-only", "-xc", "-"],
        input="#include <graft.h>\n", text=True, check=True)
    return set(re.findall(r"/graft[./][^*]*\*/ extern .*?\b(graft_\w+) \(", listing.read_text()))


def test_the_library_exports_what_the_headers_declare_and_nothing_else(tmp_path: Path) -> None:
    table = subprocess.run(
        ["nm", "-D", "--defined-only", LIBRARY], check=True, capture_output=True,
        text=True).stdout
    exported = {line.split()[-1] for line in table.splitlines()}
    functions = declared(tmp_path)
    assert {"graft_version", "graft_apply", "graft_last_error"} <= functions
    assert exported == functions


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("name", ["method", "engine", "callbacks"])
def test_cpp_wrapper(name: str, compiler: str, tmp_path: Path) -> None:
    (tmp_path / "libgraft.so.0").symlink_to(LIBRARY.resolve())
    program = tmp_path / name
    subprocess.run(
        [compiler, "-std=c++17", *STRICT, "-Wshadow", "-Wconversion", "-I", INCLUDE,
         ROOT / "Tests" / "cpp" / f"{name}.cpp", LIBRARY, f"-Wl,-rpath,{tmp_path}", "-o",
         program], check=True)
    result = subprocess.run([program, tmp_path], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
