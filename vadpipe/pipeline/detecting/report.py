"""``intervals.json`` (``vadpipe.intervals/1``) and the frame scores beside it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vadpipe.detection import Detection
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.track_file import atomic_write
from vadpipe.tracks import Interval

SCHEMA = "vadpipe.intervals/1"
SCHEMA_FILE = Path(__file__).parents[2] / "schemas" / "intervals-1.json"


def provenance(trained: TrainedHead) -> dict[str, Any]:
    """What a result says about the model that made it."""
    told = {
        "name": trained.config.head,
        "sha256": trained.sha256,
        "spec": {"digest": trained.spec.digest, **asdict(trained.spec)},
        "categories": list(trained.classes),
        "zero_shot": [name for name in trained.classes if name in trained.zero_shot],
        "selection": trained.selection,
    }
    if trained.audio_spec is not None:
        told["audio_spec"] = {"digest": trained.audio_spec.digest, **asdict(trained.audio_spec)}
    return told


def report(detection: Detection, scores_file: str) -> dict[str, Any]:
    """The content of ``intervals.json`` (``vadpipe.intervals/1``)."""
    clip = detection.clip
    return {
        "schema": SCHEMA,
        "video": {
            "id": clip.id,
            "path": clip.path,
            "fps": float(clip.fps),
            "vfr": clip.vfr,
            "frames": detection.scores.grid.num_frames,
            "duration_s": clip.duration_s,
            "start_s": clip.start_s,
            "sha256": clip.sha256,
        },
        "model": detection.provenance,
        "params": detection.params,
        "audio": asdict(detection.audio),
        "calibration": _calibration(detection),
        "intervals": [_interval(detection, item) for item in detection.intervals],
        "frame_scores": {"file": scores_file},
        "warnings": list(detection.warnings),
    }


def _interval(detection: Detection, item: Interval) -> dict[str, Any]:
    calibrated = detection.calibrated_peak(item)
    return {
        "start_s": round(item.start_s, 4),
        "end_s": round(item.end_s, 4),
        "start_frame": item.start_frame,
        "end_frame": item.end_frame,
        "label": item.category,
        "note": detection.note(item.category),
        "score": round(item.score, 6),
        "peak": round(detection.peak(item), 6),
        "calibrated": None if calibrated is None else round(calibrated, 6),
    }


def _calibration(detection: Detection) -> dict[str, Any] | None:
    if (known := detection.calibration) is None:
        return None
    names = ("threshold", "false_alarms_per_hour", "hours", "videos", "alarms", "upper")
    return {name: getattr(known, name) for name in names}


def write_report(detection: Detection, out: Path, draw: Callable[[Path], None] | None = None) -> dict[str, Any]:
    """Write ``out`` (JSON) and ``<stem>.scores.npz`` beside it; returns the JSON's content.

    The .npz holds ``anomaly`` (N,) per frame, ``categories`` (N, C) per frame, ``labels`` (C,) and ``notes`` (C,), all
    without pickles; and ``calibrated`` (N,) where the head has a calibration.
    """
    scores, calibrated = detection.scores, detection.calibrated()
    arrays: dict[str, Any] = {"anomaly": scores.per_frame(), "categories": scores.grid.per_frame(scores.categories)}
    if calibrated is not None:
        arrays["calibrated"] = scores.grid.per_frame(calibrated)
    buffer = io.BytesIO()
    notes = np.array([detection.note(label) for label in scores.labels])
    np.savez_compressed(buffer, labels=np.array(scores.labels), notes=notes, **arrays)
    scores_path = out.with_name(f"{out.stem}.scores.npz")
    atomic_write(scores_path, buffer.getvalue())
    content = report(detection, scores_path.name)
    atomic_write(out, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
    if draw is not None:
        draw(out.with_suffix(".png"))
    return content
