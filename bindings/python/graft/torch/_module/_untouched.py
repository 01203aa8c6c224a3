"""A forward pass, symbolic or real, that leaves a module as it was found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from ._inventory import is_uninitialised


@contextlib.contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Puts back what a forward pass sets on the modules: attributes, what lists and dicts among
    them hold, and buffers."""
    modules = list(module.modules())
    buffers = [
        (buffer, buffer._version, buffer.clone()) for buffer in module.buffers()
        if not is_uninitialised(buffer) and not buffer.is_inference()]
    attributes = [(one.__dict__, dict(one.__dict__)) for one in modules]
    containers = [
        restore for one in modules for name, value in one.__dict__.items()
        if name not in _OF_TORCH and (restore := _restorer(value)) is not None]
    try:
        yield
    finally:
        for current, kept in attributes:
            for name in set(current) - set(kept):
                del current[name]
            current.update(kept)
        for restore in containers:
            restore()
        with torch.no_grad():
            for buffer, version, numbers in buffers:
                if buffer._version != version:
                    buffer.copy_(numbers)


#: What every module has and no forward pass touches: hooks, mostly.
_OF_TORCH = set(nn.Module().__dict__) - {"_parameters", "_buffers", "_modules"}


def _restorer(value: Any) -> Callable[[], None] | None:
    """What puts a list, dict or set back; None for anything else."""
    if not isinstance(value, (list, dict, set)):
        return None
    kept: Any = value.copy()

    def restore() -> None:
        if isinstance(value, list):
            value[:] = kept
        elif len(value) or len(kept):
            value.clear()
            value.update(kept)

    return restore


@contextlib.contextmanager
def plain_execution(module: nn.Module) -> Iterator[None]:
    """No gradients, no compiled or fused shortcuts past the hooks; batch norms do not learn, and
    random state is as before afterwards."""
    norms = [
        one for one in module.modules()
        if isinstance(one, nn.modules.batchnorm._NormBase) and one.training]
    devices = {one.device for one in module.parameters() if one.device.type == "cuda"}
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        for one in norms:
            one.training = False
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.no_grad(), torch.random.fork_rng(list(devices)), _uncompiled():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for one in norms:
            one.training = True


def _uncompiled() -> Any:
    stance = getattr(torch.compiler, "set_stance", None)
    return stance("force_eager") if stance is not None else contextlib.nullcontext()
