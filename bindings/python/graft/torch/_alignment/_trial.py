"""A trial on the example: weights at random, run as they are and in another order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .._module._example import evaluating, run
from .._module._inventory import Item

#: How far outputs may be apart, by their type, in parts of the largest.
_TOLERANCE = {torch.float64: 1e-7, torch.float32: 1e-3, torch.float16: 5e-2, torch.bfloat16: 2e-1}


def outputs_differ(
    module: nn.Module, items: Sequence[Item], example_inputs: Any,
    copies: Callable[[Any, dict[str, Tensor]], dict[str, Tensor]],
) -> Callable[[Any], bool]:
    """A function that tells whether outputs change where some tensors are replaced.

    Parameters
    ----------
    copies
        Makes the replacements from what it is asked about and the tensors as they are in the trial:
        all filters different from one another, none of them zero.
    """
    noisy = {item.name: _noisy(item) for item in items if item.alias_of is None}

    def outputs(tensors: Mapping[str, Tensor]) -> list[Any]:
        with evaluating(module), _swapped(items, tensors):
            return tree_leaves(run(module, example_inputs))

    before = outputs(noisy)

    def differ(question: Any) -> bool:
        after = outputs({**noisy, **copies(question, noisy)})
        return not all(_close(one, other) for one, other in zip(before, after))

    return differ


def _noisy(item: Item) -> Tensor:
    """A network just made has batch norms that are all alike, and may have branches of zeros."""
    tensor = item.tensor.detach()
    if not tensor.is_floating_point():
        return tensor
    generator = torch.Generator().manual_seed(0)
    result = tensor.to("cpu", torch.float32)
    result = (0.5 + torch.rand(tensor.shape, generator=generator)).mul_(result)
    low, high = torch.aminmax(tensor) if tensor.numel() else (0, 0)
    if item.is_parameter and bool(low == high):
        result += 0.1 * torch.randn(tensor.shape, generator=generator)
    return result.to(tensor.device, tensor.dtype)


@contextlib.contextmanager
def _swapped(items: Sequence[Item], tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Other numbers in parameters and buffers, for a while; nothing is written to them."""
    kept: list[tuple[Tensor, Tensor]] = []
    try:
        for item in items:
            if item.alias_of is None and item.name in tensors:
                kept.append((item.tensor, item.tensor.data))
                item.tensor.data = tensors[item.name]
        yield
    finally:
        for tensor, data in kept:
            tensor.data = data


def _close(first: Any, second: Any) -> bool:
    if not isinstance(first, Tensor) or not first.is_floating_point():
        return True
    if not bool(torch.isfinite(first).all()):
        return True  # nothing can be told
    scale = float(first.abs().max()) if first.numel() else 0.0
    apart = (first.double() - second.double()).abs().max() if first.numel() else 0.0
    return float(apart) <= _TOLERANCE.get(first.dtype, 1e-3) * scale + 1e-30
