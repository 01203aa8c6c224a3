"""What each of ATen's operations does to labels: a rule an operation, or a kind of them.

An operation without a rule pins all that it reads: nothing of it moves then, which is always
sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ._labels import (
    FIXED, UNIFORM, Operand, Value, collapse, concatenate, contract, merge)
from ._units import Units, varying

if TYPE_CHECKING:
    from ._axes import Axes

MEETS = "meets what does not move ({})"
READS = "reads an input of the network, or a constant"


class Call:
    """An operation that has run."""

    def __init__(self, axes: Axes, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        self.axes, self.func, self.result = axes, func, result
        self.args, self.kwargs = args, kwargs
        schema = func._schema
        self.in_place = schema.is_mutable
        self.name = schema.name.removeprefix("aten::")
        if self.in_place and self.name.endswith("_") and not self.name.endswith("__"):
            self.name = self.name[:-1]
        self.given = dict(zip((one.name for one in schema.arguments), args))
        for one in schema.arguments:
            if one.name not in self.given:
                self.given[one.name] = kwargs.get(
                    one.name, one.default_value if one.has_default_value() else None)
        self.resets = self.name in RESETTING

    @property
    def units(self) -> Units:
        return self.axes.units

    @property
    def tensors(self) -> list[Tensor]:
        """All that it was given."""
        return [one for one in tree_leaves((self.args, self.kwargs)) if isinstance(one, Tensor)]

    @property
    def outputs(self) -> list[Tensor]:
        return [one for one in tree_leaves(self.result) if isinstance(one, Tensor)]

    @property
    def meets(self) -> str:
        return MEETS.format(self.name)

    def operand(self, name: str) -> Operand | None:
        """An argument; None where it was not given."""
        tensor = self.given.get(name)
        return self.axes.operand(tensor) if isinstance(tensor, Tensor) else None

    def sure(self, name: str) -> Operand:
        """An argument that has to be there."""
        return self.axes.operand(self.given[name])

    def pin(self, fields: Iterable[Tensor], why: str) -> None:
        for labels in fields:
            self.units.pin(labels, f"{why} ({self.name})")


Rule = Callable[[Call], list[Value]]


class Rules:
    """Finds an operation's rule."""

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}

    def add(self, *names: str) -> Callable[[Rule], Rule]:
        def keep(rule: Rule) -> Rule:
            self._rules.update(dict.fromkeys(names, rule))
            return rule
        return keep

    def find(self, call: Call) -> Rule:
        if call.name in self._rules:
            return self._rules[call.name]
        return pointwise if torch.Tag.pointwise in call.func.tags else unknown


RULES = Rules()
RESETTING = {
    "zero", "fill", "normal", "uniform", "bernoulli", "random", "exponential", "log_normal"}
RESHAPING = {"view", "_unsafe_view", "reshape", "_reshape_alias"}


def unknown(call: Call) -> list[Value]:
    call.axes.pin(call.tensors, f"is read by an operation without a rule ({call.name})")
    return []


# ---- element by element --------------------------------------------------------------------------


@RULES.add(
    "alias", "detach", "lift", "lift_fresh", "lift_fresh_copy", "_to_copy", "clone", "copy",
    "contiguous", "hardswish", "native_dropout", "_prelu_kernel", "rrelu_with_noise", "where",
    "masked_fill", "nan_to_num")
def pointwise(call: Call) -> list[Value]:
    """Values meet element by element, broadcast."""
    if call.name == "copy" and call.in_place:  # only what is copied counts
        operands = [call.sure("src")]
        operands[0] = operands[0].lifted(call.given["self"].dim())
    else:
        operands = [call.axes.operand(one) for one in call.tensors]
    rank = max((len(one.shape) for one in operands), default=0)
    operands = [one.lifted(rank) for one in operands]
    fields = merge(call.units, operands, call.meets)
    uniform = all(one.value.uniform for one in operands)
    return [Value(tuple(fields), uniform)] * len(call.outputs)


@RULES.add(
    "zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like",
    "new_zeros", "new_ones", "new_full", "new_empty", "empty_strided", "new_empty_strided", "rand",
    "randn", "rand_like", "randn_like", "scalar_tensor", "zero", "normal", "uniform", "bernoulli",
    "random", "exponential", "log_normal")
def same_everywhere(call: Call) -> list[Value]:
    """Numbers that are alike, or drawn alike: what moves does not change them."""
    return [UNIFORM]


@RULES.add("fill")
def fill(call: Call) -> list[Value]:
    return [UNIFORM]


@RULES.add("arange", "linspace", "eye", "tril", "triu", "randperm", "range", "logspace")
def constants(call: Call) -> list[Value]:
    """Numbers that tell places apart, and operations that do."""
    call.axes.pin(call.tensors, call.meets)
    return [FIXED]


@RULES.add("glu")
def gated(call: Call) -> list[Value]:
    """Half of the channels scale the others."""
    operand, dim = call.sure("self"), int(call.given["dim"])
    dim %= len(operand.shape)
    shape = list(operand.shape)
    shape[dim] //= 2
    halves = []
    for start in (0, shape[dim]):
        fields = [
            one.narrow(dim, start, shape[dim]) if one.shape[dim] > 1 else one
            for one in operand.value.fields]
        for labels in fields:
            call.units.mark(labels)
        halves.append(Operand(Value(tuple(fields), operand.value.uniform), tuple(shape)))
    return [Value(tuple(merge(call.units, halves, call.meets)))]


# ---- shapes --------------------------------------------------------------------------------------


@RULES.add(
    "view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "transpose", "t", "expand",
    "squeeze", "unsqueeze", "select", "slice", "narrow", "split", "split_with_sizes", "chunk",
    "unbind", "flip", "roll", "repeat", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
    "native_channel_shuffle", "unfold", "diagonal", "movedim", "flatten", "rot90", "view_as",
    "repeat_interleave", "unsafe_split", "unsafe_split_with_sizes", "split_copy", "unbind_copy")
def moved(call: Call) -> list[Value]:
    """Elements lie elsewhere afterwards: labels are moved by the same operation."""
    source = call.given["self"]
    operand = call.axes.operand(source)
    results: list[list[Tensor]] = [[] for _ in call.outputs]
    for labels in operand.value.fields:
        full = labels.expand(operand.shape)
        made = full.reshape(call.outputs[0].shape) if call.name in RESHAPING else \
            call.func(full, *call.args[1:], **call.kwargs)
        for at, one in enumerate(tree_leaves(made)):
            results[at].append(one)
    return [Value(tuple(fields), operand.value.uniform) for fields in results]


@RULES.add("as_strided")
def restrided(call: Call) -> list[Value]:
    """Where only strides of dimensions of size 1 are set right, nothing moves."""
    tensor = call.outputs[0]
    operand = call.sure("self")
    if not tensor.is_contiguous() or any(
            one.dim() != tensor.dim() for one in operand.value.fields):
        return unknown(call)
    return [operand.value]


@RULES.add(
    "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
    "replication_pad1d", "replication_pad2d", "replication_pad3d")
def padded(call: Call) -> list[Value]:
    """A constant at the borders lets everything move; a mirror repeats labels."""
    operand = call.sure("self")
    if call.name != "constant_pad_nd":
        return [Value(tuple(_spatial(call, operand)), operand.value.uniform)]
    pad = list(call.given["pad"])
    fields = [
        torch.constant_pad_nd(labels.expand(operand.shape), pad, -1)
        for labels in operand.value.fields]
    return [Value(tuple(fields), operand.value.uniform and call.given["value"] == 0)]


@RULES.add("cat", "stack")
def together(call: Call) -> list[Value]:
    tensors = call.given["tensors"]
    operands = [call.axes.operand(one) for one in tensors]
    dim = int(call.given["dim"] or 0)
    if call.name == "stack":
        dim %= len(operands[0].shape) + 1
        operands = [
            Operand(
                Value(tuple(f.unsqueeze(dim) for f in one.value.fields), one.value.uniform),
                one.shape[:dim] + (1,) + one.shape[dim:]) for one in operands]
    else:  # torch leaves out tensors of shape (0,)
        operands = [one for one in operands if one.shape != (0,)]
    if not operands:
        return [FIXED]
    fields = concatenate(call.units, operands, dim % len(operands[0].shape))
    return [Value(tuple(fields), all(one.value.uniform for one in operands))]


@RULES.add("index", "index_select", "gather")
def chosen(call: Call) -> list[Value]:
    """Elements are chosen by number: along those dimensions nothing may move."""
    operand = call.sure("self")
    if call.name == "index":
        indices = list(call.given["indices"])
        along = []
        for at, one in enumerate(indices):
            if one is not None:
                width = one.dim() if one.dtype == torch.bool else 1
                along += list(range(at, at + width))
    else:
        along = [int(call.given["dim"]) % max(len(operand.shape), 1)]
    call.axes.pin(
        [one for one in call.tensors if one is not call.given["self"]],
        f"chooses elements ({call.name})")
    fields = []
    for labels in operand.value.fields:
        if set(varying(labels)) & set(along):
            call.pin([labels], "is chosen by number")
        else:
            fields.append(call.func(
                labels.expand(operand.shape), *call.args[1:], **call.kwargs))
    return [Value(tuple(fields))]


@RULES.add("embedding", "embedding_bag", "_embedding_bag", "_embedding_bag_forward_only")
def rows(call: Call) -> list[Value]:
    """Rows of a table, chosen by the input."""
    operand = call.sure("weight")
    fields = []
    for labels in operand.value.fields:
        if labels.shape[0] > 1:
            call.pin([labels], "its rows are chosen by the input")
        else:
            fields.append(labels.reshape((1,) * (call.outputs[0].dim() - 1) + (-1,)))
    return [Value(tuple(fields))]


# ---- sums and norms ------------------------------------------------------------------------------


@RULES.add(
    "sum", "mean", "amax", "amin", "var", "std", "var_mean", "std_mean", "prod", "logsumexp",
    "linalg_vector_norm", "norm", "any", "all", "nansum", "_log_softmax", "_softmax", "softmax",
    "log_softmax", "max", "min", "argmax", "argmin", "cumsum", "sort", "topk", "median", "aminmax",
    "count_nonzero")
def along_dimensions(call: Call) -> list[Value]:
    """Over some dimensions, the same whatever order they are in; where not, nothing moves."""
    operand = call.sure("self")
    if isinstance(call.given.get("other"), Tensor):  # max and min of two
        return pointwise(call)
    rank = len(operand.shape)
    dims = call.given.get("dim")
    if dims is None or dims == []:
        dims = range(rank)
    over = {d % max(rank, 1) for d in ([dims] if isinstance(dims, int) else dims)}
    by_place = call.name in ("argmax", "argmin", "cumsum", "sort", "topk", "median") or (
        call.name in ("max", "min") and call.given.get("dim") is not None)
    stays = call.name in ("cumsum", "sort", "topk") or "softmax" in call.name
    keep = stays or bool(call.given.get("keepdim"))
    fields = []
    for labels in operand.value.fields:
        differs = set(varying(labels))
        if by_place and differs & over:
            call.pin([labels], "is put in order")
        elif differs & over:
            call.units.mark(labels, sorted(differs - over), call.meets)
            if stays:
                fields.append(labels)
        else:
            fields.append(labels if keep else labels.reshape(
                [size for d, size in enumerate(labels.shape) if d not in over]))
    return [Value(tuple(fields))] * len(call.outputs)


@RULES.add(
    "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_with_update", "batch_norm",
    "_batch_norm_no_update", "_batch_norm_impl_index")
def batch_norm(call: Call) -> list[Value]:
    """A scale, a shift and statistics for every channel."""
    operand = call.sure("input")
    rank = len(operand.shape)
    operands = [operand]
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensor = call.given.get(name)
        if isinstance(tensor, Tensor):
            one = call.axes.operand(tensor, statistic=name.startswith("running"))
            operands.append(_along(one, rank))
    fields = merge(call.units, operands, call.meets)
    for labels in fields:
        call.units.mark(labels, [d for d in varying(labels) if d != 1], call.meets)
    return [Value(tuple(fields))]


def _along(operand: Operand, rank: int) -> Operand:
    """A vector along dimension 1 of `rank`."""
    shape = (1, operand.shape[0], *(1,) * (rank - 2)) if rank > 1 else operand.shape
    fields = tuple(one.reshape(shape) for one in operand.value.fields)
    return Operand(Value(fields, operand.value.uniform), shape)


@RULES.add("native_layer_norm", "_fused_rms_norm", "layer_norm", "rms_norm")
def layer_norm(call: Call) -> list[Value]:
    """Statistics over the last dimensions, and a scale for each of their elements."""
    operand = call.sure("input")
    rank = len(operand.shape)
    operands = [operand]
    for name in ("weight", "bias"):
        one = call.operand(name)
        if one is not None:
            operands.append(one.lifted(rank))
    fields = merge(call.units, operands, call.meets)
    over = range(rank - len(call.given["normalized_shape"]), rank)
    for labels in fields:
        if set(varying(labels)) & set(over):
            call.units.mark(
                labels, [d for d in varying(labels) if d not in over], call.meets)
    return [Value(tuple(fields))]


@RULES.add("native_group_norm", "group_norm")
def group_norm(call: Call) -> list[Value]:
    """Statistics over each group of channels: each group's move among themselves."""
    operand = call.sure("input")
    rank, groups = len(operand.shape), int(call.given.get("group") or call.given["num_groups"])
    operands = [operand]
    for name in ("weight", "bias"):
        one = call.operand(name)
        if one is not None:
            operands.append(_along(one, rank))
    fields = merge(call.units, operands, call.meets)
    for labels in fields:
        if labels.shape[1] > 1:
            parts = labels.reshape(labels.shape[0], groups, -1, *labels.shape[2:])
            call.units.mark(
                parts, [d for d in varying(parts) if d != 2], "lies in a group of channels")
    return [Value(tuple(fields))]


# ---- space ---------------------------------------------------------------------------------------


def _spatial(call: Call, operand: Operand) -> list[Tensor]:
    """Fields without the dimensions that the operation mixes: as many of the last as its name
    says."""
    count = next((n for n in (1, 2, 3) if f"{n}d" in call.name), len(operand.shape) - 2)
    rank = len(operand.shape)
    return [
        collapse(call.units, labels, range(rank - count, rank))
        for labels in operand.value.fields]


@RULES.add(
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d",
    "max_pool2d_with_indices", "max_pool3d_with_indices", "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "upsample_nearest1d",
    "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact2d", "upsample_bilinear2d",
    "_upsample_bilinear2d_aa", "upsample_bicubic2d", "upsample_linear1d", "upsample_trilinear3d",
    "mkldnn_max_pool2d", "fractional_max_pool2d")
def pooled(call: Call) -> list[Value]:
    operand = call.axes.operand(call.tensors[0])
    return [Value(tuple(_spatial(call, operand)), operand.value.uniform)]


@RULES.add("convolution", "_convolution", "convolution_overrideable")
def convolution(call: Call) -> list[Value]:
    data, weight = call.given["input"], call.given["weight"]
    transposed, groups = bool(call.given["transposed"]), int(call.given["groups"])
    rank = call.outputs[0].dim()
    source = call.axes.operand(data)
    features = Operand(Value(tuple(
        collapse(call.units, labels, range(2, rank)).reshape(labels.shape[:2])
        for labels in source.value.fields), source.value.uniform), source.shape[:2])
    if groups == 1:
        dims = "io" if transposed else "oi"
        fields = contract(
            call.units, features, "ni", _matrix(call, weight), dims, "no", READS)
    else:
        fields = _grouped(call, features, weight, groups, transposed)
    out = (call.outputs[0].shape[0], call.outputs[0].shape[1])
    operands = [Operand(Value(tuple(fields)), tuple(out))]
    bias = call.operand("bias")
    if bias is not None:
        operands.append(bias.lifted(2))
    merged = merge(call.units, operands, call.meets)
    return [Value(tuple(one.reshape(*one.shape, *(1,) * (rank - 2)) for one in merged))]


def _matrix(call: Call, weight: Tensor) -> Operand:
    """A convolution's weight without its kernel: where in a kernel a weight lies stays."""
    operand = call.axes.operand(weight)
    fields = []
    for labels in operand.value.fields:
        inside = [d for d in varying(labels) if d > 1]
        if inside and not set(varying(labels)) - set(inside):
            call.pin([labels], "a place in a kernel")
        else:
            fields.append(collapse(call.units, labels, range(2, labels.dim())).reshape(
                labels.shape[:2]))
    return Operand(Value(tuple(fields), operand.value.uniform), operand.shape[:2])


def _grouped(
    call: Call, features: Operand, weight: Tensor, groups: int, transposed: bool
) -> list[Tensor]:
    """Each group of a grouped convolution reads and makes channels of its own: they move within
    it. With one channel a group (depthwise), a filter moves with the channel that it reads.

    Axis 0 of the weight, of all groups together, are filters; transposed, the channels read.
    """
    units, size = call.units, (weight.shape[0] // groups, weight.shape[1])
    inner = call.axes.grouped(weight, groups)
    if inner is not None:
        outer = call.axes.along(weight, 0)
        for axis in range(2, weight.dim()):
            labels = call.axes.along(weight, axis)
            if labels is not None:
                call.pin([labels], "a place in a kernel")
        first = None if outer is None else outer.reshape(groups, -1)
        second: Tensor | None = inner
    else:
        matrix = _matrix(call, weight)
        first = second = None
        for labels in matrix.value.fields:
            if varying(labels) == (0,):
                first = labels.reshape(groups, -1)
            elif varying(labels) == (1,):
                second = labels.expand(groups, size[1])
            else:
                call.pin([labels], "a weight whose axes are mixed")
    reads, makes = (first, second) if transposed else (second, first)
    count = size[0] if transposed else size[1]
    channels = None
    for labels in features.value.fields:
        if labels.shape[1] > 1:
            parts = labels.reshape(labels.shape[0], groups, count)
            if labels.shape[0] > 1:
                units.mark(parts, [0], call.meets)
            channels = parts[0] if channels is None else channels
            units.unite(parts, channels[None])
    if channels is None and reads is not None:
        units.mark(reads, [0, 1], READS)
    if count == 1:  # one channel a group: its filters go with it
        if channels is not None and reads is not None:
            units.unite(reads, channels)
        if makes is None:
            return [] if channels is None else [channels.reshape(1, -1)]
        if channels is None:
            units.mark(makes, [0], READS)
        else:
            units.unite(makes, channels)
        return [makes.reshape(1, -1)]
    if channels is not None:
        if reads is not None:
            units.unite(channels, reads)
        else:
            units.mark(channels, [0, 1], call.meets)
        units.mark(channels, [0], "lies in a group of a convolution")
    if makes is None:
        return []
    units.mark(makes, [0], "lies in a group of a convolution")
    return [makes.reshape(1, -1)]


# ---- products ------------------------------------------------------------------------------------


def _product(call: Call, first: str, second: str, how: str) -> list[Tensor]:
    dims, out = how.split("->")
    a, b = dims.split(",")
    return contract(call.units, call.sure(first), a, call.sure(second), b, out, READS)


def _plus(call: Call, fields: list[Tensor], other: str) -> list[Value]:
    shape = tuple(call.outputs[0].shape)
    operands = [Operand(Value(tuple(fields)), shape)]
    one = call.operand(other)
    if one is not None:
        operands.append(one.lifted(len(shape)))
    return [Value(tuple(merge(call.units, operands, call.meets)))]


@RULES.add("mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addmv", "linear")
def product(call: Call) -> list[Value]:
    if call.name == "mm":
        return [Value(tuple(_product(call, "self", "mat2", "mk,kn->mn")))]
    if call.name == "bmm":
        return [Value(tuple(_product(call, "self", "mat2", "bmk,bkn->bmn")))]
    if call.name == "mv":
        return [Value(tuple(_product(call, "self", "vec", "mk,k->m")))]
    if call.name == "dot":
        return [Value(tuple(_product(call, "self", "tensor", "k,k->")))]
    if call.name == "addmm":
        return _plus(call, _product(call, "mat1", "mat2", "mk,kn->mn"), "self")
    if call.name == "addmv":
        return _plus(call, _product(call, "mat", "vec", "mk,k->m"), "self")
    if call.name == "baddbmm":
        return _plus(call, _product(call, "batch1", "batch2", "bmk,bkn->bmn"), "self")
    rank = call.given["input"].dim()
    free = "abcdefgh"[:rank - 1]
    return _plus(call, _product(call, "input", "weight", f"{free}k,ok->{free}o"), "bias")


@RULES.add(
    "_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention", "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_attention_math", "scaled_dot_product_attention")
def attention(call: Call) -> list[Value]:
    """Queries meet keys within a head; values keep their own order within a head."""
    scores = _product(call, "query", "key", "zhle,zhse->zhls")
    query, key = call.given["query"], call.given["key"]
    shape = (*query.shape[:-1], key.shape[-2])
    operands = [Operand(Value(tuple(scores)), tuple(shape))]
    for name in ("attn_mask", "attn_bias"):
        mask = call.operand(name)
        if mask is not None:
            operands.append(mask.lifted(4))
    weights = merge(call.units, operands, call.meets)
    for labels in weights:
        if labels.shape[-1] > 1:
            call.units.mark(labels, [d for d in varying(labels) if d != 3], call.meets)
    return [Value(tuple(contract(
        call.units, Operand(Value(tuple(weights)), tuple(shape)), "zhls",
        call.sure("value"), "zhsd", "zhld", call.meets)))]
