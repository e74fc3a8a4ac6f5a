"""Where decoded sound belongs: sample 0 is the first presented picture, without holes, and it ends with the video."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import VideoUnreadable
from vadpipe.extractors.decoders import Job, Sound

_GAP_S = 0.05
"""Seconds by which timestamps and the count of samples may differ (encoder delay, rounding) before zeros fill in."""


_HOLES_S, _HOLES_HZ = 3600.0, 1000.0
"""Seconds of holes that any file may have, and bytes for each one more: even the thinnest recording has as many."""


class SoundLine:
    """Places mono samples at the job's rate; earlier sound is cut off, and so is what lies beyond ``length_s``.

    Two packets that lie a day apart would make 5 GB of zeros out of some kB: VideoUnreadable where there are more zeros
    than the file's size bears.

    placed
        True once the time of the first sound is settled.
    """

    def __init__(self, job: Job, length_s: float) -> None:
        self.placed = False
        self._job, self._rate = job, job.audio_rate
        rate = job.audio_rate
        self._end = math.ceil(length_s * rate)
        self._position = 0  # next sample to be yielded; negative: before the first picture
        self._lost = False  # damage since the last good sound
        self._lost_until = 0
        self._room = round((_HOLES_S + job.path.stat().st_size / _HOLES_HZ) * rate)  # for zeros

    def lose(self, until_s: Fraction | float | None) -> None:
        """What comes next is damaged, up to ``until_s`` where that is known."""
        self._lost = True
        if until_s is not None:
            self._lost_until = round(until_s * self._rate)

    def hole_before(self, time_s: Fraction | float | None) -> int | None:
        """Sample up to which a hole is due before sound at ``time_s``, to be given to :meth:`fill`; None: no hole."""
        if time_s is None:
            self.placed, self._lost = True, False
            return None
        wanted = min(round(time_s * self._rate), self._end)
        if self.placed and wanted - self._position <= _GAP_S * self._rate:
            self._lost = False
            return None
        if not self.placed:
            self._position = min(wanted, 0)
            self.placed = True
        return wanted

    def fill(self, until: int) -> Iterator[Sound]:
        """Zeros up to sample ``until``, which say why there is no sound; at most a second at once."""
        hole = "undecodable" if self._lost else "absent"
        self._lost = False
        self._room -= max(min(until, self._end) - self._position, 0)
        if self._room < 0:
            raise VideoUnreadable(
                f"{self._job.path}: its sound has holes of more than {_HOLES_S / 3600:g} h, more than a file of its "
                "size can mean. Its times are damaged: convert it, or leave its sound out."
            )
        while self._position < min(until, self._end):
            count = min(until - self._position, self._rate)  # in one piece, an hour would be 230 MB
            yield from self.emit(np.zeros(count, np.float32), hole)

    def emit(self, samples: NDArray[np.float32], hole: str = "") -> Iterator[Sound]:
        """(n,) samples that come next."""
        start, self._position = self._position, self._position + len(samples)
        kept = samples[max(-start, 0) : max(self._end - start, 0)]
        if len(kept):
            yield Sound(max(start, 0), kept, hole)

    def finish(self) -> Iterator[Sound]:
        """Zeros for damage at the end; to be called after the last sound."""
        if self.placed and self._lost:
            yield from self.fill(self._lost_until)
