"""The method on the caller's own weights: information, coefficient, blend, graft, distillation.

Arrays are NumPy arrays, CPU PyTorch tensors, or whatever offers the array interface, DLPack or the
buffer protocol; float32, float64, float16 or bfloat16 in memory of any strides. Nothing is copied.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from ctypes import byref
from typing import Any

import numpy as np

from . import _checks
from . import _structures as s
from ._arrays import Described, describe, int64_array, pointer
from ._described_network import DescribedNetwork
from ._errors import InvalidArgumentError, ShapeMismatchError, check
from ._library import defaults, lib
from ._plan import Plan
from ._report import Report

__all__ = [
    "Plan", "Report", "blend", "coefficient", "distillation_loss", "entropy",
    "filter_entropies", "filter_norms", "graft", "histogram", "invalid_filters", "is_due",
]

_INT64 = np.iinfo(np.int64)
_INT32 = np.iinfo(np.int32)


def integer(value: Any, name: str, limits: Any = _INT64) -> int:
    """An integer that the C interface can take; ctypes would cut it silently.

    Raises
    ------
    InvalidArgumentError
        If it is no integer or too large for its C type.
    """
    try:
        number = value.__index__()
    except AttributeError:
        raise InvalidArgumentError(f"{name} is {value!r}; it must be an integer") from None
    if not limits.min <= number <= limits.max:
        raise InvalidArgumentError(f"{name} is {number}, which is too large")
    return number


def real(value: Any, name: str) -> float:
    """A number as a float.

    Raises
    ------
    InvalidArgumentError
        If it is no number.
    """
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidArgumentError(f"{name} is {value!r}; it must be a number") from None


def _information(
    bins: int = 10, compatibility: bool = False, filter_axis: int = 0, threads: int = 0
) -> s.InformationOptions:
    options = defaults(s.InformationOptions, "graft_information_options_init")
    options.bins = integer(bins, "bins")
    options.compatibility = bool(compatibility)
    options.filter_axis = integer(filter_axis, "filter_axis", _INT32)
    options.threads = integer(threads, "threads", _INT32)
    return options


def _filters(weights: Described, filter_axis: int) -> int:
    """Number of filters; the library checks the axis itself."""
    shape = weights.array.shape
    return shape[filter_axis] if 0 <= filter_axis < len(shape) else 1


def entropy(w: Any, bins: int = 10, *, compatibility: bool = False, threads: int = 0) -> float:
    """Entropy of a layer's weights, H = -sum p ln p over equal bins of their range, in nats.

    Parameters
    ----------
    w
        Weights, at least one, all finite.
    bins
        Number of bins, 1 to 65536; counted as `numpy.histogram` counts.
    compatibility
        Bins as in the authors' published code: edges in float32, the maximum left out.
    threads
        0 takes what OpenMP would. The result is the same at any count.
    """
    result = ctypes.c_double()
    options = _information(bins, compatibility, threads=threads)
    check(lib.graft_entropy(describe(w, "w").pointer, byref(options), byref(result)))
    return result.value


def filter_entropies(
    w: Any, bins: int = 10, *, compatibility: bool = False, filter_axis: int = 0,
    threads: int = 0
) -> np.ndarray:
    """Entropy of every filter by itself, each over its own range, in nats.

    Parameters
    ----------
    w
        Weights; its filters lie along dimension `filter_axis`, 0 or (transposed
        convolutions) 1.
    bins, compatibility, threads
        As for `entropy`.

    Returns
    -------
    numpy.ndarray
        float64, one value a filter.
    """
    weights = describe(w, "w")
    options = _information(bins, compatibility, filter_axis, threads)
    result = np.empty(_filters(weights, filter_axis))
    check(lib.graft_filter_entropies(
        weights.pointer, byref(options), pointer(result, ctypes.c_double), result.size))
    return result


def histogram(
    w: Any, bins: int = 10, *, compatibility: bool = False, threads: int = 0
) -> np.ndarray:
    """How many weights fall in each bin: the counts behind `entropy`, as int64."""
    options = _information(bins, compatibility, threads=threads)
    weights = describe(w, "w")
    if not 1 <= bins <= 65536:
        raise InvalidArgumentError(f"bins is {bins}; allowed are 1 to 65536")
    result = np.empty(bins, np.int64)
    check(lib.graft_histogram(
        weights.pointer, byref(options), pointer(result, ctypes.c_int64), result.size))
    return result


def filter_norms(w: Any, *, filter_axis: int = 0, threads: int = 0) -> np.ndarray:
    """The l1 norm of every filter, accumulated in float64.

    Returns
    -------
    numpy.ndarray
        float64, one value a filter.
    """
    weights = describe(w, "w")
    options = _information(filter_axis=filter_axis, threads=threads)
    result = np.empty(_filters(weights, filter_axis))
    check(lib.graft_filter_norms(
        weights.pointer, byref(options), pointer(result, ctypes.c_double), result.size))
    return result


def invalid_filters(
    w: Any, threshold: float = 0.1, *, filter_axis: int = 0, threads: int = 0
) -> np.ndarray:
    """Which filters are invalid: those whose l1 norm is under `threshold`.

    Parameters
    ----------
    threshold
        >= 0; the paper uses 0.1 and 1.

    Returns
    -------
    numpy.ndarray
        bool, one value a filter.
    """
    weights = describe(w, "w")
    options = _information(filter_axis=filter_axis, threads=threads)
    result = np.empty(_filters(weights, filter_axis), np.uint8)
    check(lib.graft_invalid_filters(
        weights.pointer, real(threshold, "threshold"), byref(options),
        pointer(result, ctypes.c_uint8), result.size))
    return result.astype(bool)


def coefficient(
    h_self: float, h_other: float, a: float = 0.4, c: float = 500.0, *,
    compatibility: bool = False
) -> float:
    """The share of its own weights that a layer keeps: a / pi arctan(c (h_self - h_other)) + 1/2.

    Rounded once to float32 on the side >= 1/2, the other side being its exact complement:
    ``coefficient(h, g) + coefficient(g, h) == 1``.

    Parameters
    ----------
    h_self, h_other
        Information of the receiving and of the giving layer.
    a
        Range, 0 to 1; 0 is the plain average.
    c
        Steepness, >= 0.
    compatibility
        Rounds to two decimals, as the authors' published code does.
    """
    result = ctypes.c_double()
    check(lib.graft_coefficient(
        real(h_self, "h_self"), real(h_other, "h_other"), real(a, "a"), real(c, "c"),
        bool(compatibility), byref(result)))
    return result.value


def blend(self: Any, other: Any, alpha: float, *, threads: int = 0) -> None:
    """self <- alpha self + (1 - alpha) other, in place.

    Products and sum in float64, rounded once: blending equal arrays changes nothing, bit for bit.

    Parameters
    ----------
    self, other
        Arrays of the same shape and type, all finite; they may not share a part of their memory.
    alpha
        0 to 1.
    """
    check(lib.graft_blend(
        describe(self, "self", writable=True).pointer, describe(other, "other").pointer,
        real(alpha, "alpha"), integer(threads, "threads", _INT32)))


def is_due(epoch: int, start: int = 1, every: int = 1, stop: int | None = None) -> bool:
    """Whether a graft is due after an epoch (or step), counted from 1.

    Parameters
    ----------
    start
        The first after which one is due.
    every
        Every this many.
    stop
        The last after which one may be due; None for no end.
    """
    options = defaults(s.GraftOptions, "graft_options_init")
    options.start = integer(start, "start")
    options.every = integer(every, "every")
    options.stop = 0 if stop is None else integer(stop, "stop")
    due = ctypes.c_int32()
    check(lib.graft_is_due(byref(options), integer(epoch, "epoch"), byref(due)))
    return bool(due.value)


def set_source(options: s.GraftOptions, source: Any) -> None:
    """Says where from: a word, or the source of each network."""
    allowed = [one.name.lower() for one in s.Source if one is not s.Source.GIVEN]
    if isinstance(source, str):
        if source not in allowed:
            raise InvalidArgumentError(
                f"source is {source!r}; allowed are {', '.join(allowed)}, and a list of the "
                "networks' sources")
        options.source = s.Source[source.upper()]
        return
    if not isinstance(source, (list, tuple, np.ndarray)):
        raise InvalidArgumentError(
            f"source is {source!r}; it must be a word or a list of the networks' sources")
    numbers = [integer(other, f"source[{k}]") for k, other in enumerate(source)]
    options.source, options.source_count = s.Source.GIVEN, len(numbers)
    options.sources = (ctypes.c_int64 * max(len(numbers), 1))(*numbers)  # ctypes keeps it alive


def set_weighting(options: s.GraftOptions, weighting: Any, constant: Any) -> None:
    """Says how much: a word, or the constant itself."""
    allowed = [one.name.lower() for one in s.Weighting]
    if isinstance(weighting, str):
        if weighting not in allowed:
            raise InvalidArgumentError(
                f"weighting is {weighting!r}; allowed are {', '.join(allowed)}, and numbers")
        options.weighting, name = s.Weighting[weighting.upper()], "constant"
    else:
        options.weighting, constant = s.Weighting.CONSTANT, weighting
        name = "weighting"
    options.constant = real(constant, name)
    if not 0 <= options.constant <= 1:
        raise InvalidArgumentError(f"{name} is {constant!r}; allowed are 0 to 1")


def graft(
    networks: Sequence[Mapping[str, Any]],
    plan: Plan | None = None,
    source: str | Sequence[int] = "ring",
    weighting: str | float = "entropy",
    a: float = 0.4,
    c: float = 500.0,
    bins: int = 10,
    threshold: float = 0.1,
    dry_run: bool = False,
    compatibility: bool = False,
    threads: int = 0,
    *,
    constant: float = 0.5,
    step: int = 0,
    keep_zeros: bool = False,
    noise: float = 0.9,
    seed: int = 0,
) -> Report:
    """Graft K networks of one structure, in place.

    Every network reads its source's state from before this graft. Everything is checked before
    the first weight changes: where this raises, nothing has changed.

    Parameters
    ----------
    networks
        K mappings of name -> array (for PyTorch: ``[m.state_dict() for m in models]``), 1 to 64,
        with the same names, shapes and types: float32, float64, float16 or bfloat16, each array
        its own. Integers are left alone.
    plan
        Which arrays are layers and which follow them; None makes one by order (see `Plan`).
    source
        Where from: "ring", network k receives from network k - 1; "mean", from the mean of all,
        itself among them (population averaging); "others", from the mean of the others;
        "exponential", from network k - 2^t, t being `step`, beginning anew at 2^t >= K; a list of
        the source of each network; "internal", in each layer the i-th largest filter by l1 norm is
        added to the i-th smallest, if that is under `threshold`; "noise", N(0, noise^step) is added
        to the filters under `threshold`. With the last two nothing else changes, and nothing is
        weighed.
    weighting
        How much: "entropy", the paper's adaptive coefficient; "filter_entropy", the same on the
        sums of the filters' entropies; "l1", on the layers' l1 norms; "filter", for each filter
        from its batch-norm scale, ``|own| / (|own| + |other|)`` (see `Plan.set_scales`); or a
        number from 0 to 1, the share that every array keeps (0.5 averages, 0 hands whole networks on),
        which "constant" takes from `constant`.
    a, c
        Range and steepness of the adaptive coefficient.
    bins
        Bins of the entropy.
    threshold
        A filter whose l1 norm is under this counts as invalid in the report.
    dry_run
        Report what would happen; write nothing.
    compatibility
        Bins and rounding of the authors' published code.
    threads
        0 takes what OpenMP would. The result is the same at any count.
    step
        How many grafts came before this one, for "exponential"; for "noise" the epoch.
    keep_zeros
        What is 0 in its receiver stays 0, in arrays of two or more dimensions: a pruned network
        keeps its mask. Otherwise its zeros come back.
    noise, seed
        For "noise": the base of its deviation, between 0 and 1, and what numbers are drawn.

    Returns
    -------
    Report
        What happened to every layer of every network.
    """
    if isinstance(networks, Mapping) or not isinstance(networks, Sequence):
        raise InvalidArgumentError(
            f"networks is {type(networks).__name__!r}: it must be a list of mappings")
    if plan is not None and not isinstance(plan, Plan):
        raise InvalidArgumentError(f"plan is {type(plan).__name__!r}: it must be a Plan or None")
    options = defaults(s.GraftOptions, "graft_options_init")
    set_source(options, source)
    set_weighting(options, weighting, constant)
    options.step, options.keep_zeros = integer(step, "step"), bool(keep_zeros)
    options.noise, options.seed = real(noise, "noise"), _checks.seed(seed)
    options.a, options.c = real(a, "a"), real(c, "c")
    options.bins = integer(bins, "bins")
    options.threshold = real(threshold, "threshold")
    options.dry_run, options.compatibility = bool(dry_run), bool(compatibility)
    options.threads = integer(threads, "threads", _INT32)

    described = _describe(networks, writable=not dry_run)
    count = len(described[0]) if described else 0
    pointers = (ctypes.POINTER(s.Tensor) * max(len(described), 1))(
        *[network.pointer for network in described])
    handle = ctypes.c_void_p()
    check(lib.graft_apply(
        plan.handle if plan is not None else None, pointers, ctypes.sizeof(s.Tensor), count,
        len(described), byref(options), byref(handle)))
    try:
        return Report.read(handle)
    finally:
        lib.graft_report_destroy(handle)


def _describe(networks: Sequence[Mapping[str, Any]], writable: bool) -> list[DescribedNetwork]:
    """Descriptions of all networks, in the order of the first one's names."""
    described: list[DescribedNetwork] = []
    names: list[str] | None = None
    for k, network in enumerate(networks):
        if not isinstance(network, Mapping):
            raise InvalidArgumentError(
                f"networks[{k}] is {type(network).__name__!r}: it must be a mapping of "
                "name -> array")
        if names is None:
            names = list(network)
        elif list(network) != names:
            for name in names:
                if name not in network:
                    raise ShapeMismatchError(
                        f"networks[{k}] lacks {name!r}, which networks[0] has")
            for name in network:
                if name not in networks[0]:
                    raise ShapeMismatchError(
                        f"networks[{k}] has {name!r}, which networks[0] lacks")
            network = {name: network[name] for name in names}
        described.append(DescribedNetwork(network, f"networks[{k}]", writable))
    return described


def distillation_loss(
    student: Any,
    teachers: Any,
    labels: Any = None,
    temperature: float = 2.0,
    label_weight: float = 1.0,
    distillation_weight: float = 1.0,
    *,
    label_smoothing: float = 0.0,
    threads: int = 0,
) -> tuple[float, np.ndarray]:
    """The loss that keeps the valid filters good while others are grafted, and its gradient.

    label_weight CE(z, y) + distillation_weight T^2 KL(p_T || softmax(z / T)), p_T being the mean
    of the teachers' softmax at temperature T; both terms are means over the batch. The paper's
    setting is the default.

    Parameters
    ----------
    student
        Logits z, batch x classes, float32 or float64, finite.
    teachers
        A list of logits of the same shape and type, or one array; an empty list leaves the
        second term out.
    labels
        Class numbers from 0, one a row; None only where `label_weight` is 0.
    temperature
        T > 0.
    label_weight, distillation_weight
        >= 0.
    label_smoothing
        The share of every label's target that is spread over all classes alike, 0 to 1, as
        torch.nn.CrossEntropyLoss's.

    Returns
    -------
    loss : float
    gradient : numpy.ndarray
        d loss / d z, of the student's shape and type.
    """
    z = describe(student, "student")
    if not isinstance(teachers, (list, tuple)):
        teachers = [teachers]
    given = [describe(teacher, f"teachers[{m}]") for m, teacher in enumerate(teachers)]
    options = defaults(s.DistillationOptions, "graft_distillation_options_init")
    options.temperature = real(temperature, "temperature")
    options.label_weight = real(label_weight, "label_weight")
    options.distillation_weight = real(distillation_weight, "distillation_weight")
    options.label_smoothing = real(label_smoothing, "label_smoothing")
    options.threads = integer(threads, "threads", _INT32)
    numbers = None
    if labels is not None:
        numbers = int64_array(labels, "labels")
        rows = z.array.shape[0] if z.array.ndim else 0
        if numbers.size != rows:
            raise ShapeMismatchError(
                f"labels has {numbers.size} numbers, and student {rows} rows")
    loss = ctypes.c_double(math.nan)
    gradient = describe(np.zeros(z.array.shape, z.array.dtype), "gradient")
    pointers = (ctypes.POINTER(s.Tensor) * max(len(given), 1))(
        *[ctypes.pointer(teacher.tensor) for teacher in given])
    check(lib.graft_distillation_loss(
        z.pointer, pointers, len(given),
        None if numbers is None else pointer(numbers, ctypes.c_int64), byref(options),
        byref(loss), gradient.pointer))
    return loss.value, gradient.array
