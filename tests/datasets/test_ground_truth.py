"""Ground truth: all released files say the same, frame by frame, but for what is listed here; arrays are aligned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.datasets import real
from tests.datasets.real import CCTV, UCF, XD
from tests.refused_arrays import save_pickled
from vadpipe.datasets.ground_truth import read_truth
from vadpipe.datasets.lists import list_lengths, read_list
from vadpipe.errors import DataError, UnknownVideos, UsageError
from vadpipe.manifest import VideoRecord, write_manifest
from vadpipe.tracks import Interval, TimeGrid

# Frames in which the files with a class before each span differ from annotations.txt and the frame-level truth.
MULTICLASS_DIFFERENCES = {
    "Love.Death.and.Robots.S01E10__#0-01-00_0-02-13_label_B2-G-0": 1,  # one span cut in two, a frame between them
    "Rush.Hour.1998.BluRay__#00-08-08_00-09-15_label_B2-B6-G": 1,  # the same
    "The.Bourne.Ultimatum.2007__#01-26-27_01-28-03_label_B2-B6-0": 1,  # the same
    "v=Rc9EOFjtj0c__#1_label_B6-0-0": 1,  # the same
    "v=38GQ9L2meyE__#1_label_B6-0-0": 129,  # one more span, 4511 to 4650, in a video of 4640 frames
}


def differences(dataset: str, path: Path, order: Path | None = None) -> tuple[dict[str, int], list[str]]:
    """Id -> frames in which a file differs from the frame-level truth; and the notes."""
    frames = real.frame_truth(dataset)
    notes: list[str] = []
    records = real.test_records(dataset)
    if path.name.startswith("annotations.txt"):  # without classes: of videos with several labels take any
        records = {video: VideoRecord(video, frozenset({min(r.labels)})) for video, r in records.items()}
    found = read_truth(path, records, real.grids(frames), notes, order)
    assert found.keys() == frames.keys()
    wrong = {video: int((real.frames_of(found[video], len(own)) != own).sum()) for video, own in frames.items()}
    return {video: count for video, count in wrong.items() if count}, notes


# --- released files


def test_xd_texts() -> None:
    wrong, notes = differences("xd_violence", XD / "annotations.txt.gz")
    assert wrong == {}
    assert [note.partition(": ")[2].partition(":")[0] for note in notes] == [
        "71 spans ran past the last frame and were clipped"
    ]
    assert differences("xd_violence", XD / "annotations_multiclasses.txt.gz")[0] == MULTICLASS_DIFFERENCES


@pytest.mark.parametrize("name", ["Temporal_Anomaly_Annotation.txt.gz", "urdmu_UCF_Annotation.txt.gz"])
def test_ucf_texts(name: str) -> None:
    wrong, notes = differences("ucf_crime", UCF / name)
    assert wrong == {}
    assert "7 spans ran past the last frame and were clipped" in notes[-1]
    assert len(notes) == (2 if "urdmu" in name else 1)
    assert ("279 videos differ in length from their features by up to one snippet" in notes[0]) == ("urdmu" in name)


@pytest.mark.parametrize("name", ["gt_segment.npy", "gt_label.npy"])
def test_xd_pickled_arrays(tmp_path: Path, name: str) -> None:
    for part in ("gt_segment.npy.gz", "gt_label.npy.gz"):
        real.unpack(XD / part, tmp_path)
    wrong, notes = differences("xd_violence", tmp_path / name, XD / "xd_CLIP_rgbtest.csv.gz")
    assert wrong == MULTICLASS_DIFFERENCES
    assert "22 videos differ in length" in notes[0]
    assert "'Election.2005__#00-03-35_00-05-05_label_A' (+16)" in notes[0]


def test_ucf_pickled_arrays_and_the_lists_that_do_not_fit(tmp_path: Path) -> None:
    path = UCF / "gt_segment_ucf.npy"
    wrong, notes = differences("ucf_crime", path, UCF / "ucf_CLIP_rgbtest.csv.gz")
    assert wrong == {}
    assert "5 videos differ in length" in notes[0]
    with pytest.raises(
        DataError, match=r"Anomaly_Test\.txt\.gz: video 'Normal_Videos_003_x264': a span of 'Vandalism'"
    ):
        differences("ucf_crime", path, UCF / "Anomaly_Test.txt.gz")
    with pytest.raises(DataError, match="290 entries of segments, 290 of labels, 1610 videos in the list"):
        differences("ucf_crime", path, UCF / "Anomaly_Train.txt.gz")


def test_cctv(tmp_path: Path) -> None:
    frames = real.cctv_frames()
    order = CCTV / "annotations_cctv.txt"
    records = {video.record.id: video.record for video in read_list(order, "cctv_fights", "test")}
    grids = {video: TimeGrid(Fraction(25), count, 4) for video, count in frames.items()}
    text = read_truth(order, records, grids)
    for part in ("gt_cctv_segment.npy.gz", "gt_cctv_label.npy", "gt_cctv.npy.gz"):
        real.unpack(CCTV / part, tmp_path)
    assert read_truth(tmp_path / "gt_cctv_segment.npy", records, grids, None, order) == text
    by_frame = read_truth(tmp_path / "gt_cctv.npy", records, grids, None, order)
    only_in_text = {
        (video, span.start_frame, span.end_frame) for video in text for span in set(text[video]) - set(by_frame[video])
    }
    assert only_in_text == {("fight_0006_label_B1-0-0", 1774, 1820), ("fight_0768_label_B1-0-0", 1112, 1177)}
    assert sum(map(len, text.values())) == 349
    assert sum(map(len, by_frame.values())) == 347


@pytest.mark.parametrize("dataset", ["xd_violence", "ucf_crime"])
def test_a_frame_level_array_of_the_whole_test_set(tmp_path: Path, dataset: str) -> None:
    frames, records = real.frame_truth(dataset), real.test_records(dataset)
    order = {"xd_violence": XD / "i3d_test.list.gz", "ucf_crime": UCF / "Anomaly_Test.txt.gz"}[dataset]
    np.save(tmp_path / "gt.npy", np.concatenate([frames[video] for video in list_lengths(order)]).astype(np.float32))
    notes: list[str] = []
    found = read_truth(tmp_path / "gt.npy", records, real.grids(frames), notes, order)
    assert all((real.frames_of(found[video], len(own)) == own).all() for video, own in frames.items())
    several = sum(len(record.labels) > 1 for record in records.values())
    assert len(notes) == (several > 0)
    if notes:
        assert f"{several} videos have several labels" in notes[0]
    wrong_order = tmp_path / "wrong.list"
    wrong_order.write_text("\n".join(sorted(frames, reverse=True)))
    with pytest.raises(DataError, match=r"is labelled normal, but \d+ frames at its place in the array are abnormal"):
        read_truth(tmp_path / "gt.npy", records, real.grids(frames), notes, wrong_order)


# --- arrays of frames, small enough to count

LABELS = {"a": {"theft"}, "b": {"normal"}, "c": {"theft", "riot"}}
RECORDS = {video: VideoRecord(video, frozenset(names), split="test") for video, names in LABELS.items()}


def read_frames(
    folder: Path,
    parts: Sequence[tuple[int, Sequence[tuple[int, int]]]],
    frames: Mapping[str, int],
    order: str = "a\nb\nc\n",
    notes: list[str] | None = None,
) -> dict[str, list[tuple[str, int, int]]]:
    """Spans by video of an array that is put together from lengths and runs of ones."""
    arrays = []
    for length, runs in parts:
        arrays.append(np.zeros(length, np.uint8))
        for start, end in runs:
            arrays[-1][start:end] = 1
    np.save(folder / "gt.npy", np.concatenate(arrays))
    (folder / "order.list").write_text(order)
    grids = {video: TimeGrid(Fraction(10), count, 4) for video, count in frames.items()}
    found = read_truth(folder / "gt.npy", RECORDS, grids, notes, folder / "order.list")
    return {video: [(s.category, s.start_frame, s.end_frame) for s in spans] for video, spans in found.items()}


FRAMES = {"c": 11, "a": 8, "b": 5}
SPANS = {"a": [("theft", 0, 2), ("theft", 7, 8)], "b": [], "c": [("riot", 9, 11), ("theft", 9, 11)]}


@pytest.mark.parametrize(("b", "c"), [(5, 11), (8, 12), (4, 8)])
def test_lengths_are_the_videos_or_whole_snippets(tmp_path: Path, b: int, c: int) -> None:
    notes: list[str] = []
    found = read_frames(tmp_path, [(8, [(0, 2), (7, 8)]), (b, []), (c, [(c - 3, c)])], FRAMES, notes=notes)
    assert found == SPANS | {"c": [(name, c - 3, min(c, 11)) for name in ("riot", "theft")]} | {"b": []}
    assert any("c" in note and "several labels" in note for note in notes)
    assert any(f"'b' ({b - 5:+d}), 'c' ({c - 11:+d})" in note for note in notes) == (b != 5)


def test_the_order_is_the_lists_and_no_other(tmp_path: Path) -> None:
    found = read_frames(tmp_path, [(11, [(9, 11)]), (5, []), (8, [(0, 2), (7, 8)])], FRAMES, "c\nb\na\n")
    assert found == SPANS


def test_a_list_that_states_lengths_stands_for_videos_without_features(tmp_path: Path) -> None:
    order = "x 3 theft 0 1\na\nb 6 normal -1 -1\nc\n"
    parts = [(3, [(0, 3)]), (8, [(0, 2), (7, 8)]), (6, []), (11, [(9, 11)])]
    notes: list[str] = []
    assert read_frames(tmp_path, parts, FRAMES, order, notes) == SPANS
    assert "'b' (+1)" in notes[1]
    assert "not among those asked for: 'x'" in notes[2]
    with pytest.raises(DataError, match=r"1 videos of the list have no features, so where the others begin.*'x'"):
        read_frames(tmp_path, parts, FRAMES, "x\na\nb\nc\n")
    with pytest.raises(
        DataError, match=r"1 videos have another length than their features.*'b' \(\+5\)\. Up to one sni"
    ):
        read_frames(tmp_path, [(8, []), (10, []), (11, [])], FRAMES, "a\nb 10 normal -1 -1\nc\n")


@pytest.mark.parametrize("extra", [-4, -1, 1, 4])
def test_up_to_one_snippet_is_cut_or_padded_at_the_tail(tmp_path: Path, extra: int) -> None:
    notes: list[str] = []
    frames = {"a": 8, "b": 4, "c": 12}
    found = read_frames(tmp_path, [(8, [(0, 2)]), (4, []), (12 + extra, [(5, 6)])], frames, notes=notes)
    assert found == {"a": [("theft", 0, 2)], "b": [], "c": [("riot", 5, 6), ("theft", 5, 6)]}
    assert f"holds {abs(extra)} frames {'more' if extra > 0 else 'less'} than the 3 videos" in notes[0]
    assert "the last one, 'c'" in notes[0]


def test_more_than_one_snippet_is_refused_by_name(tmp_path: Path) -> None:
    frames = {"a": 8, "b": 4, "c": 12}
    with pytest.raises(
        DataError, match=r"holds 29 frames, the 3 videos 24: 5 frames are left over after the last.*'c'"
    ):
        read_frames(tmp_path, [(8, []), (4, []), (17, [])], frames)
    with pytest.raises(
        DataError, match=r"holds 19 frames, .* 24: it ends 5 frames before the end of 'c'\. Up to one sn"
    ):
        read_frames(tmp_path, [(8, []), (4, []), (7, [])], frames)
    with pytest.raises(
        DataError, match=r"holds 8 frames, .*: it ends 4 frames before the end of 'b', and 'c' have none"
    ):
        read_frames(tmp_path, [(8, [])], frames)


def test_an_array_of_another_list_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="video 'b' is labelled normal, but 1 frames at its place"):
        read_frames(tmp_path, [(8, []), (5, [(4, 5)]), (11, [])], FRAMES)
    with pytest.raises(UnknownVideos, match="none of its 2 ids"):
        read_frames(tmp_path, [(8, [])], FRAMES, "x 4 theft 0 1\ny 4 theft 0 1\n")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full(24, 2), "values other than 0 and 1"),
        (np.full(24, np.nan), "values other than 0 and 1"),
        (np.zeros((24, 1)), r"got float64 \(24, 1\), expected one number a frame"),
        (np.array(["0"] * 24), "got <U1"),
        (np.zeros(24, complex), "got complex128"),
    ],
)
def test_arrays_that_are_no_truth(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "gt.npy", array)
    (tmp_path / "order").write_text("a\nb\nc\n")
    grids = {video: TimeGrid(Fraction(10), count, 4) for video, count in FRAMES.items()}
    with pytest.raises(DataError, match=message):
        read_truth(tmp_path / "gt.npy", RECORDS, grids, None, tmp_path / "order")


def test_damaged_arrays_and_missing_lists(tmp_path: Path) -> None:
    path = tmp_path / "gt.npy"
    np.save(path, np.zeros(24))
    with pytest.raises(UsageError, match="names no videos; pass the list whose order it follows"):
        read_truth(path, RECORDS, {})
    path.write_bytes(path.read_bytes()[:-8])
    (tmp_path / "order").write_text("a\n")
    with pytest.raises(DataError, match=r"not a plain \.npy array"):
        read_truth(path, RECORDS, {}, None, tmp_path / "order")
    with pytest.raises(UsageError, match="No such file"):
        read_truth(tmp_path / "none.npy", RECORDS, {})


# --- segments


@pytest.mark.parametrize(
    ("segments", "names", "message"),
    [
        ([[["1", "2"]]], [["theft", "theft"]], "video 'a': expected as many labels as segments"),
        ([[["1"]]], [["theft"]], "video 'a': a segment that is not two frames"),
        ([["12"]], [["theft"]], "video 'a': a segment that is not two frames"),
        ([[["-1", "2"]]], [["theft"]], "video 'a': a segment that is not two frames"),
        ([[["5", "2"]]], [["theft"]], "span 5 2: expected 0 <= start < end"),
        ([[["1", "2"]]], [["murder"]], "category: got 'murder'"),
        ([[[0, 8]]], [["A"]], "video 'a': frames 0 to 8 are normal; expected that of whole normal videos only"),
        (["theft"], [["theft"]], "video 'a': expected as many labels as segments"),
    ],
)
def test_segments_that_are_wrong(tmp_path: Path, segments: list[object], names: list[object], message: str) -> None:
    for name, items in (("gt_segment.npy", segments), ("gt_label.npy", names)):
        array = np.empty(len(items), object)
        array[:] = items
        save_pickled(tmp_path / name, array)
    (tmp_path / "order").write_text("a\n")
    with pytest.raises(DataError, match=message):
        read_truth(tmp_path / "gt_segment.npy", RECORDS, {"a": TimeGrid(Fraction(10), 8)}, None, tmp_path / "order")
    (tmp_path / "gt_label.npy").unlink()
    with pytest.raises(DataError, match=r"with gt_label\*\.npy beside it; there is no gt_label\.npy"):
        read_truth(tmp_path / "gt_segment.npy", RECORDS, {"a": TimeGrid(Fraction(10), 8)}, None, tmp_path / "order")


# --- manifests


def test_a_manifest_is_ground_truth(tmp_path: Path) -> None:
    grid = TimeGrid(Fraction(10), 100)
    theft = Interval.of_frames("theft", 20, 102, TimeGrid(Fraction(25), 110))
    told = [
        VideoRecord("a", frozenset({"theft"}), (theft,), "test", 110),
        VideoRecord("b", frozenset({"normal"})),
        VideoRecord("c", frozenset({"theft"})),
    ]
    write_manifest(tmp_path / "m.jsonl", told)
    notes: list[str] = []
    found = read_truth(tmp_path / "m.jsonl", RECORDS, dict.fromkeys("abc", grid), notes, tmp_path / "order")
    assert found == {"a": (Interval("theft", 2.0, 10.0, 20, 100),), "b": ()}
    assert ["was not needed" in notes[0], "(+10)" in notes[1], "clipped: 'a'" in notes[2]] == [True] * 3
    assert "without annotation, left out: 'c'" in notes[3]
    write_manifest(tmp_path / "m.jsonl", [VideoRecord("a", frozenset({"theft"}), told[0].intervals, "test", 117)])
    with pytest.raises(DataError, match=r"'a' \(\+17\)"):
        read_truth(tmp_path / "m.jsonl", RECORDS, {"a": grid})
