"""Scores -> intervals: what the paper does by default; hysteresis, gaps, lengths and a calibration where asked for."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vadpipe.calibration import Calibration
from vadpipe.config import DetectConfig
from vadpipe.detection import Detection
from vadpipe.models.localize import mean_of_highest, outer_inner_score, runs_above, temporal_nms
from vadpipe.pipeline.intervals import find_intervals, joined, peak, runs_between
from vadpipe.tracks import Interval, ScoreTrack, TimeGrid, VideoClip

LABELS = ("normal", "fighting", "riot")
SECONDS = Fraction(16)  # frames/s: every snippet takes a second


def track(fighting: list[float], grid: TimeGrid | None = None, anomaly: list[float] | None = None) -> ScoreTrack:
    """Scores of two categories, of which only the first ever speaks."""
    rows = np.zeros((len(fighting), 3), dtype=np.float32)
    rows[:, 1] = fighting
    scores = np.array(fighting if anomaly is None else anomaly, dtype=np.float32)
    return ScoreTrack(scores, rows, LABELS, grid or TimeGrid(SECONDS, 16 * len(fighting)))


def calibration(threshold: float) -> Calibration:
    return Calibration(threshold, 1.0, 1.0, 1, 0, 3.0, (0.0, 1.0))


def spans(scores: ScoreTrack, calibrated: Calibration | None = None, **settings: Any) -> list[tuple[int, int]]:
    """Found intervals in snippets."""
    found = find_intervals(scores, DetectConfig(r_cls=0.0, **settings), calibrated)
    return [(item.start_frame // 16, -(-item.end_frame // 16)) for item in found]


@st.composite
def grids(draw: st.DrawFn) -> TimeGrid:
    """Of constant and of variable rate, with a last snippet of any length."""
    frames = draw(st.integers(1, 30)) * 16 - draw(st.integers(0, 15))
    count = -(-frames // 16)
    steps = draw(st.lists(st.floats(0.01, 5), min_size=count, max_size=count))
    edges = (0.0, *np.cumsum(steps).tolist()) if draw(st.booleans()) else ()
    return TimeGrid(draw(st.sampled_from([Fraction(25), Fraction(30000, 1001)])), frames, 16, edges)


@st.composite
def tracks(draw: st.DrawFn) -> ScoreTrack:
    grid = draw(grids())
    values = st.sampled_from([0.0, 0.1, 0.2, 1 / 3, 0.34, 0.5, 0.9, 1.0])
    rows = np.array(draw(st.lists(st.tuples(values, values, values), min_size=grid.num_snippets,
                                  max_size=grid.num_snippets)), dtype=np.float32)  # fmt: skip
    return ScoreTrack(rows.max(axis=1), rows, LABELS, grid)


def as_in_the_paper(scores: ScoreTrack) -> list[Interval]:
    """The two-step thresholding and nothing else."""
    candidates = []
    for column in (1, 2):
        values = scores.categories[:, column]
        if mean_of_highest(scores.categories)[column] > 0.1:
            for start, end in runs_above(values, 1 / 3):
                first, last = scores.grid.frames_of(start, end)
                score = outer_inner_score(values, start, end)
                candidates.append(Interval.of_frames(LABELS[column], first, last, scores.grid, score))
    return sorted(temporal_nms(candidates, 0.5), key=lambda item: (item.start_frame, item.end_frame, item.category))


@given(tracks())
def test_the_defaults_change_nothing_of_the_paper(scores: ScoreTrack) -> None:
    assert list(find_intervals(scores, DetectConfig())) == as_in_the_paper(scores)


@given(tracks(), st.floats(0, 1), st.floats(0, 20), st.floats(0, 20))
def test_whatever_the_settings_intervals_stand_apart(
    scores: ScoreTrack, leave: float, gap_s: float, length_s: float
) -> None:
    config = DetectConfig(leave=leave, merge_gap_s=gap_s, min_length_s=length_s)
    plain = find_intervals(scores, DetectConfig())
    for category in LABELS[1:]:
        found = [item for item in find_intervals(scores, config) if item.category == category]
        for before, after in pairwise(found):
            assert after.start_s - before.end_s >= gap_s - 1e-6
        for item in found:
            assert item.end_s - item.start_s >= length_s - 1e-6
            assert any(item.iou(other) > 0 for other in plain if other.category == category)


def test_hysteresis_by_hand() -> None:
    values = [0.3, 0.4, 0.6, 0.4, 0.3, 0.4, 0.6, 0.2, 0.4]
    assert spans(track(values), r_ano=0.5) == [(2, 3), (6, 7)]
    assert spans(track(values), r_ano=0.5, leave=0.7) == [(2, 4), (6, 7)]  # over 0.35; nothing before 0.5 was passed
    assert spans(track(values), r_ano=0.5, leave=0.5) == [(2, 7)]
    assert spans(track(values), r_ano=0.5, leave=0.0) == [(2, 9)]
    assert list(runs_between(np.array([0.5, 0.6, 0.5]), 0.5, 0.5)) == [(1, 2)]  # strictly above


def test_gaps_and_lengths_by_hand() -> None:
    values = [0.9, 0.0, 0.9, 0.9, 0.0, 0.0, 0.9]
    assert spans(track(values)) == [(0, 1), (2, 4), (6, 7)]
    assert spans(track(values), merge_gap_s=1.0) == [(0, 1), (2, 4), (6, 7)]  # joined where they lie closer
    assert spans(track(values), merge_gap_s=1.01) == [(0, 4), (6, 7)]
    assert spans(track(values), merge_gap_s=2.01) == [(0, 7)]
    assert spans(track(values), min_length_s=1.0) == [(0, 1), (2, 4), (6, 7)]
    assert spans(track(values), min_length_s=1.01) == [(2, 4)]
    assert spans(track(values), merge_gap_s=1.01, min_length_s=3) == [(0, 4)]  # lengths are looked at after joining


def test_the_score_of_a_joined_interval_is_of_all_of_it() -> None:
    found = find_intervals(track([0.0, 0.9, 0.3, 0.9, 0.0]), DetectConfig(r_ano=0.5, merge_gap_s=1.5))
    assert [item.score for item in found] == [pytest.approx(0.7)]


def test_seconds_count_where_the_rate_varies() -> None:
    grid = TimeGrid(Fraction(25), 16 * 4 + 3, 16, (0.0, 1.0, 5.0, 6.0, 6.5, 6.6))
    assert joined([(0, 1), (2, 3)], grid, 4.0, 0.0) == [(0, 1), (2, 3)]
    assert joined([(0, 1), (2, 3)], grid, 4.1, 0.0) == [(0, 3)]
    assert joined([(3, 5)], grid, 0.0, 0.6) == [(3, 5)]
    assert joined([(3, 5)], grid, 0.0, 0.61) == []


def test_rounding_drops_no_interval_of_just_the_length() -> None:
    grid = TimeGrid(Fraction(25), 16 * 100)
    runs = [(start, start + 1) for start in range(0, 100, 2)]
    assert joined(runs, grid, 0.64, 0.64) == runs


def test_a_calibration_keeps_what_reaches_its_threshold() -> None:
    scores = track([0.9, 0.0, 0.9, 0.9, 0.0, 0.9], anomaly=[0.5, 1.0, 0.6, 0.3, 1.0, 0.4])
    assert spans(scores) == [(0, 1), (2, 4), (5, 6)]
    assert spans(scores, calibration(0.5)) == [(0, 1), (2, 4)]
    assert spans(scores, calibration(float(np.nextafter(np.float32(0.5), np.float32(1))))) == [(2, 4)]
    assert spans(scores, calibration(0.0)) == [(0, 1), (2, 4), (5, 6)]
    assert spans(scores, calibration(float(np.nextafter(np.float32(1), np.float32(2))))) == []


def test_a_calibration_judges_own_categories_by_the_anomaly_score_too() -> None:
    scores = track([0.9, 0.0, 0.9], anomaly=[0.2, 0.0, 0.8])
    zero_shot = ScoreTrack(scores.anomaly, scores.categories, LABELS, scores.grid, frozenset({"fighting"}))
    assert spans(zero_shot, calibration(0.5)) == [(2, 3)]


@given(tracks())
def test_the_peak_is_that_of_the_detection(scores: ScoreTrack) -> None:
    clip = VideoClip("x", "x.mp4", 8, 8, scores.grid.fps, scores.grid.num_frames, scores.grid.duration_s)
    found = find_intervals(scores, DetectConfig(r_cls=0.0, leave=0.5))
    detection = Detection(clip, found, scores)
    assert [peak(scores, item) for item in found] == [detection.peak(item) for item in found]


def test_empty_videos_have_no_intervals_with_a_calibration_either() -> None:
    empty = ScoreTrack(np.zeros(0, np.float32), np.zeros((0, 3), np.float32), LABELS, TimeGrid(Fraction(25), 0))
    assert find_intervals(empty, DetectConfig(leave=0.5, merge_gap_s=1), calibration(0.5)) == ()
