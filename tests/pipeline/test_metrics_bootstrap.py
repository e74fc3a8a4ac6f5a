"""Bootstrap over videos: every draw is the figure of the videos it names, computed the long way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vadpipe.pipeline.metrics import (
    bootstrap_counts,
    bootstrap_map,
    bootstrap_ranking,
    frame_ap,
    frame_auc,
    percentile_interval,
    strict_claims,
    strict_map,
)
from vadpipe.tracks import Interval

SAME = settings(deadline=None, derandomize=True, database=None, max_examples=50)

KINDS = ("riot", "theft", "arson")
Snippets = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def made_up(seed: int, videos: int = 12, levels: int = 0) -> Snippets:
    """Scores (few ``levels``: many ties), abnormal and normal frames and video of each snippet; one video is empty."""
    rng = np.random.default_rng(seed)
    video = np.repeat(np.arange(videos), rng.integers(1, 9, videos) * (np.arange(videos) != 3))
    abnormal = rng.integers(0, 17, len(video)) * (rng.random(len(video)) < 0.4)
    normal = (16 - abnormal) * (rng.random(len(video)) < 0.9)
    scores = rng.random(len(video)) + 0.4 * (abnormal > 0)
    return np.round(scores * levels) if levels else scores, abnormal, normal, video


def the_long_way(snippets: Snippets, row: NDArray[np.int32]) -> tuple[float, float]:
    scores, abnormal, normal, video = snippets
    times = row[video]
    joined = np.concatenate([np.repeat(scores, times * abnormal), np.repeat(scores, times * normal)])
    truth = np.arange(len(joined)) < (times * abnormal).sum()
    if truth.all() or not truth.any():
        return np.nan, np.nan
    return frame_ap(joined, truth), frame_auc(joined, truth)


@SAME
@given(st.integers(0, 10_000), st.sampled_from([0, 2, 5]), st.integers(1, 12))
def test_each_draw_is_the_figure_of_its_videos(seed: int, levels: int, videos: int) -> None:
    snippets = made_up(seed, videos, levels)
    counts = bootstrap_counts(videos, 8, seed)
    aps, aucs = bootstrap_ranking(*snippets, counts)
    expected = np.array([the_long_way(snippets, row) for row in counts])
    np.testing.assert_allclose(aps, expected[:, 0], atol=1e-12)
    np.testing.assert_allclose(aucs, expected[:, 1], atol=1e-12)


def test_every_video_once_is_the_figure_itself() -> None:
    snippets = made_up(0)
    once = np.ones((1, 12), dtype=np.int32)
    aps, aucs = bootstrap_ranking(*snippets, once)
    assert (aps[0], aucs[0]) == pytest.approx(the_long_way(snippets, once[0]), abs=1e-15)


def test_draws_without_a_figure_are_nan() -> None:
    scores, video = np.array([0.9, 0.1, 0.5]), np.array([0, 0, 1])
    abnormal, normal = np.array([4, 0, 0]), np.array([0, 4, 4])
    counts = np.array([[1, 1], [2, 0], [0, 2]], dtype=np.int32)
    aps, _ = bootstrap_ranking(scores, abnormal, normal, video, counts)
    assert aps.tolist()[:2] == [1.0, 1.0]
    assert np.isnan(aps[2])
    aps, aucs = bootstrap_ranking(scores, np.zeros(3, np.int64), normal, video, counts)
    assert np.isnan(aps).all()
    assert np.isnan(aucs).all()


def test_counts_are_draws_with_replacement_and_the_same_for_a_seed() -> None:
    counts = bootstrap_counts(30, 200, seed=1)
    assert counts.shape == (200, 30)
    assert (counts.sum(axis=1) == 30).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(30), abs=0.35)
    assert (counts == bootstrap_counts(30, 200, seed=1)).all()
    assert (counts != bootstrap_counts(30, 200, seed=2)).any()


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_holds_the_figure_of_sane_data(seed: int) -> None:
    snippets = made_up(seed, 60)
    aps, aucs = bootstrap_ranking(*snippets, bootstrap_counts(60, 400))
    for values, figure in zip((aps, aucs), the_long_way(snippets, np.ones(60, np.int32)), strict=True):
        bounds = percentile_interval(values)
        assert bounds is not None
        assert bounds[0] < figure < bounds[1]
        assert bounds[1] - bounds[0] < 0.3


def test_percentiles() -> None:
    assert percentile_interval(np.arange(41) / 40.0) == pytest.approx((0.025, 0.975))
    assert percentile_interval(np.array([0.5, 0.5, np.nan])) == (0.5, 0.5)
    assert percentile_interval(np.array([0.5, np.nan, np.nan])) is None
    assert percentile_interval(np.zeros(0)) is None


def span(start: int, end: int, score: float, category: str) -> Interval:
    return Interval(category, start / 25, end / 25, start, end, score)


def made_up_intervals(seed: int, videos: int) -> tuple[dict[str, list[Interval]], dict[str, list[Interval]]]:
    rng = np.random.default_rng(seed)
    found: dict[str, list[Interval]] = {f"v{number:02d}": [] for number in range(videos)}
    true: dict[str, list[Interval]] = {name: [] for name in found}
    for place, name in enumerate(found):
        for _ in range(rng.integers(0, 5)):
            start, length, kind = int(rng.integers(60)), int(rng.integers(10, 60)), KINDS[rng.integers(3)]
            found[name].append(span(start, start + length, rng.random(), kind))
        for _ in range(rng.integers(0, 3) + (place == 0)):
            start, length, kind = int(rng.integers(60)), int(rng.integers(10, 60)), KINDS[rng.integers(2)]
            true[name].append(span(start, start + length, 1.0, kind))
    return found, true


@SAME
@given(st.integers(0, 10_000))
def test_each_map_is_that_of_as_many_copies_of_the_videos(seed: int) -> None:
    found, true = made_up_intervals(seed, 6)
    categories = ["arson", "riot", "theft", "none"]
    counts = bootstrap_counts(6, 5, seed)
    averages = bootstrap_map(strict_claims(found, true, categories), counts)
    for average, row in zip(averages.tolist(), counts, strict=True):
        copies = [
            (f"{name}-{copy}", name) for name, times in zip(sorted(true), row, strict=True) for copy in range(times)
        ]
        drawn = {copy: true[name] for copy, name in copies}
        if any(drawn.values()):
            expected = strict_map({copy: found[name] for copy, name in copies}, drawn, categories).average
            assert average == pytest.approx(expected, abs=1e-12)
        else:
            assert np.isnan(average)


def test_map_without_any_truth_or_proposal() -> None:
    counts = bootstrap_counts(2, 3)
    assert np.isnan(bootstrap_map({}, counts)).all()
    claims = strict_claims({}, {"a": [span(0, 9, 1.0, "riot")], "b": [span(0, 9, 1.0, "riot")]}, ["riot"])
    assert bootstrap_map(claims, counts).tolist() == [0.0, 0.0, 0.0]
