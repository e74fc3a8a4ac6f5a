"""What the script of a video's page works on: scores, intervals and pictures, as JSON with the arrays in base64."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.detection import Detection
from vadpipe.tracks import NORMAL, FloatArray, Interval

TONES = ("c0", "c1", "c2", "c3", "c4", "c5")
"""Names of the colours of categories in report.css, told apart with any common colour vision."""


@dataclass(frozen=True, slots=True)
class Row:
    """One lane of the timeline.

    kind
        ``anomaly``, ``calibrated`` or ``category``.
    values
        (T,) scores; None for a category that is only annotated.
    threshold
        Score from which this lane's snippets count; None where none does.
    quiet
        Nothing found, nothing annotated, never over the threshold.
    """

    kind: str
    name: str
    note: str
    tone: str
    values: FloatArray | None
    threshold: float | None = None
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest snippet of an interval (number ``interval``), or of a whole video in which nothing was found."""

    interval: int | None
    at_s: float
    score: float


def rows_of(detection: Detection, truth: Sequence[Interval]) -> list[Row]:
    """Lanes from top to bottom: anomaly, calibrated, each category in the head's order, then foreign true ones."""
    alarm = None if detection.calibration is None else detection.calibration.threshold
    rows = [Row("anomaly", "Anomaly score", "", "ink", detection.scores.anomaly, alarm)]
    if (calibrated := detection.calibrated()) is not None:
        rows.append(Row("calibrated", "Calibrated", "", "wave", calibrated))
    used = {item.category for item in (*detection.intervals, *truth)}
    for number, name in enumerate(detection.scores.labels):
        if name != NORMAL:
            rows.append(_category(detection, number, quiet=name not in used))
    foreign = dict.fromkeys(item.category for item in (*detection.intervals, *truth))
    for name in foreign:
        if name not in detection.scores.labels:
            rows.append(Row("category", name, detection.note(name), TONES[len(rows) % len(TONES)], None))
    return rows


def _category(detection: Detection, number: int, *, quiet: bool) -> Row:
    name, values = detection.scores.labels[number], detection.scores.categories[:, number]
    threshold = None
    if (least := detection.params.get("r_ano")) is not None:
        threshold = max(float(least), detection.scores.even_share(name))
    quiet = quiet and (threshold is None or not len(values) or float(values.max()) <= threshold)
    return Row("category", name, detection.note(name), TONES[(number - 1) % len(TONES)], values, threshold, quiet)


def peaks_of(detection: Detection, most: int) -> list[Peak]:
    """The highest snippet of each interval, highest first, at most ``most``; of the whole video without intervals."""
    grid = detection.scores.grid
    if not grid.num_snippets:
        return []
    spans: list[tuple[int | None, int, int]] = [
        (number, grid.snippet_of(item.start_frame), grid.snippet_of(item.end_frame - 1) + 1)
        for number, item in enumerate(detection.intervals)
    ]
    peaks = [_peak(detection, *span) for span in spans or [(None, 0, grid.num_snippets)]]
    return sorted(peaks, key=lambda peak: (-peak.score, peak.at_s))[:most]


def _peak(detection: Detection, number: int | None, start: int, end: int) -> Peak:
    grid, anomaly = detection.scores.grid, detection.scores.anomaly
    highest = start + int(anomaly[start:end].argmax())
    first, last = grid.frames_of(highest, highest + 1)
    return Peak(number, grid.second_of((first + last) // 2), float(anomaly[highest]))


def payload(
    detection: Detection,
    truth: Sequence[Interval],
    rows: Sequence[Row],
    pictures: Sequence[tuple[Peak, str]] = (),
    wave: FloatArray | None = None,
    kind: str = "",
) -> Mapping[str, Any]:
    """Everything for :func:`vadpipe.pipeline.pages.markup.data_block`. Scores are float32, little-endian, lossless.

    wave
        (buckets, 2) in -1 … 1, kept as int8; None without sound.
    kind
        Media type of an embedded video.
    """
    lane = {row.name: number for number, row in enumerate(rows) if row.kind == "category"}
    return {
        "duration": detection.scores.grid.duration_s,
        "offset": detection.clip.start_s,  # the player counts from the file's zero, all else from the first picture
        "edges": _base64(detection.scores.grid.edges_s(), "<f4"),
        "rows": [
            {
                "kind": row.kind,
                "tone": row.tone,
                "threshold": row.threshold,
                "values": None if row.values is None else _base64(row.values, "<f4"),
            }
            for row in rows
        ],
        "intervals": [
            {
                "row": lane[item.category],
                "start": item.start_s,
                "end": item.end_s,
                "score": item.score,
                "shown": detection.shown(item.category),
            }
            for item in detection.intervals
        ],
        "truth": [{"row": lane[item.category], "start": item.start_s, "end": item.end_s} for item in truth],
        "pictures": [
            {"interval": peak.interval, "at": peak.at_s, "score": peak.score, "picture": picture}
            for peak, picture in pictures
        ],
        "wave": None if wave is None or not len(wave) else _base64(np.rint(np.clip(wave, -1, 1) * 127), "i1"),
        "kind": kind,
    }


def _base64(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode()
