"""Running a module on its example inputs and leaving it as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn

from ._untouched import plain_execution, untouched


def run(module: nn.Module, example_inputs: Any) -> Any:
    """A forward pass: a tensor, a tuple of arguments, or a dict of keyword arguments."""
    if isinstance(example_inputs, dict):
        return module(**example_inputs)
    if isinstance(example_inputs, (tuple, list)):
        return module(*example_inputs)
    return module(example_inputs)


@contextlib.contextmanager
def evaluating(module: nn.Module, training: bool = False) -> Iterator[None]:
    """In evaluation mode (or training mode, but for the norms), without gradients or a trace."""
    modes = [(one, one.training) for one in module.modules()]
    module.train(training)
    try:
        with untouched(module), plain_execution(module):
            yield
    finally:
        for one, mode in modes:
            one.training = mode
