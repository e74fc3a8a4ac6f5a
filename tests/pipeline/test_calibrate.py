"""Thresholds from normal footage: never more alarms than asked for, and a limit that holds."""

from __future__ import annotations

from dataclasses import asdict, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vadpipe.calibration import Calibration
from vadpipe.config import DetectConfig
from vadpipe.detection import Detection
from vadpipe.errors import DataError
from vadpipe.pipeline.calibrate import calibrate, changes, poisson_upper, threshold_above, time_levels
from vadpipe.pipeline.intervals import find_intervals
from vadpipe.tracks import FloatArray, ScoreTrack, TimeGrid, VideoClip

FPS = Fraction(16)  # a snippet a second
SETTINGS = {"r_ano": 0.2, "leave": 1.0}


def normal_video(name: str, anomaly: list[float], minutes: int = 30, last: int = 16) -> Detection:
    """Footage of a fixed length; ``anomaly`` at its start, each over a quiet second, the rest quiet."""
    scores = np.zeros(minutes * 60, dtype=np.float32)
    scores[: 2 * len(anomaly) : 2] = anomaly
    grid = TimeGrid(FPS, 16 * len(scores) - 16 + last)
    track = ScoreTrack(scores, np.stack([1 - scores, scores], axis=1), ("normal", "fighting"), grid)
    clip = VideoClip(name, f"{name}.mp4", 8, 8, FPS, grid.num_frames, grid.duration_s, sha256=name * 8)
    found = find_intervals(track, DetectConfig(r_cls=0.0))
    return Detection(clip, found, track, {"name": "lec_vad", "sha256": "ab" * 32}, params=dict(SETTINGS))


@pytest.mark.parametrize(
    ("peaks", "allowed", "reached"),
    [
        ([0.9, 0.8, 0.7], 0, []),
        ([0.9, 0.8, 0.7], 1, [0.9]),
        ([0.7, 0.9, 0.8], 2, [0.9, 0.8]),
        ([0.9, 0.8, 0.8, 0.7], 1, [0.9]),
        ([0.9, 0.8, 0.8, 0.7], 2, [0.9]),  # equal ones stay out together
        ([0.9, 0.8, 0.8, 0.7], 3, [0.9, 0.8, 0.8]),
        ([1.0, 1.0], 1, []),
        ([0.9, 0.8], 2, [0.9, 0.8]),
        ([], 0, []),
    ],
)
def test_the_threshold_stands_just_above_the_first_peak_too_many(
    peaks: list[float], allowed: int, reached: list[float]
) -> None:
    threshold = threshold_above(peaks, allowed)
    values = np.array(peaks, dtype=np.float32)
    assert sorted(values[values >= threshold].tolist()) == sorted(np.array(reached, dtype=np.float32).tolist())
    assert [float(value) >= threshold for value in values] == (values >= np.float32(threshold)).tolist()
    assert (threshold == 0.0) == (len(peaks) <= allowed)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1, width=32)), st.integers(0, 8))
def test_no_smaller_threshold_would_do(peaks: list[float], allowed: int) -> None:
    values, threshold = np.array(peaks, dtype=np.float32), threshold_above(peaks, allowed)
    assert (values >= threshold).sum() <= allowed
    if threshold > 0:
        assert (values >= np.nextafter(np.float32(threshold), np.float32(-1))).sum() > allowed


@pytest.mark.parametrize(
    ("count", "limit"), [(0, 2.9957), (1, 4.7439), (2, 6.2958), (5, 10.5130), (10, 16.9622), (100, 118.079)]
)
def test_the_upper_limit_is_that_of_the_tables(count: int, limit: float) -> None:
    assert poisson_upper(count) == pytest.approx(limit, abs=5e-4)


@pytest.mark.parametrize("allowed", [0, 1, 4])
def test_the_limit_holds_for_a_threshold_that_was_chosen_on_the_same_footage(allowed: int) -> None:
    """Peaks of 30 a footage, uniform in 0 … 1: at a threshold t there are truly 30 (1 - t)."""
    rng = np.random.default_rng(0)
    true = []
    for _ in range(3000):
        true.append(30 * (1 - threshold_above(rng.random(rng.poisson(30), dtype=np.float32), allowed)))
    assert np.mean(true) == pytest.approx(allowed + 1, rel=0.05)  # what Calibrated.expected says
    assert np.mean(np.array(true) <= poisson_upper(allowed)) == pytest.approx(0.95, abs=0.012)


def test_levels_are_shares_of_the_time_not_of_the_snippets() -> None:
    scores = np.array([0.4, 0.1, 0.2, 0.3], dtype=np.float32)
    levels = time_levels(scores, np.array([1.0, 2.0, 1.0, 4.0]), 9)
    assert np.round(levels, 6).tolist() == [0.1, 0.1, 0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.4]
    assert time_levels(np.full(1, 0.5, dtype=np.float32), np.array([0.1]), 3) == (0.5, 0.5, 0.5)


def test_an_hour_of_footage_by_hand() -> None:
    found = [normal_video("a", [0.9, 0.6]), normal_video("b", [0.8, 0.7, 0.55])]
    result = calibrate(found, rate=3.5)
    known = result.calibration
    assert (known.hours, known.videos, known.alarms) == (1.0, 2, 2)
    assert known.threshold == float(np.nextafter(np.float32(0.7), np.float32(1)))
    assert known.upper == pytest.approx(6.2958, abs=1e-3)
    assert (known.head_sha256, known.settings) == ("ab" * 32, SETTINGS)
    assert (result.candidates, result.expected, result.said) == (5, 3.0, ())
    assert [(item.video, item.start_s) for item in result.highest[:3]] == [("a", 0.0), ("b", 0.0), ("b", 2.0)]
    assert (len(known.levels), known.levels[0]) == (1001, 0.0)
    assert known.levels[-1] == pytest.approx(0.9)
    assert sum(len(find_intervals(item.scores, DetectConfig(r_cls=0.0), known)) for item in found) == 2


@given(st.lists(st.floats(0.5, 1, width=32), max_size=40), st.integers(1, 40), st.integers(1, 120))
def test_no_more_is_to_be_expected_than_was_asked_for(peaks: list[float], rate: int, minutes: int) -> None:
    result = calibrate([normal_video("a", peaks, minutes + 2)], rate)
    known = result.calibration
    if rate * known.hours >= 1 and result.expected is not None:
        assert result.expected <= rate + 1e-9
    else:
        assert (known.alarms, result.expected) in ((0, 1 / known.hours), (0, 0.0), (0, None))  # none above 1


def test_two_hours_at_one_in_two_hours_leave_none() -> None:
    result = calibrate([normal_video("a", [0.9, 0.8], minutes=120)], rate=0.5)
    assert (result.calibration.alarms, result.expected) == (0, 0.5)


def camera(hours: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Scores of each second: near 0, and a false spike of 4 s every 15 minutes."""
    rng = np.random.default_rng(hours)
    scores = rng.uniform(0, 0.04, hours * 3600).astype(np.float32)
    for at in range(100, len(scores), 900):
        scores[at : at + 4] = rng.uniform(0.6, 0.95)
    return scores


def cut(scores: np.ndarray[Any, np.dtype[np.float32]], seconds: int, known: Calibration | None) -> list[Detection]:
    """The same footage in files of one length, detected in with the default settings."""
    found = []
    for number, start in enumerate(range(0, len(scores), seconds)):
        part = scores[start : start + seconds]
        grid = TimeGrid(FPS, 16 * len(part))
        track = ScoreTrack(part, np.stack([1 - part, part], axis=1), ("normal", "fighting"), grid)
        clip = VideoClip(f"{number}", f"{number}.mp4", 8, 8, FPS, grid.num_frames, grid.duration_s)
        settings = DetectConfig()
        told = {"name": "lec_vad", "sha256": "ab" * 32}
        found.append(Detection(clip, find_intervals(track, settings, known), track, told, params=asdict(settings)))
    return found


def test_the_limit_holds_whatever_the_length_of_the_files() -> None:
    """In an hour a spike is too short for the default r_cls, in a minute it is not."""
    scores, rate = camera(10), 0.5
    assert sum(len(one.intervals) for one in cut(scores, 3600, None)) == 0
    made = {seconds: calibrate(cut(scores, seconds, None), rate) for seconds in (3600, 60)}
    assert made[3600].candidates == made[60].candidates == 40
    assert made[3600].calibration.threshold == made[60].calibration.threshold > 0
    known = made[3600].calibration
    assert (known.settings["r_cls"], known.alarms, made[3600].expected) == (0.1, 4, 0.5)
    for seconds in (3600, 600, 60):
        alarms = sum(len(one.intervals) for one in cut(scores, seconds, known))
        assert alarms <= known.alarms
        assert alarms / known.hours <= rate


def test_footage_too_short_for_the_rate_is_told_in_plain_words() -> None:
    result = calibrate([normal_video("a", [0.9])], rate=0.5)
    assert result.calibration.alarms == 0
    assert result.calibration.upper == pytest.approx(2.9957 / 0.5, abs=1e-3)
    (said,) = result.said
    assert "0.5 h of footage cannot show 0.5 false alarms an hour" in said
    assert "at least 2 h" in said
    assert "5.99 h without any alarm" in said
    assert "may be up to 5.99 an hour" in said


def test_just_enough_footage_is_not_lost_to_rounding() -> None:
    found = [normal_video("a", [0.9, 0.8], minutes=6)]  # 0.1 h, and 0.1 * 10 is not always 1
    assert [calibrate(found, rate=10 * times).calibration.alarms for times in (2, 3)] == [1, 2]


def test_a_head_that_cries_at_everything_is_told() -> None:
    result = calibrate([normal_video("a", [1.0] * 9, minutes=120)], rate=1.0)
    assert result.calibration.threshold > 1
    assert any("no interval will ever be an alarm" in text for text in result.said)
    assert result.expected == 0.0


def test_a_head_that_cries_at_nothing_needs_no_threshold() -> None:
    result = calibrate([normal_video("a", [0.9], minutes=120)], rate=1.0)
    assert (result.calibration.threshold, result.calibration.alarms, result.expected) == (0.0, 1, 0.5)
    assert any("every interval is an alarm" in text for text in result.said)


def test_footage_in_which_nothing_is_found_promises_nothing() -> None:
    for minutes in (30, 600):
        result = calibrate([normal_video("a", [], minutes)], rate=0.5)
        assert (result.calibration.threshold, result.candidates, result.expected) == (0.0, 0, None)
        *short, said = result.said
        assert said == "nothing was found in it, so there is no threshold yet: every interval is an alarm"
        assert len(short) == (minutes == 30)
        assert "The threshold stands above" not in "".join(short)
        assert result.calibration.upper == pytest.approx(2.9957 / minutes * 60, abs=1e-3)


def test_footage_without_frames_is_refused() -> None:
    grid = TimeGrid(FPS, 0)
    scores = ScoreTrack(np.zeros(0, np.float32), np.zeros((0, 2), np.float32), ("normal", "fighting"), grid)
    with pytest.raises(DataError, match="holds no frames"):
        calibrate([Detection(VideoClip("a", "a", 8, 8, FPS, 0, 0.0), (), scores)], 1.0)


def test_the_calibrated_peak_of_an_interval_takes_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the highest calibrated score in it, which is that of the highest score."""
    found = replace(normal_video("a", [0.9, 0.7, 0.6]), calibration=Calibration(0.5, 1, 1, 1, 0, 3, (0.0, 0.3, 0.8, 1)))
    track, asked = found.calibrated(), list[int]()
    assert track is not None
    expected = [float(track[item.start_frame // 16 : -(-item.end_frame // 16)].max()) for item in found.intervals]
    plain = Calibration.calibrated

    def counted(self: Calibration, given: FloatArray) -> FloatArray:
        asked.append(len(given))
        return plain(self, given)

    monkeypatch.setattr(Calibration, "calibrated", counted)
    assert [found.calibrated_peak(item) for item in found.intervals] == expected
    assert asked == [1, 1, 1]


def test_what_changed_is_said() -> None:
    def made(rate: float, **settings: Any) -> Any:
        video = normal_video("a", [0.9, 0.8, 0.7], minutes=60)
        video.params.update(settings)
        return calibrate([video], rate).calibration

    assert changes(made(2), made(2)) == ()
    said = "; ".join(changes(made(2), made(3, leave=0.5)))
    assert "threshold 0.8 -> 0.7" in said
    assert "detect.leave 1 -> 0.5" in said
    assert "alarms in the footage 1 -> 2" in said
