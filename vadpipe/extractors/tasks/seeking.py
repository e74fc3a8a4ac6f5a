"""Jumping to a second of a video, which may be damaged, with PyAV.

Seconds count from the first presented frame, as everywhere; ``pts`` are the stream's own timestamps.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from vadpipe.errors import VideoTooLarge, VideoUnreadable
from vadpipe.extractors.decode_child_link import Link
from vadpipe.extractors.decoders import Job, Tally
from vadpipe.extractors.decoders.pyav_file import check_size, data_packets, decode, open_file, video_stream
from vadpipe.extractors.decoders.pyav_index import BROADCAST
from vadpipe.extractors.decoders.timeline import check_count

_FIRST_PACKETS = 64
"""Packets among which the first presented frame's is; reordering reaches over 16 at most."""

_ROUNDING_S = 0.0015
"""Seconds by which a frame may start later than its exact time: Matroska rounds to milliseconds."""

_BACK_S = (0.0, 2.0, 10.0, 60.0, math.inf)
"""How much earlier to look, one after the other, where a jump came out too late (MPEG-TS has no index)."""

_NEAR_S = 2.0
"""Seconds that are rather decoded than jumped over."""

_FALL_S = 0.5
"""Seconds by which decoding times have to fall back to have started again; a damaged one stands alone."""


class Film:
    """An opened video: its container, its stream of pictures, and when that begins.

    start_pts
        Timestamp of the first presented frame, in units of the stream's ``time_base``.
    counted
        True where timestamps say nothing (AVI), so that a frame's time is how many frames came before it.
    """

    def __init__(self, link: Link, request: dict[str, Any]) -> None:
        self.job = job_of(link, request)
        with contextlib.closing(open_file(self.job)) as container:
            self.start_pts = _start(container, video_stream(container, self.job), self.job)
        self.container = open_file(self.job)
        self.stream = video_stream(self.container, self.job)
        self.time_base = cast(Fraction, self.stream.time_base)
        self.counted = self.container.format.name == "avi"
        self._numbered, self._unit_s = np.zeros(0, np.int64), self.time_base
        if self.counted:
            # Its numbers also count empty packets, which repeat a frame; frames alone are counted elsewhere.
            entries = self.stream.index_entries
            self._numbered = np.fromiter((entry.timestamp for entry in entries if entry.size), np.int64)
            self._unit_s = 1 / (self.stream.average_rate or Fraction(25))
        self._seconds = float(self.time_base)
        self.tally = Tally()
        self._check_duration((self.container.duration or 0) / av.time_base)

    def close(self) -> None:
        """Close the file; to be called in any case."""
        self.container.close()

    def pts_at(self, second: float) -> int:
        """Latest timestamp of a frame that counts as shown at ``second``."""
        tick = float(self._unit_s)
        return self._stamp(math.floor(second / tick + min(1.0, _ROUNDING_S / tick)))

    def pts_before(self, second: float) -> int:
        """Timestamp that all frames shown before ``second`` lie below; one that starts at ``second`` does not."""
        tick = float(self._unit_s)
        return self._stamp(math.ceil(second / tick - min(1.0, _ROUNDING_S / tick)))

    def _stamp(self, units: int) -> int:
        """Timestamp of a time since the start, in units; of a frame by its number, where frames are counted."""
        if not len(self._numbered):
            return self.start_pts + units
        last = len(self._numbered) - 1
        return int(self._numbered[min(max(units, 0), last)]) + max(units - last, 0)

    def seek(self, pts: int) -> None:
        """Go to a key frame at or before ``pts``, as far as the container can tell; else to the start."""
        if pts > self.start_pts:
            with contextlib.suppress(av.error.FFmpegError):
                self.container.seek(pts, stream=self.stream)
                return
        self.container.close()  # a jump to the first timestamp may miss the first frame (MPEG-TS)
        self.container = open_file(self.job)
        self.stream = video_stream(self.container, self.job)

    def packets(self) -> Iterator[av.Packet[av.stream.Stream]]:
        """Packets of the pictures from here to the end of the file."""
        for count, packet in enumerate(data_packets(self.container, self.stream), 1):
            self.job.beat()
            check_count(self.job, count)
            yield packet

    def frames(self) -> Iterator[av.VideoFrame]:
        """Good frames from here to the end of the file, each later than the one before."""
        last = self.start_pts - 1
        for frame in self._decoded():
            check_size(self.job, frame.width, frame.height)  # it can change midway
            pts = frame.pts
            if frame.is_corrupt or (pts is None and not self.counted):
                continue
            if self.counted:
                # AVI numbers packets, not frames: with B frames the numbers are out of order, and late by their delay
                pts = max((pts or 0) - self.stream.codec_context.reorder_depth, last + 1)
            if cast(int, pts) > last:
                self._check_duration((cast(int, pts) - self.start_pts) * self._seconds)
                last = frame.pts = cast(int, pts)
                yield frame

    def _check_duration(self, length_s: float) -> None:
        if length_s > self.job.max_duration_s:
            raise VideoTooLarge(
                f"{self.job.path}: {length_s / 3600:.1f} hours long, {self.job.max_duration_s / 3600:.1f} are allowed. "
                "Cut it into pieces, or allow more: --limit max_duration_s=SECONDS."
            )

    def _decoded(self) -> Iterator[av.VideoFrame]:
        for packet in self.packets():
            yield from decode(self.stream, packet, self.tally)
        yield from decode(self.stream, None, self.tally)


class Finder:
    """Finds frames by their second; asked in ascending order, it decodes no stretch twice if it can."""

    def __init__(self, film: Film) -> None:
        self._film = film
        self._running: Iterator[av.VideoFrame] = iter(())
        self._held: av.VideoFrame | None = None
        self._coming: av.VideoFrame | None = None
        self._jumps_pay = True

    def onward(self) -> Iterator[av.VideoFrame]:
        """The frame that was found last, and all after it; nothing can be found afterwards."""
        for frame in (self._held, self._coming):
            if frame is not None:
                yield frame
        yield from self._running

    def at(self, second: float) -> av.VideoFrame:
        """The frame shown at ``second``, the last one beyond the end; VideoUnreadable where none can be decoded."""
        target = self._film.pts_at(second)
        if not self._reached(target) and not self._near(target):
            self._jump(target)
        self._go_to(target)
        found = self._held or self._coming
        if found is None:
            raise VideoUnreadable(f"{self._film.job.path}: no frame at {second:.2f} s or before it can be decoded.")
        return found

    def _reached(self, target: int) -> bool:
        if self._held is None or _pts(self._held) > target:
            return False
        return self._coming is None or target < _pts(self._coming)  # None: the file ends

    def _near(self, target: int) -> bool:
        if self._coming is None or _pts(self._coming) > target:
            return False
        return not self._jumps_pay or (target - _pts(self._coming)) * self._film.time_base < _NEAR_S

    def _jump(self, target: int) -> None:
        was = None if self._coming is None else _pts(self._coming)
        before = self._held
        for back_s in _BACK_S:
            wanted = self._film.start_pts
            if math.isfinite(back_s):
                wanted = max(target - round(back_s / self._film.time_base), wanted)
            self._film.seek(wanted)
            self._running = self._film.frames()
            self._held, self._coming = None, next(self._running, None)
            if self._coming is not None and _pts(self._coming) <= target:
                break
            if wanted == self._film.start_pts:
                break
        if was is not None and self._coming is not None and _pts(self._coming) <= was <= target:
            self._jumps_pay = False  # key frames lie too far apart: from here on, straight ahead
        if self._coming is None and before is not None and _pts(before) <= target:
            self._held = before

    def _go_to(self, target: int) -> None:
        while self._coming is not None and _pts(self._coming) <= target:
            self._held, self._coming = self._coming, next(self._running, None)


def job_of(link: Link, request: dict[str, Any]) -> Job:
    """What :mod:`vadpipe.extractors.decoders` wants to know, from a task's request."""
    return Job(
        path=Path(request["path"]),
        sampled=lambda _: np.zeros(0, np.int64),
        audio_rate=0,
        max_pixels=request["max_pixels"],
        max_duration_s=request["max_duration_s"],
        beat=link.beat,
        max_frames=request["max_frames"],
    )


def _start(container: InputContainer, stream: VideoStream, job: Job) -> int:
    """Timestamp of the first presented frame, by the rules of :mod:`vadpipe.extractors.decoders.pyav_index`.

    VideoUnreadable where timestamps start again later on. All packets are read for that, but where an index tells.
    """
    name = container.format.name
    if name == "avi":
        return 0
    coming = data_packets(container, stream)
    packets = list(islice(coming, _FIRST_PACKETS))
    if not (name.startswith("mov") and stream.frames):
        _check_once(chain(packets, coming), job, cast(Fraction, stream.time_base))
    if name in BROADCAST:
        first = next((place for place, packet in enumerate(packets) if packet.is_keyframe), 0)
        packets = packets[first:]
    return min((packet.pts for packet in packets if packet.pts is not None and not packet.is_discard), default=0)


def _check_once(packets: Iterator[Any], job: Job, tick: Fraction) -> None:
    """Timestamps tell one place each; not so in files joined end to end, whose frames extraction counts instead."""
    fall, recent = round(_FALL_S / tick), deque[int](maxlen=4)
    first: int | None = None
    for count, packet in enumerate(packets, 1):
        job.beat()
        check_count(job, count)
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is None:
            continue
        first = stamp if first is None else first
        recent.append(stamp)
        if len(recent) == 4 and min(recent[0], recent[1]) - max(recent[2], recent[3]) > fall:
            raise VideoUnreadable(
                f"{job.path}: its timestamps start again at {float((recent[1] - first) * tick):.1f} s, as in files "
                "joined end to end; pictures cannot be found by their time. Remux it, for example with "
                "ffmpeg -i OLD -c copy NEW.mp4, and detect again."
            )


def _pts(frame: av.VideoFrame) -> int:
    return cast(int, frame.pts)
