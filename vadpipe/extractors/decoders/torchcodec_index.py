"""The torchcodec decoder's first pass: open a local file, and find out which frames it presents and when.

As with the default decoder, demuxing alone tells where it can, so that a damaged packet leaves a hole later on and
shifts nothing; containers without presentation times (AVI) and codecs with hidden frames (VP8) cost one decoding pass
more. Imports torch and torchcodec, and refuses to be imported where torchcodec cannot load FFmpeg's libraries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torchcodec
from numpy.typing import NDArray
from torchcodec.decoders import Demuxer, get_container_metadata

from vadpipe.errors import UsageError, VideoTooLarge, VideoUnreadable
from vadpipe.extractors.decoders import DECODERS, Job, Tally
from vadpipe.extractors.decoders.timeline import Timeline, check_count, check_length, of_timestamps

if torchcodec.ffmpeg_major_version is None:
    raise UsageError(DECODERS["torchcodec"].missing)

_NO_TIME = -(2**63)  # FFmpeg's AV_NOPTS_VALUE
_SOURCE_PLACE = re.compile(r"^\w+, \S+:\d+, ")
_NO_MEMORY = "status -12"  # AVERROR(ENOMEM)
_MAX_DEMUX_FAILURES = 64
_BROADCAST = frozenset({"mpegts", "mpeg"})
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"moof")
_MAGIC = (
    (b"\x1a\x45\xdf\xa3", "matroska"),
    (b"FLV", "flv"),
    (b"OggS", "ogg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (b"\x00\x00\x01\xba", "mpeg"),
)
_TS_SYNC, _TS_PACKETS = 0x47, 3
_TS_LAYOUTS = ((0, 188), (0, 204), (4, 192))
"""Place of the first packet and bytes per packet, of which the first is the sync byte: transport stream as broadcast,
with error correction, with four bytes of time before each packet (M2TS)."""
_HEAD_BYTES = 204 * _TS_PACKETS


class BeatingFile:
    """A file whose every read tells the parent that there is progress: indexing is one long call of the library.

    torchcodec is given an open file and never a name: behind a file object FFmpeg follows no protocol and no playlist.
    It closes none, so the file is closed with the demuxer that holds this object.
    """

    def __init__(self, path: Path, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._file = path.open("rb", buffering=0)

    def __del__(self) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """As :meth:`io.RawIOBase.read`."""
        self._beat()
        return self._file.read(size) or b""

    def seek(self, offset: int, whence: int) -> int:
        """As :meth:`io.IOBase.seek`."""
        return self._file.seek(offset, whence)


@dataclass(frozen=True, slots=True)
class Streams:
    """What the header says: container kind, stream numbers (audio -1: none) and the video stream's metadata.

    ``start_s`` is when the earliest stream begins, on the container's clock.
    """

    container: str
    video: int
    audio: int
    audio_rate: int
    header: Any
    start_s: float = 0.0

    @property
    def claimed(self) -> list[Fraction]:
        """The frame rate that the header claims, if any."""
        rate = self.header.average_fps_from_header
        return [Fraction(rate).limit_denominator(1001)] if rate else []


@dataclass(frozen=True, slots=True)
class FrameTable:
    """Which frames are presented when.

    ranks
        Seconds on the container's clock, as decoded frames carry them, -> index; None where timestamps say nothing, so
        that a frame's index is how many frames came before it.
    from_frames
        True where frames had to be decoded to be counted.
    start_s
        Time of the first presented frame on the container's clock.
    """

    timeline: Timeline
    ranks: dict[float, int] | None
    from_frames: bool
    start_s: float


def open_streams(job: Job) -> Streams:
    """Read the header; VideoUnreadable, VideoTooLarge."""
    with job.path.open("rb") as file:
        container = _container(file.read(_HEAD_BYTES))
    if not container:
        raise VideoUnreadable(
            f"{job.path}: this container format is not opened, only MP4/MOV, Matroska/WebM, AVI, MPEG-TS and PS, FLV, "
            "ASF and Ogg. Convert the file first."
        )
    try:
        found = get_container_metadata(BeatingFile(job.path, job.beat))
    except (RuntimeError, ValueError) as error:  # its own JSON, which cannot hold a rate of 0 / 0
        raise VideoUnreadable(f"{job.path}: not a readable video ({said(error)}). Convert it, or try pyav.") from error
    if found.best_video_stream_index is None:
        raise VideoUnreadable(f"{job.path}: it has no video stream. Give a file that holds moving pictures.")
    header = found.streams[found.best_video_stream_index]
    check_size(job, header.width or 0, header.height or 0)
    audio = next((stream for stream in found.streams if stream.media_type == "audio"), None)
    audio_index, audio_rate = (audio.stream_index, audio.sample_rate or 0) if audio is not None else (-1, 0)
    starts = [stream.begin_stream_seconds_from_header for stream in found.streams]
    start_s = min((start for start in starts if start is not None), default=0.0)
    return Streams(container, header.stream_index, audio_index, audio_rate, header, start_s)


def _container(head: bytes) -> str:
    if head[4:8] in _MP4_BOXES:
        return "mov"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if any(_has_packets(head, *layout) for layout in _TS_LAYOUTS):
        return "mpegts"
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "")


def _has_packets(head: bytes, first: int, size: int) -> bool:
    syncs = head[first : first + size * _TS_PACKETS : size]  # one byte, which is a letter, says nothing
    return len(syncs) == _TS_PACKETS and set(syncs) == {_TS_SYNC}


def check_size(job: Job, width: int, height: int) -> None:
    """VideoTooLarge for a frame over the cap."""
    if width * height > job.max_pixels:
        raise VideoTooLarge(
            f"{job.path}: {width} x {height} pixels, {job.max_pixels} are allowed in a frame. "
            "Scale it down, or allow more: --limit max_pixels=NUMBER."
        )


def said(error: BaseException) -> str:
    """The first line of what the library says, without the place in its sources."""
    lines = str(error).strip().splitlines()
    return _SOURCE_PLACE.sub("", lines[0]) if lines else type(error).__name__


def packets(job: Job, demuxer: Demuxer) -> Iterator[Any]:
    """All packets; a demuxer that fails is asked again, but not for ever."""
    failures = 0
    while failures < _MAX_DEMUX_FAILURES:
        job.beat()
        try:
            packet = next(demuxer)
        except StopIteration:
            return
        except RuntimeError:
            failures += 1
            continue
        failures = 0
        yield packet


def decode(decoder: Any, packet: Any, tally: Tally) -> list[Any]:
    """Frames that one packet (None: the end) sets free; none where it is damaged, which is counted."""
    try:
        return list(decoder.drain() if packet is None else decoder.decode(packet))
    except RuntimeError as error:
        if _NO_MEMORY in str(error):
            raise MemoryError from error
        tally.corrupt_packets += 1
        return []


def index_frames(job: Job, streams: Streams) -> FrameTable:
    """Times of all presented frames, checked against the cap on the duration; VideoUnreadable, VideoTooLarge."""
    try:
        index = Demuxer(BeatingFile(job.path, job.beat), streams=streams.video).streams[0].scan()
    except (RuntimeError, ValueError) as error:
        raise VideoUnreadable(f"{job.path}: torchcodec cannot index it ({said(error)}). Try pyav.") from error
    # The public seconds are these exact numbers, rounded; the rate is worked out from the exact ones.
    pts: NDArray[np.int64] = index._pts.numpy()
    time_base = Fraction(index._time_base_num, index._time_base_den)
    seconds = index.pts_seconds.tolist()
    check_count(job, len(pts))
    kept = np.ones(len(pts), bool)
    if streams.container in _BROADCAST and index.is_key_frame.any():
        # What comes before the first key frame of a recording that was joined midway can never be shown.
        kept[: int(index.key_frame_indices[0])] = False
    counted = streams.container == "avi" or len(np.unique(pts)) < len(pts) or bool((pts == _NO_TIME).any())
    from_frames = counted or streams.header.codec == "vp8"
    if from_frames:
        job.counted(len(pts))
        shown = _decoded_seconds(job, streams)
        kept = np.isin(np.array(seconds), shown)
        counted = counted or kept.sum() != len(shown) or bool((np.diff(shown) <= 0).any())
    count = len(shown) if counted else int(kept.sum())
    if not count:
        raise VideoUnreadable(f"{job.path}: its video stream holds no frame.")
    if counted:
        timeline = Timeline.constant((streams.claimed or [Fraction(25)])[0], count)
        return _checked(job, FrameTable(timeline, None, True, 0.0))
    places = np.flatnonzero(kept)
    check_length(job, (int(pts[places[-1]]) - int(pts[places[0]])) * time_base)
    timeline = of_timestamps(pts[places], int(index._duration[places[-1]]), time_base, streams.claimed)
    ranks = {seconds[place]: rank for rank, place in enumerate(places.tolist())}
    return _checked(job, FrameTable(timeline, ranks, from_frames, seconds[places[0]]))


def _decoded_seconds(job: Job, streams: Streams) -> list[float]:
    """Times of the frames that decoding really gives, in the order in which they come."""
    demuxer = Demuxer(BeatingFile(job.path, job.beat), streams=streams.video)
    decoder = demuxer.streams[0].make_decoder("cpu")
    scrap = Tally()
    shown = [frame.pts_seconds for packet in packets(job, demuxer) for frame in decode(decoder, packet, scrap)]
    return shown + [frame.pts_seconds for frame in decode(decoder, None, scrap)]


def _checked(job: Job, table: FrameTable) -> FrameTable:
    check_length(job, float(table.timeline.starts_s[-1]))
    return table
