"""The plan of a pytree: read off the function that runs the network, never off names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .. import _plan
from .._arrange import arrange
from .._errors import InvalidArgumentError
from ._flow import Flow
from ._tree import is_float, named


class Plan(_plan.Plan):
    """Which arrays of a pytree are layers, and which follow them; see `graft.Plan`.

    Attributes
    ----------
    axes : dict of str to int
        The dimension of each array along which its filters lie: a convolution's output features,
        a dense layer's outputs, an embedding's rows. It decides which filters a report counts; the
        entropy of a layer does not depend on it.
    """

    def __init__(self, tree: Any) -> None:
        leaves, _ = named(tree)
        # A plan looks at ranks and types alone.
        super().__init__({
            name: np.lib.stride_tricks.as_strided(
                np.zeros(1, np.float32 if is_float(leaf) else np.int64), np.shape(leaf),
                (0,) * np.ndim(leaf)) if hasattr(leaf, "dtype") else np.zeros((), np.int64)
            for name, leaf in leaves.items()})
        self.axes = {name: leaf.ndim - 1 for name, leaf in leaves.items()
                     if is_float(leaf) and leaf.ndim > 1}


def plan(apply: Callable[..., Any], tree: Any, *inputs: Any, **options: Any) -> Plan:
    """Read a plan off a function.

    The function is traced, not run. A kernel of a convolution, of a product or of a table's look-up
    is a layer; a kernel that is multiplied with a convolution's features (through pooling,
    flattening, norms, activations) follows the convolution; biases, scales and statistics follow
    the layer that feeds them: after a sum, the one of them that ran last.

    Parameters
    ----------
    apply
        Called as ``apply(tree, *inputs, **options)``, such as Flax's ``model.apply``. Have it run
        as for inference, so that running statistics are read.
    tree
        A network.
    inputs
        An example, one is enough.
    options
        Handed to `apply` as they are.

    Returns
    -------
    Plan
        What the function does not read is blended half and half.
    """
    leaves, structure = named(tree)
    names = list(leaves)
    arrays = {name: leaf for name, leaf in leaves.items() if hasattr(leaf, "dtype")}

    def run(values: dict[str, Any], *given: Any) -> Any:
        whole = [values.get(name, leaves[name]) for name in names]
        return apply(jax.tree_util.tree_unflatten(structure, whole), *given, **options)

    traced = jax.make_jaxpr(run)(arrays, *inputs)
    keys = [path[0].key for path, _ in jax.tree_util.tree_flatten_with_path(arrays)[0]]
    flow = Flow({name: np.shape(leaf) for name, leaf in arrays.items()})
    flow.run(traced.jaxpr, keys)

    result = Plan(tree)
    result.axes.update(flow.axes)
    arrange(result, {
        name: flow.feeders.get(name) for name in names if is_float(leaves[name])})
    return result


def plain_plan(tree: Any) -> Plan:
    """The plan of a pytree that needs no function to tell it.

    Every array of two or more dimensions is a layer, the others beside it (in one dict, say)
    follow it.

    Raises
    ------
    InvalidArgumentError
        If that would not tell all.
    """
    leaves = [(path, leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
              if is_float(leaf)]
    kernels = {path[:-1]: jax.tree_util.keystr(path) for path, leaf in leaves if leaf.ndim > 1}
    why = "so what follows what is not told by the pytree: give plan=graft.jax.plan(apply, tree, x)"
    ranks = {min(leaf.ndim, 3) for _, leaf in leaves if leaf.ndim > 1}
    if len(ranks) > 1:
        raise InvalidArgumentError(f"the pytree has both convolutions and matrices, {why}")
    feeders = {}
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path)
        if leaf.ndim < 2 and path[:-1] not in kernels:
            raise InvalidArgumentError(f"{name} has no kernel beside it, {why}")
        feeders[name] = name if leaf.ndim > 1 else kernels[path[:-1]]
    result = Plan(tree)
    arrange(result, feeders)
    return result
