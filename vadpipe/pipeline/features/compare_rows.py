"""How alike two arrays of feature rows are, as numbers and in words.

Legend: K crops, T rows, D columns. Values are compared in float64, a block of rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.pipeline.features.compare_lags import LAGS, MAX_LAG, best_lag, lag_means, lag_sums

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
    lag_cosines, lag_rows
        Mean cosine at every lag of :data:`LAGS`, NaN where it is not considered; and the rows that it is the mean of.
    norm_ratio, norm_off
        Median of norm(B) / norm(A); how far from 1 it is at most. None without a row.
    max_abs_difference
        Over all values compared.
    crop_of, crop
        Where one side has one crop and the other several: ``B`` or ``A``, and its crop that fits best, which the
        numbers are about; else empty and None.
    only_crops_a, only_crops_b
        Crops that one side alone has, where both have several: those that both have are compared.
    rows_missing
        Rows of these crops, and rows of the others that one side has beyond the end of the other.
    likeness, verdict
        In words: of the rows that were compared; and what one side alone has.
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
    lag_rows: tuple[int, ...]
    norm_ratio: float | None
    norm_off: float | None
    max_abs_difference: float | None
    crop_of: str
    crop: int | None
    only_crops_a: tuple[int, ...]
    only_crops_b: tuple[int, ...]
    rows_missing: int
    likeness: str

    @property
    def verdict(self) -> str:
        """In words."""
        sides = (("A", self.only_crops_a), ("B", self.only_crops_b))
        said = [f"crops {','.join(map(str, crops))} in {side} only" for side, crops in sides if crops]
        said += [f"{self.rows_missing} rows are on one side only"] if self.rows_missing else []
        return "; ".join([self.likeness, *said])


def compare_rows(
    a: Rows, b: Rows, crops_a: Sequence[int] = (), crops_b: Sequence[int] = ()
) -> tuple[RowComparison, NDArray[np.float64]]:
    """Compare row by row, and give the cosines too.

    Where T differs, the first rows that both have are compared. Where D differs, nothing is.

    crops_a, crops_b
        Numbers of the crops, by which they are paired; () for 0, 1, ….
    """
    pairs = _pair(a, b, tuple(crops_a), tuple(crops_b))
    measured = _measure(pairs)
    return _comparison(a, b, pairs, measured), measured.cosines


@dataclass(slots=True)
class _Pairs:
    """(T, D) of A with (T, D) of B, for each crop that is compared; the rest as in :class:`RowComparison`.

    words: what the likeness begins with.
    """

    rows: list[tuple[Rows, Rows]] = field(default_factory=list)
    crop_of: str = ""
    crop: int | None = None
    only_a: tuple[int, ...] = ()
    only_b: tuple[int, ...] = ()
    words: str = ""


def _pair(a: Rows, b: Rows, crops_a: tuple[int, ...], crops_b: tuple[int, ...]) -> _Pairs:
    if a.shape[-1] != b.shape[-1]:
        return _Pairs()
    parts_a, parts_b = (part if part.ndim == 3 else part[None] for part in (a, b))
    own = dict(zip(crops_a or range(len(parts_a)), parts_a, strict=True))
    other = dict(zip(crops_b or range(len(parts_b)), parts_b, strict=True))
    if len(own) == len(other) == 1:
        (one,), (two,) = own, other
        words = "" if one == two else f"crop {one} of A, crop {two} of B: "
        return _Pairs([(own[one], other[two])], words=words)
    if min(len(own), len(other)) == 1:
        crop_of, several, single = ("B", other, parts_a[0]) if len(own) == 1 else ("A", own, parts_b[0])
        crop = list(several)[int(np.argmax([_mean(_cosines(single, part)[0]) for part in several.values()]))]
        pair = (single, several[crop]) if crop_of == "B" else (several[crop], single)
        return _Pairs([pair], crop_of, crop, words=f"crop {crop} of {crop_of} fits best: ")
    common = [number for number in own if number in other]
    only_a, only_b = (tuple(number for number in side if number not in common) for side in (own, other))
    return _Pairs([(own[number], other[number]) for number in common], only_a=only_a, only_b=only_b)


@dataclass(slots=True)
class _Measured:
    """Over all crops: a cosine and a norm ratio for each row that has one, and counts."""

    cosines: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    ratios: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    lag_sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, len(LAGS))))
    rows: int = 0
    unequal: int = 0
    empty: int = 0
    max_abs: float = 0.0


def _measure(pairs: _Pairs) -> _Measured:
    found = _Measured()
    cosines, ratios = [np.empty(0)], [np.empty(0)]
    for one, other in pairs.rows:
        cosine, ratio, empty = _cosines(one, other)
        cosines.append(cosine)
        ratios.append(ratio)
        found.empty += empty
        for first, second in _blocks(one, other):
            different = first != second
            found.rows += len(first)
            found.unequal += int(different.any(axis=1).sum())
            found.max_abs = max(found.max_abs, float(np.abs(first - second).max(initial=0.0)))
        found.lag_sums += lag_sums(one, other)
    found.cosines, found.ratios = np.concatenate(cosines), np.concatenate(ratios)
    found.lag_sums[:, MAX_LAG] = found.cosines.sum(), len(found.cosines)
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


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else math.nan


def _comparison(a: Rows, b: Rows, pairs: _Pairs, found: _Measured) -> RowComparison:
    lag_cosines = lag_means(found.lag_sums)
    lag = best_lag(lag_cosines)
    lag_cosine = float(lag_cosines[LAGS.index(lag)])
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
        lag_cosines=tuple(lag_cosines.tolist()),
        lag_rows=tuple(found.lag_sums[1].astype(int).tolist()),
        norm_ratio=ratio,
        norm_off=off,
        max_abs_difference=found.max_abs if found.rows else None,
        crop_of=pairs.crop_of,
        crop=pairs.crop,
        only_crops_a=pairs.only_a,
        only_crops_b=pairs.only_b,
        rows_missing=abs(a.shape[-2] - b.shape[-2]) * len(pairs.rows)
        + a.shape[-2] * len(pairs.only_a)
        + b.shape[-2] * len(pairs.only_b),
        likeness=_said(a, b, pairs, found, lag, off),
    )


def _said(a: Rows, b: Rows, pairs: _Pairs, found: _Measured, lag: int, norm_off: float | None) -> str:
    if a.shape[-1] != b.shape[-1]:
        return f"other features: {a.shape[-1]} and {b.shape[-1]} columns"
    if not found.rows:
        return "no rows to compare" if pairs.rows else "no crops in common"
    said = _likeness(found, lag, norm_off)
    return said if said == "other features" else pairs.words + said


def _likeness(found: _Measured, lag: int, norm_off: float | None) -> str:
    if not found.unequal:
        return "identical"
    if not len(found.cosines):
        return "other features"
    mean, lowest = _mean(found.cosines), float(found.cosines.min())
    if lowest >= ROUNDING_COSINE:
        same_size = norm_off is not None and norm_off <= ROUNDING_NORM
        return "same up to rounding" if same_size else "same directions, other norms"
    there = float(lag_means(found.lag_sums)[LAGS.index(lag)])
    # a lag explains the difference where it removes at least half of it; neighbours of a slow video are alike anyway
    if lag and there >= SIMILAR_COSINE and 1.0 - there <= 0.5 * (1.0 - mean):
        return f"shifted by {lag:+d} {'row' if abs(lag) == 1 else 'rows'} (B is {'late' if lag > 0 else 'early'})"
    return "similar, not the same" if mean >= SIMILAR_COSINE else "other features"
