"""FiftyOne's temporal detections. Its own importer reads them in benchmarks/check_exports.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.exports import examples
from vadpipe.detection import Detection
from vadpipe.pipeline.exports.fiftyone import fiftyone


def read(*detections: Detection) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(fiftyone(detections))
    return content


def test_by_hand() -> None:
    figures = {"start_s": 1.6, "peak": 0.75}
    assert read(examples.gate(), examples.quiet(), examples.without_frames()) == {
        "classes": ["fighting", "riot"],
        "labels": {
            "/videos/gate.mp4": [
                {
                    "label": 0,
                    "support": [17, 48],
                    "confidence": 0.5,
                    "attributes": {**figures, "end_s": 4.8, "calibrated": 0.5},
                },
                {
                    "label": 1,
                    "support": [17, 32],
                    "confidence": -0.125,
                    "attributes": {**figures, "end_s": 3.2, "note": "zero-shot, uncalibrated"},
                },
            ],
            "/videos/quiet.mp4": [],
            "/videos/nothing.mp4": [],
        },
    }


def test_frames_are_the_files_own_and_seconds_those_of_the_grid() -> None:
    (row,) = read(examples.varying())["labels"]["/videos/varying.mp4"]
    assert row["support"] == [17, 24]
    assert row["attributes"] == {"start_s": 1.0, "end_s": 5.0, "peak": 0.75}


def test_videos_of_one_name_stay_two_and_odd_names_come_back() -> None:
    content = read(*examples.everything())
    labels = content["labels"]
    assert {"/a/gate.mp4", "/b/gate.mp4", "/videos/\udc80/gate.mp4"} < set(labels)
    for name in examples.ODD_NAMES:
        rows = labels[f"/videos/{name}/{name}.mp4"]
        assert [content["classes"][row["label"]] for row in rows] == [name, "riot"]


def test_paths_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    near = examples.detection("near", examples.grid_of(16), path="clips/near.mp4")
    assert list(read(near)["labels"]) == [str(tmp_path / "clips/near.mp4")]
