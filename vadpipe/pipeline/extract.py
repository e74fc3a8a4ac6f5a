"""``vadpipe extract``: videos -> features in the store. Rows of several videos share the encoder's batches.

Reader threads each follow one decoder process; the calling thread alone runs the encoder and writes. A video that
fails costs itself only. A rerun skips what is stored and whole, so it is the resume.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vadpipe.errors import VideoError, VideoUnreadable
from vadpipe.extractors import Extractor, media
from vadpipe.manifest import video_id
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore, StoredFile
from vadpipe.tracks import FeatureTrack, FloatArray, VideoClip


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """How to decode: snippet length in frames, decoder, decoder processes at once, limits of each."""

    frames_per_snippet: int = 16
    decoder: str = "pyav"
    jobs: int = 2
    limits: media.Limits = field(default_factory=media.Limits)


@dataclass(frozen=True, slots=True)
class Extracted:
    """The features of one video, its facts, and what went not quite right."""

    path: Path
    clip: VideoClip
    track: FeatureTrack
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """A video that could not be used, and why."""

    path: Path
    error: VideoError


@dataclass(slots=True)
class ExtractSummary:
    """What a run did. frames counts video frames covered, rows encoded snippets, seconds wall time."""

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    frames: int = 0
    rows: int = 0
    seconds: float = 0.0


def extract(
    videos: dict[str, Path],
    store: FeatureStore,
    extractor: Extractor,
    options: ExtractOptions,
    notify: Callable[[Extracted | Failed], None] | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> ExtractSummary:
    """Extract every video that the store does not hold yet; see :class:`ExtractSummary`."""
    spec = feature_spec(extractor, options)
    summary, began = ExtractSummary(), time.monotonic()
    store.clean()
    index = store.index(spec)
    todo = []
    for name, path in videos.items():
        if _is_stored(store, spec, name, path, index.get(name)):
            summary.kept.append(name)
        else:
            todo.append(path)
    with closing(extract_tracks(todo, extractor, options, on_rows)) as results:  # decoders end with any exception
        for result in results:
            name = video_id(result.path)
            if isinstance(result, Failed):
                summary.failed[name] = str(result.error)
            else:
                store.write(result.track, mtime_ns=result.path.stat().st_mtime_ns)
                summary.done.append(name)
                summary.frames += result.track.grid.num_frames
                summary.rows += result.track.grid.num_snippets
                summary.warnings += [f"{name}: {text}" for text in result.warnings]
            if notify is not None:
                notify(result)
    summary.seconds = time.monotonic() - began
    return summary


def feature_spec(extractor: Extractor, options: ExtractOptions) -> FeatureSpec:
    """Specification of the features that this extractor makes with these options."""
    return extractor.spec(options.frames_per_snippet, options.decoder, media.decoder_version(options.decoder))


def extract_tracks(
    paths: Iterable[Path],
    extractor: Extractor,
    options: ExtractOptions,
    on_rows: Callable[[int], None] | None = None,
) -> Generator[Extracted | Failed, None, None]:
    """Yield one result per video, in the order they finish. Closing the generator kills the decoders."""
    readers = _Readers(list(paths), extractor.geometry, options, extractor.batch_size * 2)
    spec = feature_spec(extractor, options)
    jobs: dict[Path, _Job] = {}
    pending: list[_Row] = []
    try:
        for message in readers:
            if isinstance(message, _Row):
                jobs.setdefault(message.path, _Job(spec))
                pending.append(message)
            elif isinstance(message, Failed):
                jobs.pop(message.path, None)
                pending = [row for row in pending if row.path != message.path]
                yield message
            else:
                jobs.setdefault(message.path, _Job(spec)).end = message
            last = readers.finished and bool(pending)
            if len(pending) >= extractor.batch_size or last:
                batch, pending = pending[: extractor.batch_size], pending[extractor.batch_size :]
                rows = extractor.encode(np.stack([row.image for row in batch]))
                for row, values in zip(batch, rows, strict=True):
                    jobs[row.path].rows[row.row] = values
                if on_rows is not None:
                    on_rows(len(batch))
            for path, result in [(path, job.result()) for path, job in jobs.items()]:
                if result is not None:
                    del jobs[path]
                    yield result
    finally:
        readers.stop()


@dataclass(frozen=True, slots=True)
class _Row:
    path: Path
    row: int
    image: np.ndarray


@dataclass(frozen=True, slots=True)
class _End:
    path: Path
    report: media.MediaReport


class _Job:
    """Rows of one video that are encoded so far."""

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec
        self.rows: dict[int, FloatArray] = {}
        self.end: _End | None = None

    def result(self) -> Extracted | None:
        """The finished track, or None while its end or a row is missing."""
        if self.end is None or len(self.rows) < self.end.report.grid.num_snippets:
            return None
        path, report = self.end.path, self.end.report
        data = np.stack([self.rows[row] for row in range(len(self.rows))])
        track = FeatureTrack(
            data,
            report.grid,
            self.spec,
            report.clip.id,
            report.clip.size_bytes,
            report.clip.sha256,
            report.corrupt_packets,
        )
        return Extracted(path, report.clip, track, report.warnings)


class _Readers:
    """Threads that decode ``paths`` and put rows, ends and failures on one bounded queue; iterate to receive them."""

    def __init__(self, paths: list[Path], geometry: str, options: ExtractOptions, room: int) -> None:
        self._options = options
        self._request = media.Request(options.frames_per_snippet, 0, geometry)
        self._todo: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for path in paths:
            self._todo.put(path)
        self._messages: queue.Queue[_Row | _End | Failed | BaseException] = queue.Queue(maxsize=room)
        self._stopping = threading.Event()
        self._left = len(paths)
        count = max(min(options.jobs, len(paths)), 0)
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def finished(self) -> bool:
        """True once every video has ended or failed."""
        return self._left == 0

    def __iter__(self) -> Iterator[_Row | _End | Failed]:
        while self._left:
            message = self._messages.get()
            if isinstance(message, BaseException):
                raise message  # a bug in a reader: loud, in the caller's thread
            if not isinstance(message, _Row):
                self._left -= 1
            yield message

    def stop(self) -> None:
        """Stop reading; decoder processes end with their readers."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                path = self._todo.get_nowait()
            except queue.Empty:
                return
            try:
                self._read(path)
            except VideoError as error:
                self._put(Failed(path, error))
            except BaseException as error:  # handed to the caller's thread, which raises it
                self._put(error)
                return

    def _read(self, path: Path) -> None:
        if not path.exists():
            raise VideoUnreadable(f"{path}: no such file; removed meanwhile, or a dangling link")
        with media.open_media(
            path, self._request, decoder=self._options.decoder, limits=self._options.limits
        ) as reader:
            for item in reader:
                if isinstance(item, media.FrameRow):
                    self._put(_Row(path, item.row, item.image))
                if self._stopping.is_set():
                    return
            self._put(_End(path, reader.report))

    def _put(self, message: _Row | _End | Failed | BaseException) -> None:
        while not self._stopping.is_set():
            try:
                self._messages.put(message, timeout=0.2)
            except queue.Full:
                continue
            return


def _is_stored(store: FeatureStore, spec: FeatureSpec, name: str, path: Path, entry: StoredFile | None) -> bool:
    """True where a whole track of this very file is stored. Size and time are the quick look, the digest decides."""
    track = store.stored(spec, name)
    try:
        status = path.stat()
    except OSError:
        return False  # gone, or a dangling link: the reader reports it as this video's failure
    if track is None or track.source_size != status.st_size:
        return False
    if entry is not None and entry.mtime_ns == status.st_mtime_ns and entry.source_sha256 == track.source_sha256:
        return True
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() == track.source_sha256
