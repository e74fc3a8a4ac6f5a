"""``--overlay``: a copy of the video with scores and labels drawn on it. What is drawn: docs/clips.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vadpipe.detection import Detection
from vadpipe.errors import UsageError
from vadpipe.extractors.limits import Limits
from vadpipe.extractors.media_task import Appearing, MediaTask

_ENDINGS = (".mp4", ".m4v")
_DECIMALS = 4


def draw_overlay(
    path: Path,
    detection: Detection,
    out: Path,
    on_frame: Callable[[int, int], None] | None = None,
    *,
    limits: Limits | None = None,
) -> Path:
    """Write ``out``, an MP4 file: every frame of ``path`` with the anomaly score, a timeline and the current labels.

    Frames keep their times, sound is kept (copied where MP4 takes it, else AAC); the picture is upright, and odd sizes
    lose their last row or column. ``on_frame`` is told (done, all) a few times a second. The file appears under its
    name once it is whole.

    Errors: UsageError (no such video, ``out`` is the video itself, does not end in .mp4, or cannot be written), and
    every :class:`vadpipe.errors.VideoError`.
    """
    if out.suffix.lower() not in _ENDINGS:
        raise UsageError(f"{out}: got {out.suffix or 'no ending'!r}, expected a name that ends in .mp4")
    total = detection.clip.num_frames
    file = Appearing(out, path)
    try:
        arguments = {**_drawn(detection), "temporary": str(file.temporary.absolute()), "shown": str(out)}
        with MediaTask("overlay", path, limits, **arguments) as task:
            for message in task:
                with task.checking():
                    done = int(message["done"])
                if on_frame is not None:
                    on_frame(min(done, total), total)
        file.settle()
    finally:
        file.discard()
    if on_frame is not None:
        on_frame(total, total)
    return out


def _drawn(detection: Detection) -> dict[str, Any]:
    """What the child draws, in numbers and words."""
    grid, calibrated = detection.scores.grid, detection.calibrated()
    calibration = detection.calibration
    return {
        "fps": [grid.fps.numerator, grid.fps.denominator],
        "num_frames": grid.num_frames,
        "step": grid.frames_per_snippet,
        "boundaries_s": grid.boundaries_s,
        "anomaly": [round(float(score), _DECIMALS) for score in detection.scores.anomaly],
        "calibrated": None if calibrated is None else [round(float(score), _DECIMALS) for score in calibrated],
        "threshold": None if calibration is None else calibration.threshold,
        "marks": [
            (one.start_frame, one.end_frame, detection.shown(one.category), one.category, detection.note(one.category))
            for one in detection.intervals
        ],
    }
