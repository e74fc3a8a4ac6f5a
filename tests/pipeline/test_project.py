"""Where labels are found, and how truth from labels or files meets the features."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord, write_manifest
from vadpipe.pipeline.project import find_labels, with_truth
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, Interval, TimeGrid

SPEC = FeatureSpec("made", 2, "test", "test")
GRID = TimeGrid(Fraction(10), 40)
THEFT = VideoRecord("a", frozenset({"theft"}), (Interval("theft", 0.5, 4.4, 5, 44),), "test", 44, Fraction(10))
CALM = VideoRecord("b", frozenset({"normal"}), (), "test")


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    found = FeatureStore(tmp_path / "features")
    for video in "ab":
        found.write(FeatureTrack(np.zeros((3, 2), np.float32), GRID, SPEC, video))
    return found


def test_labels_are_taken_from_a_manifest(tmp_path: Path) -> None:
    named = tmp_path / "m.jsonl"
    write_manifest(named, [THEFT])
    assert find_labels(named, tmp_path) == ([THEFT], named)
    with pytest.raises(UsageError, match=r"labels\.csv or manifest\.jsonl"):
        find_labels(None, tmp_path)
    for place, record in ((tmp_path / "features", CALM), (tmp_path / "elsewhere", THEFT)):
        place.mkdir()
        write_manifest(place / "manifest.jsonl", [record])
    assert find_labels(None, tmp_path)[0] == [CALM]
    assert find_labels(None, tmp_path, tmp_path / "elsewhere")[0] == [THEFT]
    write_manifest(tmp_path / "manifest.jsonl", [THEFT, CALM])
    assert find_labels(None, tmp_path) == ([THEFT, CALM], tmp_path / "manifest.jsonl")
    (tmp_path / "labels.csv").write_text("video,label\nc,normal\n")
    assert [record.id for record in find_labels(None, tmp_path)[0]] == ["c"]


def test_truth_of_a_manifest_is_fitted_to_the_features(store: FeatureStore) -> None:
    records, notes = with_truth([THEFT, CALM], store, SPEC, None)
    assert records[0].intervals == (Interval("theft", 0.5, 4.0, 5, 40),)
    assert (records[0].num_frames, records[1].intervals) == (40, ())
    assert ["labels: " in note for note in notes] == [True, True]
    assert with_truth([CALM], store, SPEC, None) == ([CALM], [])
    longer = VideoRecord("a", THEFT.labels, THEFT.intervals, "test", 57)
    with pytest.raises(DataError, match=r"labels: 1 videos have another length than their features.*'a' \(\+17\)"):
        with_truth([longer], store, SPEC, None)


def test_a_file_of_truth_replaces_that_of_the_manifest(store: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "annotations.txt"
    path.write_text("a 1 2\n")
    records, _ = with_truth([THEFT, CALM], store, SPEC, path)
    assert records[0].intervals == (Interval("theft", 0.1, 0.2, 1, 2),)


def test_an_array_of_truth_needs_its_order(store: FeatureStore, tmp_path: Path) -> None:
    array = np.zeros(80, np.uint8)
    array[50:53] = 1
    np.save(tmp_path / "gt.npy", array)
    (tmp_path / "order.list").write_text("b\na\n")
    theft = replace(THEFT, intervals=(), num_frames=None)
    records, notes = with_truth([theft, CALM], store, SPEC, tmp_path / "gt.npy", tmp_path / "order.list")
    assert records[0].intervals == (Interval("theft", 1.0, 1.3, 10, 13),)
    assert notes == []
    with pytest.raises(UsageError, match="--order"):
        with_truth([THEFT, CALM], store, SPEC, tmp_path / "gt.npy")


def test_stated_lengths_are_compared_whatever_the_source_of_truth(store: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "annotations.txt"
    path.write_text("a 1 2\n")
    differences: dict[str, int] = {}
    calm = replace(CALM, num_frames=24)
    records, notes = with_truth([THEFT, calm], store, SPEC, path, differences=differences)
    assert differences == {"a": -4, "b": 16}
    assert "labels: 2 videos differ in length" in notes[0]
    assert "'a' (+4), 'b' (-16)" in notes[0]
    assert [record.num_frames for record in records] == [40, 40]
    with pytest.raises(DataError, match=r"labels: 1 videos have another length than their features.*'b' \(-17\)"):
        with_truth([THEFT, replace(CALM, num_frames=23)], store, SPEC, path)


def test_unknown_truth_of_training_videos_is_said_once(store: FeatureStore, tmp_path: Path) -> None:
    path = tmp_path / "annotations.txt"
    path.write_text("a 1 2\n")
    store.write(FeatureTrack(np.zeros((3, 2), np.float32), GRID, SPEC, "c"))
    trained = VideoRecord("c", THEFT.labels)
    _, notes = with_truth([replace(THEFT, num_frames=None), trained], store, SPEC, path)
    assert notes == [f"{path}: the true incidents of 1 training videos are not known"]
    path.write_text("a -1 -1\n")
    _, notes = with_truth([replace(THEFT, num_frames=None)], store, SPEC, path)
    assert notes == [f"{path}: anomalous videos annotated as having no span: 'a'"]
