"""HDF5 files that point elsewhere, swell, or claim what they do not hold: no features, and no memory for them."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.pipeline.stored_features import CLIP, put, values
from vadpipe import track_file
from vadpipe.errors import StoreError, TrackDamaged, TrackMissing
from vadpipe.pipeline.storing.files import check_file
from vadpipe.track_file import _claimed, read_attributes, read_grid, read_track

SECRET = np.arange(24, dtype=np.float32).reshape(3, 8) + 0.5


@pytest.fixture
def track(tmp_path: Path) -> Path:
    put(tmp_path / "store", "v", values())
    return next((tmp_path / "store").rglob("*.h5"))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A file that somebody else can read, in the form of features."""
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["data"] = SECRET
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    return path


def replaced(file: h5py.File, make: Callable[[h5py.File], object], name: str = "data") -> None:
    del file[name]
    make(file)


def refused(path: Path) -> str:
    with pytest.raises(TrackDamaged) as caught:
        read_track(path, CLIP, "v")
    with pytest.raises(TrackDamaged):
        check_file(path, f"{path.parent.parent.name}/{path.parent.name}/{path.name}")
    assert len(str(caught.value)) < 600
    return str(caught.value)


def test_what_is_elsewhere_could_be_read_by_plain_h5py(track: Path, elsewhere: Path) -> None:
    """Else the tests below would show nothing."""
    with h5py.File(track, "r+") as file:
        replaced(file, lambda file: file.__setitem__("data", h5py.ExternalLink(str(elsewhere), "data")))
    with h5py.File(track) as file:
        assert np.array_equal(file["data"][()], SECRET)


@pytest.mark.parametrize("kind", ["external link", "soft link", "virtual", "external storage", "a link in between"])
@pytest.mark.parametrize("name", ["data", "pts", "frame_index"])
def test_data_that_lie_elsewhere_are_refused(track: Path, elsewhere: Path, kind: str, name: str) -> None:
    def make(file: h5py.File) -> None:
        if kind == "external link":
            file[name] = h5py.ExternalLink(str(elsewhere), "data")
        elif kind == "soft link":
            file["other"] = SECRET
            file[name] = h5py.SoftLink("/other")
        elif kind == "a link in between":
            file["far"] = h5py.ExternalLink(str(elsewhere), "/")
            file[name] = h5py.SoftLink("/far/data")
        elif kind == "virtual":
            layout = h5py.VirtualLayout(SECRET.shape, "f4")
            layout[:] = h5py.VirtualSource(str(elsewhere), "data", SECRET.shape)
            file.create_virtual_dataset(name, layout)
        else:
            place = [(str(elsewhere.with_suffix(".bin")), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset(name, SECRET.shape, "f4", external=place)

    with h5py.File(track, "r+") as file:
        replaced(file, make, name)
    read = (lambda: check_file(track, "")) if name == "frame_index" else (lambda: read_track(track, CLIP, "v"))
    with pytest.raises(TrackDamaged, match=r"is a link|other files"):
        read()


def test_the_whole_file_may_be_a_link_but_not_to_a_device(tmp_path: Path, track: Path) -> None:
    for target in ("/dev/zero", "/dev/null", "/etc/passwd", "nowhere"):
        link = tmp_path / f"{target.strip('/').replace('/', '-')}.h5"
        link.symlink_to(target)
        with pytest.raises((TrackDamaged, TrackMissing, StoreError)):
            read_attributes(link)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda file: file.create_dataset("data", data=np.zeros((3, 8), "f4"), compression="gzip"), "claims"),
        (lambda file: file.create_dataset("data", (10**6, 10**6), "f4", chunks=(1, 1000)), "claims"),
        (lambda file: file.create_dataset("data", (3, 8), "f4", chunks=(3, 8)), "claims"),
        (lambda file: file.create_dataset("data", data=["a"], dtype=h5py.string_dtype()), "no array of numbers"),
        (lambda file: file.create_dataset("data", (3,), h5py.vlen_dtype(np.float32)), "no array of numbers"),
        (lambda file: file.create_dataset("data", (3,), h5py.ref_dtype), "no array of numbers"),
        (lambda file: file.create_dataset("data", data=h5py.Empty("f4")), "damaged"),
        (lambda file: file.create_group("data"), "no array of numbers"),
        (lambda file: file.__setitem__("data", file["/"]), "no array of numbers"),
        (lambda file: file.__setitem__("data", np.dtype("f4")), "no array of numbers"),
        (lambda file: file.create_dataset("data", data=np.zeros((3, 8), [("a", "f4")])), "damaged|digest"),
        (lambda file: None, "damaged"),
    ],
)
def test_data_of_another_kind_are_refused(track: Path, make: Callable[[h5py.File], object], said: str) -> None:
    with h5py.File(track, "r+") as file:
        replaced(file, make)
    with pytest.raises(TrackDamaged, match=said):
        read_track(track, CLIP, "v")


def test_a_small_file_does_not_unpack_a_large_chunk(track: Path) -> None:
    """A chunk of zeros packs to a thousandth, and is unpacked whole for one value of it."""
    with h5py.File(track, "r+") as file:
        options = {"chunks": (1 << 12, 1 << 12), "maxshape": (None, None), "compression": "gzip", "dtype": "f4"}
        replaced(file, lambda file: file.create_dataset("data", (3, 8), **options).write_direct(values()))
        assert file["data"].id.get_storage_size() > file["data"].nbytes  # so a look at its length alone lets it pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "lies in chunks" in refused(track)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30 << 10


def test_a_filter_that_is_not_there_is_damage(track: Path) -> None:
    with h5py.File(track, "r+") as file:
        del file["data"]
        kind = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        kind.set_chunk((3, 8))
        kind.set_filter(32_001, h5py.h5z.FLAG_OPTIONAL, (1, 2))  # a plug-in's number
        space = h5py.h5s.create_simple((3, 8))
        dataset = h5py.h5d.create(file.id, b"data", h5py.h5t.IEEE_F32LE, space, kind)
        dataset.write_direct_chunk((0, 0), b"x" * 96)
    assert "damaged" in refused(track)


@pytest.mark.parametrize(
    "read", [read_attributes, lambda path: read_track(path, CLIP, "v"), lambda path: read_grid(path, "v")]
)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: [file.attrs.__setitem__(f"x{number}", 1) for number in range(200)], "attributes"),
        (lambda file: file.attrs.__setitem__("id", np.array(["a", "b"], object)), "id is no text"),
        (lambda file: file.attrs.__setitem__("id", h5py.Empty("f4")), "damaged"),
        (lambda file: file.attrs.__setitem__("id", 7), "id is no text"),
        (lambda file: file.attrs.__setitem__("num_frames", "7"), "num_frames is no number"),
        (lambda file: file.attrs.__setitem__("complete", "True"), "not a complete"),
        (lambda file: file.attrs.__delitem__("spec"), "spec is no text"),
    ],
)
def test_attributes_of_another_kind_are_refused(
    track: Path, read: Callable[[Path], object], change: Callable[[h5py.File], object], said: str
) -> None:
    with h5py.File(track, "r+") as file:
        change(file)
    with pytest.raises(TrackDamaged, match=said):
        read(track)


def test_attributes_that_claim_more_than_the_file_are_refused(track: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 as it is finds most of these itself, and says so in its own words; this does not rely on it."""
    with h5py.File(track) as file:
        assert [_claimed(file.attrs.get_id(name)) for name in ("num_frames", "complete")] == [8, 1]
        most = file.id.get_filesize() // len(file.attrs)
    monkeypatch.setattr(track_file, "_claimed", lambda _: most)
    read_attributes(track)
    monkeypatch.setattr(track_file, "_claimed", lambda _: most + 1)
    for read in (read_attributes, lambda path: read_track(path, CLIP, "v"), lambda path: read_grid(path, "v")):
        with pytest.raises(TrackDamaged, match="claim more than it holds"):
            read(track)


@pytest.mark.parametrize("spec", ["[" * 60_000, "9" * 5000, '{"stream": 1, "stream": 2}', "null", '"x"', "{}"])
def test_a_specification_is_parsed_under_limits(track: Path, spec: str) -> None:
    with h5py.File(track, "r+") as file:
        file.attrs["spec"] = spec
    with pytest.raises(TrackDamaged):
        read_attributes(track)


def test_bytes_that_are_no_hdf5_are_damage(track: Path) -> None:
    content = track.read_bytes()
    for changed in (b"", b"\x89HDF\r\n\x1a\n", content[:-100], content[:600], content[8:]):
        track.write_bytes(changed)
        with pytest.raises(TrackDamaged):
            read_track(track, CLIP, "v")
