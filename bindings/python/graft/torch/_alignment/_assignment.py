"""Linear assignment, by SciPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..._errors import UnsupportedError


def solver() -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The function that pairs rows with columns so that the sum of the gains is greatest; with
    fewer of the one, each of those has a partner.

    Raises
    ------
    UnsupportedError
        Where SciPy is not installed.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise UnsupportedError(
            "matching filters needs SciPy (pip install 'filtergraft[align]')") from None
    solve: Any = linear_sum_assignment

    def pair(gains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return solve(gains, maximize=True)

    return pair
