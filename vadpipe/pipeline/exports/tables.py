"""Tables with one row an interval: CSV (RFC 4180) and TSV (the media type ``text/tab-separated-values``).

A text that begins with one of ``= + - @`` (blanks before it or not, full width or not), a quote, an apostrophe, a tab
or a line break gets an apostrophe in front, so that no table program runs it as a formula (OWASP's page "CSV
Injection"; CWE-1236) and no reader takes it for the start of a quoted cell. :func:`plain` undoes it. Cells with numbers
are never touched.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from vadpipe.detection import Detection
from vadpipe.pipeline.exports.forms import intervals_of

COLUMNS = (
    "video",
    "path",
    "category",
    "note",
    "start_s",
    "end_s",
    "start_frame",
    "end_frame",
    "score",
    "peak",
    "calibrated",
)
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_GUARDED = (*_FORMULA, "'", '"', "\t", "\r", "\n")
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_UNESCAPED = {escape: char for char, escape in _ESCAPES.items()}


def csv_table(detections: Sequence[Detection]) -> bytes:
    """UTF-8 without a byte order mark, lines ended by CR LF, a header; line breaks in names stand in quoted cells."""
    return csv_bytes([COLUMNS, *_rows(detections)])


def tsv_table(detections: Sequence[Detection]) -> bytes:
    r"""UTF-8, lines ended by LF, a header, no quoting; ``\t``, ``\n``, ``\r`` and ``\\`` stand for what they say."""
    lines = ["\t".join(COLUMNS)]
    lines += ["\t".join(_escaped(cell) for cell in row) for row in _rows(detections)]
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def csv_bytes(rows: Iterable[Sequence[str]]) -> bytes:
    """Rows of cells, guarded where they need to be -> a CSV file."""
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue().encode("utf-8", "backslashreplace")


def guarded(text: str) -> str:
    """A text as a cell that is only ever a text."""
    return f"'{text}" if text.startswith(_GUARDED) or text.lstrip().startswith(_FORMULA) else text


def plain(cell: str, *, tsv: bool = False) -> str:
    """The text that a text cell was made of, as a reader of CSV, or of TSV without quoting, gives it."""
    if tsv:
        cell = re.sub(r"\\[\\tnr]", lambda found: _UNESCAPED[found[0]], cell)
    return cell.removeprefix("'")


def _rows(detections: Sequence[Detection]) -> Iterator[tuple[str, ...]]:
    for detection in detections:
        clip = detection.clip
        for told in intervals_of(detection):
            texts = (clip.id, clip.path, told.category, told.remark)
            item = told.interval
            numbers = (told.start_s, told.end_s, item.start_frame, item.end_frame, told.score, told.peak)
            calibrated = "" if told.calibrated is None else str(told.calibrated)
            yield (*map(guarded, texts), *map(str, numbers), calibrated)


def _escaped(cell: str) -> str:
    return "".join(_ESCAPES.get(char, char) for char in cell)
