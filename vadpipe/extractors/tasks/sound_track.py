"""The sound of a video beside pictures that are cut or drawn on: packets as they are where MP4 takes them, else AAC.

It reads the file by itself, so how a container interleaves pictures and sound does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np

from vadpipe.extractors.decoders import Job
from vadpipe.extractors.decoders.pyav_file import data_packets, open_file
from vadpipe.extractors.tasks.writing import NotTaken, Output
from vadpipe.tracks import FloatArray

if TYPE_CHECKING:
    from av.audio.stream import AudioStream

COPIED = frozenset({"aac", "mp3", "opus", "flac"})
"""Codecs that are copied: what MP4 takes and browsers play."""

_RATES = (48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
_GAP_S = 0.05
"""Seconds by which sound that is encoded may be off its timestamps before silence is put in, or samples are cut."""

_BACK_S = (0.5, 3.0)


class SoundTrack:
    """The first audio stream from ``start_s`` to ``end_s`` (on the container's clock), moved so that it starts at 0.

    Nothing is written where there is none. Damaged packets are skipped; encoded, they leave silence.
    """

    def __init__(self, job: Job, out: Output, start_s: Fraction, end_s: Fraction, *, copy: bool = True) -> None:
        self._job, self._out, self._copy = job, out, copy
        self._start_s, self._end_s = start_s, end_s
        self._container = open_file(job)
        self._track: _Copied | _Encoded | None = None
        self._packets: Iterator[Any] = iter(())
        self._coming: Any = None
        try:
            if self._container.streams.audio:
                self._open()
        except BaseException:
            self.close()
            raise

    def write_until(self, second: float) -> None:
        """Write the sound that starts before ``second`` of the new file."""
        if self._track is None:
            return
        limit = float(self._end_s - self._start_s)
        while self._coming is not None and (at := self._time(self._coming) - self._start_s) < min(second, limit):
            self._job.beat()
            self._track.feed(self._coming, at)
            self._coming = next(self._packets, None)

    def finish(self) -> None:
        """Write the rest."""
        self.write_until(math.inf)
        if self._track is not None:
            self._track.finish()

    def close(self) -> None:
        """Close the file that is read; to be called in any case."""
        self._container.close()

    def _open(self) -> None:
        context = cast("av.AudioCodecContext | None", self._container.streams.audio[0].codec_context)
        if context is None or not context.sample_rate:
            return
        self._packets = self._sought()
        self._coming = next(self._packets, None)
        if self._coming is None:
            return
        stream = self._container.streams.audio[0]  # only now: the file may have been opened anew
        if self._copy and stream.codec_context.name in COPIED:
            try:
                self._track = _Copied(self._out, stream, self._start_s)
            except (ValueError, av.error.FFmpegError) as error:
                raise NotTaken(f"sound: {error}") from error
        else:
            self._track = _Encoded(self._out, stream, self._start_s, self._end_s - self._start_s, self._job)

    def _sought(self) -> Iterator[Any]:
        """Packets from a little before the start on; from the start of the file where a jump comes out too late."""
        stream = self._container.streams.audio[0]
        for back_s in _BACK_S:
            wanted_s = self._start_s - Fraction(back_s)
            if wanted_s <= 0:
                break
            try:
                self._container.seek(int(wanted_s / cast(Fraction, stream.time_base)), stream=stream)
            except av.error.FFmpegError:
                break
            packets = self._timed(stream)
            first = next(packets, None)
            if first is not None and self._time(first) <= self._start_s:
                yield first
                yield from packets
                return
        self._container.close()
        self._container = open_file(self._job)
        yield from self._timed(self._container.streams.audio[0])

    def _timed(self, stream: AudioStream) -> Iterator[Any]:
        return (packet for packet in data_packets(self._container, stream) if packet.pts is not None)

    @staticmethod
    def _time(packet: Any) -> Fraction:
        return cast(Fraction, packet.pts * packet.time_base)


class _Copied:
    """Packets as they are; the one before the start is kept, hidden, because decoders start on it."""

    def __init__(self, out: Output, stream: AudioStream, start_s: Fraction) -> None:
        self._out, self._start_s, self._rate = out, start_s, stream.codec_context.sample_rate
        self._stream = out.container.add_stream_from_template(stream)
        self._before: Any = None
        self._last: int | None = None

    def feed(self, packet: Any, at: Fraction) -> None:
        if at + (packet.duration or 0) * packet.time_base <= 0:
            self._before = packet
            return
        for one in (self._before, packet):
            if one is not None:
                self._write(one)
        self._before = None

    def finish(self) -> None: ...

    def _write(self, packet: Any) -> None:
        # In samples: a container's own unit may be as long as a packet (AVI).
        at = round((packet.pts * packet.time_base - self._start_s) * self._rate)
        if self._last is not None and at <= self._last:
            return
        packet.duration = round((packet.duration or 0) * packet.time_base * self._rate)
        packet.pts = packet.dts = self._last = at  # sound is never reordered
        packet.time_base = Fraction(1, self._rate)
        packet.stream = self._stream
        self._out.mux([packet])


class _Encoded:
    """Decoded sound as AAC, one or two channels, placed by its timestamps; gaps are filled with silence."""

    def __init__(self, out: Output, stream: AudioStream, start_s: Fraction, length_s: Fraction, job: Job) -> None:
        self._out, self._given, self._start_s, self._job = out, stream, start_s, job
        rate = stream.codec_context.sample_rate
        self._rate = rate if rate in _RATES else 48000
        layout = "mono" if stream.codec_context.channels == 1 else "stereo"
        self._channels = 1 if layout == "mono" else 2
        self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=self._rate)
        self._layout = layout
        self._stream = out.container.add_stream("aac", rate=self._rate, layout=layout)
        self._end = round(length_s * self._rate)
        self._position = 0

    def feed(self, packet: Any, at: Fraction) -> None:  # noqa: ARG002  a frame's own time counts
        try:
            frames = self._given.codec_context.decode(packet)
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            return
        for frame in frames:
            if frame.pts is not None and frame.time_base is not None:
                self._place(frame, frame.pts * frame.time_base - self._start_s)

    def finish(self) -> None:
        self._out.mux(self._stream.encode(None))

    def _place(self, frame: av.AudioFrame, at: Fraction) -> None:
        wanted = round(at * self._rate)
        samples = self._resampled(frame)
        if samples is None:  # the stream changed its rate or layout midway
            self._resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=self._rate)
            samples = self._resampled(frame)
        if samples is None:
            return
        wanted = min(wanted, self._end)
        while wanted - self._position > _GAP_S * self._rate:
            self._job.beat()
            missing = min(wanted - self._position, self._rate)
            self._emit(np.zeros((self._channels, missing), np.float32))
        surplus = self._position - wanted  # at the start, or where timestamps advance slower than samples
        if surplus > (_GAP_S * self._rate if self._position else 0):
            samples = samples[:, surplus:]
        self._emit(samples)

    def _resampled(self, frame: av.AudioFrame) -> FloatArray | None:
        """(channels, n); None where the resampler was made for frames of another kind, which it may hand through."""
        try:
            pieces = self._resampler.resample(frame)
        except ValueError:
            return None
        if any(piece.layout.nb_channels != self._channels or piece.sample_rate != self._rate for piece in pieces):
            return None
        none = np.zeros((self._channels, 0), np.float32)
        return np.concatenate([none, *(piece.to_ndarray() for piece in pieces)], axis=1, dtype=np.float32)

    def _emit(self, samples: FloatArray) -> None:
        kept = samples[:, : max(self._end - self._position, 0)]
        if not kept.shape[1]:
            return
        block = av.AudioFrame.from_ndarray(np.ascontiguousarray(kept), format="fltp", layout=self._layout)
        block.sample_rate, block.pts, block.time_base = self._rate, self._position, Fraction(1, self._rate)
        self._position += kept.shape[1]
        self._out.mux(self._stream.encode(block))
