"""Mean average precision and rank-k (the CMC curve) of queries against a gallery.

Both are defined so that the order in which the gallery is listed does not matter where distances
are equal: images at one distance share the precision at the end of their group, as in scikit-learn's
average_precision_score, and a tie between a match and another image counts against the match.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _checks
from .._arrays import values
from .._errors import InvalidArgumentError, NotFiniteError, ShapeMismatchError

#: Distances that are held at once.
_PIECE = 2**24


@dataclass(frozen=True, eq=False)
class Recognition:
    """How well queries found their like.

    Attributes
    ----------
    average_precision : numpy.ndarray
        float64, one for each query; NaN where the gallery has no match for it.
    first_match : numpy.ndarray
        int64, the rank of the nearest match, from 1; 0 where there is none.
    """

    average_precision: np.ndarray
    first_match: np.ndarray

    @property
    def queries(self) -> int:
        """Number of queries that have a match in the gallery; the others count nowhere."""
        return int(np.count_nonzero(self.first_match))

    @property
    def mean_average_precision(self) -> float:
        """The mean over these queries, 0 to 1."""
        return float(self.average_precision[self.first_match > 0].mean())

    def rank(self, k: int) -> float:
        """The share of queries, 0 to 1, with a match among the k nearest images."""
        k = _checks.integer(k, "k")
        if k < 1:
            raise InvalidArgumentError(f"k is {k}; it must be at least 1")
        found = self.first_match[self.first_match > 0]
        return float(np.count_nonzero(found <= k) / len(found))

    def cmc(self, ranks: int = 20) -> np.ndarray:
        """The cumulative match characteristic: `rank(1)` to `rank(ranks)`."""
        return np.array([self.rank(k) for k in range(1, _checks.integer(ranks, "ranks") + 1)])

    def __str__(self) -> str:
        left_out = len(self.first_match) - self.queries
        return (
            f"mAP {100 * self.mean_average_precision:.1f} %, "
            + ", ".join(f"rank-{k} {100 * self.rank(k):.1f} %" for k in (1, 5, 10))
            + f" of {self.queries} queries"
            + (f" ({left_out} without a match left out)" if left_out else ""))


def cosine_distances(query: Any, gallery: Any) -> np.ndarray:
    """1 - cos of the angle between every query and every image of the gallery.

    Parameters
    ----------
    query, gallery
        Features, one row an image, float32 or float64. A row of zeros has distance 1 to everything.

    Returns
    -------
    numpy.ndarray
        Queries x gallery, 0 to 2.
    """
    rows, columns = _unit(query, "query"), _unit(gallery, "gallery")
    _same_width(rows, columns)
    return _distances(rows, columns)


def evaluate(
    query: Any, query_labels: Any, gallery: Any = None, gallery_labels: Any = None, *,
    query_cameras: Any = None, gallery_cameras: Any = None,
) -> Recognition:
    """Rank the gallery for every query by cosine distance, and measure the rankings.

    Parameters
    ----------
    query, gallery
        Features, one row an image, of networks of any library. Without a gallery each query is
        compared with all the others.
    query_labels, gallery_labels
        What is to be recognised: class numbers or other labels, one a row.
    query_cameras, gallery_cameras
        If given, images of the query's label from the query's own camera are passed over, as the
        person re-identification sets ask for (Market-1501, DukeMTMC-reID).

    Raises
    ------
    InvalidArgumentError, ShapeMismatchError, NotFiniteError
        Naming what is wrong.

    Notes
    -----
    The average precision of a query is the mean, over its matches, of the share of matches among
    the images ranked so far. (The Market-1501 authors' own script averages each step's precision
    with the one before, and gives slightly other numbers.)
    """
    rows = _unit(query, "query")
    labels = _labels(query_labels, "query_labels", len(rows))
    alone = gallery is None
    if alone:
        if gallery_labels is not None or gallery_cameras is not None:
            raise InvalidArgumentError("gallery is None, but gallery_labels or gallery_cameras not")
        columns, others, gallery_cameras = rows, labels, query_cameras
    else:
        columns = _unit(gallery, "gallery")
        others = _labels(gallery_labels, "gallery_labels", len(columns))
        _same_width(rows, columns)
    if (query_cameras is None) != (gallery_cameras is None):
        raise InvalidArgumentError("query_cameras and gallery_cameras: give both or none")
    cameras = None if query_cameras is None else (
        _labels(query_cameras, "query_cameras", len(rows)),
        _labels(gallery_cameras, "gallery_cameras", len(columns)))
    size = max(1, _PIECE // len(columns))
    parts = []
    for first in range(0, len(rows), size):
        piece = slice(first, first + size)
        matches = labels[piece, None] == others
        passed = np.zeros_like(matches)
        if cameras is not None:
            passed |= matches & (cameras[0][piece, None] == cameras[1])
        if alone:
            at = np.arange(len(matches))
            passed[at, first + at] = True
        parts.append(_ranked(_distances(rows[piece], columns), matches, passed))
    return _together(parts)


def evaluate_distances(
    distances: Any, query_labels: Any, gallery_labels: Any, passed_over: Any = None
) -> Recognition:
    """The same from distances of the caller's own, smaller for more alike.

    Parameters
    ----------
    distances
        Queries x gallery.
    query_labels, gallery_labels
        As `evaluate`.
    passed_over
        Queries x gallery, True where an image is no part of that query's gallery.
    """
    array = values(distances, "distances")
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind != "f":
        raise InvalidArgumentError(
            f"distances are {array.dtype} of shape {array.shape}; give floats, queries x gallery")
    if not np.isfinite(array).all():
        raise NotFiniteError("distances hold NaN or infinity")
    labels = _labels(query_labels, "query_labels", array.shape[0])
    others = _labels(gallery_labels, "gallery_labels", array.shape[1])
    passed = np.zeros(array.shape, bool)
    if passed_over is not None:
        passed = np.asarray(passed_over)
        if passed.shape != array.shape or passed.dtype != bool:
            raise ShapeMismatchError(
                f"passed_over is {passed.dtype} of shape {passed.shape}; it must be bool of shape "
                f"{array.shape}")
    size = max(1, _PIECE // array.shape[1])
    pieces = (slice(first, first + size) for first in range(0, len(array), size))
    return _together([
        _ranked(array[piece], labels[piece, None] == others, passed[piece]) for piece in pieces])


# ---- one piece -----------------------------------------------------------------------------------


def _distances(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    result = rows @ columns.T
    np.subtract(1, result, out=result)
    return np.clip(result, 0, 2, out=result)


def _ranked(
    distances: np.ndarray, matches: np.ndarray, passed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and first match of every row."""
    order = np.argsort(distances, axis=1)
    ordered = np.take_along_axis(distances, order, 1)
    present = ~np.take_along_axis(passed, order, 1)
    hit = np.take_along_axis(matches, order, 1) & present
    hits, seen = np.cumsum(hit, 1), np.cumsum(present, 1)
    # Where the group of images at the same distance ends.
    count = distances.shape[1]
    is_end = np.ones(distances.shape, bool)
    is_end[:, :-1] = ordered[:, 1:] != ordered[:, :-1]
    end = np.where(is_end, np.arange(count), count - 1)
    end = np.minimum.accumulate(end[:, ::-1], axis=1)[:, ::-1]
    hits, seen = np.take_along_axis(hits, end, 1), np.take_along_axis(seen, end, 1)
    total = hits[:, -1]
    with np.errstate(invalid="ignore"):
        precision = hits / np.maximum(seen, 1)
        average = np.where(hit, precision, 0).sum(1) / total
    first = np.argmax(hit, 1)[:, None]
    before = np.take_along_axis(seen, first, 1) - np.take_along_axis(hits, first, 1)
    return average, np.where(total > 0, before[:, 0] + 1, 0)


def _together(parts: list[tuple[np.ndarray, np.ndarray]]) -> Recognition:
    average, first = (np.concatenate(column) for column in zip(*parts))
    if not first.any():
        raise InvalidArgumentError("no query has a match in the gallery")
    return Recognition(average, first.astype(np.int64))


# ---- arguments -----------------------------------------------------------------------------------


def _unit(given: Any, name: str) -> np.ndarray:
    """Rows of length 1, or of zeros."""
    array = values(given, name)
    if array.ndim != 2 or 0 in array.shape:
        raise InvalidArgumentError(f"{name} has shape {array.shape}; give one row an image")
    if array.dtype.kind not in "fiu":
        raise InvalidArgumentError(f"{name} is of type {array.dtype}; it must hold numbers")
    array = array.astype(np.result_type(array.dtype, np.float32), copy=False)
    if not np.isfinite(array).all():
        raise NotFiniteError(f"{name} holds NaN or infinity")
    # By the largest first: squares of what is left neither overflow nor vanish.
    largest = np.abs(array).max(1, keepdims=True)
    array = array / np.where(largest > 0, largest, 1)
    length = np.linalg.norm(array, axis=1, keepdims=True)
    return array / np.where(length > 0, length, 1)


def _same_width(rows: np.ndarray, columns: np.ndarray) -> None:
    if rows.shape[1] != columns.shape[1]:
        raise ShapeMismatchError(
            f"query has {rows.shape[1]} features an image, and gallery {columns.shape[1]}")


def _labels(given: Any, name: str, count: int) -> np.ndarray:
    if given is None:
        raise InvalidArgumentError(f"{name} is missing")
    array = np.asarray(given)
    if array.ndim != 1 or len(array) != count:
        raise ShapeMismatchError(f"{name} has shape {array.shape}; there are {count} images")
    return array
