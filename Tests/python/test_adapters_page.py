"""The code of docs/adapters.md runs as it stands, a program for each framework."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import graft

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "adapters.md").read_text()
FRAMEWORKS = {"lightning": "graft.Report|alpha", "keras": r"conv2d.*kernel", "jax": r"\['conv'\]"}


def test_every_block_belongs_to_a_framework() -> None:
    languages = re.findall(r"^```(.+)$", PAGE, re.M)
    assert set(languages) == {f"python {name}" for name in FRAMEWORKS}
    assert PAGE.count("```") == 2 * len(languages)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_page(framework: str, tmp_path: Path) -> None:
    program = "\n".join(re.findall(rf"^```python {framework}\n(.*?)^```$", PAGE, re.M | re.S))
    (tmp_path / "page.py").write_text(program)
    environment = {**os.environ, "KERAS_BACKEND": "jax", "OMP_NUM_THREADS": "1",
                   "PYTHONPATH": str(Path(graft.__file__).resolve().parents[1])}
    if environment.get("GRAFT_LIBRARY"):
        environment["GRAFT_LIBRARY"] = str(Path(environment["GRAFT_LIBRARY"]).resolve())
    result = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert re.search(FRAMEWORKS[framework], result.stdout), result.stdout
