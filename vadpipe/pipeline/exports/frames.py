"""The scores of every frame, as arrays or as a table."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.detection import Detection
from vadpipe.errors import UsageError
from vadpipe.pipeline.exports.tables import csv_bytes, guarded
from vadpipe.track_file import atomic_write

FIXED = ("frame", "second", "anomaly", "calibrated")
"""Columns of the table that every video has; a column for each category follows."""


def write_frames(detection: Detection, path: Path) -> Path:
    """Write the scores of every frame to ``path``, whole or not at all; its suffix says how.

    ``.npz``
        ``seconds`` (N,) float64 start of each frame, ``anomaly`` (N,) float32, ``calibrated`` (N,) float32 where there
        is a calibration, ``categories`` (N, C) float32, ``labels`` (C,) and ``notes`` (C,) text. No pickles.
    ``.csv``
        ``frame`` from 0, ``second``, ``anomaly``, ``calibrated`` (empty without a calibration), and a column for each
        category as :meth:`Detection.shown` has it; one named like another column is ``category NAME``.

    Raises :class:`UsageError` for another suffix, :class:`StoreError` where the file cannot be written.
    """
    match path.suffix.lower():
        case ".npz":
            content = _arrays(detection)
        case ".csv":
            content = _table(detection)
        case other:
            raise UsageError(f"scores of frames: got {path.name} ({other or 'no suffix'}), expected .npz or .csv")
    atomic_write(path, content)
    return path


def _arrays(detection: Detection) -> bytes:
    scores, calibrated = detection.scores, detection.calibrated()
    arrays: dict[str, NDArray[Any]] = {
        "seconds": scores.grid.starts_s(),
        "anomaly": scores.per_frame(),
        "categories": scores.grid.per_frame(scores.categories),
        "labels": np.array(scores.labels),
        "notes": np.array([detection.note(label) for label in scores.labels]),
    }
    if calibrated is not None:
        arrays["calibrated"] = scores.grid.per_frame(calibrated)
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]  # names are checked above, none is a flag
    return out.getvalue()


def _table(detection: Detection) -> bytes:
    """Text is made once a snippet: a frame's row differs from its snippet's others in its first two cells only."""
    scores, calibrated = detection.scores, detection.calibrated()
    columns = [
        _texts(scores.anomaly),
        [""] * len(scores.anomaly) if calibrated is None else _texts(calibrated),
        *(_texts(column) for column in scores.categories.T),
    ]
    rests = [",".join(cells) for cells in zip(*columns, strict=True)]
    step = scores.grid.frames_per_snippet
    starts = scores.grid.starts_s().round(6).tolist()
    rows = "".join(f"{frame},{second},{rests[frame // step]}\r\n" for frame, second in enumerate(starts))
    return csv_bytes([_header(detection)]) + rows.encode()


def _texts(values: NDArray[np.float32]) -> list[str]:
    """The shortest texts that give the same float32 again."""
    return [str(value) for value in values.astype(str).tolist()]


def _header(detection: Detection) -> list[str]:
    names = list(FIXED)
    for label in detection.scores.labels:
        name = detection.shown(label)
        while name in names:
            name = f"category {name}"
        names.append(name)
    return [guarded(name) for name in names]
