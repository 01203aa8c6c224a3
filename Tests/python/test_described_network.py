"""A network's descriptions, written at once, say what each array's own description says."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
import torch
from test_library import Interface, OnlyDLPack

import graft
from graft._arrays import describe
from graft._described_network import DescribedNetwork

FLOATS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(2, 3))


class Subclass(torch.Tensor):
    """What FakeTensor, DTensor and others are."""


ARRAYS = {
    "parameter": parameter(),
    "scalar": torch.tensor(2.5),
    "channels last": torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "view": torch.zeros(6, 8)[1::2, 3:],
    "one wide": torch.zeros(4, 6)[:, 2:3],
    "double": torch.ones(3, dtype=torch.float64),
    "half": torch.ones(3, dtype=torch.float16),
    "bfloat16": torch.ones(5, dtype=torch.bfloat16),
    "counter": torch.tensor(5),
    "subclass": torch.ones(2, 2).as_subclass(Subclass),
    "numpy": FLOATS.copy(),
    "numpy scalar": np.array(1.5),
    "strided": FLOATS.copy()[:, ::2],
    "transposed": FLOATS.copy().T,
    "eight dimensions": np.zeros((1, 2, 1, 2, 1, 2, 1, 2), np.float16),
    "interface": Interface(FLOATS.copy()),
    "dlpack": OnlyDLPack(FLOATS.copy()),
    "a name\0with NUL, ä": np.ones(2, np.float32),
}


def test_each_is_what_it_is_alone() -> None:
    network = DescribedNetwork(ARRAYS)
    assert len(network) == len(ARRAYS) and network.names == list(ARRAYS)
    for index, (name, array) in enumerate(ARRAYS.items()):
        told, alone = network.pointer[index], describe(array, name, writable=True).tensor
        assert told.struct_size == alone.struct_size
        assert told.name == name.encode().replace(b"\0", b"?")
        assert (told.data, told.dtype, told.rank) == (alone.data, alone.dtype, alone.rank), name
        assert told.shape[:told.rank] == alone.shape[:told.rank], name
        steps = zip(told.shape[:told.rank], told.strides[:told.rank], alone.strides[:told.rank])
        assert all(size <= 1 or ours == theirs for size, ours, theirs in steps), name


def test_counters_of_any_width_and_empty_networks() -> None:
    network = DescribedNetwork({"mask": np.ones(4, np.uint8), "small": torch.tensor(3).int()})
    assert [network.pointer[index].dtype for index in range(2)] == [4, 4]
    assert network.pointer[0].shape[:1] == [4] and network.pointer[1].rank == 0
    assert len(DescribedNetwork({})) == 0


def test_no_memory_is_forgotten() -> None:
    """A mapping may make its arrays when asked; they must live as long as their descriptions."""
    class Making(dict):
        def values(self):
            return [np.full(1000, value, np.float32) for value in super().values()]

    network = DescribedNetwork(Making({"a": 1, "b": 2}))
    np.full(1000, 7, np.float32)
    for index, value in enumerate((1, 2)):
        seen = ctypes.cast(network.pointer[index].data, ctypes.POINTER(ctypes.c_float))
        assert seen[:1000] == [value] * 1000


@pytest.mark.parametrize("array, kind, words", [
    (FLOATS[::-1], ValueError, r"net\['w'\] has a negative stride"),
    (FLOATS.astype(">f4"), NotImplementedError, r"net\['w'\] is of type >f4"),
    (np.ones(3, np.complex64), NotImplementedError, r"net\['w'\] is of type complex64"),
    (np.ones((1,) * 9, np.float32), NotImplementedError, r"net\['w'\] has 9 dimensions"),
    (torch.ones((1,) * 9), NotImplementedError, r"net\['w'\] has 9 dimensions"),
    (torch.ones(3, device="meta"), NotImplementedError, r"net\['w'\] lies on meta"),
    (torch.eye(3).to_sparse(), NotImplementedError, r"net\['w'\] is of layout"),
    (torch.ones(3, dtype=torch.complex64), NotImplementedError, r"net\['w'\] is of type complex64"),
    (torch._neg_view(torch.ones(3)), NotImplementedError, r"net\['w'\] cannot be seen"),
    (np.broadcast_to(np.float32(1), 3), ValueError, r"net\['w'\] is read-only"),
    ("text", ValueError, r"net\['w'\] is 'str'"),
])
def test_what_cannot_be_taken_is_named(array, kind, words) -> None:
    with pytest.raises(kind, match=words) as caught:
        DescribedNetwork({"fine": parameter(), "w": array}, "net")
    assert isinstance(caught.value, graft.GraftError)


def test_a_network_is_a_mapping() -> None:
    with pytest.raises(ValueError, match=r"networks\[1\] is 'list'"):
        DescribedNetwork([1], "networks[1]")
