"""A threshold from normal footage of one's own camera, and what a raw score means by it.

Legend: N frames or snippets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vadpipe.tracks import FloatArray

_ABOVE_ALL = float(np.nextafter(np.float32(1), np.float32(2)))
_MOST = 10**12  # of anything counted here; what is larger is no count, and no float


@dataclass(frozen=True, slots=True)
class Calibration:
    """What ``vadpipe calibrate`` learned from normal footage, for one trained head.

    threshold
        An interval is an alarm where its highest raw anomaly score reaches this: 0 … 1, or the next float32 above 1.
    false_alarms_per_hour, hours, videos
        What was asked for; how much normal footage there was.
    alarms, upper
        Intervals in that footage that reach the threshold; upper 95 % limit of the true rate per hour (Poisson).
    levels
        Ascending raw anomaly scores of the normal snippets at evenly spaced shares of the time, 0 … 1.
    head_sha256
        Digest of the head's weights; a calibration serves no other head.
    settings
        Detection settings by name that the intervals were found with; others find others.
    """

    threshold: float
    false_alarms_per_hour: float
    hours: float
    videos: int
    alarms: int
    upper: float
    levels: tuple[float, ...]
    head_sha256: str = ""
    settings: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        levels = np.array(self.levels)
        if len(levels) < 2 or not np.isfinite(levels).all() or (np.diff(levels) < 0).any():
            raise ValueError(f"levels: got {len(levels)} values, expected at least 2, finite and ascending")
        if levels[0] < 0 or levels[-1] > 1:
            raise ValueError(f"levels: got {levels[0]:g} to {levels[-1]:g}, expected scores, 0 to 1")
        for name in ("threshold", "false_alarms_per_hour", "hours", "upper"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{name}: got {value}, expected a finite number of at least 0")
        if self.hours == 0:
            raise ValueError("hours: got 0, expected more: a rate an hour needs some footage")
        if self.threshold > _ABOVE_ALL:
            raise ValueError(
                f"threshold: got {self.threshold:g}, expected 0 to 1, or {_ABOVE_ALL!r}, above every score"
            )
        for name in ("videos", "alarms"):
            if not 0 <= getattr(self, name) <= _MOST:
                raise ValueError(f"{name}: expected 0 to {_MOST}")

    def calibrated(self, anomaly: FloatArray) -> FloatArray:
        """(N,) raw anomaly scores -> (N,) share of the normal footage's time that scored lower, 0 … 1.

        Never falls as scores rise; linear between two levels. A score that much of the footage has in common counts as
        higher than what is under it alone.
        """
        levels, shares = np.array(self.levels), np.linspace(0.0, 1.0, len(self.levels))
        first = np.minimum(np.searchsorted(levels, anomaly), len(levels) - 1)  # np.interp takes the last of equal ones
        values = np.where(levels[first] == anomaly, shares[first], np.interp(anomaly, levels, shares))
        return values.astype(np.float32)
