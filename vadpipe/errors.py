"""Every error vadpipe raises on purpose, as one tree.

::

    VadpipeError                exit code 1; the message says: got, expected, what to do
    ├── UsageError              exit code 2: arguments, config keys, a missing file the user named
    ├── DataError               a label, list or annotation file says something impossible
    │   └── UnknownVideos       an annotation file names none of the videos at hand
    ├── VideoError              one video cannot be used; the run goes on without it
    │   ├── VideoUnreadable     empty, not a video, no video stream, truncated, too damaged
    │   ├── VideoTooLarge       over the caps on width x height or duration
    │   ├── DecoderTimeout      the decoder made no progress within its limit and was killed
    │   ├── DecoderCrashed      the decoder process died (signal, memory limit)
    │   └── VideoQuarantined    the process that worked on it died in each attempt; it is passed over
    ├── StoreError              the feature store cannot be written or read
    │   ├── TrackMissing        nothing stored under this id and specification
    │   └── TrackDamaged        a stored file fails its check; it goes to quarantine
    ├── SpecMismatch            two feature specifications differ; names the fields
    ├── WeightsError            encoder weights: missing, wrong digest, wrong names or shapes
    ├── CheckpointError         a trained head: missing, damaged, of another version
    └── WorkerDied              a process that worked on one of several devices ended without a word

Only ``cli.py`` turns these into text and an exit code. Anything else that escapes is a bug and stays loud.
"""

from __future__ import annotations

from vadpipe.redact import brief


class VadpipeError(Exception):
    """Base of all expected failures; ``str(error)`` is one message for a person.

    It holds no secret of an address, whoever repeats it and wherever it goes, and is no longer than somebody would
    read, whatever is quoted in it: :func:`vadpipe.redact.brief`.
    """

    exit_code = 1

    def __init__(self, *said: object) -> None:
        super().__init__(*(brief(part) if isinstance(part, str) else part for part in said))


def one_line(text: str, most: int = 1000) -> str:
    r"""``text`` on one line of at most ``most`` characters, fit for any terminal: the middle goes, the ends stay.

    Line breaks are spaces; what is not printable (file names may hold anything) stands as its escape, as in ``\x1b``.
    """
    plain = " ".join(text.split("\n")).strip()
    plain = "".join(char if char.isprintable() else repr(char)[1:-1] for char in plain[: 8 * most])
    if len(plain) <= most:
        return plain
    half = (most - 3) // 2
    return f"{plain[:half]} … {plain[len(plain) - half :]}"


class UsageError(VadpipeError):
    """The request itself is wrong: an argument, a config key, a path that the user named."""

    exit_code = 2


class DataError(VadpipeError):
    """A label, list or annotation file is malformed; the message names file and line."""


class UnknownVideos(DataError):
    """An annotation file names none of the videos at hand."""


class VideoError(VadpipeError):
    """One video cannot be processed; other videos of the run are not affected. Its reason is one short, plain line."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(one_line(reason))


class VideoUnreadable(VideoError):
    """Empty, not a video, without a video stream, truncated or damaged beyond use."""


class VideoTooLarge(VideoError):
    """Width x height or duration is over the configured caps."""


class DecoderTimeout(VideoError):
    """The decoder process made no progress within its limit and was killed."""


class DecoderCrashed(VideoError):
    """The decoder process died: a signal, or its memory limit."""


class VideoQuarantined(VideoError):
    """In each of several attempts the process that worked on the video died; it is passed over until it changes."""


class StoreError(VadpipeError):
    """The feature store cannot be written or read."""


class TrackMissing(StoreError):
    """No stored features for this video under this specification."""


class TrackDamaged(StoreError):
    """A stored file fails its check."""


class SpecMismatch(VadpipeError):
    """Two feature specifications differ; the message names every differing field."""


class WeightsError(VadpipeError):
    """Encoder weights are missing, have another digest, or do not fit the network."""


class CheckpointError(VadpipeError):
    """A trained head is missing, damaged or written by an incompatible version."""


class WorkerDied(VadpipeError):
    """A process that worked on one of several devices was killed, ran out of memory, or crashed in a library."""
