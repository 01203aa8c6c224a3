"""A pytree's arrays by name, and as the library wants them: filters along the first dimension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import InvalidArgumentError, UnsupportedError


def named(tree: Any) -> tuple[dict[str, Any], Any]:
    """Leaves by the path to them, such as "['params']['Conv_0']['kernel']", and the structure."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}, structure


def is_float(leaf: Any) -> bool:
    """Whether a leaf is an array that can be grafted."""
    return hasattr(leaf, "dtype") and bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def copied(leaf: Any, name: str) -> np.ndarray:
    """A leaf in host memory that may be written to."""
    if not getattr(leaf, "is_fully_addressable", True):
        raise UnsupportedError(f"{name} is spread over several processes; gather it first")
    try:
        return np.array(leaf)
    except RuntimeError as error:  # deleted by donation
        raise InvalidArgumentError(f"{name} cannot be read: {error}") from error


def turned(array: Any, name: str, axes: Mapping[str, int]) -> Any:
    """A view with the filters along the first dimension."""
    axis = axes.get(name, 0)
    return np.moveaxis(array, axis, 0) if axis else array


def like(leaf: Any, array: np.ndarray) -> Any:
    """The array as the leaf was: on its devices, or in NumPy's hands."""
    if isinstance(leaf, jax.Array):
        return jax.device_put(array, leaf.sharding)
    return array
