"""`graft` for Keras models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from .. import _method
from .._errors import InvalidArgumentError, ShapeMismatchError
from .._report import Report
from ._plan import Plan, plan as make_plan
from ._weights import filters_first, named


def graft(models: Sequence[Any], plan: Plan | None = None, **options: Any) -> Report:
    """Graft K models of one structure: their weights are read, grafted, and assigned.

    Parameters
    ----------
    models
        K built Keras models. Their layers may have other names: weights pair by their order.
    plan
        From `graft.keras.plan` of the first; None makes one.
    options
        As for `graft.graft`: `source`, `weighting`, `a`, `c`, `bins`, `dry_run`, ...

    Returns
    -------
    Report
        Layers by the first model's names.
    """
    if not isinstance(models, (list, tuple)) or not models or not all(
            isinstance(model, keras.Model) for model in models):
        raise InvalidArgumentError("models must be a list of keras.Model, one or more")
    if plan is None:
        plan = make_plan(models[0])
    elif not isinstance(plan, Plan):
        raise InvalidArgumentError(
            f"plan is {type(plan).__name__!r}: it must be a graft.keras.Plan")
    weights = [list(named(model).values()) for model in models]
    _check_alike(plan, models, weights)
    grafted = [entry.index for entry in plan if entry.role != "leave"]
    # A copy each: what Keras hands out may be read-only, or the variable itself.
    arrays = [
        {index: np.array(keras.ops.convert_to_numpy(one[index].value), order="C")
         for index in grafted} for one in weights]
    views = [
        {entry.name: filters_first(one[entry.index], plan.kinds.get(entry.name, "last"))
         if entry.index in one else np.zeros(plan.shape(entry.name, own[entry.index]), np.int64)
         for entry in plan} for one, own in zip(arrays, weights)]
    report = _method.graft(views, plan, **options)
    if not options.get("dry_run"):
        for one, variables in zip(arrays, weights):
            for index, array in one.items():
                variables[index].assign(array)
    return report


def _check_alike(plan: Plan, models: Sequence[Any], weights: Sequence[Sequence[Any]]) -> None:
    for model, variables in zip(models, weights):
        if len(variables) != len(plan):
            raise ShapeMismatchError(
                f"model {model.name!r} has {len(variables)} weights, and the plan {len(plan)}")
        for mine, first in zip(variables, weights[0]):
            if tuple(mine.shape) != tuple(first.shape):
                raise ShapeMismatchError(
                    f"{mine.path!r} of model {model.name!r} has shape {tuple(mine.shape)}, and "
                    f"{first.path!r} of model {models[0].name!r} {tuple(first.shape)}")
