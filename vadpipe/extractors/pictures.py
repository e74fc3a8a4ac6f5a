"""Small pictures and the outline of the sound of a video, for reports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import DecoderCrashed
from vadpipe.extractors.media import AudioChunk, Limits, Request, open_media
from vadpipe.extractors.media_task import MediaTask
from vadpipe.tracks import FloatArray

_LARGEST_HEIGHT = 2160
_WAVEFORM_HZ = 16_000


def pictures_at(
    path: Path, seconds: Sequence[float], *, height: int = 180, limits: Limits | None = None
) -> list[NDArray[np.uint8]]:
    """The frames shown at ``seconds`` (since the first frame, in any order), each (height, w, 3) uint8 RGB.

    Found by jumping to the key frame before each, in a child process that can be killed. Upright, in the proportions
    as displayed; before the start stands the first frame, beyond the end the last. A frame that cannot be decoded is
    replaced by the one before it, or the next.

    Errors: ValueError for seconds that are not finite or a height outside 1 … 2160; UsageError (no such file); every
    :class:`vadpipe.errors.VideoError`.
    """
    if not all(math.isfinite(second) for second in seconds) or not 1 <= height <= _LARGEST_HEIGHT:
        raise ValueError(f"got {list(seconds)} at height {height}, expected finite seconds, 1 … {_LARGEST_HEIGHT} rows")
    if not seconds:
        return []
    ascending = sorted({max(float(second), 0.0) for second in seconds})
    found: list[NDArray[np.uint8]] = []
    with MediaTask("pictures", path, limits, seconds=ascending, height=height) as task:
        for message in task:
            with task.checking():
                if message["t"] == "head":
                    task.open_ring(message["slot_bytes"])
                else:
                    found.append(task.picture(message))
    if len(found) != len(ascending):
        raise DecoderCrashed(f"{path}: the decoder gave {len(found)} of {len(ascending)} pictures.")
    at = dict(zip(ascending, found, strict=True))
    return [at[max(float(second), 0.0)] for second in seconds]


def waveform(path: Path, buckets: int, limits: Limits | None = None) -> FloatArray:
    """(buckets, 2) float32: lowest and highest sample, in -1 … 1, of each of ``buckets`` equal parts of the video.

    The first audio stream, its channels averaged, at 16 kHz, along the video's own time; zeros where sound is missing.
    (0, 2) where there is no sound that can be decoded. Sound is streamed: memory does not grow with its length.

    Errors: ValueError for less than one bucket; UsageError (no such file); every :class:`vadpipe.errors.VideoError`.
    """
    if buckets < 1:
        raise ValueError(f"buckets: got {buckets}, expected at least 1")
    with open_media(path, Request(views=(), audio_rate=_WAVEFORM_HZ), limits=limits) as reader:
        if not reader.clip.has_audio:
            return np.zeros((0, 2), np.float32)
        total = max(math.ceil(reader.clip.duration_s * _WAVEFORM_HZ), 1)
        outline, waiting, count = _Outline(buckets, total), list[FloatArray](), 0
        for item in reader:
            if isinstance(item, AudioChunk):  # they follow each other without holes, and are short
                waiting.append(item.samples)
                count += len(item.samples)
                if count > _WAVEFORM_HZ:
                    outline.add(waiting)
                    waiting, count = [], 0
        outline.add(waiting)
    if reader.report.audio_state != "present":
        return np.zeros((0, 2), np.float32)
    return outline.levels()


class _Outline:
    """Lowest and highest sample of each part of ``total`` samples."""

    def __init__(self, buckets: int, total: int) -> None:
        self._buckets, self._total, self._position = buckets, total, 0
        self._low = np.full(buckets, np.inf, np.float32)
        self._high = np.full(buckets, -np.inf, np.float32)

    def add(self, pieces: list[FloatArray]) -> None:
        """The samples that come next."""
        samples = np.concatenate([np.zeros(0, np.float32), *pieces])
        if not len(samples):
            return
        parts = np.arange(self._position, self._position + len(samples)) * self._buckets // self._total
        self._position += len(samples)
        starts = np.flatnonzero(np.diff(parts, prepend=-1))  # parts ascend: one stretch of samples each
        where = np.minimum(parts[starts], self._buckets - 1)
        np.minimum.at(self._low, where, np.minimum.reduceat(samples, starts))
        np.maximum.at(self._high, where, np.maximum.reduceat(samples, starts))

    def levels(self) -> FloatArray:
        """(buckets, 2); parts without a sample are silent."""
        levels = np.stack([self._low, self._high], axis=1)
        levels[np.isinf(levels[:, 0])] = 0.0
        return np.clip(np.nan_to_num(levels), -1.0, 1.0)
