"""What is known of a value in a forward pass: which units its elements belong to.

A value has fields of labels, each a tensor of units that broadcasts against it: features of a
convolution have one, which differs along their channels; a weight has one for its filters and one
for its input channels. Along a dimension that no field differs along, nothing moves, unless the
value is uniform: the same there whatever moves (zeros, noise).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ._units import FREE, PINNED, Units, varying


@dataclass(frozen=True)
class Value:
    """Fields of labels, and whether the value is uniform otherwise."""

    fields: tuple[Tensor, ...] = ()
    uniform: bool = False


FIXED, UNIFORM = Value(), Value(uniform=True)


@dataclass(frozen=True)
class Operand:
    """A value and its shape."""

    value: Value
    shape: tuple[int, ...]

    def lifted(self, rank: int) -> Operand:
        """With further dimensions of size 1 in front, as broadcasting puts them."""
        front = (1,) * (rank - len(self.shape))
        fields = tuple(one.reshape(front + tuple(one.shape)) for one in self.value.fields)
        return Operand(Value(fields, self.value.uniform), front + self.shape)


def overlap(first: Tensor, second: Tensor) -> bool:
    """Whether labels of two fields differ along a dimension in common."""
    return bool(set(varying(first)) & set(varying(second)))


def compressed(units: Units, fields: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """By classes, without dimensions along which they do not differ; what differs nowhere goes."""
    kept = []
    for labels in fields:
        labels = units.find(labels)
        for d in varying(labels):
            if bool((labels == labels.narrow(d, 0, 1)).all()):
                labels = labels.narrow(d, 0, 1)
        if varying(labels):
            kept.append(labels.contiguous())
    return tuple(kept)


def collapse(units: Units, labels: Tensor, dims: Collection[int]) -> Tensor:
    """Ties what lies along `dims`, which an operation mixes; they get size 1."""
    first = labels
    for d in dims:
        first = first.narrow(d, 0, 1)
    if any(labels.shape[d] > 1 for d in dims):
        units.mark(labels, dims)
        units.unite(labels, first)
    return first


def merge(units: Units, operands: Sequence[Operand], reason: str) -> list[Tensor]:
    """Values meet element by element: what lies at one place moves together.

    Returns
    -------
    list of Tensor
        The result's fields, of the operands' common rank.
    """
    fields: list[Tensor] = []
    for operand in operands:
        for labels in operand.value.fields:
            partners = [at for at, one in enumerate(fields) if overlap(one, labels)]
            for at in partners:
                one, other = torch.broadcast_tensors(fields[at], labels)
                units.unite(one, other)
                fields[at] = torch.where(one == FREE, other, one)
            if not partners:
                fields.append(labels)
    for operand in operands:
        if operand.value.uniform:
            continue
        for labels in fields:
            if not any(overlap(labels, own) for own in operand.value.fields):
                units.mark(labels, [d for d in varying(labels) if operand.shape[d] > 1], reason)
    return fields


def contract(
    units: Units, first: Operand, first_dims: str, second: Operand, second_dims: str, out: str,
    reason: str,
) -> list[Tensor]:
    """Values are multiplied and summed over the dimensions that `out` lacks, as einsum says it.

    Returns
    -------
    list of Tensor
        The result's fields, of the rank of `out`.
    """
    letters = first_dims + "".join(one for one in second_dims if one not in first_dims)
    a = _spread(first, first_dims, letters)
    b = _spread(second, second_dims, letters)
    summed = {d for d, letter in enumerate(letters) if letter not in out}
    for labels in a.value.fields:
        for other in b.value.fields:
            if set(varying(labels)) & set(varying(other)) & summed:
                units.unite(labels, other)
    kept: list[Operand] = []
    for one, other in ((a, b), (b, a)):
        fields = []
        for labels in one.value.fields:
            along = set(varying(labels))
            if not along & summed:
                fields.append(labels)
                continue
            met = any(along & set(varying(two)) & summed for two in other.value.fields)
            fixed = set() if met or other.value.uniform else {
                d for d in along & summed if other.shape[d] > 1}
            units.mark(labels, sorted(along - summed | fixed), reason)
        kept.append(Operand(Value(tuple(fields), one.value.uniform), tuple(
            1 if d in summed else size for d, size in enumerate(one.shape))))
    order = [letters.index(letter) for letter in out]
    return [
        labels.permute(order + sorted(summed)).reshape([labels.shape[d] for d in order])
        for labels in merge(units, kept, reason)]


def _spread(operand: Operand, dims: str, letters: str) -> Operand:
    """With a dimension for every letter, in their order."""
    order = [dims.index(letter) for letter in letters if letter in dims]

    def shape(sizes: Sequence[int]) -> tuple[int, ...]:
        return tuple(sizes[dims.index(one)] if one in dims else 1 for one in letters)

    fields = tuple(
        one.permute(order).reshape(shape(one.shape)) for one in operand.value.fields)
    return Operand(Value(fields, operand.value.uniform), shape(operand.shape))


def concatenate(units: Units, operands: Sequence[Operand], dim: int) -> list[Tensor]:
    """Values are put behind one another along `dim`; each result's field is made of theirs. Labels
    that do not differ along `dim` (features of tokens) are tied to those beside them."""
    slots: list[dict[int, Tensor]] = []
    for k, operand in enumerate(operands):
        for labels in operand.value.fields:
            for slot in slots:
                if k not in slot and any(overlap(labels, one) for one in slot.values()):
                    slot[k] = labels
                    break
            else:
                slots.append({k: labels})
    rank = len(operands[0].shape)
    fields = []
    for slot in slots:
        shape = [max(one.shape[d] for one in slot.values()) for d in range(rank)]
        pieces = []
        for k, operand in enumerate(operands):
            labels = slot.get(k)
            if labels is None:
                labels = torch.full((1,) * rank, FREE if operand.value.uniform else PINNED)
            pieces.append(labels)
        if all(one.shape[dim] == 1 for one in slot.values()) and shape[dim] == 1:
            field = torch.full((1,) * rank, FREE)
            for labels in pieces:
                units.unite(*torch.broadcast_tensors(field, labels))
                field = torch.where(field == FREE, labels, field)
            fields.append(field)
            continue
        for k, operand in enumerate(operands):
            shape[dim] = operand.shape[dim]
            pieces[k] = pieces[k].expand(shape)
        fields.append(torch.cat(pieces, dim))
    return fields
