"""`graft` for pytrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from .. import _method
from .._errors import InvalidArgumentError, ShapeMismatchError
from .._report import Report
from ._plan import Plan, plain_plan
from ._tree import copied, is_float, like, named, turned


def graft(
    networks: Sequence[Any], plan: Plan | None = None, **options: Any
) -> tuple[list[Any], Report]:
    """Graft K pytrees of one structure.

    The arrays are copied to the host, grafted there, and put back on the devices that they came
    from; the given pytrees stay as they are. Not for use inside `jax.jit`.

    Parameters
    ----------
    networks
        K pytrees: parameters, or all variables with their batch statistics.
    plan
        From `graft.jax.plan`. May be left out where every kernel is a convolution's, or every one a
        matrix, and all other arrays lie beside the kernel that they belong to.
    options
        As for `graft.graft`: `source`, `weighting`, `a`, `c`, `bins`, `threshold`, `dry_run`, ...

    Returns
    -------
    networks : list
        New pytrees.
    report : Report
    """
    if not isinstance(networks, (list, tuple)) or not networks:
        raise InvalidArgumentError("networks must be a list of pytrees, one or more")
    flat = [named(tree) for tree in networks]
    first, structure = flat[0]
    for k, (leaves, other) in enumerate(flat[1:], 1):
        for name in [*first, *leaves]:
            if (name in first) != (name in leaves):
                raise ShapeMismatchError(
                    f"networks[{k}] " + ("lacks" if name in first else "has")
                    + f" {name}, which networks[0] " + ("has" if name in first else "lacks"))
        if other != structure:
            raise ShapeMismatchError(f"networks[{k}] is a pytree of other nodes than networks[0]")
    for leaves, _ in flat:
        for name, leaf in leaves.items():
            if isinstance(leaf, jax.core.Tracer):
                raise InvalidArgumentError(f"{name} is being traced: graft outside of jax.jit")
    if plan is None:
        plan = plain_plan(networks[0])
    elif not isinstance(plan, Plan):
        raise InvalidArgumentError(
            f"plan is {type(plan).__name__!r}: it must be a graft.jax.Plan or None")
    missing = [entry.name for entry in plan if entry.name not in first]
    if missing or len(plan) != len(first):
        raise ShapeMismatchError(
            "plan is of another pytree" + (f": networks[0] lacks {missing[0]}" if missing else ""))

    arrays = [
        {entry.name: copied(leaves[entry.name], f"networks[{k}]{entry.name}")
         for entry in plan if entry.role != "leave" and is_float(leaves[entry.name])}
        for k, (leaves, _) in enumerate(flat)]
    report = _method.graft(
        [_views(plan, one, leaves) for one, (leaves, _) in zip(arrays, flat)], plan, **options)
    return [
        jax.tree_util.tree_unflatten(structure, [
            like(leaf, one[name]) if name in one else leaf for name, leaf in leaves.items()])
        for one, (leaves, _) in zip(arrays, flat)], report


def _views(plan: Plan, arrays: dict[str, Any], leaves: dict[str, Any]) -> dict[str, Any]:
    """What the library sees: a counter stands for what it leaves alone."""
    views = {}
    for entry in plan:
        if entry.name in arrays:
            views[entry.name] = turned(arrays[entry.name], entry.name, plan.axes)
        else:
            views[entry.name] = np.zeros((1,) * np.ndim(leaves[entry.name])
                                         if hasattr(leaves[entry.name], "dtype") else (), np.int64)
    return views
