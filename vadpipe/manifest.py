"""Video ids, what is known about a video before it is opened, and ``manifest.jsonl``, a list of such records."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

from vadpipe.class_names import why_no_class
from vadpipe.errors import DataError, UsageError
from vadpipe.outside import parse_json, read_regular
from vadpipe.tracks import NORMAL, Interval
from vadpipe.whole_file import check_target, disk_reason, open_new, temporary_path

MEDIA_SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv"})
"""File name endings, in lower case, that mean a video."""

FEATURE_SUFFIXES = frozenset({".npy", ".h5"})
"""File name endings that mean a feature file."""

SPLITS = ("train", "val", "test")
"""Values of :attr:`VideoRecord.split`."""

MAX_ID_CHARS = 1000

_MAX_TEXT_BYTES = 256 << 20

_CROP = re.compile(r"__[0-9]\Z")
_RATE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}|/[1-9][0-9]{0,8})?")
_SPAN_FIELDS = {field.name for field in fields(Interval)}
_FIELDS = {"id", "labels", "intervals", "split", "num_frames", "fps"}


def video_id(path: str | Path) -> str:
    """Id of the video that a file belongs to: the file's stem, checked by :func:`check_id`.

    Real stems hold dots, so only the last suffix goes, and only if it is one of a video or feature file. The crop
    number of released features (``name__5.npy``) is not part of the id either. A name without a suffix is an id.
    """
    name = str(path).rsplit("/", 1)[-1]
    stem, dot, suffix = name.rpartition(".")
    kind = (dot + suffix).lower()
    if stem and kind in MEDIA_SUFFIXES | FEATURE_SUFFIXES:
        name = stem
        if kind == ".npy":
            name = _CROP.sub("", name) or name
    return check_id(name)


def check_id(video: str) -> str:
    """Return ``video`` if it can be an id, else raise :class:`DataError`.

    Refused: empty, over 1000 characters, ``.`` and ``..``, slashes of both kinds, control characters, and what cannot
    be written as UTF-8. All else is an id, ``#``, ``=``, ``&``, blanks and a leading ``-`` included.
    """
    if not video or video in {".", ".."}:
        raise DataError(f"video id: got {video!r}, expected a file name without its suffix")
    if len(video) > MAX_ID_CHARS:
        raise DataError(f"video id: got {len(video)} characters ({video[:40]!r}…), expected at most {MAX_ID_CHARS}")
    for char in video:
        if char in "/\\" or unicodedata.category(char) in {"Cc", "Cs"}:
            raise DataError(f"video id: got {video!r}, which holds {char!r}; rename the file")
    return video


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One video of a data set: what its labels say, before the file is opened. :class:`DataError` if impossible.

    labels
        ``{"normal"}``, or one or more anomaly categories.
    intervals
        True incidents; empty where they are not known (training videos) or there are none. Their categories may go
        beyond ``labels``: in XD-Violence some do.
    split
        ``train``, ``val`` or ``test``.
    num_frames, fps
        Length and rate where the list states them, else None.
    """

    id: str
    labels: frozenset[str]
    intervals: tuple[Interval, ...] = ()
    split: str = "train"
    num_frames: int | None = None
    fps: Fraction | None = None

    def __post_init__(self) -> None:
        check_id(self.id)
        _check_labels(self.id, self.labels)
        if self.intervals and not self.is_anomalous:
            raise DataError(f"video {self.id!r} is labelled {NORMAL!r} and has {len(self.intervals)} incidents")
        if self.split not in SPLITS:
            raise DataError(f"video {self.id!r}: split: got {self.split!r:.80}, expected one of {', '.join(SPLITS)}")
        if self.num_frames is not None:
            if self.num_frames < 0:
                raise DataError(f"video {self.id!r}: frames: got {self.num_frames}, expected 0 or more")
            if any(span.end_frame > self.num_frames for span in self.intervals):
                raise DataError(f"video {self.id!r}: an incident ends after the last of {self.num_frames} frames")
        if self.fps is not None and self.fps <= 0:
            raise DataError(f"video {self.id!r}: fps: got {self.fps}, expected a positive number")

    @property
    def is_anomalous(self) -> bool:
        """True unless the video is labelled ``normal``."""
        return NORMAL not in self.labels


def _check_labels(video: str, labels: frozenset[str]) -> None:
    if not labels:
        raise DataError(f"video {video!r} has no label; expected {NORMAL!r} or anomaly categories")
    for label in labels:
        if why := why_no_class(label):
            raise DataError(f"video {video!r}: label: {why}")
        if label != label.strip() or "|" in label:
            raise DataError(f"video {video!r}: label: got {label!r:.80}, expected a printable name without '|'")
        if label != NORMAL and label.casefold() == NORMAL:
            raise DataError(f"video {video!r}: label: got {label!r:.80}, expected {NORMAL!r}, written exactly so")
    if NORMAL in labels and len(labels) > 1:
        raise DataError(f"video {video!r}: labels: got {sorted(labels)!s:.300}; {NORMAL!r} cannot stand with others")


def parse_fps(text: str) -> Fraction:
    """Exact frame rate of ``25``, ``29.97`` or ``30000/1001``; :class:`DataError` for anything else."""
    if not _RATE.fullmatch(text):
        raise DataError(f"fps: got {text!r:.80}, expected a number or fraction such as 25, 29.97 or 30000/1001")
    return Fraction(text)


def unique_ids(records: Iterable[VideoRecord], what: str) -> None:
    """Raise :class:`DataError` if two records have the same id; ``what`` says in words where they come from."""
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise DataError(f"{what}: video {record.id!r} is there twice; give every video one entry")
        seen.add(record.id)


def write_manifest(path: str | Path, records: Iterable[VideoRecord]) -> None:
    """Write one JSON object a line. The file appears whole or not at all; its folder has to exist."""
    rows = list(records)
    unique_ids(rows, str(path))
    text = "".join(json.dumps(_to_json(row), ensure_ascii=False) + "\n" for row in rows)
    target = Path(path)
    if not target.parent.is_dir():
        raise UsageError(f"cannot write {target}: there is no folder {target.parent}")
    temporary = temporary_path(target)
    try:
        check_target(target)
        with open_new(temporary) as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {disk_reason(error)}") from error
    finally:
        temporary.unlink(missing_ok=True)  # there only if something above failed


def read_manifest(path: str | Path) -> list[VideoRecord]:
    """Read what :func:`write_manifest` wrote; :class:`DataError` with file and line for anything else."""
    records: dict[str, VideoRecord] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        with at_line(path, number):
            record = _from_json(line)
            if record.id in records:
                raise DataError(f"video {record.id!r} is there twice")
            records[record.id] = record
    return list(records.values())


def read_text(path: str | Path, most: int = _MAX_TEXT_BYTES) -> str:
    """Text of a UTF-8 file that a user wrote: gzip unpacked, byte order mark dropped, line ends as line feeds.

    :class:`UsageError` if it cannot be opened, :class:`DataError` with the line of the first byte that is not UTF-8,
    for a file of more than ``most`` bytes (256 MiB), and for a packed one that is damaged or unpacks to more.
    """
    try:
        raw = read_regular(path, most)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}; cut it into several") from error
    if raw.startswith(b"\x1f\x8b"):
        raw = _unpacked(raw, path, most)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0\0" in (raw[0:4:2], raw[1:4:2]):  # with or without its mark
        raise DataError(f"{path} is UTF-16, expected UTF-8; save the file as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8 (it looks like Latin-1)"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _unpacked(raw: bytes, path: str | Path, most: int) -> bytes:
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            text = file.read(most + 1)  # a small packed file can hold more than the memory
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked: {error}") from error
    if len(text) > most:
        raise DataError(f"{path}: unpacks to more than {most >> 20} MiB; no list is that long")
    return text


@contextmanager
def at_line(path: str | Path, number: int) -> Iterator[None]:
    """Put ``path:number`` in front of the message of a :class:`DataError` that is raised inside."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}:{number}: {error}") from error


def _to_json(record: VideoRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "labels": sorted(record.labels),
        "intervals": [asdict(span) for span in record.intervals],
        "split": record.split,
        "num_frames": record.num_frames,
        "fps": None if record.fps is None else str(record.fps),
    }


def _from_json(line: str) -> VideoRecord:
    try:
        values = parse_json(line, finite=True)
    except ValueError as error:
        raise DataError(f"not JSON: {error}") from error
    if not isinstance(values, dict) or set(values) != _FIELDS:
        got = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise DataError(f"got {got!s:.300}, expected an object with the fields {sorted(_FIELDS)}")
    _check_types(values)
    try:
        spans = tuple(Interval(**span) for span in values["intervals"])
    except (TypeError, ValueError) as error:
        raise DataError(f"interval: {error}") from error
    fps = None if values["fps"] is None else parse_fps(values["fps"])
    return VideoRecord(values["id"], frozenset(values["labels"]), spans, values["split"], values["num_frames"], fps)


def _check_types(values: Mapping[str, Any]) -> None:
    if not (isinstance(values["labels"], list) and isinstance(values["intervals"], list)):
        raise DataError("labels and intervals have to be lists")
    for text in (values["id"], values["split"], values["fps"] or "", *values["labels"]):
        if not isinstance(text, str):
            raise DataError(f"got {text!r:.80}; id, split, fps and every label have to be text")
    for span in values["intervals"]:
        if not isinstance(span, dict) or set(span) != _SPAN_FIELDS or not isinstance(span["category"], str):
            raise DataError(f"interval: got {span!r:.300}, expected an object with the fields {sorted(_SPAN_FIELDS)}")
    frames = [span[name] for span in values["intervals"] for name in ("start_frame", "end_frame")]
    for count in (*frames, values["num_frames"] or 0):
        if type(count) is not int:
            raise DataError(f"frames: got {count!r:.80}, expected an integer")
