"""Decoding with torchcodec on the CPU, that is with the FFmpeg libraries of the system.

Its packet-level building blocks are used, in order and in one thread, not its VideoDecoder: a damaged packet is then
skipped and counted, sound comes out of the same pass, and no seek can land on a wrong frame. They are marked as new in
torchcodec 0.17, hence the narrow range of versions in ``pyproject.toml``.

Differs from the default decoder: a frame that the codec repaired (errors concealed) counts as good, because torchcodec
does not hand on FFmpeg's mark of it; of several video streams the best one in FFmpeg's sense is taken, not the first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torchcodec import ffmpeg_major_version
from torchcodec.decoders import ColorConverter, Demuxer

from vadpipe.errors import VideoUnreadable
from vadpipe.extractors.decoders import Facts, Job, Picture, Sound, Tally
from vadpipe.extractors.decoders.timeline import picture_start
from vadpipe.extractors.decoders.torchcodec_audio import AudioTrack
from vadpipe.extractors.decoders.torchcodec_index import (
    BeatingFile,
    FrameTable,
    Streams,
    check_size,
    decode,
    index_frames,
    open_streams,
    packets,
    said,
)

LIBRARIES = f"ffmpeg{ffmpeg_major_version}"
"""FFmpeg's own version, of which torchcodec loads one build of itself: it fixes those of libavcodec (decoding),
libswscale (colours) and libswresample (sound); 5, for example, is libavcodec 59, libswscale 6 and libswresample 4."""


def open_source(job: Job) -> TorchcodecSource:
    """Open a video; see :class:`vadpipe.extractors.decoders.Source`."""
    streams = open_streams(job)
    return TorchcodecSource(job, streams, index_frames(job, streams))


class TorchcodecSource:
    """A video opened with torchcodec; implements :class:`vadpipe.extractors.decoders.Source`."""

    def __init__(self, job: Job, streams: Streams, table: FrameTable) -> None:
        self.tally = Tally(audio_state="absent" if streams.audio < 0 else "present")
        self._job, self._streams, self._table = job, streams, table
        self._packets = self._decoded = self._good = 0
        self._wants_pictures = True
        self._converter = ColorConverter("cpu")
        self._demuxer, self._decoder, self._audio = self._open()
        self._running = self._decode_all()
        self._early: deque[tuple[int, Any] | Sound] = deque()
        first = self._first_frame()
        width, height = (first.width, first.height) if first.rotation % 180 == 0 else (first.height, first.width)
        self.facts = Facts(
            width=width,
            height=height,
            fps=table.timeline.fps,
            vfr=table.timeline.vfr,
            starts_s=table.timeline.starts_s,
            rotation=round(-first.rotation) % 360,
            codec=streams.header.codec or "",
            audio_rate=streams.audio_rate,
            start_s=picture_start(table.start_s, streams.container, streams.start_s),
        )

    def items(self) -> Iterator[Picture | Sound]:
        """Yield every decoded frame and, if asked for, the sound; see the protocol."""
        self._wants_pictures = len(self._job.sampled(self.facts.num_frames)) > 0
        while self._early:
            yield self._item(self._early.popleft())
        for item in self._running:
            yield self._item(item)
        if self._wants_pictures:
            self.tally.lost_frames += self.facts.num_frames - self._good
        if self._table.from_frames:  # which knows nothing of the frames that damaged packets would have given
            self.tally.missing_frames += self.tally.corrupt_packets
        promised = self._streams.header.num_frames_from_header or 0
        if self._streams.container == "mov" and self._packets < promised:
            missing = promised - self._packets
            self.tally.missing_frames += missing
            self.tally.warnings.append(f"the file ends early: {missing} of {promised} frames are missing")

    def _open(self) -> tuple[Demuxer, Any, AudioTrack | None]:
        """A demuxer of its own for decoding: after a seek back to the start, some containers begin elsewhere."""
        with_sound = self._streams.audio >= 0 and self._job.audio_rate > 0
        wanted = (self._streams.video, self._streams.audio) if with_sound else (self._streams.video,)
        try:
            demuxer = Demuxer(BeatingFile(self._job.path, self._job.beat), streams=wanted)
            decoder = demuxer.streams[0].make_decoder("cpu", num_ffmpeg_threads=1)
        except (RuntimeError, ValueError) as error:
            text = f"{self._job.path}: torchcodec cannot decode it ({said(error)}). Try pyav."
            raise VideoUnreadable(text) from error
        if not with_sound:
            return demuxer, decoder, None
        length_s = float(self._table.timeline.starts_s[-1])
        audio = AudioTrack(demuxer.streams[1], self._job, self._table.start_s, length_s, self.tally)
        return demuxer, decoder, audio

    def _first_frame(self) -> Any:
        """Decode up to the first good frame: it alone knows the true size and rotation."""
        for item in self._running:
            self._early.append(item)
            if not isinstance(item, Sound):
                return item[1]
        raise VideoUnreadable(f"{self._job.path}: no frame of its video stream can be decoded.")

    def _decode_all(self) -> Iterator[tuple[int, Any] | Sound]:
        for packet in packets(self._job, self._demuxer):
            if packet.stream_index == self._streams.video:
                self._packets += 1
                if self._wants_pictures:
                    yield from self._indexed(packet)
            elif self._audio is not None:
                yield from self._audio.feed(packet)
        yield from self._indexed(None)
        if self._audio is not None:
            yield from self._audio.finish()

    def _indexed(self, packet: Any) -> Iterator[tuple[int, Any]]:
        for frame in decode(self._decoder, packet, self.tally):
            check_size(self._job, frame.width, frame.height)  # it can change midway
            ranks = self._table.ranks
            rank = self._decoded if ranks is None else ranks.get(frame.pts_seconds)
            self._decoded += 1
            if rank is not None:
                self._good += 1
                yield rank, frame

    def _item(self, item: tuple[int, Any] | Sound) -> Picture | Sound:
        if isinstance(item, Sound):
            return item
        index, frame = item
        return Picture(index, lambda: self._rgb(frame))

    def _rgb(self, frame: Any) -> NDArray[np.uint8]:
        upright = self._converter.convert(frame).data.permute(1, 2, 0).numpy()
        return cast("NDArray[np.uint8]", upright)
