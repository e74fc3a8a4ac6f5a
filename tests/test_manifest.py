"""Video ids as real file names have them, records that cannot be wrong, and the manifest file."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import (
    MEDIA_SUFFIXES,
    VideoRecord,
    check_id,
    parse_fps,
    read_manifest,
    read_text,
    unique_ids,
    video_id,
    write_manifest,
)
from vadpipe.tracks import Interval

FIGHT = Interval("fighting", 1.0, 2.0, 25, 50)
TITLE = "Bad.Boys.II.2003__#00-06-42_00-10-00_label_B2-G-0"


# --- ids


@pytest.mark.parametrize(
    ("path", "video"),
    [
        ("a.mp4", "a"),
        ("videos/fight/a.MP4", "a"),
        ("/home/someone/a.mkv", "a"),
        (f"x/{TITLE}.mp4", TITLE),
        (TITLE, TITLE),
        (f"{TITLE}__5.npy", TITLE),
        (f"{TITLE}__5.h5", f"{TITLE}__5"),
        (f"{TITLE}__5.mp4", f"{TITLE}__5"),
        ("a__12.npy", "a__12"),
        ("a__5__3.npy", "a__5"),
        ("a_5.npy", "a_5"),
        ("__5.npy", "__5"),
        ("v=-2a_&b=1 c.webm", "v=-2a_&b=1 c"),
        ("-a.mp4", "-a"),
        ("überfall in der U-Bahn.mov", "überfall in der U-Bahn"),
        ("監視カメラ.mp4", "監視カメラ"),
        ("a.mp4.npy", "a.mp4"),
        ("Casino.Royale.2006", "Casino.Royale.2006"),
        ("a.txt", "a.txt"),
        (".mp4", ".mp4"),
    ],
)
def test_video_id_of_a_path(path: str, video: str) -> None:
    assert video_id(path) == video
    assert video_id(Path(path)) == video


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["C"], exclude_characters="/\\"), min_size=1, max_size=50).filter(
        lambda stem: stem not in {".", ".."}
    )
)
def test_every_video_suffix_goes_and_nothing_else(stem: str) -> None:
    for suffix in MEDIA_SUFFIXES:
        assert video_id(f"folder/{stem}{suffix}") == stem


@pytest.mark.parametrize(
    "video", ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "a\x7fb", "a\x85b", "a\udcffb", "x" * 1001]
)
def test_check_id_refuses(video: str) -> None:
    with pytest.raises(DataError, match="video id"):
        check_id(video)


@pytest.mark.parametrize("video", ["a", "...", "v=1&b#2", " a ", "-", "é", "x" * 1000])
def test_check_id_accepts(video: str) -> None:
    assert check_id(video) == video


@pytest.mark.parametrize("path", ["folder/", "a/..", "."])
def test_video_id_refuses_what_is_no_file(path: str) -> None:
    with pytest.raises(DataError, match="video id"):
        video_id(path)


# --- records


def record(**values: Any) -> VideoRecord:
    return VideoRecord(**({"id": "a", "labels": frozenset({"fighting"})} | values))


def test_record_knows_whether_it_is_anomalous() -> None:
    assert record(labels=frozenset({"fighting", "riot"})).is_anomalous
    assert not record(labels=frozenset({"normal"})).is_anomalous


def test_an_incident_may_be_of_a_category_that_is_no_label() -> None:
    assert record(labels=frozenset({"riot"}), intervals=(FIGHT,)).intervals == (FIGHT,)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"id": "a/b"}, "video id"),
        ({"labels": frozenset()}, "no label"),
        ({"labels": frozenset({""})}, "label"),
        ({"labels": frozenset({" fighting"})}, "label"),
        ({"labels": frozenset({"fighting|riot"})}, "label"),
        ({"labels": frozenset({"a\tb"})}, "label"),
        ({"labels": frozenset({"Normal"})}, "'normal', written exactly so"),
        ({"labels": frozenset({"normal", "riot"})}, "cannot stand with others"),
        ({"labels": frozenset({"normal"}), "intervals": (FIGHT,)}, "1 incidents"),
        ({"split": "training"}, "split: got 'training'"),
        ({"num_frames": -1}, "frames: got -1"),
        ({"num_frames": 49, "intervals": (FIGHT,)}, "after the last of 49 frames"),
        ({"fps": Fraction(0)}, "fps: got 0"),
        ({"fps": Fraction(-25)}, "fps: got -25"),
    ],
)
def test_record_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        record(**values)


def test_an_incident_may_end_with_the_video() -> None:
    assert record(num_frames=50, intervals=(FIGHT,)).num_frames == 50


def test_unique_ids_names_the_second() -> None:
    unique_ids([record(id="a"), record(id="A")], "list")
    with pytest.raises(DataError, match="list: video 'a' is there twice"):
        unique_ids([record(id="a"), record(id="b"), record(id="a")], "list")


@pytest.mark.parametrize(
    ("text", "fps"), [("25", Fraction(25)), ("29.97", Fraction(2997, 100)), ("30000/1001", Fraction(30000, 1001))]
)
def test_parse_fps(text: str, fps: Fraction) -> None:
    assert parse_fps(text) == fps


@pytest.mark.parametrize("text", ["", "25 fps", "-25", "1/0", "1e9", "1e999999999", "nan", "25,0", "1/2/3", "9" * 20])
def test_parse_fps_refuses(text: str) -> None:
    with pytest.raises(DataError, match="30000/1001"):
        parse_fps(text)


# --- manifest.jsonl

RECORDS = [
    VideoRecord(TITLE, frozenset({"shooting", "car accident"}), (FIGHT, replace(FIGHT, score=0.5)), "test", 50),
    VideoRecord("監視 é", frozenset({"normal"}), num_frames=0, fps=Fraction(30000, 1001)),
    VideoRecord("-x", frozenset({"riot"}), split="val", fps=Fraction(2997, 100)),
]


def test_manifest_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    write_manifest(path, RECORDS)
    assert read_manifest(path) == RECORDS
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [entry.id for entry in RECORDS]
    assert json.loads(lines[0])["labels"] == ["car accident", "shooting"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["manifest.jsonl"]


def test_manifest_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    write_manifest(path, RECORDS)
    write_manifest(path, RECORDS[:1])
    assert read_manifest(path) == RECORDS[:1]
    write_manifest(path, [])
    assert read_manifest(path) == []


def test_a_failed_write_keeps_the_old_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.jsonl"
    write_manifest(path, RECORDS)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="no space left"):
        write_manifest(path, RECORDS[:1])
    assert read_manifest(path) == RECORDS
    assert [entry.name for entry in tmp_path.iterdir()] == ["manifest.jsonl"]


def test_write_manifest_refuses_an_id_twice_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="twice"):
        write_manifest(tmp_path / "m.jsonl", [RECORDS[0], RECORDS[0]])
    assert [entry.name for entry in tmp_path.iterdir()] == []


def test_write_manifest_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        write_manifest(tmp_path / "none" / "m.jsonl", RECORDS)


GOOD: dict[str, Any] = {
    "id": "a",
    "labels": ["fighting"],
    "intervals": [{"category": "fighting", "start_s": 1, "end_s": 2, "start_frame": 25, "end_frame": 50, "score": 1.0}],
    "split": "train",
    "num_frames": 50,
    "fps": "25",
}


def with_span(**values: Any) -> dict[str, Any]:
    return GOOD | {"intervals": [GOOD["intervals"][0] | values]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "got list"),
        ({"id": "a"}, "expected an object with the fields"),
        (GOOD | {"colour": 1}, "colour"),
        (GOOD | {"id": 5}, "text"),
        (GOOD | {"id": "a/b"}, "video id"),
        (GOOD | {"labels": "fighting"}, "lists"),
        (GOOD | {"labels": [["x"]]}, "text"),
        (GOOD | {"labels": []}, "no label"),
        (GOOD | {"intervals": None}, "lists"),
        (GOOD | {"intervals": [5]}, "interval"),
        (GOOD | {"intervals": [{"category": "x"}]}, "interval"),
        (with_span(category=5), "interval"),
        (with_span(start_frame=25.5), "integer"),
        (with_span(start_frame=60), "interval: frames"),
        (with_span(start_s="1"), "interval"),
        (with_span(category="normal"), "interval: category"),
        (GOOD | {"num_frames": 50.0}, "integer"),
        (GOOD | {"num_frames": True}, "integer"),
        (GOOD | {"num_frames": 10}, "after the last of 10"),
        (GOOD | {"fps": 25}, "text"),
        (GOOD | {"fps": "fast"}, "fps"),
        (GOOD | {"split": "x"}, "split"),
    ],
)
def test_read_manifest_names_file_and_line(tmp_path: Path, values: Any, message: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(GOOD | {"id": "first"}) + "\n\n" + json.dumps(values) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}:3: ")


@pytest.mark.parametrize("line", ["{", "NaN", json.dumps(GOOD)[:-20], json.dumps(with_span(score=float("nan")))])
def test_read_manifest_refuses_what_is_no_json(tmp_path: Path, line: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match=r"m\.jsonl:1: "):
        read_manifest(path)


def test_read_manifest_refuses_an_id_twice(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps(GOOD) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"m\.jsonl:2: video 'a' is there twice"):
        read_manifest(path)


# --- text files


def test_read_text_takes_any_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffä\r\nb\rc\n".encode())
    assert read_text(path) == "ä\nb\nc\n"


def test_read_text_names_the_line_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("é\nb\nUnfall in der Straße\n".encode("latin-1").replace(b"\xe9", b"e"))
    with pytest.raises(DataError, match=r"a\.txt:3: byte 0xdf is not UTF-8"):
        read_text(path)


def test_read_text_of_a_missing_file_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_text(tmp_path / "none")
    with pytest.raises(UsageError, match="directory"):
        read_text(tmp_path)


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_called_by_its_name(tmp_path: Path, coding: str) -> None:
    (tmp_path / "labels.csv").write_bytes("video,label\n".encode(coding))
    with pytest.raises(DataError, match="is UTF-16, expected UTF-8"):
        read_text(tmp_path / "labels.csv")
