"""mAP in the protocol of the published figures: cases that can be checked by hand, and its traps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vadpipe.errors import DataError
from vadpipe.pipeline.metrics import VadclipMap, vadclip_map, vadclip_tables

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


def test_vadclip_names_the_classes_that_its_traps_are_about() -> None:
    classes = [*CLASSES, "arson"]
    padded = [np.pad(video, ((0, 0), (0, 1))) for video in VIDEOS]
    found = vadclip_tables(padded, SEGMENTS, LABELS, classes, 16).figures((0.5,))
    assert found.without_proposals == found.without_truth == ("arson",)
    assert found.per_class == {"normal": (0.5,), "riot": (1.0,), "theft": (1.0,), "arson": (0.0,)}
    assert found.mean == (0.0,)
    assert VadclipMap((0.5,), found.per_class).mean == (0.625,)
    assert VadclipMap((0.5, 0.6), {"normal": (1.0, 0.5), "riot": (0.0, 0.5)}).average == 0.5


def test_vadclip_a_segment_is_claimed_once() -> None:
    # Two runs on one segment: the second is wrong, although it fits as well; ranked between, it costs the third.
    values = [0.0, 0.9, 0.0, 0.8, 0.0, 0.7, 0.0, 0.0]
    given = ([columns(values)], [[(0, 80), (80, 96)]], [["normal", "normal"]], ["normal"], (0.2,), 16)
    assert vadclip_map(*given) == pytest.approx({0.2: (1 + 2 / 3) / 2})


def test_vadclip_ties_go_by_video_then_start() -> None:
    tied = columns([1.0, 0.0, 1.0, 0.0])
    first, second = [(0, 16)], [(32, 48)]
    assert vadclip_map([tied], [first], [["normal"]], ["normal"], (1.0,), 16) == {1.0: 1.0}
    assert vadclip_map([tied], [second], [["normal"]], ["normal"], (1.0,), 16) == {1.0: 0.5}
    assert vadclip_map([tied, tied], [[], second], [[], ["normal"]], ["normal"], (1.0,), 16) == {1.0: 0.25}


def test_vadclip_of_videos_without_snippets() -> None:
    empty = np.zeros((0, 3), np.float32)
    more = vadclip_map([empty, *VIDEOS, empty], [[], *SEGMENTS, []], [[], *LABELS, []], CLASSES, (0.5,), 16)
    assert more == vadclip_map(VIDEOS, SEGMENTS, LABELS, CLASSES, (0.5,), 16)
    assert vadclip_map([empty], [[(0, 5)]], [["normal"]], CLASSES, (0.5,), 16) == {0.5: 0.0}


def test_vadclip_a_short_last_snippet_ends_with_the_video() -> None:
    values = [0.0, 0.0, 1.0]
    assert vadclip_map([columns(values)], [[(32, 40)]], [["normal"]], ["normal"], (1.0,), 16, [40]) == {1.0: 1.0}
    assert vadclip_map([columns(values)], [[(32, 40)]], [["normal"]], ["normal"], (1.0,), 16) == {1.0: 0.0}
    one_frame = ([columns(values)], [[(32, 33)]], [["normal"]], ["normal"], (1.0,), 16, [33])
    assert vadclip_map(*one_frame) == {1.0: 0.0}  # a run of one frame is dropped


@settings(deadline=None, derandomize=True, database=None, max_examples=60)
@given(st.integers(0, 10_000))
def test_vadclip_of_snippets_is_that_of_their_frames(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 150, 6).tolist()
    videos = [np.round(rng.random((-(-n // 4), 3)), 1) for n in frames]
    segments = [[(0, n // 2), (n // 3, n)] if n > 2 else [] for n in frames]
    labels = [[CLASSES[rng.integers(3)] for _ in spans] for spans in segments]
    long = [np.repeat(video, 4, axis=0)[:n] for video, n in zip(videos, frames, strict=True)]
    by_snippet = vadclip_tables(videos, segments, labels, CLASSES, 4, frames)
    by_frame = vadclip_tables(long, segments, labels, CLASSES)
    for name in CLASSES:
        np.testing.assert_allclose(by_snippet.proposed[name], by_frame.proposed[name], atol=1e-12)
    assert (by_snippet.num_frames == by_frame.num_frames).all()


def test_vadclip_chance_keeps_what_is_proposed_and_moves_it() -> None:
    tables = vadclip_tables([columns([0.0, 1.0, 0.0, 0.0])], [[(16, 32)]], [["normal"]], ["normal"], 16)
    assert tables.figures((0.5,)).mean == (1.0,)
    # 16 of 64 frames in one of 49 places; IoU 0.5 needs an overlap of 11 frames: starts 11 … 21.
    assert tables.chance((0.5,), repeats=4000).mean[0] == pytest.approx(11 / 49, abs=0.03)
    assert tables.chance((0.5,), seed=1) == tables.chance((0.5,), seed=1)


@pytest.mark.parametrize("frames", [[64], [64, 80], [64, 48]])
def test_vadclip_refuses_lengths_that_do_not_fit(frames: list[int]) -> None:
    with pytest.raises(ValueError, match="num_frames does not fit"):
        vadclip_map(VIDEOS, SEGMENTS, LABELS, CLASSES, frames_per_snippet=16, num_frames=frames)
