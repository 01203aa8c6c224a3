"""The README's and the guide's pages: their code runs, what is printed is what they say, and their
links lead somewhere. What words after a block's language mean is said in pages.py."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graft
import pages
from images import write_cifar10, write_idx
from pages import PAGES, ROOT, Block

LIBRARY = Path(os.environ.get("GRAFT_LIBRARY", ROOT / "build" / "libgraft.so")).resolve()
TESTS = Path(__file__).resolve().parent

# Pages whose code a test of their own runs, with more to compare.
ELSEWHERE = {"docs/install.md": "test_install.py", "docs/command-line.md": "test_command_line.py"}
# What stands in a page for hours of training, and what the tests run instead.
SHORTER = {"docs/paper.md": [("EPOCHS = 200", "EPOCHS = 2"), ("DEPTH = 32", "DEPTH = 8")],
           "docs/machines.md": [("/tmp/graft-docs", "{folder}/group")]}


def ids(page: Path) -> str:
    return pages.name(page)


def is_run(block: Block) -> bool:
    return block.language in ("python", "sh", "c", "cpp") and block.word != "checked"


RUN = [page for page in PAGES if any(map(is_run, pages.blocks(page)))
       and pages.name(page) not in ELSEWHERE]


# ---- code ----------------------------------------------------------------------------------------


def prepare(folder: Path) -> dict[str, str]:
    """Makes a folder that looks like the root of the repository after `make build`, with small data
    sets in it; returns the environment."""
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name != "build":
            (folder / path.name).symlink_to(path)
    (folder / "build").mkdir()
    for library in ("libgraft.so", "libgraft.so.0"):
        (folder / "build" / library).symlink_to(LIBRARY)
    rng = np.random.default_rng(0)
    write_cifar10(folder / "cifar-10-batches-bin", rng)
    write_idx(folder / "train-images-idx3-ubyte.gz", rng.integers(0, 256, (20, 28, 28)), True)
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.arange(20) % 10, True)
    package = str(Path(graft.__file__).resolve().parents[1])
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PYTHONPATH": package, "GRAFT_LIBRARY": str(LIBRARY), "PATH": path,
            "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "KERAS_BACKEND": "jax"}


def squeezed(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()]


@pytest.mark.parametrize("page", RUN, ids=ids)
def test_code_runs_and_prints_what_the_page_says(page: Path, tmp_path: Path) -> None:
    environment = prepare(tmp_path)
    blocks, prepared, printed_by = pages.blocks(page), [], []
    for block in blocks:
        if is_run(block):
            code = block.code
            for long, short in SHORTER.get(pages.name(page), []):
                code = code.replace(long, short.replace("{folder}", str(tmp_path)))
            where = f"{pages.name(page)}:{block.line}"
            prepared.append(
                {"language": block.language, "word": block.word, "code": code,
                 "line": block.line, "where": where})
        printed_by.append(len(prepared) - 1)
    (tmp_path / "blocks.json").write_text(json.dumps(prepared))
    result = subprocess.run(
        [sys.executable, TESTS / "run_page.py", "blocks.json", "outputs.json"], cwd=tmp_path,
        env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    outputs = json.loads((tmp_path / "outputs.json").read_text())
    for block, source in zip(blocks, printed_by):
        if block.word == "output":
            printed, claimed = squeezed(outputs[source]), squeezed(block.code)
            places = [printed[first:first + len(claimed)] for first in range(len(printed))]
            assert claimed in places, f"line {block.line}; printed was\n{outputs[source]}"


def test_every_block_is_run_or_checked() -> None:
    known = {("python", ""), ("sh", ""), ("sh", "checked"), ("c", ""), ("c", "program.c"),
             ("cpp", ""), ("cpp", "program.cpp"), ("swift", ""), ("text", ""), ("text", "output")}
    for page in PAGES:
        if pages.name(page) in ELSEWHERE:
            test = (TESTS / ELSEWHERE[pages.name(page)]).read_text()
            assert page.name in test
            continue
        for block in pages.blocks(page):
            directive = block.language.startswith("{")  # MyST's, for the site
            assert directive or (block.language, block.word) in known, (page, block.line)


def test_swift_is_what_the_examples_tests_build() -> None:
    """test_examples.py builds and runs them."""
    folder = ROOT / "examples" / "swift" / "Sources"
    sources = [path.read_text() for path in folder.rglob("*.swift")]
    manifest = (ROOT / "examples" / "swift" / "Package.swift").read_text()
    # What docs/swift-package.md says: only the shared library's target may have unsafe flags.
    targets = re.split(r"\.(?:target|systemLibrary)\(", (ROOT / "Package.swift").read_text())
    unsafe = [re.search(r'name: "(\w+)"', target)[1] for target in targets[1:]
              if "heldAgainstC" in target or "unsafeFlags" in target]
    assert unsafe == ["GraftInterface"]
    found = 0
    for page in PAGES:
        for block in pages.blocks(page):
            if block.language == "swift" and "import PackageDescription" in block.code:
                [product] = re.findall(r"\.product\([^)]*\)", block.code)
                assert product in manifest
            elif block.language == "swift":
                found += 1
                assert any(block.code in source for source in sources), (page, block.line)
    assert found


# ---- commands that are not run -------------------------------------------------------------------

MAKEFILE = (ROOT / "Makefile").read_text()
PYPROJECT = (ROOT / "bindings" / "python" / "pyproject.toml").read_text()
# Where the project itself names Debian's packages.
DEBIAN = MAKEFILE + (ROOT / "Package.swift").read_text() + (
    ROOT / "bindings" / "python" / "graft" / "_library.py").read_text()


def check_command(words: list[str]) -> None:
    """Assert that what a command names exists."""
    command, arguments = words[0], [word for word in words[1:] if not word.startswith("-")]
    if command == "make":
        for word in arguments:
            variable = word.partition("=")[0]
            assert re.search(rf"^{variable}( \?=|:)", MAKEFILE, re.M), word
    elif command in ("pip", "apt-get"):
        assert arguments.pop(0) == "install"
        for word in arguments:
            package, _, extra = word.rstrip("]").partition("[")
            if command == "apt-get":
                assert re.search(rf"\b{re.escape(package)}\b", DEBIAN), word
            else:
                assert package == "filtergraft" or (ROOT / package / "pyproject.toml").is_file()
                assert not extra or re.search(rf"^{extra} = \[", PYPROJECT, re.M), word
    elif command == "swift":
        folder = ROOT / words[words.index("--package-path") + 1] if "--package-path" in words \
            else ROOT
        assert words[1] in ("build", "run") and (folder / "Package.swift").is_file()
        assert all(f'"{word}"' in (folder / "Package.swift").read_text() for word in arguments[2:])
    elif command in ("python", "torchrun", "mpirun", "cc"):
        files = [word for word in arguments if "/" in word and not word.startswith("build")]
        assert files and all((ROOT / file).exists() for file in files), words
    else:
        raise AssertionError(f"{command}: say in check_command what must exist for it")


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_commands_that_are_not_run_name_what_exists(page: Path) -> None:
    for block in pages.blocks(page):
        if block.word == "checked":
            for line in block.code.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                while words and ("=" in words[0] or words[0] == "sudo"):
                    words.pop(0)
                if words:
                    check_command(words)


# ---- links ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page: Path) -> None:
    for link in pages.links(page):
        target, _, anchor = link.target.partition("#")
        if target.startswith("https://"):
            paper = re.fullmatch(r"https://arxiv\.org/(.*)", target)
            assert not paper or re.fullmatch(r"abs/\d{4}\.\d{5}", paper[1]), link
            continue
        assert "://" not in target, link
        path = (page.parent / target).resolve() if target else page
        assert path.exists() and path.is_relative_to(ROOT), link
        if anchor:
            assert path.suffix == ".md" and anchor in pages.anchors(path), link


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_that_are_named_exist(page: str) -> None:
    """Every `path/to/file.swift`, or `file.swift` alone, but for NAMEs to fill in."""
    listed = [path.relative_to(ROOT) for folder in ("Sources", "Include", "Tests", "bindings", "docs")
              for path in (ROOT / folder).rglob("*.*")]
    named = re.findall(
        r"`([\w./+-]+\.(?:swift|c|h|hpp|py|md|rst|toml|txt))`", (ROOT / page).read_text())
    assert named
    for name in named:
        if not re.search(r"[A-Z]{4}", name.replace("CONTRIBUTING", "")):
            parts = Path(name).parts
            assert (ROOT / name).exists() or any(
                path.parts[-len(parts):] == parts for path in listed), name
