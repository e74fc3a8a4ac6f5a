"""The PyAV decoder's first pass: open a local file, and find out which frames it presents and when.

Demuxing alone tells: the timestamps of all presented packets, sorted, say how many frames there are and which index
belongs to which timestamp, so that a damaged packet leaves a hole later on and shifts nothing. Containers that store no
presentation times (AVI) and codecs whose packets are not one frame each (VP8's hidden frames) cost a decoding pass
more: there, decoded frames are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vadpipe.errors import VideoTooLarge, VideoUnreadable
from vadpipe.extractors.decoders import Job, Tally
from vadpipe.extractors.decoders.timeline import Timeline, of_timestamps

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg"
"""Demuxers that may run. Playlists and scripts of other files (hls, dash, concat, image2, …) are not among them."""

_BROADCAST = frozenset({"mpegts", "mpeg"})
_COUNTED_CODECS = frozenset({"vp8"})
_MAX_DEMUX_FAILURES = 64


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """Which frames are presented when: ``pts`` sorted, in units of ``time_base``.

    counted
        True where timestamps say nothing, so that a frame's index is how many frames came before it.
    from_frames
        True where packets are not enough: :func:`index_frames` has to look, or has looked, at decoded frames.
    """

    pts: NDArray[np.int64]
    time_base: Fraction
    last_duration: int
    hints: tuple[Fraction | None, ...]
    counted: bool
    from_frames: bool

    @property
    def start_s(self) -> Fraction:
        """Time of the first presented frame on the container's clock."""
        return Fraction(0) if self.counted or not len(self.pts) else int(self.pts[0]) * self.time_base

    def timeline(self) -> Timeline:
        """Seconds of all frames; counted frames are taken to come at the claimed rate."""
        if not self.counted:
            return of_timestamps(self.pts, self.last_duration, self.time_base, self.hints)
        claimed = next((hint for hint in self.hints if hint), Fraction(25))
        return Timeline.constant(claimed, len(self.pts))


@dataclass(slots=True)
class _Seen:
    """Timestamps met by the demuxing pass."""

    broadcast: bool
    pts: list[int | None] = field(default_factory=list)
    last_pts: int | None = None
    last_duration: int = 0
    packets: int = 0
    started: bool = False

    def add(self, packet: av.Packet[VideoStream]) -> None:
        self.packets += 1
        if self.broadcast and packet.is_keyframe and not self.started:
            # What comes before the first key frame of a recording that was joined midway can never be shown. Not so
            # in files with an index: there, a first packet that is no key frame is a damaged one.
            self.pts.clear()
            self.started = True
        if packet.is_discard:
            return
        self.pts.append(packet.pts)
        if packet.pts is not None and (self.last_pts is None or packet.pts > self.last_pts):
            self.last_pts, self.last_duration = packet.pts, packet.duration or 0


def open_file(job: Job) -> InputContainer:
    """Open a local file in one of :data:`FORMATS`; VideoUnreadable otherwise."""
    # "file:" and an absolute path: ids that start with '-' or hold ':' are names here, not options or protocols
    url = f"file:{job.path.absolute()}"
    whitelist = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    # What FFmpeg logs says why it refuses a file. Later on its log stays off: it costs Python's lock at every line.
    av.logging.set_level(av.logging.ERROR)
    try:
        return av.open(url, container_options=whitelist, metadata_errors="replace")
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise VideoUnreadable(f"{job.path}: {_why_not_opened(error)}") from error
    finally:
        av.logging.set_level(None)


def _why_not_opened(error: av.error.FFmpegError) -> str:
    said = str(error)
    if "whitelist" in said:
        return f"this container format is not opened, only {FORMATS.replace(',', ', ')}. Convert the file first."
    if "moov atom not found" in said:
        return "its index (moov) is missing: the recording or the download was cut off, or it is no video at all."
    if isinstance(error, av.error.EOFError):
        return "it ends before its first frame. Download or record it again."
    return f"not a readable video ({error.strerror}). Check the file with another player, or convert it."


def video_stream(container: InputContainer, job: Job) -> VideoStream:
    """The first video stream that is no cover picture, set to one thread; VideoUnreadable, VideoTooLarge."""
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise VideoUnreadable(f"{job.path}: it has no video stream. Give a file that holds moving pictures.")
    stream = streams[0]
    context = cast("av.VideoCodecContext | None", stream.codec_context)
    if context is None:
        raise VideoUnreadable(f"{job.path}: no decoder for its codec in PyAV. Convert it, for example to H.264.")
    check_size(job, context.width, context.height)
    context.thread_count = 1
    return stream


def check_size(job: Job, width: int, height: int) -> None:
    """VideoTooLarge for a frame over the cap."""
    if width * height > job.max_pixels:
        raise VideoTooLarge(
            f"{job.path}: {width} x {height} pixels, {job.max_pixels} are allowed in a frame. "
            "Scale it down, or raise max_pixels."
        )


def data_packets(container: InputContainer, *streams: av.stream.Stream) -> Iterator[av.Packet[av.stream.Stream]]:
    """All packets that hold data; a demuxer that fails is asked again, but not for ever."""
    failures = 0
    while failures < _MAX_DEMUX_FAILURES:
        try:
            for packet in container.demux(*streams):
                if packet.size:  # empty ones would make the decoder flush
                    failures = 0
                    yield packet
        except av.error.InvalidDataError:
            failures += 1
        else:
            return


def decode(stream: VideoStream, packet: av.Packet[av.stream.Stream] | None, tally: Tally) -> list[av.VideoFrame]:
    """Frames that one packet (None: the end) sets free; none where it is damaged, which is counted."""
    try:
        return stream.codec_context.decode(cast("av.Packet[VideoStream] | None", packet))
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError:
        tally.corrupt_packets += 1
        return []


def index_packets(job: Job, tally: Tally) -> PacketIndex:
    """Demux the whole file and check its size and duration against the caps; see :class:`PacketIndex`."""
    with closing(open_file(job)) as container:
        stream = video_stream(container, job)
        seen = _Seen(container.format.name in _BROADCAST)
        for packet in data_packets(container, stream):
            job.beat()
            seen.add(cast("av.Packet[VideoStream]", packet))
        if container.format.name.startswith("mov") and seen.packets < stream.frames:
            tally.missing_frames = stream.frames - seen.packets
            tally.warnings.append(f"the file ends early: {tally.missing_frames} of {stream.frames} frames are missing")
        known = sorted({pts for pts in seen.pts if pts is not None})
        unique = len(known) == len(seen.pts)
        counted = not unique or container.format.name == "avi"
        from_frames = counted or stream.codec_context.name in _COUNTED_CODECS
        hints = (stream.average_rate, stream.guessed_rate, stream.base_rate)
        pts = np.array(known if unique else range(len(seen.pts)), dtype=np.int64)
        index = PacketIndex(pts, cast(Fraction, stream.time_base), seen.last_duration, hints, counted, from_frames)
    _check_duration(job, index)
    return index


def _check_duration(job: Job, index: PacketIndex) -> None:
    if not len(index.pts):
        raise VideoUnreadable(f"{job.path}: its video stream holds no frame.")
    duration = float(index.timeline().starts_s[-1])
    if duration > job.max_duration_s:
        raise VideoTooLarge(
            f"{job.path}: {duration / 3600:.1f} hours long, {job.max_duration_s / 3600:.1f} are allowed. "
            "Cut it into pieces, or raise max_duration_s."
        )


def index_frames(job: Job, packets: PacketIndex) -> PacketIndex:
    """Index of the frames that decoding really gives, for containers and codecs whose packets do not tell."""
    scrap = Tally()
    pts: list[int | None] = []
    with closing(open_file(job)) as container:
        stream = video_stream(container, job)
        trusted = container.format.name != "avi"
        for packet in data_packets(container, stream):
            job.beat()
            pts += [frame.pts for frame in decode(stream, packet, scrap)]
        pts += [frame.pts for frame in decode(stream, None, scrap)]
    known = np.array([p for p in pts if p is not None], dtype=np.int64)
    if trusted and len(known) == len(pts) and (np.diff(known) > 0).all():
        return PacketIndex(known, packets.time_base, packets.last_duration, packets.hints, False, True)
    return PacketIndex(np.arange(len(pts)), packets.time_base, 1, packets.hints, True, True)
