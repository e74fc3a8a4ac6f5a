"""How alike two arrays of feature rows are, as numbers and in words.

Legend: K crops, T rows, D columns. Values are compared in float64, a block of rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_LAG = 8
"""Rows by which one side may be late or early."""

LAGS = tuple(range(-MAX_LAG, MAX_LAG + 1))

ROUNDING_COSINE, ROUNDING_NORM = 0.999, 0.01
"""``same up to rounding``: every row's cosine at least, and every row's norm off by at most."""

SIMILAR_COSINE = 0.95
"""Mean cosine from which features count as the same kind, made another way (decoder, resize, crop)."""

_BLOCK = 4096

Rows = NDArray[Any]


@dataclass(frozen=True, slots=True)
class RowComparison:
    """What comparing two (T, D) or (K, T, D) arrays gave. A is the first, B the second.

    shape_a, shape_b, dtype_a, dtype_b
        As they were read.
    rows, unequal_rows, empty_rows
        Rows compared (all crops together); those with any other value; those that are zero on both sides, which have no
        direction and are left out of the cosines.
    cosine_mean, cosine_median, cosine_min
        Of row t of A with row t of B; a row that is zero on one side counts as 0. None without a row.
    lag, lag_cosine
        The lag k at which row t of A fits row t + k of B best, and the mean cosine there. A lag is considered where at
        least half of the rows overlap; 0 wins where others are no better.
    lag_cosines
        Mean cosine at every lag of :data:`LAGS`; NaN where it is not considered.
    norm_ratio, norm_off
        Median of norm(B) / norm(A); how far from 1 it is at most. None without a row.
    max_abs_difference
        Over all values compared.
    crop_of, crop
        Where one side has one crop and the other several: ``B`` or ``A``, and its crop that fits best, which the
        numbers are about; else empty and None.
    verdict
        In words.
    """

    shape_a: tuple[int, ...]
    shape_b: tuple[int, ...]
    dtype_a: str
    dtype_b: str
    rows: int
    unequal_rows: int
    empty_rows: int
    cosine_mean: float | None
    cosine_median: float | None
    cosine_min: float | None
    lag: int
    lag_cosine: float | None
    lag_cosines: tuple[float, ...]
    norm_ratio: float | None
    norm_off: float | None
    max_abs_difference: float | None
    crop_of: str
    crop: int | None
    verdict: str


def compare_rows(a: Rows, b: Rows) -> tuple[RowComparison, NDArray[np.float64]]:
    """Compare row by row, and give the cosines too.

    Where T differs, the first rows that both have are compared. Where D differs, nothing is.
    """
    parts_a, parts_b = (part if part.ndim == 3 else part[None] for part in (a, b))
    crop_of, crop = "", None
    if a.shape[-1] == b.shape[-1] and min(len(parts_a), len(parts_b)) == 1 < max(len(parts_a), len(parts_b)):
        crop_of = "B" if len(parts_a) == 1 else "A"
        one, several = (parts_a, parts_b) if crop_of == "B" else (parts_b, parts_a)
        crop = int(np.argmax([_mean(_cosines(one[0], other)[0]) for other in several]))
        several = several[crop : crop + 1]
        parts_a, parts_b = (one, several) if crop_of == "B" else (several, one)
    measured = _measure(parts_a, parts_b) if a.shape[-1] == b.shape[-1] else _Measured()
    comparison = _comparison(a, b, measured, crop_of, crop)
    return comparison, measured.cosines


@dataclass(slots=True)
class _Measured:
    """Over all crops: a cosine and a norm ratio for each row that has one, and counts."""

    cosines: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    ratios: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    lag_cosines: NDArray[np.float64] = field(default_factory=lambda: np.full(len(LAGS), np.nan))
    rows: int = 0
    unequal: int = 0
    empty: int = 0
    max_abs: float = 0.0


def _measure(parts_a: Rows, parts_b: Rows) -> _Measured:
    """All crops that both sides have; (K, T, D) each."""
    found = _Measured()
    pairs = list(zip(parts_a, parts_b, strict=False))
    cosines, ratios, lags = [], [], []
    for one, other in pairs:
        cosine, ratio, empty = _cosines(one, other)
        cosines.append(cosine)
        ratios.append(ratio)
        found.empty += empty
        for first, second in _blocks(one, other):
            different = first != second
            found.rows += len(first)
            found.unequal += int(different.any(axis=1).sum())
            found.max_abs = max(found.max_abs, float(np.abs(first - second).max(initial=0.0)))
        lags.append(_lag_curve(one, other))
    found.cosines, found.ratios = np.concatenate(cosines), np.concatenate(ratios)
    if len(found.cosines):
        found.lag_cosines = np.mean(lags, axis=0)
        found.lag_cosines[MAX_LAG] = _mean(found.cosines)
    return found


def _blocks(a: Rows, b: Rows) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    for start in range(0, min(len(a), len(b)), _BLOCK):
        end = min(start + _BLOCK, len(a), len(b))
        yield a[start:end].astype(np.float64), b[start:end].astype(np.float64)


def _cosines(a: Rows, b: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Cosine of every pair of rows that is not empty on both sides, norm ratios where neither is, number of empties."""
    cosines, ratios, empty = [np.empty(0)], [np.empty(0)], 0
    for one, other in _blocks(a, b):
        norm_a, norm_b = np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1)
        product = norm_a * norm_b
        with np.errstate(divide="ignore", invalid="ignore"):
            cosine = np.where(product > 0, (one * other).sum(axis=1) / product, 0.0)
        neither = (norm_a == 0) & (norm_b == 0)
        empty += int(neither.sum())
        cosines.append(np.clip(cosine[~neither], -1.0, 1.0))
        both = product > 0
        ratios.append(norm_b[both] / norm_a[both])
    return np.concatenate(cosines), np.concatenate(ratios), empty


def _lag_curve(a: Rows, b: Rows) -> list[float]:
    """Mean cosine of row t of ``a`` with row t + lag of ``b``, for all lags; NaN where less than half overlaps.

    Rows of length 1 in float32 are enough for means, and make seventeen passes cheap.
    """
    (one, has_one), (other, has_other) = _directions(a), _directions(b)
    means = []
    for lag in LAGS:
        first, second = slice(max(0, -lag), None), slice(max(0, lag), None)
        overlap = min(len(one[first]), len(other[second]))
        if overlap < 1 or (lag and overlap * 2 < min(len(a), len(b))):
            means.append(math.nan)
            continue
        either = has_one[first][:overlap] | has_other[second][:overlap]
        cosines = np.einsum("td,td->t", one[first][:overlap], other[second][:overlap])
        means.append(_mean(cosines[either].astype(np.float64)))
    return means


def _directions(rows: Rows) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(T, D) rows of length 1, zeros where a row is zero; (T,) whether it is not."""
    unit = np.empty(rows.shape, dtype=np.float32)
    has = np.empty(len(rows), dtype=bool)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].astype(np.float64)
        norm = np.linalg.norm(block, axis=1, keepdims=True)
        has[start : start + _BLOCK] = norm[:, 0] > 0
        unit[start : start + _BLOCK] = block / np.where(norm > 0, norm, 1.0)
    return unit, has


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan


def best_lag(lag_cosines: NDArray[np.float64]) -> int:
    """The lag with the highest mean cosine; 0 where no other is better by more than rounding."""
    known = np.where(np.isnan(lag_cosines), -np.inf, lag_cosines)
    best = int(np.argmax(known))
    return LAGS[best] if known[best] > known[MAX_LAG] + 1e-6 else 0


def _comparison(a: Rows, b: Rows, found: _Measured, crop_of: str, crop: int | None) -> RowComparison:
    lag = best_lag(found.lag_cosines)
    lag_cosine = float(found.lag_cosines[LAGS.index(lag)])
    has = len(found.cosines) > 0
    ratio = float(np.median(found.ratios)) if len(found.ratios) else None
    off = float(np.abs(found.ratios - 1.0).max()) if len(found.ratios) else None
    return RowComparison(
        shape_a=a.shape,
        shape_b=b.shape,
        dtype_a=str(a.dtype),
        dtype_b=str(b.dtype),
        rows=found.rows,
        unequal_rows=found.unequal,
        empty_rows=found.empty,
        cosine_mean=_mean(found.cosines) if has else None,
        cosine_median=float(np.median(found.cosines)) if has else None,
        cosine_min=float(found.cosines.min()) if has else None,
        lag=lag,
        lag_cosine=None if math.isnan(lag_cosine) else lag_cosine,
        lag_cosines=tuple(found.lag_cosines.tolist()),
        norm_ratio=ratio,
        norm_off=off,
        max_abs_difference=found.max_abs if found.rows else None,
        crop_of=crop_of,
        crop=crop,
        verdict=_verdict(a, b, found, lag, off, crop_of, crop),
    )


def _verdict(
    a: Rows, b: Rows, found: _Measured, lag: int, norm_off: float | None, crop_of: str, crop: int | None
) -> str:
    if a.shape[-1] != b.shape[-1]:
        return f"other features: {a.shape[-1]} and {b.shape[-1]} columns"
    if not found.rows:
        return "no rows to compare"
    said = _likeness(found, lag, norm_off)
    if crop is None:
        return said
    return said if said == "other features" else f"crop {crop} of {crop_of} fits best: {said}"


def _likeness(found: _Measured, lag: int, norm_off: float | None) -> str:
    if not found.unequal:
        return "identical"
    if not len(found.cosines):
        return "other features"
    mean, lowest = _mean(found.cosines), float(found.cosines.min())
    if lowest >= ROUNDING_COSINE:
        same_size = norm_off is not None and norm_off <= ROUNDING_NORM
        return "same up to rounding" if same_size else "same directions, other norms"
    there = float(found.lag_cosines[LAGS.index(lag)])
    # a lag explains the difference where it removes at least half of it; neighbours of a slow video are alike anyway
    if lag and there >= SIMILAR_COSINE and 1.0 - there <= 0.5 * (1.0 - mean):
        return f"shifted by {lag:+d} {'row' if abs(lag) == 1 else 'rows'} (B is {'late' if lag > 0 else 'early'})"
    return "similar, not the same" if mean >= SIMILAR_COSINE else "other features"
