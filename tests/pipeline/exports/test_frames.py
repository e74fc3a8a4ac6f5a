"""The scores of every frame."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pipeline.exports import examples
from vadpipe.detection import Detection
from vadpipe.errors import StoreError, UsageError
from vadpipe.pipeline.exports.frames import write_frames
from vadpipe.tracks import FloatArray, ScoreTrack


def floats(values: list[Any]) -> FloatArray:
    return np.array(values, np.float32)


def tiny(labels: tuple[str, ...] = ("normal", "riot")) -> Detection:
    """Three frames in two snippets."""
    grid = replace(examples.grid_of(3), frames_per_snippet=2)
    categories = floats([[0.9, 0.1], [1e-7, 1]])[:, [0, *([1] * (len(labels) - 1))]]
    scores = ScoreTrack(floats([0.5, 0.1]), categories, labels, grid)
    gate = examples.gate()
    return replace(gate, scores=scores, intervals=(), clip=replace(gate.clip, num_frames=3))


def test_csv_by_hand(tmp_path: Path) -> None:
    place = write_frames(tiny(), tmp_path / "new" / "tiny.csv")
    assert place.read_bytes().decode() == (
        'frame,second,anomaly,calibrated,normal,"riot (zero-shot, uncalibrated)"\r\n'
        "0,0.0,0.5,0.0,0.9,0.1\r\n"
        "1,0.1,0.5,0.0,0.9,0.1\r\n"
        "2,0.2,0.1,0.0,1e-07,1.0\r\n"
    )


def test_npz_by_hand(tmp_path: Path) -> None:
    with np.load(write_frames(tiny(), tmp_path / "tiny.NPZ"), allow_pickle=False) as arrays:
        told = {name: arrays[name] for name in arrays}
    assert told["anomaly"].tolist() == floats([0.5, 0.5, 0.1]).tolist()
    assert told["calibrated"].tolist() == [0.0, 0.0, 0.0]
    assert told["seconds"].tolist() == [0.0, 0.1, 0.2]
    assert told["categories"].tolist() == floats([[0.9, 0.1], [0.9, 0.1], [1e-7, 1]]).tolist()
    assert told["labels"].tolist() == ["normal", "riot"]
    assert told["notes"].tolist() == ["", "zero-shot, uncalibrated"]


def test_the_table_holds_the_arrays_to_the_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    varying = examples.varying()
    old = varying.scores
    scores = ScoreTrack(rng.random(2, np.float32), rng.random((2, 3), np.float32), old.labels, old.grid)
    detection = replace(varying, scores=scores)
    with write_frames(detection, tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with np.load(write_frames(detection, tmp_path / "a.npz")) as arrays:
        assert "calibrated" not in arrays
        assert [np.float32(row["anomaly"]) for row in rows] == arrays["anomaly"].tolist()
        assert [np.float32(row["riot"]) for row in rows] == arrays["categories"][:, 2].tolist()
        assert [float(row["second"]) for row in rows] == pytest.approx(arrays["seconds"].tolist(), abs=1e-6)
    assert {row["calibrated"] for row in rows} == {""}
    assert [rows[frame]["second"] for frame in (0, 15, 16, 24)] == ["0.0", "0.9375", "1.0", "5.0"]


def test_columns_are_told_apart(tmp_path: Path) -> None:
    place = write_frames(tiny(("normal", "frame", "frame", "=1", "a,\nb")), tmp_path / "a.csv")
    with place.open(newline="") as file:
        header = next(csv.reader(file))
    assert header[4:] == ["normal", "category frame", "category category frame", "'=1", "a,\nb"]


def test_a_video_without_frames(tmp_path: Path) -> None:
    place = write_frames(examples.without_frames(), tmp_path / "a.csv")
    assert place.read_text() == "frame,second,anomaly,calibrated,normal,fighting,riot\n"
    with np.load(write_frames(examples.without_frames(), tmp_path / "a.npz")) as arrays:
        assert (arrays["anomaly"].shape, arrays["categories"].shape) == ((0,), (0, 3))


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    for name in ("scores.json", "scores"):
        with pytest.raises(UsageError, match=r"expected \.npz or \.csv"):
            write_frames(tiny(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_message_and_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(StoreError, match="cannot write"):
        write_frames(tiny(), tmp_path / "a.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
