"""Detections for painted videos, with the intervals that a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tests.extractors.painted_videos import read
from vadpipe.detection import Detection
from vadpipe.extractors.media import probe
from vadpipe.tracks import Interval, ScoreTrack, TimeGrid


def detection_of(
    path: Path, spans: Sequence[tuple[int, int]], category: str = "fighting", video_id: str = "a", **fields: Any
) -> Detection:
    """What detecting would give: intervals of the frames ``spans``, a score that rises from 0 to 1."""
    clip = replace(probe(path), id=video_id)
    grid = TimeGrid(clip.fps, clip.num_frames)
    count = grid.num_snippets
    scores = ScoreTrack(
        np.linspace(0, 1, count, dtype=np.float32), np.full((count, 2), 0.5, np.float32), ("normal", category), grid
    )
    intervals = tuple(Interval.of_frames(category, start, end, grid, 0.7) for start, end in spans)
    return Detection(clip, intervals, scores, **fields)


def painted(path: Path) -> list[tuple[float, int]]:
    """(seconds, number) of each frame that a file presents."""
    return [(round(float(time), 3), read(image)) for time, image in frames(path)]


def frames(path: Path) -> list[tuple[Fraction, NDArray[np.uint8]]]:
    """(seconds, (h, w, 3) RGB) of each frame that a file presents."""
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            image: Any = frame.to_ndarray(format="rgb24")
            found.append(((frame.pts or 0) * (frame.time_base or Fraction(1)), image))
    return found


def sound_packets(path: Path) -> list[bytes]:
    """Data of each packet of the sound."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def picture_packets(path: Path) -> list[bytes]:
    """Data of each packet of the pictures."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]
