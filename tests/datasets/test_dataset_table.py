"""The table of data sets: what every entry must hold, and how the user's own labels become classes."""

from __future__ import annotations

from typing import Any

import pytest

from vadpipe.datasets import DATASETS, DatasetSpec, dataset_spec
from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord


def record(video: str, *labels: str) -> VideoRecord:
    return VideoRecord(video, frozenset(labels))


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_data_set_is_consistent(name: str) -> None:
    spec = DATASETS[name]
    assert spec.name == name
    assert spec.classes[0] == "normal"
    assert spec.anomalies == spec.classes[1:]
    assert tuple(spec.prompts) == spec.classes
    assert set(spec.codes.values()) <= set(spec.classes)


def test_the_published_sets() -> None:
    assert {name: (len(spec.classes), spec.frames_per_snippet) for name, spec in DATASETS.items()} == {
        "xd_violence": (7, 16),
        "ucf_crime": (14, 16),
        "cctv_fights": (2, 4),
        "folder": (1, 16),
    }
    xd = DATASETS["xd_violence"]
    assert xd.classes == ("normal", "fighting", "shooting", "riot", "abuse", "car accident", "explosion")
    assert [xd.codes[code] for code in ("A", "B1", "B2", "B4", "B5", "B6", "G")] == list(xd.classes)
    assert DATASETS["ucf_crime"].classes[8] == "RoadAccidents"
    assert DATASETS["cctv_fights"].codes == {"A": "normal", "B1": "fighting", "Fight": "fighting"}
    assert {name: (spec.fps, dict(spec.counts)) for name, spec in DATASETS.items()} == {
        "xd_violence": (24, {"train": 3954, "test": 800}),
        "ucf_crime": (30, {"train": 1610, "test": 290}),
        "cctv_fights": (None, {"test": 157}),
        "folder": (None, {}),
    }


def test_names_of_classes() -> None:
    xd, ucf = DATASETS["xd_violence"], DATASETS["ucf_crime"]
    assert [xd.class_of(name) for name in ("B6", "b6", "Car Accident", "B3", "0", "")] == [
        "car accident",
        "car accident",
        "car accident",
        None,
        None,
        None,
    ]
    assert [ucf.class_of(name) for name in ("Normal", "roadaccidents", "Arson011")] == ["normal", "RoadAccidents", None]
    assert xd.names.startswith("A, B1, B2, B4, B5, B6, G, normal, fighting")


def test_the_table_cannot_be_changed() -> None:
    table: Any = DATASETS  # whose type has no assignment either
    with pytest.raises(TypeError):
        table["mine"] = table["folder"]


def test_folder_takes_its_classes_from_the_labels() -> None:
    found = dataset_spec("folder", [record("a", "normal"), record("b", "theft", "car_crash"), record("c", "theft")])
    assert found.classes == ("normal", "car_crash", "theft")
    assert found.prompts == {"normal": "normal", "car_crash": "car crash", "theft": "theft"}
    assert found.frames_per_snippet == 16


def test_folder_needs_an_anomaly() -> None:
    with pytest.raises(DataError, match="no video has an anomaly label"):
        dataset_spec("folder", [record("a", "normal")])


def test_a_published_set_keeps_its_classes_and_refuses_others() -> None:
    assert dataset_spec("xd_violence", [record("a", "riot")]) is DATASETS["xd_violence"]
    with pytest.raises(DataError, match=r"labels \['Riot', 'theft'\] are no classes of xd_violence"):
        dataset_spec("xd_violence", [record("a", "theft", "Riot"), record("b", "riot")])


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="xd_violence, ucf_crime, cctv_fights, folder"):
        dataset_spec("xd", [])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": ()}, "normal"),
        ({"classes": ("a", "normal")}, "normal"),
        ({"classes": ("normal", "a", "a")}, "twice"),
        ({"prompts": {"normal": "x"}}, "prompts"),
        ({"prompts": {"normal": "x", "a": "y", "b": "z"}}, "prompts"),
        ({"prompts": {"normal": "x", "a": ""}}, "prompts"),
        ({"frames_per_snippet": 0}, "frames_per_snippet"),
        ({"codes": {"B": "b"}}, "codes"),
    ],
)
def test_spec_refuses(values: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"name": "x", "classes": ("normal", "a"), "prompts": {"normal": "normal", "a": "a"}}
    DatasetSpec(**good)
    with pytest.raises(ValueError, match=message):
        DatasetSpec(**(good | values))
