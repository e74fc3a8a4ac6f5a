"""Stored features as .npy and back: equal rows, whatever the id; and what a store says about itself."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.pipeline.stored_features import CLIP, SOUND, put, values
from vadpipe.cli import cli
from vadpipe.errors import UsageError
from vadpipe.manifest import VideoRecord, read_manifest, write_manifest
from vadpipe.pipeline.export_features import export_features, labels_of
from vadpipe.pipeline.feature_sources import open_source
from vadpipe.pipeline.features_info import features_info
from vadpipe.pipeline.import_folder import import_folder
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, TimeGrid

IDS = ["v=Aa#1_label_B1-0-0", "a.b..c", "-rf", "日本", "sp ace", "%41", "film__5", "a.mp4"]


@pytest.mark.parametrize("crops", [0, 5])
def test_what_is_exported_is_imported_with_equal_rows(crops: int, tmp_path: Path) -> None:
    for seed, name in enumerate(IDS):
        put(tmp_path / "store", name, values(seed, crops=crops))
    summary = export_features(open_source(tmp_path / "store"), tmp_path / "out")
    assert (sorted(summary.done), summary.failed) == (sorted(IDS), {})
    assert set(summary.done.values()) == {crops or 1}
    records = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert {(record.num_frames, record.fps) for record in records} == {(40, Fraction(25))}

    store = FeatureStore(tmp_path / "again")
    imported = import_folder(tmp_path / "out", store, records, "made", crops="all" if crops else "first")
    assert (sorted(imported.done), imported.failed, imported.missing) == (sorted(IDS), {}, {})
    for seed, name in enumerate(IDS):
        np.testing.assert_array_equal(store.read(imported.spec, name).data, values(seed, crops=crops))


def test_labels_come_from_where_they_are(tmp_path: Path) -> None:
    put(tmp_path / "store", "a", values())
    put(tmp_path / "store", "b", values())
    source = open_source(tmp_path / "store")
    assert list(labels_of(source)) == []
    write_manifest(tmp_path / "store" / "manifest.jsonl", [VideoRecord("a", frozenset({"riot"}), split="test")])
    summary = export_features(source, tmp_path / "out", labels_of(source))
    assert summary.unlabelled == ["b"]
    assert "'unlabelled' stands in manifest.jsonl" in summary.notes[0]
    a, b = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert (a.labels, a.split, b.labels) == (frozenset({"riot"}), "test", frozenset({"unlabelled"}))
    (tmp_path / "labels.csv").write_text("video,label\nb,normal\n")
    assert [record.id for record in labels_of(source, tmp_path / "labels.csv")] == ["b"]


def test_types_are_stored_or_asked_for_and_nothing_overflows(tmp_path: Path) -> None:
    put(tmp_path / "store", "small", values())
    put(tmp_path / "store", "large", values() * np.float32(1e6))
    source = open_source(tmp_path / "store")
    summary = export_features(source, tmp_path / "half", dtype="float16")
    assert "do not fit float16" in summary.failed["large"]
    assert np.load(tmp_path / "half" / "small.npy").dtype == np.float16
    assert not (tmp_path / "half" / "large.npy").exists()
    assert [record.id for record in read_manifest(tmp_path / "half" / "manifest.jsonl")] == ["small"]
    export_features(source, tmp_path / "whole")
    assert np.load(tmp_path / "whole" / "large.npy").dtype == np.float32
    with pytest.raises(UsageError, match="dtype: got 'int8'"):
        export_features(source, tmp_path / "whole", dtype="int8")


def test_two_kinds_of_features_never_mix_in_one_folder(tmp_path: Path) -> None:
    put(tmp_path / "store", "a", values())
    put(tmp_path / "store", "a", values(), SOUND)
    clip, sound = (open_source(tmp_path / "store", stream) for stream in ("clip", "wav2clip"))
    export_features(clip, tmp_path / "out")
    (tmp_path / "out" / "a.npy").unlink()
    assert export_features(clip, tmp_path / "out").done == {"a": 1}  # again is allowed
    with pytest.raises(UsageError, match="holds other files"):
        export_features(sound, tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.npy").write_bytes(b"precious")
    with pytest.raises(UsageError, match="holds other files"):
        export_features(clip, tmp_path / "mine")
    with pytest.raises(UsageError, match="no feature store"):
        export_features(open_source(tmp_path / "out"), tmp_path / "new")
    assert (tmp_path / "mine" / "a.npy").read_bytes() == b"precious"


def test_what_cannot_be_a_file_costs_itself(tmp_path: Path) -> None:
    put(tmp_path / "store", "good", values())
    put(tmp_path / "store", "x" * 300, values())
    put(tmp_path / "store", "a/b", values())
    put(tmp_path / "store", "empty", values(rows=0))
    put(tmp_path / "store", "crops", values(crops=11))
    rate = TimeGrid(Fraction(25), 32, 16, (0.0, 0.5, 2.0))
    FeatureStore(tmp_path / "store").write(FeatureTrack(values(rows=2), rate, CLIP, "vfr"))
    summary = export_features(open_source(tmp_path / "store"), tmp_path / "out")
    assert sorted(summary.done) == ["good", "vfr"]
    assert set(summary.failed) == {"x" * 300, "a/b", "empty", "crops"}
    assert "1 videos have a variable frame rate" in summary.notes[0]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.npy")) == ["good.npy", "vfr.npy"]


def sound_store(tmp_path: Path) -> Path:
    data = values(rows=4)
    data[2:] = 0
    put(tmp_path / "store", "v", data, SOUND, states=np.array([0, 1, 2, 3], np.uint8), corrupt_packets=2)
    put(tmp_path / "store", "v", values(rows=4, crops=5))
    return tmp_path / "store"


def test_rows_without_sound_are_said_to_become_zeros(tmp_path: Path) -> None:
    summary = export_features(open_source(sound_store(tmp_path), "wav2clip"), tmp_path / "out")
    assert "2 rows have no sound that could be heard" in summary.notes[0]


def test_a_store_describes_itself(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    clip, sound = features_info(sound_store(tmp_path), notify=lambda *counts: heard.append(counts))
    assert heard == [(1, 2), (2, 2)]
    assert (clip.spec, clip.videos, clip.rows, dict(clip.crops)) == (CLIP, 1, 4, {5: 1})
    assert clip.seconds == pytest.approx(56 / 25)
    assert (clip.to_mapping()["untrained"], sound.to_mapping()["untrained"]) == (True, False)
    assert sound.sound_states == {"present": 1, "silent": 1, "absent": 1, "undecodable": 1}
    assert (clip.sound_states, sound.corrupt_packets, dict(sound.dtypes)) == ({}, 2, {"float32": 1})
    (path,) = clip.folder.glob("*/*.h5")
    path.write_bytes(b"")
    put(tmp_path / "store", "w", values())
    (clip, _) = features_info(tmp_path / "store")
    assert (clip.videos, list(clip.damaged)) == (1, [path.name])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["features", *(str(item) for item in arguments)])


def test_the_commands(tmp_path: Path) -> None:
    store = sound_store(tmp_path)
    done = run("info", store)
    assert done.exit_code == 0
    assert "UNTRAINED" in done.stdout
    assert "sound undecodable" in done.stdout
    assert [item["rows"] for item in json.loads(run("info", store, "--json", "--stream", "clip").stdout)] == [4]
    assert isinstance(run("info", tmp_path / "no").exception, UsageError)
    done = run("export", store, "--stream", "clip", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["files"] == {"v": 5}
    put(tmp_path / "store", "empty", values(rows=0))
    assert run("export", store, "--stream", "clip", "--out", tmp_path / "out").exit_code == 3
