"""Core values: a video's facts, its time grid, features, scores, intervals. All are checked once, at birth.

Legend: T snippets, N frames, D feature columns, C classes including ``normal`` at index 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.sound import check_states
from vadpipe.spec import FeatureSpec

NORMAL = "normal"
"""Reserved category name; always index 0 of a head's classes."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TimeGrid:
    """The only owner of snippet <-> frame <-> second. All spans are half-open.

    A video of ``num_frames`` N frames has T = ceil(N / frames_per_snippet) snippets; the last may be short.

    fps
        Frames per second as an exact fraction, e.g. ``Fraction(30000, 1001)``; for variable rate the average.
    boundaries_s
        Variable frame rate only: T + 1 seconds, the start of every snippet and the end of the last frame. Frames are
        what is counted; seconds between two boundaries are interpolated. Empty for constant rate.
    """

    fps: Fraction
    num_frames: int
    frames_per_snippet: int = 16
    boundaries_s: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.fps, Fraction) or self.fps <= 0:
            raise ValueError(f"fps: got {self.fps!r}, expected a positive Fraction")
        if self.num_frames < 0 or self.frames_per_snippet < 1:
            raise ValueError(f"num_frames {self.num_frames} must be >= 0, frames_per_snippet >= 1")
        if self.boundaries_s:
            if len(self.boundaries_s) != self.num_snippets + 1:
                raise ValueError(f"boundaries_s: got {len(self.boundaries_s)}, expected {self.num_snippets + 1}")
            if not np.isfinite(self.boundaries_s).all() or (np.diff(self.boundaries_s) <= 0).any():
                raise ValueError("boundaries_s must be finite and strictly increasing")

    @property
    def num_snippets(self) -> int:
        """T; 0 for a video without frames."""
        return -(-self.num_frames // self.frames_per_snippet)

    @property
    def vfr(self) -> bool:
        """True where the frame rate varies."""
        return bool(self.boundaries_s)

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame's start to the last frame's end."""
        return self.second_of(self.num_frames)

    def frames_of(self, start: int, end: int) -> tuple[int, int]:
        """Frames [first, last) of the snippets [start, end)."""
        if not 0 <= start <= end <= self.num_snippets:
            raise ValueError(f"snippets [{start}, {end}) are not inside [0, {self.num_snippets})")
        step = self.frames_per_snippet
        return min(start * step, self.num_frames), min(end * step, self.num_frames)

    def snippet_of(self, frame: int) -> int:
        """Snippet that holds ``frame``."""
        if not 0 <= frame < self.num_frames:
            raise ValueError(f"frame {frame} is not inside [0, {self.num_frames})")
        return frame // self.frames_per_snippet

    def sampled_frames(self, offset: int = 0) -> NDArray[np.int64]:
        """(T,) frame that stands for each snippet: its frame ``offset``, or its last where it is shorter."""
        starts = np.arange(self.num_snippets, dtype=np.int64) * self.frames_per_snippet
        return np.minimum(starts + offset, max(self.num_frames - 1, 0))

    def second_of(self, frame: int) -> float:
        """Start of ``frame`` in seconds; ``frame == num_frames`` is the end of the video."""
        if not 0 <= frame <= self.num_frames:
            raise ValueError(f"frame {frame} is not inside [0, {self.num_frames}]")
        if self.boundaries_s:
            return float(np.interp(frame, self._boundary_frames(), self.boundaries_s))
        return int(frame) * self.fps.denominator / self.fps.numerator  # rounded once, as float(frame / fps) is

    def edges_s(self) -> NDArray[np.float64]:
        """(T + 1,) seconds: the start of every snippet and the video's end, as :meth:`second_of` has them."""
        return np.array(self.boundaries_s or [self.second_of(frame) for frame in self._boundary_frames().tolist()])

    def starts_s(self) -> NDArray[np.float64]:
        """(N,) seconds: the start of every frame, as :meth:`second_of` has it."""
        frames = np.arange(self.num_frames, dtype=np.int64)
        if self.boundaries_s:
            return np.interp(frames, self._boundary_frames(), self.boundaries_s)
        return frames * self.fps.denominator / self.fps.numerator

    def frame_at(self, second: float) -> int:
        """Frame that is shown at ``second``, clipped to [0, num_frames]; inverse of :meth:`second_of`."""
        if not math.isfinite(second):
            raise ValueError(f"second: got {second}, expected a finite number")
        known = self.boundaries_s
        guess = math.floor(np.interp(second, known, self._boundary_frames()) if known else Fraction(second) * self.fps)
        frame = min(max(guess, 0), self.num_frames)
        # A start in seconds is a rounded number: what counts is on which side of the rounded start ``second`` lies.
        if frame < self.num_frames and self.second_of(frame + 1) <= second:
            return frame + 1
        if frame > 0 and self.second_of(frame) > second:
            return frame - 1
        return frame

    def per_frame(self, rows: NDArray[Any]) -> NDArray[Any]:
        """(T, …) rows of snippets -> (N, …) rows of frames, each row repeated over its snippet's frames."""
        if len(rows) != self.num_snippets:
            raise ValueError(f"rows: got {len(rows)}, expected one per snippet, {self.num_snippets}")
        return np.repeat(rows, self.frames_per_snippet, axis=0)[: self.num_frames]

    def _boundary_frames(self) -> NDArray[np.int64]:
        return np.append(np.arange(self.num_snippets, dtype=np.int64) * self.frames_per_snippet, self.num_frames)


@dataclass(frozen=True, slots=True)
class VideoClip:
    """Facts about one video file; no pixels.

    width, height
        As displayed, that is after ``rotation`` (degrees clockwise, a multiple of 90) was applied.
    num_frames, fps, duration_s, vfr
        Presented frames (edit lists honoured); average rate; seconds; whether the rate varies.
    start_s
        Second of a player at which the first picture comes, from which all other seconds count.
    audio_rate
        Sampling rate of the first audio stream in Hz, 0 where there is none.
    sha256, size_bytes
        Digest and size of the file.
    """

    id: str
    path: str
    width: int
    height: int
    fps: Fraction
    num_frames: int
    duration_s: float
    vfr: bool = False
    codec: str = ""
    rotation: int = 0
    audio_rate: int = 0
    size_bytes: int = 0
    sha256: str = ""
    start_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("id must not be empty")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"size: got {self.width} x {self.height}, expected at least 1 x 1")
        if self.fps <= 0 or self.num_frames < 0 or not self.duration_s >= 0:
            raise ValueError(f"fps {self.fps}, num_frames {self.num_frames}, duration_s {self.duration_s}")
        if not 0 <= self.start_s < math.inf:
            raise ValueError(f"start_s: got {self.start_s}, expected a finite number, 0 or more")
        if self.rotation % 90:
            raise ValueError(f"rotation: got {self.rotation}, expected a multiple of 90")

    @property
    def has_audio(self) -> bool:
        """True where the file has an audio stream."""
        return self.audio_rate > 0


@dataclass(frozen=True, slots=True)
class FeatureTrack:
    """One stream of features of one video.

    data
        (T, D) or (crops, T, D), float16 or float32, finite.
    grid, spec
        Time and origin; T and D agree with them, or the value cannot be built.
    video_id, source_size, source_sha256
        Which file it was made from.
    corrupt_packets, warnings
        Damaged packets that decoding skipped; what else it said of this stream: :func:`vadpipe.sound.kept_warnings`.
    states
        (T,) uint8, for sound: what each row's window held, an index into :data:`vadpipe.sound.SOUND_STATES`. Rows that
        are ``absent`` or ``undecodable`` hold zeros, which are no data. None: all present.
    """

    data: NDArray[Any]
    grid: TimeGrid
    spec: FeatureSpec
    video_id: str
    source_size: int = 0
    source_sha256: str = ""
    corrupt_packets: int = 0
    states: NDArray[np.uint8] | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.data.ndim not in (2, 3) or self.data.dtype not in (np.float32, np.float16):
            raise ValueError(f"data: got {self.data.dtype} {self.data.shape}, expected float (T, D) or (crops, T, D)")
        wanted = (self.grid.num_snippets, self.spec.dim)
        if self.data.shape[-2:] != wanted:
            raise ValueError(f"data: got (T, D) = {self.data.shape[-2:]}, expected {wanted} from the grid and spec")
        if self.grid.frames_per_snippet != self.spec.frames_per_snippet:
            raise ValueError("grid and spec differ in frames_per_snippet")
        if not self.video_id:
            raise ValueError("video_id must not be empty")
        if not np.isfinite(self.data).all():
            raise ValueError(f"data of {self.video_id!r} holds NaN or infinity")
        check_states(self.states, self.data)


@dataclass(frozen=True, slots=True)
class ScoreTrack:
    """What a head says about one video.

    anomaly
        (T,) float32 in [0, 1].
    categories
        (T, C) float32, class probabilities; column 0 is ``normal``.
    labels
        The C class names, ``normal`` first.
    zero_shot
        Those that the head was not trained on. Each of their columns is a probability against the trained ones alone.
    """

    anomaly: FloatArray
    categories: FloatArray
    labels: tuple[str, ...]
    grid: TimeGrid
    zero_shot: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        rows = self.grid.num_snippets
        if self.anomaly.shape != (rows,) or self.categories.shape != (rows, len(self.labels)):
            raise ValueError(
                f"scores: got {self.anomaly.shape} and {self.categories.shape}, "
                f"expected ({rows},) and ({rows}, {len(self.labels)})"
            )
        if not self.labels or self.labels[0] != NORMAL:
            raise ValueError(f"labels: got {self.labels}, expected {NORMAL!r} first")
        if not self.zero_shot <= set(self.labels[1:]):
            raise ValueError(f"zero_shot: got {sorted(self.zero_shot)}, expected labels other than {NORMAL!r}")
        if not (np.isfinite(self.anomaly).all() and np.isfinite(self.categories).all()):
            raise ValueError("scores hold NaN or infinity")
        if ((self.anomaly < 0) | (self.anomaly > 1)).any():
            raise ValueError(f"scores: got {self.anomaly.min()} … {self.anomaly.max()}, expected anomaly in [0, 1]")

    def even_share(self, category: str) -> float:
        """Probability that a category has to pass, whatever the settings: 1 / trained classes, own ones aside.

        For an own category it is 1/2: its text has to say more than ``normal`` and the trained classes together.
        """
        return 1 / 2 if category in self.zero_shot else 1 / (len(self.labels) - len(self.zero_shot))

    def per_frame(self) -> FloatArray:
        """(N,) anomaly score of every frame."""
        return self.grid.per_frame(self.anomaly)


@dataclass(frozen=True, slots=True)
class Interval:
    """One incident: category, half-open span in seconds and frames, score (NaN is refused; truth has score 1)."""

    category: str
    start_s: float
    end_s: float
    start_frame: int
    end_frame: int
    score: float = 1.0

    def __post_init__(self) -> None:
        if not self.category or self.category == NORMAL:
            raise ValueError(f"category: got {self.category!r}, expected an anomaly category")
        if not 0 <= self.start_frame < self.end_frame:
            raise ValueError(f"frames: got [{self.start_frame}, {self.end_frame}), expected 0 <= start < end")
        if not 0 <= self.start_s < self.end_s or not math.isfinite(self.end_s):
            raise ValueError(f"seconds: got [{self.start_s}, {self.end_s}), expected 0 <= start < end")
        if not math.isfinite(self.score):
            raise ValueError(f"score: got {self.score}, expected a finite number")

    @classmethod
    def of_frames(cls, category: str, start: int, end: int, grid: TimeGrid, score: float = 1.0) -> Interval:
        """Build from the frames [start, end) of a video, seconds taken from its grid."""
        return cls(category, grid.second_of(start), grid.second_of(end), start, end, score)

    def iou(self, other: Interval) -> float:
        """Intersection over union in frames, 0 … 1."""
        overlap = max(min(self.end_frame, other.end_frame) - max(self.start_frame, other.start_frame), 0)
        union = (self.end_frame - self.start_frame) + (other.end_frame - other.start_frame) - overlap
        return overlap / union
