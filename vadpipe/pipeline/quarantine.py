"""Videos whose work has ended with the death of a process again and again, noted in the store and not decoded again.

``<store>/quarantined.jsonl`` has a line for each: id, path, size, mtime_ns, reason, attempts. The id is that of the
file, :func:`vadpipe.manifest.video_id`, whatever a command calls the video. The last line of an id counts; one with 0
attempts takes it off the list. A file of another size or modification time is another video.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vadpipe.errors import StoreError, VideoQuarantined
from vadpipe.manifest import video_id
from vadpipe.outside import open_regular, parse_json
from vadpipe.whole_file import append_line, disk_reason, make_folder

QUARANTINE_FILE = "quarantined.jsonl"
_LONGEST_LINE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. attempts: that ended with a death; 0: it is no longer in quarantine."""

    id: str
    path: str
    size: int
    mtime_ns: int
    reason: str
    attempts: int

    def error(self, path: Path, *, is_noted: bool) -> VideoQuarantined:
        """What is said of it, when it is put here and, where it is noted in a store, whenever it is passed over."""
        said = f"in each of {self.attempts} attempts the process that worked on it {self.reason}"
        if is_noted:
            said = f"in quarantine: {said}. It is passed over until the file changes; to try again: --retry-quarantined"
        return VideoQuarantined(f"{path}: {said}")


class Quarantine:
    """The list of the store at ``root``; of none (None), it is kept in memory alone."""

    def __init__(self, root: Path | None) -> None:
        self._file = None if root is None else root / QUARANTINE_FILE
        self._entries = {} if self._file is None else _read(self._file)

    def passed_over(self, paths: Iterable[Path]) -> dict[Path, VideoQuarantined]:
        """Path -> what is said, of the videos that are in quarantine and whose files are still the same."""
        return {
            path: entry.error(path, is_noted=self._file is not None)
            for path in paths
            if (entry := self._entries.get(video_id(path))) is not None and (entry.size, entry.mtime_ns) == _state(path)
        }

    def add(self, path: Path, reason: str, attempts: int) -> VideoQuarantined:
        """Put a video here and return what is said of it; :class:`StoreError` where it cannot be noted."""
        entry = Entry(video_id(path), str(path), *_state(path), reason, attempts)
        self._note(entry)
        return entry.error(path, is_noted=self._file is not None)

    def release(self, path: Path) -> None:
        """Take a video that was decoded after all off the list, where it is on it."""
        if (entry := self._entries.pop(video_id(path), None)) is not None:
            self._note(Entry(entry.id, entry.path, entry.size, entry.mtime_ns, "", 0))

    def _note(self, entry: Entry) -> None:
        if entry.attempts:
            self._entries[entry.id] = entry
        if self._file is None:
            return
        try:
            make_folder(self._file.parent)
            append_line(self._file, json.dumps(asdict(entry), sort_keys=True) + "\n")
        except OSError as error:
            raise StoreError(f"cannot write {self._file}: {disk_reason(error)}") from error


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _read(file: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    try:
        with open_regular(file) as handle:
            while line := handle.readline(_LONGEST_LINE):
                if (entry := _entry(line)) is not None:
                    entries[entry.id] = entry
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {disk_reason(error)}") from error
    return {name: entry for name, entry in entries.items() if entry.attempts}


def _entry(line: bytes) -> Entry | None:
    """None for a line that is torn, or that nobody here has written: its video is tried again, which is harmless."""
    try:
        values: Any = parse_json(line)
        entry = Entry(**values)
    except (ValueError, TypeError):
        return None
    texts, numbers = (entry.id, entry.path, entry.reason), (entry.size, entry.mtime_ns, entry.attempts)
    return entry if all(type(text) is str for text in texts) and all(type(n) is int for n in numbers) else None
