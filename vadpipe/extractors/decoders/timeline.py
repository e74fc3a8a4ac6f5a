"""From the timestamps of all frames to a frame rate: exact where it is constant, an average where it varies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import VideoTooLarge
from vadpipe.extractors.decoders import Job

_USUAL = tuple(Fraction(*r) for r in ((24000, 1001), (30000, 1001), (60000, 1001), (24, 1), (25, 1), (30, 1), (50, 1)))
_FALLBACK_FPS = Fraction(25)


@dataclass(frozen=True, slots=True)
class Timeline:
    """fps; whether it varies; (N + 1,) float64 seconds: start of each frame and end of the last, first start 0."""

    fps: Fraction
    vfr: bool
    starts_s: NDArray[np.float64]

    @classmethod
    def constant(cls, fps: Fraction, num_frames: int) -> Timeline:
        """Frames at exactly ``fps``."""
        return cls(fps, False, np.arange(num_frames + 1) / float(fps))


def check_count(job: Job, frames: int) -> None:
    """VideoTooLarge for more frames than are allowed."""
    if frames > job.max_frames:
        raise VideoTooLarge(
            f"{job.path}: it has more than {job.max_frames} frames. "
            "Cut it into pieces, or allow more: --limit max_frames=NUMBER."
        )


def check_length(job: Job, duration_s: float | Fraction) -> None:
    """VideoTooLarge for a video that is too long."""
    if duration_s > job.max_duration_s:
        raise VideoTooLarge(
            f"{job.path}: {float(duration_s) / 3600:.1f} hours long, {job.max_duration_s / 3600:.1f} are allowed. "
            "Cut it into pieces, or allow more: --limit max_duration_s=SECONDS."
        )


def of_timestamps(
    pts: NDArray[np.int64],
    last_duration: int,
    time_base: Fraction,
    hints: Iterable[Fraction | None],
    rounding: float = 1.0,
) -> Timeline:
    """Work out the rate of frames shown at ``pts`` (N >= 1, strictly increasing, in units of ``time_base`` seconds).

    ``hints`` are rates that the container claims; one is believed only if it explains every timestamp to within
    ``rounding`` units of the time base. ``last_duration`` <= 0 means unknown.
    """
    believed = [hint for hint in hints if hint is not None and hint > 0]
    if len(pts) == 1:
        measured = 1 / (last_duration * time_base) if last_duration > 0 else _FALLBACK_FPS
        return Timeline.constant(believed[0] if believed else measured, 1)
    ticks = (pts - pts[0]).astype(np.float64)
    for fps in _candidates(pts, time_base, believed):
        if _explains(fps, ticks, time_base, rounding):
            return Timeline.constant(fps, len(pts))
    if last_duration <= 0:
        last_duration = max(round(float(np.median(np.diff(pts)))), 1)
    span = int(pts[-1] - pts[0]) + last_duration
    starts = np.append(ticks, span) * float(time_base)
    return Timeline(len(pts) / (span * time_base), True, starts)


def _candidates(pts: NDArray[np.int64], time_base: Fraction, hints: list[Fraction]) -> Iterator[Fraction]:
    steps = np.diff(pts)
    if (steps == steps[0]).all():
        yield 1 / (int(steps[0]) * time_base)
    yield from hints
    yield from _USUAL
    slope = (len(pts) - 1) / (int(pts[-1] - pts[0]) * time_base)
    if simple := slope.limit_denominator(1001):  # 0 for less than a frame in 2000 seconds
        yield simple
    yield slope


def _explains(fps: Fraction, ticks: NDArray[np.float64], time_base: Fraction, rounding: float) -> bool:
    period = float(1 / (fps * time_base))
    # Both ends of a difference are rounded to half a unit, hence one unit by default. Where a frame lasts only a few
    # units, one of them is no rounding any more but a missing frame.
    tolerance = rounding if period >= 4 * rounding else 0.0
    return bool(np.abs(ticks - np.arange(len(ticks)) * period).max() <= tolerance + 1e-6)


def picture_start(first_s: float, container: str, file_start_s: float) -> float:
    """Seconds from a player's zero to the first picture, which lies at ``first_s`` on the container's clock.

    A player's zero is the file's own in MP4/MOV and Matroska/WebM (HTML, "Offsets into the media resource"; Chromium
    was seen to do so). Other clocks begin anywhere: players then count from ``file_start_s``, where the first stream
    begins.
    """
    zero_s = 0.0 if container.startswith(("mov", "matroska")) else file_start_s
    return max(round(first_s - zero_s, 6), 0.0)
