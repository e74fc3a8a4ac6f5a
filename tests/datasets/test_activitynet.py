"""ActivityNet's JSON: seconds become the frames that are shown during a segment; what is wrong is said by name."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vadpipe.datasets.activitynet import read_database
from vadpipe.datasets.ground_truth import read_truth
from vadpipe.errors import DataError
from vadpipe.manifest import VideoRecord
from vadpipe.tracks import Interval, TimeGrid

GRID = TimeGrid(Fraction(25), 250)


def write(folder: Path, database: Any, **more: Any) -> Path:
    path = folder / "groundtruth.json"
    text = database if isinstance(database, str) else json.dumps({"version": "1.3", "database": database, **more})
    path.write_text(text)
    return path


def entry(*segments: tuple[float, float], label: str = "Fight", **more: Any) -> dict[str, Any]:
    return {"annotations": [{"segment": list(bounds), "label": label} for bounds in segments], **more}


def truth(
    path: Path, *labels: str, grid: TimeGrid = GRID, notes: list[str] | None = None
) -> tuple[Interval, ...] | None:
    return read_truth(path, {"a": VideoRecord("a", frozenset(labels))}, {"a": grid}, notes).get("a")


def test_records(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "v=#1.mp4": entry((0, 1), subset="testing", frame_rate=29.97, nb_frames=300, duration=10.01),
            "b": entry((0, 1), (2, 3), label="theft", subset="validation"),
            "c": {"subset": "Training", "annotations": []},
            "d": {},
        },
        taxonomy=[],
    )
    assert read_database(path) == [
        VideoRecord("v=#1", frozenset({"Fight"}), (), "test", 300, Fraction(2997, 100)),
        VideoRecord("b", frozenset({"theft"}), (), "val"),
        VideoRecord("c", frozenset({"normal"}), (), "train"),
        VideoRecord("d", frozenset({"normal"}), (), "train"),
    ]


@pytest.mark.parametrize(
    ("segment", "frames"),
    [
        ((1.0, 2.0), (25, 50)),
        ((1.01, 2.01), (25, 51)),
        ((0, 0.001), (0, 1)),
        ((9, 10), (225, 250)),
        ((9, 99), (225, 250)),
    ],
)
def test_a_segment_covers_every_frame_shown_in_it(
    tmp_path: Path, segment: tuple[float, float], frames: tuple[int, int]
) -> None:
    found = truth(write(tmp_path, {"a": entry(segment)}), "fighting")
    assert found == (Interval.of_frames("fighting", *frames, GRID),)


def test_seconds_follow_a_varying_frame_rate(tmp_path: Path) -> None:
    grid = TimeGrid(Fraction(8), 32, 16, (0.0, 1.0, 4.0))  # 16 frames in one second, 16 in three
    found = truth(write(tmp_path, {"a": entry((0.5, 2.5))}), "fighting", grid=grid)
    assert found is not None
    assert [(span.start_frame, span.end_frame) for span in found] == [(8, 24)]


def test_past_the_end_and_other_videos(tmp_path: Path) -> None:
    notes: list[str] = []
    path = write(tmp_path, {"a": entry((1, 2), (11, 12)), "b": entry((1, 2))})
    assert truth(path, "fighting", notes=notes) == (Interval.of_frames("fighting", 25, 50, GRID),)
    assert "'a': a segment from 11.0 s lay past the end, dropped" in notes[0]
    assert "not among those asked for: 'b'" in notes[1]


@pytest.mark.parametrize(
    ("database", "message"),
    [
        ("{", r"groundtruth\.json:1: not JSON"),
        ('{"database":\n {"a": {}, "a": {}}}', "'a' is there twice"),
        ('{"database": {"a": {}, "a.mp4": {}}}', "video 'a' is there twice"),
        ('{"database": {"a": {"annotations": [{"segment": [NaN, 1]}]}}}', "NaN is no number"),
        ('{"database": {"a": {"nb_frames": ' + "9" * 5000 + "}}}", "999999999999999999… is too large"),
        ('{"database": ' + "[" * 100_000, "nested too deeply|not JSON"),
        ('{"videos": {}}', 'expected an object with "database"'),
        ('{"database": []}', 'expected an object with "database"'),
        ({}, "holds no video"),
        ({"..": {}}, r"video '\.\.': video id"),
        ({"a\0": {}}, "video id"),
        ({"a": []}, "video 'a': expected an object with a list"),
        ({"a": {"annotations": {}}}, "video 'a': expected an object with a list"),
        ({"a": {"annotations": ["x"]}}, "annotation: expected"),
        ({"a": {"annotations": [{"segment": [1, 2]}]}}, "annotation: expected"),
        ({"a": {"annotations": [{"segment": [1], "label": "x"}]}}, "annotation: expected"),
        ({"a": {"annotations": [{"segment": ["1", 2], "label": "x"}]}}, "segment: got '1', expected a number"),
        ({"a": {"annotations": [{"segment": [True, 2], "label": "x"}]}}, "segment: got True"),
        ({"a": entry((2, 1))}, "segment 2 1: expected 0 <= start < end"),
        ({"a": entry((1, 1))}, "segment 1 1"),
        ({"a": entry((-1, 1))}, "segment -1 1"),
        ({"a": entry((0, 1e300))}, "segment: got 1e[+]300, expected a number"),
        ({"a": entry(subset="exam")}, "subset: got 'exam'"),
        ({"a": entry(nb_frames=1.5)}, "nb_frames: got 1.5"),
        ({"a": entry(nb_frames=-1)}, "frames: got -1"),
        ({"a": entry(frame_rate="25")}, "frame_rate: got '25'"),
        ({"a": entry(frame_rate=0)}, "fps: got 0"),
        ({"a": entry((0, 1), label="normal"), "b": entry((0, 1), label="NORMAL")}, "written exactly so"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, database: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_database(write(tmp_path, database))
    assert str(caught.value).startswith(str(tmp_path))


def test_segments_that_do_not_fit_the_labels(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"json: category: got 'murder'"):
        truth(write(tmp_path, {"a": entry((0, 1), label="murder")}), "fighting")
    with pytest.raises(DataError, match="video 'a': a span of 'fighting', but the video's label"):
        truth(write(tmp_path, {"a": entry((0, 1))}), "normal")
    with pytest.raises(DataError, match="fighting 0 25 is there twice"):
        truth(write(tmp_path, {"a": entry((0, 1), (0, 1))}), "fighting")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["annotations", "segment", "label", "subset", "nb_frames", "a"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps({"database": {"a": content}}))
    try:
        records = read_database(path)
        truth(path, *records[0].labels)
    except DataError:
        return
    assert [record.id for record in records] == ["a"]
