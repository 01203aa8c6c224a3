"""The ctypes declarations against the C headers, loading, and arrays without a copy."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import graft
from graft import _arrays, _errors, _functions, _library, _structures

ROOT = Path(__file__).resolve().parents[2]
HEADERS = ROOT / "Include"


def header_text() -> str:
    """All headers, without comments and preprocessor lines."""
    text = "\n".join(path.read_text() for path in sorted((HEADERS / "graft").glob("*.h")))
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return re.sub(r"^\s*#(?:.*\\\n)*.*$", "", text, flags=re.M)


# ---- structs and enumerations --------------------------------------------------------------------


def run_c(source: str, folder: Path) -> list[str]:
    """Compile a C program against the headers and return the lines that it prints."""
    (folder / "probe.c").write_text(source)
    subprocess.run(
        ["gcc", "-std=c99", "-I", HEADERS, folder / "probe.c", "-o", folder / "probe"], check=True)
    return subprocess.run(
        [folder / "probe"], check=True, capture_output=True, text=True).stdout.splitlines()


def test_every_struct_is_declared():
    declared = set(re.findall(r"typedef struct (graft_\w+) \{", header_text()))
    assert declared == set(_structures.STRUCTS)


def test_struct_layouts_are_the_compilers(tmp_path):
    body = []
    for name, struct in _structures.STRUCTS.items():
        body.append(f'printf("{name} %zu\\n", sizeof({name}));')
        for field, _ in struct._fields_:
            body.append(
                f'printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}),'
                f" sizeof((({name} *)0)->{field}));")
    source = (
        "#include <stdio.h>\n#include <stddef.h>\n#include <graft.h>\nint main(void) {\n"
        + "\n".join(body) + "\nreturn 0;\n}\n")
    expected = []
    for name, struct in _structures.STRUCTS.items():
        expected.append(f"{name} {ctypes.sizeof(struct)}")
        for field, _ in struct._fields_:
            place = getattr(struct, field)
            expected.append(f"{name}.{field} {place.offset} {place.size}")
    assert run_c(source, tmp_path) == expected


def test_struct_fields_are_all_of_the_headers():
    text = header_text()
    for name, struct in _structures.STRUCTS.items():
        body = re.search(rf"typedef struct {name} \{{(.*?)\}}", text, re.S).group(1)
        fields = []
        for declaration in body.split(";"):
            if declaration.strip():
                first, *others = declaration.split(",")
                fields += [part.split()[-1].lstrip("*") for part in (first, *others)]
        assert fields == [field for field, _ in struct._fields_], name


def test_enumerations_are_the_compilers(tmp_path):
    text = header_text()
    found = dict(re.findall(r"typedef enum (graft_\w+) \{(.*?)\}", text, re.S))
    found.pop("graft_status")
    assert set(found) == set(_structures.ENUMERATIONS)
    constants = []
    for name, (kind, prefix) in _structures.ENUMERATIONS.items():
        expected = [prefix + member.name for member in kind]
        assert re.findall(r"GRAFT_\w+", found[name]) == expected
        constants += [(prefix + member.name, int(member)) for member in kind]
    constants.append(("GRAFT_MAX_RANK", _structures.MAX_RANK))
    for kind in _errors._BY_STATUS.values():
        words = re.findall(r"[A-Z][a-z]+", kind.__name__.removesuffix("Error"))
        name = {"FILE": "IO"}.get("_".join(words).upper(), "_".join(words).upper())
        constants.append((f"GRAFT_{name}", kind.status))
    lines = "".join(f'printf("%d\\n", (int){name});' for name, _ in constants)
    source = f"#include <stdio.h>\n#include <graft.h>\nint main(void) {{ {lines} return 0; }}"
    assert [int(line) for line in run_c(source, tmp_path)] == [value for _, value in constants]


# ---- functions -----------------------------------------------------------------------------------

SCALARS = {
    "int": ctypes.c_int, "int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64,
    "uint8_t": ctypes.c_uint8, "uint64_t": ctypes.c_uint64, "size_t": ctypes.c_size_t,
    "double": ctypes.c_double, "graft_status": ctypes.c_int, "graft_value": ctypes.c_int32,
    "graft_callback": _structures.Callback,
}
HANDLES = {"plan", "report", "dataset", "network", "sgd", "trainer", "predictor"}


def ctypes_of(declaration: str, has_name: bool = True) -> object:
    """The ctypes type of a C declaration such as `const graft_tensor *const *networks`."""
    text = re.sub(r"\bconst\b", " ", declaration)
    text, arrays = re.subn(r"\[\d*\]", "", text)
    stars = text.count("*") + arrays
    words = text.replace("*", " ").split()
    base = words[0]
    assert len(words) == (2 if has_name else 1), declaration
    if base == "void":
        return None if stars == 0 else ctypes.c_void_p
    if base == "char":
        assert stars == 1
        return ctypes.c_char_p
    if base.removeprefix("graft_") in HANDLES:
        result, stars = ctypes.c_void_p, stars - 1
    elif base in _structures.STRUCTS:
        result = _structures.STRUCTS[base]
    elif base in _structures.ENUMERATIONS:
        result = ctypes.c_uint32
    else:
        result = SCALARS[base]
    for _ in range(stars):
        result = ctypes.POINTER(result)
    return result


def test_signatures_are_the_headers():
    text = header_text()
    found = {}
    for result, name, arguments in re.findall(
        r"^((?:const )?\w+ \*?)\s*(graft_\w+)\(([^)]*)\);", text, re.M
    ):
        types = [] if arguments.strip() == "void" else [
            ctypes_of(one) for one in arguments.split(",")]
        found[name] = (ctypes_of(result, has_name=False), types)
    found = {name: value for name, value in found.items()}
    assert set(found) == set(_functions.FUNCTIONS)
    # graft_status_name takes the number itself.
    for name, (result, arguments) in _functions.FUNCTIONS.items():
        assert (result, arguments) == found[name], name


def test_every_function_is_in_the_library():
    for name in _functions.FUNCTIONS:
        assert callable(getattr(_library.lib, name))


# ---- loading -------------------------------------------------------------------------------------


def load_with(library: str) -> subprocess.CompletedProcess:
    environment = dict(
        os.environ, GRAFT_LIBRARY=library, PYTHONPATH=str(ROOT / "bindings" / "python"))
    return subprocess.run(
        [sys.executable, "-c", "import graft"], env=environment, capture_output=True, text=True)


def test_a_missing_library_is_named():
    result = load_with("/nowhere/libgraft.so")
    assert result.returncode != 0
    assert "ImportError" in result.stderr and "/nowhere/libgraft.so" in result.stderr


def test_a_file_that_is_no_library_is_named(tmp_path):
    (tmp_path / "libgraft.so").write_text("not a library")
    result = load_with(str(tmp_path / "libgraft.so"))
    assert "ImportError" in result.stderr and "cannot be loaded" in result.stderr


def test_another_library_is_refused(tmp_path):
    (tmp_path / "other.c").write_text("int other(void) { return 1; }")
    library = tmp_path / "libother.so"
    subprocess.run(["gcc", "-shared", "-fPIC", tmp_path / "other.c", "-o", library], check=True)
    assert "no graft_version" in load_with(str(library)).stderr


def test_another_version_is_refused(tmp_path):
    (tmp_path / "newer.c").write_text("int graft_version(void) { return 20304; }")
    library = tmp_path / "libnewer.so"
    subprocess.run(["gcc", "-shared", "-fPIC", tmp_path / "newer.c", "-o", library], check=True)
    error = load_with(str(library)).stderr
    assert "libgraft 2.3.4" in error and graft.__version__ in error


def test_a_function_that_the_library_lacks_is_named(monkeypatch):
    monkeypatch.setitem(_functions.FUNCTIONS, "graft_from_the_future", (ctypes.c_int, []))
    with pytest.raises(graft.UnsupportedError, match="graft_from_the_future"):
        _library.lib.graft_from_the_future()


def test_versions_agree():
    header = (HEADERS / "graft" / "version.h").read_text()
    parts = [re.search(rf"GRAFT_VERSION_{part} (\d+)", header).group(1)
             for part in ("MAJOR", "MINOR", "PATCH")]
    assert graft.__version__ == ".".join(parts)
    assert _library.lib.graft_version_string().decode() == graft.__version__
    assert graft.instructions() in ("avx512bf16", "avx512", "avx2", "baseline")


# ---- errors --------------------------------------------------------------------------------------


def test_every_status_has_its_exception():
    names = {}
    for status in range(1, 11):
        with pytest.raises(graft.GraftError) as caught:
            _errors.check(status)
        assert caught.value.status == status
        names[status] = type(caught.value)
    assert len(set(names.values())) == 10
    builtins = {1: ValueError, 2: ValueError, 3: ArithmeticError, 4: MemoryError, 5: OSError,
                6: ValueError, 8: NotImplementedError, 9: RuntimeError}
    for status, builtin in builtins.items():
        assert issubclass(names[status], builtin)
    with pytest.raises(graft.InternalError, match="status 99, unknown"):
        _errors.check(99)


# ---- arrays --------------------------------------------------------------------------------------


class Interface:
    """Something that is no NumPy array and offers the array interface."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__


class OnlyDLPack:
    """Something that offers DLPack alone."""

    def __init__(self, array: np.ndarray, device: tuple[int, int] | None = None) -> None:
        self.array, self.device = array, device

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device or self.array.__dlpack_device__()


@pytest.mark.parametrize("wrap", [
    lambda array: array, Interface, OnlyDLPack, memoryview, torch.from_numpy,
    lambda array: torch.nn.Parameter(torch.from_numpy(array)),
], ids=["numpy", "interface", "dlpack", "buffer", "torch", "parameter"])
def test_arrays_are_not_copied(wrap):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    described = _arrays.describe(wrap(array), "weights", writable=True)
    assert described.tensor.data == array.ctypes.data
    assert described.tensor.dtype == _structures.DType.FLOAT32
    assert described.tensor.shape[:2] == [3, 4] and described.tensor.strides[:2] == [4, 1]


def test_strides_are_kept():
    array = np.zeros((2, 3, 4, 5), np.float32).transpose(0, 3, 1, 2)[:, ::2]
    described = _arrays.describe(array, "weights")
    assert described.tensor.shape[:4] == [2, 3, 3, 4]
    assert described.tensor.strides[:4] == [60, 2, 20, 5]
    last = torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert _arrays.describe(last, "weights").tensor.strides[:4] == list(last.stride())


@pytest.mark.parametrize("dtype, kind", [
    (np.float32, "FLOAT32"), (np.float64, "FLOAT64"), (np.float16, "FLOAT16"),
    (np.int64, "INT64")])
def test_types(dtype, kind):
    assert _arrays.describe(np.ones(3, dtype)).tensor.dtype == _structures.DType[kind]


def test_bfloat16_of_torch_keeps_its_bits():
    tensor = torch.tensor([1.0, -2.5], dtype=torch.bfloat16)
    described = _arrays.describe(tensor, "weights", writable=True)
    assert described.tensor.dtype == _structures.DType.BFLOAT16
    assert described.tensor.data == tensor.data_ptr()
    described.array[0] = 0x4000
    assert tensor[0].item() == 2.0


@pytest.mark.parametrize("array, kind, words", [
    (np.ones(4, np.float32)[::-1], ValueError, "weights has a negative stride"),
    (np.ones(4, ">f4"), NotImplementedError, "weights is of type >f4"),
    (np.ones(4, np.complex64), NotImplementedError, "weights is of type complex64"),
    (np.ones((1,) * 9, np.float32), NotImplementedError, "weights has 9 dimensions"),
    (np.zeros(4, "f4,u1")["f0"], NotImplementedError, "weights has a stride of 5 bytes"),
    (object(), ValueError, "weights is 'object'"),
    ("text", ValueError, "weights is 'str'"),
    (torch.ones(3, device="meta"), NotImplementedError, "weights lies on meta"),
    (torch.eye(3).to_sparse(), NotImplementedError, "weights is of layout"),
    (OnlyDLPack(np.ones(3, np.float32), (2, 0)), NotImplementedError, "weights lies on another"),
])
def test_arrays_that_cannot_be_taken_are_named(array, kind, words):
    with pytest.raises(kind, match=words) as caught:
        _arrays.describe(array, "weights")
    assert isinstance(caught.value, graft.GraftError)


def test_read_only_arrays_are_refused_for_writing():
    array = np.ones(3, np.float32)
    array.flags.writeable = False
    _arrays.describe(array, "weights")
    with pytest.raises(ValueError, match="weights is read-only"):
        _arrays.describe(array, "weights", writable=True)
    with pytest.raises(ValueError, match="weights"):
        _arrays.describe([1.0, 2.0], "weights", writable=True)


def test_a_view_of_the_librarys_memory_keeps_its_owner():
    class Owner:
        gone = False

        def __del__(self):
            Owner.gone = True

    memory = np.arange(6, dtype=np.float32).reshape(2, 3)
    view = _arrays.from_tensor(_arrays.describe(memory).tensor, Owner())
    view[1, 2] = 9
    assert memory[1, 2] == 9 and not Owner.gone
    part = view[1]
    del view
    assert not Owner.gone and part[0] == 3
    del part
    assert Owner.gone


def test_labels_become_int64():
    for labels in ([1, 2], (1, 2), np.array([1, 2], np.uint8), torch.tensor([1, 2])):
        array = _arrays.int64_array(labels, "labels")
        assert array.dtype == np.int64 and array.tolist() == [1, 2]
    for bad in ([1.5], [[1]], np.ones(2), np.array([2**63], np.uint64)):
        with pytest.raises(ValueError, match="labels"):
            _arrays.int64_array(bad, "labels")
