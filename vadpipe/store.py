"""The feature store: one HDF5 file per video and specification, written atomically, verified on every read.

``<root>/<stream>-<hash8>/<aa>/<safe-id>.h5`` holds ``data`` (T, D) or (crops, T, D), ``frame_index`` (T,), ``pts``
(T,) seconds, and for sound ``state`` (T,); attributes hold everything else and ``complete``, which is written last. A
file is made under a temporary name in its own folder, flushed, fsynced, reopened and compared, then renamed. So
whatever carries the final name is whole, and a rerun is the resume. ``manifest.jsonl`` in each folder is an
index that can be rebuilt by a scan.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np

from vadpipe.errors import StoreError, TrackDamaged, TrackMissing
from vadpipe.outside import parse_json
from vadpipe.spec import FeatureSpec
from vadpipe.track_file import read_attributes, read_grid, read_track, write_track
from vadpipe.tracks import FeatureTrack, TimeGrid
from vadpipe.whole_file import (
    append_line,
    atomic_write,
    disk_reason,
    is_leftover,
    make_folder,
    sync_folder,
    temporary_path,
)

_Read = TypeVar("_Read")
MANIFEST = "manifest.jsonl"
_SAFE_CHARACTERS = 80
_READS = 5


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One line of the index: which source file a stored track was made from.

    mtime_ns is the source's modification time at extraction (0 where unknown): a cheap first look, the digest decides.
    """

    id: str
    file: str
    num_frames: int
    source_size: int
    source_sha256: str
    mtime_ns: int = 0


def safe_name(video_id: str) -> str:
    """File-system name of an id: percent-escaped, cut, and made unique by a digest of the whole id.

    The digest also keeps apart ids that differ in case only, on file systems that do not.
    """
    digest = hashlib.sha256(video_id.encode("utf-8", "surrogatepass")).hexdigest()
    readable = quote(video_id, safe="", errors="surrogatepass").replace("%", "~").replace(".", "_")
    return f"{digest[:2]}/{readable[:_SAFE_CHARACTERS]}-{digest[2:14]}.h5"


class FeatureStore:
    """Tracks under ``root``. Every method may raise :class:`StoreError`; none leaves a half-written file behind."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def specs(self) -> list[FeatureSpec]:
        """All specifications that have at least one stored file, sorted by folder name."""
        found = []
        for folder in sorted(self.root.glob("*-*")) if self.root.is_dir() else []:
            for path in folder.glob("[0-9a-f][0-9a-f]/*.h5"):
                with contextlib.suppress(TrackDamaged):  # whoever reads the track itself is told
                    found.append(read_attributes(path)[0])
                    break
        return found

    def path(self, spec: FeatureSpec, video_id: str) -> Path:
        """Where the track of this id and specification is or would be."""
        return self.root / spec.folder / safe_name(video_id)

    def write(self, track: FeatureTrack, *, mtime_ns: int = 0) -> Path:
        """Store ``track`` and add it to the index; an existing file of the same name is replaced at once."""
        path = self.path(track.spec, track.video_id)
        temporary = temporary_path(path)
        try:
            make_folder(path.parent)
            write_track(temporary, track)
            stored = read_track(temporary, track.spec, track.video_id)
            if not np.array_equal(stored.data, track.data) or not _same_states(stored, track):
                raise StoreError(f"{path}: read back other values than were written; is the disk failing?")
            os.replace(temporary, path)  # noqa: PTH105  # the atomic step deserves its own name
            sync_folder(path.parent)
        except OSError as error:
            raise StoreError(
                f"cannot write {path}: {disk_reason(error)}. Finished videos are kept; rerun to go on."
            ) from error
        finally:
            with contextlib.suppress(OSError):  # the folder itself may not exist
                temporary.unlink()
        self._append(track, path, mtime_ns)
        return path

    def touch(self, track: FeatureTrack, mtime_ns: int) -> None:
        """Note in the index that the source of a stored track, itself the same, has another modification time now."""
        with contextlib.suppress(StoreError):  # it saves the next run a look at the digest; the store may be read-only
            self._append(track, self.path(track.spec, track.video_id), mtime_ns)

    def read(self, spec: FeatureSpec, video_id: str) -> FeatureTrack:
        """Read and verify one track.

        :class:`TrackMissing` where there is none; :class:`TrackDamaged` where its check fails: the file is then in
        ``quarantine/`` and the next extraction makes it anew.
        """
        return self._verified(spec, video_id, lambda path: read_track(path, spec, video_id))

    def grid(self, spec: FeatureSpec, video_id: str) -> TimeGrid:
        """Time grid of one track, from its attributes alone; errors as of :meth:`read`, which verifies the data too."""
        return self._verified(spec, video_id, lambda path: read_grid(path, video_id))

    def stored(self, spec: FeatureSpec, video_id: str) -> FeatureTrack | None:
        """The whole, verified track, or None: nothing there, or it was damaged and is now in quarantine."""
        try:
            return self.read(spec, video_id)
        except (TrackMissing, TrackDamaged):
            return None

    def quarantine(self, spec: FeatureSpec, path: Path) -> Path:
        """Move a damaged file out of the way, keeping it for inspection."""
        return self.quarantine_file(path, spec.folder)

    def quarantine_file(self, path: Path, folder: str | None = None) -> Path:
        """Move a file into the quarantine of ``folder``, by default the one that it lies in; :class:`StoreError`."""
        target = self.root / (folder or path.relative_to(self.root).parts[0]) / "quarantine" / path.name
        try:
            target.parent.mkdir(exist_ok=True)
            os.replace(path, target)  # noqa: PTH105  # as above
        except FileNotFoundError:
            pass  # another process has moved it
        except OSError as error:
            raise StoreError(f"{path} is damaged, and cannot be moved to {target}: {disk_reason(error)}") from error
        return target

    def index(self, spec: FeatureSpec) -> dict[str, StoredFile]:
        """Id -> stored file, from ``manifest.jsonl``; lines of files that are gone or torn lines are left out."""
        return {entry.id: entry for entry, there in _indexed(self.root / spec.folder) if there}

    def missing(self, folder: str) -> list[str]:
        """Sorted paths below the store of files that the index of this folder lists and that are not there."""
        return sorted({f"{folder}/{entry.file}" for entry, there in _indexed(self.root / folder) if not there})

    def ids(self, spec: FeatureSpec) -> list[str]:
        """Sorted ids of all stored tracks; the files are scanned, and the index rebuilt, where it does not list all.

        A store that cannot be written keeps its index.
        """
        files = len(list((self.root / spec.folder).glob("[0-9a-f][0-9a-f]/*.h5")))
        entries = self.index(spec)
        if len(entries) != files:
            entries, damaged = self._scan(spec)
            with contextlib.suppress(StoreError):  # the scan has told all; the store may be read-only
                self._settle(spec, entries, damaged)
        return sorted(entries)

    def rebuild_index(self, spec: FeatureSpec) -> dict[str, StoredFile]:
        """Scan all files of a specification and write the index anew; damaged files go to quarantine."""
        entries, damaged = self._scan(spec)
        self._settle(spec, entries, damaged)
        return entries

    def _scan(self, spec: FeatureSpec) -> tuple[dict[str, StoredFile], list[Path]]:
        """What the index should say, and damaged files."""
        folder = self.root / spec.folder
        known, entries, damaged = self.index(spec), dict[str, StoredFile](), list[Path]()
        for path in sorted(folder.glob("[0-9a-f][0-9a-f]/*.h5")):
            try:
                _, attributes = read_attributes(path)
            except TrackDamaged:
                damaged.append(path)
                continue
            entry = _entry(attributes, path.relative_to(folder))
            same = known.get(entry.id)
            entries[entry.id] = same if same and same.source_sha256 == entry.source_sha256 else entry
        return entries, damaged

    def _settle(self, spec: FeatureSpec, entries: dict[str, StoredFile], damaged: list[Path]) -> None:
        for path in damaged:
            self.quarantine(spec, path)
        text = "".join(index_line(entries[key]) for key in sorted(entries))
        atomic_write(self.root / spec.folder / MANIFEST, text.encode(), as_before=True)

    def clean(self) -> int:
        """Remove temporary files that killed writers on this machine left; returns how many.

        A store that cannot be written is left as it is.
        """
        removed = 0
        for pattern in (".*.tmp", "*/.*.tmp", "*/[0-9a-f][0-9a-f]/.*.tmp"):
            for path in self.root.glob(pattern):
                with contextlib.suppress(OSError):  # gone already, or not ours to remove
                    if is_leftover(path.name):
                        path.unlink()
                        removed += 1
        return removed

    def _verified(self, spec: FeatureSpec, video_id: str, read: Callable[[Path], _Read]) -> _Read:
        path = self.path(spec, video_id)
        if not path.is_file():
            raise TrackMissing(
                f"no {spec.folder} features of {video_id!r} under {self.root}; run vadpipe extract first"
            )
        for _ in range(_READS):
            try:
                before = path.stat()
                return read(path)
            except TrackDamaged as error:
                if _is_still(path, before):  # else another process has replaced it meanwhile
                    moved = self.quarantine(spec, path)
                    raise TrackDamaged(f"{error}; moved to {moved}, extract again") from error
            except FileNotFoundError as error:
                raise TrackMissing(f"{path} is gone") from error
        raise StoreError(f"{path} is replaced again and again; what else writes to {self.root}?")

    def add_to_index(self, spec: FeatureSpec, attributes: dict[str, Any], path: Path) -> None:
        """Note a file that came whole from elsewhere, ``attributes`` as of :func:`read_attributes`."""
        folder = self.root / spec.folder
        self._note(folder, _entry(attributes, path.relative_to(folder)))

    def _append(self, track: FeatureTrack, path: Path, mtime_ns: int) -> None:
        folder = self.root / track.spec.folder
        file = path.relative_to(folder).as_posix()
        frames = track.grid.num_frames
        self._note(folder, StoredFile(track.video_id, file, frames, track.source_size, track.source_sha256, mtime_ns))

    def _note(self, folder: Path, entry: StoredFile) -> None:
        try:
            append_line(folder / MANIFEST, index_line(entry))  # one short append; a torn line is skipped by readers
        except PermissionError:  # somebody else's index: the track is stored all the same, no failure to tell. A scan
            return  # lists it, and the next extraction goes by the digest of its video; nothing is lost
        except OSError as error:
            told = f"cannot write {folder / MANIFEST}: {disk_reason(error)}. Finished videos are kept"
            raise StoreError(f"{told}, {entry.file} among them; rerun to go on.") from error


def _same_states(one: FeatureTrack, other: FeatureTrack) -> bool:
    if one.states is None or other.states is None:
        return one.states is other.states
    return np.array_equal(one.states, other.states)


def _entry(attributes: dict[str, Any], file: Path) -> StoredFile:
    source = attributes["num_frames"], attributes["source_size"], attributes["source_sha256"]
    return StoredFile(attributes["id"], file.as_posix(), *source)


def index_line(entry: StoredFile) -> str:
    """The line of the index for a stored file."""
    values = {name: getattr(entry, name) for name in StoredFile.__slots__}
    return json.dumps(values, sort_keys=True) + "\n"


def _indexed(folder: Path) -> Iterator[tuple[StoredFile, bool]]:
    """The index's entries, and whether their files are there."""
    places = ((entry, f"{folder}/{entry.file}") for entry in index_entries(folder))
    return ((entry, os.path.isfile(place)) for entry, place in places)  # noqa: PTH113  # False for what is no path


def index_entries(folder: Path) -> Iterator[StoredFile]:
    """The lines of the index in the folder of a specification; later ones replace earlier ones of the same id."""
    path = folder / MANIFEST
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError):  # torn by a crash in the middle of an append; the file itself decides
            if (entry := stored_file(parse_json(line))) is not None:
                yield entry


def stored_file(told: Any) -> StoredFile | None:
    """What a line of the index says; None for one that this version does not know."""
    try:
        entry = StoredFile(**told)
    except TypeError:
        return None
    return entry if isinstance(entry.id, str) else None


def _is_still(path: Path, before: os.stat_result) -> bool:
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    return (now.st_ino, now.st_size, now.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
