"""safetensors files: both ways with the Python package, the checksum, damaged files."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file, save_file

import graft


def make(seed: int = 1, depth: int = 8) -> graft.Network:
    """A network whose weights, statistics and counters are all different numbers."""
    network = graft.resnet(depth, base_filters=4, input_shape=(3, 8, 8), seed=seed)
    rng = np.random.default_rng(seed)
    for array in network.state_dict().values():
        if array.dtype == np.int64:
            array[...] = rng.integers(1, 1 << 40)
        else:
            array[...] = rng.normal(size=array.shape)
    return network


def state(network: graft.Network) -> dict[str, np.ndarray]:
    return {name: array.copy() for name, array in network.state_dict().items()}


def same(network: graft.Network, expected: dict[str, np.ndarray]) -> bool:
    own = network.state_dict()
    return list(own) == list(expected) and all(
        array.tobytes() == expected[name].tobytes() for name, array in own.items())


def parts(content: bytes) -> tuple[dict, bytes]:
    """Header and data of a file, taken apart by hand."""
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def together(header: dict | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def checksum(header: dict, data: bytes) -> str:
    """What the library documents, written down once more."""
    total = 0
    for name, entry in header.items():
        if name != "__metadata__":
            shape = ",".join(map(str, entry["shape"]))
            start = zlib.crc32(f"{name}\0{entry['dtype']}\0{shape}\0".encode())
            total += zlib.crc32(data[slice(*entry["data_offsets"])], start)
    for key, value in header["__metadata__"].items():
        if key.startswith("graft.") and key != "graft.checksum":
            total += zlib.crc32(f"{key}\0{value}\0".encode())
    return f"crc32:{total % 2**64:016x}"


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "network.safetensors"


# ---- both ways -----------------------------------------------------------------------------------


def test_the_python_package_reads_what_is_written_here(path):
    network = make()
    network.save(path)
    expected = state(network)
    for arrays in (load_numpy(path), {k: v.numpy() for k, v in load_file(path).items()}):
        assert set(arrays) == set(expected)
        for name, array in arrays.items():
            assert array.dtype == expected[name].dtype and array.shape == expected[name].shape
            assert array.tobytes() == expected[name].tobytes()
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["format"] == "pt"
    header, data = parts(path.read_bytes())
    assert [name for name in header if name != "__metadata__"] == list(expected)
    assert header["__metadata__"]["graft.checksum"] == checksum(header, data)
    assert (path.stat().st_size - len(data)) % 8 == 0
    for name, array in expected.items():
        assert header[name]["data_offsets"][0] % array.itemsize == 0


def test_what_the_python_package_writes_is_read_here(path):
    expected = state(make(2))
    tensors = {name: torch.from_numpy(array) for name, array in reversed(expected.items())}
    save_file(tensors, path, metadata={"format": "pt", "note": "größer"})
    network = make(3)
    network.load(path)
    assert same(network, expected)


def test_a_file_that_python_saved_again_is_read_with_its_checksum(path):
    network = make(4)
    network.save(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    before = path.read_bytes()
    save_file(load_file(path), path, metadata=metadata)
    assert path.read_bytes() != before  # the package orders names and metadata in its own way
    other = make(5)
    other.load(path)
    assert same(other, state(network))


def test_counters_may_be_missing(path):
    """Files of PyTorch before 0.4.1 have none; the network's own stay."""
    expected = state(make(6))
    save_file(
        {name: torch.from_numpy(array) for name, array in expected.items()
         if array.dtype != np.int64}, path)
    network = make(7)
    counters = {name: array for name, array in state(network).items() if array.dtype == np.int64}
    network.load(path)
    assert counters and same(network, {**expected, **counters})


# ---- what is wrong -------------------------------------------------------------------------------


def raises(kind, words, path, network=None):
    """Loading fails in the way that is named, and the network stays as it was."""
    network = network or make(8)
    before = state(network)
    with pytest.raises(kind) as caught:
        network.load(path)
    for word in [str(path), *words]:
        assert word in str(caught.value), str(caught.value)
    assert same(network, before)


def test_content_that_does_not_agree_with_the_checksum(path):
    make().save(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    raises(graft.FormatError, ["checksum"], path)


def test_the_checksum_covers_names_and_shapes(path):
    make().save(path)
    header, data = parts(path.read_bytes())
    names = [name for name in header if header[name].get("shape") == [4]]
    header[names[0]], header[names[1]] = header[names[1]], header[names[0]]
    path.write_bytes(together(header, data))
    raises(graft.FormatError, ["checksum"], path)
    del header["__metadata__"]["graft.checksum"]
    path.write_bytes(together(header, data))
    make().load(path)  # without a checksum nobody can tell


def test_other_networks_are_named(path):
    make().save(path)
    raises(graft.ShapeMismatchError, ["missing"], path, make(1, depth=14))
    make(1, depth=14).save(path)
    raises(graft.ShapeMismatchError, ["has no tensor"], path)
    tensors = {name: torch.from_numpy(array) for name, array in state(make()).items()}
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name].double()}, path)
    raises(graft.UnsupportedError, [name, "float64"], path)
    save_file({**tensors, name: tensors[name].to(torch.uint8)}, path)
    raises(graft.UnsupportedError, [name, "U8"], path)
    save_file({**tensors, name: tensors[name][..., :1].contiguous()}, path)
    raises(graft.ShapeMismatchError, [name, "shape"], path)


def test_files_that_cannot_be_read_or_written(tmp_path, path):
    raises(graft.FileError, ["No such file"], tmp_path / "none")
    raises(graft.FileError, ["is a directory"], tmp_path)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    raises(graft.FileError, ["symbolic links"], loop)
    for target, kind in (
        (tmp_path / "none" / "a", graft.FileError), (tmp_path, graft.InvalidArgumentError),
        (Path("/dev/null"), graft.InvalidArgumentError),
        (tmp_path / "..", graft.InvalidArgumentError),
        (tmp_path / ("x" * 300), graft.FileError),
    ):
        with pytest.raises(kind):
            make().save(target)
    assert sorted(child.name for child in tmp_path.iterdir()) == ["loop"]
    assert Path("/dev/null").is_char_device()


def test_every_truncation_is_an_error(path):
    make().save(path)
    content = path.read_bytes()
    header = len(content) - len(parts(content)[1])
    lengths = [*range(0, header, 7), *range(header, len(content), 101), len(content) - 1]
    for length in lengths:
        path.write_bytes(content[:length])
        raises(graft.FormatError, [], path)
    path.write_bytes(content + b"\0")
    raises(graft.FormatError, ["something follows"], path)


def test_a_damaged_byte_is_an_error_or_does_not_matter(path):
    network, other = make(), make(9)
    network.save(path)
    expected, before = state(network), state(other)
    content = path.read_bytes()
    rng = np.random.default_rng(4)
    header = len(content) - len(parts(content)[1])
    read = 0
    for attempt in range(2000):
        damaged = bytearray(content)
        place = rng.integers(0, header if attempt % 2 else len(content))
        damaged[place] ^= rng.integers(1, 256)
        path.write_bytes(damaged)
        try:
            other.load(path)
        except (graft.FormatError, graft.ShapeMismatchError) as error:
            assert str(path) in str(error)
            assert same(other, before)
        else:
            read += 1
            if b'"graft.checksum":"crc32:' in damaged:
                assert same(other, expected)
            other.load_state_dict(before)
    assert 0 < read < 100  # in "format", its value, the checksum's key: a few dozen of 4000 bytes


@pytest.mark.parametrize("header, words", [
    (b"", "does not begin with {"),
    (b"{}", "take 0 bytes"),
    (b'{"a":', "header"),
    (b"[" * 50000, "does not begin with {"),
    (b'{"a":' * 50000, "header"),
    (b'{"a":' + b"[" * 50000, "header"),
    (b'{"a":1,"a":2}', "same key twice"),
    (b'{"a":{"dtype":"F32","shape":[9223372036854775807,9],"data_offsets":[0,4]}}', "not take"),
    (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}', "must have"),
    (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[9223372036854775803,9223372036854775807]}}',
     "begins at"),
    (b'{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}', "must have"),
    (b'{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}}', "out of range"),
    (b'{"__metadata__":{"\xff":"a"}}', "utf-8"),
])
def test_hostile_headers(path, header, words):
    path.write_bytes(together(header, bytes(4)))
    with pytest.raises(graft.FormatError) as caught:
        make().load(path)
    assert words.lower() in str(caught.value).lower()
    assert len(str(caught.value)) < 1024


@pytest.mark.parametrize("length", [0, 5, 100_000_001, 1 << 31, 1 << 63, (1 << 64) - 1])
def test_header_lengths(path, length):
    path.write_bytes(struct.pack("<Q", length) + b"{}  ")
    raises(graft.FormatError, [], path)
