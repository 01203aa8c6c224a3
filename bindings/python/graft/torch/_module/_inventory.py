"""A module's parameters and buffers in the order of its state dict, without wrappers' prefixes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Item:
    """A parameter or buffer.

    Attributes
    ----------
    name : str
        As in the state dict, less what `torch.compile` and parallel wrappers put in front.
    tensor : torch.Tensor
    path : str
        Name of the module that owns it.
    owner : torch.nn.Module
    attribute : str
        Its name there.
    is_parameter : bool
    alias_of : int or None
        The index of an earlier item that is the same tensor (tied weights, shared modules).
    """

    name: str
    tensor: torch.Tensor
    path: str
    owner: nn.Module
    attribute: str
    is_parameter: bool
    alias_of: int | None


def is_uninitialised(tensor: torch.Tensor) -> bool:
    """Whether a lazy module has not given a tensor its shape yet."""
    return isinstance(tensor, (nn.UninitializedParameter, nn.UninitializedBuffer))


def inner(module: nn.Module) -> nn.Module:
    """The module inside wrappers that only change how it runs."""
    while True:
        wrapped = _wrapped(module)
        if wrapped is None:
            return module
        module = wrapped


def _wrapped(module: nn.Module) -> nn.Module | None:
    if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return module.module
    if type(module).__name__ == "OptimizedModule":  # torch.compile; importing its class is slow
        return module._modules.get("_orig_mod")
    checkpoint = sys.modules.get("torch.distributed.algorithms._checkpoint.checkpoint_wrapper")
    if checkpoint is not None and isinstance(module, checkpoint.ActivationWrapper):
        return module._checkpoint_wrapped_module
    return None


def walk(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Every module under its path, in the order of the state dict; shared ones every time."""
    pending = [(path, module)]
    while pending:
        path, module = pending.pop()
        module = inner(module)
        yield path, module
        prefix = f"{path}." if path else ""
        children = [
            (prefix + name, child)
            for name, child in module._modules.items() if child is not None]
        pending.extend(reversed(children))


def inventory(module: nn.Module) -> list[Item]:
    """All parameters and buffers."""
    items: list[Item] = []
    first: dict[tuple[object, ...], int] = {}
    for path, owner in walk(module):
        prefix = f"{path}." if path else ""
        for members, is_parameter in ((owner._parameters, True), (owner._buffers, False)):
            for attribute, tensor in members.items():
                if tensor is None:
                    continue
                index = len(items)
                alias = first.setdefault(_identity(tensor), index)
                items.append(Item(
                    prefix + attribute, tensor, path, owner, attribute, is_parameter,
                    None if alias == index else alias))
    return items


def _identity(tensor: torch.Tensor) -> tuple[object, ...]:
    """Equal for tensors that are the same memory seen the same way."""
    if is_uninitialised(tensor):
        return (id(tensor),)
    if type(tensor.data) is torch.Tensor and tensor.layout == torch.strided:
        if tensor.device.type != "meta" and not tensor.is_quantized and tensor.numel() > 0:
            return (
                str(tensor.device), tensor.data_ptr(), tensor.dtype, tuple(tensor.shape),
                tensor.stride())
    return (id(tensor),)
