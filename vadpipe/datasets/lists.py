"""Lists of videos as the public projects release them: which videos, which label, which feature files.

Told apart by what is in them, not by their name; a file may be packed with gzip:

- CSV with the columns ``path,label`` or ``path,audio_path,label``; a row is one crop of one video;
- one path a line: ``.list`` files of features, ``Anomaly_Train.txt`` of videos, bare ids; labels are in the names;
- annotation files, one video a line, ``<id> …``; their spans are read by :mod:`vadpipe.datasets.ground_truth`.

The paths are their authors' home folders: only the file name is used.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from vadpipe.datasets import DATASETS, DatasetSpec
from vadpipe.datasets.folder import parse_labels
from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import FEATURE_SUFFIXES, MEDIA_SUFFIXES, SPLITS, VideoRecord, at_line, read_text, video_id

_CROP = re.compile(r"__([0-9])\.npy\Z", re.IGNORECASE)
_NAME_LABEL = re.compile(r"_label_([^_]+)\Z")  # …_label_G-B2-B6 of XD-Violence
_LETTERS = re.compile(r"[A-Za-z]+")  # Arson011_x264, Normal_Videos_003_x264 of UCF-Crime
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_PADDING = "0"  # XD-Violence's label lists have three places
_SUFFIXES = MEDIA_SUFFIXES | FEATURE_SUFFIXES
_COLUMNS = ({"path", "label"}, {"path", "audio_path", "label"})


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """One video of a released list.

    record
        Id, labels and split. ``fps`` is the data set's nominal rate (:attr:`DatasetSpec.fps`, None where it has none);
        ``num_frames`` is there only if the list states it.
    files
        File names, without folders, of its ``.npy`` feature files, by crop number; a name without one is crop 0. Empty
        where the list names videos or ids.
    audio_file
        File name of its audio features, or None.
    """

    record: VideoRecord
    files: tuple[str, ...] = ()
    audio_file: str | None = None


@dataclass(frozen=True, slots=True)
class ListRow:
    """One line of a list, as it stands there.

    label, span_label
        Text of the label column; categories of an annotation's spans, which may go beyond the video's labels.
    num_frames
        The video's length where the line states it.
    """

    number: int
    path: str
    audio: str | None = None
    label: str | None = None
    span_label: str | None = None
    num_frames: int | None = None


@dataclass(slots=True)
class _Rows:
    """What the rows of one video have said so far."""

    record: VideoRecord
    crops: dict[int, str] = field(default_factory=dict)
    audio_file: str | None = None


def read_list(path: str | Path, dataset: str, split: str = "train") -> list[ListedVideo]:
    """Videos of a list, in its order, each once; see :class:`ListedVideo`.

    split
        Given to every record: ``train``, ``val`` or ``test``; lists do not say it.

    :class:`UsageError` for an unknown data set or split, or a file that cannot be opened. :class:`DataError` with file
    and line for names that can be no id, unknown labels, a label that contradicts the name, rows of one video that
    contradict each other, a crop or a video that is there twice; and for a file that holds no video.
    """
    if dataset not in DATASETS:
        raise UsageError(f"data set: got {dataset!r}, expected one of {', '.join(DATASETS)}")
    if split not in SPLITS:
        raise UsageError(f"split: got {split!r}, expected one of {', '.join(SPLITS)}")
    spec = DATASETS[dataset]
    found: dict[str, _Rows] = {}
    for row in list_rows(path):
        with at_line(path, row.number):
            _add(found, row, spec)
    videos = []
    if not found:
        raise DataError(f"{path}: holds no video")
    for rows in found.values():
        record = replace(rows.record, split=split)
        files = tuple(rows.crops[crop] for crop in sorted(rows.crops))
        videos.append(ListedVideo(record, files, rows.audio_file))
    return videos


def list_lengths(path: str | Path) -> dict[str, int | None]:
    """Ids of a list in its order, each once, with the number of frames where the list states it.

    What a concatenated array needs (:func:`vadpipe.datasets.ground_truth.read_truth`): labels are not looked at.
    """
    lengths: dict[str, int | None] = {}
    for row in list_rows(path):
        with at_line(path, row.number):
            lengths.setdefault(video_id(row.path), row.num_frames)
    return lengths


def list_rows(path: str | Path) -> Iterator[ListRow]:
    """Lines of a list, told apart by its first line; :class:`DataError` for malformed ones and an empty file."""
    text = read_text(path)
    if not text.strip():
        raise DataError(f"{path}: holds no video")
    if first_cells(text, path) & {"path", "label"}:
        yield from _csv_rows(text, path)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            with at_line(path, number):
                row = _line_row(number, line)
            yield row


def first_cells(text: str, path: str | Path) -> set[str]:
    """Cells of the first line that is not blank, read as CSV, in lower case: the columns, where it is a header."""
    line = text.lstrip().partition("\n")[0]
    try:
        return {cell.strip().lower() for cell in next(csv.reader([line]), [])}
    except csv.Error as error:
        raise DataError(f"{path}: the first line is not one of a list: {error}; got {line!r:.80}") from error


def crop_number(name: str) -> int:
    """Crop that a feature file holds: the digit of ``…__5.npy``, and 0 for a name without one."""
    match = _CROP.search(name)
    return int(match.group(1)) if match else 0


def _csv_rows(text: str, path: str | Path) -> Iterator[ListRow]:
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns: list[str] = []
    try:
        for cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            with at_line(path, rows.line_num):
                if not columns:
                    columns = _header(cells)
                    continue
                if len(cells) != len(columns):
                    raise DataError(f"got {len(cells)} cells, expected {len(columns)}: {','.join(columns)}")
                named = {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}
                if not all(named.values()):
                    raise DataError(f"an empty cell: {cells!r:.80}")
                row = ListRow(rows.line_num, named["path"], named.get("audio_path"), named["label"])
            yield row
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: not a CSV line: {error}") from error


def _header(cells: Sequence[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    if set(names) not in _COLUMNS or len(set(names)) != len(names):
        raise DataError(f"columns: got {','.join(names):.80}, expected path,label or path,audio_path,label")
    return names


def _line_row(number: int, line: str) -> ListRow:
    """Return the row of a line that is a path, an id, or an annotation that starts with one."""
    text, words = line.strip(), line.split()
    if PurePosixPath(text).suffix.lower() in _SUFFIXES:
        return ListRow(number, text)
    if len(words) == 1 and set(text) & set(",;|"):  # in no id of the data sets: another separator than is read here
        raise DataError(f"got {text!r:.80}, expected one path a line, or '<id> start end …' parted by blanks")
    rest = words[1:]
    stated = len(rest) > 1 and _NUMBER.fullmatch(rest[0]) and not _NUMBER.fullmatch(rest[1])  # <id> 8640 Arson 3500 …
    frames = int(rest[0]) if stated else None
    if frames is not None and frames < 0:
        raise DataError(f"frames: got {frames}, expected 0 or more")
    names = "".join("|" if _NUMBER.fullmatch(word) else " " + word for word in rest).split("|")
    label = "|".join(dict.fromkeys(name.strip() for name in names if name.strip()))
    return ListRow(number, words[0], span_label=label or None, num_frames=frames)


def _add(found: dict[str, _Rows], row: ListRow, spec: DatasetSpec) -> None:
    video = video_id(row.path)
    labels = _row_labels(row, video, spec)
    is_new = video not in found
    if is_new:
        found[video] = _Rows(VideoRecord(video, labels, num_frames=row.num_frames, fps=spec.fps))
    rows = found[video]
    if rows.record.labels != labels:
        earlier = sorted(rows.record.labels)
        raise DataError(f"video {video!r}: labels {sorted(labels)} here and {earlier} in an earlier row")
    name = row.path.rsplit("/", 1)[-1]
    if not name.lower().endswith(".npy"):
        if not is_new:
            raise DataError(f"video {video!r} is there twice")
        return
    if crop_number(name) in rows.crops or not (is_new or rows.crops):
        raise DataError(f"video {video!r} is there twice, with crop {crop_number(name)}")
    rows.crops[crop_number(name)] = name
    audio = row.audio.rsplit("/", 1)[-1] if row.audio else None
    if audio and video_id(audio) != video and not video_id(audio).startswith(f"{video}__"):  # …__vggish, XD-Violence
        raise DataError(f"video {video!r}: audio file {audio!r} is another video's")
    if not is_new and audio != rows.audio_file:
        raise DataError(f"video {video!r}: audio file {audio!r} here and {rows.audio_file!r} in an earlier row")
    rows.audio_file = audio


def _row_labels(row: ListRow, video: str, spec: DatasetSpec) -> frozenset[str]:
    """Labels of a row: from the name, or a column; a column that contradicts the name is an error."""
    if not spec.anomalies:
        label = row.label or row.span_label or PurePosixPath(row.path).parent.name
        if not label:
            raise DataError(f"video {video!r} has no label; expected <label>/{video}, or a CSV with the column label")
        return parse_labels(label)
    named = _labels_of_name(video, spec)
    stated = _labels_of_text(row.label, spec) if row.label else None
    if named and stated and named != stated:
        raise DataError(f"video {video!r}: the label column says {row.label!r:.80}, the name {sorted(named)}")
    if not (labels := named or stated):
        raise DataError(f"video {video!r}: its name has no label of {spec.name}: {', '.join(spec.classes)}")
    return labels


def _labels_of_name(video: str, spec: DatasetSpec) -> frozenset[str] | None:
    if spec.label_first:
        letters = _LETTERS.match(video)
        label = spec.class_of(letters.group()) if letters else None
        return frozenset({label}) if label else None
    match = _NAME_LABEL.search(video)
    return _labels_of_text(match.group(1), spec) if match else None


def _labels_of_text(text: str, spec: DatasetSpec) -> frozenset[str]:
    parts = [part.strip() for part in re.split(r"[-|]", text)]
    labels = {part: spec.class_of(part) for part in parts if part != _PADDING}
    unknown = [part for part, label in labels.items() if label is None]
    if unknown or not labels:
        raise DataError(f"label: got {text!r:.80}, expected codes or classes of {spec.name}: {spec.names}")
    return frozenset(label for label in labels.values() if label is not None)
