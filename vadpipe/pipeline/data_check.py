"""``vadpipe data check``: is a folder of videos or features what its lists and the data set say it is?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vadpipe.datasets import DATASETS
from vadpipe.datasets.lists import crop_number
from vadpipe.datasets.npy import open_array
from vadpipe.errors import DataError, UsageError, VadpipeError
from vadpipe.manifest import MEDIA_SUFFIXES, video_id
from vadpipe.pipeline.importing.labels import read_videos
from vadpipe.pipeline.importing.released_files import walk


@dataclass(slots=True)
class DataCheck:
    """What was found; lists are sorted ids or paths relative to the folder, reasons beside them where there are any.

    files, found
        Number of files looked at; of ids they belong to.
    listed, counts, official
        Number of ids that the lists name, by list; official number by split. ``counts`` are complaints in words.
    missing, extra
        Ids that are listed but not in the folder; in the folder but not listed.
    incomplete
        Id -> crops that a list names and the folder has not, though it has others of the video.
    duplicates
        Id -> files that are the same crop of the same video.
    unreadable
        File -> why it cannot be used.
    known_bad
        Id -> what is wrong with it everywhere; said, and no fault of the folder.
    """

    dataset: str
    folder: str
    files: int = 0
    found: int = 0
    listed: dict[str, int] = field(default_factory=dict)
    official: dict[str, int] = field(default_factory=dict)
    counts: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    incomplete: dict[str, list[int]] = field(default_factory=dict)
    duplicates: dict[str, list[str]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    known_bad: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True where nothing is wrong; known bad files alone do not count."""
        wrong = (self.counts, self.missing, self.extra, self.incomplete, self.duplicates, self.unreadable)
        return not any(wrong)

    def to_mapping(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return asdict(self) | {"ok": self.ok}


def check_data(
    dataset: str,
    folder: Path,
    lists: Sequence[Path] = (),
    advance: Callable[[int, int], None] = lambda _done, _total: None,
) -> DataCheck:
    """Compare the videos or ``.npy`` features under ``folder`` with ``lists`` and with the data set's official counts.

    lists
        Lists or annotations of any kind, which say what should be there; () for the official counts alone.
    advance
        Is told the number of files looked at and of all files.

    Of an array the header and the file's size are read, of a video only its size. :class:`UsageError` for an unknown
    data set or a folder that is none or holds neither.
    """
    if dataset not in DATASETS:
        raise UsageError(f"data set: got {dataset!r}, expected one of {', '.join(DATASETS)}")
    check = DataCheck(dataset, str(folder), official=dict(DATASETS[dataset].counts))
    expected = _expected(lists, check)
    present = _present(_files(folder), folder, check, advance)
    check.found = len(present)
    check.duplicates = {
        video: files
        for video, crops in present.items()
        if (files := [f for c in crops.values() if len(c) > 1 for f in c])
    }
    _compare(expected, present, check)
    bad = DATASETS[dataset].known_bad
    check.known_bad = {video: bad[video] for video in sorted(bad) if video in present or video in expected}
    return check


def _expected(lists: Sequence[Path], check: DataCheck) -> dict[str, set[int]]:
    """Listed ids with the crops that the lists name; no crops where they name videos."""
    expected: dict[str, set[int]] = {}
    for path in lists:
        videos = read_videos(path, check.dataset)
        check.listed[str(path)] = len(videos)
        for video in videos:
            expected.setdefault(video.record.id, set()).update(crop_number(name) for name in video.files)
    return expected


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    visible = sorted(walk(folder, {".npy", *MEDIA_SUFFIXES}))
    arrays = [path for path in visible if path.suffix.lower() == ".npy"]
    videos = [path for path in visible if path.suffix.lower() != ".npy"]
    if not arrays and not videos:
        raise UsageError(f"{folder} holds neither videos nor .npy features")
    if arrays and videos:
        raise UsageError(f"{folder} holds {len(videos)} videos and {len(arrays)} .npy files; name the folder of either")
    return arrays or videos


def _present(
    files: Sequence[Path], folder: Path, check: DataCheck, advance: Callable[[int, int], None]
) -> dict[str, dict[int, list[str]]]:
    """Id -> crop -> files, relative to the folder; what cannot be used goes to ``check.unreadable`` as well."""
    present: dict[str, dict[int, list[str]]] = {}
    for done, path in enumerate(files, 1):
        name = str(path.relative_to(folder))
        try:
            _look_at(path)
        except VadpipeError as error:
            check.unreadable[name] = str(error).removeprefix(str(path)).lstrip(": ")
        try:
            present.setdefault(video_id(path.name), {}).setdefault(crop_number(path.name), []).append(name)
        except DataError as error:
            check.unreadable[name] = str(error)
        check.files = done
        advance(done, len(files))
    return present


def _look_at(path: Path) -> None:
    """Raise where a file is plainly of no use; what it holds is not read."""
    if path.suffix.lower() != ".npy":
        try:
            if not path.is_file() or path.stat().st_size == 0:
                raise DataError("empty (0 bytes)" if path.is_file() else "a link to nothing, or no file")
            with path.open("rb"):
                return
        except OSError as error:
            raise DataError(f"cannot be opened: {error.strerror}") from error
    array = open_array(path)
    if array.ndim not in (2, 3) or array.dtype not in (np.float16, np.float32, np.float64) or array.size == 0:
        raise DataError(f"{array.dtype} {array.shape}, expected floats (T, D), or with crops, and T > 0")


def _compare(expected: dict[str, set[int]], present: dict[str, dict[int, list[str]]], check: DataCheck) -> None:
    allowed = {f"{split} {count}": count for split, count in check.official.items()}
    allowed |= {f"together {sum(check.official.values())}": sum(check.official.values())}
    for what, count in (("the lists name", len(expected)), ("the folder holds", len(present))):
        is_judged = bool(check.official) and count and not (expected and what == "the folder holds")
        if is_judged and count not in allowed.values():
            check.counts.append(f"{what} {count} videos, official are {', '.join(allowed)}")
    if not expected:
        return
    check.missing, check.extra = sorted(expected.keys() - present), sorted(present.keys() - expected)
    for video in sorted(expected.keys() & present):
        if lacking := sorted(expected[video] - present[video].keys()):
            check.incomplete[video] = lacking
