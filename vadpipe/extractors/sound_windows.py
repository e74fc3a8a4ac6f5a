"""From a video's sound, as it is decoded, to one window per visual snippet: as many windows as snippets, always.

Only what the next windows need is held, so memory does not grow with the length of the sound.

Legend: T snippets, S samples of a window.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vadpipe.extractors.media import AudioChunk
from vadpipe.sound import ABSENT, PRESENT, SILENT, UNDECODABLE
from vadpipe.tracks import FloatArray, TimeGrid

Row = tuple[int, FloatArray, int]
"""Snippet, its (S,) float32 samples, and its state, an index into :data:`vadpipe.sound.SOUND_STATES`."""

_SOUND, _NO_SOUND, _DAMAGED = 0, 1, 2  # what a sample is
_KINDS = {"": _SOUND, "absent": _NO_SOUND, "undecodable": _DAMAGED}
_LOUDEST = 1000.0  # sound is within -1 … 1; floating point sound may go beyond, or hold NaN where a file is damaged


class SoundWindows:
    """Windows of ``window_s`` seconds of sound at ``rate`` Hz, each centred on the middle of its snippet.

    What a window lacks, before the first picture, after the end, or in a hole, is zeros. Its state is ``present`` or
    ``silent`` (nothing but zeros) where it holds at least one sample of the file; else ``undecodable`` where samples
    were lost to damage there, and ``absent`` otherwise. Windows of the latter two are all zeros and no data.
    """

    def __init__(self, grid: TimeGrid, rate: int, window_s: float) -> None:
        if rate < 1 or round(rate * window_s) < 1:
            raise ValueError(f"got {rate} Hz and {window_s} s, expected a window of at least one sample")
        self.size = round(rate * window_s)
        edges_s = grid.edges_s()
        middles_s = (edges_s[:-1] + edges_s[1:]) / 2
        # first sample of each window; negative where it begins before the first picture
        self._starts: list[int] = (np.rint(middles_s * rate).astype(np.int64) - self.size // 2).tolist()
        self._row = 0  # the next to be handed out
        self._position = 0  # the next sample to come
        self._samples = np.zeros(0, np.float32)  # those up to ``_position`` that windows still need
        self._kinds = np.zeros(0, np.uint8)

    def feed(self, chunk: AudioChunk) -> Iterator[Row]:
        """The rows whose window is complete now, in order; iterate to the end before the next chunk.

        ValueError for a chunk that does not follow the one before.
        """
        if chunk.start_sample != self._position:
            raise ValueError(
                f"sound begins at sample {chunk.start_sample}, expected {self._position}: no hole, no overlap"
            )
        self._position += len(chunk.samples)
        kinds = np.where(np.abs(chunk.samples) <= _LOUDEST, _KINDS[chunk.hole], _DAMAGED)
        self._samples = np.concatenate([self._samples, chunk.samples])
        self._kinds = np.concatenate([self._kinds, kinds.astype(np.uint8)])
        while self._row < len(self._starts) and self._starts[self._row] + self.size <= self._position:
            yield self._take(_NO_SOUND)
        needed = self._starts[self._row] if self._row < len(self._starts) else self._position
        surplus = max(needed - (self._position - len(self._samples)), 0)
        self._samples, self._kinds = self._samples[surplus:].copy(), self._kinds[surplus:].copy()

    def finish(self, audio_state: str) -> Iterator[Row]:
        """The rows that are left when the sound has ended; ``audio_state`` as of the media report."""
        missing = _DAMAGED if audio_state == "undecodable" else _NO_SOUND
        while self._row < len(self._starts):
            yield self._take(missing)

    def _take(self, missing: int) -> Row:
        """The next row; ``missing`` is what samples after the last one count as."""
        held = self._position - len(self._samples)
        start = self._starts[self._row] - held
        part = slice(max(start, 0), max(start + self.size, 0))
        samples, kinds = self._samples[part], self._kinds[part]
        window = np.zeros(self.size, np.float32)
        place = part.start - start
        window[place : place + len(samples)] = np.where(kinds == _SOUND, samples, 0)
        row, self._row = self._row, self._row + 1
        return row, window, _state(window, kinds, missing)


def _state(window: FloatArray, kinds: NDArray[np.uint8], missing: int) -> int:
    if (kinds == _SOUND).any():
        return PRESENT if window.any() else SILENT
    return UNDECODABLE if missing == _DAMAGED or (kinds == _DAMAGED).any() else ABSENT
