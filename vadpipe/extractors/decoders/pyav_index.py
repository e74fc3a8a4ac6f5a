"""The PyAV decoder's first pass: open a local file, and find out which frames it presents and when.

Demuxing alone tells: the timestamps of all presented packets, sorted, say how many frames there are and which index
belongs to which timestamp, so that a damaged packet leaves a hole later on and shifts nothing. Containers that store no
presentation times (AVI) and codecs whose packets are not one frame each (VP8's hidden frames) cost a decoding pass
more: there, decoded frames are counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, cast

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vadpipe.errors import VideoUnreadable
from vadpipe.extractors.decoders import Job, Tally
from vadpipe.extractors.decoders.nal_units import BORROWS, classifier, settle
from vadpipe.extractors.decoders.pyav_file import data_packets, decode, open_file, video_stream
from vadpipe.extractors.decoders.timeline import Timeline, check_count, check_length, of_timestamps

BROADCAST = frozenset({"mpegts", "mpeg"})
_COUNTED_CODECS = frozenset({"vp8"})
_RENEWING: tuple[Literal["new_extradata", "param_change"], ...] = ("new_extradata", "param_change")
"""Side data of packets that change how the decoder reads what follows."""

_REEL_BYTES = 24 * 1024**2
"""How much of a file is kept between the two passes, where that is all of it."""

_PACKET_BYTES = 1024
"""What a packet takes besides its data, about."""


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """Which frames are presented when: ``pts`` sorted, in units of ``time_base``.

    counted
        True where timestamps say nothing, so that a frame's index is how many frames came before it.
    from_frames
        True where packets are not enough: :func:`index_frames` has to look, or has looked, at decoded frames.
    order, kinds
        Timestamps of all packets in decoding order (None: hidden), and what each means for the others, see
        :mod:`vadpipe.extractors.decoders.nal_units`; kinds are empty where nothing may be left out.
    """

    pts: NDArray[np.int64]
    time_base: Fraction
    last_duration: int
    hints: tuple[Fraction | None, ...]
    counted: bool
    from_frames: bool
    order: list[int | None] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)

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
    order: list[int | None] = field(default_factory=list)
    last_pts: int | None = None
    last_duration: int = 0
    packets: int = 0
    started: bool = False

    def add(self, packet: av.Packet[VideoStream]) -> None:
        self.packets += 1
        pts = None if packet.is_discard else packet.pts
        self.order.append(pts)
        if self.broadcast and packet.is_keyframe and not self.started:
            # What comes before the first key frame of a recording that was joined midway can never be shown. Not so
            # in files with an index: there, a first packet that is no key frame is a damaged one.
            self.pts.clear()
            self.started = True
        if pts is not None:
            self.pts.append(pts)
            if self.last_pts is None or pts > self.last_pts:
                self.last_pts, self.last_duration = pts, packet.duration or 0
        elif not packet.is_discard:
            self.pts.append(None)


class Reel:
    """An opened file for decoding: its packets as the first pass kept them, or read from the file.

    Clips of some minutes fit into :data:`_REEL_BYTES`; for them opening and demuxing a second time would cost more.
    """

    def __init__(self, job: Job) -> None:
        self.container = open_file(job)
        self.stream = video_stream(self.container, job)
        self._job = job
        self._kept: deque[av.Packet[av.stream.Stream]] | None = None
        self._room = _REEL_BYTES

    def first_pass(self, *streams: av.stream.Stream) -> Iterator[av.Packet[av.stream.Stream]]:
        """All packets, which are kept while they are small."""
        self._kept = deque()
        for packet in data_packets(self.container, *streams):
            self._job.beat()
            self._room -= packet.size + _PACKET_BYTES
            if self._room < 0:
                self._kept = None
            elif self._kept is not None:
                self._kept.append(packet)
            yield packet

    def after_first_pass(self) -> Reel:
        """Itself where it kept the packets, else the file opened anew."""
        if self._kept is not None:
            return self
        self.container.close()
        return Reel(self._job)

    def play(self, *streams: av.stream.Stream) -> Iterator[av.Packet[av.stream.Stream]]:
        """All packets of the video and of ``streams``, once."""
        if self._kept is None:
            yield from data_packets(self.container, self.stream, *streams)
            return
        while self._kept:
            yield self._kept.popleft()


def index_packets(job: Job, tally: Tally) -> tuple[PacketIndex, Reel]:
    """Demux the whole file and check its size and duration against the caps; see :class:`PacketIndex`."""
    reel = Reel(job)
    container, stream = reel.container, reel.stream
    context = stream.codec_context
    classify = classifier(context.name, context.extradata)
    seen, kinds = _Seen(container.format.name in BROADCAST), []
    for packet in reel.first_pass(stream, *container.streams.audio[: int(job.audio_rate > 0)]):
        if packet.stream_index == stream.index:
            seen.add(cast("av.Packet[VideoStream]", packet))
            check_count(job, seen.packets)
            if classify is not None:
                # Headers beside a packet replace those of the file, for all packets from here on.
                renewed = seen.packets > 1 and any(map(packet.has_sidedata, _RENEWING))
                kinds.append(BORROWS if renewed else classify(memoryview(packet)))
    if container.format.name.startswith("mov") and seen.packets < stream.frames:
        tally.missing_frames = stream.frames - seen.packets
        tally.warnings.append(f"the file ends early: {tally.missing_frames} of {stream.frames} frames are missing")
    known = sorted({pts for pts in seen.pts if pts is not None})
    unique = len(known) == len(seen.pts)
    counted = not unique or container.format.name == "avi"
    index = PacketIndex(
        pts=np.array(known if unique else range(len(seen.pts)), dtype=np.int64),
        time_base=cast(Fraction, stream.time_base),
        last_duration=seen.last_duration,
        hints=(stream.average_rate, stream.guessed_rate, stream.base_rate),
        counted=counted,
        from_frames=counted or context.name in _COUNTED_CODECS,
        order=seen.order,
        kinds=settle(kinds),
    )
    _check_duration(job, index)
    return index, reel.after_first_pass()


def _check_duration(job: Job, index: PacketIndex) -> None:
    if not len(index.pts):
        raise VideoUnreadable(f"{job.path}: its video stream holds no frame.")
    if not index.counted:  # first by whole numbers: damaged times lie too far apart to be worked with
        check_length(job, (int(index.pts[-1]) - int(index.pts[0])) * index.time_base)
    check_length(job, float(index.timeline().starts_s[-1]))


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
            check_count(job, len(pts))
        pts += [frame.pts for frame in decode(stream, None, scrap)]
    known = np.array([p for p in pts if p is not None], dtype=np.int64)
    if trusted and len(known) == len(pts) and (np.diff(known) > 0).all():
        index = PacketIndex(known, packets.time_base, packets.last_duration, packets.hints, False, True)
    else:
        index = PacketIndex(np.arange(len(pts)), packets.time_base, 1, packets.hints, True, True)
    _check_duration(job, index)
    return index
