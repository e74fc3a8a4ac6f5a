"""``vadpipe import features``: .npy files of other tools -> the store, as a stream of their own.

This module holds the work on single videos, which every form of the command shares: a folder of ``<id>.npy``
(:mod:`vadpipe.pipeline.importing.folder`), and features as they were released, with their lists
(:mod:`vadpipe.pipeline.importing.released`).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import DataError, TrackDamaged, UsageError
from vadpipe.extractors import EXTRACTORS
from vadpipe.pipeline.features.export_files import STATES_ENDING, read_states
from vadpipe.pipeline.features.npy_file import read_header, read_npy
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore, StoredFile
from vadpipe.track_file import read_attributes
from vadpipe.tracks import FeatureTrack, TimeGrid

_OWN_STREAMS = ("i3d", *EXTRACTORS)  # and the name that could be either kind of I3D
_NUMBERS = re.compile(r"[0-9](,[0-9])*")
_LOOKED_AT = 101  # files whose headers decide how many columns the stream has


@dataclass(frozen=True, slots=True)
class ImportJob:
    """One video of one stream.

    files
        One (T, D) file a crop, in the order in which they are stored.
    frames, fps
        The video's length where it is known, and its rate. Without a length the grid is T x frames per snippet.
    rows_of
        File whose T counts where the length is not known; None for the first of ``files``. An audio stream names the
        visual one here, so that both have one grid.
    boundaries
        Seconds at which the snippets begin, and the end (:attr:`TimeGrid.boundaries_s`), where the rate varies.
    states
        The states of the rows, where they are sound that vadpipe exported
        (:mod:`vadpipe.pipeline.features.export_files`).
    """

    id: str
    files: tuple[Path, ...]
    frames: int | None
    fps: Fraction
    rows_of: Path | None = None
    boundaries: tuple[float, ...] = ()
    states: Path | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one job: ``state`` is done, kept or failed; ``text`` says why it failed or what was adjusted."""

    id: str
    state: str
    text: str = ""


@dataclass(slots=True)
class ImportSummary:
    """Result of one stream.

    done, kept
        Ids imported now; ids that the store already held, made from these very files.
    failed, missing
        Id -> reason; id -> file names that are nowhere.
    unlabelled
        Files or ids that no label or list names.
    """

    spec: FeatureSpec
    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    unlabelled: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, result: Imported) -> None:
        """Count one video's result."""
        if result.state == "failed":
            self.failed[result.id] = result.text
            return
        (self.done if result.state == "done" else self.kept).append(result.id)
        if result.text:
            self.notes.append(result.text)


def imported_spec(
    stream: str, dim: int, frames_per_snippet: int, *, crops: str = "", time: str = "", window: str = ""
) -> FeatureSpec:
    """Specification of an imported stream: the user's name stands for an origin that cannot be checked.

    crops, time, window
        In words, which crops were taken and how rows were placed in time; of sound whose rows have states, the window.
        Part of the digest, so that imports which chose otherwise never mix.
    """
    if stream in _OWN_STREAMS:
        raise UsageError(
            f"--stream {stream} is vadpipe's own; name an imported stream after its origin, e.g. {stream}-xd"
        )
    try:
        return FeatureSpec(
            stream,
            dim,
            "imported",
            "imported",
            frames_per_snippet=frames_per_snippet,
            geometry=crops,
            decoder=time,
            audio_window=window,
        )
    except ValueError as error:
        raise UsageError(f"--stream: {error}") from error


def common_columns(files: Sequence[Path]) -> int:
    """D of a stream: what most of about a hundred files, spread evenly, have; :class:`DataError` where none is sound.

    One odd file among them then costs itself, wherever it stands.
    """
    found: Counter[int] = Counter()
    reason = ""
    for path in files[:: -(-len(files) // _LOOKED_AT) or 1]:
        try:
            found[read_header(path).columns] += 1
        except DataError as error:
            reason = reason or str(error)
    if not found:
        raise DataError(f"none of the {len(files)} feature files can be used; the first: {reason}")
    return found.most_common(1)[0][0]


def crop_numbers(text: str, present: Collection[int]) -> tuple[int, ...]:
    """``first`` or ``all`` of the crops that are present, or the numbers of a text such as ``0,5``."""
    if text in ("first", "all"):
        return tuple(sorted(present)[: 1 if text == "first" else None])
    if not _NUMBERS.fullmatch(text):
        raise UsageError(f"crops: got {text!r}, expected first, all, or numbers 0 … 9 such as 0,5")
    return tuple(sorted({int(number) for number in text.split(",")}))


def import_tracks(
    todo: Sequence[ImportJob],
    store: FeatureStore,
    summary: ImportSummary,
    *,
    jobs: int = 4,
    notify: Callable[[Imported, int], None] | None = None,
) -> None:
    """Import every job's files under ``summary.spec`` and add the results to ``summary``, in the jobs' order.

    Files that cannot be used cost their video only. What the store holds, made from the same files for the same grid,
    is kept. ``jobs`` threads overlap reading and waiting for the disk. ``notify(result, total)`` follows each video.
    Stops with :class:`StoreError` where the store cannot be written.
    """
    store.clean()
    importer = _Importer(store, summary.spec, store.index(summary.spec))
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for result in [pool.submit(importer.run, job) for job in todo]:
                imported = result.result()
                summary.add(imported)
                if notify is not None:
                    notify(imported, len(todo))
        finally:
            pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C only what has begun is finished


@dataclass(frozen=True, slots=True)
class _Importer:
    store: FeatureStore
    spec: FeatureSpec
    index: dict[str, StoredFile]

    def run(self, job: ImportJob) -> Imported:
        """Import one video; what is wrong with its files becomes the result."""
        try:
            if self.spec.audio_window and job.states is None:
                raise DataError(f"{job.files[0]}: its states, {job.id}{STATES_ENDING}, are missing; export again")
            size, time = _size_and_time((*job.files, job.states) if job.states else job.files)
            grid = self._grid(job)
            if self._stored(job, grid, size, time):
                return Imported(job.id, "kept")
            data, states, digest = self._read(job)
            fitted = _fitted(data, grid.num_snippets, job.files[0])
            if states is not None:
                states = _fitted(states[:, None], grid.num_snippets, job.files[0])[:, 0]
            track = FeatureTrack(fitted, grid, self.spec, job.id, size, digest, states=states)
            self.store.write(track, mtime_ns=time)
        except (DataError, ValueError) as error:
            return Imported(job.id, "failed", str(error))
        if fitted.shape != data.shape:
            text = f"{job.id}: {data.shape[-2]} rows for {grid.num_snippets} snippets, last row adjusted"
            return Imported(job.id, "done", text)
        return Imported(job.id, "done")

    def _grid(self, job: ImportJob) -> TimeGrid:
        step = self.spec.frames_per_snippet
        frames = job.frames if job.frames is not None else read_header(job.rows_of or job.files[0]).rows * step
        return TimeGrid(job.fps, frames, step, job.boundaries)

    def _stored(self, job: ImportJob, grid: TimeGrid, size: int, time: int) -> bool:
        """True where this grid and these very files are stored. Size and time are the quick look, the digest decides.

        The stored values are verified by whoever reads them; what fails then is gone and imported anew.
        """
        path = self.store.path(self.spec, job.id)
        try:
            told = read_attributes(path)[1] if path.is_file() else {}
        except TrackDamaged:
            self.store.quarantine(self.spec, path)
            return False
        here = {"id": job.id, "source_size": size, "fps": str(grid.fps), "num_frames": grid.num_frames}
        here |= {"vfr": grid.vfr, "duration_s": grid.duration_s}
        if any(told.get(name) != value for name, value in here.items()):
            return False
        entry = self.index.get(job.id)
        if entry is not None and (entry.mtime_ns, entry.source_sha256) == (time, told["source_sha256"]):
            return True
        return bool(self._read(job)[2] == told["source_sha256"])

    def _read(self, job: ImportJob) -> tuple[NDArray[Any], NDArray[np.uint8] | None, str]:
        """(T, D) or (crops, T, D), the (T,) states where the job has a file of them, and a digest of all files."""
        files = [read_npy(path) for path in job.files]
        for path, file in zip(job.files, files, strict=True):
            if file.data.shape[1] != self.spec.dim:
                raise DataError(f"{path}: got {file.data.shape[1]} columns, expected {self.spec.dim} as in most files")
            if len(file.data) != len(files[0].data):
                raise DataError(
                    f"{path}: got {len(file.data)} rows, but {job.files[0].name} has {len(files[0].data)}; "
                    "the crops of one video need the same number"
                )
        digests, states = [file.sha256 for file in files], None
        if job.states is not None:
            states, digest = read_states(job.states, len(files[0].data))
            digests.append(digest)
        whole = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
        return files[0].data if len(files) == 1 else np.stack([file.data for file in files]), states, whole


def _size_and_time(files: Sequence[Path]) -> tuple[int, int]:
    try:
        status = [path.stat() for path in files]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error
    return sum(item.st_size for item in status), max(item.st_mtime_ns for item in status)


def _fitted(data: NDArray[Any], rows: int, path: Path) -> NDArray[Any]:
    """(…, T, D) with T within one of ``rows``, last row dropped or repeated."""
    count = data.shape[-2]
    if abs(count - rows) > 1:
        raise DataError(
            f"{path}: got {count} rows, expected {rows} (one more or less is accepted) for this video; --stride says "
            "how many of its frames a row stands for"
        )
    if not rows:
        raise DataError(f"{path}: got {count} rows for a video of 0 frames; expected its true number in the labels")
    return data[..., :rows, :] if count >= rows else np.concatenate([data, data[..., -1:, :]], axis=-2)
