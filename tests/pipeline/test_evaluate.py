"""All figures of an evaluation on videos that a reader can check by hand, and what must not change them."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.pipeline.evaluate import EvaluateOptions, Evaluation, ScoredVideo, measure
from vadpipe.tracks import NORMAL, Interval, ScoreTrack, TimeGrid

LABELS = (NORMAL, "riot", "theft")
FEW = EvaluateOptions(draws=50)
NONE = EvaluateOptions(draws=0)


def video(
    name: str, text: str, riot: tuple[int, int] | None = None, found: tuple[int, int] | None = None, frames: int = 0
) -> ScoredVideo:
    """One digit a snippet of 16 frames: the anomaly score in tenths, all of it riot; spans are snippets."""
    anomaly = np.array([int(char) / 10 for char in text], dtype=np.float32)
    grid = TimeGrid(Fraction(16), frames or 16 * len(text))
    categories = np.stack([1 - anomaly, anomaly * 0.75, anomaly * 0.25], axis=1)
    spans = [Interval.of_frames("riot", *grid.frames_of(*span), grid, 0.5) for span in (riot, found) if span]
    true, said = tuple(spans[: riot is not None]), tuple(spans[riot is not None :])
    record = VideoRecord(name, frozenset({"riot" if riot else NORMAL}), true, "test", grid.num_frames)
    return ScoredVideo(record, ScoreTrack(anomaly, categories, LABELS, grid), said)


# Two riots, one of them missed, and a normal video with one alarm of one snippet.
VIDEOS = [
    video("riot-1", "0099", riot=(2, 4), found=(2, 4)),
    video("riot-2", "2100", riot=(0, 1)),
    video("calm", "0700", found=(1, 2)),
]


def test_by_hand() -> None:
    found = measure(VIDEOS, FEW)
    # Ranked snippets: 2 x 0.9 abnormal, 0.7 normal, 0.2 abnormal, 8 lower ones normal.
    assert found.ap == pytest.approx((2 + 3 / 4) / 3)
    assert found.auc == pytest.approx(26 / 27)
    assert found.abnormal_share == 0.25
    assert (found.videos, found.frames) == (3, 192)
    assert found.abnormal_only is not None
    assert (found.abnormal_only.ap, found.abnormal_only.auc, found.abnormal_only.abnormal_share) == (1.0, 1.0, 3 / 8)
    assert found.alarms is not None
    assert (found.alarms.frames, found.alarms.rate, found.alarms.runs) == (64, 0.25, 1)
    assert found.alarms.per_hour == 3600 / 4
    # Both proposals have the score 0.5: the one of "calm" stands first, by its id.
    assert found.intervals.per_class == {"riot": (0.25,) * 5}
    assert found.intervals.left_out == ("theft",)
    assert found.intervals.average == 0.25
    # The published protocol: riot-1 and riot-2 are found, calm's alarm ranks between them; normal is a class too.
    assert found.vadclip.per_class["riot"] == pytest.approx(((1 + 2 / 3) / 2,) * 5)
    assert found.vadclip.without_truth == ("theft",)
    assert found.notes == ("mAP in the protocol vadclip counts classes without truth as 0: 'theft'",)


def test_a_row_for_each_class_and_video() -> None:
    found = measure(VIDEOS, NONE)
    assert [(row.name, row.videos, row.true, row.found) for row in found.classes] == [
        (NORMAL, 1, 0, 0),
        ("riot", 2, 2, 2),
        ("theft", 0, 0, 0),
    ]
    assert [row.strict for row in found.classes] == [None, (0.25,) * 5, None]
    assert all(row.vadclip is not None for row in found.classes)
    calm, first, second = found.rows
    assert (calm.id, calm.labels, calm.frames, calm.abnormal_frames) == ("calm", (NORMAL,), 64, 0)
    assert (calm.ap, calm.auc, calm.true, calm.found, calm.false_alarms) == (None, None, 0, 1, 1)
    assert (first.ap, first.auc, first.true, first.found, first.false_alarms) == (1.0, 1.0, 1, 1, 0)
    assert first.max_score == pytest.approx(0.9)
    assert (second.ap, second.auc, second.true, second.found) == (1.0, 1.0, 1, 0)


def test_it_is_plain_values_for_json() -> None:
    told = json.loads(json.dumps(measure(VIDEOS, FEW).to_mapping()))
    assert told["frame_ap"] == pytest.approx(2.75 / 3)
    assert told["frame_auc_chance"] == 0.5
    assert told["false_alarms"]["per_hour"] == 900
    assert told["map"]["0.5"] == 0.25
    assert set(told["protocols"]) == {"strict", "vadclip"}
    assert [row["id"] for row in told["per_video"]] == ["calm", "riot-1", "riot-2"]
    assert told["intervals_95"].keys() == {
        "frame_ap",
        "frame_auc",
        "frame_ap_abnormal_videos",
        "frame_auc_abnormal_videos",
        "map_average",
    }
    assert measure(VIDEOS, NONE).to_mapping()["intervals_95"] == {}


def test_what_the_videos_do_not_define_is_none() -> None:
    only_riot = measure([video("a", "0099", riot=(2, 4), found=(2, 4))], FEW)
    assert only_riot.alarms is None
    told = measure([video("a", "9999", riot=(0, 4), found=(0, 4)), video("b", "0")], NONE).to_mapping()
    assert (told["frame_ap_abnormal_videos"], told["frame_auc_abnormal_videos"]) == (None, None)
    assert told["false_alarms"]["rate"] == 0.0


def test_a_video_of_under_16_frames_and_one_without_any() -> None:
    found = measure([*VIDEOS, video("short", "5", frames=5), video("empty", "")], NONE)
    assert found.frames == 197
    assert [(row.id, row.frames, row.max_score) for row in found.rows if row.id in ("short", "empty")] == [
        ("empty", 0, None),
        ("short", 5, 0.5),
    ]


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        ([VIDEOS[0], VIDEOS[0]], "1 videos are there twice"),
        ([VIDEOS[2]], "no test video has a true incident"),
        ([video("a", "99", riot=(0, 2))], "32 of 32 frames are abnormal"),
        ([], "frames per snippet"),
    ],
)
def test_refused(videos: list[ScoredVideo], message: str) -> None:
    with pytest.raises(DataError, match=message):
        measure(videos, NONE)


@pytest.mark.parametrize("options", [{"threshold": 1.0}, {"threshold": float("nan")}, {"draws": -1}])
def test_options_are_checked(options: Any) -> None:
    with pytest.raises(UsageError, match="got"):
        EvaluateOptions(**options)


def relabelled(one: ScoredVideo, **changes: Any) -> ScoredVideo:
    return replace(one, record=replace(one.record, **changes))


def test_lengths_that_differ_are_cut_padded_named_or_refused() -> None:
    shorter = relabelled(VIDEOS[2], num_frames=40)
    found = measure([*VIDEOS[:2], shorter], NONE)
    assert (found.frames, found.differences) == (128 + 40, {"calm": 24})
    assert "'calm' +24 frames" in found.notes[0]
    with pytest.raises(DataError, match=r"'calm' \+48 frames"):
        measure([*VIDEOS[:2], relabelled(VIDEOS[2], num_frames=16)], NONE)
    late = Interval("riot", 0.5, 6, 8, 96)  # two snippets past the end of a video whose length no list states
    with pytest.raises(DataError, match="'riot-1' -32 frames"):
        measure([relabelled(VIDEOS[0], num_frames=None, intervals=(late,)), *VIDEOS[1:]], NONE)


def test_a_category_that_the_head_does_not_know_is_never_found() -> None:
    arson = Interval("arson", 0, 1, 0, 16)
    stranger = relabelled(VIDEOS[1], labels=frozenset({"arson"}), intervals=(arson,))
    found = measure([VIDEOS[0], stranger, VIDEOS[2]], NONE)
    assert found.intervals.per_class["arson"] == (0.0,) * 5
    assert found.vadclip.mean == (0.0,) * 5
    assert found.notes[0] == "mAP in the protocol vadclip is 0 since nothing was proposed for 'arson'"


def many(seed: int) -> list[ScoredVideo]:
    rng = np.random.default_rng(seed)
    found = []
    for number in range(14):
        text = "".join(str(digit) for digit in rng.integers(0, 10, rng.integers(3, 12)))
        start = int(rng.integers(0, len(text) - 1))
        riot = (start, start + 1) if number % 2 else None
        made = video(f"v{number:02d}", text, riot, (0, 2), frames=16 * len(text) - int(rng.integers(0, 16)))
        found.append(replace(made, found=tuple(replace(item, score=float(rng.random())) for item in made.found)))
    return found


def figures(found: Evaluation) -> dict[str, Any]:
    told = found.to_mapping()
    return {name: told[name] for name in told if name.startswith(("frame_", "map", "intervals_95", "false_alarms"))}


@settings(deadline=None, derandomize=True, database=None, max_examples=15)
@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_the_order_of_videos_changes_nothing(seed: int, random: Any) -> None:
    videos = many(seed)
    expected = measure(videos, FEW)
    random.shuffle(videos)
    assert figures(measure(videos, FEW)) == figures(expected)


@settings(deadline=None, derandomize=True, database=None, max_examples=15)
@given(st.integers(0, 1000))
def test_a_monotone_map_of_all_scores_changes_no_ranking(seed: int) -> None:
    videos = many(seed)
    mapped = [
        replace(
            one,
            scores=replace(one.scores, anomaly=np.asarray(one.scores.anomaly**3 / 2 + 0.25, np.float32)),
            found=tuple(replace(item, score=item.score * 5 - 3) for item in one.found),
        )
        for one in videos
    ]
    before, after = measure(videos, FEW), measure(mapped, FEW)
    for name in ("frame_ap", "frame_auc", "frame_ap_abnormal_videos", "frame_auc_abnormal_videos", "map"):
        assert after.to_mapping()[name] == before.to_mapping()[name], name
    assert after.bounds == before.bounds


def test_intervals_are_the_same_for_a_seed_and_hold_the_figure() -> None:
    videos = many(1)
    first = measure(videos, EvaluateOptions(draws=300))
    assert first.bounds == measure(videos, EvaluateOptions(draws=300)).bounds
    assert first.bounds != measure(videos, EvaluateOptions(draws=300, seed=1)).bounds
    for name, value in (("frame_ap", first.ap), ("frame_auc", first.auc), ("map_average", first.intervals.average)):
        low_high = first.bounds[name]
        assert low_high is not None
        assert low_high[0] <= value <= low_high[1]
