"""Watches a forward pass below torch's functions and modules, and says of every operation what may
move with what. So nothing depends on how a network is written: functions, modules and hooks all
come down to the same few operations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from ._axis_rules import RULES, Call, unknown
from .._module._inventory import Item
from ._labels import FIXED, Operand, Value, compressed
from ._units import Units


class Axes(TorchDispatchMode):
    """Labels of every value while it lives, and of every parameter's axes.

    Attributes
    ----------
    units : Units
    axes : dict of int to list of Tensor or None
        For each parameter (or running statistic) that took part, by index: the units along each
        axis.
    inner : dict of int to Tensor
        For weights of grouped convolutions: the units along axis 1, a row a group.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        super().__init__()
        self.units = Units()
        self.axes: dict[int, list[Tensor | None]] = {}
        self.inner: dict[int, Tensor] = {}
        self._items = items
        self._index = {
            id(item.tensor): index if item.alias_of is None else item.alias_of
            for index, item in enumerate(items)}
        self._values: Any = WeakTensorKeyDictionary()
        self._read: set[int] = set()
        self._written: list[Any] = []  # storages that hold more than their tensors' labels say

    # ---- what is known ---------------------------------------------------------------------------

    def index(self, tensor: Tensor) -> int | None:
        """The parameter's index; None for any other tensor."""
        found = self._index.get(id(tensor))
        return found if found is not None and self._items[found].is_parameter else None

    def operand(self, tensor: Tensor, statistic: bool = False) -> Operand:
        """A value on its way into an operation.

        Parameters
        ----------
        statistic
            Whether it is a batch norm's running statistic: only as such may a buffer move.
        """
        index = self._index.get(id(tensor))
        if index is not None and (self._items[index].is_parameter or statistic):
            value = Value(self._parameter(index))
            if not statistic:
                self._read.add(index)
                self._tie_inner(index)
        else:
            value = self._values.get(tensor, FIXED)
        value = Value(compressed(self.units, value.fields), value.uniform)
        if value.uniform and tensor.untyped_storage()._cdata in {
                one._cdata for one in self._written}:
            value = Value(value.fields)
        return Operand(value, tuple(tensor.shape))

    def _parameter(self, index: int) -> tuple[Tensor, ...]:
        tensor = self._items[index].tensor
        if index not in self.axes:
            self.axes[index] = [
                self.units.fresh(size) if size > 1 else None for size in tensor.shape]
        fields = []
        for d, labels in enumerate(self.axes[index]):
            if labels is not None:
                shape = [1] * tensor.dim()
                shape[d] = len(labels)
                fields.append(labels.reshape(shape))
        return tuple(fields)

    def grouped(self, tensor: Tensor, groups: int) -> Tensor | None:
        """For a weight of a grouped convolution that nothing else reads: units of its own along
        axis 1 for every group, so that each group's may move by themselves.

        Returns
        -------
        Tensor or None
            (groups, size of axis 1).
        """
        index = self.index(tensor)
        if index is None or index in self._read or tensor.shape[1] == 1:
            return None
        self._parameter(index)
        if index not in self.inner:
            self.inner[index] = self.units.fresh(groups * tensor.shape[1]).reshape(groups, -1)
        return self.inner[index] if len(self.inner[index]) == groups else None

    def along(self, tensor: Tensor, axis: int) -> Tensor | None:
        """The units along an axis of a parameter that `grouped` has taken."""
        index = self.index(tensor)
        return None if index is None else self.axes[index][axis]

    def _tie_inner(self, index: int) -> None:
        """Something else reads a weight of a grouped convolution: all its groups move alike."""
        labels = self.axes[index][1] if index in self.inner else None
        if labels is not None:
            self.units.unite(self.inner[index], labels[None])

    # ---- operations ------------------------------------------------------------------------------

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        call = Call(self, func, args, kwargs, result)
        try:
            values = RULES.find(call)(call)
        except Exception:  # a use of the operation that its rule does not foresee
            values = unknown(call)
        outputs = [one for one in tree_leaves(result) if isinstance(one, Tensor)]
        for at, output in enumerate(outputs):
            value = values[at] if at < len(values) else FIXED
            fields = compressed(self.units, value.fields)
            for labels in fields:
                self.units.mark(labels)
            value = Value(fields, value.uniform)
            if call.in_place and any(output is one for one in call.tensors):
                value = self._overwritten(call, output, value)
            if id(output) not in self._index:
                self._values[output] = value
        return result

    def _overwritten(self, call: Call, tensor: Tensor, value: Value) -> Value:
        """What a tensor holds that has been written to; what else sees its memory does not learn
        of new labels, so these may not move."""
        before = self._values.get(tensor, FIXED)
        whole = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
        if not whole:
            self._written.append(tensor.untyped_storage())
        if call.resets or (whole and before.uniform):
            return value
        if len(value.fields) > len(compressed(self.units, before.fields)) or (
                id(tensor) in self._index):
            for labels in value.fields:
                self.units.pin(labels, f"is written into other memory ({call.name})")
            return FIXED
        return value

    def pin(self, tensors: Iterable[Any], reason: str) -> None:
        """Whatever these hold stays where it is."""
        for tensor in tensors:
            if isinstance(tensor, Tensor):
                for labels in self.operand(tensor).value.fields:
                    self.units.pin(labels, reason)
