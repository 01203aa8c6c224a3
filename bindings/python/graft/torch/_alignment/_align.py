"""Aligning networks that were trained apart: one's filters in the order of another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from ..._checks import integer, number
from ..._errors import InvalidArgumentError, NotFiniteError, ShapeMismatchError
from ..._text import joined
from .._module._inventory import Item
from ._matching import Matching
from ._permutations import (
    PermutationGroups, apply_orders, checked, optimizers_of, orders_of, permutation_groups)


@dataclass(frozen=True)
class Alignment:
    """What `align` found.

    Attributes
    ----------
    groups : PermutationGroups
    permutations : tuple of numpy.ndarray
        For each group, which of the network's channels has come to each place.
    objectives : tuple of float
        The inner product of both networks' weights (of parameters with channels that can move):
        before, and as it grew.
    similarity_before, similarity_after : float
        The cosine between the same weights.
    """

    groups: PermutationGroups
    permutations: tuple[np.ndarray, ...]
    objectives: tuple[float, ...]
    similarity_before: float
    similarity_after: float

    @property
    def moved(self) -> int:
        """How many channels have come to another place."""
        return sum(
            int((order != np.arange(len(order))).sum()) for order in self.permutations)

    @property
    def channels(self) -> int:
        """How many channels could have."""
        return sum(group.size for group in self.groups)

    def line(self) -> str:
        """As a line of text."""
        return (
            f"{self.moved} of {self.channels} channels moved; cosine between the weights "
            f"{self.similarity_before:.4f} before, {self.similarity_after:.4f} after")

    def summary(self) -> dict[str, int | float]:
        """Its numbers, without the orders."""
        return {
            "moved": self.moved, "channels": self.channels,
            "similarity_before": self.similarity_before,
            "similarity_after": self.similarity_after}

    def table(self) -> str:
        """As text: a line a group, and the sum."""
        lines = [f"{'group':<40} channels  moved"]
        for group, order in zip(self.groups, self.permutations):
            moved = int((order != np.arange(len(order))).sum())
            lines.append(f"{group.name:<40} {group.size:>8} {moved:>6}")
        lines.append(f"{'all':<40} {self.channels:>8} {self.moved:>6}")
        lines.append(
            f"cosine between the weights: {self.similarity_before:.4f} before, "
            f"{self.similarity_after:.4f} after")
        return joined(lines)

    __str__ = table


def align(
    module: nn.Module,
    to: nn.Module,
    example_inputs: Any = None,
    *,
    groups: PermutationGroups | None = None,
    optimizer: Optimizer | None = None,
    passes: int = 100,
    tolerance: float = 1e-4,
    seed: int = 0,
) -> Alignment:
    """Put a network's channels in the order in which they match another's, in place.

    What the network computes stays the same; only now filter k of a layer is the one that is most
    like filter k of `to`. Networks trained apart can be blended or grafted then. This is ours, by
    the weight matching of Git Re-Basin (arXiv 2209.04836), and not in the paper on filter grafting.

    Parameters
    ----------
    module
        The network that changes, wrapped or compiled as it may be.
    to
        The reference, of the same structure. Nothing about it changes.
    example_inputs
        Input of the network: see `graft.torch.permutation_groups`. One or two samples do.
    groups
        What `permutation_groups` found before, for this network or another of its structure; takes
        the place of `example_inputs`.
    optimizer
        The network's optimiser: momentum of a parameter goes along with its channels.
    passes
        At most as many passes of the descent.
    tolerance
        It ends after a pass that gained no more than this share of the inner product; with 0, where
        no group gains any more.
    seed
        What order groups are matched in.

    Returns
    -------
    Alignment

    Raises
    ------
    GraftError
        Nothing has changed then.
    """
    passes, seed = integer(passes, "passes"), integer(seed, "seed", signed=False)
    if passes < 0:
        raise InvalidArgumentError(f"passes is {passes}; allowed is 0 and more")
    tolerance = number(tolerance, "tolerance")
    if not 0 <= tolerance < 1:
        raise InvalidArgumentError(f"tolerance is {tolerance}; allowed is 0 to 1, without 1")
    _, items = checked(module)
    _, others = checked(to, "to")
    check_alike(items, others, "to")
    if groups is None:
        if example_inputs is None:
            raise InvalidArgumentError(
                "example_inputs is None: give input of the network, or groups found before")
        groups = permutation_groups(module, example_inputs)
    found = matched(items, others, groups, ("module", "to"), passes, tolerance, seed)
    apply_orders(items, orders_of(groups, found.permutations), optimizers_of(optimizer))
    return found


def matched(
    items: Sequence[Item], others: Sequence[Item], groups: PermutationGroups,
    labels: tuple[str, str], passes: int = 100, tolerance: float = 1e-4, seed: int = 0,
) -> Alignment:
    """The order that makes a network's weights most like another's. Writes nothing."""
    names = {member.tensor for group in groups for member in group.members}
    own, reference = (
        {item.name: item.tensor.detach() for item in one
         if item.name in names and item.is_parameter} for one in (items, others))
    for label, tensors in zip(labels, (own, reference)):
        for name, tensor in tensors.items():
            if not bool(torch.isfinite(tensor).all()):
                raise NotFiniteError(f"{label}: {name} holds NaN or an infinite number")
    found = Matching(groups, reference, own, seed).run(passes, tolerance)
    product = found.sizes[0] * found.sizes[1] or 1.0
    return Alignment(
        groups, tuple(found.permutations), tuple(found.objectives),
        found.objectives[0] / product, found.objectives[-1] / product)


def check_alike(items: Sequence[Item], others: Sequence[Item], label: str) -> None:
    """Raises where two networks are not of one structure, or share memory."""
    theirs = {item.name: item for item in others}
    for item in items:
        other = theirs.get(item.name)
        if other is None:
            raise ShapeMismatchError(f"{label} lacks {item.name!r}, which the network has")
        if other.tensor.shape != item.tensor.shape:
            raise ShapeMismatchError(
                f"{label}: {item.name} has shape {tuple(other.tensor.shape)}, and in the network "
                f"{tuple(item.tensor.shape)}")
        if item.tensor.numel() and item.tensor.data_ptr() == other.tensor.data_ptr() and \
                item.tensor.device == other.tensor.device:
            raise InvalidArgumentError(f"{label}: {item.name} is the network's own memory")
