"""Runs every program of the README, and of docs/training.md."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def test_the_readme_has_its_programs():
    assert len(blocks("python")) == 2 and len(blocks("c")) == 1


@pytest.mark.parametrize("index", range(2))
def test_python_program(index, tmp_path):
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "bindings" / "python"))
    result = subprocess.run(
        [sys.executable, "-c", blocks("python")[index]], cwd=tmp_path, env=environment,
        capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "alpha" in result.stdout if index == 0 else "epoch" in result.stdout


def test_the_training_page_runs_as_one_program(tmp_path):
    page = (ROOT / "docs" / "training.md").read_text()
    programs = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    assert len(programs) == 4
    result = subprocess.run(
        [sys.executable, "-c", "\n".join(programs)], cwd=tmp_path, capture_output=True, text=True,
        env=dict(os.environ, PYTHONPATH=str(ROOT / "bindings" / "python")))
    assert result.returncode == 0, result.stderr
    assert "epoch 3: loss" in result.stdout
    for target in re.findall(r"\]\(([^)#]+)\)", page):
        assert (ROOT / "docs" / target).exists(), target


def test_c_program(tmp_path):
    (tmp_path / "program.c").write_text(blocks("c")[0])
    [command] = re.findall(r"^    (gcc .*program\.c.*)$", README, re.M)
    command = command.replace("program", f"{tmp_path}/program").replace("$PWD", str(ROOT))
    subprocess.run(
        shlex.split(command) + ["-std=c99", "-Wall", "-Wextra", "-Werror"], cwd=ROOT, check=True)
    result = subprocess.run([tmp_path / "program"], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "both networks are one\n"


def test_links_and_picture_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
