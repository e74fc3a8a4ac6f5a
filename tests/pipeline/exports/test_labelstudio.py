"""Label Studio's tasks and configuration. Its own validation runs in benchmarks/check_exports.py."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest

from tests.pipeline.exports import examples
from vadpipe.detection import Detection
from vadpipe.pipeline.exports import EXPORTERS
from vadpipe.pipeline.exports.labelstudio import configuration, label_config, labelstudio


def tasks(*detections: Detection) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = json.loads(labelstudio(detections))
    return content


def regions(detection: Detection) -> list[dict[str, Any]]:
    (task,) = tasks(detection)
    (prediction,) = task["predictions"]
    found: list[dict[str, Any]] = prediction["result"]
    return found


def test_by_hand() -> None:
    (task,) = tasks(examples.gate())
    ids = [region.pop("id") for region in task["predictions"][0]["result"]]
    assert len(set(ids)) == 2
    assert all(re.fullmatch("[0-9a-f]{10}", name) for name in ids)
    shared = {"from_name": "incidents", "to_name": "video", "type": "timelinelabels"}
    assert task == {
        "data": {
            "video": "/data/local-files/?d=videos/gate.mp4",
            "fps": 10.0,
            "video_id": "gate",
            "path": "/videos/gate.mp4",
            "duration_s": 4.8,
            "notes": ["dark"],
        },
        "predictions": [
            {
                "model_version": "vadpipe lec-vad 01234567",
                "score": 0.75,
                "result": [
                    {
                        **shared,
                        "value": {"ranges": [{"start": 17, "end": 48}], "timelinelabels": ["fighting"]},
                        "score": 0.5,
                        "meta": {"text": ["peak 0.750, calibrated 0.500"]},
                    },
                    {
                        **shared,
                        "value": {"ranges": [{"start": 17, "end": 32}], "timelinelabels": ["riot"]},
                        "score": -0.125,
                        "meta": {"text": ["zero-shot, uncalibrated", "peak 0.750"]},
                    },
                ],
            }
        ],
    }


def test_a_video_without_incidents_is_a_task_with_an_empty_prediction() -> None:
    for detection, score in ((examples.quiet(), 0.75), (examples.without_frames(), 0.0)):
        (task,) = tasks(detection)
        assert task["predictions"][0]["result"] == []
        assert task["predictions"][0]["score"] == score


def test_frames_of_a_varying_rate_are_those_the_editor_counts() -> None:
    (task,) = tasks(examples.varying())
    (region,) = task["predictions"][0]["result"]
    (span,) = region["value"]["ranges"]
    assert task["data"]["fps"] == 32 / 9
    assert span == {"start": 4, "end": 17}  # 1 s and 5 s are 3.6 and 17.8 even frames after the first one's start
    assert region["meta"]["text"] == ["peak 0.750"]


def test_a_rate_under_one_is_counted_in_seconds() -> None:
    """The editor would turn 1/2 frame a second into 2."""
    slow = examples.detection("slow", examples.grid_of(32, Fraction(1, 2)), ("riot", 16, 20, 0.5))
    (task,) = tasks(slow)
    assert task["data"]["fps"] == 1.0
    assert task["predictions"][0]["result"][0]["value"]["ranges"] == [{"start": 33, "end": 40}]


def test_frames_count_from_the_beginning_of_the_sound_where_that_comes_before_the_pictures() -> None:
    gate = examples.gate()
    found = regions(replace(gate, clip=replace(gate.clip, start_s=2.0)))
    assert [region["value"]["ranges"] for region in found] == [[{"start": 37, "end": 68}], [{"start": 37, "end": 52}]]


@pytest.mark.parametrize("detection", [examples.brief(), *examples.odd()], ids=lambda item: ascii(item.clip.id))
def test_every_region_has_a_frame(detection: Detection) -> None:
    found = regions(detection)
    assert len(found) == len(detection.intervals)
    for region in found:
        (span,) = region["value"]["ranges"]
        assert 1 <= span["start"] <= span["end"]


@pytest.mark.parametrize("detection", [*examples.odd(), *examples.namesakes()], ids=lambda item: ascii(item.clip.id))
def test_the_address_holds_the_path(detection: Detection) -> None:
    (task,) = tasks(detection)
    address = urlsplit(task["data"]["video"])
    assert (address.path, address.fragment) == ("/data/local-files/", "")
    assert parse_qs(address.query, strict_parsing=True) == {"d": [detection.clip.path.removeprefix("/")]}


def test_bytes_that_are_no_utf8_are_in_the_address() -> None:
    data = tasks(examples.not_utf8())[0]["data"]
    assert data["video"] == "/data/local-files/?d=videos/%80/gate.mp4"
    assert data["path"] == r"/videos/\udc80/gate.mp4"  # a database takes UTF-8 only


def test_configuration_by_hand() -> None:
    assert label_config(["fighting", 'a<b>&"c"'], {"fighting"}) == (
        "<View>\n"
        '  <TimelineLabels name="incidents" toName="video">\n'
        '    <Label value="fighting" hint="zero-shot, uncalibrated"/>\n'
        "    <Label value='a&lt;b&gt;&amp;\"c\"'/>\n"
        "  </TimelineLabels>\n"
        '  <Video name="video" value="$video" frameRate="$fps" timelineHeight="120"/>\n'
        "</View>\n"
    )


def test_the_configuration_has_every_label_of_the_predictions() -> None:
    detections = examples.everything()
    (timeline, video) = ElementTree.fromstring(configuration(detections))  # our own
    labels = [label.get("value") for label in timeline]
    assert len(labels) == len(set(labels)) == len(examples.ODD_NAMES) + 2
    used = {region["value"]["timelinelabels"][0] for item in detections for region in regions(item)}
    assert used == set(labels)
    assert video.get("value") == "$video"
    hinted = {label.get("value") for label in timeline if label.get("hint")}
    assert "riot" in hinted
    assert "fighting" not in hinted


def test_two_names_never_become_one_label() -> None:
    (timeline, _) = ElementTree.fromstring(label_config(["a\nb", "a\\nb", "c\ufffe\uffff", "d\ufdd0\U0010ffff"]))
    labels = [label.get("value") for label in timeline]
    assert labels == [r"a\nb", r"a\\nb", r"c\ufffe\uffff", r"d\ufdd0\U0010ffff"]


def test_the_configuration_lies_beside_the_tasks() -> None:
    files = dict(EXPORTERS["labelstudio"].files([examples.gate()]))
    assert list(files) == [".labelstudio.json", ".labelstudio.xml"]
    assert b'<Label value="riot" hint="zero-shot, uncalibrated"/>' in files[".labelstudio.xml"]
