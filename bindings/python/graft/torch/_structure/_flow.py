"""Which layer feeds what: the rules, applied to the steps of a forward pass one after the other.

Where the steps come from (a symbolic trace, a run on example inputs, the modules' order) is no
matter here. Every value on its way carries a note: the layer that was run last on the way to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from .._module._inventory import Item
from .._module._kinds import Kind, declares_linear, kind_of

CONVOLUTIONS = {
    "conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d"}
PRODUCTS = {
    "matmul", "imatmul", "rmatmul", "mm", "bmm", "mv", "dot", "addmm", "addmv", "addbmm",
    "baddbmm", "einsum", "tensordot", "chain_matmul", "multi_dot", "scaled_dot_product_attention"}
#: Operations that move features elsewhere: what a linear layer sees after one is no classifier's.
MOVES = {
    "permute", "transpose", "t", "T", "mT", "H", "mH", "movedim", "moveaxis", "swapaxes",
    "swapdims", "adjoint", "rearrange", "Permute", "Rearrange"}
SCALINGS = {"mul", "imul", "rmul", "multiply"}
SUMS = {"add", "iadd", "radd", "sub", "isub", "rsub", "subtract"}
#: What leaves every channel its own, however its numbers change: functions, methods and modules,
#: without underscores and in small letters.
WITHIN_CHANNELS = {
    "relu", "relu6", "leakyrelu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish",
    "hardswish", "hardtanh", "hardsigmoid", "sigmoid", "logsigmoid", "tanh", "tanhshrink",
    "softplus", "softsign", "softshrink", "hardshrink", "threshold", "clamp", "clip", "abs",
    "square", "sqrt", "exp", "identity", "dropout", "dropout1d", "dropout2d", "dropout3d",
    "alphadropout", "featurealphadropout", "maxpool1d", "maxpool2d", "maxpool3d", "avgpool1d",
    "avgpool2d", "avgpool3d", "adaptiveavgpool1d", "adaptiveavgpool2d", "adaptiveavgpool3d",
    "adaptivemaxpool1d", "adaptivemaxpool2d", "adaptivemaxpool3d", "lppool1d", "lppool2d",
    "flatten", "view", "reshape", "squeeze", "mean", "amax", "contiguous", "clone", "detach", "to",
    "float", "half", "bfloat16", "double", "type", "pad", "zeropad1d", "zeropad2d", "zeropad3d",
    "reflectionpad1d", "reflectionpad2d", "replicationpad1d", "replicationpad2d", "constantpad1d",
    "constantpad2d", "interpolate", "upsample", "upsamplingnearest2d", "upsamplingbilinear2d"}
GATES = {"sigmoid", "hardsigmoid", "softmax", "Sigmoid", "Hardsigmoid", "Softmax"}
#: What asks about a tensor and hands none of its numbers on.
QUESTIONS = {
    "size", "dim", "shape", "device", "dtype", "ndim", "ndimension", "numel", "len", "stride",
    "is_floating_point", "requires_grad", "is_cuda", "get_device", "new_zeros", "new_ones",
    "new_empty", "new_full", "zeros_like", "ones_like", "empty_like", "rand_like", "randn_like",
    "full_like", "zeros", "ones", "empty", "arange", "assert"}


@dataclass(frozen=True)
class Value:
    """What is known of a value in a forward pass.

    Attributes
    ----------
    layer : int or None
        The index of the layer that was run last on the way to it.
    time : int
        When that was.
    convolution : bool
        Whether these are features of a convolution, in the places where it put them.
    gate : bool
        Whether it comes from a sigmoid or softmax: it scales, it does not feed.
    waiting : frozenset of int
        Parameters that reached it without having met any layer's output.
    moved : bool
        For a parameter alone: whether its dimensions have been exchanged.
    scale : int or None
        The batch norm's weight that has scaled these channels; of a sum's, that of the term whose
        layer was run last.
    made_by : tuple of int
        A weight and its bias whose filters these channels still are, one by one.
    """

    layer: int | None = None
    time: int = -1
    convolution: bool = False
    gate: bool = False
    waiting: frozenset[int] = frozenset()
    moved: bool = False
    scale: int | None = None
    made_by: tuple[int, ...] = ()


NOTHING = Value()


@dataclass
class Place:
    """A tensor's part in the plan.

    Attributes
    ----------
    role, rule : str
        As in a plan's entry; the role "tied" stands for that of `feeder`.
    feeder : int or None
        The layer that it follows.
    axis : int
        The dimension along which its filters lie.
    weight : int or None
        For a bias: the weight beside it, which may follow another layer itself.
    scale, input_scale : int or None
        The batch norms' weights that scale its filters (or entries) and its input channels.
    """

    role: str
    rule: str
    feeder: int | None = None
    axis: int = 0
    weight: int | None = None
    scale: int | None = None
    input_scale: int | None = None


class Flow:
    """Finds the place of every tensor.

    Attributes
    ----------
    places : dict of int to Place
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.places: dict[int, Place] = {}
        self._own: dict[int, dict[str, int]] = {}
        self.index_of: dict[int, int] = {}
        for index, item in enumerate(items):
            original = index if item.alias_of is None else item.alias_of
            self._own.setdefault(id(item.owner), {}).setdefault(item.attribute, original)
            self.index_of.setdefault(id(item.tensor), original)
        self._time = 0
        self._scale: dict[int, int] = {}
        self._input_scale: dict[int, int | None] = {}

    # ---- steps of a forward pass ----------------------------------------------------------------

    def parameter(self, index: int) -> Value:
        """A parameter that is used outside of a module of known type."""
        return Value(waiting=frozenset([index]))

    def module_called(self, module: nn.Module, inputs: Sequence[Value]) -> Value:
        """A module of known type, or one without parameters, runs."""
        kind = kind_of(module)
        if kind is None:
            return self.function_called(type(module).__name__, inputs)
        data = self._join(inputs)
        own = self._own.get(id(module), {})
        if not kind.weights:
            for attribute in kind.followers:
                if attribute in own:
                    self._follow(own[attribute], data.layer, kind.rule)
            return data if kind.rule == "activation" else self._normed(kind, own, data)
        layer = self._known_layers(module, data)
        if isinstance(module, nn.MultiheadAttention):
            return self.module_called(module.out_proj, [self._output(layer, False)])
        made_by: tuple[int, ...] = ()
        if kind.rule in ("convolution", "linear") and list(kind.weights) == ["weight"]:
            made_by = tuple(own[part] for part in ("weight", "bias") if part in own)
            if made_by and not isinstance(module, nn.Bilinear):
                self._input_scale.setdefault(made_by[0], data.scale)
        return replace(self._output(layer, kind.rule == "convolution"), made_by=made_by)

    def _normed(self, kind: Kind, own: dict[str, int], data: Value) -> Value:
        """A batch norm's weight scales its own tensors, and the filters that it reads one by one;
        any other norm undoes what scales there were."""
        scale = own.get("weight") if kind.rule == "batch norm" else None
        if scale is not None:
            for index in (*own.values(), *data.made_by):
                if self.items[index].tensor.is_floating_point():
                    self._scale.setdefault(index, scale)
        return replace(data, scale=scale, made_by=())

    def function_called(self, name: str, inputs: Sequence[Value]) -> Value:
        """A function, operator or method runs; `inputs` are its tensors in the order of its
        arguments."""
        plain = name.strip("_")
        if plain in QUESTIONS:
            return NOTHING
        weights = self._weights_used(plain, inputs)
        if weights:
            return self._apply_weights(plain, weights, inputs)
        if plain in SCALINGS:
            inputs = [value for value in inputs if not value.gate] or inputs
        result = self._join(inputs)
        within = plain.replace("_", "").lower() in WITHIN_CHANNELS
        alone = within and len([one for one in inputs if one.layer is not None]) == 1
        gate = plain in GATES or (bool(inputs) and all(value.gate for value in inputs))
        moved = plain in MOVES
        convolution = result.convolution and not moved and plain not in PRODUCTS
        return Value(
            result.layer, result.time, convolution, gate, result.waiting,
            moved != (result.moved and len(inputs) == 1),
            result.scale if within or plain in SUMS or plain in SCALINGS else None,
            result.made_by if alone else ())

    # ---- weights ---------------------------------------------------------------------------------

    def _weights_used(self, name: str, inputs: Sequence[Value]) -> list[tuple[int, int, str]]:
        """(index, filter axis, rule) of the parameters that a function uses as weights."""
        found: list[tuple[int, int, str]] = []
        for position, value in enumerate(inputs):
            for index in sorted(value.waiting):
                known = self._known_weight(index)
                if known is not None:
                    found.append((index, *known))
        if found:
            return found
        position_of = {"linear": 1, "bilinear": 2, "embedding": 1, "embedding_bag": 1}
        if name in CONVOLUTIONS and len(inputs) > 1:
            candidates, rule = {1: "transpose" in name}, "convolution"
        elif name in position_of and len(inputs) > position_of[name]:
            candidates, rule = {position_of[name]: False}, \
                "embedding" if "embedding" in name else "linear"
        elif name in PRODUCTS:
            candidates, rule = {
                at: (at > 0) != value.moved for at, value in enumerate(inputs)}, "linear"
            if name.startswith("r"):
                candidates = {at: not flipped for at, flipped in candidates.items()}
        else:
            return []
        for at, second_axis in candidates.items():
            matrices = [
                index for index in inputs[at].waiting if self.items[index].tensor.dim() > 1]
            if matrices:
                largest = max(matrices, key=lambda index: self.items[index].tensor.numel())
                found.append((largest, int(second_axis), rule))
        return found

    def _known_weight(self, index: int) -> tuple[int, str] | None:
        item = self.items[index]
        kind = kind_of(item.owner)
        if kind is None or item.attribute not in kind.weights:
            return None
        return kind.weights[item.attribute], kind.rule

    def _apply_weights(
        self, name: str, weights: list[tuple[int, int, str]], inputs: Sequence[Value]
    ) -> Value:
        indices = [index for index, _, _ in weights]
        data = self._join([value for value in inputs if not value.waiting])
        for index, axis, rule in weights:
            if kind_of(self.items[index].owner) is not None:
                self._known_layers(self.items[index].owner, data)
            elif rule == "linear" and data.convolution and name not in PRODUCTS:
                self._follow(index, data.layer, "classifier")
            else:
                self._place(index, Place("layer", rule, axis=axis))
        first = self._leader(indices[0])
        for value in inputs:
            for index in value.waiting:
                self._follow(index, first, "bias", indices[0])
        made_by: tuple[int, ...] = ()
        if len(weights) == 1 and (name in CONVOLUTIONS or name == "linear"):
            made_by = (indices[0], *sorted(
                index for value in inputs for index in value.waiting if index != indices[0]))
            self._input_scale.setdefault(indices[0], data.scale)
        output = self._output(self._leader(indices[-1]), weights[-1][2] == "convolution")
        return replace(output, made_by=made_by)

    def _known_layers(self, module: nn.Module, data: Value) -> int | None:
        """Places all tensors of a module that has weights; returns the layer that runs last."""
        kind = kind_of(module) or Kind("")
        own = self._own.get(id(module), {})
        layer = None
        for attribute, axis in kind.weights.items():
            if attribute not in own:
                continue
            index = own[attribute]
            if isinstance(module, nn.Linear) and data.convolution:
                self._follow(index, data.layer, "classifier")
            else:
                self._place(index, Place("layer", kind.rule, axis=axis))
            layer = self._leader(index)
        for attribute, weight in kind.followers.items():
            if attribute in own:
                if weight in own:
                    self._follow(own[attribute], self._leader(own[weight]), "bias", own[weight])
                else:
                    self._follow(own[attribute], layer, "bias")
        return layer

    # ---- values ----------------------------------------------------------------------------------

    def _output(self, layer: int | None, convolution: bool) -> Value:
        self._time += 1
        return Value(layer, self._time, convolution)

    def _join(self, values: Iterable[Value]) -> Value:
        """Several values come together: the layer run last leads; parameters that have waited for a
        layer follow it."""
        last, moved = NOTHING, False
        waiting: frozenset[int] = frozenset()
        for value in values:
            waiting |= value.waiting
            moved = moved or value.moved
            if value.layer is not None and value.time > last.time:
                last = value
        if last.layer is None:
            return Value(waiting=waiting, moved=moved)
        for index in waiting:
            self._follow(index, last.layer, "parameter")
        return replace(last, waiting=frozenset(), moved=False)

    def _place(self, index: int, place: Place) -> None:
        """The first use decides."""
        self.places.setdefault(index, place)

    def _follow(
        self, index: int, layer: int | None, rule: str, weight: int | None = None
    ) -> None:
        if layer is not None and layer != index:
            self._place(index, Place("follows", rule, layer, weight=weight))

    def _leader(self, index: int) -> int | None:
        """The layer whose coefficient a placed tensor takes."""
        place = self.places.get(index)
        if place is None:
            return None
        return index if place.role == "layer" else place.feeder

    # ---- what no step has told -------------------------------------------------------------------

    def finish(self) -> dict[int, Place]:
        """Places the rest by the order of the modules."""
        last: int | None = None
        for index, item in enumerate(self.items):
            if item.alias_of is not None:
                self.places[index] = Place("tied", "tied", item.alias_of)
                continue
            if index not in self.places:
                self.places[index] = self._place_by_order(index, item, last)
            last = self._leader(index) if self._is_weight(index) else last
        for index, scale in self._scale.items():
            self.places[index].scale = scale
        for index, scale in self._input_scale.items():
            self.places[index].input_scale = scale
        return self.places

    def _is_weight(self, index: int) -> bool:
        return self.places[index].role == "layer" or self.places[index].rule == "classifier"

    def _place_by_order(self, index: int, item: Item, last: int | None) -> Place:
        if not item.tensor.is_floating_point():
            return Place("leave", "integer")
        kind = kind_of(item.owner)
        own = self._own[id(item.owner)]
        if kind is not None and item.attribute in kind.weights:
            return Place("layer", kind.rule, axis=kind.weights[item.attribute])
        if kind is not None and item.attribute in kind.followers:
            weight = kind.followers[item.attribute]
            if weight in own and own[weight] in self.places:
                leader = self._leader(own[weight])
                return Place("follows", "bias", leader, weight=own[weight])
        elif not item.is_parameter:
            return Place("leave", "buffer")
        elif kind is None:
            axis = declares_linear(item.owner, tuple(item.tensor.shape))
            if axis is not None:
                return Place("layer", "linear", axis=axis)
        if last is None:
            return Place("half", "no layer")
        return Place("follows", "order", last)
