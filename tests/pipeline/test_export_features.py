"""Stored features as .npy and back: equal rows, whatever the id; and what a store says about itself."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.pipeline.stored_features import CLIP, FIVE_CROPS, SOUND, put, values
from vadpipe.cli import cli
from vadpipe.errors import TrackDamaged, UsageError
from vadpipe.manifest import VideoRecord, read_manifest, write_manifest
from vadpipe.pipeline.features.compare_features import compare_features
from vadpipe.pipeline.features.export_features import export_features, labels_of
from vadpipe.pipeline.features.info import features_info
from vadpipe.pipeline.features.sources import open_source
from vadpipe.pipeline.importing.folder import import_folder
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, Interval, TimeGrid

IDS = ["v=Aa#1_label_B1-0-0", "a.b..c", "-rf", "日本", "sp ace", "%41", "film__5", "a.mp4"]


@pytest.mark.parametrize("crops", [0, 5])
def test_what_is_exported_is_imported_with_equal_rows(crops: int, tmp_path: Path) -> None:
    for seed, name in enumerate(IDS):
        put(tmp_path / "store", name, values(seed, crops=crops), FIVE_CROPS if crops else CLIP)
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


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.npy"))


def test_crops_keep_the_numbers_that_they_were_imported_with(tmp_path: Path) -> None:
    given, records = tmp_path / "given", [VideoRecord("v", frozenset({"normal"}), num_frames=40, fps=Fraction(25))]
    given.mkdir()
    for crop in range(10):
        np.save(given / f"v__{crop}.npy", values(crop))
    for choice, wanted in (("0,5", (0, 5)), ("5", (5,)), ("all", range(10)), ("first", ())):
        store = FeatureStore(tmp_path / f"store-{choice}")
        import_folder(given, store, records, "made", crops=choice)
        out = tmp_path / f"out-{choice}"
        export_features(open_source(store.root), out)
        assert files(out) == ([f"v__{crop}.npy" for crop in wanted] or ["v.npy"])
        for crop in wanted:
            np.testing.assert_array_equal(np.load(out / f"v__{crop}.npy"), values(crop))


def test_training_and_test_videos_may_hold_other_crops(tmp_path: Path) -> None:
    """As in the released lists of UCF-Crime; which are which is known from the manifest of the import."""
    spec = replace(CLIP, stream="released", geometry="released, crops 0; test 5")
    for name in ("a", "b"):
        put(tmp_path / "store", name, values(), spec)
    summary = export_features(open_source(tmp_path / "store"), tmp_path / "unknown")
    assert (summary.done, sorted(summary.failed)) == ({}, ["a", "b"])
    assert "no manifest.jsonl beside it says its split" in summary.failed["a"]
    records = [VideoRecord(name, frozenset({"riot"}), split=split) for name, split in (("a", "val"), ("b", "test"))]
    write_manifest(tmp_path / "store" / "manifest.jsonl", records)
    summary = export_features(open_source(tmp_path / "store"), tmp_path / "out")
    assert files(tmp_path / "out") == ["a.npy", "b__5.npy"]
    assert "not all videos hold the same crops: 0 or 5" in summary.notes[0]


def test_crops_that_no_specification_numbers_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "store", "v", values(crops=5))
    put(tmp_path / "store", "w", values(), FIVE_CROPS)
    for source in (open_source(tmp_path / "store" / spec.folder) for spec in (CLIP, FIVE_CROPS)):
        summary = export_features(source, tmp_path / source.place.name)
        assert "which its crops are" in next(iter(summary.failed.values()))


def test_a_rerun_keeps_what_the_manifest_said(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        put(tmp_path / "store", name, values())
    out, labels = tmp_path / "out", [VideoRecord(name, frozenset({"riot"}), split="test") for name in ("a", "b", "c")]
    export_features(open_source(tmp_path / "store"), out, labels)
    store = FeatureStore(tmp_path / "store")
    for name in ("b", "c"):
        store.path(CLIP, name).unlink()
    (out / "c.npy").unlink()
    put(tmp_path / "store", "d", values())
    summary = export_features(open_source(tmp_path / "store"), out)
    assert (sorted(summary.done), summary.unlabelled) == (["a", "d"], ["d"])
    found = {record.id: (record.labels, record.split) for record in read_manifest(out / "manifest.jsonl")}
    riot = (frozenset({"riot"}), "test")
    assert found == {"a": riot, "b": riot, "d": (frozenset({"unlabelled"}), "train")}
    export_features(open_source(tmp_path / "store"), out, [replace(labels[0], labels=frozenset({"fighting"}))])
    assert {record.id: sorted(record.labels) for record in read_manifest(out / "manifest.jsonl")} == {
        **{"a": ["fighting"], "b": ["riot"], "d": ["unlabelled"]},
    }


def test_an_incident_that_is_too_late_costs_no_features(tmp_path: Path) -> None:
    put(tmp_path / "store", "v", values())  # 40 frames
    label = VideoRecord("v", frozenset({"riot"}), (Interval("riot", 0.0, 9.0, 0, 225),), "test")
    summary = export_features(open_source(tmp_path / "store"), tmp_path / "out", [label])
    assert (summary.done, summary.failed) == ({"v": 1}, {})
    assert "ends at frame 225, its features have 40 frames" in summary.notes[0]
    (record,) = read_manifest(tmp_path / "out" / "manifest.jsonl")
    assert (record.labels, record.intervals, record.split) == (frozenset({"riot"}), (), "test")


def test_an_id_with_a_leading_dot_is_compared_after_its_export(tmp_path: Path) -> None:
    put(tmp_path / "store", ".hidden", values())
    source = open_source(tmp_path / "store")
    export_features(source, tmp_path / "out")
    (tmp_path / "out" / "._.hidden.npy").write_bytes(b"of macOS")
    found = compare_features(source, open_source(tmp_path / "out"))
    assert (found.verdict, found.only_b) == ("identical", [])


def sound_store(tmp_path: Path) -> Path:
    data = values(rows=4)
    data[2:] = 0
    put(tmp_path / "store", "v", data, SOUND, states=np.array([0, 1, 2, 3], np.uint8), corrupt_packets=2)
    put(tmp_path / "store", "v", values(rows=4, crops=5), FIVE_CROPS)
    return tmp_path / "store"


def test_rows_without_sound_are_said_to_become_zeros(tmp_path: Path) -> None:
    summary = export_features(open_source(sound_store(tmp_path), "wav2clip"), tmp_path / "out")
    assert "2 rows have no sound that could be heard" in summary.notes[0]
    content = json.loads((tmp_path / "out" / "v.states.json").read_text())
    runs = [["present", 1], ["silent", 1], ["absent", 1], ["undecodable", 1]]
    assert content == {"schema": "vadpipe.states/1", "runs": runs}
    export_features(open_source(sound_store(tmp_path), "clip"), tmp_path / "picture")
    assert not list((tmp_path / "picture").glob("*.states.json"))


def exported_sound(tmp_path: Path) -> tuple[Path, FeatureStore, list[VideoRecord]]:
    """``v`` with a row of each state, ``w`` without states."""
    put(sound_store(tmp_path), "w", values(rows=4), SOUND)
    export_features(open_source(tmp_path / "store", "wav2clip"), tmp_path / "out")
    records = read_manifest(tmp_path / "out" / "manifest.jsonl")
    return tmp_path / "out", FeatureStore(tmp_path / "again"), list(records)


def test_states_come_back_with_the_rows(tmp_path: Path) -> None:
    """Else rows without sound would come back as sound."""
    out, store, records = exported_sound(tmp_path)
    summary = import_folder(out, store, records, "heard")
    assert (sorted(summary.done), summary.spec.audio_window) == (["v", "w"], SOUND.audio_window)
    for name, wanted in (("v", [0, 1, 2, 3]), ("w", [0] * 4)):
        states = store.read(summary.spec, name).states
        assert states is not None
        assert states.tolist() == wanted
    assert import_folder(out, store, records, "heard").kept == ["v", "w"]
    longer = [replace(record, num_frames=72) for record in records]  # 5 snippets: the last row is repeated
    assert len(import_folder(out, store, longer, "longer").notes) == 2
    states = store.read(replace(summary.spec, stream="longer"), "v").states
    assert states is not None
    assert states.tolist() == [0, 1, 2, 3, 3]


def test_other_states_are_imported_anew(tmp_path: Path) -> None:
    out, store, records = exported_sound(tmp_path)
    spec = import_folder(out, store, records, "heard").spec
    data = np.load(out / "v.npy")
    data[1:] = 0
    np.save(out / "v.npy", data)
    (out / "v.states.json").write_text('{"schema": "vadpipe.states/1", "runs": [["present", 1], ["absent", 3]]}')
    again = import_folder(out, store, records, "heard")
    assert (again.done, again.kept) == (["v"], ["w"])
    (out / "v.states.json").write_text('{"schema": "vadpipe.states/1", "runs": [["present", 1], ["silent", 3]]}')
    assert import_folder(out, store, records, "heard").done == ["v"]  # a file of the same size, too
    states = store.read(spec, "v").states
    assert states is not None
    assert states.tolist() == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "its states, v.states.json, are missing"),
        ("[" * 100_000, "no readable JSON"),
        ("[]", "is no vadpipe.states/1 file"),
        ('{"schema": "vadpipe.states/1", "runs": [["present", 3]]}', "got the states of 3 rows, expected 4"),
        ('{"schema": "vadpipe.states/1", "runs": [["present", 1e9]]}', "is no vadpipe.states/1 file"),
        ('{"schema": "vadpipe.states/1", "runs": [["present", 99999999999]]}', "expected 4"),
        ('{"schema": "vadpipe.states/1", "runs": [["present", 5], ["absent", -1]]}', "is no vadpipe.states/1 file"),
        ('{"schema": "vadpipe.states/1", "runs": [[["present"], 4]]}', "is no vadpipe.states/1 file"),
        ('{"schema": "vadpipe.states/1", "runs": [["absent", 4]]}', "must be zeros"),
    ],
)
def test_states_that_cannot_be_cost_their_video(content: str | None, said: str, tmp_path: Path) -> None:
    out, store, records = exported_sound(tmp_path)
    (out / "v.states.json").unlink() if content is None else (out / "v.states.json").write_text(content)
    summary = import_folder(out, store, records, "heard")
    assert (summary.done, list(summary.failed)) == (["w"], ["v"])
    assert said in summary.failed["v"]


def test_states_without_their_specification_are_refused(tmp_path: Path) -> None:
    out, store, records = exported_sound(tmp_path)
    for content in ("", '{"spec": {"stream": "x"}}', '{"mine": 1}'):
        (out / "features.json").write_text(content)
        with pytest.raises(UsageError, match=r"v\.states\.json is of an export of sound, but no features\.json"):
            import_folder(out, store, records, "heard")


def test_a_store_describes_itself(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    clip, sound = features_info(sound_store(tmp_path), notify=lambda *counts: heard.append(counts))
    assert heard == [(1, 2), (2, 2)]
    assert (clip.spec, clip.videos, clip.rows, dict(clip.crops)) == (FIVE_CROPS, 1, 4, {5: 1})
    assert clip.seconds == pytest.approx(56 / 25)
    assert (clip.to_mapping()["untrained"], sound.to_mapping()["untrained"]) == (True, False)
    assert sound.sound_states == {"present": 1, "silent": 1, "absent": 1, "undecodable": 1}
    assert (clip.sound_states, sound.corrupt_packets, dict(sound.dtypes)) == ({}, 2, {"float32": 1})
    (path,) = clip.folder.glob("*/*.h5")
    path.write_bytes(b"")
    put(tmp_path / "store", "w", values(crops=5), FIVE_CROPS)
    (clip, _) = features_info(tmp_path / "store")
    assert (clip.videos, list(clip.damaged)) == (1, [path.name])


def test_a_folder_without_a_readable_file_does_not_hide_the_others(tmp_path: Path) -> None:
    store = sound_store(tmp_path)
    (path,) = (store / FIVE_CROPS.folder).glob("*/*.h5")
    path.write_bytes(b"")
    clip, sound = features_info(store)
    assert (clip.spec, clip.videos, list(clip.damaged)) == (None, 0, [path.name])
    assert (sound.videos, sound.damaged) == (1, {})
    done = run("info", store)
    assert done.exit_code == 3
    assert "sound undecodable" in done.stdout
    assert [item["digest"] for item in json.loads(run("info", store, "--json").stdout)] == [None, SOUND.digest]


@pytest.mark.parametrize("shape", [(), (8,), (1 << 40, 8)])
def test_a_made_up_file_is_damaged_and_takes_no_memory(shape: tuple[int, ...], tmp_path: Path) -> None:
    folder = put(tmp_path / "store", "v", values())
    (path,) = folder.glob("*/*.h5")
    with h5py.File(path, "r+") as file:
        del file["data"]
        file.create_dataset("data", shape, np.float32, chunks=(256, 8) if len(shape) == 2 else None)
    (info,) = features_info(tmp_path / "store")
    assert (info.rows, list(info.damaged)) == (0, [path.name])
    with pytest.raises(TrackDamaged):
        open_source(folder).read("v")


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
    put(tmp_path / "store", "empty", values(rows=0, crops=5), FIVE_CROPS)
    assert run("export", store, "--stream", "clip", "--out", tmp_path / "out").exit_code == 3
