"""ActivityNet 1.3's form for results of temporal detection: one JSON file for all videos.

Source: the evaluation toolkit of the ActivityNet repository (``Evaluation/eval_detection.py`` and the sample detection
file beside it). Its evaluator wants ``version``, ``results`` and ``external_data``, and of an entry ``label``,
``segment`` in seconds, and ``score``; it passes over what else an entry holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vadpipe.detection import Detection
from vadpipe.pipeline.exports.forms import Told, distinct_names, intervals_of, json_bytes

VERSION = "VERSION 1.3"


def activitynet(detections: Sequence[Detection]) -> bytes:
    """All videos, each under its id; one without an interval has an empty list."""
    results = {
        name: [_entry(told) for told in intervals_of(detection)]
        for name, detection in zip(distinct_names(detections), detections, strict=True)
    }
    external = {"used": True, "details": "; ".join(dict.fromkeys(_origin(item) for item in detections))}
    return json_bytes({"version": VERSION, "results": results, "external_data": external})


def _entry(told: Told) -> dict[str, Any]:
    return {"label": told.category, "segment": [told.start_s, told.end_s], "score": told.score, **told.figures()}


def _origin(detection: Detection) -> str:
    """Where the scores come from: the encoders are trained on other data, which the form wants to be told."""
    told = detection.provenance
    specs = [told[name] for name in ("spec", "audio_spec") if name in told]
    streams = [f"{spec.get('model', '')} ({spec.get('weights', '')})" for spec in specs]
    return " on ".join([f"vadpipe {told.get('name', '')}".strip(), *([" and ".join(streams)] if streams else [])])
