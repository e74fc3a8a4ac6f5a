"""``vadpipe extract``: videos -> features in the store, of one or several streams from one decode of each video.

Reader threads each follow one decoder; the calling thread alone runs the encoders and writes. Rows of several videos
share the encoders' batches. A video that fails costs itself only. A rerun skips what is stored and whole, stream by
stream, so it is the resume.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vadpipe.errors import UsageError, VideoError
from vadpipe.extractors import Extractor
from vadpipe.manifest import video_id
from vadpipe.outside import open_regular
from vadpipe.pipeline.extracting.encode import Extracted, Step, encode_tasks
from vadpipe.pipeline.extracting.plan import ExtractOptions, Failed, Stream, Task, feature_spec, plan_streams
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore, StoredFile
from vadpipe.tracks import FeatureTrack

__all__ = [
    "ExtractOptions",
    "ExtractSummary",
    "Extracted",
    "Failed",
    "Outcome",
    "Step",
    "extract",
    "extract_tracks",
    "feature_spec",
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one video: stored (``kept``: it was there already), or why not.

    frames, rows, warnings
        Of one that was made: video frames covered, encoded rows of all streams, what went not quite right.
    """

    name: str
    path: Path
    kept: bool = False
    error: VideoError | None = None
    frames: int = 0
    rows: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class ExtractSummary:
    """What a run did.

    done, kept, failed
        Ids of videos of which features were made; of which all were there; of those that could not be used, and why.
    frames, rows, seconds
        Video frames covered, encoded rows of all streams, wall time.
    """

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    frames: int = 0
    rows: int = 0
    seconds: float = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count one video."""
        if outcome.error is not None:
            self.failed[outcome.name] = str(outcome.error)
        elif outcome.kept:
            self.kept.append(outcome.name)
        else:
            self.done.append(outcome.name)
        self.frames += outcome.frames
        self.rows += outcome.rows
        self.warnings += [f"{outcome.name}: {text}" for text in outcome.warnings]


def extract(
    videos: Mapping[str, Path] | Iterable[tuple[str, Path]],
    store: FeatureStore,
    extractors: Sequence[Extractor],
    options: ExtractOptions,
    notify: Callable[[Outcome], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> ExtractSummary:
    """Extract of every video the streams that the store does not hold yet; see :class:`ExtractSummary`.

    ``videos`` (id -> file, or pairs of them) is read while the run goes on, by one thread at a time. Each track is
    stored as soon as it is whole. :class:`vadpipe.errors.UsageError`, before anything is decoded, for streams that
    cannot be extracted together or with these options, and for an id that is not its file's
    :func:`vadpipe.manifest.video_id`.
    """
    streams = plan_streams(extractors, options)
    summary, began = ExtractSummary(), time.monotonic()
    pairs = list(_checked(videos.items())) if isinstance(videos, Mapping) else _checked(videos)
    store.clean()

    def on_track(track: FeatureTrack, mtime_ns: int) -> None:
        store.write(track, mtime_ns=mtime_ns)

    tasks = _missing(pairs, store, streams)
    with closing(encode_tasks(tasks, streams, options, on_track, on_step or _nobody)) as results:  # ends its decoders
        for result in results:
            outcome = _outcome(result)
            summary.add(outcome)
            if notify is not None:
                notify(outcome)
    summary.seconds = time.monotonic() - began
    return summary


def extract_tracks(
    paths: Iterable[Path],
    extractors: Sequence[Extractor],
    options: ExtractOptions,
    on_step: Callable[[Step], None] | None = None,
) -> Generator[Extracted | Failed, None, None]:
    """Yield one result per video, in the order they finish; its tracks are in the order of ``extractors``.

    Nothing is stored. Closing the generator kills the decoders. Errors as of :func:`extract`.
    """
    streams = plan_streams(extractors, options)
    tasks = (Task(path, tuple(range(len(streams)))) for path in paths)
    with closing(encode_tasks(tasks, streams, options, lambda *_: None, on_step or _nobody)) as results:
        for result in results:
            if not isinstance(result, Task):
                yield result


def _nobody(_step: Step) -> None:
    """Nobody wants to know the progress."""


def _checked(pairs: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, Path]]:
    for name, path in pairs:
        if name != (own := video_id(path)):
            raise UsageError(f"{path}: got the id {name!r}, expected {own!r}, under which its features are stored")
        yield name, path


def _missing(pairs: Iterable[tuple[str, Path]], store: FeatureStore, streams: tuple[Stream, ...]) -> Iterator[Task]:
    indexes = [store.index(stream.spec) for stream in streams]
    for name, path in pairs:
        source, places = _Source(path), enumerate(zip(streams, indexes, strict=True))
        yield Task(
            path,
            tuple(
                place
                for place, (stream, index) in places
                if not _is_stored(store, stream.spec, name, source, index.get(name))
            ),
        )


def _outcome(result: Extracted | Failed | Task) -> Outcome:
    name = video_id(result.path)
    if isinstance(result, Failed):
        return Outcome(name, result.path, error=result.error)
    if isinstance(result, Task):
        return Outcome(name, result.path, kept=True)
    rows = sum(track.grid.num_snippets for track in result.tracks)
    return Outcome(
        name, result.path, frames=result.tracks[0].grid.num_frames, rows=rows, warnings=tuple(result.warnings)
    )


class _Source:
    """A video file as it is now. Nothing is looked at before it is asked for, and nothing twice."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def status(self) -> os.stat_result | None:
        """None: gone, or a dangling link. The reader reports that as this video's failure."""
        try:
            return self._path.stat()
        except OSError:
            return None

    @cached_property
    def sha256(self) -> str:
        """Empty: it cannot be read. The reader says why."""
        try:
            with open_regular(self._path) as handle:
                return hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError:
            return ""


def _is_stored(store: FeatureStore, spec: FeatureSpec, name: str, source: _Source, entry: StoredFile | None) -> bool:
    """True where a whole track of this very file is stored. Size and time are the quick look, the digest decides."""
    track, status = store.stored(spec, name), source.status
    if track is None or status is None or track.source_size != status.st_size:
        return False
    if entry is not None and entry.mtime_ns == status.st_mtime_ns and entry.source_sha256 == track.source_sha256:
        return True
    if not source.sha256 or source.sha256 != track.source_sha256:
        return False
    store.touch(track, status.st_mtime_ns)
    return True
