"""What PyTorch's own module types hold: which of their tensors are layers, which follow those."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.rnn import RNNBase, RNNCellBase


@dataclass(frozen=True)
class Kind:
    """A module type.

    Attributes
    ----------
    rule : str
        What the plan calls its tensors.
    weights : dict
        Attributes that are layers, in order of use, and the dimension along which filters lie.
    followers : dict
        Other attributes, and the weight of the same module that each follows; None: whatever feeds
        the module.
    """

    rule: str
    weights: Mapping[str, int] = field(default_factory=dict)
    followers: Mapping[str, str | None] = field(default_factory=dict)


_NORMS = {"weight": None, "bias": None, "running_mean": None, "running_var": None}


def kind_of(module: nn.Module) -> Kind | None:
    """A module's kind; None where its type is not known."""
    if isinstance(module, _ConvNd):
        axis = 1 if module.transposed else 0
        return Kind("convolution", {"weight": axis}, {"bias": "weight"})
    if isinstance(module, (nn.Linear, nn.Bilinear)):
        return Kind("linear", {"weight": 0}, {"bias": "weight"})
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return Kind("embedding", {"weight": 0})
    if isinstance(module, nn.MultiheadAttention):
        return _attention(module)
    if isinstance(module, (RNNBase, RNNCellBase)):
        return _recurrent(module)
    if isinstance(module, _NormBase):
        return Kind("batch norm" if isinstance(module, nn.modules.batchnorm._BatchNorm)
                    else "norm", {}, _NORMS)
    if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)):
        return Kind("norm", {}, {"weight": None, "bias": None})
    if isinstance(module, nn.PReLU):
        return Kind("activation", {}, {"weight": None})
    return None


def _attention(module: nn.MultiheadAttention) -> Kind:
    separate = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    if module.in_proj_weight is not None:
        weights, (q, k, v) = {"in_proj_weight": 0}, ("in_proj_weight",) * 3
    else:
        weights, (q, k, v) = dict.fromkeys(separate, 0), separate
    return Kind("attention", weights, {"in_proj_bias": q, "bias_k": k, "bias_v": v})


def _recurrent(module: nn.Module) -> Kind:
    """Matrices are layers; the biases, which come after them in the same order, follow them."""
    groups = getattr(module, "_all_weights", None) or [list(module._parameters)]
    weights: dict[str, int] = {}
    followers: dict[str, str | None] = {}
    for group in groups:
        own = {name: module._parameters.get(name) for name in group}
        matrices = [name for name, value in own.items() if value is not None and value.dim() == 2]
        vectors = [name for name, value in own.items() if value is not None and value.dim() == 1]
        weights.update(dict.fromkeys(matrices, 0))
        followers.update(zip(vectors, matrices))
    return Kind("recurrent", weights, followers)


def is_leaf(module: nn.Module) -> bool:
    """Whether a trace need not look inside: all its tensors are accounted for."""
    kind = kind_of(module)
    if kind is None:
        return (
            type(module).__module__.startswith(("torch.nn.", "torch.ao.nn."))
            and not module._modules and not module._parameters)
    known = {*kind.weights, *kind.followers}
    if any(value is not None and name not in known for name, value in module._parameters.items()):
        return False
    if isinstance(module, nn.MultiheadAttention):
        return True
    return not any(True for child in module.children() for _ in child.parameters())


def declares_linear(module: nn.Module, shape: tuple[int, ...]) -> int | None:
    """For a module of unknown type: the filters' dimension of a matrix whose two sizes are the
    numbers of outputs and inputs that the module declares; None for any other tensor."""
    for inputs, outputs in (("in_features", "out_features"), ("in_channels", "out_channels")):
        sizes = (getattr(module, inputs, None), getattr(module, outputs, None))
        if len(shape) == 2 and all(isinstance(size, int) for size in sizes):
            if shape == (sizes[1], sizes[0]):
                return 0
            if shape == sizes:
                return 1
    return None
