"""States of sound in the feature file: written, verified, and no burden to files that have none."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.test_sound import STATES, TRACK
from vadpipe.errors import TrackDamaged
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.track_file import _content_digest, _warnings, has_sound, read_attributes, read_grid, read_track
from vadpipe.tracks import FeatureTrack, TimeGrid


def digest_of(store: FeatureStore, track: FeatureTrack) -> str:
    return str(read_attributes(store.path(track.spec, track.video_id))[1]["content_sha256"])


def test_states_are_written_and_read(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    path = store.write(TRACK)
    read = store.read(TRACK.spec, "clip").states
    assert read is not None
    assert read.dtype == np.uint8
    assert read.tolist() == STATES.tolist()
    with h5py.File(path) as file:
        assert file["state"][()].tolist() == STATES.tolist()
        assert file.attrs["heard_rows"] == 2
    assert has_sound(read_attributes(path)[1])
    nothing = replace(TRACK, data=np.zeros_like(TRACK.data), states=np.full(5, 2, np.uint8), video_id="nothing")
    assert not has_sound(read_attributes(store.write(nothing))[1])


def test_the_digest_covers_states_and_stays_what_it_was_without_them(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    plain = FeatureTrack(
        np.arange(6, dtype=np.float32).reshape(3, 2),
        TimeGrid(Fraction(30000, 1001), 40),
        FeatureSpec("clip", 2, "test", "random:0"),
        "plain",
    )
    store.write(plain)
    # as written before there were states
    assert digest_of(store, plain) == "789ec1eae142562a6d6235c0a9fb6d2cfa66f353af2655ea42713d28d2fc511c"
    assert has_sound(read_attributes(store.path(plain.spec, "plain"))[1])
    store.write(TRACK)
    first = digest_of(store, TRACK)
    store.write(replace(TRACK, states=np.array([1, 1, 2, 3, 2], np.uint8)))
    assert digest_of(store, TRACK) != first


@pytest.mark.parametrize("what", ["changed", "removed", "added"])
def test_states_that_are_not_those_that_were_written_are_noticed(what: str, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    path = store.write(replace(TRACK, states=None) if what == "added" else TRACK)
    with h5py.File(path, "r+") as file:
        if what == "changed":
            file["state"][0] = 1
        elif what == "removed":
            del file["state"]
        else:
            file.create_dataset("state", data=STATES)
    with pytest.raises(TrackDamaged, match="does not match its digest"):
        store.read(TRACK.spec, "clip")


def test_a_variable_rate_is_written_without_a_look_at_every_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    true_second_of = TimeGrid.second_of

    def second_of(grid: TimeGrid, frame: int) -> float:
        looks.append(frame)
        return true_second_of(grid, frame)

    edges = (0.0, 0.7, 1.2, 2.0, 2.1, 2.3)
    track = replace(TRACK, grid=TimeGrid(TRACK.grid.fps, TRACK.grid.num_frames, boundaries_s=edges))
    monkeypatch.setattr(TimeGrid, "second_of", second_of)
    path = FeatureStore(tmp_path).write(track)
    assert set(looks) == {track.grid.num_frames}  # the duration
    with h5py.File(path) as file:
        assert file["pts"][()].tolist() == [*edges[:-1]]


def test_what_decoding_said_is_written_and_read(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    told = tuple("日本 🎥 \udcff\n".ljust(300, "🎥") for _ in range(10))  # the most that a track keeps
    path = store.write(replace(TRACK, warnings=told))
    assert store.read(TRACK.spec, "clip").warnings == told
    with h5py.File(path, "r+") as file:
        file.attrs["warnings"] = '["made up"]'
    with pytest.raises(TrackDamaged, match="digest"):
        store.read(TRACK.spec, "clip")
    with h5py.File(store.write(TRACK)) as file:  # as files of before warnings were kept
        assert "warnings" not in file.attrs
    assert store.read(TRACK.spec, "clip").warnings == ()


@pytest.mark.parametrize("said", ["5", "[1]", "no JSON", '{"a": "b"}'])
def test_warnings_that_are_no_texts_are_damage(said: str) -> None:
    with pytest.raises(ValueError, match=r"no list of texts|Expecting value"):
        _warnings({"warnings": said})


@pytest.mark.parametrize("fps", ["1/0", "1e999999999", "nan", "-25", "0.5", "²", "25\n"])
def test_a_rate_that_is_none_is_damage(fps: str, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    path = store.write(TRACK)
    attributes = read_attributes(path)[1] | {"fps": fps}
    with h5py.File(path, "r+") as file:
        file.attrs["fps"] = fps
        file.attrs["content_sha256"] = _content_digest(file["data"][()], file["pts"][()], STATES, attributes)
    for read in (lambda: read_track(path, TRACK.spec, "clip"), lambda: read_grid(path, "clip")):
        with pytest.raises(TrackDamaged, match=r"Fraction\(1, 0\)|fps is no rate"):
            read()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source_size", np.array([1, 2])),
        ("source_size", h5py.Empty("i")),
        ("source_sha256", 5),
        ("duration_s", "x"),
        ("vfr", "x"),
        ("id", 7),
    ],
)
def test_an_attribute_of_another_kind_is_damage(name: str, value: object, tmp_path: Path) -> None:
    path = FeatureStore(tmp_path).write(TRACK)
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value
    with pytest.raises(TrackDamaged, match=f"its {name} is no"):
        read_attributes(path)


@pytest.mark.parametrize("kind", ["soft link", "external link", "virtual", "external"])
def test_data_that_lie_elsewhere_are_damage(kind: str, tmp_path: Path) -> None:
    """Every one of them has the right values: it is the way that is refused."""
    path, other = FeatureStore(tmp_path).write(TRACK), tmp_path / "other.h5"
    other.write_bytes(path.read_bytes())
    (tmp_path / "raw").write_bytes(TRACK.data.tobytes())
    with h5py.File(path, "r+") as file:
        if kind == "soft link":
            file.move("data", "elsewhere")
            file["data"] = h5py.SoftLink("/elsewhere")
        else:
            del file["data"]
        if kind == "external link":
            file["data"] = h5py.ExternalLink(str(other), "data")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(TRACK.data.shape, np.float32)
            layout[...] = h5py.VirtualSource(str(other), "data", TRACK.data.shape)
            file.create_virtual_dataset("data", layout)
        elif kind == "external":
            external = [(str(tmp_path / "raw"), 0, TRACK.data.nbytes)]
            file.create_dataset("data", TRACK.data.shape, np.float32, external=external)
        np.testing.assert_array_equal(file["data"][()], TRACK.data)
    with pytest.raises(TrackDamaged, match="data is a link" if "link" in kind else "stored in other files"):
        read_track(path, TRACK.spec, "clip")
