"""Rows that are the same, rounded, late, scaled, of another crop, or of something else altogether."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from vadpipe.pipeline.features import compare_rows as module
from vadpipe.pipeline.features.compare_lags import LAGS
from vadpipe.pipeline.features.compare_rows import compare_rows

RNG = np.random.default_rng(0)
WALK = np.cumsum(RNG.standard_normal((60, 32)), axis=0).astype(np.float32)  # neighbours are alike, as in a video
A = WALK[10:50]


def verdict(a: Any, b: Any) -> str:
    return compare_rows(a, b)[0].verdict


def test_figures_that_can_be_checked_by_hand() -> None:
    a = np.array([[3, 4], [1, 0], [0, 0], [0, 2]], dtype=np.float32)
    b = np.array([[6, 8], [0, 1], [0, 0], [0, 0]], dtype=np.float32)
    found, cosines = compare_rows(a, b)
    # 1 and 0 by their angles; both empty: left out; one empty: 0
    assert cosines.tolist() == pytest.approx([1, 0, 0])
    assert (found.rows, found.unequal_rows, found.empty_rows) == (4, 3, 1)
    assert (found.cosine_mean, found.cosine_median, found.cosine_min) == pytest.approx((1 / 3, 0, 0))
    assert (found.norm_ratio, found.norm_off) == pytest.approx((1.5, 1))  # 10 / 5 and 1 / 1
    assert found.max_abs_difference == 4
    assert (found.shape_a, found.dtype_b) == ((4, 2), "float32")


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_same_values_are_identical_whatever_their_type(dtype: str) -> None:
    assert verdict(A.astype("float16"), A.astype("float16").astype(dtype)) == "identical"


def test_rounding_is_told_from_change() -> None:
    assert verdict(A, A.astype(np.float16)) == "same up to rounding"
    assert verdict(A, A * np.float32(1.02)) == "same directions, other norms"
    unit = A / np.linalg.norm(A, axis=1, keepdims=True)
    assert verdict(A, unit) == "same directions, other norms"
    noise = RNG.standard_normal(A.shape).astype(np.float32)
    assert verdict(A, A + 0.1 * noise * np.abs(A).mean()) == "similar, not the same"
    assert verdict(A, noise) == "other features"
    one_bad = A.copy()
    one_bad[7] *= -1
    assert verdict(A, one_bad) == "similar, not the same"


@pytest.mark.parametrize("lag", [-8, -1, 1, 3])
def test_a_shift_is_found_with_its_sign(lag: int) -> None:
    late = WALK[10 - lag : 50 - lag]  # row t of A is row t + lag of this
    found, _ = compare_rows(A, late)
    assert found.lag == lag
    assert found.lag_cosine == pytest.approx(1)
    side = "late" if lag > 0 else "early"
    assert found.verdict == f"shifted by {lag:+d} {'row' if abs(lag) == 1 else 'rows'} (B is {side})"
    assert compare_rows(late, A)[0].lag == -lag


def test_a_still_video_has_no_lag() -> None:
    still = np.ones((30, 4), dtype=np.float32)
    assert compare_rows(still, still + np.float32(1e-3))[0].lag == 0


def test_short_videos_have_no_far_lags() -> None:
    found, _ = compare_rows(A[:3], A[:3])
    assert [lag for lag, value in zip(LAGS, found.lag_cosines, strict=True) if not math.isnan(value)] == [-1, 0, 1]
    found, _ = compare_rows(A[:0], A[:0])
    assert (found.verdict, found.cosine_mean, found.lag) == ("no rows to compare", None, 0)


def test_missing_rows_are_compared_as_far_as_they_go() -> None:
    found, cosines = compare_rows(A, A[:-1])
    assert (found.likeness, found.rows, len(cosines)) == ("identical", 39, 39)
    assert found.verdict == "identical; 1 rows are on one side only"
    assert compare_rows(A[:20], A[:5])[0].verdict == "identical; 15 rows are on one side only"


def test_other_columns_are_other_features() -> None:
    found, cosines = compare_rows(A, A[:, :16])
    assert found.verdict == "other features: 32 and 16 columns"
    assert (found.rows, found.cosine_mean, len(cosines)) == (0, None, 0)


def test_the_crop_that_fits_best_is_named() -> None:
    crops = np.stack([RNG.standard_normal(A.shape).astype(np.float32) for _ in range(5)])
    crops[3] = A
    assert verdict(A, crops) == "crop 3 of B fits best: identical"
    assert verdict(crops, A) == "crop 3 of A fits best: identical"
    assert verdict(crops[:3], A) == "other features"
    found, cosines = compare_rows(crops, crops)
    assert (found.verdict, found.rows, found.crop) == ("identical", 200, None)
    assert len(cosines) == 200


def test_crops_are_paired_by_their_numbers() -> None:
    crops = np.stack([RNG.standard_normal(A.shape).astype(np.float32) for _ in range(10)])
    found, _ = compare_rows(crops[[1, 5]], crops, (1, 5))
    assert (found.likeness, found.rows, found.crop) == ("identical", 80, None)
    assert (found.only_crops_a, found.only_crops_b) == ((), (0, 2, 3, 4, 6, 7, 8, 9))
    assert found.verdict == "identical; crops 0,2,3,4,6,7,8,9 in B only; 320 rows are on one side only"
    assert verdict(crops[:5], crops) == "identical; crops 5,6,7,8,9 in B only; 200 rows are on one side only"
    assert compare_rows(crops[5], crops[[1, 5]], (5,), (1, 5))[0].verdict == "crop 5 of B fits best: identical"
    assert compare_rows(crops[[1, 5]], crops[5], (1, 5), (0,))[0].crop == 5
    assert compare_rows(A, A, (0,), (5,))[0].verdict == "crop 0 of A, crop 5 of B: identical"
    found, _ = compare_rows(crops[:2], crops[2:4], (0, 1), (2, 3))
    assert (found.likeness, found.rows, found.rows_missing) == ("no crops in common", 0, 160)


def test_the_mean_at_a_lag_is_that_of_the_rows_counted_there() -> None:
    """Crop 0 has one row that is not empty, crop 1 has six: 7 rows, of which 6 agree."""
    a, b = np.zeros((2, 6, 2), np.float32), np.zeros((2, 6, 2), np.float32)
    a[0, 0], b[0, 0] = (1, 0), (0, 1)
    a[1], b[1] = (1, 0), (1, 0)
    found, _ = compare_rows(a, b)
    assert (found.lag_rows[8], found.lag_cosines[8]) == pytest.approx((7, 6 / 7))
    # a row later: crop 0 has (a row of A, nothing) and crop 1 five pairs; a row earlier: (nothing, a row of B)
    assert (found.lag_rows[9], found.lag_cosines[9]) == pytest.approx((6, 5 / 6))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    other = WALK[9:51]
    whole, cosines = compare_rows(A, other)
    monkeypatch.setattr(module, "_BLOCK", 7)
    parts, again = compare_rows(A, other)
    np.testing.assert_array_equal(cosines, again)
    assert (whole.rows, whole.unequal_rows, whole.max_abs_difference, whole.verdict) == (
        *(parts.rows, parts.unequal_rows, parts.max_abs_difference, parts.verdict),
    )
    np.testing.assert_allclose(whole.lag_cosines, parts.lag_cosines, rtol=1e-12)
