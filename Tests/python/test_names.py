"""A name is data: in a terminal, in a table, in a spreadsheet, in a page, in a message."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import graft

from test_command_line import command

#: What a terminal would act on, a page would run, and a spreadsheet would compute.
HOSTILE = [
    "a\x1b[31m\x1b]0;title\x07b", "a\r\nb", "a\x9b2Jb", "a\u202eb\u2066c", "a\x00b", "a\x7f\x08b",
    "<script>alert(1)</script>", "a\"'&b",
    "=1+1", "+1", "-1+cmd|' /C calc'!A1", "@SUM(A1)", "\t=1+1", " =1+1", "＝1+1", "'=1", "a,b;\"c",
]
NAMES = [f"{name} {place}" for place, name in enumerate(HOSTILE)]


def arrays(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal((4, 3, 2, 2)).astype(np.float32) for name in NAMES}


def steers(text: str) -> set[str]:
    """Characters of a text for a terminal that it would act on, line breaks of ours apart."""
    return {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")}


def computes(value: str) -> bool:
    """Whether a spreadsheet takes the cell for a formula; numbers are what they are."""
    return value.strip()[:1] in tuple("=+-@＝＋－＠") and not re.fullmatch(
        r"-?[\d.]+(e[+-]\d+)?|-inf", value)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    # A file name, too: all that a name of a file may have.
    paths = [tmp_path / f"=m\x1b[31m{seed}.safetensors" for seed in range(2)]
    for seed, path in enumerate(paths):
        # safetensors sorts by name: as arrays of four dimensions all are layers in any order.
        save_file(arrays(seed), path)
    return paths


def test_the_command_line_prints_no_name_that_steers_the_terminal(
        files: list[Path], tmp_path: Path) -> None:
    report = command("report", *files, folder=tmp_path)
    applied = command("apply", *files, "--order", "stored", "--plan", "--output", tmp_path / "out",
                      folder=tmp_path)
    refused = command("apply", *files, "--order", "stored", "--output", tmp_path / "out",
                      folder=tmp_path, status=1)
    for output in (report, applied, refused):
        assert steers(output) == set() and "\\x1b[31m" in output
    # A line of the table is one layer: no name breaks it.
    assert len(report.splitlines()) == 2 * (len(NAMES) + 4)


def test_cells_of_csv_files_are_no_formulas(files: list[Path], tmp_path: Path) -> None:
    command("report", *files, "--csv", tmp_path / "rows.csv", "--json", tmp_path / "rows.json",
            "--html", tmp_path / "page.html", "--tables", tmp_path / "tables", folder=tmp_path)
    written = [tmp_path / "rows.csv", *(tmp_path / "tables").glob("*.csv")]
    assert len(written) > 2
    for path in written:
        text = path.read_text("utf-8")
        assert steers(text) == set()
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert len(rows) == len(text.splitlines())
        assert not [cell for row in rows for cell in row if computes(cell)], path.name
    # Names are told apart as before, and JSON, which nobody computes, has them as they are.
    rows = list(csv.DictReader((tmp_path / "rows.csv").open(encoding="utf-8")))
    assert len({row["layer"] for row in rows}) == len(NAMES)
    layers = json.loads((tmp_path / "rows.json").read_text())["layers"]
    assert sorted({row["layer"] for row in layers}) == sorted(NAMES)
    entropies = {row["layer"]: row["entropy"] for row in layers if row["file"] == str(files[0])}
    for row in rows:
        assert float(row["entropy"]) > 0 and float(row["entropy"]) in {
            one["entropy"] for one in layers}
    assert len(entropies) == len(NAMES)


def test_the_page_shows_names_and_runs_none(files: list[Path], tmp_path: Path) -> None:
    graft.report(files, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert steers(page) == set()


def test_tables_of_the_package_print_no_name_that_steers_the_terminal() -> None:
    networks = [arrays(0), arrays(1)]
    plan = graft.Plan(networks[0])
    report = graft.graft(networks, plan)
    for text in (str(plan), str(report)):
        assert steers(text) == set() and "a\\x1b[31m" in text
    assert len(str(report).splitlines()) == 1 + 2 * len(NAMES)
    # What a program reads is the name itself. (What comes from C has no NUL in it.)
    assert [entry.name for entry in plan] == NAMES
    assert [layer.name for layer in report] == [name.replace("\0", "?") for name in NAMES]


def test_messages_say_names_that_a_terminal_does_not_act_on() -> None:
    for name in NAMES[:6]:
        poisoned = np.full((2, 2, 1, 1), np.nan, np.float32)
        with pytest.raises(graft.NotFiniteError) as raised:
            graft.graft([{name: np.ones_like(poisoned)}, {name: poisoned}])
        assert steers(str(raised.value)) == set()
        assert "networks[1]" in str(raised.value)
    network = graft.Network((1, 4, 4))
    for name in NAMES[:3]:
        with pytest.raises(graft.InvalidArgumentError, match="no control characters"):
            network.convolution(name, network.input, 2)
