"""The structure of the network that files belong to, where the command line is told: it then reads
what follows what off the module, and can align files that were trained apart."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._errors import (
    FileError, FormatError, InvalidArgumentError, ShapeMismatchError, UnsupportedError)
from .._plan import Plan
from ._files import Weights
from ._safetensors import Bfloat16Bits

#: Inputs that go through a network at once for its statistics.
BATCH = 128


def add_to(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("structure (runs code of yours; needs PyTorch)")
    add = group.add_argument
    add("--structure", metavar="MODULE:FUNCTION",
        help="what makes the network, without arguments, as a torch module; MODULE is looked for "
        "in the current folder first")
    add("--example", metavar="SIZES",
        help="sizes of one input, such as 3x32x32, for structures that have to be run")
    add("--align", action="store_true",
        help="put the filters of all files but the first in the first's order before the graft; "
        "for networks that were trained apart (needs SciPy)")
    add("--statistics", type=Path, metavar="FILE",
        help="inputs of the network as a .npy file, one along dimension 0 each, as they are in "
        "training: batch norms' statistics are taken anew of them after the graft")


def check(given: argparse.Namespace) -> None:
    """Raises where the options do not go together; reads nothing."""
    if given.structure is not None and given.order is not None:
        raise InvalidArgumentError("--order has no say where --structure tells it")
    if given.structure is None:
        for name in ("example", "align", "statistics"):
            if getattr(given, name):
                raise InvalidArgumentError(f"--{name} needs --structure MODULE:FUNCTION")
        return
    module, colon, function = given.structure.partition(":")
    if not (module and colon and function):
        raise InvalidArgumentError(
            f"--structure is {given.structure!r}; allowed is MODULE:FUNCTION, such as "
            "models:resnet20")
    if given.align and given.example is None:
        raise InvalidArgumentError(
            "--align needs --example with the sizes of one input, such as 3x32x32")
    if given.example is not None:
        sizes(given.example)


def sizes(text: str) -> list[int]:
    """What --example says."""
    parts = text.split("x")
    if not all(part.isdecimal() and 0 < int(part) < 1 << 20 for part in parts):
        raise InvalidArgumentError(
            f"--example is {text!r}; allowed are sizes of one input such as 3x32x32")
    return [int(part) for part in parts]


def from_options(given: argparse.Namespace) -> Structure | None:
    """None without --structure."""
    if given.structure is None:
        return None
    try:
        import torch
    except ImportError:
        raise UnsupportedError("--structure needs PyTorch (pip install torch)") from None
    make = _function(given.structure)
    try:
        module = make()
    except Exception as error:  # whatever the user's code raises
        raise InvalidArgumentError(
            f"--structure {given.structure} raises {type(error).__name__}: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise InvalidArgumentError(
            f"--structure {given.structure} returns {type(module).__name__!r}: it must return a "
            "torch.nn.Module")
    inputs = None
    if given.example is not None:
        inputs = torch.randn(2, *sizes(given.example), generator=torch.Generator().manual_seed(0))
    statistics = None if given.statistics is None else _inputs(given.statistics)
    return Structure(given.structure, module, inputs, statistics)


def _function(text: str) -> Callable[[], Any]:
    name, _, path = text.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(name)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever the user's code raises
        raise InvalidArgumentError(
            f"--structure {text}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    if not callable(found):
        raise InvalidArgumentError(f"--structure {text} is no function")
    return found  # type: ignore[no-any-return]


def _inputs(path: Path) -> np.ndarray:
    try:
        found = np.load(path, allow_pickle=False)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise FormatError(f"{path} is no .npy file of numbers: {error}") from error
    if not isinstance(found, np.ndarray) or found.ndim < 2 or len(found) < 2 \
            or found.dtype.kind != "f":
        raise FormatError(
            f"{path}: --statistics needs one array of floating-point inputs, two or more along "
            "dimension 0")
    return found


@dataclass
class Structure:
    """A module of the files' structure.

    Attributes
    ----------
    name : str
        What the user calls it.
    module : torch.nn.Module
    inputs : torch.Tensor or None
    statistics : numpy.ndarray or None
    """

    name: str
    module: Any
    inputs: Any
    statistics: np.ndarray | None

    def __post_init__(self) -> None:
        from ..torch._module._inventory import inner, inventory

        self.module = inner(self.module)
        self._items = inventory(self.module)
        self._kept = set(self.module.state_dict())

    def in_order(self, weights: Weights) -> dict[str, Any]:
        """A file's arrays in the structure's order; its own where it keeps buffers to itself."""
        found = {}
        for item in self._items:
            if item.name not in self._kept:
                found[item.name] = item.tensor.numpy().copy()
                continue
            if item.name not in weights.tensors:
                raise ShapeMismatchError(
                    f"{weights.path} lacks {item.name!r}, which --structure {self.name} has")
            found[item.name] = array = weights.tensors[item.name]
            if tuple(array.shape) != tuple(item.tensor.shape):
                raise ShapeMismatchError(
                    f"{weights.path}: {item.name!r} has shape {list(array.shape)}, and in "
                    f"--structure {self.name} {list(item.tensor.shape)}")
        for name in weights.tensors:
            if name not in found:
                raise ShapeMismatchError(
                    f"{weights.path} has {name!r}, which --structure {self.name} lacks")
        return found

    def plan(self) -> Plan:
        """What follows what, read off the module."""
        from .. import torch as graft_torch

        return graft_torch.plan(self.module, self.inputs)

    def align(self, networks: Sequence[dict[str, Any]]) -> list[str]:
        """Puts the filters of all networks in the first's order, in the arrays' own memory; returns
        a line for each."""
        from ..torch._alignment._align import matched
        from ..torch._alignment._permutations import apply_orders, orders_of, permutation_groups

        groups = permutation_groups(self.module, self.inputs)
        loaded = [self._loaded(network) for network in networks]
        found = [
            matched(items, loaded[0], groups, (f"file {k}", "file 1"))
            for k, items in enumerate(loaded[1:], 2)]
        for items, one in zip(loaded[1:], found):
            apply_orders(items, orders_of(groups, one.permutations), [])
        for network in networks[1:]:
            self._tie(network)
        return [f"file {k} aligned to file 1: {one.line()}" for k, one in enumerate(found, 2)]

    def renew_statistics(self, networks: Sequence[dict[str, Any]]) -> None:
        """Writes batch norms' statistics of the inputs, under the weights as they are now."""
        import torch

        from ..torch._alignment._aligner import renew_statistics

        assert self.statistics is not None
        batches = [
            torch.from_numpy(self.statistics[first:first + BATCH].astype(np.float32))
            for first in range(0, len(self.statistics), BATCH)]
        if len(batches) > 1 and len(batches[-1]) < BATCH // 2:  # a batch weighs what a batch weighs
            batches[-2:] = [torch.cat(batches[-2:])]
        norms = {
            id(buffer) for one in self.module.modules()
            if isinstance(one, torch.nn.modules.batchnorm._BatchNorm) for buffer in one.buffers()}
        for network in networks:
            for item in self._items:
                item.tensor.detach().copy_(_tensor(network[item.name]))
            try:
                renew_statistics(self.module, batches)
            except Exception as error:  # whatever the user's code raises
                raise InvalidArgumentError(
                    f"--statistics: the forward pass of --structure {self.name} raises "
                    f"{type(error).__name__}: {error}") from error
            for item in self._items:
                if id(item.tensor) in norms:
                    _tensor(network[item.name]).copy_(item.tensor)

    def _loaded(self, network: dict[str, Any]) -> list[Any]:
        """The structure's parameters and buffers as a network has them, in its own memory."""
        return [
            replace(item, tensor=_tensor(network[item.name])) for item in self._items]

    def _tie(self, network: dict[str, Any]) -> None:
        """What is tied in the structure lies twice in a file."""
        for item in self._items:
            if item.alias_of is not None:
                first = _tensor(network[self._items[item.alias_of].name])
                _tensor(network[item.name]).copy_(first)


def _tensor(array: Any) -> Any:
    """A torch tensor in the memory of a file's array."""
    import torch

    if isinstance(array, torch.Tensor):
        return array.detach()
    if array.dtype.name == "bfloat16" or isinstance(array, Bfloat16Bits):
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
