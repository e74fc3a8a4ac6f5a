"""The store when things go wrong around it: full and locked disks, two writers, lost permissions, odd leftovers."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests import full_disk
from tests.test_store import SPEC, track
from vadpipe import whole_file
from vadpipe.errors import StoreError, TrackDamaged, TrackMissing
from vadpipe.store import FeatureStore, safe_name
from vadpipe.track_file import read_attributes, read_track
from vadpipe.whole_file import atomic_write, is_leftover, is_temporary, make_folder, sync_folder, temporary_path

ROOT = Path(__file__).parents[1]


def test_ten_thousand_odd_ids_have_names_of_their_own() -> None:
    odd = [chr(code) for code in range(32, 1000) if chr(code) not in "/\\"]
    made = [first + second for first in odd[:100] for second in odd[::10]]
    ids = [*made, *("x" * 990 + f"{number}" for number in range(300)), "CON", "con", "..a", "a.", "-rf", "日本"]
    assert len(set(ids)) >= 9_900
    ids += [f"v=Aa#{number}_label_B1-0-0" for number in range(300)]
    names = [safe_name(name) for name in ids]
    assert len({name.lower() for name in names}) == len(set(ids)) > 10_000
    assert all(len(name) < 130 and ".." not in name and name.isascii() and name.isprintable() for name in names)


@pytest.mark.parametrize("name", ["会議室の録画" * 13 + ".json", "é" * 117 + ".json", "x" * 255, "\udcff" * 200])
def test_any_name_that_the_disk_takes_can_be_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    temporary = temporary_path(path).name
    assert len(os.fsencode(temporary)) <= 140  # disks take 255 bytes
    assert is_temporary(temporary)
    assert temporary.startswith(f".{name[:33]}")  # whole characters
    atomic_write(path, b"x")
    assert [(found.name, found.read_bytes()) for found in tmp_path.iterdir()] == [(name, b"x")]


def test_a_store_that_cannot_be_written_tells_all_its_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore(tmp_path)
    for name in ("a", "b", "c"):
        store.write(track(name))
    manifest = tmp_path / SPEC.folder / "manifest.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:2]))  # as a killed writer left it
    store.path(SPEC, "c").with_name("x-0123456789ab.h5").write_bytes(b"damaged")
    short = manifest.read_bytes()

    def refused(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", refused)
        assert store.ids(SPEC) == ["a", "b", "c"]
        with pytest.raises(StoreError, match="read-only"):
            store.rebuild_index(SPEC)
    assert manifest.read_bytes() == short
    assert store.ids(SPEC) == ["a", "b", "c"]
    assert manifest.read_bytes() != short


def test_a_disk_that_fills_up_is_one_clear_error(tmp_path: Path) -> None:
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("a small disk is made with Linux's unshare")
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-m", "tests.full_disk"]
    done = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == full_disk.NO_MOUNT or done.stderr.startswith("unshare:"):
        pytest.skip("this machine does not let its users mount a disk of their own")
    assert (done.returncode, done.stderr) == (0, "")  # HDF5 alone would end the process with a segmentation fault
    told = json.loads(done.stdout)
    assert sorted(told["ids"]) == sorted(told["written"])
    assert len(told["written"]) > 3
    assert ["no space left (disk full or over quota)" in text for text in told["said"]] == [True, True]
    assert (told["left"], told["pack"]) == ([], False)


WRITER = """if True:
    import sys
    from tests.test_store import track
    from vadpipe.store import FeatureStore
    store = FeatureStore(sys.argv[1])
    sys.stdin.readline()
    for round in range(60):
        store.write(track("clip", 16 * 50, seed=int(sys.argv[2])))
"""


def test_two_writers_on_one_id_are_harmless(tmp_path: Path) -> None:
    store, wanted = FeatureStore(tmp_path), [track("clip", 16 * 50, seed=seed).data for seed in (1, 2)]
    store.write(track("clip", 16 * 50, seed=1))
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), seed], cwd=ROOT, stdin=subprocess.PIPE)
        for seed in ("1", "2")
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    seen, reads = set(), 0
    while any(writer.poll() is None for writer in writers):
        data = store.read(SPEC, "clip").data
        (which,) = (number for number, rows in enumerate(wanted) if np.array_equal(rows, data))
        seen.add(which)
        reads += 1
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert reads > 5
    assert seen == {0, 1}
    assert sorted(path.name for path in (tmp_path / SPEC.folder).iterdir())[1:] == ["manifest.jsonl"]
    assert [path.name for path in tmp_path.rglob("*.h5")] == [safe_name("clip").partition("/")[2]]
    assert list(tmp_path.rglob("*.tmp")) == []
    assert store.ids(SPEC) == ["clip"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (OSError(errno.EIO, "read failed: time = now, a long story"), "Input/output error"),
        (OSError(errno.ENOLCK, "no locks"), "No locks available"),
        (MemoryError(), "not enough memory"),
    ],
)
def test_a_file_that_cannot_be_read_now_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    store = FeatureStore(tmp_path)
    path = store.write(track())

    def refused(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(h5py, "File", refused)
        for read in (lambda: store.read(SPEC, "clip-1"), lambda: store.grid(SPEC, "clip-1")):
            with pytest.raises(StoreError, match=f"cannot read .*{said}$") as raised:
                read()
            assert not isinstance(raised.value, TrackDamaged)
        with pytest.raises(StoreError, match=said):
            store.stored(SPEC, "clip-1")  # no silent second extraction
    assert path.is_file()
    assert store.read(SPEC, "clip-1").video_id == "clip-1"


def test_a_file_that_goes_while_it_is_read_is_missing(tmp_path: Path) -> None:
    path = FeatureStore(tmp_path).write(track())
    path.unlink()
    with pytest.raises(TrackMissing, match="is gone"):
        read_track(path, SPEC, "clip-1")
    with pytest.raises(TrackMissing, match="is gone"):
        read_attributes(path)


def test_a_damaged_file_that_was_replaced_meanwhile_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(tmp_path)
    path = store.write(track())
    good = path.read_bytes()
    path.write_bytes(b"half")
    true_read, reads = read_track, list[str]()

    def read(*arguments: Any) -> Any:
        reads.append("read")
        try:
            return true_read(*arguments)
        finally:
            if len(reads) == 1:  # another process has just finished
                path.unlink()
                path.write_bytes(good)

    monkeypatch.setattr("vadpipe.store.read_track", read)
    assert store.read(SPEC, "clip-1").video_id == "clip-1"
    assert len(reads) == 2
    assert not (tmp_path / SPEC.folder / "quarantine").exists()


def test_a_damaged_file_that_cannot_be_moved_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore(tmp_path)
    path = store.write(track())
    path.write_bytes(b"half")

    def read_only(*_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "replace", read_only)
    with pytest.raises(StoreError, match=r"is damaged, and cannot be moved to .*read-only disk"):
        store.read(SPEC, "clip-1")


def test_a_damaged_first_file_does_not_hide_a_specification(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    for name in ("a", "b", "c"):
        store.write(track(name))
    sorted((tmp_path / SPEC.folder).glob("??/*.h5"))[0].write_bytes(b"half")
    for path in (tmp_path / SPEC.folder).glob("??"):
        assert path.is_dir()
    assert store.specs() == [SPEC]


@pytest.mark.parametrize(
    "line", ['{"id": ["x"]}', "[1]", "\x00\x00", '{"id": 1, "file": 2}', "\xff", "[" * 100_000, '"text"']
)
def test_a_damaged_index_is_only_an_index(tmp_path: Path, line: str) -> None:
    store = FeatureStore(tmp_path)
    store.write(track("a"))
    index = tmp_path / SPEC.folder / "manifest.jsonl"
    index.write_bytes(line.encode("latin-1") + b"\n" + index.read_bytes())
    assert set(store.index(SPEC)) == {"a"}
    index.write_bytes(line.encode("latin-1"))
    assert store.ids(SPEC) == ["a"]


def test_ids_of_the_wrong_kind_are_not_in_the_index(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write(track("a"))
    index = tmp_path / SPEC.folder / "manifest.jsonl"
    told = json.loads(index.read_text())
    index.write_text("".join(json.dumps({**told, "id": wrong}) + "\n" for wrong in (5, ["a"], {"a": 1}, None)))
    assert store.index(SPEC) == {}
    assert store.ids(SPEC) == ["a"]


def test_only_names_of_the_dead_are_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = temporary_path(tmp_path / "x.h5").name
    assert is_temporary(name)
    assert not is_leftover(name), "this process lives"
    code = "from pathlib import Path; from vadpipe.whole_file import temporary_path; print(temporary_path(Path('x')))"
    dead = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert is_leftover(dead.stdout.strip())
    assert not is_temporary(".config.json.tmp")
    assert not is_temporary(".swp.tmp")
    assert len(temporary_path(tmp_path / ("n" * 240 + ".npz")).name) < 200
    monkeypatch.setattr(whole_file, "_machine", lambda: "01234567")  # another machine, or this one before it started
    assert is_temporary(dead.stdout.strip())
    assert not is_leftover(dead.stdout.strip())


def test_a_folder_that_cannot_be_synced_is_not_an_error_of_the_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(number: int) -> None:
        def sync(_handle: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", sync)

    refuse(errno.EINVAL)  # as some network disks answer for folders
    sync_folder(tmp_path)
    refuse(errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        sync_folder(tmp_path)
    with pytest.raises(StoreError, match=r"cannot write .*Input/output error"):
        atomic_write(tmp_path / "x", b"1")
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made_down_to_the_last(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        make_folder(tmp_path / "file" / "b")
