"""Subtitles that any player shows over the video: WebVTT and SubRip. One cue an interval; cues may overlap.

Sources: W3C, "WebVTT: The Web Video Text Tracks Format", sections on cue timings and cue text (``&``, ``<`` and
``-->`` may not stand in a cue as they are; character references may), and MDN's page of the same name. SubRip has no
standard; the wiki of file formats "Just Solve the File Format Problem", page "SubRip text file format".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vadpipe.detection import Detection
from vadpipe.pipeline.exports.forms import Told, intervals_of, milliseconds, visible

_REFERENCES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_LOOK_ALIKES = str.maketrans("<>{}\\", "＜＞｛｝＼")
"""SubRip has no escape, and players take these for tags: in their place stand the full-width characters."""


def webvtt(detections: Sequence[Detection]) -> bytes:
    """The cues of one video, with character references; a comment says which video."""
    (detection,) = detections
    blocks = ["WEBVTT", f"NOTE video: {_vtt_text(detection.clip.id)}"]
    for number, (start, end, told) in enumerate(_cues(detection), 1):
        name = _vtt_text(detection.shown(told.category))
        blocks.append(f"{number}\n{_stamp(start, '.')} --> {_stamp(end, '.')}\n{name}\n{_figures(told)}")
    return ("\n\n".join(blocks) + "\n").encode()


def srt(detections: Sequence[Detection]) -> bytes:
    """The cues of one video, lines ended by CR LF; no cues, no bytes."""
    (detection,) = detections
    blocks = []
    for number, (start, end, told) in enumerate(_cues(detection), 1):
        name = visible(detection.shown(told.category)).translate(_LOOK_ALIKES)
        blocks.append(f"{number}\n{_stamp(start, ',')} --> {_stamp(end, ',')}\n{name}\n{_figures(told)}\n\n")
    return "".join(blocks).replace("\n", "\r\n").encode()


def _cues(detection: Detection) -> Iterator[tuple[int, int, Told]]:
    """Milliseconds as a player counts, and what is told, by start, as WebVTT wants cues."""
    cues = [(*milliseconds(told.interval, detection.clip.start_s), told) for told in intervals_of(detection)]
    yield from sorted(cues, key=lambda cue: cue[:2])


def _vtt_text(text: str) -> str:
    return visible(text).translate(_REFERENCES)


def _figures(told: Told) -> str:
    calibrated = "" if told.calibrated is None else f", calibrated {told.calibrated:.3f}"
    return f"score {told.score:.3f}, peak {told.peak:.3f}{calibrated}"


def _stamp(milliseconds: int, point: str) -> str:
    """``00:01:02.345``; hours have two digits or as many as it takes."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{rest:03}"
