"""Core values besides the time grid: a wrong one cannot be built."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from vadpipe.detection import Detection
from vadpipe.spec import FeatureSpec
from vadpipe.tracks import FeatureTrack, Interval, ScoreTrack, TimeGrid, VideoClip

NTSC = Fraction(30000, 1001)


# --- Interval

FIGHT = Interval("fighting", 1.0, 2.0, 25, 50, 0.5)


@pytest.mark.parametrize(
    "values",
    [
        {"category": ""},
        {"category": "normal"},
        {"start_frame": -1},
        {"start_frame": 50},
        {"end_frame": 10},
        {"start_s": -0.1},
        {"start_s": 2.0},
        {"start_s": math.nan},
        {"end_s": math.inf},
        {"end_s": math.nan},
        {"score": math.nan},
        {"score": math.inf},
    ],
)
def test_interval_refuses(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got"):
        replace(FIGHT, **values)


def test_interval_of_frames_takes_seconds_from_the_grid() -> None:
    span = Interval.of_frames("riot", 30, 60, TimeGrid(NTSC, 100), 0.25)
    assert span == Interval("riot", 1.001, 2.002, 30, 60, 0.25)
    with pytest.raises(ValueError, match="not inside"):
        Interval.of_frames("riot", 30, 101, TimeGrid(NTSC, 100))


@pytest.mark.parametrize(
    ("start", "end", "iou"),
    [(25, 50, 1.0), (50, 60, 0.0), (0, 25, 0.0), (49, 51, 1 / 26), (30, 40, 0.4), (0, 100, 0.25), (15, 35, 10 / 35)],
)
def test_iou_of_half_open_frames(start: int, end: int, iou: float) -> None:
    other = replace(FIGHT, start_frame=start, end_frame=end)
    assert FIGHT.iou(other) == iou
    assert other.iou(FIGHT) == iou


# --- tracks

SPEC = FeatureSpec("clip", 4, "vit", "random:0")


def features(**values: Any) -> FeatureTrack:
    good: dict[str, Any] = {
        "data": np.zeros((2, 4), np.float16),
        "grid": TimeGrid(NTSC, 17),
        "spec": SPEC,
        "video_id": "a",
    }
    return FeatureTrack(**(good | values))


@pytest.mark.parametrize("shape", [(2, 4), (10, 2, 4)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_feature_track_takes_one_or_more_crops(shape: tuple[int, ...], dtype: type) -> None:
    assert features(data=np.ones(shape, dtype)).data.shape == shape


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data": np.zeros(4, np.float32)}, r"\(T, D\)"),
        ({"data": np.zeros((1, 1, 2, 4), np.float32)}, r"\(T, D\)"),
        ({"data": np.zeros((2, 4))}, "float64"),
        ({"data": np.zeros((2, 4), np.int16)}, "int16"),
        ({"data": np.zeros((3, 4), np.float32)}, r"got \(T, D\) = \(3, 4\), expected \(2, 4\)"),
        ({"data": np.zeros((2, 5), np.float32)}, r"expected \(2, 4\)"),
        ({"data": np.zeros((2, 3, 4), np.float32)}, r"expected \(2, 4\)"),
        ({"data": np.full((2, 4), np.nan, np.float32)}, "NaN"),
        ({"data": np.array([[0, 0, 0, np.inf]] * 2, np.float16)}, "infinity"),
        ({"grid": TimeGrid(NTSC, 5, 4)}, "frames_per_snippet"),
        ({"video_id": ""}, "video_id"),
    ],
)
def test_feature_track_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        features(**values)


def scores(**values: Any) -> ScoreTrack:
    good: dict[str, Any] = {
        "anomaly": np.array([0.25, 0.75], np.float32),
        "categories": np.zeros((2, 3), np.float32),
        "labels": ("normal", "fighting", "riot"),
        "grid": TimeGrid(NTSC, 17),
    }
    return ScoreTrack(**(good | values))


def test_score_track_spreads_over_exactly_the_frames() -> None:
    spread = scores().per_frame()
    assert spread.tolist() == [0.25] * 16 + [0.75]


def test_score_track_of_a_video_without_frames() -> None:
    empty = scores(anomaly=np.zeros(0, np.float32), categories=np.zeros((0, 3), np.float32), grid=TimeGrid(NTSC, 0))
    assert empty.per_frame().shape == (0,)


@pytest.mark.parametrize(
    "values",
    [
        {"anomaly": np.zeros(3, np.float32)},
        {"anomaly": np.zeros((2, 1), np.float32)},
        {"categories": np.zeros((2, 2), np.float32)},
        {"categories": np.zeros((3, 3), np.float32)},
        {"labels": ("fighting", "normal", "riot")},
        {"labels": (), "categories": np.zeros((2, 0), np.float32)},
        {"anomaly": np.array([0, np.nan], np.float32)},
        {"categories": np.full((2, 3), np.inf, np.float32)},
        {"anomaly": np.array([0, 1.01], np.float32)},
        {"anomaly": np.array([-0.01, 0], np.float32)},
    ],
)
def test_score_track_refuses(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"scores|labels"):
        scores(**values)


# --- clip and detection

CLIP = VideoClip("a", "videos/a.mp4", 640, 360, Fraction(25), 100, 4.0, audio_rate=16000)


@pytest.mark.parametrize(
    "values",
    [
        {"id": ""},
        {"width": 0},
        {"height": -1},
        {"fps": Fraction(0)},
        {"num_frames": -1},
        {"duration_s": -1.0},
        {"duration_s": math.nan},
        {"rotation": 45},
        {"start_s": -0.1},
        {"start_s": math.inf},
    ],
)
def test_video_clip_refuses(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"id|size|fps|rotation|start_s"):
        replace(CLIP, **values)


def test_video_clip_knows_whether_there_is_sound() -> None:
    assert CLIP.has_audio
    assert not replace(CLIP, audio_rate=0).has_audio


def test_detection_keeps_its_parts() -> None:
    found = Detection(CLIP, (FIGHT,), scores())
    assert (found.clip, found.intervals, found.provenance, found.warnings) == (CLIP, (FIGHT,), {}, ())
