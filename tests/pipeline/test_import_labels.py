"""import labels: lists of every kind, joined, with their truth, as a manifest that all commands take for labels."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.datasets.real import CCTV, UCF, XD, unpack
from vadpipe.cli import cli
from vadpipe.errors import DataError, UsageError, VadpipeError
from vadpipe.manifest import VideoRecord, read_manifest, write_manifest
from vadpipe.pipeline.importing.labels import import_labels
from vadpipe.tracks import Interval, TimeGrid

GRID = TimeGrid(Fraction(25), 100)


def test_xd_violence_whole(tmp_path: Path) -> None:
    out = tmp_path / "m.jsonl"
    files = [XD / "xd_CLIP_rgb.csv.gz", XD / "xd_CLIP_rgbtest.csv.gz"]
    summary = import_labels(files, "xd_violence", out, ["train", "test"], XD / "annotations_multiclasses.txt.gz")
    assert summary.counts() == {"train": (3954, 2049, 0), "test": (800, 300, 500)}
    assert summary.notes == []
    records = {record.id: record for record in read_manifest(out)}
    assert list(records.values()) == summary.records
    blast = records["v=u5SF4SlqNDQ__#00-00-00_00-01-00_label_G-0-0"]
    assert blast.labels == {"explosion"}
    assert blast.intervals[1] == Interval("explosion", 950 / 24, 1441 / 24, 950, 1441)  # no length known: not clipped
    ip_man = records["Ip.Man.2008__#01-40-37_01-42-07_label_B4-0-0"]
    assert ip_man.labels == {"riot"}
    assert ip_man.intervals[0].category == "fighting"


def test_ucf_crime_with_the_lengths_that_a_file_states(tmp_path: Path) -> None:
    urdmu = UCF / "urdmu_UCF_Annotation.txt.gz"
    out = tmp_path / "m.jsonl"
    summary = import_labels([UCF / "Anomaly_Test.txt.gz"], "ucf_crime", out, ["test"], urdmu)
    assert summary.counts() == {"test": (290, 150, 140)}
    assert {record.num_frames is None for record in summary.records} == {False}
    assert "5 spans ran past the last frame" in summary.notes[0]
    files = [UCF / "Anomaly_Test.txt.gz", urdmu]
    assert import_labels(files, "ucf_crime", out, ["test"], urdmu).records == summary.records
    order = UCF / "ucf_CLIP_rgbtest.csv.gz"
    by_array = import_labels(files, "ucf_crime", out, ["test"], UCF / "gt_segment_ucf.npy", order).records
    assert by_array == summary.records
    with pytest.raises(
        UsageError, match="counts frames from video to video, and no file states how long 'Abuse028_x264'"
    ):
        import_labels(files[:1], "ucf_crime", out, ["test"], UCF / "gt_segment_ucf.npy", order)


def test_cctv_fights_needs_a_rate(tmp_path: Path) -> None:
    path = CCTV / "annotations_cctv.txt"
    with pytest.raises(UsageError, match=r"'fight_0006_label_B1-0-0' and 156 others have no frame rate; pass --fps"):
        import_labels([path], "cctv_fights", tmp_path / "m.jsonl", ["test"], path)
    summary = import_labels([path], "cctv_fights", tmp_path / "m.jsonl", ["test"], path, fps=Fraction(25))
    assert summary.counts() == {"test": (157, 0, 157)}
    assert sum(len(record.intervals) for record in summary.records) == 349


def test_own_data_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("video,label,split,frames,fps\na.mp4,theft|riot,train,100,25\n")
    write_manifest(tmp_path / "old.jsonl", [VideoRecord("b", frozenset({"normal"}), (), "val", 50, Fraction(10))])
    segment = {"segment": [1, 2], "label": "theft"}
    entry = {"subset": "testing", "annotations": [segment], "frame_rate": 25, "nb_frames": 100}
    (tmp_path / "gt.json").write_text(json.dumps({"database": {"c": entry}}))
    (tmp_path / "videos" / "theft").mkdir(parents=True)
    (tmp_path / "videos" / "theft" / "d.mp4").touch()
    (tmp_path / "list.csv").write_text("path,label\nx/e.npy,normal\n")
    files = [tmp_path / name for name in ("labels.csv", "old.jsonl", "gt.json", "videos", "list.csv")]
    summary = import_labels(files, "folder", tmp_path / "m.jsonl", (), tmp_path / "gt.json")
    assert summary.records == [
        VideoRecord("a", frozenset({"theft", "riot"}), (), "train", 100, Fraction(25)),
        VideoRecord("b", frozenset({"normal"}), (), "val", 50, Fraction(10)),
        VideoRecord("c", frozenset({"theft"}), (Interval.of_frames("theft", 25, 50, GRID),), "test", 100, Fraction(25)),
        VideoRecord("d", frozenset({"theft"})),
        VideoRecord("e", frozenset({"normal"})),
    ]
    assert {r.split for r in import_labels(files, "folder", tmp_path / "m.jsonl", ["test"]).records} == {"test"}
    splits = ["train", "train", "val", "test", "test"]
    assert [r.split for r in import_labels(files, "folder", tmp_path / "m.jsonl", splits).records] == splits


def test_ground_truth_json_of_cctv_fights_uses_its_classes(tmp_path: Path) -> None:
    segment = {"segment": [1, 2], "label": "Fight"}
    path = tmp_path / "groundtruth.json"
    path.write_text(json.dumps({"database": {"fight_0001": {"annotations": [segment], "frame_rate": 25.0}}}))
    summary = import_labels([path], "cctv_fights", tmp_path / "m.jsonl", ["test"], path)
    assert [record.labels for record in summary.records] == [{"fighting"}]
    assert summary.records[0].intervals == (Interval("fighting", 1.0, 2.0, 25, 50),)
    assert summary.notes == ["test: 1 videos, officially cctv_fights has 157"]
    path.write_text(path.read_text().replace("Fight", "Murder"))
    with pytest.raises(DataError, match="video 'fight_0001': label 'Murder', expected one of A, B1, Fight"):
        import_labels([path], "cctv_fights", tmp_path / "m.jsonl")


def test_frame_level_truth(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a 20 theft -1 -1\nb 12 normal -1 -1\n")
    array = np.zeros(32, np.float32)
    array[5:9] = 1
    np.save(tmp_path / "gt.npy", array)
    lists = [tmp_path / "list.txt"]
    out = tmp_path / "m.jsonl"
    found = import_labels(lists, "folder", out, ["test"], tmp_path / "gt.npy", lists[0], Fraction(10)).records
    assert found[0].intervals == (Interval("theft", 0.5, 0.9, 5, 9),)
    assert found[1].intervals == ()


def first(folder: Path, text: str) -> list[Path]:
    (folder / "a.csv").write_text(text)
    (folder / "b.csv").write_text("path,label\nx__0.npy,theft\n")
    return [folder / "a.csv", folder / "b.csv"]


@pytest.mark.parametrize(
    ("text", "splits", "message"),
    [
        ("path,label\nx__0.npy,riot\n", (), r"b\.csv: video 'x': labels \['theft'\] here and \['riot'\] in an earlier"),
        ("path,label\nx__0.npy,theft\n", ("train", "test"), r"b\.csv: video 'x': split test here and train in an earl"),
        ("path,label\ny.npy,theft\n", ("test",) * 3, "--split: got 3 for 2 files"),
        ("path,label\ny.npy,theft\n", ("exam",), "split: got 'exam'"),
        ("path,label\ny.npy,\n", (), r"a\.csv:2: an empty cell"),
    ],
)
def test_what_contradicts_is_refused_and_nothing_written(
    tmp_path: Path, text: str, splits: tuple[str, ...], message: str
) -> None:
    with pytest.raises(VadpipeError, match=message):
        import_labels(first(tmp_path, text), "folder", tmp_path / "m.jsonl", splits)
    assert not (tmp_path / "m.jsonl").exists()


def test_wrong_data_set_or_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="data set: got 'xd'"):
        import_labels([XD / "annotations.txt.gz"], "xd", tmp_path / "m.jsonl")
    with pytest.raises(UsageError, match="is an array and names no videos"):
        import_labels([unpack(CCTV / "gt_cctv.npy.gz", tmp_path)], "cctv_fights", tmp_path / "m.jsonl")
    (tmp_path / "labels.csv").write_text("video,label\na,murder\n")
    with pytest.raises(DataError, match=r"labels \['murder'\] are no classes of xd_violence"):
        import_labels([tmp_path / "labels.csv"], "xd_violence", tmp_path / "m.jsonl")
    assert not (tmp_path / "m.jsonl").exists()


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "m.jsonl"
    files = [str(UCF / "Anomaly_Train.txt.gz"), str(UCF / "Anomaly_Test.txt.gz")]
    options = ["--split", "train", "--split", "test", "--dataset", "ucf_crime", "--out", str(out)]
    run = CliRunner().invoke(cli, ["import", "labels", *files, *options])
    assert (run.exit_code, run.stderr) == (0, "")
    assert "1900 videos in" in run.stdout
    run = CliRunner().invoke(cli, ["import", "labels", *files[1:], "--split", "train", *options[4:], "--json"])
    assert json.loads(run.stdout) == {"videos": 290, "out": str(out), "splits": {"train": [290, 150, 0]}}
    assert "note: train: 290 videos, officially ucf_crime has 1610" in run.stderr


def test_a_quoted_header_is_one(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text('"video","label"\n"a.mp4","theft"\n')
    summary = import_labels([tmp_path / "labels.csv"], "folder", tmp_path / "m.jsonl")
    assert summary.records == [VideoRecord("a", frozenset({"theft"}))]


def test_lengths_that_two_label_files_state_are_not_of_features(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("video,label,split,frames,fps\na,theft,test,100,25\n")
    (tmp_path / "truth.txt").write_text("a 140 theft 3 9\n")
    with pytest.raises(DataError, match=r"another length than the other label files.*'a' \(\+40\)"):
        import_labels([tmp_path / "labels.csv"], "folder", tmp_path / "m.jsonl", (), tmp_path / "truth.txt")
