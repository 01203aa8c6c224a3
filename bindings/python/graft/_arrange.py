"""Gives a plan what an adapter found out."""

from __future__ import annotations

from collections.abc import Mapping

from ._plan import Plan


def arrange(plan: Plan, feeders: Mapping[str, str | None]) -> None:
    """Set every array's place.

    Parameters
    ----------
    feeders
        For each array its layer: itself for a layer, None to be blended half and half. What is not
        named keeps its place.
    """
    # A layer that others follow cannot stop being one: followers part first.
    for role in ("follows", "layer"):
        for entry in plan:
            if entry.name in feeders and entry.role == role:
                plan.set(entry.index, "half")
    for name, feeder in feeders.items():
        if feeder == name:
            plan.set(name, "layer")
    for name, feeder in feeders.items():
        if feeder is not None and feeder != name:
            plan.set(name, "follows", feeder)
