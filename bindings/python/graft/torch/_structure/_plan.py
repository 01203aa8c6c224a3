"""The plan of a graft, read off a PyTorch module's structure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import nn

from ... import _plan
from ..._errors import InvalidArgumentError, UnsupportedError
from ..._text import joined
from ._flow import Flow, Place
from .._module._inventory import Item, inner, inventory, is_uninitialised
from .._module._kinds import kind_of
from .._module._obstacles import module_obstacles, tensor_obstacle
from ._trace import follow_order, run_hooked, trace_symbolically

Pattern = str | type


class Plan(_plan.Plan):
    """What a graft does to every parameter and buffer of a module; printable and editable.

    Made by `graft.torch.plan`. Names are those of the state dict, without what `torch.compile` and
    parallel wrappers put in front.

    Attributes
    ----------
    method : str
        How the structure was found: "fx" (symbolic trace), "hooks" (a forward pass on example
        inputs) or "order" (the modules' order).
    notes : tuple of str
        Why a better method was not used.
    tied : dict of str to str
        Names that are the same tensor as an earlier one, and that one's name.
    order : tuple of str
        All names, in the order in which a forward pass first uses them, as far as it was seen.
    """

    def __init__(
        self, items: list[Item], places: dict[int, Place], method: str, notes: tuple[str, ...] = ()
    ) -> None:
        super().__init__({item.name: _stand_in(item.tensor) for item in items})
        self._entries: tuple[_plan.PlanEntry, ...] | None = None
        self.method = method
        self.notes = notes
        self.tied = {
            item.name: items[item.alias_of].name for item in items if item.alias_of is not None}
        self.order = tuple(items[index].name for index in places)
        self._rules = [places[index].rule for index in range(len(items))]
        self._fill(items, places)

    def _fill(self, items: list[Item], places: dict[int, Place]) -> None:
        """From the plan by order, which the base class has made."""
        floating = [i for i, item in enumerate(items) if item.tensor.is_floating_point()]
        for index in floating:  # layers first: only a layer can be followed
            if places[index].role == "layer":
                super().set(index, "layer", filter_axis=places[index].axis)
        # By order, what follows has fewer dimensions than its layer: so nothing follows a tensor
        # any more when its turn to stop being a layer comes.
        for index in sorted(floating, key=lambda index: _rank(items[index].tensor)):
            place = places[index]
            if place.role == "tied":
                first = items[index].alias_of or 0
                place = places[first]
                if place.role == "layer":
                    place = Place("follows", "tied", first)
            if place.role != "layer":
                super().set(index, place.role, place.feeder)
        self._fill_scales(items, places)

    def _fill_scales(self, items: list[Item], places: dict[int, Place]) -> None:
        """Batch norms' scales as the structure has them, where they fit; the base class's are by
        order."""
        for index, item in enumerate(items):
            if not item.tensor.is_floating_point() or is_uninitialised(item.tensor):
                continue
            one = places[index]
            axis = one.axis if one.role == "layer" else 0
            place: list[int | None] = [None, None]
            if one.role not in ("leave", "tied"):
                for at, scale in enumerate((one.scale, one.input_scale)):
                    if scale is not None and places[scale].role not in ("leave", "tied") and \
                            scale_fits(item, axis, items[scale].tensor.numel(), at):
                        place[at] = scale
            super().set_scales(index, *place)

    def __getitem__(self, key: str | int) -> _plan.PlanEntry:
        entry = super().__getitem__(key)
        return replace(entry, rule=self._rules[entry.index])

    def __iter__(self) -> Iterator[_plan.PlanEntry]:
        if self._entries is None:  # read at every graft, and seldom changed
            self._entries = tuple(super().__iter__())
        return iter(self._entries)

    def set(
        self, tensor: str | int, role: str, feeder: str | int | None = None, filter_axis: int = 0
    ) -> None:
        super().set(tensor, role, feeder, filter_axis)
        self._entries = None
        self._rules[self._find(tensor)] = "given"

    set.__doc__ = _plan.Plan.set.__doc__

    def set_scales(
        self, tensor: str | int, scale: str | int | None = None,
        input_scale: str | int | None = None,
    ) -> None:
        super().set_scales(tensor, scale, input_scale)
        self._entries = None

    set_scales.__doc__ = _plan.Plan.set_scales.__doc__

    def table(self) -> str:
        """The plan as text: a line a tensor, and how the structure was found."""
        lines = [*super().table().split("\n"), f"structure found by: {self.method}"]
        return joined([*lines, *(f"  {note}" for note in self.notes)])

    __str__ = table


def scale_fits(item: Item, axis: int, channels: int, inputs: int) -> bool:
    """Whether so many scales are those of a tensor's filters, or of its inputs: of a convolution's
    as many as it reads, of a linear layer's one for each of the equal parts that channels become
    when they are flattened."""
    shape = item.tensor.shape
    if not inputs:
        return len(shape) > axis and shape[axis] == channels
    if len(shape) < 2 or channels == 0:
        return False
    width = shape[1 - axis]
    if len(shape) > 2:
        groups = getattr(item.owner, "groups", 1) if kind_of(item.owner) and axis == 0 else 1
        return width * groups == channels
    return width % channels == 0


def _rank(tensor: torch.Tensor) -> int:
    return 0 if is_uninitialised(tensor) else tensor.dim()


def _stand_in(tensor: torch.Tensor) -> np.ndarray:
    """What a plan looks at, without memory: rank and whether these are integers."""
    shape = () if is_uninitialised(tensor) else tensor.shape
    kind = np.float32 if tensor.is_floating_point() else np.int64
    return np.broadcast_to(np.zeros((), kind), tuple(shape))


def plan(
    module: nn.Module,
    example_inputs: Any = None,
    *,
    include: Iterable[Pattern] | Pattern | None = None,
    exclude: Iterable[Pattern] | Pattern | None = None,
    frozen: str = "keep",
) -> Plan:
    """Find out which tensors of a module carry information and which follow them.

    The structure is read off a symbolic trace (`torch.fx`); where the module cannot be traced, off
    one forward pass on `example_inputs`; without those, off the modules' order. Never off names.

    Layers are the weights of every convolution, linear layer, embedding, recurrent layer and
    attention projection, and matrices that a module of another type multiplies with. A linear
    layer that is fed by a convolution's features (through pooling, flattening, norms, activations)
    follows that convolution. Biases and norms with their running statistics follow the layer that
    feeds them; after a sum or a concatenation, the one of them that ran last. Other parameters
    follow the layer whose output they are added to or scale, else the last layer before them. Left
    alone are integers and buffers of modules of unknown type.

    Parameters
    ----------
    module
        The network, or a wrapper around it. Nothing about it changes.
    example_inputs
        Its input: a tensor, a tuple of arguments, or a dict of keyword arguments. Needed only where
        `torch.fx` cannot trace it.
    include, exclude
        Names of tensors or modules (with the wildcards of `fnmatch`) or module types. A layer
        brings what follows it. What is left out is left alone.
    frozen
        "keep" leaves parameters without `requires_grad` alone, "graft" grafts them.

    Raises
    ------
    UnsupportedError
        For parametrized, lazy, quantized and sharded weights that are not left out; by name.
    """
    if not isinstance(module, nn.Module):
        raise InvalidArgumentError(
            f"module is {type(module).__name__!r}: it must be a torch.nn.Module")
    if frozen not in ("keep", "graft"):
        raise InvalidArgumentError(f"frozen is {frozen!r}; allowed are 'keep' and 'graft'")
    module = inner(module)
    for path, reason in module_obstacles(module).items():
        raise UnsupportedError(f"{path or 'the module'} {reason}")
    items = inventory(module)
    if not items:
        raise InvalidArgumentError("module has no parameters and no buffers")
    selection = _Selection(items, include, exclude)
    _check(items, selection, frozen)
    places, method, notes = _structure(module, items, example_inputs)
    _leave_out(items, places, selection, frozen)
    return Plan(items, places, method, notes)


def _structure(
    module: nn.Module, items: list[Item], example_inputs: Any
) -> tuple[dict[int, Place], str, tuple[str, ...]]:
    notes: list[str] = []
    for method in ("fx", "hooks", "order"):
        flow = Flow(items)
        try:
            if method == "fx":
                trace_symbolically(module, flow)
            elif method == "hooks":
                if example_inputs is None:
                    notes.append("hooks: no example_inputs were given")
                    continue
                run_hooked(module, example_inputs, flow)
            else:
                follow_order(module, flow)
        except Exception as error:  # whatever the module's own code raises
            if method == "order":
                raise
            if method == "hooks":
                raise InvalidArgumentError(
                    f"example_inputs: the module's forward pass raises {type(error).__name__}: "
                    f"{error}") from error
            first = (str(error).splitlines() or [""])[0]
            notes.append(f"{method}: {type(error).__name__}: {first}")
            continue
        return flow.finish(), method, tuple(notes)
    raise AssertionError("the last method always returns or raises")


# ---- what is left out ----------------------------------------------------------------------------


class _Selection:
    """Which tensors the caller names."""

    def __init__(self, items: list[Item], include: Any, exclude: Any) -> None:
        self.included = None if include is None else _matching(items, include, "include")
        self.excluded = set() if exclude is None else _matching(items, exclude, "exclude")

    def names_out(self, index: int) -> bool:
        """Whether the tensor by itself is left out, whatever it follows."""
        return index in self.excluded or (
            self.included is not None and index not in self.included)


def _matching(items: list[Item], given: Any, argument: str) -> set[int]:
    patterns = [given] if isinstance(given, (str, type)) else list(given)
    found: set[int] = set()
    for pattern in patterns:
        if isinstance(pattern, type):
            matches = {i for i, item in enumerate(items) if isinstance(item.owner, pattern)}
        elif isinstance(pattern, str):
            matches = {i for i, item in enumerate(items) if _names(pattern, item.name)}
        else:
            raise InvalidArgumentError(
                f"{argument} holds {pattern!r}; allowed are names and module types")
        if not matches and isinstance(pattern, str):
            raise InvalidArgumentError(
                f"{argument} holds {pattern!r}, which no tensor or module is called")
        found |= matches
    return found


def _names(pattern: str, name: str) -> bool:
    """Whether a pattern names a tensor or a module that it lies in."""
    parts = name.split(".")
    return any(
        fnmatchcase(".".join(parts[:count]), pattern) for count in range(1, len(parts) + 1))


def _check(items: list[Item], selection: _Selection, frozen: str) -> None:
    """Raises for the first tensor that would have to be grafted and cannot be."""
    for index, item in enumerate(items):
        kind = kind_of(item.owner)
        left = (
            not item.tensor.requires_grad and frozen == "keep" if item.is_parameter
            else kind is None or item.attribute not in kind.followers)
        if left or selection.names_out(index):
            continue
        reason = tensor_obstacle(item)
        if reason is not None:
            raise UnsupportedError(f"{item.name} {reason}, or leave it out with exclude")


def _leave_out(
    items: list[Item], places: dict[int, Place], selection: _Selection, frozen: str
) -> None:
    """Leaves tensors alone that are frozen, empty or not asked for. What follows a layer that is
    left alone: a matrix stands for itself then; the rest is left alone with it where the caller
    left the layer out, and is blended half and half where the layer is merely frozen."""
    gone: dict[int, str] = {}
    for index, item in enumerate(items):
        place = places[index]
        leader = place.feeder if place.role == "follows" else index
        if item.tensor.is_floating_point() and _is_empty(item.tensor):
            gone[index] = "empty"
        elif frozen == "keep" and _is_frozen(items, index, leader):
            gone[index] = "frozen"
        elif index in selection.excluded:
            gone[index] = "excluded"
        elif selection.included is not None and index not in selection.included:
            if leader not in selection.included:
                gone[index] = "not included"
    original = dict(places)
    for index, place in original.items():
        if place.role not in ("leave", "tied") and index in gone:
            places[index] = Place("leave", gone[index])
    for biases in (False, True):  # a bias goes by what its weight has become
        for index, place in original.items():
            if place.role == "follows" and (place.weight is not None) == biases:
                if index not in gone and place.feeder in gone:
                    places[index] = replace(
                        _without_leader(index, place, places, gone[place.feeder], selection),
                        scale=place.scale, input_scale=place.input_scale)


def _without_leader(
    index: int, place: Place, places: dict[int, Place], reason: str, selection: _Selection
) -> Place:
    """`reason` is why the leader is left alone."""
    if place.rule == "classifier":
        return Place("layer", "linear")
    if place.weight is not None and places[place.weight].role == "layer":
        return Place("follows", "bias", place.weight, weight=place.weight)
    named = selection.included is not None and index in selection.included
    if named or reason == "frozen":
        return Place("half", "no layer")
    return Place("leave", reason)


def _is_empty(tensor: torch.Tensor) -> bool:
    return not is_uninitialised(tensor) and tensor.numel() == 0


def _is_frozen(items: list[Item], index: int, leader: int | None) -> bool:
    """A buffer is frozen with its module's parameters; without any, with the layer it follows."""
    item = items[index]
    if item.is_parameter:
        return not item.tensor.requires_grad
    own = list(item.owner.parameters(recurse=False))
    if own:
        return not any(parameter.requires_grad for parameter in own)
    return leader is not None and leader != index and not items[leader].tensor.requires_grad
