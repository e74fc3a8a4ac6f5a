"""Decoding with PyAV, that is with the FFmpeg that its wheel brings along; the default.

Two passes over the packets: :mod:`vadpipe.extractors.decoders.pyav_index` only demuxes, this one decodes in order and
in one thread, and converts only the frames that are asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import cast

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from vadpipe.errors import VideoUnreadable
from vadpipe.extractors.decoders import Facts, Job, Picture, Sound, Tally
from vadpipe.extractors.decoders.pyav_audio import AudioTrack
from vadpipe.extractors.decoders.pyav_index import (
    PacketIndex,
    check_size,
    data_packets,
    decode,
    index_frames,
    index_packets,
    open_file,
    video_stream,
)


def open_source(job: Job) -> PyavSource:
    """Open a video; see :class:`vadpipe.extractors.decoders.Source`."""
    tally = Tally()
    index = index_packets(job, tally)
    if index.from_frames:
        index = index_frames(job, index)
    return PyavSource(job, index, tally)


class PyavSource:
    """A video opened with PyAV; implements :class:`vadpipe.extractors.decoders.Source`."""

    def __init__(self, job: Job, index: PacketIndex, tally: Tally) -> None:
        self.tally = tally
        self._job = job
        self._index = index
        self._ranks = None if index.counted else {int(pts): rank for rank, pts in enumerate(index.pts)}
        self._decoded = self._good = 0
        self._reformatter = VideoReformatter()
        self._container = open_file(job)
        self._stream = video_stream(self._container, job)
        self._timeline = index.timeline()
        length_s = float(self._timeline.starts_s[-1])
        self._audio = AudioTrack.of(self._container, job.audio_rate, index.start_s, length_s, tally)
        self._running = self._decode_all()
        self._early: deque[Picture | Sound] = deque()
        self.facts = self._facts(self._first_frame())

    def _first_frame(self) -> av.VideoFrame:
        """Decode up to the first good frame: only it knows the rotation and, in some containers, the size."""
        for item in self._running:
            if isinstance(item, Sound):
                self._early.append(item)
                continue
            self._early.append(self._picture(*item))
            return item[1]
        raise VideoUnreadable(f"{self._job.path}: no frame of its video stream can be decoded.")

    def _facts(self, first: av.VideoFrame) -> Facts:
        timeline = self._timeline
        turned = first.rotation % 180 == 90
        width, height = (first.height, first.width) if turned else (first.width, first.height)
        if first.rotation % 90:
            self.tally.warnings.append(f"rotation by {first.rotation} degrees is not a multiple of 90: not applied")
        return Facts(
            width=width,
            height=height,
            fps=timeline.fps,
            vfr=timeline.vfr,
            starts_s=timeline.starts_s,
            rotation=0 if first.rotation % 90 else -first.rotation % 360,
            codec=self._stream.codec_context.codec.canonical_name,
            audio_rate=self._audio.stream_rate,
        )

    def items(self) -> Iterator[Picture | Sound]:
        """Yield every decoded frame and, if asked for, the sound; see the protocol."""
        yield from self._early
        for item in self._running:
            yield item if isinstance(item, Sound) else self._picture(*item)
        self.tally.lost_frames += len(self._index.pts) - self._good
        if self._index.from_frames:  # which knows nothing of the frames that damaged packets would have given
            self.tally.missing_frames += self.tally.corrupt_packets
        self._container.close()

    def _decode_all(self) -> Iterator[tuple[int, av.VideoFrame] | Sound]:
        for packet in data_packets(self._container, self._stream, *self._audio.streams):
            self._job.beat()
            if packet.stream_index == self._stream.index:
                yield from self._indexed(decode(self._stream, packet, self.tally))
            else:
                yield from self._audio.feed(packet)
        yield from self._indexed(decode(self._stream, None, self.tally))
        yield from self._audio.finish()

    def _indexed(self, frames: list[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
        for frame in frames:
            check_size(self._job, frame.width, frame.height)  # it can change midway
            rank = self._decoded if self._ranks is None else self._ranks.get(cast(int, frame.pts))
            self._decoded += 1
            # A frame that the decoder itself marks as damaged leaves a hole, as a lost one does.
            if rank is not None and not frame.is_corrupt:
                self._good += 1
                yield rank, frame

    def _picture(self, index: int, frame: av.VideoFrame) -> Picture:
        return Picture(index, lambda: self._rgb(frame))

    def _rgb(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        converted = self._reformatter.reformat(frame, format="rgb24")
        upright = cast("NDArray[np.uint8]", converted.to_ndarray())
        # PyAV reports the display matrix (counterclockwise) and leaves it to the caller.
        return upright if frame.rotation % 90 else np.rot90(upright, frame.rotation // 90)
