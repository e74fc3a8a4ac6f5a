"""The feature store: whole or not there, never half."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest

from vadpipe.errors import StoreError, TrackDamaged, TrackMissing
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore, safe_name
from vadpipe.tracks import FeatureTrack, TimeGrid

SPEC = FeatureSpec("clip", 8, "test", "random:0")
ODD_IDS = ["v=Aa#1_label_B1-0-0", "a.b..c", "-rf", "日本", "x" * 900, "A", "a", "CON", "sp ace", "%41", "tab\u2028"]


def track(name: str = "clip-1", frames: int = 40, *, crops: int = 0, vfr: bool = False, seed: int = 0) -> FeatureTrack:
    rows = -(-frames // 16)
    shape = (crops, rows, 8) if crops else (rows, 8)
    data = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    boundaries = tuple(np.cumsum(np.arange(rows + 1) + 0.5)) if vfr else ()
    grid = TimeGrid(Fraction(30000, 1001), frames, 16, boundaries)
    return FeatureTrack(data, grid, SPEC, name, 123, "ab" * 32, 2)


@pytest.mark.parametrize("made", [track(), track(frames=1), track(frames=0), track(crops=3), track(vfr=True)])
def test_what_is_written_is_read(tmp_path: Path, made: FeatureTrack) -> None:
    store = FeatureStore(tmp_path)
    store.write(made)
    read = store.read(SPEC, made.video_id)
    assert np.array_equal(read.data, made.data)
    assert (read.grid, read.spec, read.video_id) == (made.grid, made.spec, made.video_id)
    assert (read.source_size, read.source_sha256, read.corrupt_packets) == (123, "ab" * 32, 2)


def test_file_holds_what_the_docs_promise(tmp_path: Path) -> None:
    path = FeatureStore(tmp_path).write(track())
    assert path.relative_to(tmp_path).parts[0] == f"clip-{SPEC.hash8}"
    with h5py.File(path) as file:
        assert set(file) == {"data", "frame_index", "pts"}
        assert file["frame_index"][()].tolist() == [0, 16, 32]
        assert file["data"].fletcher32
        assert file.attrs["complete"]
        np.testing.assert_allclose(file["pts"][()], np.array([0, 16, 32]) * 1001 / 30000)


def test_odd_ids_are_kept_apart_inside_the_store(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    for name in ODD_IDS:
        store.write(track(name))
    assert store.ids(SPEC) == sorted(ODD_IDS)
    names = [safe_name(name) for name in ODD_IDS]
    assert len({name.lower() for name in names}) == len(ODD_IDS)
    assert all(len(name) < 130 and ".." not in name and name.isascii() for name in names)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".h5"]
    assert len(files) == len(ODD_IDS)


def test_missing_is_said(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "nowhere")
    assert store.specs() == []
    assert store.ids(SPEC) == []
    assert store.stored(SPEC, "clip-1") is None
    with pytest.raises(TrackMissing, match="vadpipe extract"):
        store.read(SPEC, "clip-1")


def _flip(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "data", "attribute", "incomplete"])
def test_damaged_files_go_to_quarantine(tmp_path: Path, damage: str) -> None:
    store = FeatureStore(tmp_path)
    path = store.write(track())
    content = path.read_bytes()
    if damage in ("data", "cut", "empty", "text"):
        raw = track().data.tobytes()[:16]
        changed = {
            "cut": content[: len(content) // 2],
            "empty": b"",
            "text": b"not hdf5",
            "data": _flip(content, content.index(raw)),
        }[damage]
        path.write_bytes(changed)
    else:
        with h5py.File(path, "r+") as file:
            if damage == "attribute":
                file.attrs["num_frames"] = 41
            else:
                del file.attrs["complete"]
    with pytest.raises(TrackDamaged, match="quarantine"):
        store.read(SPEC, "clip-1")
    assert not path.exists()
    assert len(list((tmp_path / SPEC.folder / "quarantine").iterdir())) == 1
    store.write(track())
    assert store.ids(SPEC) == ["clip-1"]


def test_a_file_under_another_name_is_refused(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    path = store.write(track("a"))
    target = store.path(SPEC, "b")
    target.parent.mkdir(exist_ok=True)
    path.replace(target)
    with pytest.raises(TrackDamaged, match="another id"):
        store.read(SPEC, "b")


def test_equal_tracks_make_equal_bytes(tmp_path: Path) -> None:
    first = FeatureStore(tmp_path / "a").write(track())
    second = FeatureStore(tmp_path / "b").write(track())
    assert first.read_bytes() == second.read_bytes()


def test_index_survives_loss_and_torn_lines(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    for name in ("a", "b"):
        store.write(track(name), mtime_ns=7)
    manifest = tmp_path / SPEC.folder / "manifest.jsonl"
    manifest.write_text(manifest.read_text()[:-30])
    store.write(track("c"))
    assert set(store.index(SPEC)) == {"a", "c"}
    assert store.ids(SPEC) == ["a", "b", "c"]
    assert store.index(SPEC)["a"].mtime_ns == 7
    manifest.unlink()
    assert store.ids(SPEC) == ["a", "b", "c"]


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    path = store.write(track())
    code = (
        "import sys; from pathlib import Path; from vadpipe.whole_file import temporary_path;"
        "temporary_path(Path(sys.argv[1])).write_bytes(b'half')"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    alive = path.with_name(f".{path.name}.00000000.{os.getpid()}.tmp")
    alive.write_bytes(b"somebody else's")
    assert store.clean() == 1
    assert [item.name for item in path.parent.iterdir() if item.name.startswith(".")] == [alive.name]


def test_unwritable_folder_is_one_clear_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(StoreError, match="cannot write"):
        FeatureStore(blocked / "features").write(track())


def test_specs_lists_what_is_there(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write(track())
    (tmp_path / "empty-folder").mkdir()
    assert store.specs() == [SPEC]
