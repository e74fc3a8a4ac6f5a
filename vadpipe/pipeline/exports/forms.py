"""What every form needs: spans that rounding never empties, figures of an interval, names that stay on one line."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vadpipe.detection import Detection
from vadpipe.tracks import Interval

_DIGITS = 6
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # controls, bytes that are no UTF-8, line and paragraph separators
_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


@dataclass(frozen=True, slots=True)
class Told:
    """What a form says of one interval.

    start_s, end_s
        To the microsecond; the end is after the start.
    score, peak
        Of the interval; its highest raw anomaly score.
    calibrated
        The peak's calibrated score, None without a calibration and for a category that has none.
    remark
        What has to be said of the category, empty for a trained one.
    """

    interval: Interval
    category: str
    remark: str
    start_s: float
    end_s: float
    score: float
    peak: float
    calibrated: float | None

    def figures(self) -> dict[str, Any]:
        """``peak``, and ``calibrated`` and ``note`` where there are any: what a JSON form adds to its own fields."""
        added = {"peak": self.peak, "calibrated": self.calibrated, "note": self.remark or None}
        return {name: value for name, value in added.items() if value is not None}


def intervals_of(detection: Detection) -> Iterator[Told]:
    """The intervals of one video, in its order."""
    for item in detection.intervals:
        calibrated = detection.calibrated_peak(item)
        yield Told(
            item,
            item.category,
            detection.note(item.category),
            *_seconds(item),
            round(item.score, _DIGITS),
            round(detection.peak(item), _DIGITS),
            None if calibrated is None else round(calibrated, _DIGITS),
        )


def _seconds(item: Interval) -> tuple[float, float]:
    start, end = round(item.start_s, _DIGITS), round(item.end_s, _DIGITS)
    return start, end if end > start else round(start + 10**-_DIGITS, _DIGITS)


def milliseconds(item: Interval, after_s: float = 0.0) -> tuple[int, int]:
    """Start and end, ``after_s`` later, to the nearest millisecond; one that would be empty lasts one."""
    start, end = round((item.start_s + after_s) * 1000), round((item.end_s + after_s) * 1000)
    return start, max(end, start + 1)


def highest(detection: Detection) -> float:
    """Highest raw anomaly score of a video, 0 for one without frames."""
    return round(float(detection.scores.anomaly.max(initial=0.0)), _DIGITS)


def absolute(detection: Detection) -> Path:
    """Where the video was, whatever folder the command ran in."""
    return Path(detection.clip.path).absolute()


def distinct_names(detections: Sequence[Detection]) -> list[str]:
    """A key for each video: its id, or its path where others have the same id; no two are equal."""
    ids = Counter(detection.clip.id for detection in detections)
    names: dict[str, None] = {}
    for detection in detections:
        name, count = detection.clip.id if ids[detection.clip.id] == 1 else detection.clip.path, 1
        while (told := name if count == 1 else f"{name} ({count})") in names:
            count += 1
        names[told] = None
    return list(names)


def visible(text: str) -> str:
    r"""``text`` with what would break or turn a line, or is no character, as an escape: ``\n``, ``\u202e``."""
    shown = "".join(char.encode("unicode_escape").decode() if _hides(char) else char for char in text)
    return shown if shown.strip() else repr(shown)


def _hides(char: str) -> bool:
    code = ord(char)
    if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:
        return True  # non-characters of Unicode, of which XML refuses some
    return unicodedata.category(char) in _UNPRINTABLE or unicodedata.bidirectional(char) in _TURNING


def json_bytes(content: Any) -> bytes:
    """UTF-8 JSON; names that are no UTF-8 on disk keep their bytes as escapes."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
