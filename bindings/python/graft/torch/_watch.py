"""`Watch`: sees which units never fire, which saturate, and how large gradients are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .._errors import InvalidArgumentError
from ._module._inventory import inner, inventory, walk

#: Activations by function, with their limits: (low, high), None where there is none. A unit fires
#: where its output is above 0, or above the lower limit where that is not 0.
_LIMITS: dict[Any, tuple[float | None, float | None]] = {}
for _functions, _limits in (
    ((torch.relu, torch.relu_, F.relu, F.relu_, Tensor.relu, Tensor.relu_), (0.0, None)),
    ((F.relu6,), (0.0, 6.0)),
    ((torch.sigmoid, F.sigmoid, Tensor.sigmoid, Tensor.sigmoid_), (0.0, 1.0)),
    ((torch.tanh, F.tanh, Tensor.tanh, Tensor.tanh_), (-1.0, 1.0)),
    ((F.hardsigmoid,), (0.0, 1.0)),
    ((F.hardtanh, F.hardtanh_), (-1.0, 1.0)),
    ((F.leaky_relu, F.leaky_relu_, F.gelu, F.silu, F.elu, F.elu_, F.selu, F.mish, F.hardswish),
     (None, None)),
):
    for _function in _functions:
        _LIMITS[_function] = _limits
#: Near a limit: within this share of the range between the limits.
_NEAR = 0.01


class Watch:
    """Watches K networks while they train; hand it to a `graft.Recorder`.

    It sees ReLU and its relatives, sigmoid, tanh and hard forms of them, as modules and as
    functions, in forward passes that gradients are taken of. `take` gives, and begins anew:

    - *units that never fired*: channels (or features) whose output never was above 0 (GELU and its
      like: never above 0 either);
    - *saturated activations*: the share within 1 % of the range from a limit: of the upper one for
      ReLU6, of either for sigmoid and tanh;
    - *gradients*: the l2 norm of each layer's gradient, mean over the backward passes.

    Modules run through `torch.compile` are not seen into: watch them uncompiled. A watch costs a
    comparison and a sum for each activation; nothing is copied to the host before `take`. It puts
    hooks into the modules, which `close` removes (whole modules cannot be pickled with them).

    Parameters
    ----------
    models
        The networks.
    activations, gradients
        What to watch.

    Examples
    --------
    >>> watch = graft.torch.Watch(models)
    >>> grafter = graft.torch.Grafter(models, recorder=graft.Recorder("run.npz", watch=watch))
    """

    def __init__(
        self, models: nn.Module | Iterable[nn.Module], *, activations: bool = True,
        gradients: bool = True,
    ) -> None:
        given = [models] if isinstance(models, nn.Module) else list(models)
        for k, model in enumerate(given):
            if not isinstance(model, nn.Module):
                raise InvalidArgumentError(
                    f"models[{k}] is {type(model).__name__!r}: it must be a torch.nn.Module")
        self._handles: list[Any] = []
        self._activations = [_Activations() for _ in given] if activations else []
        self._gradients = [_Gradients() for _ in given] if gradients else []
        for model, seen in zip(given, self._activations):
            self._handles += seen.attach(inner(model))
        for model, sums in zip(given, self._gradients):
            self._handles += sums.attach(inner(model))

    def take(self) -> dict[str, Any]:
        """What was seen since the last call.

        Returns
        -------
        dict
            "gradients": for each network, name -> l2 norm; None if not watched. "units": name and
            number of units of each activation that all networks ran; "silent", "saturated": for
            each network, a number for each of those.
        """
        found: dict[str, Any] = {"gradients": None, "units": [], "silent": [], "saturated": []}
        if self._gradients:
            found["gradients"] = [one.take() for one in self._gradients]
        if self._activations:
            seen = [one.take() for one in self._activations]
            names = [name for name in seen[0] if all(name in other for other in seen)]
            found["units"] = [(name, seen[0][name][0]) for name in names]
            for index, what in ((1, "silent"), (2, "saturated")):
                found[what] = [[one[name][index] for name in names] for one in seen]
        return found

    def close(self) -> None:
        """Watch no longer."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


class _Gradients:
    """Sums of the layers' gradient norms, where the gradients lie."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def attach(self, model: nn.Module) -> list[Any]:
        return [
            item.tensor.register_post_accumulate_grad_hook(self._hook(item.name))
            for item in inventory(model)
            if item.is_parameter and item.tensor.dim() > 1 and item.tensor.requires_grad
            and item.alias_of is None]

    def _hook(self, name: str) -> Callable[[Tensor], None]:
        def note(parameter: Tensor) -> None:
            if parameter.grad is None:
                return
            norm = torch.linalg.vector_norm(parameter.grad.detach(), dtype=torch.float64)
            self._sums[name] = self._sums[name] + norm if name in self._sums else norm
            self._counts[name] = self._counts.get(name, 0) + 1

        return note

    def take(self) -> dict[str, float]:
        found = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        return found


class _Seen:
    """One activation, over the batches."""

    def __init__(self, limits: tuple[float | None, float | None], units: int) -> None:
        self.limits = limits
        self.units = units
        self.fired: Tensor | None = None
        self.near: Tensor | None = None
        self.count = 0

    def add(self, output: Tensor, axis: int) -> None:
        low, high = self.limits
        fires = output > (0.0 if low is None else low)
        fires = fires.movedim(axis, 0).flatten(1).any(1)
        self.fired = fires if self.fired is None else self.fired | fires
        if high is not None and low is not None:
            margin = _NEAR * (high - low)
            near = output >= high - margin
            if self.limits != (0.0, 6.0):  # for ReLU6, as for ReLU, being at 0 is no saturation
                near = near | (output <= low + margin)
            total = near.sum()
            self.near = total if self.near is None else self.near + total
        self.count += output.numel()


class _Activations(TorchFunctionMode):
    """Sees the functions that a network calls; on while one of its forward passes runs."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, _Seen] = {}
        self._path: list[str] = []
        self._calls: dict[str, int] = {}
        self._axis = 1

    def attach(self, model: nn.Module) -> list[Any]:
        handles = []
        for path, module in walk(model):
            handles.append(module.register_forward_pre_hook(self._enter(path)))
            handles.append(module.register_forward_hook(self._leave, always_call=True))
        return handles

    def _enter(self, path: str) -> Callable[[nn.Module, Any], None]:
        def hook(module: nn.Module, _: Any) -> None:
            if not self._path:
                self._calls.clear()
                self.__enter__()
            self._path.append(path)

        return hook

    def _leave(self, module: nn.Module, *_: Any) -> None:
        if module._parameters:  # whose units come out along which dimension
            self._axis = -1 if isinstance(module, (nn.Linear, nn.LayerNorm)) else 1
        if self._path:
            self._path.pop()
            if not self._path:
                self.__exit__(None, None, None)

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        result = function(*arguments, **(keywords or {}))
        # A function of torch.nn.functional calls others: only the outermost is looked at, and what
        # it calls runs without this mode.
        if function in _LIMITS and isinstance(result, Tensor) and result.dim() > 1:
            self._note(_LIMITS[function], result.detach(), function, arguments, keywords or {})
        return result

    def _note(
        self, limits: tuple[float | None, float | None], output: Tensor, function: Any,
        arguments: Any, keywords: dict[str, Any],
    ) -> None:
        if not torch.is_grad_enabled():
            return
        if function in (F.hardtanh, F.hardtanh_):
            bounds = [*arguments[1:3], *[None] * (3 - len(arguments))][:2]
            low, high = (keywords.get(name, given if given is not None else default)
                         for name, given, default in zip(
                             ("min_val", "max_val"), bounds, limits))
            limits = low, high
        where = self._path[-1] if self._path else ""
        name = where or str(getattr(function, "__name__", "activation"))
        number = self._calls[name] = self._calls.get(name, 0) + 1
        if number > 1:
            name = f"{name} ({number})"
        units = output.shape[self._axis]
        if self._seen.setdefault(name, _Seen(limits, units)).units == units:
            self._seen[name].add(output, self._axis)

    def take(self) -> dict[str, tuple[int, float, float]]:
        """Units, how many of them never fired, and the share of saturated activations."""
        found = {}
        for name, one in self._seen.items():
            if one.fired is not None:
                silent = one.units - int(one.fired.sum())
                near = 0.0 if one.near is None else float(one.near) / one.count
                found[name] = one.units, float(silent), near
        self._seen.clear()
        return found
