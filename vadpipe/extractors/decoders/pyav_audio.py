"""The audio half of the PyAV decoder: any audio stream -> mono float32 at one rate, aligned to the pictures."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer

from vadpipe.extractors.decoders import Job, Sound, Tally
from vadpipe.extractors.decoders.sound_line import SoundLine
from vadpipe.sound import DAMAGED
from vadpipe.tracks import FloatArray

_MOST_PLANES = 8


class AudioTrack:
    """Decodes, resamples and places the first audio stream; without one, or where none is wanted, it yields nothing.

    Sample 0 belongs to the first presented picture (``start_s`` on the container's clock): earlier sound is cut off,
    a later start and gaps are filled with zeros (and say so), and what lies beyond the pictures' ``length_s`` is cut
    off. Channels are averaged: swresample's own mixdown of floating point sound to mono comes out 3 dB louder.
    """

    def __init__(self, stream: AudioStream | None, job: Job, start_s: Fraction, length_s: float, tally: Tally) -> None:
        rate = job.audio_rate
        self.streams: tuple[AudioStream, ...] = (stream,) if stream is not None and rate else ()
        self.stream_rate = stream.codec_context.sample_rate if stream is not None and stream.codec_context else 0
        self._rate = rate
        self._start_s = start_s
        self._line = SoundLine(job, length_s)
        self._tally = tally
        self._damaged = 0
        self._resampler: av.AudioResampler | None = None
        tally.audio_state = "absent" if stream is None else "present"

    @classmethod
    def of(cls, container: InputContainer, job: Job, start_s: Fraction, length_s: float, tally: Tally) -> AudioTrack:
        """The first audio stream of an opened file."""
        streams = container.streams.audio
        return cls(streams[0] if streams else None, job, start_s, length_s, tally)

    def feed(self, packet: Any) -> Iterator[Sound]:
        """Sound that one audio packet sets free; a damaged one is counted and skipped."""
        for frame in self._decode(packet):
            yield from self._convert(frame)

    def finish(self) -> Iterator[Sound]:
        """The rest, at the end of the file; then the state in the tally is final."""
        if not self.streams:
            return
        for frame in self._decode(None):
            yield from self._convert(frame)
        yield from self._drain()
        yield from self._line.finish()
        if not self._line.placed:
            self._tally.audio_state = "undecodable"
        if self._damaged:
            self._tally.warnings.append(f"{self._damaged} {DAMAGED}")

    def _decode(self, packet: Any) -> list[av.AudioFrame]:
        context = cast("av.AudioCodecContext | None", self.streams[0].codec_context)
        if context is None:
            return []
        try:
            return context.decode(packet)
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            self._damaged += 1
            timed = packet is not None and packet.pts is not None and packet.time_base is not None
            end_s = (packet.pts + (packet.duration or 0)) * packet.time_base - self._start_s if timed else None
            self._line.lose(end_s)
            return []

    def _convert(self, frame: av.AudioFrame) -> Iterator[Sound]:
        yield from self._place(frame)
        channels = frame.layout.nb_channels
        if self._resampler is None:
            self._resampler = self._new_resampler(channels)
        try:
            converted = self._resampler.resample(frame)
        except ValueError:  # the stream changed its rate or layout midway
            yield from self._drain()
            self._resampler = self._new_resampler(channels)
            converted = self._resampler.resample(frame)
        yield from self._sounds(converted)

    def _new_resampler(self, channels: int) -> av.AudioResampler:
        """For planes, one a channel; PyAV 18 crashes where there are more than it has pointers for."""
        return av.AudioResampler(format="fltp" if channels <= _MOST_PLANES else "flt", rate=self._rate)

    def _drain(self) -> Iterator[Sound]:
        if self._resampler is not None:
            yield from self._sounds(self._resampler.resample(None))
            self._resampler = None

    def _place(self, frame: av.AudioFrame) -> Iterator[Sound]:
        """Start at the frame's time; later on fill a gap between timestamps and samples with zeros."""
        time_s = None
        if frame.pts is not None and frame.time_base is not None:
            time_s = frame.pts * frame.time_base - self._start_s
        until = self._line.hole_before(time_s)
        if until is not None:
            yield from self._drain()
            yield from self._line.fill(until)

    def _sounds(self, frames: list[av.AudioFrame | None] | list[av.AudioFrame]) -> Iterator[Sound]:
        for frame in frames:
            if frame is not None and frame.samples:
                sound = frame.to_ndarray() if frame.format.is_planar else _planes(frame)
                yield from self._line.emit(sound.mean(axis=0, dtype=np.float32))


def _planes(frame: av.AudioFrame) -> FloatArray:
    """(channels, n) of a frame whose channels lie sample by sample."""
    samples = cast(FloatArray, frame.to_ndarray())
    return samples.reshape(-1, frame.layout.nb_channels).T
