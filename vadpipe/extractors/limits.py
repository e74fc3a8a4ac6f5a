"""What one video may cost: limits of a decoder, and how a user changes them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from vadpipe.errors import UsageError

_LARGEST = {"stall_s": 1e6, "wall_s": 1e8}  # a longer wait in milliseconds is more than a poll takes
_LARGEST_OF_ALL = 1e15
_READING_HZ = 10e6
"""Bytes that are read in a second at least: digest, index and decoding are three passes at 30 MB/s."""
_FRAMES_HZ = 25.0
"""Frames that are decoded in a second at least, beyond ``wall_s``."""
_FRAME_BYTES = 16
"""What a frame takes of its file at least: a repeated picture has some 10 bytes of H.264, and its place in an index
some more. An index may name the same bytes for millions of frames; those beyond a file's size earn no time."""
_WRITTEN_SHARE = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one video may cost. On the command line: ``--limit NAME=VALUE``, see :func:`parse_limits`.

    stall_s
        Seconds without a sign of progress after which the decoder is killed.
    wall_s
        Seconds for which the decoder may be waited for in all, progress or not: see :meth:`Limits.allowed_s`.
    memory_bytes
        Address space of the decoder process.
    max_pixels, max_duration_s, max_frames
        Width x height of a frame; length in seconds; frames (packets) of a video.
    queue_slots
        Frames (or pieces of sound) that may wait for the consumer.
    max_output_bytes
        Bytes of a clip or an overlay, and 20 times the bytes of the video besides.
    max_corrupt_share
        Share of the frames, 0 … 1, from which on a video with so many lost ones is refused.
    """

    stall_s: float = 60.0
    wall_s: float = 3600.0
    memory_bytes: int = 6 * 1024**3
    max_pixels: int = 7680 * 4320
    max_duration_s: float = 48 * 3600.0
    max_frames: int = 20_000_000
    queue_slots: int = 32
    max_output_bytes: int = 4 * 1024**3
    max_corrupt_share: float = 0.10

    def __post_init__(self) -> None:
        if not all(getattr(self, field.name) > 0 for field in fields(self)) or self.max_corrupt_share > 1:
            raise ValueError(f"limits must be positive, max_corrupt_share in (0, 1]: got {self}")

    def allowed_s(self, size_bytes: int, num_frames: int = 0) -> float:
        """Seconds that a file of this size may take in all: ``wall_s``, its reading, and its frames once counted.

        So a long recording has the time that it needs. Neither the length that a header claims earns any, nor frames
        beyond one for every 16 bytes, see :func:`frames_s`.
        """
        return self.wall_s + size_bytes / _READING_HZ + frames_s(size_bytes, num_frames)

    def written_bytes(self, size_bytes: int) -> int:
        """Bytes that a file which is made of a video of this size may have."""
        return self.max_output_bytes + _WRITTEN_SHARE * size_bytes


def frames_s(size_bytes: int, num_frames: int) -> float:
    """Seconds that the frames of a file may take, as far as its size bears them."""
    return min(num_frames, size_bytes // _FRAME_BYTES) / _FRAMES_HZ


def parse_limits(texts: Sequence[str]) -> Limits:
    """Limits with some of them changed, each text being ``NAME=VALUE``; :class:`UsageError` for anything else."""
    standard = Limits()
    changed: dict[str, float] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or name not in Limits.__slots__:
            known = ", ".join(f"{field.name}={getattr(standard, field.name):g}" for field in fields(Limits))
            raise UsageError(f"--limit: got {text!r}, expected NAME=VALUE with one of (shown as they are) {known}")
        if name in changed:
            raise UsageError(f"--limit {text}: {name} was given twice")
        changed[name] = _number(name, value, isinstance(getattr(standard, name), int))
    return Limits(**changed)  # type: ignore[arg-type]  # whole numbers are int, see below


def _number(name: str, text: str, whole: bool) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    largest = 1.0 if name == "max_corrupt_share" else _LARGEST.get(name, _LARGEST_OF_ALL)
    if not 0 < number <= largest or (whole and number != int(number)):
        kind = "a whole number" if whole else "a number"
        raise UsageError(f"--limit {name}: got {text!r}, expected {kind} over 0, at most {largest:g}")
    return int(number) if whole else number
