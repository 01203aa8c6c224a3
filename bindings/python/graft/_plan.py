"""The plan of a graft: which arrays carry information, and which follow them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from ctypes import byref
from dataclasses import dataclass
from typing import Any

from . import _structures as s
from ._described_network import DescribedNetwork
from ._errors import InvalidArgumentError, check
from ._library import lib
from ._text import joined

_ROLES = {one.name.lower(): one for one in s.Role}


@dataclass(frozen=True)
class PlanEntry:
    """An array's place in a plan.

    Attributes
    ----------
    index : int
    name : str
    role : str
        "layer" decides its own coefficient; "follows" takes that of `feeder`; "half" belongs to no
        layer and is blended half and half; "leave" is left alone.
    rule : str
        Why: "convolution", "linear", "classifier", "order", "no layer", "integer", "given".
    feeder : str or None
        The layer that it follows.
    filter_axis : int
        The dimension along which its filters lie.
    scale, input_scale : str or None
        For weighting "filter": the batch-norm scales of its filters (or entries), and of its input
        channels.
    """

    index: int
    name: str
    role: str
    rule: str
    feeder: str | None
    filter_axis: int
    scale: str | None = None
    input_scale: str | None = None


class Plan:
    """Which arrays of a network are layers, and which follow them; printable and editable.

    Made by order alone: an array of 3 or more dimensions is a convolution; the first of 2
    dimensions after one follows it; others of 2 stand for themselves; 1 and 0 dimensions follow
    the last layer before them; integers are left alone. Names decide nothing.

    Parameters
    ----------
    network
        A mapping of name -> array, such as a state dict. Only its arrays' ranks and types are
        looked at.

    Examples
    --------
    >>> plan = graft.Plan(model.state_dict())
    >>> print(plan)
    >>> plan.set("fc.weight", "layer")
    >>> graft.graft([model.state_dict() for model in models], plan)
    """

    def __init__(self, network: Mapping[str, Any]) -> None:
        self._handle = ctypes.c_void_p()
        described = DescribedNetwork(network, writable=False)
        self._names = described.names
        self._index = {name: index for index, name in enumerate(described.names)}
        check(lib.graft_plan_create(
            described.pointer, ctypes.sizeof(s.Tensor), len(described), byref(self._handle)))

    @classmethod
    def _made(cls, names: list[str], create: str, *arguments: Any) -> Plan:
        """The plan that a function of the library makes for tensors of these names."""
        plan = cls.__new__(cls)
        plan._handle = ctypes.c_void_p()
        plan._names = list(names)
        plan._index = {name: index for index, name in enumerate(names)}
        check(getattr(lib, create)(*arguments, byref(plan._handle)))
        return plan

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None and lib is not None:  # None as the interpreter ends
            lib.graft_plan_destroy(handle)

    @property
    def handle(self) -> ctypes.c_void_p:
        """The library's own `graft_plan *`, for as long as this lives."""
        return self._handle

    def __len__(self) -> int:
        return len(self._names)

    def _find(self, key: str | int, what: str = "tensor") -> int:
        if isinstance(key, str):
            if key not in self._index:
                raise InvalidArgumentError(f"{what} is {key!r}, which the plan does not have")
            return self._index[key]
        if not 0 <= key < len(self):
            raise InvalidArgumentError(f"{what} is {key}, and the plan has {len(self)} tensors")
        return key

    def __getitem__(self, key: str | int) -> PlanEntry:
        if isinstance(key, int) and not 0 <= key < len(self):
            raise IndexError(f"the plan has {len(self)} tensors")
        index = self._find(key)
        entry = s.PlanEntry()
        check(lib.graft_plan_get(self._handle, index, byref(entry)))
        role = s.Role(entry.role)
        return PlanEntry(
            index=index, name=self._names[index], role=role.name.lower(),
            rule=s.Rule(entry.rule).name.lower().replace("_", " "),
            feeder=self._names[entry.feeder] if role is s.Role.FOLLOWS else None,
            filter_axis=entry.filter_axis, scale=self._name(entry.scale),
            input_scale=self._name(entry.input_scale))

    def _name(self, index: int) -> str | None:
        return self._names[index] if index < len(self) else None

    def __iter__(self) -> Iterator[PlanEntry]:
        return (self[index] for index in range(len(self)))

    def set(
        self, tensor: str | int, role: str, feeder: str | int | None = None, filter_axis: int = 0
    ) -> None:
        """Change an array's place.

        Parameters
        ----------
        tensor
            Its name or index.
        role
            "layer", "follows", "half" or "leave".
        feeder
            For "follows": the layer whose coefficient it takes.
        filter_axis
            The dimension along which its filters lie, 0 or 1.
        """
        if role not in _ROLES:
            raise InvalidArgumentError(f"role is {role!r}; allowed are {', '.join(_ROLES)}")
        index = self._find(tensor)
        if role == "follows" and feeder is None:
            raise InvalidArgumentError("feeder is None; 'follows' needs the layer to follow")
        leader = index if feeder is None else self._find(feeder, "feeder")
        check(lib.graft_plan_set(self._handle, index, _ROLES[role], leader, filter_axis))

    def set_scales(
        self, tensor: str | int, scale: str | int | None = None,
        input_scale: str | int | None = None,
    ) -> None:
        """Say which batch-norm scales decide an array's coefficients under weighting "filter".

        By order a batch norm is four vectors and a counter, right after the array whose filters it
        scales (and its bias). What feeds an array's input channels, order does not tell.

        Parameters
        ----------
        tensor
            Its name or index.
        scale
            The scales, one for each of its filters, or entries where it has one dimension; None for
            none.
        input_scale
            The scales of its input channels; None for none.
        """
        def place(key: str | int | None, what: str) -> int:
            return s.NO_TENSOR if key is None else self._find(key, what)

        check(lib.graft_plan_set_scales(
            self._handle, self._find(tensor), place(scale, "scale"),
            place(input_scale, "input_scale")))

    def table(self) -> str:
        """The plan as text, a line an array."""
        rows = [("", "tensor", "role", "rule", "feeder")]
        rows += [
            (str(entry.index), entry.name, entry.role, entry.rule, entry.feeder or "")
            for entry in self]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        return joined(
            "  ".join(
                cell.rjust(width) if column == 0 else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths))).rstrip()
            for row in rows)

    __str__ = table
