"""What a raw score means by a calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vadpipe.calibration import Calibration

UNIT = st.floats(0, 1, width=32)


def calibration(*levels: float, **other: Any) -> Calibration:
    told: dict[str, Any] = {"threshold": 0.5, "false_alarms_per_hour": 1.0, "hours": 2.0, "videos": 1, "alarms": 1}
    return Calibration(**{**told, "upper": 2.4, "levels": levels, **other})


def calibrated(levels: list[float], *scores: float) -> list[float]:
    return [float(value) for value in calibration(*levels).calibrated(np.array(scores, dtype=np.float32))]


def test_shares_by_hand() -> None:
    levels = [0.25, 0.5, 1.0]  # the lowest, the median, the highest
    assert calibrated(levels, 0.25, 0.375, 0.5, 0.75, 1.0) == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_ends() -> None:
    assert calibrated([0.25, 0.5], 0.0, 0.2, 0.6, 1.0) == [0.0, 0.0, 1.0, 1.0]
    assert calibrated([0.5, 0.5], 0.4, 0.5, 0.6) == [0.0, 0.0, 1.0]
    assert calibration(0.0, 1.0).calibrated(np.zeros(0, np.float32)).shape == (0,)


def test_a_score_that_much_footage_has_in_common_counts_as_its_lower_end() -> None:
    levels = [0.0, 0.0, 0.0, 0.5, 1.0]  # half of the time exactly 0
    assert calibrated(levels, 0.0, 1e-6) == [0.0, pytest.approx(0.5, abs=1e-5)]
    assert calibrated([0.0, 0.5, 0.5, 0.5, 1.0], 0.4999, 0.5, 0.5001) == [
        pytest.approx(0.25, abs=1e-3), 0.25, pytest.approx(0.75, abs=1e-3)]  # fmt: skip


def test_a_threshold_above_every_score_is_one() -> None:
    assert calibration(0.0, 1.0, threshold=float(np.nextafter(np.float32(1), np.float32(2)))).threshold > 1


@given(st.lists(UNIT, min_size=2, max_size=12), st.lists(UNIT, min_size=1, max_size=12))
def test_calibrated_scores_never_fall_as_raw_ones_rise(levels: list[float], scores: list[float]) -> None:
    known = calibration(*sorted(levels))
    rising = np.sort(np.array(scores + levels, dtype=np.float32))
    values = known.calibrated(rising)
    assert values.dtype == np.float32
    assert (np.diff(values) >= 0).all()
    assert ((values >= 0) & (values <= 1)).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"levels": (0.5,)}, "at least 2"),
        ({"levels": (0.5, 0.4)}, "ascending"),
        ({"levels": (0.5, float("nan"))}, "finite"),
        ({"threshold": float("nan")}, "threshold: got nan"),
        ({"hours": -1.0}, "hours: got -1"),
        ({"hours": 0.0}, "hours: got 0"),
        ({"threshold": 1.0001}, "threshold: got 1.0001"),
        ({"levels": (-0.1, 0.5)}, "levels: got -0.1"),
        ({"levels": (0.1, 1.5)}, "levels: got 0.1 to 1.5"),
        ({"alarms": 10**400}, "alarms: expected"),
        ({"videos": -1}, "videos: expected"),
        ({"upper": float("inf")}, "upper: got inf"),
    ],
)
def test_values_that_cannot_be_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        calibration(*wrong.pop("levels", (0.0, 1.0)), **wrong)
