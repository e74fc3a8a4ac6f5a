"""Temporal annotations: real lines of both benchmarks, and what is wrong in a line is said with its place."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vadpipe.datasets.annotations import read_annotations
from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.tracks import Interval, TimeGrid

DATA = Path(__file__).parents[1] / "data" / "annotations"

RIOT = "v=S-7rRLrxnVQ__#1_label_B4-0-0"
BLAST = "v=u5SF4SlqNDQ__#00-00-00_00-01-00_label_G-0-0"
BOYS = "Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6"
WITH_SUFFIX = "v=U6MC8JJJZSY__#1_label_G-0-0"
IP_MAN = "Ip.Man.2008__#01-40-37_01-42-07_label_B4-0-0"

XD = {
    RIOT: ("riot",),
    BLAST: ("explosion",),
    BOYS: ("explosion", "shooting", "car accident"),
    WITH_SUFFIX: ("explosion",),
    IP_MAN: ("riot",),
}
XD_FRAMES = {RIOT: 3264, BLAST: 1440, BOYS: 1072, WITH_SUFFIX: 1040, IP_MAN: 2160}


def records(labels: Mapping[str, tuple[str, ...]]) -> dict[str, VideoRecord]:
    return {video: VideoRecord(video, frozenset(names), split="test") for video, names in labels.items()}


def grids(frames: dict[str, int]) -> dict[str, TimeGrid]:
    return {video: TimeGrid(Fraction(24), count) for video, count in frames.items()}


Spans = list[tuple[str, int, int]]


def spans(found: dict[str, tuple[Interval, ...]]) -> dict[str, Spans]:
    return {video: [(i.category, i.start_frame, i.end_frame) for i in intervals] for video, intervals in found.items()}


def read(
    folder: Path, text: str, labels: Mapping[str, tuple[str, ...]], frames: int = 1000, notes: list[str] | None = None
) -> dict[str, Spans]:
    """Spans of an annotation file with this text."""
    path = folder / "annotations.txt"
    path.write_text(text, encoding="utf-8")
    return spans(read_annotations(path, records(labels), grids(dict.fromkeys(labels, frames)), notes))


# --- real files


def test_xd_with_classes() -> None:
    notes: list[str] = []
    found = read_annotations(DATA / "xd_multiclasses.txt", records(XD), grids(XD_FRAMES), notes)
    assert spans(found) == {
        RIOT: [("riot", 0, 1517), ("riot", 1970, 3038)],
        BLAST: [("explosion", 624, 912), ("explosion", 950, 1440)],
        BOYS: [
            ("shooting", 157, 180),
            ("explosion", 185, 244),
            ("shooting", 250, 282),
            ("explosion", 282, 355),
            ("car accident", 338, 360),
            ("explosion", 582, 810),
        ],
        WITH_SUFFIX: [("explosion", 150, 779)],
        IP_MAN: [("fighting", 105, 1482)],  # labelled riot
    }
    assert found[RIOT][1] == Interval("riot", 1970 / 24, 3038 / 24, 1970, 3038)
    assert len(notes) == 1
    assert f"1 spans ran past the last frame and were clipped: {BLAST!r}" in notes[0]


def test_xd_without_classes_takes_the_only_label() -> None:
    labels = {video: names for video, names in XD.items() if video != BOYS}
    notes: list[str] = []
    found = read_annotations(DATA / "xd.txt", records(labels), grids(XD_FRAMES), notes)
    assert spans(found) == {
        RIOT: [("riot", 0, 1517), ("riot", 1970, 3038)],
        BLAST: [("explosion", 624, 912), ("explosion", 950, 1440)],
        WITH_SUFFIX: [("explosion", 150, 779)],
    }
    assert [note.partition(".txt: ")[2].partition(":")[0] for note in notes] == [
        "1 spans ran past the last frame and were clipped",
        "anomalous videos without annotation, left out",
        "annotated videos that are not among those asked for",
    ]
    assert IP_MAN in notes[1]
    assert BOYS in notes[2]


def test_xd_without_classes_needs_one_label() -> None:
    with pytest.raises(DataError, match=r"xd\.txt:3: video 'Bad\.Boys.*a class before each span"):
        read_annotations(DATA / "xd.txt", records(XD), grids(XD_FRAMES))


def test_ucf() -> None:
    frames = {
        "Abuse028_x264": 1408,
        "Arson011_x264": 1264,
        "Explosion033_x264": 3152,
        "Normal_Videos_003_x264": 2816,
        "RoadAccidents001_x264": 1360,
    }
    labels = {video: (video.partition("0")[0],) for video in frames} | {"Normal_Videos_003_x264": ("normal",)}
    notes: list[str] = []
    found = read_annotations(DATA / "ucf.txt", records(labels), grids(frames), notes)
    assert spans(found) == {
        "Abuse028_x264": [("Abuse", 165, 240)],
        "Arson011_x264": [("Arson", 150, 420), ("Arson", 680, 1264)],
        "Explosion033_x264": [("Explosion", 970, 1350), ("Explosion", 1550, 3152)],
        "Normal_Videos_003_x264": [],
        "RoadAccidents001_x264": [("RoadAccidents", 210, 300)],
    }
    assert "2 spans ran past" in notes[0]
    assert "'Normal_Videos_006_x264'" in notes[1]


# --- lines


@pytest.mark.parametrize(
    ("line", "video"),
    [
        ("a 5 9", "a"),
        ("a.mp4\t5\t9", "a"),
        ("riot/a.MKV  5  9  ", "a"),
        ("my video #2 5 9", "my video #2"),
        ("my  video.mp4 5 9", "my  video"),
        ("12 5 9", "12"),
        ("a\N{NO-BREAK SPACE}é 5 9", "a\N{NO-BREAK SPACE}é"),
    ],
)
def test_the_id_is_matched_exactly(tmp_path: Path, line: str, video: str) -> None:
    others = ("A", "aa", "a.b", "9", "video")
    found = read(tmp_path, line, {video: ("theft",)} | dict.fromkeys(others, ("normal",)))
    assert found == {video: [("theft", 5, 9)]} | {other: [] for other in others}


def test_of_two_ids_that_fit_the_longer_one_is_meant(tmp_path: Path) -> None:
    found = read(tmp_path, "my video 5 9\nmy 1 2\n", {"my": ("riot",), "my video": ("theft",)})
    assert found == {"my": [("riot", 1, 2)], "my video": [("theft", 5, 9)]}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a B6 1 2 G 3 4", [("car accident", 1, 2), ("explosion", 3, 4)]),
        ("a car accident 1 2 explosion 3 4", [("car accident", 1, 2), ("explosion", 3, 4)]),
        ("a Car Accident 1 2 g 3 4", [("car accident", 1, 2), ("explosion", 3, 4)]),
        ("a B6 1 2 3 4", [("car accident", 1, 2), ("car accident", 3, 4)]),
        ("a B6 3 4 B6 1 2", [("car accident", 1, 2), ("car accident", 3, 4)]),
        ("a B6 1 4 B6 2 3", [("car accident", 1, 4), ("car accident", 2, 3)]),
        ("a B6 1 2 B2 1 2", [("car accident", 1, 2), ("shooting", 1, 2)]),
        ("a -1 -1", []),
        ("a Theft -1 -1", []),
        ("a 1010 B6 1 2", [("car accident", 1, 2)]),
        ("x/a.mp4 990 car accident 1 2 -1 -1", [("car accident", 1, 2)]),
    ],
)
def test_classes_and_spans(tmp_path: Path, line: str, expected: Spans) -> None:
    labels = {"a": ("car accident", "explosion"), "b": ("Theft",)}
    assert read(tmp_path, f"{line}\nb 5 6\n", labels) == {"a": expected, "b": [("Theft", 5, 6)]}


def test_names_may_hold_numbers(tmp_path: Path) -> None:
    path = tmp_path / "annotations.txt"
    path.write_text("a gate 4 0 5 gate 40 7 6 10 GATE 4 north 20 30 35 40\n")
    names = ("gate 4", "gate 40 7", "gate 4 north")
    found = read_annotations(path, records({"a": names}), grids({"a": 100}))
    assert spans(found) == {
        "a": [("gate 4", 0, 5), ("gate 40 7", 6, 10), ("gate 4 north", 20, 30), ("gate 4 north", 35, 40)]
    }


def test_the_spelling_of_the_labels_in_use_wins(tmp_path: Path) -> None:
    text = "a B5 1 2 abuse 3 4 ABUSE 5 6"
    assert {name for name, _, _ in read(tmp_path, text, {"a": ("Abuse",)})["a"]} == {"Abuse"}
    assert {name for name, _, _ in read(tmp_path, text, {"a": ("abuse",)})["a"]} == {"abuse"}
    assert read(tmp_path, "a B1 1 2", {"a": ("B1",)})["a"] == [("B1", 1, 2)]


def test_lines_of_one_video_add_up_and_blank_ones_count_nothing(tmp_path: Path) -> None:
    text = "\ufeffa 30 40\r\n\r\na 10 20\r\n"
    assert read(tmp_path, text, {"a": ("riot",)}) == {"a": [("riot", 10, 20), ("riot", 30, 40)]}


def test_spans_at_the_end_of_the_video(tmp_path: Path) -> None:
    notes: list[str] = []
    text = "a 90 100 95 101\nb 99 200 100 200 150 160\nc 100 101\n"
    found = read(tmp_path, text, {"a": ("riot",), "b": ("riot",), "c": ("riot",)}, frames=100, notes=notes)
    assert found == {"a": [("riot", 90, 100), ("riot", 95, 100)], "b": [("riot", 99, 100)], "c": []}
    assert notes[0].endswith("2 spans ran past the last frame and were clipped: 'a', 'b'")
    assert notes[1].endswith("3 spans lay past the last frame and were dropped: 'b', 'c'")
    assert len(notes) == 2


def test_only_videos_with_a_grid_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a 1 2\nb 1 2\n", encoding="utf-8")
    found = read_annotations(path, records({"a": ("riot",), "b": ("riot",)}), grids({"a": 10, "c": 10}))
    assert spans(found) == {"a": [("riot", 1, 2)]}


def test_notes_name_a_few_and_count_the_rest(tmp_path: Path) -> None:
    notes: list[str] = []
    read(tmp_path, "a 1 2\n" + "".join(f"x{n} 1 2\n" for n in range(7)), {"a": ("riot",)}, notes=notes)
    assert notes[0].endswith("'x0', 'x1', 'x2', 'x3', 'x4' and 2 more")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("riot1", "no frames after the id"),
        ("riot1 5", "got '5', expected frames in pairs"),
        ("riot1 1 2 5", "got '5', expected frames in pairs"),
        ("riot1 1 2 B4", "got 'B4', expected frames in pairs"),
        ("riot1 B4 1 B4", "got 'B4 1 B4', expected frames in pairs"),
        ("riot1 1.5 2", "got '1.5 2', expected frames in pairs"),
        ("riot1 9 5", "span 9 5: expected 0 <= start < end"),
        ("riot1 5 5", "span 5 5"),
        ("riot1 -5 5", "span -5 5"),
        ("riot1 -1 5", "span -1 5"),
        ("riot1 5 -1", "span 5 -1"),
        ("riot1 B3 5 9", "category: got 'B3', expected one of"),
        ("riot1 riots 5 9", "category: got 'riots'"),
        ("riot1;5;9", "no frames after the id"),
        ("riot1 5-9", "got '5-9', expected frames in pairs"),
        ("riot1 5, 9,", "got '5, 9,', expected frames in pairs"),
        ("riot1 0x5 9", "got '0x5 9', expected frames in pairs"),
        ("riot1 1e3 2e3", "got '1e3 2e3', expected frames in pairs"),
        ("riot1 5 99999999999999999999", "got '99999999999999999999', expected frames in pairs"),
        ("riot1 5 \N{ARABIC-INDIC DIGIT NINE}", "expected frames in pairs"),
        ("..", r"video id: got '\.\.'"),
        ("a\0b 5 9", r"video id: .*holds '\\x00'"),
        ("x" * 1001 + " 5 9", "video id: got 1001 characters"),
        ("riot1 A 5 9", "a span of 'normal'"),
        ("riot1 5 9 5 9", "riot 5 9 is there twice"),
        ("calm 5 9", r"a span of 'normal', but the video's label is \['normal'\]"),
        ("calm B4 5 9", "a span of 'riot'"),
        ("both 5 9", "use the file with a class before each span"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    labels = {"ok": ("riot",), "riot1": ("riot",), "calm": ("normal",), "both": ("riot", "theft")}
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, f"ok 1 2\n\n{line}\n", labels)
    assert str(caught.value).startswith(f"{tmp_path / 'annotations.txt'}:3: ")


def test_a_repeated_span_on_another_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"annotations\.txt:2: video 'a': riot 1 2 is there twice"):
        read(tmp_path, "a 1 2\na 1 2\n", {"a": ("riot",)})


def test_a_file_about_other_videos(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of its 2 ids is one of the 1 videos: 'x', 'y'"):
        read(tmp_path, "x 1 2\ny 1 2\n", {"a": ("riot",)})
    with pytest.raises(DataError, match="none of its 0 ids"):
        read(tmp_path, "", {"a": ("riot",)})


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_annotations(tmp_path / "none.txt", {}, {})


def test_a_stated_length_may_differ_by_a_snippet(tmp_path: Path) -> None:
    notes: list[str] = []
    text = "a 1016 riot 900 1010\nb 990 riot 1 2\n"
    found = read(tmp_path, text, {"a": ("riot",), "b": ("riot",)}, notes=notes)
    assert found == {"a": [("riot", 900, 1000)], "b": [("riot", 1, 2)]}
    assert "2 videos differ in length from their features by up to one snippet" in notes[0]
    assert "'a' (+16), 'b' (-10)" in notes[0]
    with pytest.raises(DataError, match=r"2 videos have another length.*'a' \(\+17\), 'c' \(-17\)\. Up to one snippet"):
        read(tmp_path, "a 1017 riot 1 2\nc 983 riot 1 2\nb 1 2\n", dict.fromkeys("abc", ("riot",)))


@pytest.mark.parametrize("video", ["v=x&#1_=", "-a", "x" * 300, "é", "a.b.c", "#", "a|b;c,d"])
def test_strange_ids(tmp_path: Path, video: str) -> None:
    assert read(tmp_path, f"{video}.mp4 1 2", {video: ("riot",)}) == {video: [("riot", 1, 2)]}
    assert read(tmp_path, f"\ufeff{video} B4 1 2\r\n", {video: ("riot",)}) == {video: [("riot", 1, 2)]}


def test_latin_1_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("a 1 2\nü 1 2\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.txt:2: byte 0xfc is not UTF-8"):
        read_annotations(path, {}, {})


WORDS = st.sampled_from(
    ["a", "b b", "a.mp4", "x/", " ", "  ", "\t", "\n", "\r", "\0", "..", "0", "5", "9", "-1", "7000", "B1", "B3",
     "riot", "normal", "car accident", "1.5", "\ufeff", "é", "9" * 30]
)  # fmt: skip


@given(st.lists(WORDS, max_size=16).map("".join) | st.lists(WORDS, max_size=16).map(" ".join) | st.text(max_size=50))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.txt"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    known = records({"a": ("riot",), "b b": ("riot", "fighting"), "é": ("normal",)})
    try:
        found = read_annotations(path, known, grids(dict.fromkeys(known, 40)))
    except DataError:
        return
    assert all(0 <= span.start_frame < span.end_frame <= 40 for spans in found.values() for span in spans)
    assert found["é"] == ()
