"""Whatever a caller passes, the library answers: the documented status, a message that names the
argument, and nothing has changed. It never takes the process down.

`bad_arguments` has the tables: for every parameter of every function and every field of every
options struct, what is wrong with which status. A function, a parameter or a field without rows is
an error. `random_arguments` then draws arguments that are wrong in several ways at once.
"""

from __future__ import annotations

import ctypes as c
import json
import subprocess
import sys
import threading
from ctypes import c_int
from pathlib import Path
from typing import Any

import pytest
from graft import _structures
from graft._functions import FUNCTIONS as SIGNATURES

from bad_arguments import header
from bad_arguments.kinds import Init, Struct
from bad_arguments.run import rows
from bad_arguments.tables import FILLED, FUNCTIONS, STRUCTS

PROGRAM = Path(__file__).parent / "bad_arguments" / "run.py"
#: How long a call may take, the making of what it is made with included.
SECONDS = 300


def some(program: Path, arguments: list[Any], folder: Path) -> tuple[list[list[Any]], str]:
    """Runs a process; the lines that it printed, and how it ended: "" where it came to the end."""
    process = subprocess.Popen(
        [sys.executable, program, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder)
    lines: list[list[Any]] = []
    watch = threading.Timer(SECONDS, process.kill)
    watch.start()
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        watch.cancel()
        if line == "end\n":
            process.communicate()
            return lines, ""
        lines.append(json.loads(line))
        watch = threading.Timer(SECONDS, process.kill)
        watch.start()
    watch.cancel()
    errors = process.communicate()[1]
    return lines, f"the process ended with status {process.returncode}\n{errors[-2000:]}"


@pytest.fixture(scope="module")
def problems(tmp_path_factory: Any) -> dict[str, list[str]]:
    """What was wrong with each function's rows, all of which have been run."""
    folder = tmp_path_factory.mktemp("arguments")
    found: dict[str, list[str]] = {}
    after: list[str] = []
    for _ in range(100):
        lines, end = some(PROGRAM, [folder, *after], folder)
        for function, row, *problem in lines:
            found.setdefault(function, []).extend(f"{row}: {one}" for one in problem)
        if not end:
            return found
        assert lines, end
        after = lines[-1][:2]
        found[after[0]].append(f"{after[1]}: {end}")
    raise AssertionError(f"100 processes died: {found}")


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_wrong_argument_is_refused_by_name_and_changes_nothing(
        name: str, problems: dict[str, list[str]]) -> None:
    assert problems[name] == []


def test_every_function_of_the_headers_has_rows_for_every_parameter() -> None:
    declared = header.functions()
    assert {name: list(table.parameters) for name, table in FUNCTIONS.items()} == declared
    for name, table in FUNCTIONS.items():
        if not isinstance(table, Init):
            named = {parameter for parameter, _ in rows(table)} - {None}
            assert named == set(declared[name]), name


def test_every_struct_of_the_headers_has_rows_for_every_field() -> None:
    declared = header.structs()
    assert set(declared) == set(STRUCTS) | FILLED
    assert not set(STRUCTS) & FILLED
    for name, fields in STRUCTS.items():
        assert ["struct_size", *fields] == declared[name], name
        for field, kind in fields.items():
            assert list(kind.rows(field)), f"{name}.{field}"
    assert {"struct_size", "name", "data", "dtype", "rank", "shape", "strides"} == set(
        declared["graft_tensor"])


def test_every_struct_that_a_function_takes_has_its_fields_rows_there() -> None:
    tables = {kind._type_: fields for name, fields in STRUCTS.items()
              for kind in [struct_pointer(name)]}
    for name, table in FUNCTIONS.items():
        if isinstance(table, Init):
            continue
        for (parameter, kind), takes in zip(table.parameters.items(), SIGNATURES[name][1]):
            if getattr(takes, "_type_", None) in tables:
                assert isinstance(kind, Struct), (name, parameter)
                assert set(kind.fields) == set(tables[takes._type_]), (name, parameter)


def struct_pointer(name: str) -> Any:
    """The type of a pointer to a struct of the headers."""
    own = "".join(word.capitalize() for word in name.removeprefix("graft_").split("_"))
    kind = getattr(_structures, own, None) or getattr(_structures, f"Graft{own}")
    return c.POINTER(kind)


# -- several at once -------------------------------------------------------------------------------

#: Those that find nothing wrong with any arguments: they fail softly to 0, or take numbers alone.
HARMLESS = {"graft_version", "graft_status_name"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: Any) -> dict[str, list[Any]]:
    """What came of each function's calls with arguments at random: how many succeeded, how many
    failed; or how the process ended."""
    folder = tmp_path_factory.mktemp("random")
    found: dict[str, list[Any]] = {}
    after: list[str] = []
    while True:
        lines, end = some(Path(__file__).with_name("random_arguments.py"), after, folder)
        found |= {name: counts for name, *counts in lines if counts}
        if not end:
            return found
        assert lines, end
        after = [lines[-1][0]]
        found[after[0]] = [end]


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_the_process_lives_on(name: str, drawn: dict[str, list[Any]]) -> None:
    assert len(drawn[name]) == 2, drawn[name]
    if SIGNATURES[name][0] is c_int and name not in HARMLESS:
        assert drawn[name][1] > 0
