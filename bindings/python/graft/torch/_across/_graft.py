"""Grafting between networks of different structure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..._errors import InvalidArgumentError, ShapeMismatchError
from ._report import AcrossReport
from ._work import Work
from ._anatomy import Anatomy
from .._module._inventory import Item
from ._layer_pairs import LayerPairs, inferred
from ._links import obstacle
from .._operator._graft import Settings
from .._alignment._permutations import checked

_FILTERS = ("auto", "match", "position")


def graft_across(
    target: nn.Module,
    source: nn.Module,
    example_inputs: Any = None,
    mapping: Mapping[str, str] | None = None,
    *,
    weighting: str | float = "entropy",
    a: float = 0.4,
    c: float = 500.0,
    bins: int = 10,
    filters: str = "auto",
    mutual: bool = False,
    frozen: str = "keep",
    dry_run: bool = False,
) -> AcrossReport:
    """Graft a network from one of another depth or width, in place.

    Layers that `mapping` pairs are blended, each with the coefficient that the method gives the two
    (from the entropies of the two layers, whole), and with them their biases, norms and running
    statistics. Where widths differ, filters are paired one to one; only paired filters blend, over
    the input channels that are paired themselves, and the rest stays as it is. So the networks'
    structures stay what they are. Between networks of one structure this is `graft.graft`.

    This is ours, and not in the paper, which leaves networks of different structure open.

    Parameters
    ----------
    target
        The network that receives, wrapped or compiled as it may be.
    source
        The one that gives. With `mutual` it receives as well, both from the other's state before:
        what is paired then comes out equal in both.
    example_inputs
        Input that both networks take; see `graft.torch.pair_layers`. Not needed where `mapping`
        comes from that.
    mapping
        For layers of the target those of the source: names of weights, or of modules that have one.
        None takes what `graft.torch.pair_layers` finds. Several layers may receive from one.
    weighting
        "entropy", or the share that is kept, 0 to 1.
    a, c, bins
        Range and steepness of the adaptive coefficient, bins of the entropy.
    filters
        "position" pairs the first filter with the first; "match" finds filters that are alike, by
        the distance between their weights (needs SciPy); "auto" goes by position where as many lie
        along both, and matches where not. Networks of one width that were trained apart need
        "match".
    mutual
        Whether the source receives too.
    frozen
        "keep" leaves parameters without `requires_grad` alone, "graft" grafts them. A mapping from
        `pair_layers` has had its say.
    dry_run
        Report what would happen; write nothing.

    Returns
    -------
    AcrossReport

    Raises
    ------
    GraftError
        Nothing has changed then.
    """
    settings = _settings(weighting, a, c, bins)
    if filters not in _FILTERS:
        raise InvalidArgumentError(
            f"filters is {filters!r}; allowed are {', '.join(map(repr, _FILTERS))}")
    pairs = _pairs(target, source, example_inputs, mapping, frozen, mutual)
    items = [
        _named(module, anatomy, label) for module, anatomy, label in
        ((target, pairs.target, "target"), (source, pairs.source, "source"))]
    with torch.no_grad():
        given = mapping is not None and not isinstance(mapping, LayerPairs)
        return Work(pairs, items, settings, filters, given).blend(bool(mutual), bool(dry_run))


def _settings(weighting: Any, a: float, c: float, bins: int) -> Settings:
    if isinstance(weighting, str) and weighting != "entropy":
        raise InvalidArgumentError(
            f"weighting is {weighting!r}; between different structures allowed are 'entropy' and "
            "a number: sums over a layer grow with it")
    settings = Settings(weighting=weighting, a=a, c=c, bins=bins)
    settings.for_torch()
    return settings


def _pairs(
    target: nn.Module, source: nn.Module, example_inputs: Any, mapping: Any, frozen: str,
    mutual: bool,
) -> LayerPairs:
    """The layers that are paired; those that the caller names are checked."""
    if isinstance(mapping, LayerPairs):
        pairs = mapping
    else:
        if example_inputs is None:
            raise InvalidArgumentError(
                "example_inputs is None: give input of the networks, or a mapping from pair_layers")
        one = Anatomy(target, example_inputs, "target", frozen)
        other = Anatomy(source, example_inputs, "source", frozen if mutual else "graft")
        pairs = inferred(one, other)
        if mapping is not None:
            if not isinstance(mapping, Mapping):
                raise InvalidArgumentError(
                    f"mapping is {type(mapping).__name__!r}: it must be a mapping of names")
            pairs = LayerPairs(mapping, one, other)
    found: dict[str, str] = {}
    for mine, theirs in pairs.items():
        name = _weight(pairs.target, mine, "target")
        other_name = _weight(pairs.source, theirs, "source")
        if name in found:
            raise InvalidArgumentError(f"mapping names {name} of the target twice")
        weights = pairs.target.weights[name], pairs.source.weights[other_name]
        alike = [weight.kind[:-1] for weight in weights]
        reason = obstacle(
            pairs.target.axes[name], pairs.source.axes[other_name], pairs.target.filter_axis[name])
        if alike[0] != alike[1]:
            reason = f"is of kind {_kind(alike[0])}, and the other of {_kind(alike[1])}"
        if reason is not None:
            raise ShapeMismatchError(f"mapping pairs {name} with {other_name}: {name} {reason}")
        found[name] = other_name
    if mutual and len(set(found.values())) < len(found):
        raise InvalidArgumentError(
            "mapping names a layer of the source twice: with mutual each can receive from one only")
    if not found:
        raise InvalidArgumentError("mapping pairs no layers: there is nothing to graft")
    return LayerPairs(found, pairs.target, pairs.source)


def _kind(kind: tuple[Any, ...]) -> str:
    rule, attribute, axis, kernel, groups = kind
    what = [f"{rule} {attribute}".strip(), *(["x".join(map(str, kernel))] if kernel else [])]
    if axis:
        what.append("transposed")
    if groups != 1:
        what.append(f"groups {groups}")
    return f"({', '.join(what)})"


def _weight(anatomy: Anatomy, name: Any, label: str) -> str:
    """A weight by its name or its module's."""
    if name in anatomy.weights:
        return str(name)
    inside = [one for one in anatomy.weights if one.rpartition(".")[0] == name]
    if len(inside) == 1:
        return inside[0]
    raise InvalidArgumentError(
        f"mapping names {name!r}, which is no layer of the {label} that a graft may touch"
        if not inside else
        f"mapping names {name!r} of the {label}, which has {', '.join(inside)}: name one of them")


def _named(module: nn.Module, anatomy: Anatomy, label: str) -> dict[str, Item]:
    """A module's tensors as they are now."""
    _, items = checked(module, label)
    found = {item.name: item for item in items}
    if tuple(found) != anatomy.names:
        raise ShapeMismatchError(f"{label} has other tensors than the network that was paired")
    for name, axes in anatomy.axes.items():
        shape = tuple(axis.length for axis in axes)
        if tuple(found[name].tensor.shape) != shape:
            raise ShapeMismatchError(
                f"{label}: {name} has shape {tuple(found[name].tensor.shape)}, and the network "
                f"that was paired {shape}")
    return found
