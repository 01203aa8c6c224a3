"""Networks of any kind as mappings of name -> array on the CPU."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from .._errors import InvalidArgumentError
from .._network import Network
from .._plan import Plan


def listed(models: Any) -> list[Any]:
    """One network, or several, as a list.

    Parameters
    ----------
    models
        `graft.Network`, torch modules (wrapped or compiled as they may be), mappings of name ->
        array, or whatever has a `state_dict()`; one of them, or a list or `ModuleList`.
    """
    several = hasattr(models, "__iter__") and not isinstance(models, Mapping) and (
        not hasattr(models, "state_dict") or type(models).__name__ == "ModuleList")
    found = list(models) if several else [models]
    if not found:
        raise InvalidArgumentError("models is empty")
    return found


def states(models: list[Any]) -> list[dict[str, Any]]:
    """The networks' arrays."""
    return [_state(model, index) for index, model in enumerate(models)]


def plan_of(model: Any) -> Plan | None:
    """The plan that a network's structure tells, where it is of a kind that tells one."""
    if isinstance(model, Network):
        return model.plan()
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        from ..torch import plan

        return plan(model, frozen="graft")
    return None


def _state(model: Any, index: int) -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        # Without what wrappers put in front.
        from ..torch._module._inventory import inner, inventory

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
