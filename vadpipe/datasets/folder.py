"""The user's own data: ``labels.csv`` or folders named after labels, and the cut of a validation set."""

from __future__ import annotations

import csv
import difflib
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import MEDIA_SUFFIXES, VideoRecord, at_line, parse_fps, read_text, unique_ids, video_id
from vadpipe.tracks import NORMAL

_REQUIRED = ("video", "label")
_OPTIONAL = ("split", "frames", "fps")
_MOST_COLUMNS = 1000  # each is compared with the optional ones


def read_labels(path: str | Path) -> list[VideoRecord]:
    """Records of a ``labels.csv``, in its order.

    Columns ``video`` (id or file name) and ``label`` (categories joined by ``|``, or ``normal`` in any case); optional
    ``split`` (default ``train``), ``frames``, ``fps`` (``25``, ``29.97``, ``30000/1001``), whose cells may be empty.
    Other columns are the user's notes and are ignored, unless their name looks like a misspelt optional column.
    UTF-8, with or without byte order mark, any line ends. :class:`DataError` with file and line for anything else.
    """
    rows = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    records: dict[str, VideoRecord] = {}
    try:
        header = next(rows, [])
        with at_line(path, 1):
            columns = _columns(header)
        for row in rows:
            if not row:
                continue
            with at_line(path, rows.line_num):
                if len(row) != len(header):
                    raise DataError(f"got {len(row)} cells, expected {len(header)} as in the header")
                record = _record({name: row[index].strip() for name, index in columns.items()})
                if record.id in records:
                    raise DataError(f"video {record.id!r} is there twice; join several labels by '|' in one row")
                records[record.id] = record
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: not a CSV line: {error}") from error
    if not records:
        raise DataError(f"{path}: holds no video")
    _check_spelling(records.values(), str(path))
    return list(records.values())


def labels_from_folders(videos_dir: str | Path) -> list[VideoRecord]:
    """Records of ``videos_dir/<label>/<video>``, sorted by id; a folder's name is the label, as in ``labels.csv``.

    Hidden files and files that are no videos are passed over. :class:`DataError` for a video outside a label folder,
    a folder inside one, an id in two folders, or no video at all.
    """
    root = Path(videos_dir)
    if not root.is_dir():
        raise UsageError(f"videos: {root} is not a folder")
    records: list[VideoRecord] = []
    for path in sorted(entry for entry in root.iterdir() if not entry.name.startswith(".")):
        if path.is_dir():
            labels = parse_labels(path.name)
            records += [VideoRecord(video_id(video), labels) for video in _videos(path)]
        elif path.suffix.lower() in MEDIA_SUFFIXES:
            raise DataError(f"{path} lies in no label folder; expected {root.name}/<label>/{path.name}")
    if not records:
        raise DataError(f"{root}: no video found; expected {root.name}/<label>/*.mp4")
    unique_ids(records, str(root))
    _check_spelling(records, str(root))
    return sorted(records, key=lambda record: record.id)


def split_validation(
    records: Sequence[VideoRecord], share: float = 0.2, salt: str = ""
) -> tuple[list[VideoRecord], list[VideoRecord]]:
    """Cut a validation set from training videos: (train, val), both in the order given, val with ``split="val"``.

    Each stratum (``normal``, or the alphabetically first category of a video) of n videos gives the round(share x n)
    ids with the smallest hash of salt and id, but at least 1 and at most n - 1; a stratum of 1 stays in training. So
    the cut does not depend on the order, and a further video moves at most two others. Where all anomalous videos are
    the only one of their category, the one with the smallest hash is taken, for a validation set without incidents
    measures nothing. :class:`DataError` with fewer than 2 normal or 2 anomalous videos, or one that is not ``train``.
    """
    if not 0 < share < 1:
        raise UsageError(f"validation share: got {share}, expected more than 0 and less than 1")
    unique_ids(records, "validation split")
    if other := [record.id for record in records if record.split != "train"]:
        raise DataError(f"validation split: {other[0]!r} and {len(other) - 1} others are not training videos")
    normal = [record for record in records if not record.is_anomalous]
    anomalous = [record for record in records if record.is_anomalous]
    if min(len(normal), len(anomalous)) < 2:
        raise DataError(
            f"validation split: got {len(normal)} normal and {len(anomalous)} anomalous training videos, "
            "expected at least 2 of each"
        )
    strata: dict[str, list[str]] = {}
    for record in records:
        strata.setdefault(min(record.labels), []).append(record.id)
    chosen = {video for ids in strata.values() for video in _smallest(ids, share, salt)}
    if not any(record.id in chosen for record in anomalous):
        chosen.add(min((record.id for record in anomalous), key=lambda video: _hash(video, salt)))
    train = [record for record in records if record.id not in chosen]
    return train, [replace(record, split="val") for record in records if record.id in chosen]


def _smallest(ids: list[str], share: float, salt: str) -> list[str]:
    count = min(max(round(share * len(ids)), 1), len(ids) - 1)
    return sorted(ids, key=lambda video: _hash(video, salt))[:count]


def _hash(video: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}\0{video}".encode()).hexdigest()


def _columns(header: Sequence[str]) -> dict[str, int]:
    names = [name.strip().lower() for name in header]
    if len(header) > _MOST_COLUMNS:
        raise DataError(f"got {len(header)} columns, expected at most {_MOST_COLUMNS}")
    if missing := [name for name in _REQUIRED if name not in names]:
        raise DataError(
            f"no column {' and '.join(missing)}; got {header!r:.80}, expected 'video,label', parted by commas"
        )
    for name in names:
        if name in (*_REQUIRED, *_OPTIONAL):
            if names.count(name) > 1:
                raise DataError(f"column {name!r} is there {names.count(name)} times")
        elif meant := difflib.get_close_matches(name, _OPTIONAL, n=1, cutoff=0.75):
            raise DataError(f"column {name!r} looks like {meant[0]!r}; name it so, or otherwise")
    return {name: names.index(name) for name in (*_REQUIRED, *_OPTIONAL) if name in names}


def _record(cells: Mapping[str, str]) -> VideoRecord:
    try:
        frames = int(cells["frames"]) if cells.get("frames") else None
    except ValueError as error:
        raise DataError(f"frames: got {cells['frames']!r:.80}, expected a number of frames") from error
    fps = parse_fps(cells["fps"]) if cells.get("fps") else None
    split = cells.get("split") or "train"
    return VideoRecord(video_id(cells["video"]), parse_labels(cells["label"]), (), split, frames, fps)


def parse_labels(text: str) -> frozenset[str]:
    """Labels of ``fighting|riot`` or ``normal``, in any case; :class:`DataError` where one is empty."""
    labels = [label.strip() for label in text.split("|")]
    if not all(labels):
        raise DataError(f"label: got {text!r:.80}, expected {NORMAL!r} or categories joined by '|', none of them empty")
    return frozenset(NORMAL if label.casefold() == NORMAL else label for label in labels)


def _videos(folder: Path) -> Iterable[Path]:
    for path in sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".")):
        if path.is_dir():
            raise DataError(f"{path}: a folder inside a label folder; expected videos only")
        if path.suffix.lower() in MEDIA_SUFFIXES:
            yield path


def _check_spelling(records: Iterable[VideoRecord], what: str) -> None:
    spelt: dict[str, str] = {}
    for label in sorted({label for record in records for label in record.labels}):
        other = spelt.setdefault(label.casefold(), label)
        if other != label:
            raise DataError(f"{what}: labels {other!r} and {label!r} differ only in case; spell them alike")
