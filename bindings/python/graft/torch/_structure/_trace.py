"""The steps of a module's forward pass: traced, watched on example inputs, or by module order."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import fx, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from ._flow import NOTHING, Flow, Value
from .._module._inventory import inner, walk
from .._module._kinds import is_leaf, kind_of
from .._module._untouched import plain_execution, untouched


def trace_symbolically(module: nn.Module, flow: Flow) -> None:
    """Steps from `torch.fx`. Raises whatever that raises where a module cannot be traced."""
    outer = _outer(module)
    with untouched(module):
        graph = _Tracer(outer).trace(outer)
    modules = dict(outer.named_modules(remove_duplicate=False))
    parameters = {
        name: flow.index_of[id(tensor)]
        for name, tensor in outer.named_parameters(remove_duplicate=False)}
    values: dict[fx.Node, Value] = {}
    for node in graph.nodes:
        inputs = [values[one] for one in _arguments(node)]
        if node.op == "get_attr" and node.target in parameters:
            values[node] = flow.parameter(parameters[node.target])
        elif node.op == "call_module":
            values[node] = flow.module_called(inner(modules[node.target]), inputs)
        elif node.op in ("call_function", "call_method"):
            values[node] = flow.function_called(_name(node), inputs)
        else:
            values[node] = NOTHING


def _arguments(node: fx.Node) -> list[fx.Node]:
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), lambda one: found.append(one))
    return found


def _name(node: fx.Node) -> str:
    if node.op == "call_method":
        return str(node.target)
    if node.target is getattr:
        return str(node.args[1])
    return getattr(node.target, "__name__", type(node.target).__name__)


def _outer(module: nn.Module) -> nn.Module:
    """A module that calls another with the arguments that it needs. Those that may be left out keep
    their defaults: a trace with stand-ins for them would take other branches."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    places = [one for one in parameters if one.kind in (
        one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.VAR_POSITIONAL)]
    needed = sum(
        one.default is one.empty and one.kind is not one.VAR_POSITIONAL for one in places)
    count = max(needed, min(len(places), 1))
    names = "".join(f", x{index}" for index in range(count))
    namespace: dict[str, Any] = {}
    exec(f"def forward(self{names}): return self.inner({names.lstrip(', ')})", namespace)
    outer = type("Outer", (nn.Module,), {"forward": namespace["forward"]})()
    outer.inner = module
    return outer


class _Tracer(fx.Tracer):
    """Looks into everything but modules of known type, and through wrappers."""

    def __init__(self, root: nn.Module) -> None:
        super().__init__()
        self._names = {
            id(tensor): name for name, tensor in root.named_parameters(remove_duplicate=False)}

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return is_leaf(module)

    def call_module(self, module: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        module = inner(module)
        return super().call_module(module, module.forward, args, kwargs)

    def getattr(self, attr: str, value: Any, cache: dict[str, Any]) -> Any:
        """As fx's own, which searches all parameters each time."""
        name = self._names.get(id(value)) if isinstance(value, nn.Parameter) else None
        if name is None:
            return value
        if name not in cache:
            cache[name] = self.create_proxy("get_attr", name, (), {})
        return cache[name]


def run_hooked(module: nn.Module, example_inputs: Any, flow: Flow) -> None:
    """Steps from one forward pass on `example_inputs`, which leaves no trace in the module."""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if isinstance(example_inputs, dict):
        kwargs = example_inputs
    elif isinstance(example_inputs, (tuple, list)):
        args = tuple(example_inputs)
    else:
        args = (example_inputs,)
    watch = _Watch(flow)
    handles = []
    try:
        for one in {id(one): one for _, one in walk(module)}.values():
            if is_leaf(one):
                handles.append(one.register_forward_pre_hook(watch.before, with_kwargs=True))
                handles.append(one.register_forward_hook(
                    watch.after, with_kwargs=True, always_call=False))
        with untouched(module), plain_execution(module), watch:
            module(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()


class _Watch(TorchFunctionMode):
    """Keeps the note of every tensor that a forward pass makes."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self._flow = flow
        self._values = WeakIdKeyDictionary()
        self._inside: list[list[Value]] = []

    def _values_of(self, *given: Any) -> list[Value]:
        found = []
        for one in tree_leaves(given):
            if not isinstance(one, torch.Tensor):
                continue
            index = self._flow.index_of.get(id(one))
            if index is not None and isinstance(one, nn.Parameter):
                found.append(self._flow.parameter(index))
            else:
                found.append(self._values.get(one, NOTHING))
        return found

    def _set(self, result: Any, value: Value) -> None:
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor) and not isinstance(one, nn.Parameter):
                self._values[one] = value

    def before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._inside.append(self._values_of(args, kwargs))

    def after(self, module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
        inputs = self._inside.pop()
        if not self._inside:
            self._set(result, self._flow.module_called(module, inputs))

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not self._inside:
            name = getattr(func, "__name__", "")
            if name == "__get__":
                name = (resolve_name(func) or "").split(".")[-2:][0]
            inputs = self._values_of(args, kwargs)
            self._set(result, self._flow.function_called(name, inputs))
        return result


def follow_order(module: nn.Module, flow: Flow) -> None:
    """Steps as if modules ran in the order in which they are registered, each on what the one
    before it made."""
    value = NOTHING
    seen: set[int] = set()
    for _, one in walk(module):
        if id(one) in seen:
            continue
        seen.add(id(one))
        if kind_of(one) is not None or is_leaf(one):
            value = flow.module_called(one, [value])
