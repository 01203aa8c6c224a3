"""What a trainer is told: how it grafts and distils, and what may differ between networks."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import pointer
from dataclasses import asdict, dataclass
from typing import Any

from . import _checks, _method, _structures
from ._augmentation import Augmentation
from ._errors import InvalidArgumentError
from ._library import defaults

__all__ = ["Distillation", "Grafting"]


@dataclass(frozen=True)
class Grafting:
    """How and when a trainer grafts. The defaults are the paper's.

    Attributes
    ----------
    source
        Where from: "ring" (each network receives from its predecessor), "mean", "others",
        "exponential", "internal", "noise", or a list of the source of each network; as for
        `graft.graft`, which is told how many grafts came before, and for "noise" the epoch.
    weighting
        How much: "entropy" (adaptive, the paper's), "filter_entropy", "l1", "filter" (by
        batch-norm scales) or "constant".
    a, c
        Range and steepness of the adaptive coefficient; a = 0 is the plain average.
    constant
        The share of its own weights that a layer keeps under weighting "constant".
    bins
        Bins of the entropy.
    threshold
        A filter whose l1 norm is under this counts as invalid in reports.
    compatibility
        True follows the published code's bins and rounding.
    start, every, stop
        When: after epoch `start`, then every so many, up to epoch `stop` (None for no end).
    keep_zeros
        Weights that are 0 stay 0: pruned networks keep their masks.
    noise, seed
        For source "noise": the base of its deviation, and what numbers are drawn.
    """

    source: str | Sequence[int] = "ring"
    weighting: str = "entropy"
    a: float = 0.4
    c: float = 500.0
    constant: float = 0.5
    bins: int = 10
    threshold: float = 0.1
    compatibility: bool = False
    start: int = 1
    every: int = 1
    stop: int | None = None
    keep_zeros: bool = False
    noise: float = 0.9
    seed: int = 0

    def _options(self) -> _structures.GraftOptions:
        options = defaults(_structures.GraftOptions, "graft_options_init")
        _method.set_source(options, self.source)
        _method.set_weighting(options, self.weighting, self.constant)
        options.keep_zeros = bool(self.keep_zeros)
        options.seed = _checks.seed(self.seed)
        for name in ("a", "c", "threshold", "noise"):
            setattr(options, name, _checks.number(getattr(self, name), name))
        for name in ("bins", "start", "every"):
            setattr(options, name, _checks.integer(getattr(self, name), name))
        options.stop = 0 if self.stop is None else _checks.integer(self.stop, "stop")
        options.compatibility = bool(self.compatibility)
        return options


@dataclass(frozen=True)
class Distillation:
    """The loss's weights: label_weight CE + distillation_weight T^2 KL(teachers || student).

    `label_smoothing`, 0 to 1, is the share of every label's target that is spread over all classes.
    """

    temperature: float = 2.0
    label_weight: float = 1.0
    distillation_weight: float = 1.0
    label_smoothing: float = 0.0

    def _options(self) -> _structures.DistillationOptions:
        options = defaults(_structures.DistillationOptions, "graft_distillation_options_init")
        for name in ("temperature", "label_weight", "distillation_weight", "label_smoothing"):
            setattr(options, name, _checks.number(getattr(self, name), name))
        return options


# ---- of each network -----------------------------------------------------------------------------


def each(value: Any, count: int, name: str) -> list[Any]:
    """A value for every network."""
    if not hasattr(value, "__len__"):
        return [value] * count
    if len(value) != count:
        raise InvalidArgumentError(f"{name} has {len(value)} values for {count} networks")
    return list(value)


class Own:
    """What may be given once for all networks or for each of them."""

    def __init__(
        self, options: _structures.TrainerOptions, distillation: _structures.DistillationOptions,
        count: int, weight_decay: Any, decay_weights_only: Any, label_smoothing: Any,
        augmentation: Any,
    ) -> None:
        self._given: dict[str, list[Any]] = {}
        for to, name, value, read in (
            (options, "weight_decay", weight_decay, _checks.number),
            (options, "decay_weights_only", decay_weights_only, lambda one, _: bool(one)),
            (distillation, "label_smoothing", label_smoothing, _checks.number),
            (options, "augmentation", augmentation, _augmentation),
        ):
            if value is None:
                continue
            if hasattr(value, "__len__"):
                self._given[name] = [
                    read(one, f"{name}[{index}]")
                    for index, one in enumerate(each(value, count, name))]
            else:
                setattr(to, name, read(value, name))

    def fill(self, member: _structures.MemberOptions, index: int) -> None:
        """Set what network `index` has for itself."""
        for name, values in self._given.items():
            setattr(member, name, values[index])


def _augmentation(value: Any, name: str) -> Any:
    return pointer(_checks.instance(value, Augmentation, name)._options())


def plain(value: Any) -> Any:
    """A setting as text, numbers, lists and dicts."""
    if isinstance(value, Augmentation):
        return asdict(value)
    return [plain(one) for one in value] if hasattr(value, "__len__") else value
