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
    │   └── DecoderCrashed      the decoder process died (signal, memory limit)
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


class VadpipeError(Exception):
    """Base of all expected failures; ``str(error)`` is one message for a person."""

    exit_code = 1


class UsageError(VadpipeError):
    """The request itself is wrong: an argument, a config key, a path that the user named."""

    exit_code = 2


class DataError(VadpipeError):
    """A label, list or annotation file is malformed; the message names file and line."""


class UnknownVideos(DataError):
    """An annotation file names none of the videos at hand."""


class VideoError(VadpipeError):
    """One video cannot be processed; other videos of the run are not affected."""


class VideoUnreadable(VideoError):
    """Empty, not a video, without a video stream, truncated or damaged beyond use."""


class VideoTooLarge(VideoError):
    """Width x height or duration is over the configured caps."""


class DecoderTimeout(VideoError):
    """The decoder process made no progress within its limit and was killed."""


class DecoderCrashed(VideoError):
    """The decoder process died: a signal, or its memory limit."""


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
