"""Whether one side of two arrays of feature rows is late: mean cosine of row t of one with row t + lag of the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_LAG = 8
"""Rows by which one side may be late or early."""

LAGS = tuple(range(-MAX_LAG, MAX_LAG + 1))

_BLOCK = 4096


def lag_sums(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """(2, 17) at all lags: the sum of the cosines of row t of ``a`` with row t + lag of ``b``, and their number.

    Rows that are zero on both sides are not counted, and nothing is where less than half of the rows overlap. Rows of
    length 1 in float32 are enough for means, and make seventeen passes cheap.
    """
    (one, has_one), (other, has_other) = _directions(a), _directions(b)
    found = np.zeros((2, len(LAGS)))
    for place, lag in enumerate(LAGS):
        first, second = slice(max(0, -lag), None), slice(max(0, lag), None)
        overlap = min(len(one[first]), len(other[second]))
        if overlap < 1 or (lag and overlap * 2 < min(len(a), len(b))):
            continue
        either = has_one[first][:overlap] | has_other[second][:overlap]
        cosines = np.einsum("td,td->t", one[first][:overlap], other[second][:overlap])
        found[:, place] = cosines[either].astype(np.float64).sum(), either.sum()
    return found


def lag_means(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(17,) means of the (2, 17) of :func:`lag_sums`; NaN where nothing was counted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means: NDArray[np.float64] = sums[0] / sums[1]
    return means


def best_lag(lag_cosines: NDArray[np.float64]) -> int:
    """The lag with the highest mean cosine; 0 where no other is better by more than rounding."""
    known = np.where(np.isnan(lag_cosines), -np.inf, lag_cosines)
    best = int(np.argmax(known))
    return LAGS[best] if known[best] > known[MAX_LAG] + 1e-6 else 0


def _directions(rows: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(T, D) rows of length 1, zeros where a row is zero; (T,) whether it is not."""
    unit = np.empty(rows.shape, dtype=np.float32)
    has = np.empty(len(rows), dtype=bool)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].astype(np.float64)
        norm = np.linalg.norm(block, axis=1, keepdims=True)
        has[start : start + _BLOCK] = norm[:, 0] > 0
        unit[start : start + _BLOCK] = block / np.where(norm > 0, norm, 1.0)
    return unit, has
