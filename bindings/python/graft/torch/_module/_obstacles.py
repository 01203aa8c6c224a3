"""What cannot be grafted as it is, found and named before anything changes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from ._inventory import Item, is_uninitialised, walk

_REAL = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def tensor_obstacle(item: Item) -> str | None:
    """Why a tensor cannot be grafted; None where it can."""
    tensor = item.tensor
    if is_uninitialised(tensor):
        return "has no shape yet (a lazy module): run a forward pass first"
    if isinstance(item.owner, parametrize.ParametrizationList):
        by = ", ".join(type(one).__name__ for one in item.owner)
        return (
            f"belongs to a parametrized weight ({by}): call "
            "torch.nn.utils.parametrize.remove_parametrizations first")
    hook = _weight_hook(item)
    if hook is not None:
        return f"is rewritten by {hook} before every forward pass: remove that first"
    kinds = {kind.__name__ for kind in type(tensor).__mro__}
    if "DTensor" in kinds or "ShardedTensor" in kinds:
        return "is sharded (DTensor): a process holds only a part of it"
    if "FlatParameter" in kinds:
        return "is a flat parameter of FSDP: a process holds only a part of it"
    if tensor.is_quantized:
        return "is quantized"
    if type(tensor.data) not in (torch.Tensor, nn.Parameter):
        return f"is a {type(tensor.data).__name__}, not a plain tensor"
    if tensor.layout != torch.strided:
        return f"is of layout {tensor.layout}; only strided tensors work"
    if (tensor.is_floating_point() or tensor.is_complex()) and tensor.dtype not in _REAL:
        return f"is of type {tensor.dtype}; known are float32, float64, float16 and bfloat16"
    return None


def _weight_hook(item: Item) -> str | None:
    """The name of a hook of torch.nn.utils that computes a weight from this tensor."""
    for hook in item.owner._forward_pre_hooks.values():
        kind = type(hook)
        if kind.__name__ not in ("WeightNorm", "SpectralNorm") or \
                not kind.__module__.startswith("torch.nn.utils"):
            if not isinstance(hook, prune.BasePruningMethod):
                continue
        name = getattr(hook, "name", None) or getattr(hook, "_tensor_name", "")
        if item.attribute.startswith(f"{name}_"):
            return kind.__name__
    return None


def module_obstacles(module: nn.Module) -> dict[str, str]:
    """Modules that hold weights where no parameter shows them, by path."""
    found = {}
    for path, one in walk(module):
        where = type(one).__module__
        if where.startswith(("torch.ao.nn.", "torch.nn.")) and ".quantized" in where and \
                ".qat" not in where:
            found[path] = f"is quantized ({type(one).__name__})"
        elif isinstance(one, torch.jit.ScriptModule):
            found[path] = "is a ScriptModule: graft the module that it was made from"
        elif any(kind.__name__ in ("FullyShardedDataParallel", "FSDPModule")
                 for kind in type(one).__mro__):
            found[path] = "is sharded by FSDP: a process holds only a part of it"
    return found
