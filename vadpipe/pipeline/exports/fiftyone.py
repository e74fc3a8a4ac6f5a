"""FiftyOne's labels of temporal detections (``fo.types.FiftyOneTemporalDetectionDataset``): one JSON for all videos.

Source: FiftyOne's user guide, page "Importing data into FiftyOne", section "FiftyOne temporal detection": ``classes``,
and under ``labels`` for each video a list of ``label`` (its place in ``classes``), ``support`` [first, last] frame from
1, ``confidence`` and ``attributes``. Keys may be absolute paths, and then no folder of videos has to be named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vadpipe.detection import Detection
from vadpipe.pipeline.exports.forms import Told, absolute, intervals_of, json_bytes
from vadpipe.tracks import NORMAL


def fiftyone(detections: Sequence[Detection]) -> bytes:
    """All videos by absolute path; one without an interval has an empty list, which is a sample without detections."""
    labels = [label for detection in detections for label in detection.scores.labels if label != NORMAL]
    found = [item.category for detection in detections for item in detection.intervals]
    classes = list(dict.fromkeys([*labels, *found]))
    videos: dict[str, list[dict[str, Any]]] = {}
    for detection in detections:
        rows = videos.setdefault(str(absolute(detection)), [])
        rows += [_row(told, classes.index(told.category)) for told in intervals_of(detection)]
    return json_bytes({"classes": classes, "labels": videos})


def _row(told: Told, label: int) -> dict[str, Any]:
    """Frames are the file's own: the seconds, which differ where the frame rate varies, are attributes."""
    return {
        "label": label,
        "support": [told.interval.start_frame + 1, told.interval.end_frame],
        "confidence": told.score,
        "attributes": {"start_s": told.start_s, "end_s": told.end_s, **told.figures()},
    }
