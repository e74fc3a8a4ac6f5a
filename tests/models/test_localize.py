"""Outer-inner contrast, temporal NMS, windows."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from vadpipe.models.localize import mean_of_highest, outer_inner_score, runs_above, temporal_nms
from vadpipe.models.windows import pool_rows, windows
from vadpipe.tracks import Interval, TimeGrid

GRID = TimeGrid(Fraction(25), 1000)


def interval(start: int, end: int, score: float, category: str = "fighting") -> Interval:
    return Interval.of_frames(category, start, end, GRID, score)


def test_outer_inner_score_by_hand() -> None:
    scores = np.array([0.0, 0.2, 0.9, 0.7, 0.8, 0.8, 0.4, 0.0])
    inside, outside = (0.9 + 0.7 + 0.8 + 0.8) / 4, (0.2 + 0.4) / 2
    assert outer_inner_score(scores, 2, 6) == pytest.approx(inside - outside)


def test_outer_inner_score_at_the_ends() -> None:
    scores = np.array([0.8, 0.6, 0.1, 0.3])
    assert outer_inner_score(scores, 0, 2) == pytest.approx(0.7 - 0.1)
    assert outer_inner_score(scores, 2, 4) == pytest.approx(0.2 - 0.6)
    assert outer_inner_score(scores, 0, 4) == pytest.approx(scores.mean())
    with pytest.raises(ValueError, match="span"):
        outer_inner_score(scores, 2, 5)


def test_nms_keeps_the_best_of_overlapping_ones_within_a_category() -> None:
    best, worse = interval(0, 100, 0.9), interval(10, 110, 0.8)
    other_category, apart = interval(10, 110, 0.7, "riot"), interval(60, 160, 0.6)
    assert temporal_nms([worse, apart, other_category, best], 0.5) == [best, other_category, apart]


def test_nms_limit_is_exclusive_and_ties_go_to_the_earlier() -> None:
    first, second = interval(0, 100, 0.5), interval(50, 100, 0.5)
    assert first.iou(second) == 0.5
    assert temporal_nms([second, first], 0.5) == [first, second]
    assert temporal_nms([second, first], 0.49) == [first]


def test_runs_above_is_strict_and_half_open() -> None:
    assert runs_above(np.array([0.3, 0.2, 0.3, 0.4, 0.2]), 0.2) == [(0, 1), (2, 4)]
    assert runs_above(np.array([0.9, 0.9]), 0.2) == [(0, 2)]
    assert runs_above(np.array([]), 0.2) == []


def test_mean_of_highest_per_column() -> None:
    values = np.arange(64.0).reshape(32, 2)
    np.testing.assert_allclose(mean_of_highest(values), [(62 + 60) / 2, (63 + 61) / 2])


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 1), (255, 1), (256, 1), (257, 2), (512, 2), (513, 3)])
def test_windows_cover_everything_once(count: int, expected: int) -> None:
    spans = windows(count)
    assert len(spans) == expected
    assert [row for start, end in spans for row in range(start, end)] == list(range(count))


def test_pool_rows_averages_equal_spans() -> None:
    rows = np.arange(512, dtype=np.float32)[:, None]
    np.testing.assert_allclose(pool_rows(rows)[:, 0], np.arange(256) * 2 + 0.5)
    assert pool_rows(rows[:256]).tolist() == rows[:256].tolist()
    assert pool_rows(rows[:257]).shape == (256, 1)
    assert pool_rows(rows[:257]).mean() == pytest.approx(rows[:257].mean(), rel=0.01)
