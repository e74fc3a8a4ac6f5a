"""Temporal annotations: text files that say from which frame to which an incident lasts.

One line a video, the first column its id, with or without ``.mp4`` or folder. What follows are frames, half-open::

    <id> 57 670 728 800                     one category: the one the video is labelled with
    <id> B2 57 670 G 728 800                a class name or XD-Violence code before a span; it holds until the next
    <id>  Arson  150  420  680  1267        UCF-Crime; there -1  -1 stands for no span
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vadpipe.datasets import DATASETS
from vadpipe.errors import DataError, UnknownVideos
from vadpipe.manifest import MEDIA_SUFFIXES, VideoRecord, at_line, read_text, video_id
from vadpipe.tracks import NORMAL, Interval, TimeGrid

_NAMED = 5  # ids that a note spells out; the rest is a number
_WORD = re.compile(r"\S+")
_NUMBER = re.compile(r"-?[0-9]+")


@dataclass(frozen=True, slots=True)
class _Span:
    category: str
    start: int
    end: int


def read_annotations(
    path: str | Path,
    records: Mapping[str, VideoRecord],
    grids: Mapping[str, TimeGrid],
    notes: list[str] | None = None,
) -> dict[str, tuple[Interval, ...]]:
    """True incidents by video id, sorted by start, for the videos that are both in ``records`` and in ``grids``.

    Normal videos are there with an empty tuple; an anomalous video without a line is left out, since its truth is
    unknown. Ids match exactly. Lines of one video add up. Spans that run past the last frame, as real ones do, are
    clipped, and dropped if nothing remains; lines of videos that are not asked for are passed over. What was
    clipped, dropped, left out and passed over is appended to ``notes``, a sentence each.

    :class:`DataError` with file and line for malformed lines, reversed, empty or negative spans, the same span twice,
    spans in a normal video, an unknown category, or a line without categories for a video with several; and for a
    file in which no video is known.
    """
    wanted = {video: records[video] for video in records if video in grids}
    names = _category_names(wanted)
    found: dict[str, list[_Span]] = {}
    unknown: list[str] = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        with at_line(path, number):
            video, rest = _split_id(line, wanted)
            if video not in wanted:
                unknown.append(video)
                continue
            _add(found.setdefault(video, []), _spans(rest, wanted[video], names))
    if not found:
        raise UnknownVideos(
            f"{path}: none of its {len(unknown)} ids is one of the {len(wanted)} videos: {_few(unknown)}"
        )
    silent = [video for video, record in wanted.items() if record.is_anomalous and video not in found]
    said = _clip_notes(found, grids)
    said += [f"anomalous videos without annotation, left out: {_few(silent)}"] if silent else []
    said += [f"annotated videos that are not among those asked for: {_few(unknown)}"] if unknown else []
    if notes is not None:
        notes += [f"{path}: {text}" for text in said]
    known = (video for video, record in wanted.items() if video in found or not record.is_anomalous)
    return {video: _intervals(found.get(video, []), grids[video]) for video in known}


def _split_id(line: str, known: Mapping[str, VideoRecord]) -> tuple[str, list[str]]:
    # Ids hold blanks, so the id is the longest start of the line that is one; of an unknown id the first word is said.
    words = list(_WORD.finditer(line))
    for word in reversed(words):
        video = _without_suffix(line[words[0].start() : word.end()])
        if video in known:
            return video, line[word.end() :].split()
    return _without_suffix(words[0].group()), []


def _without_suffix(text: str) -> str:
    name = text.rsplit("/", 1)[-1]
    return video_id(name) if Path(name).suffix.lower() in MEDIA_SUFFIXES else name


def _spans(words: list[str], record: VideoRecord, names: Mapping[str, str]) -> Iterator[_Span]:
    """Spans of one line; ``words`` are what follows the id."""
    if not words:
        raise DataError(f"video {record.id!r}: no frames after the id; expected 'start end', or '-1 -1' for none")
    category, position = "", 0
    while position < len(words):
        name = []
        while position < len(words) and not _NUMBER.fullmatch(words[position]):
            name.append(words[position])
            position += 1
        if name:
            category = _category(" ".join(name), names)
        pair = words[position : position + 2]
        if len(pair) < 2 or not _NUMBER.fullmatch(pair[1]):
            raise DataError(
                f"video {record.id!r}: got {' '.join([*name, *pair])!r}, expected frames in pairs, start end"
            )
        position += 2
        start, end = int(pair[0]), int(pair[1])
        if (start, end) == (-1, -1):
            continue
        if not 0 <= start < end:
            raise DataError(f"video {record.id!r}: span {start} {end}: expected 0 <= start < end")
        yield _Span(_allowed(category or _only_label(record), record), start, end)


def _allowed(category: str, record: VideoRecord) -> str:
    if not record.is_anomalous or category == NORMAL:
        raise DataError(
            f"video {record.id!r}: a span of {category!r}, but the video's label is {sorted(record.labels)}"
        )
    return category


def _only_label(record: VideoRecord) -> str:
    if len(record.labels) > 1:
        raise DataError(
            f"video {record.id!r} has the labels {sorted(record.labels)} and its line names none; "
            "use the file with a class before each span (annotations_multiclasses.txt)"
        )
    return next(iter(record.labels))


def _category(name: str, names: Mapping[str, str]) -> str:
    if name.casefold() not in names:
        raise DataError(f"category: got {name!r}, expected one of {sorted(set(names.values()))} or an XD-Violence code")
    return names[name.casefold()]


def _category_names(records: Mapping[str, VideoRecord]) -> dict[str, str]:
    """Class name or code, in lower case -> category, spelt as in the labels in use if they have it."""
    used = {label.casefold(): label for record in records.values() for label in record.labels}
    names: dict[str, str] = {}
    for spec in DATASETS.values():
        names |= {label.casefold(): label for label in spec.classes}
        names |= {code.casefold(): label for code, label in spec.codes.items()}
    return {key: used.get(label.casefold(), label) for key, label in names.items()} | used


def _add(spans: list[_Span], more: Iterator[_Span]) -> None:
    for span in more:
        if span in spans:
            raise DataError(f"{span.category} {span.start} {span.end} is there twice for this video")
        spans.append(span)


def _clip_notes(found: Mapping[str, list[_Span]], grids: Mapping[str, TimeGrid]) -> list[str]:
    clipped, dropped = [], []
    for video, spans in found.items():
        last = grids[video].num_frames
        clipped += [video for span in spans if span.start < last < span.end]
        dropped += [video for span in spans if span.start >= last]
    notes = [f"{len(clipped)} spans ran past the last frame and were clipped: {_few(clipped)}"] if clipped else []
    notes += [f"{len(dropped)} spans lay past the last frame and were dropped: {_few(dropped)}"] if dropped else []
    return notes


def _intervals(spans: list[_Span], grid: TimeGrid) -> tuple[Interval, ...]:
    inside = [span for span in spans if span.start < grid.num_frames]
    inside.sort(key=lambda span: (span.start, span.end, span.category))
    return tuple(Interval.of_frames(s.category, s.start, min(s.end, grid.num_frames), grid) for s in inside)


def _few(videos: list[str]) -> str:
    unique = list(dict.fromkeys(videos))
    more = f" and {len(unique) - _NAMED} more" if len(unique) > _NAMED else ""
    return ", ".join(repr(video) for video in unique[:_NAMED]) + more
