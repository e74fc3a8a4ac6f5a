"""Temporal annotations: text files that say from which frame to which an incident lasts.

One line a video, the first column its id, with or without ``.mp4`` or folder. What follows are frames, half-open::

    <id> 57 670 728 800                     one category: the one the video is labelled with
    <id> B2 57 670 G 728 800                a class name or XD-Violence code before a span; it holds until the next;
                                            a name may hold blanks, and numbers that do not come first
    <id>  Arson  150  420  680  1267        UCF-Crime; there -1  -1 stands for no span
    Arson/<id>.mp4 8640 Arson 3500 4000     the same with the video's length in frames
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from vadpipe.datasets.spans import FEATURES, TruthTable
from vadpipe.errors import DataError
from vadpipe.manifest import MAX_ID_CHARS, MEDIA_SUFFIXES, VideoRecord, at_line, check_id, read_text, video_id
from vadpipe.tracks import Interval, TimeGrid

_WORD = re.compile(r"\S+")
_MOST_START = MAX_ID_CHARS + 4096  # characters of a line in which its id is looked for, folders in front
_NO_FRAMES = "no frames after the id; expected '<id> start end', parted by blanks, or '-1 -1' for none"
_NUMBERS_IN_NAME = 8  # words from a name's first number on, so that a line of any length is read in no time
_NUMBER = re.compile(r"-?[0-9]{1,18}")


def read_annotations(
    path: str | Path,
    records: Mapping[str, VideoRecord],
    grids: Mapping[str, TimeGrid],
    notes: list[str] | None = None,
    beside: str = FEATURES,
) -> dict[str, tuple[Interval, ...]]:
    """True incidents by video id, sorted by start, for the videos that are both in ``records`` and in ``grids``.

    Normal videos are there with an empty tuple; an anomalous video without a line is left out, since its truth is
    unknown. Ids match exactly. Lines of one video add up. Spans that run past the last frame, as real ones do, are
    clipped, and dropped if nothing remains; lines of videos that are not asked for are passed over. What was
    clipped, dropped, left out and passed over is appended to ``notes``, a sentence each; ``beside`` says there in words
    what the grids are of.

    :class:`DataError` with file and line for malformed lines, reversed, empty or negative spans, the same span twice,
    spans in a normal video, an unknown category, or a line without categories for a video with several; for stated
    lengths that differ from the grid's by more than a snippet; and for a file in which no video is known.
    """
    table = TruthTable(records, grids, beside)
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        with at_line(path, number):
            video, rest = _split_id(line, table.wanted)
            if table.mention(video):
                _add_spans(table, video, rest)
    return table.truth(path, notes)


def _split_id(line: str, known: Mapping[str, VideoRecord]) -> tuple[str, list[str]]:
    # Ids hold blanks, so the id is the longest start of the line that is one; of an unknown id the first word is said.
    words = list(_WORD.finditer(line))
    for word in reversed([word for word in words if word.end() - words[0].start() <= _MOST_START]):
        video = _without_suffix(line[words[0].start() : word.end()])
        if video in known:
            return video, line[word.end() :].split()
    video = check_id(_without_suffix(words[0].group()))
    if len(words) == 1:  # of another video perhaps, but more likely with another separator than blanks
        raise DataError(f"video {video!r}: {_NO_FRAMES}")
    return video, []


def _without_suffix(text: str) -> str:
    name = text.rsplit("/", 1)[-1]
    return video_id(name) if Path(name).suffix.lower() in MEDIA_SUFFIXES else name


def _add_spans(table: TruthTable, video: str, words: list[str]) -> None:
    """Put the spans of one line into the table; ``words`` are what follows the id."""
    if not words:
        raise DataError(f"video {video!r}: {_NO_FRAMES}")
    if len(words) > 1 and _NUMBER.fullmatch(words[0]) and not _NUMBER.fullmatch(words[1]):
        table.set_length(video, int(words[0]))
        words = words[1:]
    category = ""
    for name, start, end in _pairs(video, words, table.is_category):
        category = table.category(name) if name else category
        if (start, end) != (-1, -1):
            table.add(video, start, end, category)


def _pairs(video: str, words: list[str], is_category: Callable[[str], bool]) -> Iterator[tuple[str, int, int]]:
    """Pairs of frames, each with the name that stands before it."""
    position = 0
    while position < len(words):
        end = _name_end(words, position, is_category)
        name, position = words[position:end], end
        pair = words[position : position + 2]
        if len(pair) < 2 or not _NUMBER.fullmatch(pair[1]):
            raise DataError(
                f"video {video!r}: got {' '.join([*name, *pair])!r:.80}, expected frames in pairs, start end"
            )
        yield " ".join(name), int(pair[0]), int(pair[1])
        position += 2


def _name_end(words: list[str], start: int, is_category: Callable[[str], bool]) -> int:
    """End of the words up to a number, or of more of them where those name a category: ``gate 4`` in gate 4 57 670."""
    end = start
    while end < len(words) and not _NUMBER.fullmatch(words[end]):
        end += 1
    if end == start:
        return end
    longer = range(min(len(words), end + _NUMBERS_IN_NAME), end, -1)
    return next((place for place in longer if is_category(" ".join(words[start:place]))), end)
