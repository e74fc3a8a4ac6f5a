"""Label Studio's tasks with predictions, on the timeline of a video, and the labelling configuration for them.

Sources: Label Studio's documentation, pages "TimelineLabels", "Video", "Label", "Import pre-annotated data" and
"Label Studio task format". Frames count from 1 and both ends of a range belong to it, as in the editor's
``Video.js`` (``fullFrameRange``). The editor takes a frame for a second times ``frameRate``, whatever the file says.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Collection, Sequence
from fractions import Fraction
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from vadpipe.detection import ZERO_SHOT_NOTE, Detection
from vadpipe.pipeline.exports.forms import Told, absolute, highest, intervals_of, json_bytes, visible
from vadpipe.tracks import NORMAL, TimeGrid

CONTROL, VIDEO = "incidents", "video"
"""Names of the configuration's two tags, to which every prediction refers."""

SERVED = "/data/local-files/?d="
"""What Label Studio puts before a path under its document root."""


def labelstudio(detections: Sequence[Detection]) -> bytes:
    """One task a video: where it is, its frame rate, and one prediction with a region for each interval."""
    return json_bytes([_task(detection) for detection in detections])


def configuration(detections: Sequence[Detection]) -> bytes:
    """The labelling configuration for the categories that the heads of these videos know."""
    labels = [label for detection in detections for label in detection.scores.labels if label != NORMAL]
    found = [item.category for detection in detections for item in detection.intervals]
    zero_shot = frozenset[str]().union(*(detection.zero_shot for detection in detections))
    return label_config(tuple(dict.fromkeys([*labels, *found])), zero_shot).encode("utf-8", "backslashreplace")


def label_config(labels: Sequence[str], zero_shot: Collection[str] = ()) -> str:
    """The labelling configuration (XML) with one label for each category, those of ``zero_shot`` with a hint.

    ``$video`` and ``$fps`` are taken from each task, so videos of several frame rates can be in one project.
    """
    rows = []
    for label in labels:
        hint = f" hint={quoteattr(ZERO_SHOT_NOTE)}" if label in zero_shot else ""
        rows.append(f"    <Label value={quoteattr(_name(label))}{hint}/>\n")
    return (
        "<View>\n"
        f'  <TimelineLabels name="{CONTROL}" toName="{VIDEO}">\n{"".join(rows)}  </TimelineLabels>\n'
        f'  <Video name="{VIDEO}" value="$video" frameRate="$fps" timelineHeight="120"/>\n'
        "</View>\n"
    )


def _task(detection: Detection) -> dict[str, Any]:
    ruler = _ruler(detection.scores.grid)
    late = round(Fraction(detection.clip.start_s) * ruler.fps)  # the editor counts from the player's zero
    regions = [_region(told, ruler, late, number) for number, told in enumerate(intervals_of(detection), 1)]
    prediction = {
        "model_version": _version(detection),
        "score": highest(detection),  # by which the list of tasks can be sorted
        "result": regions,
    }
    path = absolute(detection)
    return {
        "data": {
            "video": SERVED + quote(os.fsencode(path).lstrip(b"/")),
            "fps": float(ruler.fps),
            "video_id": _name(detection.clip.id),
            "path": visible(str(path)),
            "duration_s": round(detection.scores.grid.duration_s, 6),
            "notes": [visible(text) for text in detection.warnings],
        },
        "predictions": [prediction],
    }


def _region(told: Told, ruler: TimeGrid, late: int, number: int) -> dict[str, Any]:
    first, end = ruler.frame_at(told.interval.start_s), ruler.frame_at(told.interval.end_s)
    region = {
        "id": hashlib.sha256(f"{number} {told.interval}".encode("utf-8", "surrogatepass")).hexdigest()[:10],
        "from_name": CONTROL,
        "to_name": VIDEO,
        "type": "timelinelabels",
        "value": {
            "ranges": [{"start": late + first + 1, "end": late + max(end, first + 1)}],
            "timelinelabels": [_name(told.category)],
        },
        "score": told.score,
    }
    said = [f"peak {told.peak:.3f}"]
    if told.calibrated is not None:
        said.append(f"calibrated {told.calibrated:.3f}")
    return {**region, "meta": {"text": [*([told.remark] if told.remark else []), ", ".join(said)]}}


def _name(text: str) -> str:
    r"""As :func:`visible`, a backslash of its own doubled, so that two names never become one label."""
    return visible(text.replace("\\", "\\\\"))


def _ruler(grid: TimeGrid) -> TimeGrid:
    """The frames that the editor counts: evenly spaced, and at least one a second (it turns a lower rate over)."""
    if not grid.vfr and grid.fps >= 1:
        return grid
    rate = max(grid.fps, Fraction(1))
    return TimeGrid(rate, max(math.ceil(Fraction(grid.duration_s) * rate), 1))


def _version(detection: Detection) -> str:
    told = detection.provenance
    return f"vadpipe {told.get('name', '')} {str(told.get('sha256', ''))[:8]}".strip()
