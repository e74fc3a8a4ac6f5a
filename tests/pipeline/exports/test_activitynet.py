"""ActivityNet's results form. That form's own evaluator reads it in benchmarks/check_exports.py."""

from __future__ import annotations

import json
from typing import Any

from tests.pipeline.exports import examples
from vadpipe.detection import Detection
from vadpipe.pipeline.exports import EXPORTERS
from vadpipe.pipeline.exports.activitynet import activitynet


def read(*detections: Detection) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(activitynet(detections))
    return content


def test_by_hand() -> None:
    assert read(examples.gate(), examples.quiet(), examples.without_frames()) == {
        "version": "VERSION 1.3",
        "results": {
            "gate": [
                {"label": "fighting", "segment": [1.6, 4.8], "score": 0.5, "peak": 0.75, "calibrated": 0.5},
                {
                    "label": "riot",
                    "segment": [1.6, 3.2],
                    "score": -0.125,
                    "peak": 0.75,
                    "note": "zero-shot, uncalibrated",
                },
            ],
            "quiet": [],
            "nothing": [],
        },
        "external_data": {"used": True, "details": "vadpipe lec-vad on ViT-B/16 (openai); vadpipe"},
    }


def test_seconds_are_those_of_a_varying_rate() -> None:
    (entry,) = read(examples.varying())["results"]["varying"]
    assert entry["segment"] == [1.0, 5.0]


def test_short_incidents_have_a_length() -> None:
    for entry in read(examples.brief())["results"]["brief"]:
        assert entry["segment"][1] > entry["segment"][0]


def test_videos_of_one_name_stay_two() -> None:
    assert list(read(*examples.namesakes())["results"]) == ["/a/gate.mp4", "/b/gate.mp4"]
    twice = read(examples.quiet(), examples.quiet())["results"]
    assert list(twice) == ["/videos/quiet.mp4", "/videos/quiet.mp4 (2)"]


def test_odd_names_come_back() -> None:
    results = read(*examples.everything())["results"]
    assert len(results) == len(examples.everything())
    for name in examples.ODD_NAMES:
        assert [entry["label"] for entry in results[name]] == [name, "riot"]


def test_it_is_one_file_for_all() -> None:
    exporter = EXPORTERS["activitynet"]
    assert (exporter.suffix, exporter.per_video) == (".activitynet.json", False)
    assert [suffix for suffix, _ in exporter.files([examples.gate()])] == [".activitynet.json"]
