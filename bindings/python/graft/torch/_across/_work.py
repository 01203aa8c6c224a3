"""A graft between two networks of different structure: what is blended with what, and the blend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..._errors import NotFiniteError, UnsupportedError
from ._report import AcrossReport, PairedLayer, Untouched
from .._operator._blend import Row, Tally, mix
from ._filter_pairs import Evidence, FilterPairs, by_position
from .._module._inventory import Item
from ._layer_pairs import LayerPairs
from ._links import Channels, Groups, Link, link, obstacle, related
from .._operator._measure import is_finite
from .._module._networks import check_apart
from .._operator._graft import Settings, warn_of_unmoved


@dataclass(frozen=True)
class _Pair:
    """Two tensors that are blended, the layer they go with, and how their axes lie."""

    mine: str
    theirs: str
    anchor: str | None
    links: tuple[Link, ...]


class Work:
    """A graft, prepared: everything is checked, and nothing has changed.

    Parameters
    ----------
    pairs
        The layers.
    items
        The two networks' tensors, by name.
    filters
        "auto", "match" or "position".
    given
        Whether the caller named the layers: then it is an error where one cannot be blended.
    """

    def __init__(
        self, pairs: LayerPairs, items: Sequence[dict[str, Item]], settings: Settings,
        filters: str, given: bool = False,
    ) -> None:
        self._layers = pairs
        self._anatomies = pairs.target, pairs.source
        self._items = items
        self._tensors = [
            {name: item.tensor.detach() for name, item in one.items()} for one in items]
        self._settings = settings
        self._given = given
        self._untouched: list[Untouched] = []
        self._pairs = self._all_pairs(self._relations(), filters)
        self._check()
        self._channels = self._filter_pairs(filters)

    # ---- what is blended with what ---------------------------------------------------------------

    def _relations(self) -> set[Groups]:
        one, other = self._anatomies
        return {
            groups for mine, theirs in self._layers.items()
            for groups in related(
                one.axes[mine][one.filter_axis[mine]], other.axes[theirs][one.filter_axis[mine]])}

    def _all_pairs(self, known: set[Groups], filters: str) -> list[_Pair]:
        """Every tensor of the target finds its counterpart, or a reason why it has none."""
        one, other = self._anatomies
        found: list[_Pair] = []

        def leave(name: str, reason: str) -> None:
            self._untouched.append(Untouched(name, reason))

        def add(mine: str, theirs: str, anchor: str | None) -> bool:
            axes = one.axes[mine], other.axes[theirs]
            kinds = self._tensors[0][mine].dtype, self._tensors[1][theirs].dtype
            reason = obstacle(*axes)
            links = tuple(link(*two, known) for two in zip(*axes)) if reason is None else ()
            if any(not one.parts and not len(one.fixed[0]) for one in links):
                reason = "has channels of which none can be paired"
            if filters == "match" and any(axis.within for both in axes for axis in both):
                reason = "is of a grouped convolution, whose channels cannot be matched"
            elif kinds[0] != kinds[1]:
                reason = f"is of type {kinds[0]}, and the source's is of {kinds[1]}"
            if reason is not None:
                if self._given and mine == anchor:
                    raise UnsupportedError(f"mapping pairs {mine} with {theirs}: {mine} {reason}")
                leave(mine, reason)
                return False
            found.append(_Pair(mine, theirs, anchor, links))
            return True

        def add_followers(anchor: str | None, theirs: str | None) -> None:
            for key, name in one.followers[anchor].items():
                if key in other.followers[theirs]:
                    add(name, other.followers[theirs][key], anchor)
                else:
                    leave(name, "has no counterpart in the source")

        for name in one.weights:
            if name in self._layers:
                if add(name, self._layers[name], name):
                    add_followers(name, self._layers[name])
                    continue
            else:
                leave(name, "has no partner")
            for follower in one.followers[name].values():
                leave(follower, "goes with a layer that has no partner")
        add_followers(None, None)
        return found

    def _filter_pairs(self, filters: str) -> dict[Groups, Channels]:
        one, other = self._anatomies
        groups = {two for pair in self._pairs for axis in pair.links for two, _, _ in axis.parts}
        sizes = {two: (one.sizes[two[0]], other.sizes[two[1]]) for two in sorted(groups)}
        given = {
            two: by_position(*size) for two, size in sizes.items()
            if filters == "position" or (filters == "auto" and size[0] == size[1])}
        if len(given) == len(sizes):
            return given
        evidence = [
            Evidence(
                self._tensors[0][pair.mine].to("cpu", torch.float64),
                self._tensors[1][pair.theirs].to("cpu", torch.float64), pair.links)
            for pair in self._pairs
            if pair.mine in one.parameters and any(
                two not in given for axis in pair.links for two, _, _ in axis.parts)]
        return FilterPairs(sizes, evidence, given).run()

    # ---- checks ----------------------------------------------------------------------------------

    def _check(self) -> None:
        """Raises where a tensor cannot be read, or lies in another's memory."""
        involved: list[dict[str, None]] = [{}, {}]  # in order, each once
        for pair in self._pairs:
            for side, name in enumerate((pair.mine, pair.theirs)):
                involved[side][name] = None
                feeder = self._anatomies[side].feeder[name]
                if feeder is not None:
                    involved[side][feeder] = None
        for names, tensors, label in zip(involved, self._tensors, ("target", "source")):
            for name in names:
                tensor = tensors[name]
                if tensor.is_meta or tensor.device.type == "mps":
                    raise UnsupportedError(
                        f"{label}: {name} lies on the device {tensor.device.type!r}, which "
                        "cannot be worked on: move the network to the CPU for the graft")
                if not is_finite(tensor):
                    raise NotFiniteError(f"{label}: {name} holds NaN or an infinite number")
        check_apart([
            (f"{label}: {name}", items[name])
            for label, names, items in zip(("target", "source"), involved, self._items)
            for name in names])

    # ---- the blend -------------------------------------------------------------------------------

    def blend(self, mutual: bool, dry_run: bool) -> AcrossReport:
        """Graft; with `dry_run` report only."""
        entropies: list[dict[str, float]] = [{}, {}]
        alphas = [self._alphas(pair, entropies) for pair in self._pairs]
        for pair in self._pairs:  # those of before, while they are
            if pair.anchor == pair.mine:
                self._entropy(0, pair.mine, entropies)
                self._entropy(1, pair.theirs, entropies)
        tally = Tally()
        layers: dict[str, PairedLayer] = {}
        for pair, (alpha, other_alpha) in zip(self._pairs, alphas):
            mine, theirs = self._tensors[0][pair.mine], self._tensors[1][pair.theirs]
            places = [axis.places(self._channels) for axis in pair.links]
            rows = [Row.make(0, alpha, [(1, 1.0)])]
            if mutual:
                rows.append(Row.make(1, other_alpha, [(0, 1.0)]))
            is_weight = pair.anchor == pair.mine
            if dry_run:
                if not is_weight:
                    continue
                mine, rows = mine.clone(), rows[:1]
            _mix([mine, theirs], places, rows, tally)
            if is_weight:
                layers[pair.mine] = self._layer(pair, mine, places, alpha, entropies)
        if sum(tally.stuck.values()) * 2 > tally.apart:
            warn_of_unmoved(sum(tally.stuck.values()), tally.apart)
        return AcrossReport(tuple(layers.values()), tuple(self._untouched), mutual)

    def _alphas(self, pair: _Pair, entropies: list[dict[str, float]]) -> tuple[float, float]:
        """What each of the two keeps."""
        feeders = [
            anatomy.feeder[name]
            for anatomy, name in zip(self._anatomies, (pair.mine, pair.theirs))]
        known = [
            self._entropy(side, name, entropies)
            for side, name in enumerate(feeders) if name is not None]
        if len(known) < 2:
            return self._settings.without_layer, self._settings.without_layer
        return self._settings.alpha(*known), self._settings.alpha(*reversed(known))

    def _entropy(self, side: int, name: str, known: list[dict[str, float]]) -> float:
        if name not in known[side]:
            known[side][name] = self._measured(side, name, self._tensors[side][name])
        return known[side][name]

    def _measured(self, side: int, name: str, tensor: Tensor) -> float:
        axis = self._anatomies[side].filter_axis[name]
        return self._settings.measure(tensor, axis, True).entropy

    def _layer(
        self, pair: _Pair, after: Tensor, places: list[Channels], alpha: float,
        entropies: list[dict[str, float]],
    ) -> PairedLayer:
        axis = self._anatomies[0].filter_axis[pair.mine]
        theirs = self._tensors[1][pair.theirs]
        blended = np.prod([len(mine) for mine, _ in places]) / max(after.numel(), 1)
        return PairedLayer(
            pair.mine, pair.theirs, alpha, np.stack(places[axis], 1), after.shape[axis],
            theirs.shape[axis], float(blended), self._entropy(0, pair.mine, entropies),
            self._entropy(1, pair.theirs, entropies), self._measured(0, pair.mine, after),
            tuple((one.mine, one.theirs) for one in self._pairs
                  if one.anchor == pair.mine and one is not pair))


def _mix(
    tensors: list[Tensor], places: Sequence[Channels], rows: list[Row], tally: Tally
) -> None:
    """Blends what is paired of two tensors, in place."""
    whole = [
        all(np.array_equal(along[side], np.arange(length))
            for along, length in zip(places, tensor.shape))
        for side, tensor in enumerate(tensors)]
    at = [
        None if whole[side] else tuple(
            torch.from_numpy(along[side]).to(tensor.device).reshape(
                [-1 if d == axis else 1 for d in range(tensor.dim())])
            for axis, along in enumerate(places))
        for side, tensor in enumerate(tensors)]
    blocks = [tensor if where is None else tensor[where] for tensor, where in zip(tensors, at)]
    if blocks[0].numel() == 0:
        return
    mix(blocks, rows, [blocks[row.receiver] for row in rows], tally)
    for row in rows:
        where = at[row.receiver]
        if where is not None:
            tensors[row.receiver][where] = blocks[row.receiver]
