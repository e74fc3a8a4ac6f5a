"""The audio half of the torchcodec decoder: any audio stream -> mono float32 at one rate, aligned to the pictures.

torchcodec's packet decoder and converter are used, not its AudioDecoder: that one hands over a whole range at once,
starts where the sound starts, and says nothing of gaps or of damaged packets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torchcodec.decoders import AudioConverter

from vadpipe.extractors.decoders import Job, Sound, Tally
from vadpipe.extractors.decoders.sound_line import SoundLine
from vadpipe.extractors.decoders.torchcodec_index import decode
from vadpipe.sound import DAMAGED


class AudioTrack:
    """Decodes, resamples, averages the channels and places one audio stream (None: absent)."""

    def __init__(self, stream: Any, job: Job, start_s: float, length_s: float, tally: Tally) -> None:
        self._decoder = stream.make_decoder()
        self._rate = job.audio_rate
        self._start_s = start_s
        self._line = SoundLine(job, length_s)
        self._tally = tally
        self._damage = Tally()
        self._converter: AudioConverter | None = None
        self._kind: tuple[Any, ...] = ()

    def feed(self, packet: Any) -> Iterator[Sound]:
        """Sound that one packet (None: the end) sets free; a damaged one is counted and skipped."""
        before = self._damage.corrupt_packets
        for raw in decode(self._decoder, packet, self._damage):
            yield from self._convert(raw)
        if self._damage.corrupt_packets > before:
            self._line.lose(None)  # a packet does not tell its time, so damage at the very end counts as absent

    def finish(self) -> Iterator[Sound]:
        """The rest, at the end of the file; then the state in the tally is final."""
        yield from self.feed(None)
        yield from self._drain()
        yield from self._line.finish()
        if not self._line.placed:
            self._tally.audio_state = "undecodable"
        if self._damage.corrupt_packets:
            self._tally.warnings.append(f"{self._damage.corrupt_packets} {DAMAGED}")

    def _convert(self, raw: Any) -> Iterator[Sound]:
        until = self._line.hole_before(raw.pts_seconds - self._start_s)
        kind = (raw.sample_rate, raw.num_channels, raw.data.dtype)
        if until is not None or kind != self._kind:  # a gap, or the stream changed its rate or layout midway
            yield from self._drain()
        if until is not None:
            yield from self._line.fill(until)
        if self._converter is None:
            self._converter, self._kind = AudioConverter(sample_rate=self._rate), kind
        yield from self._emit(self._converter.convert(raw))

    def _drain(self) -> Iterator[Sound]:
        if self._converter is not None:
            yield from self._emit(self._converter.drain())
            self._converter = None

    def _emit(self, samples: Any) -> Iterator[Sound]:
        if samples.data.shape[1]:
            yield from self._line.emit(samples.data.numpy().mean(axis=0, dtype=np.float32))
