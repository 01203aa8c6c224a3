"""The binary interface beside its record, and that the comparison sees what breaks programs."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from graft import _library, _structures

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tests" / "abi"))

import record  # noqa: E402


def test_the_interface_is_the_recorded_one():
    broken, come = record.compare(
        record.RECORD.read_text().splitlines(),
        record.current_lines(library=_library.find_library()))
    assert not broken, "programs that are compiled already would break"
    assert not come, "new and not recorded: make abi-record"


def test_every_exported_symbol_is_a_function_of_the_headers():
    lines = record.current_lines(library=_library.find_library())
    functions = {line.split()[1] for line in lines if line.startswith("function ")}
    assert functions == {line.split()[1] for line in lines if line.startswith("symbol ")}


# ---- what the comparison sees: an edit of a header, and what must be said of it ------------------

BREAKING = {
    "a function gone": (
        "status.h", "const char *graft_last_error(void);", "", "function graft_last_error: gone"),
    "an argument's type": (
        "grafting.h", "graft_status graft_is_due(const graft_options *options, int64_t index",
        "graft_status graft_is_due(const graft_options *options, int32_t index",
        "function graft_is_due: is"),
    "a field between others": (
        "architectures.h", "  int64_t widen;\n", "  int64_t extra;\n  int64_t widen;\n",
        "field graft_wide_resnet_options.widen: is"),
    "a field's type": (
        "augmentation.h", "  double mixup;\n", "  float mixup;\n",
        "field graft_augmentation.mixup: is"),
    "a field gone": (
        "augmentation.h", "  double mixing;\n", "", "field graft_augmentation.mixing: gone"),
    "fields in another order": (
        "augmentation.h", "  double erasing_area_low;\n  double erasing_area_high;\n",
        "  double erasing_area_high;\n  double erasing_area_low;\n",
        "field graft_augmentation.erasing_area_low: is"),
    "a field in what was padding": (
        "network.h", "  int32_t bias;\n} graft_convolution_options;",
        "  int32_t bias;\n  int32_t extra;\n} graft_convolution_options;",
        "field graft_convolution_options.extra: new, within"),
    "an enumeration's value": (
        "trainer.h", "GRAFT_PHASE_EVALUATION = 1", "GRAFT_PHASE_EVALUATION = 9",
        "value graft_phase.GRAFT_PHASE_EVALUATION: is 9, was 1"),
    "a callback's arguments": (
        "trainer.h", "typedef int32_t (*graft_callback)(const graft_progress *progress, void",
        "typedef int32_t (*graft_callback)(const graft_progress *progress, int32_t x, void",
        "callback graft_callback: is"),
    "a constant": (
        "tensor.h", "#define GRAFT_MAX_RANK 8", "#define GRAFT_MAX_RANK 7",
        "constant GRAFT_MAX_RANK: is 7, was 8"),
}
ADDING = {
    "a function": (
        "status.h", "const char *graft_last_error(void);",
        "const char *graft_last_error(void);\nint graft_extra(int a);", "function graft_extra"),
    "a field at the end": (
        "architectures.h", "  double dropout;\n} graft_wide_resnet_options;",
        "  double dropout;\n  double extra;\n} graft_wide_resnet_options;",
        "field graft_wide_resnet_options.extra"),
    "an enumeration's member": (
        "trainer.h", "  GRAFT_PHASE_EVALUATED = 4\n",
        "  GRAFT_PHASE_EVALUATED = 4,\n  GRAFT_PHASE_EXTRA = 5\n",
        "value graft_phase.GRAFT_PHASE_EXTRA"),
}


def edited(folder: Path, header: str, old: str, new: str) -> list[str]:
    """What the record would be with one header edited."""
    shutil.copytree(ROOT / "Include", folder / "Include")
    path = folder / "Include" / "graft" / header
    text = path.read_text()
    assert text.count(old) == 1, f"{header} no longer holds {old!r} once: mend this test"
    path.write_text(text.replace(old, new))
    return record.header_lines(folder / "Include")


def recorded() -> list[str]:
    """The record, of the headers alone."""
    lines = record.RECORD.read_text().splitlines()
    return [line for line in lines if not line.startswith("symbol ")]


@pytest.mark.parametrize("change", BREAKING)
def test_a_change_that_breaks_programs_is_seen(change, tmp_path):
    header, old, new, said = BREAKING[change]
    broken, _ = record.compare(recorded(), edited(tmp_path, header, old, new))
    assert any(line.startswith(said) for line in broken), broken


@pytest.mark.parametrize("change", ADDING)
def test_what_has_come_breaks_nothing_and_is_seen(change, tmp_path):
    header, old, new, said = ADDING[change]
    broken, come = record.compare(recorded(), edited(tmp_path, header, old, new))
    assert broken == []
    assert any(line.startswith(said) for line in come), come


def test_a_struct_without_its_size_cannot_grow():
    broken, _ = record.compare(["struct graft_x fixed size 8"], ["struct graft_x fixed size 16"])
    assert broken == ["struct graft_x: is fixed size 16, was fixed size 8"]


def test_renewing_refuses_what_breaks_until_the_version_grows(tmp_path):
    path = tmp_path / "graft.abi"
    first = ["version 0 1", "function graft_a int (void)", "function graft_b int (void)"]
    assert record.write(first, path) == []
    before = path.read_text()
    assert record.write(first[:2], path) == ["function graft_b: gone (was int (void))"]
    assert path.read_text() == before
    assert record.write([*first, "function graft_c int (void)"], path) == []
    assert record.write(["version 0 2", first[1]], path) == []
    assert path.read_text() == "version 0 2\nfunction graft_a int (void)\n"
    # From 1.0 on only a new major version may.
    assert record.write(["version 1 0", *first[1:]], path) == []
    assert record.write(["version 1 1", first[1]], path) != []


# ---- a program from before a struct grew ---------------------------------------------------------

INITIALISERS = sorted(
    line.split()[1] for line in recorded() if re.match(r"function \w+_init ", line))


@pytest.mark.parametrize("name", INITIALISERS)
def test_defaults_stay_within_an_older_programs_struct(name):
    """Of every shorter struct that ends where a field begins, the bytes behind are not touched, and
    the fields within have the defaults of the whole struct."""
    line = next(line for line in recorded() if line.startswith(f"function {name} "))
    kind = _structures.STRUCTS[line.split("(")[1].split(" ")[0]]
    init = getattr(_library.lib, name)
    whole = kind()
    init(ctypes.byref(whole), ctypes.sizeof(whole))
    assert whole.struct_size == ctypes.sizeof(kind)
    places = [getattr(kind, field) for field, _ in kind._fields_]
    for count in range(1, len(places) + 1):
        end = places[count].offset if count < len(places) else ctypes.sizeof(kind)
        older = kind()
        ctypes.memset(ctypes.byref(older), 0xA5, ctypes.sizeof(older))
        init(ctypes.byref(older), end)
        assert older.struct_size == end
        assert bytes(older)[end:] == b"\xa5" * (ctypes.sizeof(kind) - end)
        for place in places[1:count]:
            part = slice(place.offset, place.offset + place.size)
            assert bytes(older)[part] == bytes(whole)[part], place


def test_the_command_finds_no_difference():
    run = subprocess.run(
        [sys.executable, record.__file__], capture_output=True, text=True,
        env={**os.environ, "GRAFT_LIBRARY": str(_library.find_library())})
    assert (run.returncode, run.stdout) == (0, "")
