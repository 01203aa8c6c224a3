"""The benchmark of a graft: its contenders agree, and its file is right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_smallest_cases(tmp_path: Path) -> None:
    """It compares the results of all contenders itself, before it takes their times."""
    rows = []
    for only in ("resnet32", "distillation"):
        result = subprocess.run(
            [sys.executable, ROOT / "benchmarks" / "grafting.py", "--rounds", "1", "--pause", "0",
             "--only", only, "--output", tmp_path / "graft.json"],
            env={**os.environ, "OMP_WAIT_POLICY": "passive"}, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
        rows += json.loads((tmp_path / "graft.json").read_text())
    assert [row["case"] for row in rows] == [
        "resnet32/k2/float32/copy", "resnet32/k2/float32/copy/no-report",
        "resnet32/k2/float32/published", "resnet32/k2/float32/torch",
        "distillation/1024x1000/float32/torch"]
    for row in rows:
        at_most = row["goal_is"] == "at most"
        ratio = row["ours"] / row["peer"] if at_most else row["peer"] / row["ours"]
        assert row["ratio"] == pytest.approx(ratio) and row["ours"] > 0 and row["unit"] == "s"
        assert row["met"] is (ratio <= row["goal"] if at_most else ratio >= row["goal"])
        assert at_most is ("/copy" in row["case"])
    assert rows[0]["peer_kind"].startswith("copy: ") and rows[0]["limit"] > rows[0]["peer"]


def test_alignment_is_as_good_as_the_published_algorithm() -> None:
    """On a small ResNet; the peer is Git Re-Basin's weight matching, written apart in NumPy."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import alignment

    pair = alignment.Pair((2, 1, 1, 1), (8, 8, 8, 8))
    for run in pair.contenders().values():
        pair.restore()
        run()
    pair.verify()
    assert pair.reached["Git Re-Basin"] > pair.reached["before"] + 1
