"""Outputs whose place is taken: by a link, a pipe, a folder. Only the name itself is replaced, whatever it led to.

What is promised: a file appears by a rename onto its own name. So a link of that name is replaced and what it led to
stays as it is; pipes, sockets, devices and folders are refused; a folder that is a link is followed, since the user
named it. Temporary names, which can be guessed, are made anew and never opened through what somebody put there.
"""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.detected import CALIBRATION, made_detection, small_head
from tests.pipeline.stored_features import put, values
from vadpipe.errors import StoreError, UsageError, VadpipeError
from vadpipe.extractors.media_task import Appearing
from vadpipe.manifest import VideoRecord, write_manifest
from vadpipe.models.checkpoint import save_head
from vadpipe.pipeline.calibrating.file import write_calibration
from vadpipe.pipeline.detecting.report import write_report
from vadpipe.pipeline.exports import EXPORTERS
from vadpipe.pipeline.exports.frames import write_frames
from vadpipe.pipeline.pages.report import ReportEntry, write_html
from vadpipe.pipeline.pages.timeline import draw_timeline
from vadpipe.pipeline.project import clear_run
from vadpipe.pipeline.quarantine import QUARANTINE_FILE, Quarantine
from vadpipe.pipeline.storing.shard import member_of, write_shard
from vadpipe.pipeline.storing.unpack import unpack
from vadpipe.store import MANIFEST, FeatureStore
from vadpipe.whole_file import append_line, atomic_write, open_new, temporary_path

TREASURE = b"not to be touched"
Write = Callable[[Path], object]


def _head(path: Path) -> None:
    save_head(path.parent, small_head())


def _media(path: Path) -> None:
    source = path.with_name("source.mp4")
    source.write_bytes(b"x")
    appearing = Appearing(path, source)
    try:
        appearing.temporary.write_bytes(b"video")
        appearing.settle()
    finally:
        appearing.discard()


def _shard(path: Path) -> None:
    store = path.parent / "packed"
    put(store, "v", values())
    places = [str(file.relative_to(store)) for file in store.rglob("*.h5")]
    write_shard(path, store, [member_of(store, place) for place in places])


def _picture(path: Path) -> None:
    found = made_detection()
    draw_timeline(path, found.scores, list(found.intervals))


def _export(path: Path) -> None:
    ((_, content),) = EXPORTERS["csv"].files([made_detection()])
    atomic_write(path, content)


WRITERS: dict[str, tuple[str, Write]] = {
    "any file": ("x", lambda path: atomic_write(path, b"new")),
    "--out": ("x.json", lambda path: write_report(made_detection(), path)),
    "--frames": ("x.npz", lambda path: write_frames(made_detection(), path)),
    "--export": ("x.csv", _export),
    "--html": ("x.html", lambda path: write_html([ReportEntry(None, made_detection())], path)),
    "--picture": ("x.png", _picture),
    "--clips, --overlay": ("x.mp4", _media),
    "labels": ("manifest.jsonl", lambda path: write_manifest(path, [VideoRecord("v", frozenset({"x"}))])),
    "calibration": ("calibration.json", lambda path: write_calibration(path, CALIBRATION)),
    "checkpoint": ("config.json", _head),
    "model card": ("README.md", _head),
    "weights of a head": ("model.safetensors", _head),
    "pack": ("shard-00000.tar", _shard),
}


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    path = tmp_path / "treasure"
    path.write_bytes(TREASURE)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("writer", WRITERS)
def test_a_link_to_a_device_or_pipe_stays(out: Path, writer: str) -> None:
    """As ``/dev/stdout`` is one, which root would replace for all others."""
    name, write = WRITERS[writer]
    os.mkfifo(out / "pipe")
    for place in (Path("/dev/null"), out / "pipe"):
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(place)
        with pytest.raises(VadpipeError, match="pipe, socket or device"):
            write(out / name)
        assert (out / name).readlink() == place


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", ["link", "dangling link", "loop", "hard link"])
def test_a_link_is_replaced_and_never_written_through(out: Path, treasure: Path, writer: str, kind: str) -> None:
    name, write = WRITERS[writer]
    path = out / name
    if kind == "hard link":
        os.link(treasure, path)
    else:
        path.symlink_to({"link": treasure, "dangling link": out / "nowhere", "loop": path}[kind])
    write(path)
    assert treasure.read_bytes() == TREASURE
    assert not (out / "nowhere").exists()
    assert path.is_file()
    assert not path.is_symlink()
    assert path.stat().st_ino != treasure.stat().st_ino
    assert not list(out.rglob("*.tmp"))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", ["pipe", "socket", "folder"])
def test_what_is_no_file_is_refused_and_stays(
    out: Path, writer: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, write = WRITERS[writer]
    path = out / name
    monkeypatch.chdir(out)  # names of sockets are short
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
        (path / "kept").touch()
    else:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(name)
    before = path.lstat()
    with pytest.raises((VadpipeError, OSError), match=r"never replaced|folder|directory|Directory|cannot be|another"):
        write(path)
    assert path.lstat().st_ino == before.st_ino
    assert not list(out.glob("*.tmp"))
    assert not list(out.glob(".*.tmp"))


@pytest.mark.parametrize("writer", WRITERS)
def test_a_folder_that_is_a_link_is_followed(tmp_path: Path, out: Path, writer: str) -> None:
    name, write = WRITERS[writer]
    (tmp_path / "link").symlink_to(out)
    write(tmp_path / "link" / name)
    assert (out / name).is_file()


@pytest.mark.parametrize("kind", ["link", "dangling link", "hard link", "pipe"])
@pytest.mark.parametrize("writer", ["any file", "labels", "pack", "--clips, --overlay"])
def test_a_temporary_name_that_was_guessed_leads_nowhere(out: Path, treasure: Path, writer: str, kind: str) -> None:
    """Of a shared folder: whoever may write in it knows the names that a process will use."""
    name, write = WRITERS[writer]
    path = out / name
    guessed = temporary_path(path)
    if writer == "--clips, --overlay":
        source = out / "source.mp4"
        source.write_bytes(b"x")
        first = Appearing(path, source)
        guessed = first.temporary
        first.discard()
    if kind == "pipe":
        os.mkfifo(guessed)
    elif kind == "hard link":
        os.link(treasure, guessed)
    else:
        guessed.symlink_to(treasure if kind == "link" else out / "nowhere")
    write(path)
    assert treasure.read_bytes() == TREASURE
    assert not (out / "nowhere").exists()
    assert path.is_file()
    assert not path.is_symlink()


def test_a_name_that_comes_back_between_is_an_error(out: Path, treasure: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = out / "t"
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: temporary.symlink_to(treasure))
    with pytest.raises(FileExistsError):
        open_new(temporary)
    assert treasure.read_bytes() == TREASURE


class TestStore:
    def test_a_track_replaces_a_link_of_its_name(self, out: Path, treasure: Path) -> None:
        put(out, "v", values())
        path = next(out.rglob("*.h5"))
        path.unlink()
        path.symlink_to(treasure)
        put(out, "v", values())
        assert treasure.read_bytes() == TREASURE
        assert not path.is_symlink()

    @pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
    def test_an_index_that_is_no_file_is_refused(self, out: Path, treasure: Path, kind: str) -> None:
        folder = put(out, "v", values())
        index = folder / MANIFEST
        index.unlink()
        if kind == "pipe":
            os.mkfifo(index)
        else:
            index.symlink_to(treasure if kind == "link" else out / "nowhere")
        with pytest.raises(StoreError, match="cannot"):
            put(out, "w", values(1))
        assert treasure.read_bytes() == TREASURE
        assert not (out / "nowhere").exists()

    def test_a_line_is_appended_whole(self, out: Path) -> None:
        path = out / "x"
        append_line(path, "a\n")
        append_line(path, "b")
        append_line(path, "c\n")
        assert path.read_text() == "a\nb\nc\n"

    def test_a_guessed_temporary_track_leads_nowhere(self, out: Path, treasure: Path) -> None:
        put(out, "v", values())
        path = next(out.rglob("*.h5"))
        temporary_path(path).symlink_to(treasure)
        put(out, "v", values(1))
        assert treasure.read_bytes() == TREASURE

    @pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
    def test_a_temporary_name_that_unpacking_uses_leads_nowhere(
        self, tmp_path: Path, out: Path, treasure: Path, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, target = tmp_path / "packed", FeatureStore(out)
        put(store, "v", values())
        (place,) = (str(file.relative_to(store)) for file in store.rglob("*.h5"))
        write_shard(tmp_path / "shard-00000.tar", store, [member_of(store, place)])
        (out / place).parent.mkdir(parents=True)
        guessed = temporary_path(out / place)
        if kind == "pipe":
            os.mkfifo(guessed)
        else:
            guessed.symlink_to(treasure if kind == "link" else tmp_path / "nowhere")
        monkeypatch.setattr(FeatureStore, "clean", lambda *_, **__: 0)  # the name appears after the cleaning
        assert unpack([tmp_path / "shard-00000.tar"], target).done == 1
        assert treasure.read_bytes() == TREASURE
        assert not (tmp_path / "nowhere").exists()
        assert (out / place).read_bytes() == (store / place).read_bytes()
        assert not (out / place).is_symlink()

    @pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
    def test_a_list_of_quarantine_that_is_no_file_is_refused(self, out: Path, treasure: Path, kind: str) -> None:
        quarantine, path = Quarantine(out), out / QUARANTINE_FILE
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(treasure if kind == "link" else out / "nowhere")
        with pytest.raises(StoreError, match="cannot write"):
            quarantine.add(out / "v.mp4", "died", 3)
        assert treasure.read_bytes() == TREASURE
        assert not (out / "nowhere").exists()

    def test_a_torn_line_of_quarantine_costs_itself(self, out: Path) -> None:
        (out / QUARANTINE_FILE).write_text('{"id": "torn')
        Quarantine(out).add(out / "v.mp4", "died", 3)
        assert (out / QUARANTINE_FILE).read_text().count("\n") == 2
        assert list(Quarantine(out).passed_over([out / "v.mp4"])) == [out / "v.mp4"]

    def test_places_that_are_folders_or_closed_are_one_error(self, out: Path) -> None:
        put(out, "v", values())
        path = next(out.rglob("*.h5"))
        path.unlink()
        path.mkdir()
        with pytest.raises(StoreError, match="cannot"):
            put(out, "v", values())
        assert FeatureStore(out).root.is_dir()


def test_restart_does_not_empty_what_a_link_leads_to(tmp_path: Path, out: Path) -> None:
    (out / "config.json").write_text("{}")
    link = tmp_path / "run"
    link.symlink_to(out)
    with pytest.raises(UsageError, match="is a link"):
        clear_run(link)
    assert (out / "config.json").is_file()
    clear_run(out)
    assert not out.exists()


def test_a_device_is_never_replaced(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root could replace a device")
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | 0o020000, os.makedev(1, 3))
    except OSError:
        pytest.skip("no rights to make a device here")
    with pytest.raises(StoreError, match="never replaced"):
        atomic_write(device, b"x")
    with pytest.raises(UsageError, match="never replaced"):
        write_manifest(device, [])
    assert device.is_char_device()


def test_writers_side_by_side_do_not_take_each_others_names(out: Path) -> None:
    path = out / "x"
    contents = [bytes([number]) * 1000 for number in range(8)]
    threads = [threading.Thread(target=atomic_write, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents
    assert [entry.name for entry in out.iterdir()] == ["x"]


def test_arrays_beside_a_result_hold_no_objects(out: Path) -> None:
    write_report(made_detection(), out / "x.json")
    content = (out / "x.scores.npz").read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        assert set(arrays) == {"anomaly", "categories", "labels", "notes"}
        assert all(not arrays[name].dtype.hasobject for name in arrays)
