"""The result for one video."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vadpipe.calibration import Calibration
from vadpipe.tracks import FloatArray, Interval, ScoreTrack, VideoClip

ZERO_SHOT_NOTE = "zero-shot, uncalibrated"
"""What every output says of a category that the head was not trained on."""


@dataclass(frozen=True, slots=True)
class AudioUse:
    """Whether a video's sound counted in its scores, and why or why not."""

    used: bool = False
    reason: str = "the head uses video only"


@dataclass(frozen=True, slots=True)
class Detection:
    """The result for one video: facts, intervals sorted by start, scores, and where they come from.

    params
        Settings by which the head that scored it turned scores into intervals.
    zero_shot
        Categories that were only named when detecting; the head was not trained on them.
    calibration
        Of the head that scored it, on normal footage of the user's own; None where there is none.
    """

    clip: VideoClip
    intervals: tuple[Interval, ...]
    scores: ScoreTrack
    provenance: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    audio: AudioUse = AudioUse()
    params: dict[str, Any] = field(default_factory=dict)
    zero_shot: frozenset[str] = frozenset()
    calibration: Calibration | None = None

    def note(self, category: str) -> str:
        """What has to be said beside a category wherever it is shown; empty for a trained one."""
        return ZERO_SHOT_NOTE if category in self.zero_shot else ""

    def shown(self, category: str) -> str:
        """A category as people are shown it: its name, with the note where there is one."""
        return f"{category} ({ZERO_SHOT_NOTE})" if category in self.zero_shot else category

    def peak(self, interval: Interval) -> float:
        """Highest raw anomaly score within an interval."""
        grid = self.scores.grid
        first, last = interval.start_frame, interval.end_frame - 1
        step = grid.frames_per_snippet
        return float(self.scores.anomaly[first // step : last // step + 1].max())

    def calibrated(self) -> FloatArray | None:
        """(T,) calibrated anomaly scores, see :meth:`Calibration.calibrated`; None without a calibration."""
        return None if self.calibration is None else self.calibration.calibrated(self.scores.anomaly)

    def calibrated_peak(self, interval: Interval) -> float | None:
        """The calibrated score of an interval's peak; None without a calibration, and for a zero-shot category."""
        if self.calibration is None or interval.category in self.zero_shot:
            return None
        peak = np.array([self.peak(interval)], dtype=np.float32)  # calibrated scores never fall as raw ones rise
        return float(self.calibration.calibrated(peak)[0])
