"""False alarms, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vadpipe.pipeline.metrics import count_runs, false_alarms


def test_false_alarms_by_hand() -> None:
    scores = [np.array([0.9, 0.9, 0.1, 0.6]), np.array([0.5, 0.2])]
    frames = [np.array([16, 16, 16, 2]), np.array([16, 16])]
    found = false_alarms(scores, frames, hours=0.5)
    assert found is not None
    assert (found.videos, found.frames, found.alarm_frames, found.runs) == (2, 82, 34, 2)  # 0.5 is not above 0.5
    assert found.rate == pytest.approx(34 / 82)
    assert found.per_hour == 4.0


def test_the_threshold_is_the_users() -> None:
    scores, frames = [np.array([0.9, 0.9, 0.1, 0.6])], [np.array([16, 16, 16, 2])]
    found = [false_alarms(scores, frames, 1.0, threshold) for threshold in (0.95, 0.7, 0.05)]
    assert [(alarm.alarm_frames, alarm.runs) for alarm in found if alarm] == [(0, 0), (32, 1), (50, 1)]


def test_no_normal_footage_has_no_figure() -> None:
    assert false_alarms([], [], 0.0) is None
    assert false_alarms([np.zeros(0)], [np.zeros(0, np.int64)], 0.0) is None


@pytest.mark.parametrize(
    ("flags", "touched", "all_runs", "untouched"),
    [
        ("", "", 0, 0),
        ("...", "###", 0, 0),
        ("##.#", "....", 2, 2),
        ("##.#", ".#..", 2, 1),
        ("##.#", "..#.", 2, 2),
        ("####", "...#", 1, 0),
    ],
)
def test_runs(flags: str, touched: str, all_runs: int, untouched: int) -> None:
    above, truth = (np.array([char == "#" for char in text], dtype=bool) for text in (flags, touched))
    assert (count_runs(above), count_runs(above, truth)) == (all_runs, untouched)
