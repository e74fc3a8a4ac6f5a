"""Where features lie: stores, folders of one specification, .npy with and without crops, single files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.stored_features import CLIP, OTHER_DECODER, SOUND, put, values
from tests.refused_arrays import save_pickled
from vadpipe.errors import DataError, TrackDamaged, UsageError, VadpipeError
from vadpipe.pipeline.features.sources import open_source, stored_folders
from vadpipe.store import FeatureStore, safe_name


def test_a_store_is_read_by_stream_and_digest(tmp_path: Path) -> None:
    for number, spec in enumerate((CLIP, OTHER_DECODER, SOUND)):
        put(tmp_path, "v=#1", values(number), spec)
    for number, chosen in enumerate(
        (
            open_source(tmp_path, None, CLIP.hash8),
            open_source(tmp_path, "clip", OTHER_DECODER.digest),
            open_source(tmp_path, "wav2clip"),
        )
    ):
        assert list(chosen.files) == ["v=#1"]
        np.testing.assert_array_equal(chosen.read("v=#1"), values(number))
    assert open_source(tmp_path / SOUND.folder).spec == SOUND
    with pytest.raises(UsageError, match=f"choose by --stream or --spec-hash: .*{CLIP.folder}"):
        open_source(tmp_path, "clip")
    with pytest.raises(UsageError, match=f"has no such features, only .*{SOUND.folder}"):
        open_source(tmp_path, "i3d-r50")
    assert stored_folders(tmp_path, "wav2clip") == [tmp_path / SOUND.folder]


def test_a_stale_index_hides_nothing_and_is_left_alone(tmp_path: Path) -> None:
    folder = put(tmp_path, "a", values())
    put(tmp_path, "b", values())
    (folder / "manifest.jsonl").unlink()
    assert list(open_source(folder).files) == ["a", "b"]
    assert not (folder / "manifest.jsonl").exists()


def test_a_damaged_file_is_reported_where_it_is(tmp_path: Path) -> None:
    folder = put(tmp_path, "a", values())
    path = folder / safe_name("a")
    content = bytearray(path.read_bytes())
    content[content.index(values().tobytes()[:8])] ^= 1
    path.write_bytes(content)
    with pytest.raises(TrackDamaged):
        open_source(folder).read("a")
    assert path.is_file()


def test_npy_files_are_found_at_any_depth_with_their_crops_in_order(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for crop in (1, 0):
        np.save(tmp_path / "deep" / f"a.b__{crop}.npy", values(crop))
    np.save(tmp_path / "c.npy", values(5))
    source = open_source(tmp_path)
    assert list(source.files) == ["a.b", "c"]
    np.testing.assert_array_equal(source.read("a.b"), np.stack([values(0), values(1)]))
    np.testing.assert_array_equal(source.read("c"), values(5))
    np.save(tmp_path / "deep" / "a.b__1.npy", values(1, rows=4))
    with pytest.raises(DataError, match="its crops differ"):
        source.read("a.b")
    np.save(tmp_path / "a.b__0.npy", values(0))
    with pytest.raises(DataError, match="are the same crop"):
        open_source(tmp_path)


def test_single_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a__5.npy", values())
    assert open_source(tmp_path / "a__5.npy").is_single
    stored = put(tmp_path / "store", "v", values()) / safe_name("v")
    np.testing.assert_array_equal(open_source(stored).read("v"), values())
    (tmp_path / "a.txt").touch()
    for place, message in (("a.txt", "got suffix"), ("nowhere", "does not exist")):
        with pytest.raises(UsageError, match=message):
            open_source(tmp_path / place)


def test_nothing_that_could_run_code_is_opened(tmp_path: Path) -> None:
    save_pickled(tmp_path / "a.npy", np.array([{}]))
    with pytest.raises(DataError, match="pickle"):
        open_source(tmp_path).read("a")


def test_places_without_features_are_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff.npy")).touch()  # can be no id
    for refused in (
        lambda: open_source(tmp_path),
        lambda: stored_folders(tmp_path),
        lambda: stored_folders(Path("no")),
    ):
        with pytest.raises(VadpipeError, match=r"holds n|not a folder"):
            refused()
    assert FeatureStore(tmp_path).specs() == []
