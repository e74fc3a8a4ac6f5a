"""AP and AUC from snippets with frame counts: exactly the figures of the repeated frames; what must change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vadpipe.errors import DataError
from vadpipe.pipeline.metrics import count_frames, rank_frames, rank_snippets

SAME = settings(deadline=None, derandomize=True, database=None)


@st.composite
def videos(draw: st.DrawFn) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Videos of few distinct snippet scores and any truth, in snippets of four frames; both kinds of frames occur."""
    found = []
    for _ in range(draw(st.integers(1, 5))):
        truth = np.array(draw(st.lists(st.booleans(), max_size=25)), dtype=bool)
        scores = draw(st.lists(st.integers(0, 4), min_size=-(-len(truth) // 4), max_size=-(-len(truth) // 4)))
        found.append((np.array(scores, dtype=np.float32), truth))
    found.append((np.array([1.0], np.float32), np.array([False, True, True])))
    return found


def by_frame(found: list[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[float, float]:
    scores = [np.repeat(scores, 4)[: len(truth)] for scores, truth in found]
    ranking = rank_frames(np.concatenate(scores), np.concatenate([truth for _, truth in found]))
    return ranking.ap, ranking.auc


def by_snippet(found: list[tuple[NDArray[Any], NDArray[Any]]]) -> tuple[float, float]:
    counts = [count_frames(truth, 4) for _, truth in found]
    abnormal, normal = (np.concatenate([pair[side] for pair in counts]) for side in (0, 1))
    ranking = rank_snippets(np.concatenate([scores for scores, _ in found]), abnormal, normal)
    return ranking.ap, ranking.auc


@SAME
@given(videos())
def test_snippets_with_counts_are_exactly_the_frames(found: list[tuple[NDArray[Any], NDArray[Any]]]) -> None:
    assert by_snippet(found) == by_frame(found)


@SAME
@given(videos(), st.randoms(use_true_random=False))
def test_order_splitting_and_monotone_maps_change_nothing(
    found: list[tuple[NDArray[Any], NDArray[Any]]], random: Any
) -> None:
    expected = by_snippet(found)
    split = [part for scores, truth in found for part in ((scores[:2], truth[:8]), (scores[2:], truth[8:]))]
    random.shuffle(split)
    assert by_snippet(split) == expected
    mapped = [(np.exp(3 * scores.astype(np.float64) - 100), truth) for scores, truth in found]
    assert by_snippet(mapped) == expected


def test_by_hand() -> None:
    # 3 abnormal and 1 normal frame at 0.9, 4 normal at 0.5, 1 abnormal at 0.1.
    ranking = rank_snippets([0.9, 0.5, 0.1], [3, 0, 1], [1, 4, 0])
    assert ranking.ap == pytest.approx((3 * 3 / 4 + 4 / 9) / 4)
    assert ranking.auc == pytest.approx((3 * 4.5) / 20)  # of five normal frames each of three beats 4 and ties with 1
    assert ranking.abnormal_share == pytest.approx(4 / 9)


def test_empty_snippets_rank_nothing() -> None:
    assert rank_snippets([0.9, 0.8, 0.1], [0, 1, 0], [0, 0, 2]) == rank_snippets([0.8, 0.1], [1, 0], [0, 2])


@pytest.mark.parametrize(
    ("truth", "abnormal", "normal"),
    [
        ([], [], []),
        ([1], [1], [0]),
        ([0, 1, 1, 1], [3], [1]),
        ([0, 1, 1, 1, 1], [3, 1], [1, 0]),
        ([0, 0, 0, 0, 1, 0, 0, 0], [0, 1], [4, 3]),
    ],
)
def test_counts_of_frames(truth: list[int], abnormal: list[int], normal: list[int]) -> None:
    found = count_frames(truth, 4)
    assert (found[0].tolist(), found[1].tolist()) == (abnormal, normal)


@pytest.mark.parametrize(("abnormal", "normal"), [([0, 0], [3, 1]), ([2, 1], [0, 0]), ([0, 0], [0, 0])])
def test_frames_of_one_kind_have_no_figure(abnormal: list[int], normal: list[int]) -> None:
    with pytest.raises(DataError, match=f"{sum(abnormal)} of {sum(abnormal + normal)} frames are abnormal"):
        rank_snippets([0.1, 0.2], abnormal, normal)


@pytest.mark.parametrize(
    ("scores", "abnormal", "normal", "message"),
    [
        ([0.1, 0.2], [1], [1, 1], "shapes"),
        ([0.1, 0.2], [1, 1], [1], "shapes"),
        ([0.1, np.nan], [1, 0], [1, 1], "NaN"),
        ([0.1, 0.2], [1, -1], [1, 1], "abnormal: got"),
        ([0.1, 0.2], [1, 0], [1.5, 1], "normal: got"),
    ],
)
def test_rank_snippets_refuses(scores: Any, abnormal: Any, normal: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_snippets(scores, abnormal, normal)
