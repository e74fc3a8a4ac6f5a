"""Tables, read back by Python's csv module; pandas and polars read them in benchmarks/check_exports.py."""

from __future__ import annotations

import csv
import io
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipeline.exports import examples
from vadpipe.detection import Detection
from vadpipe.pipeline.exports.tables import COLUMNS, csv_table, guarded, plain, tsv_table

HEADER = ["video", "path", "category", "note", "start_s", "end_s", "start_frame", "end_frame", "score", "peak"]


def csv_rows(*detections: Detection) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_table(detections).decode(), newline=""), strict=True))


def tsv_rows(*detections: Detection, quoting: Literal[0, 3] = csv.QUOTE_NONE) -> list[dict[str, str]]:
    text = io.StringIO(tsv_table(detections).decode(), newline="")
    return list(csv.DictReader(text, delimiter="\t", quoting=quoting))


def test_csv_by_hand() -> None:
    assert csv_table([examples.gate(), examples.quiet(), examples.varying()]).decode() == (
        "video,path,category,note,start_s,end_s,start_frame,end_frame,score,peak,calibrated\r\n"
        "gate,/videos/gate.mp4,fighting,,1.6,4.8,16,48,0.5,0.75,0.5\r\n"
        'gate,/videos/gate.mp4,riot,"zero-shot, uncalibrated",1.6,3.2,16,32,-0.125,0.75,\r\n'
        "varying,/videos/varying.mp4,riot,,1.0,5.0,16,24,0.25,0.75,\r\n"
    )


def test_tsv_by_hand() -> None:
    assert tsv_table([examples.gate()]).decode().splitlines() == [
        "\t".join([*HEADER, "calibrated"]),
        "gate\t/videos/gate.mp4\tfighting\t\t1.6\t4.8\t16\t48\t0.5\t0.75\t0.5",
        "gate\t/videos/gate.mp4\triot\tzero-shot, uncalibrated\t1.6\t3.2\t16\t32\t-0.125\t0.75\t",
    ]


def test_without_incidents_there_is_a_header() -> None:
    for detections in ([], [examples.quiet(), examples.without_frames()]):
        assert csv_table(detections).decode() == ",".join(COLUMNS) + "\r\n"
        assert tsv_table(detections).decode() == "\t".join(COLUMNS) + "\n"


@pytest.mark.parametrize("tsv", [False, True])
def test_odd_names_come_back(tsv: bool) -> None:
    detections = examples.odd()
    rows = tsv_rows(*detections) if tsv else csv_rows(*detections)
    told = [tuple(plain(row[name], tsv=tsv) for name in ("video", "path", "category")) for row in rows]
    assert told == [(item.clip.id, item.clip.path, span.category) for item in detections for span in item.intervals]


@pytest.mark.parametrize("tsv", [False, True])
def test_no_text_cell_is_a_formula(tsv: bool) -> None:
    detections = examples.everything()
    for row in tsv_rows(*detections) if tsv else csv_rows(*detections):
        for name in ("video", "path", "category", "note"):
            assert not row[name].lstrip().startswith(("=", "+", "-", "@", "\t", "\r")), row[name]
        assert float(row["end_s"]) > float(row["start_s"])


def test_a_number_under_zero_stays_one() -> None:
    assert [row["score"] for row in csv_rows(examples.gate())] == ["0.5", "-0.125"]


def test_a_reader_that_looks_for_quotes_gets_the_same_tsv() -> None:
    assert tsv_rows(*examples.odd(), quoting=csv.QUOTE_MINIMAL) == tsv_rows(*examples.odd())


def test_a_row_of_tsv_is_a_line() -> None:
    detections = examples.everything()
    lines = tsv_table(detections).decode().split("\n")
    assert len(lines) == 1 + sum(len(item.intervals) for item in detections) + 1
    assert {line.count("\t") for line in lines[:-1]} == {len(COLUMNS) - 1}


def test_bytes_that_are_no_utf8_are_told() -> None:
    assert csv_rows(examples.not_utf8())[0]["path"] == r"/videos/\udc80/gate.mp4"


@pytest.mark.parametrize(
    ("text", "cell"),
    [("=1", "'=1"), (" =1", "' =1"), ("'a", "''a"), ('"a', "'\"a"), ("a=1", "a=1"), ("", ""), ("\na", "'\na")],
)
def test_guard_by_hand(text: str, cell: str) -> None:
    assert guarded(text) == cell
    assert plain(cell) == text


@given(st.text(st.characters(codec="utf-8")))
def test_any_name_comes_back(name: str) -> None:
    detection = examples.detection(name or "x", examples.grid_of(16), ("riot", 0, 16, 0.5))
    assert plain(csv_rows(detection)[0]["video"]) == (name or "x")
    assert plain(tsv_rows(detection)[0]["video"], tsv=True) == (name or "x")
