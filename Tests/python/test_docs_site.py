"""`make docs`: the site builds without a warning, and its reference has every public name."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as xml
import zlib
from pathlib import Path

import pytest

import graft
from test_headers import declared

ROOT = Path(__file__).resolve().parents[2]
MODULES = ["graft", "graft.recognition", "graft.torch", "graft.lightning", "graft.keras", "graft.jax"]


@pytest.fixture(scope="module")
def doxygen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The headers as XML."""
    assert shutil.which("doxygen"), "doxygen is not here: install it (Debian has it; `make docs` does)"
    folder = tmp_path_factory.mktemp("doxygen")
    settings = (ROOT / "docs" / "Doxyfile").read_text().replace("build/doxygen", str(folder))
    result = subprocess.run(
        ["doxygen", "-"], cwd=ROOT, input=settings, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    return folder / "xml"


@pytest.fixture(scope="module")
def site(doxygen: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does, with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html",
         "-D", f"breathe_projects.graft={doxygen}", str(ROOT / "docs"), str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "bindings" / "python")}, capture_output=True,
        text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def names(site: Path) -> set[str]:
    """What the site's reference documents: names of Sphinx's inventory."""
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    lines = zlib.decompress(inventory).decode().splitlines()
    return {line.split()[0].removeprefix("c.") for line in lines}


def test_the_pages_are_there_and_can_be_searched(site: Path) -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.rst")]
    assert len(pages) > 30
    for page in pages:
        assert (site / page.relative_to(ROOT / "docs")).with_suffix(".html").is_file()
    index = (site / "searchindex.js").read_text()
    for word in ("graft_appli", "grafter", "scion", "openmp", "cultiv"):
        assert word in index, word


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    """The site works without a network: links may lead out, but no picture, style or script."""
    for page in site.rglob("*.html"):
        for source in re.findall(
                r'<(?:img|script|link)\b[^>]*?(?:src|href)="(https?:[^"]*)"', page.read_text()):
            raise AssertionError(f"{page.name} fetches {source}")


def test_every_function_of_the_headers_is_in_the_reference(names: set[str], tmp_path: Path) -> None:
    functions = declared(tmp_path)
    assert len(functions) > 60
    assert functions <= names, functions - names


def exported(module: str) -> list[str]:
    """A module's __all__; that of an adapter is read, not imported with its framework."""
    if module == "graft":
        return graft.__all__
    path = ROOT / "bindings" / "python" / Path(*module.split(".")) / "__init__.py"
    [names] = [statement.value for statement in ast.parse(path.read_text()).body
               if isinstance(statement, ast.Assign)
               and ast.unparse(statement.targets[0]) == "__all__"]
    return ast.literal_eval(names)


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_of_python_is_in_the_reference(module: str, names: set[str]) -> None:
    public = {f"{module}.{name}" for name in exported(module) if name != "__version__"}
    assert public and public <= names, public - names


def test_every_declaration_of_the_headers_has_a_comment(doxygen: Path) -> None:
    """Functions, structs and enumerations; a field may share its neighbour's."""
    bare, seen = [], 0
    for path in doxygen.glob("*.xml"):
        for compound in xml.parse(path).iter("compounddef"):
            name = compound.findtext("compoundname", "")
            of_c = name.endswith(".h") or name.startswith("graft_")
            items = [compound] if of_c and compound.get("kind") == "struct" else []
            if name.endswith(".h"):
                items += [member for member in compound.iter("memberdef")
                          if member.get("kind") != "define"]
            for item in items:
                seen += 1
                text = "".join(
                    "".join(part.itertext()) for part in item
                    if part.tag in ("briefdescription", "detaileddescription"))
                if not text.strip():
                    bare.append(item.findtext("name") or name)
    assert seen > 100
    assert not bare, bare
