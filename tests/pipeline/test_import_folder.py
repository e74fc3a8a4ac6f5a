"""Import of a folder: exact ids, the first crop, rows that fit the video, files that cost themselves, reruns."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.extractors import painted_videos
from vadpipe.errors import DataError, StoreError, UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.pipeline.importing.features import Imported
from vadpipe.pipeline.importing.folder import import_folder
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack

ROWS = np.arange(24, dtype=np.float16).reshape(3, 8)


def record(name: str = "v=#1", frames: int | None = 40) -> VideoRecord:
    return VideoRecord(name, frozenset({"normal"}), num_frames=frames, fps=Fraction(25))


def test_of_several_crops_the_first_is_taken_and_the_rest_is_said(tmp_path: Path) -> None:
    for crop in range(3):
        np.save(tmp_path / f"v=#1__{crop}.npy", ROWS + crop)
    store = FeatureStore(tmp_path / "store")
    summary = import_folder(tmp_path, store, [record(), record("other")], "made")
    assert (summary.done, summary.missing) == (["v=#1"], {"other": "other.npy"})
    assert "2 files of further crops" in summary.notes[0]
    np.testing.assert_array_equal(store.read(summary.spec, "v=#1").data, ROWS)
    assert (summary.spec.geometry, summary.spec.decoder) == ("", "")  # stores of earlier versions stay valid


def test_the_first_crop_is_one_number_for_all_videos(tmp_path: Path) -> None:
    """Rows of different crops are different features, so they must not stand under one specification."""
    for name, crops in (("a", (3, 5)), ("b", (5,)), ("c", (3,)), ("unlabelled", (0,))):
        for crop in crops:
            np.save(tmp_path / f"{name}__{crop}.npy", ROWS + crop)
    store = FeatureStore(tmp_path / "store")
    summary = import_folder(tmp_path, store, [record(name) for name in "abc"], "made")
    assert (summary.done, summary.missing) == (["a", "c"], {"b": "b__3.npy"})
    assert summary.spec.geometry == "crops 3"
    assert "2 files of further crops were left out; crop 3 of each video is used" in summary.notes
    for name in summary.done:
        np.testing.assert_array_equal(store.read(summary.spec, name).data, ROWS + 3)


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS[:1])
    summary = import_folder(tmp_path, FeatureStore(tmp_path / "store"), [record("a", 0)], "made")
    assert summary.done == []
    assert "got 1 rows for a video of 0 frames" in summary.failed["a"]


@pytest.mark.parametrize(("rows", "frames", "kept"), [(3, 40, 3), (3, 32, 2), (3, 64, 4)])
def test_a_row_more_or_less_is_adjusted_and_said(tmp_path: Path, rows: int, frames: int, kept: int) -> None:
    np.save(tmp_path / "a.npy", ROWS[:rows])
    store = FeatureStore(tmp_path / "store")
    summary = import_folder(tmp_path, store, [record("a", frames)], "made")
    assert store.read(summary.spec, "a").data.shape == (kept, 8)
    assert len(summary.notes) == (kept != rows)


def test_a_request_that_cannot_be_is_refused(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store")
    with pytest.raises(UsageError, match="holds no"):
        import_folder(tmp_path, store, [record("a")], "made")
    np.save(tmp_path / "a.npy", ROWS)
    with pytest.raises(DataError, match="frames and fps"):
        import_folder(tmp_path, store, [record("a", None)], "made")
    for stream, message in (("clip", "vadpipe's own"), ("a b", "stream")):
        with pytest.raises(UsageError, match=message):
            import_folder(tmp_path, store, [record("a")], stream)
    (tmp_path / "a.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match="none of the 1 feature files"):
        import_folder(tmp_path, store, [record("a")], "made")


def test_bad_files_cost_themselves_wherever_they_stand(tmp_path: Path) -> None:
    names = ["0-wide", "1-nan", "2-torn", "3-long", "4-good", "5-good", "6-good"]
    for name in names:
        np.save(tmp_path / f"{name}.npy", ROWS)
    np.save(tmp_path / "0-wide.npy", np.zeros((3, 9), np.float16))
    np.save(tmp_path / "1-nan.npy", np.full((3, 8), np.nan, np.float16))
    (tmp_path / "2-torn.npy").write_bytes((tmp_path / "4-good.npy").read_bytes()[:-5])
    np.save(tmp_path / "3-long.npy", np.zeros((5, 8), np.float16))
    heard: list[tuple[Imported, int]] = []
    summary = import_folder(
        tmp_path,
        FeatureStore(tmp_path / "store"),
        [record(name) for name in names],
        "made",
        notify=lambda result, total: heard.append((result, total)),
    )
    assert summary.done == names[4:]
    reasons = ["got 9 columns, expected 8", "NaN", "truncated", "got 5 rows, expected 3"]
    assert "--stride says how many of its frames" in summary.failed["3-long"]
    for (name, text), reason in zip(summary.failed.items(), reasons, strict=True):
        assert name in text
        assert reason in text
    assert [(result.id, total) for result, total in heard] == [(name, 7) for name in names]


def test_a_rerun_imports_what_is_missing_or_changed(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store")
    names = ["a", "b", "c", "d", "e"]
    records = [record(name) for name in names]
    for name in names:
        np.save(tmp_path / f"{name}.npy", ROWS)
    spec = import_folder(tmp_path, store, records, "made").spec
    assert import_folder(tmp_path, store, records, "made").kept == names
    store.path(spec, "a").unlink()
    store.path(spec, "b").write_bytes(store.path(spec, "b").read_bytes()[:-100])
    np.save(tmp_path / "c.npy", ROWS + 1)  # as long, other content
    os.utime(tmp_path / "d.npy")  # another time, same content
    records[4] = record("e", 47)  # the same rows, another length
    summary = import_folder(tmp_path, store, records, "made")
    assert (summary.done, summary.kept) == (["a", "b", "c", "e"], ["d"])
    assert store.read(spec, "c").data[0, 0] == 1
    assert store.read(spec, "e").grid.num_frames == 47


def test_a_full_disk_stops_the_run_and_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, names = FeatureStore(tmp_path / "store"), [f"{number:02d}" for number in range(20)]
    for name in names:
        np.save(tmp_path / f"{name}.npy", ROWS)
    write = store.write
    written: list[str] = []

    def fails(track: FeatureTrack, *, mtime_ns: int = 0) -> Path:
        if len(written) == 3:
            raise StoreError("no space left")
        written.append(track.video_id)
        return write(track, mtime_ns=mtime_ns)

    monkeypatch.setattr(store, "write", fails)
    with pytest.raises(StoreError, match="no space"):
        import_folder(tmp_path, store, [record(name) for name in names], "made", jobs=1)
    assert written == names[:3]
    summary = import_folder(tmp_path, FeatureStore(store.root), [record(name) for name in names], "made")
    assert (summary.kept, summary.done) == (names[:3], names[3:])


def test_an_oddly_named_file_does_not_stop_the_others(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    for name in ("b\nc.npy", os.fsdecode(b"\xff.npy")):
        (tmp_path / name).write_bytes((tmp_path / "a.npy").read_bytes())
    summary = import_folder(tmp_path, FeatureStore(tmp_path / "store"), [record("a")], "made")
    assert (summary.done, summary.unlabelled) == (["a"], ["b\nc.npy", "\udcff.npy"])
    assert "2 files have names that can be no id" in summary.notes[0]


def test_crops_become_an_axis_and_a_lacking_one_is_named(tmp_path: Path) -> None:
    for crop in (0, 5):
        np.save(tmp_path / f"a__{crop}.npy", ROWS + crop)
    np.save(tmp_path / "b__0.npy", ROWS)
    np.save(tmp_path / "c.npy", ROWS)  # a name without a crop is crop 0
    records, store = [record(name) for name in "abc"], FeatureStore(tmp_path / "store")
    summary = import_folder(tmp_path, store, records, "made", crops="all")
    assert (summary.done, summary.missing) == (["a"], {"b": "b__5.npy", "c": "c__5.npy"})
    np.testing.assert_array_equal(store.read(summary.spec, "a").data, np.stack([ROWS, ROWS + 5]))
    assert summary.spec.geometry == "crops 0,5"
    only = import_folder(tmp_path, store, records, "made", crops="5")
    np.testing.assert_array_equal(store.read(only.spec, "a").data, ROWS + 5)
    assert only.spec.folder != summary.spec.folder
    with pytest.raises(UsageError, match="crops: got 'five'"):
        import_folder(tmp_path, store, records, "made", crops="five")
    np.save(tmp_path / "a.npy", ROWS)
    with pytest.raises(DataError, match="are the same crop"):
        import_folder(tmp_path, store, records, "made")


def test_videos_say_how_long_they_are(tmp_path: Path) -> None:
    videos = {name: painted_videos.write(tmp_path / f"{name}.mp4", frames) for name, frames in (("a", 40), ("b", 70))}
    (tmp_path / "c.mp4").write_bytes(b"no video")
    videos |= {"c": tmp_path / "c.mp4", "d": tmp_path / "d.mp4"}
    for name in "abce":
        np.save(tmp_path / f"{name}.npy", ROWS)  # 3 rows: right for 40 frames, two too few for 70
    heard: list[tuple[int, int]] = []
    store = FeatureStore(tmp_path / "store")
    summary = import_folder(
        tmp_path, store, [], "made", videos=videos, looked=lambda done, total: heard.append((done, total))
    )
    assert (summary.done, summary.missing, summary.unlabelled) == (["a"], {"d": "d.npy"}, ["e"])
    assert "got 3 rows, expected 5" in summary.failed["b"]
    assert "c.mp4" in summary.failed["c"]
    assert heard == [(1, 3), (2, 3), (3, 3)]
    grid = store.read(summary.spec, "a").grid
    assert (grid.num_frames, grid.fps) == (40, Fraction(25))

    records = [record("a", 39), record("b", 48), record("c", 40)]  # the labels are wrong about a and b
    summary = import_folder(tmp_path, store, records, "made", videos=videos)
    assert (summary.done, list(summary.failed)) == (["c"], ["b"])  # a is stored, of 40 frames
    assert "a: the labels say 39 frames, the video has 40" in summary.notes
    assert any(note.startswith("c: taken from the labels") for note in summary.notes)


def test_rows_of_a_varying_rate_keep_their_times(tmp_path: Path) -> None:
    times = [0, 40, 80, 120, 500, 540, 580, 620, 660, 700]
    video = painted_videos.write(tmp_path / "v.mkv", len(times), pts=times)
    np.save(tmp_path / "v.npy", ROWS)
    store = FeatureStore(tmp_path / "store")
    summary = import_folder(tmp_path, store, [], "timed", 4, videos={"v": video})
    assert summary.done == ["v"]
    assert store.read(summary.spec, "v").grid.boundaries_s[:3] == pytest.approx((0.0, 0.5, 0.66), abs=0.002)
    assert import_folder(tmp_path, store, [], "timed", 4, videos={"v": video}).kept == ["v"]
    labelled = import_folder(
        tmp_path, store, [VideoRecord("v", frozenset({"normal"}), (), "train", 10, Fraction(25))], "timed", 4
    )
    assert labelled.done == ["v"]  # now of a constant rate, so that it is another grid
