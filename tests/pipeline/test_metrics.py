"""The evaluator: every figure here can be checked by hand, or against scikit-learn, or a slow and plain version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from vadpipe.errors import DataError
from vadpipe.pipeline.metrics import (
    IOU_THRESHOLDS,
    StrictMap,
    frame_ap,
    frame_auc,
    strict_map,
)
from vadpipe.tracks import Interval

# --- frame AP and AUC


@pytest.mark.parametrize(
    ("scores", "truth", "ap", "auc"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 1.0, 1.0),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], (1 / 3 + 2 / 4) / 2, 0.0),
        ([0.9, 0.8, 0.2, 0.1], [1, 0, 1, 0], (1 + 2 / 3) / 2, 0.75),
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0], 0.25, 0.5),  # all tied: chance
        ([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0], (1 + 2 / 3) / 2, 0.875),  # one tied pair
        ([0.5, 0.5, 0.9, 0.1], [0, 1, 0, 1], (1 / 3 + 2 / 4) / 2, 0.125),
        ([2, 1], [True, False], 1.0, 1.0),
    ],
)
def test_frame_figures_by_hand(scores: list[float], truth: list[int], ap: float, auc: float) -> None:
    assert frame_ap(scores, truth) == pytest.approx(ap, abs=1e-12)
    assert frame_auc(scores, truth) == pytest.approx(auc, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@settings(deadline=None)
@given(data=st.data())
def test_frame_figures_are_scikit_learns(dtype: type, data: st.DataObject) -> None:
    # Few distinct scores, so that most frames are tied.
    size = data.draw(st.integers(2, 60))
    scores: NDArray[Any] = np.array(data.draw(st.lists(st.integers(-5, 5), min_size=size, max_size=size)), dtype)
    truth = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    truth[:2] = True, False
    assert frame_ap(scores, truth) == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert frame_auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.booleans()), min_size=1, max_size=60))
def test_frame_figures_of_any_scores(pairs: list[tuple[float, bool]]) -> None:
    scores, truth = [2e9, *(pair[0] for pair in pairs)], [False, *(pair[1] for pair in pairs)]
    if not any(truth):
        truth.append(True)
        scores.append(-2e9)
    assert frame_ap(scores, truth) == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert frame_auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


def test_scores_of_many_frames_do_not_overflow() -> None:
    # 3e5 x 3e5 pairs of frames are more than 32 bits hold.
    truth = np.arange(600_000) % 2
    assert frame_auc(np.zeros(600_000), truth) == 0.5
    assert frame_auc(truth, truth) == 1.0


@pytest.mark.parametrize("figure", [frame_ap, frame_auc])
@pytest.mark.parametrize(("truth", "count"), [([0, 0, 0], 0), ([1, 1, 1], 3)])
def test_frames_of_one_kind_have_no_figure(figure: Any, truth: list[int], count: int) -> None:
    with pytest.raises(DataError, match=f"{count} of 3 frames are abnormal"):
        figure([0.1, 0.2, 0.3], truth)


@pytest.mark.parametrize("figure", [frame_ap, frame_auc])
@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [
        ([0.1, 0.2], [0, 1, 1], "shapes"),
        ([[0.1], [0.2]], [[0], [1]], "shapes"),
        ([0.1, np.nan], [0, 1], "NaN"),
        ([0.1, np.inf], [0, 1], "NaN"),
        ([0.1, 0.2], [0, 2], "other than 0 and 1"),
        ([0.1, 0.2], [0, 0.5], "other than 0 and 1"),
    ],
)
def test_frame_figures_refuse(figure: Any, scores: Any, truth: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figure(scores, truth)


def test_no_frames_have_no_figure() -> None:
    with pytest.raises(DataError, match="0 of 0 frames"):
        frame_ap([], [])


# --- strict


def span(start: int, end: int, score: float = 1.0, category: str = "riot") -> Interval:
    return Interval(category, start / 25, end / 25, start, end, score)


Spans = Mapping[str, Sequence[Interval]]


def riot_ap(predicted: Spans, truth: Spans, threshold: float = 0.5) -> float:
    return strict_map(predicted, truth, ["riot"], (threshold,)).per_class["riot"][0]


@pytest.mark.parametrize(
    ("predicted", "truth", "ap"),
    [
        # One proposal, one segment.
        ({"a": [span(0, 10)]}, {"a": [span(0, 10)]}, 1.0),
        ({"a": [span(0, 5)]}, {"a": [span(0, 10)]}, 1.0),  # IoU is exactly the threshold
        ({"a": [span(0, 4)]}, {"a": [span(0, 10)]}, 0.0),
        ({"a": [span(0, 21)]}, {"a": [span(0, 10)]}, 0.0),
        ({"a": [span(10, 20)]}, {"a": [span(0, 10)]}, 0.0),  # half-open: they only touch
        ({"a": [span(0, 10)]}, {"a": [], "b": [span(0, 10)]}, 0.0),  # another video
        # A wrong one ranked first halves the precision; ranked last it costs nothing.
        ({"a": [span(0, 10, 0.5), span(50, 60, 0.9)]}, {"a": [span(0, 10)]}, 0.5),
        ({"a": [span(0, 10, 0.9), span(50, 60, 0.5)]}, {"a": [span(0, 10)]}, 1.0),
        ({"a": [span(0, 10, 0.5)], "b": [span(0, 10, 0.9)]}, {"a": [span(0, 10)], "b": []}, 0.5),
        # A missed segment costs recall.
        ({"a": [span(0, 10)]}, {"a": [span(0, 10), span(20, 30)]}, 0.5),
        # A segment is claimed once: the second proposal on it is wrong, even if it fits better.
        ({"a": [span(0, 9, 0.9), span(0, 10, 0.8)]}, {"a": [span(0, 10), span(50, 60)]}, 0.5),
        (
            {"a": [span(0, 9, 0.9), span(0, 10, 0.8), span(50, 60, 0.1)]},
            {"a": [span(0, 10), span(50, 60)]},
            (1 + 2 / 3) / 2,
        ),
        # With two segments in reach the better one is claimed, and the next proposal takes what is left.
        ({"a": [span(2, 12, 0.9), span(0, 10, 0.8)]}, {"a": [span(0, 10), span(2, 14)]}, 1.0),
        ({"a": [span(2, 12, 0.9), span(5, 14, 0.8)]}, {"a": [span(0, 10), span(2, 14)]}, 0.5),
        # Videos without frames to show, and without proposals.
        ({"a": [], "b": [span(0, 10)]}, {"a": [], "b": [span(0, 10)]}, 1.0),
        ({}, {"a": [span(0, 10)]}, 0.0),
        ({"a": []}, {"a": [span(0, 10)]}, 0.0),
    ],
)
def test_strict_by_hand(predicted: Spans, truth: Spans, ap: float) -> None:
    assert riot_ap(predicted, truth) == pytest.approx(ap, abs=1e-12)


def test_ties_go_by_score_then_id_then_start() -> None:
    truth = {"a": [span(0, 10)], "b": [span(0, 10)]}
    assert riot_ap({"b": [span(0, 10)], "a": [span(50, 60)]}, truth) == pytest.approx(1 / 4)  # a stands first, wrong
    assert riot_ap({"b": [span(50, 60)], "a": [span(0, 10)]}, truth) == pytest.approx(1 / 2)
    same_video = {"a": [span(0, 10)]}
    assert riot_ap({"a": [span(0, 10), span(50, 60)]}, same_video) == 1.0
    assert riot_ap({"a": [span(50, 60), span(0, 10)]}, same_video) == 1.0
    assert riot_ap({"a": [span(0, 9), span(0, 10)]}, same_video, 0.95) == pytest.approx(0.5)  # the shorter first


def test_of_equally_good_segments_the_earlier_is_claimed() -> None:
    # The first proposal overlaps both by 5 of 15 frames; the second reaches only the later one.
    truth = {"a": [span(10, 20), span(0, 10)]}
    assert riot_ap({"a": [span(5, 15, 0.9), span(10, 20, 0.8)]}, truth, 0.3) == 1.0


def test_every_threshold_claims_anew() -> None:
    truth = {"a": [span(0, 10), span(20, 30)]}
    predicted = {"a": [span(0, 3, 0.9), span(20, 28, 0.8)]}  # IoU 0.3 and 0.8
    result = strict_map(predicted, truth, ["riot"], (0.3, 0.31, 0.8, 0.81))
    assert result.per_class["riot"] == pytest.approx((1.0, 0.25, 0.25, 0.0))
    assert result.iou_thresholds == (0.3, 0.31, 0.8, 0.81)


def test_the_usual_thresholds() -> None:
    result = strict_map({"a": [span(0, 3)]}, {"a": [span(0, 10)]}, ["riot"])
    assert result.iou_thresholds == IOU_THRESHOLDS == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert result.mean == (1.0, 1.0, 1.0, 0.0, 0.0)
    assert result.average == pytest.approx(0.6)


def test_an_empty_category_is_zero_for_itself_alone() -> None:
    truth = {"a": [span(0, 10), span(0, 10, category="theft"), span(40, 50, category="arson")]}
    predicted = {"a": [span(0, 10), span(60, 70, category="arson"), span(0, 10, category="abuse")]}
    result = strict_map(predicted, truth, ["riot", "theft", "arson", "abuse", "other"], (0.1, 0.5))
    assert result.per_class == {"riot": (1.0, 1.0), "theft": (0.0, 0.0), "arson": (0.0, 0.0)}
    assert result.left_out == ("abuse", "other")
    assert result.mean == pytest.approx((1 / 3, 1 / 3))


def test_categories_never_claim_each_others_segments() -> None:
    result = strict_map({"a": [span(0, 10, category="theft")]}, {"a": [span(0, 10)]}, ["riot", "theft"], (0.5,))
    assert result == StrictMap((0.5,), {"riot": (0.0,)}, ("theft",))


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        ({"b": []}, {"a": [span(0, 10)]}, "1 videos have proposals but no truth, 'b' first"),
        ({"a": [span(0, 9, category="theft")]}, {"a": [span(0, 10)]}, "video 'a': category 'theft' is none of"),
        ({}, {"a": [span(0, 10, category="theft")]}, "video 'a': category 'theft' is none of"),
        ({"a": [span(0, 10)]}, {"a": []}, "no test video has a true incident"),
    ],
)
def test_strict_refuses(predicted: Spans, truth: Spans, message: str) -> None:
    with pytest.raises(DataError, match=message):
        strict_map(predicted, truth, ["riot"])


@pytest.mark.parametrize("thresholds", [(), (0.0,), (0.5, 1.1), (float("nan"),)])
def test_thresholds_are_shares(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="iou_thresholds"):
        strict_map({}, {"a": [span(0, 10)]}, ["riot"], thresholds)


def plain_ap(
    proposals: list[tuple[str, int, int, float]], truth: list[tuple[str, int, int]], threshold: float
) -> float:
    """AP with sets of frames, as the definition reads; slow."""
    left, hits, total = sorted(truth), 0, 0.0
    for rank, (video, start, end, _) in enumerate(sorted(proposals, key=lambda p: (-p[3], *p[:3])), 1):
        frames, best, claim = set(range(start, end)), 0.0, None
        for segment in left:
            other = set(range(*segment[1:]))
            iou = len(frames & other) / len(frames | other)
            if segment[0] == video and iou >= threshold and iou > best:
                best, claim = iou, segment
        if claim is not None:
            left.remove(claim)
            hits += 1
            total += hits / rank
    return total / len(truth)


def spans_by_video(count: int) -> st.SearchStrategy[dict[str, list[Interval]]]:
    one = st.builds(
        lambda start, length, score: span(start, start + length, score / 4),
        st.integers(0, 20),
        st.integers(1, 15),
        st.integers(0, 4),
    )
    return st.fixed_dictionaries({video: st.lists(one, max_size=count) for video in "abc"})


@settings(max_examples=200, deadline=None)
@given(spans_by_video(6), spans_by_video(4))
def test_strict_agrees_with_the_plain_definition(
    predicted: dict[str, list[Interval]], truth: dict[str, list[Interval]]
) -> None:
    truth["a"].append(span(3, 12))
    result = strict_map(predicted, truth, ["riot"], (0.1, 0.3, 0.5, 1.0))
    proposals = [(video, i.start_frame, i.end_frame, i.score) for video, found in predicted.items() for i in found]
    segments = [(video, i.start_frame, i.end_frame) for video, found in truth.items() for i in found]
    expected = [plain_ap(proposals, segments, threshold) for threshold in (0.1, 0.3, 0.5, 1.0)]
    assert result.per_class["riot"] == pytest.approx(expected, abs=1e-12)
