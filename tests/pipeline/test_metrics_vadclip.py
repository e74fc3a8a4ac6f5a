"""mAP in the protocol of the published figures: cases that can be checked by hand, and its traps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from vadpipe.errors import DataError
from vadpipe.pipeline.metrics import vadclip_map

CLASSES = ["normal", "riot", "theft"]


def columns(*values: Sequence[float]) -> NDArray[np.float32]:
    return np.array(values, np.float32).T


def snippets(text: str, high: float = 1.0, low: float = 0.0) -> list[float]:
    return [high if char == "#" else low for char in text]


# Two videos of four snippets: the first is a riot in its middle, the second normal with a theft at the end.
VIDEOS = [
    columns(snippets("#..."), snippets(".##."), snippets("#...", 0.2)),
    columns(snippets("###."), snippets("...#", 0.1), snippets("...#")),
]
SEGMENTS = [[(16, 48)], [(0, 64), (48, 64)]]
LABELS = [["riot"], ["normal", "theft"]]


def test_vadclip_by_hand() -> None:
    # normal: [0, 48) of the second video, score 1 + 0.7, ties with [0, 16) of the first, which is wrong and stands
    # first by its video: precision 1/2, IoU 48/64. riot: right. theft: right, the wrong one has score 0.2 + 0.14.
    result = vadclip_map(VIDEOS, SEGMENTS, LABELS, CLASSES, (0.5, 0.75, 0.76), 16)
    assert result == pytest.approx({0.5: 2.5 / 3, 0.75: 2.5 / 3, 0.76: 2 / 3})


def test_vadclip_of_frames_and_of_snippets_is_the_same() -> None:
    frames = [np.repeat(video, 16, axis=0) for video in VIDEOS]
    assert vadclip_map(frames, SEGMENTS, LABELS, CLASSES) == vadclip_map(
        VIDEOS, SEGMENTS, LABELS, CLASSES, frames_per_snippet=16
    )


def one_class(values: Sequence[float], segment: tuple[int, int], threshold: float = 1.0, step: int = 16) -> float:
    return vadclip_map([columns(values)], [[segment]], [["normal"]], ["normal"], (threshold,), step)[threshold]


def test_vadclip_proposes_above_two_fifths_of_the_range() -> None:
    # Range 0 … 1: threshold 0.4, exclusive. 0.5 is in, 0.375 is not; with a floor of 0.25 the threshold is 0.55.
    assert one_class([0.0, 0.5, 1.0, 0.375], (16, 48)) == 1.0
    assert one_class([0.25, 0.5, 1.0, 0.375], (32, 48)) == 1.0
    assert one_class([0.0, 0.5, 1.0, 0.375], (16, 64)) == 0.0


def test_vadclip_drops_runs_of_one_frame() -> None:
    values = [0.0] * 16 + [1.0] + [0.0] * 7 + [0.9] * 2 + [0.0] * 6
    assert one_class(values, (24, 26), step=1) == 1.0
    assert one_class(values[:16] + [1.0] + values[17:24] + [0.0] * 8, (16, 17), step=1) == 0.0


def test_vadclip_ranks_by_the_highest_value_and_the_top_mean() -> None:
    # 32 frames each: the top mean is over 2 frames. The second video's one frame of 1.0 in a run of two is the highest
    # value, 1.0 + 0.7 x 0.85 = 1.595; the first has 0.95 twice: 0.95 + 0.7 x 0.95 = 1.615 and stands before it.
    first = [0.95, 0.95] + [0.0] * 30
    second = [1.0, 0.7] + [0.0] * 30
    result = vadclip_map(
        [columns(second), columns(first)], [[], [(0, 2)]], [[], ["normal"]], ["normal"], (1.0,), frames_per_snippet=1
    )
    assert result == {1.0: 1.0}


def test_vadclip_trap_one_class_without_proposals_is_zero_for_all() -> None:
    flat = [video * np.array([1, 1, 0], np.float32) for video in VIDEOS]
    assert vadclip_map(flat, SEGMENTS, LABELS, CLASSES, (0.1, 0.5), 16) == {0.1: 0.0, 0.5: 0.0}


def test_vadclip_trap_a_class_without_truth_counts_as_zero() -> None:
    without = vadclip_map(VIDEOS, [[(16, 48)], [(0, 64)]], [["riot"], ["normal"]], CLASSES, (0.5,), 16)
    assert without == pytest.approx({0.5: 1.5 / 3})


def test_vadclip_trap_short_flat_and_negative_videos_propose_nothing() -> None:
    assert one_class([0.0, 1.0, 1.0] + [0.0] * 12, (1, 3), step=1) == 0.0  # 15 frames
    assert one_class([0.0, 1.0, 1.0] + [0.0] * 13, (1, 3), step=1) == 1.0  # 16 frames
    assert one_class([0.5] * 4, (0, 64)) == 0.0
    assert one_class([], (0, 64)) == 0.0
    assert one_class([-2.0, -1.0, -2.0, -2.0], (16, 32)) == 0.0  # nor does a class whose top mean is not above 0
    assert one_class([-2.0, 1.0, -2.0, -2.0], (16, 32)) == 1.0


def test_vadclip_takes_half_precision_as_it_is() -> None:
    rng = np.random.default_rng(0)
    half = [rng.random((n, 3)).astype(np.float16) for n in (20, 30)]
    truth = [[(0, 160)], [(0, 480), (16, 64)]]
    single = [values.astype(np.float32) for values in half]
    assert vadclip_map(half, truth, LABELS, CLASSES, frames_per_snippet=16) == vadclip_map(
        single, truth, LABELS, CLASSES, frames_per_snippet=16
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (VIDEOS[:1], "got 1 probabilities, 2 segments"),
        ([VIDEOS[0], VIDEOS[1][:, :2]], r"got \(4, 2\) for video 1"),
        ([VIDEOS[0], VIDEOS[1][0]], r"got \(3,\) for video 1"),
        ([VIDEOS[0], VIDEOS[1] * np.float32(np.nan)], "finite"),
    ],
)
def test_vadclip_refuses_probabilities(values: list[NDArray[np.float32]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vadclip_map(values, SEGMENTS, LABELS, CLASSES, frames_per_snippet=16)


def test_vadclip_refuses_unknown_labels() -> None:
    with pytest.raises(DataError, match="video 0: label 'Riot' is none of"):
        vadclip_map(VIDEOS, SEGMENTS, [["Riot"], LABELS[1]], CLASSES, frames_per_snippet=16)
