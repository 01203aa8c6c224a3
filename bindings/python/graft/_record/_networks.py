"""Networks of any kind as mappings of name -> array on the CPU."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from .._errors import InvalidArgumentError
from .._network import Network


def states(models: Any) -> list[dict[str, Any]]:
    """The arrays of one network or of several.

    Parameters
    ----------
    models
        `graft.Network`, torch modules (wrapped or compiled as they may be), mappings of name ->
        array, or whatever has a `state_dict()`; one of them or a list.
    """
    if isinstance(models, Mapping) or hasattr(models, "state_dict"):
        models = [models]
    if not isinstance(models, (list, tuple)) and not hasattr(models, "__iter__"):
        raise InvalidArgumentError(
            f"models is {type(models).__name__!r}; it must be a network or a list of networks")
    found = [_state(model, index) for index, model in enumerate(models)]
    if not found:
        raise InvalidArgumentError("models is empty")
    return found


def _state(model: Any, index: int) -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        from ..torch._inventory import inventory, inner  # without what wrappers put in front

        return {
            item.name: item.tensor.detach().cpu() for item in inventory(inner(model))}
    if isinstance(model, Network):
        return dict(model.state_dict())
    if not isinstance(model, Mapping):
        if not hasattr(model, "state_dict"):
            raise InvalidArgumentError(
                f"models[{index}] is {type(model).__name__!r}; it must be a network, a mapping of "
                "name -> array, or have a state_dict()")
        model = model.state_dict()
    return {
        name: array.detach().cpu() if torch is not None and isinstance(array, torch.Tensor)
        else array for name, array in model.items()}
