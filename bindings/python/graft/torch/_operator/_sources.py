"""Where each network's graft comes from."""

from __future__ import annotations

from collections.abc import Sequence

from ..._checks import integer
from ..._errors import InvalidArgumentError

Source = str | Sequence[int]


def shares(source: Source, k: int, count: int, step: int) -> list[tuple[int, float]]:
    """The networks that network `k` of `count` receives from, and their shares of what it gets.

    Parameters
    ----------
    source
        "ring": network k - 1. "exponential": network k - 2^t, t counting up with the grafts and
        starting again at 2^t >= count. "mean": all networks alike, k itself among them. "others":
        all but k. Or one source a network.
    step
        How many grafts came before.
    """
    if source == "ring":
        return [((k - 1) % count, 1.0)]
    if source == "exponential":
        turns = max(1, (count - 1).bit_length())
        return [((k - 2 ** (step % turns)) % count, 1.0)]
    if source == "mean":
        return [(network, 1.0 / count) for network in range(count)]
    if source == "others" and count > 1:
        return [(network, 1.0 / (count - 1)) for network in range(count) if network != k]
    if source == "others":
        return [(k, 1.0)]
    if isinstance(source, str):
        raise InvalidArgumentError(
            f"source is {source!r}; computed with torch are 'ring', 'exponential', 'mean', "
            "'others' and a list of sources")
    if len(source) != count:
        raise InvalidArgumentError(
            f"source names {len(source)} networks' sources, and there are {count} networks")
    other = integer(source[k], f"source[{k}]")
    if not 0 <= other < count:
        raise InvalidArgumentError(f"source[{k}] is {other}, and there are {count} networks")
    return [(other, 1.0)]
