"""Decoding with decord, for comparison with work that used it. What it gets wrong is refused where it can be told.

Deviations from the default decoder, each held by a test of the conformance suite:

- only MP4/MOV and Matroska/WebM are opened: in AVI, MPEG-TS, MPEG-PS and FLV decord hands over wrong frames;
- a file with an edit list is refused: decord counts the frames that it hides;
- one damaged packet, or AV1, makes the video unreadable;
- sound is aligned to the file's time zero, not to the first picture; Matroska's encoder delay (about 0.07 s) stays; and
  stereo comes out 3 dB louder than the average of its channels;
- when the pictures begin is not told, as decord counts from the first one: ``start_s`` of the clip is 0;
- sound that starts late counts as silence until then and loses its end; at the first damaged packet sound ends;
- ``audio_rate`` of the clip and the report's ``audio_state`` say something only where sound was asked for, and then the
  rate is the one that was asked for; the codec is not told; the pixel cap is checked at the first decoded frame.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, cast

import decord
import numpy as np
from decord import AudioReader, VideoReader
from numpy.typing import NDArray

from vadpipe.errors import VideoTooLarge, VideoUnreadable
from vadpipe.extractors.decoders import Facts, Job, Picture, Sound, Tally
from vadpipe.extractors.decoders.timeline import Timeline, check_count, check_length, of_timestamps

_MILLISECOND = Fraction(1, 1000)
_LATEST_S = 1e12
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_SOURCE_PLACE = re.compile(r"^\[[\d:]+\] \S+:\d+: (Error: )?")
_ERRORS = (decord.DECORDError, RuntimeError, AssertionError, IndexError, StopIteration)


def open_source(job: Job) -> DecordSource:
    """Open a video; see :class:`vadpipe.extractors.decoders.Source`."""
    decord.logging.set_level(decord.logging.QUIET)
    _check_container(job)
    return DecordSource(job)


def _check_container(job: Job) -> None:
    """Look at the first bytes ourselves: decord's FFmpeg of 2018 would open any playlist and any protocol."""
    with job.path.open("rb") as file:
        head = file.read(12)
    known = head[4:8] in _MP4_BOXES or head.startswith(b"\x1a\x45\xdf\xa3")
    if not known:
        raise VideoUnreadable(
            f"{job.path}: decord is used for MP4/MOV and Matroska/WebM only, in other containers it gives wrong "
            "frames. Use the decoder pyav."
        )


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return _SOURCE_PLACE.sub("", lines[0]) if lines else type(error).__name__


class DecordSource:
    """A video opened with decord; implements :class:`vadpipe.extractors.decoders.Source`."""

    def __init__(self, job: Job) -> None:
        self.tally = Tally()
        self._job = job
        self._file = job.path.open("rb", buffering=0)
        # Not by its own name: one with "%03d" in it would be taken for a series of other files.
        self._name = f"/proc/self/fd/{self._file.fileno()}"
        try:
            self._reader: Any = VideoReader(self._name, ctx=decord.cpu(0), num_threads=1)
        except _ERRORS as error:
            raise VideoUnreadable(f"{job.path}: decord cannot open it ({_said(error)}). Try pyav.") from error
        timeline = self._timeline()
        duration = float(timeline.starts_s[-1])
        check_length(job, duration)
        self._first = self._next(0)
        height, width = self._first.shape[:2]
        if height * width > job.max_pixels:
            raise VideoTooLarge(
                f"{job.path}: {width} x {height} pixels, {job.max_pixels} are allowed in a frame. "
                "Scale it down, or allow more: --limit max_pixels=NUMBER."
            )
        self._sound = self._read_sound(duration) if job.audio_rate else np.zeros(0, np.float32)
        self.facts = Facts(
            width=width,
            height=height,
            fps=timeline.fps,
            vfr=timeline.vfr,
            starts_s=timeline.starts_s,
            audio_rate=0 if self.tally.audio_state == "absent" else job.audio_rate,
        )

    def items(self) -> Iterator[Picture | Sound]:
        """Yield the wanted frames only, each already converted, then the sound; see the protocol.

        All frames up to the last wanted one are read in order: where decord jumps to a key frame, it miscounts the
        pictures around it that come later in the file but are shown earlier (open groups, x265's default).
        """
        wanted = self._job.sampled(self.facts.num_frames).tolist()
        frame, at = self._first, 0
        for index in wanted:
            while at < index:
                self._job.beat()
                at += 1
                frame = self._next(at)
            yield _picture(index, frame.asnumpy())
        if len(self._sound):
            yield Sound(0, self._sound)

    def _next(self, index: int) -> Any:
        """The next frame, which is ``index``, as decord's array."""
        try:
            frame = self._reader.next()
        except _ERRORS as error:
            raise VideoUnreadable(
                f"{self._job.path}: decord cannot decode frame {index} ({_said(error)}). "
                "Use the decoder pyav, which skips damaged packets and knows newer codecs."
            ) from error
        if frame.shape[2] != 3:  # for a display matrix that is no quarter turn
            raise VideoUnreadable(
                f"{self._job.path}: decord gives frames of {frame.shape[2]} channels, expected 3. Use the decoder pyav."
            )
        return frame

    def _timeline(self) -> Timeline:
        count = len(self._reader)
        check_count(self._job, count)
        spans = self._reader.get_frame_timestamp(range(count)).astype(np.float64)
        if not (np.abs(spans) < _LATEST_S).all():  # nor NaN
            raise VideoUnreadable(f"{self._job.path}: its frames have impossible times. Try the decoder pyav.")
        starts = np.rint(spans[:, 0] * 1000).astype(np.int64)
        if starts[0] < 0 or (np.diff(starts) <= 0).any():
            raise VideoUnreadable(
                f"{self._job.path}: its frames have no increasing times from zero on (an edit list?), "
                "which decord gets wrong. Use the decoder pyav."
            )
        last = round(float(spans[-1, 1]) * 1000) - int(starts[-1])
        rate = float(self._reader.get_avg_fps())
        claimed = [Fraction(rate).limit_denominator(1001)] if math.isfinite(rate) else []
        # decord keeps seconds as 32-bit floats, whose steps exceed a millisecond after 2.3 hours
        steps = float(np.spacing(np.float32(spans[-1, 1]))) * 1000
        return of_timestamps(starts, last, _MILLISECOND, claimed, rounding=1.0 + steps)

    def _read_sound(self, duration: float) -> NDArray[np.float32]:
        """All samples: decord decodes sound as a whole (and mixes channels itself: kept apart it mangles them)."""
        rate = self._job.audio_rate
        try:
            reader: Any = AudioReader(self._name, ctx=decord.cpu(0), sample_rate=rate, mono=True)
            reader.add_padding()
            mono = reader[:].asnumpy()[0]
        except _ERRORS as error:
            self.tally.audio_state = "absent" if "find audio stream" in str(error) else "undecodable"
            return np.zeros(0, np.float32)
        if not mono.size:
            self.tally.audio_state = "undecodable"
            return np.zeros(0, np.float32)
        self.tally.audio_state = "present"
        return cast("NDArray[np.float32]", mono[: math.ceil(duration * rate)])


def _picture(index: int, rgb: NDArray[np.uint8]) -> Picture:
    return Picture(index, lambda: rgb)
