"""Packs: the same bytes there and back, and nothing of a bad one gets into a store."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.test_store import ODD_IDS, SPEC, track
from vadpipe.errors import StoreError, UsageError
from vadpipe.pipeline.storing import shard as pack_shard
from vadpipe.pipeline.storing.files import is_place, places, spec_folders
from vadpipe.pipeline.storing.pack import files_to_pack, pack_store, read_pack
from vadpipe.pipeline.storing.shard import Member, Shard, member_of, write_shard
from vadpipe.pipeline.storing.unpack import UnpackSummary, shards_of, unpack
from vadpipe.pipeline.storing.verify import verify
from vadpipe.store import FeatureStore, safe_name


def filled(root: Path, names: list[str] | None = None) -> FeatureStore:
    store = FeatureStore(root)
    for name in names or ["a", "b", "c"]:
        store.write(track(name))
    return store


def packed(store: FeatureStore, out: Path, shard_bytes: int = 1 << 30) -> Path:
    pack_store(store.root, files_to_pack(store.root), out, shard_bytes=shard_bytes)
    return out


def unpacked(source: Path, root: Path, *, replace: bool = False) -> UnpackSummary:
    return unpack([path for path, _ in shards_of([source])], FeatureStore(root), replace=replace)


def contents(root: Path) -> dict[str, bytes]:
    """Path -> bytes of the tracks of a store."""
    return {place: (root / place).read_bytes() for folder in spec_folders(root) for place in places(folder)}


def test_there_and_back_gives_the_same_bytes(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", ODD_IDS)
    size = store.path(SPEC, "A").stat().st_size
    pack = packed(store, tmp_path / "p", shard_bytes=3 * size)
    assert len(read_pack(pack)) == 4  # eleven, three in each
    assert unpacked(pack, tmp_path / "u") == UnpackSummary(done=len(ODD_IDS))
    assert contents(tmp_path / "u") == contents(store.root)
    assert len(contents(store.root)) == len(ODD_IDS)
    assert FeatureStore(tmp_path / "u").ids(SPEC) == sorted(ODD_IDS)
    index = FeatureStore(tmp_path / "u").index(SPEC)
    assert index == store.index(SPEC)
    assert unpacked(pack, tmp_path / "u") == UnpackSummary(kept=len(ODD_IDS))


def test_any_tar_program_can_unpack_a_shard(tmp_path: Path) -> None:
    store = filled(tmp_path / "s", ODD_IDS)
    pack = packed(store, tmp_path / "p")
    with tarfile.open(pack / "shard-00000.tar", "r:") as tar:
        tar.extractall(tmp_path / "t", filter="data")
    assert contents(tmp_path / "t") == contents(store.root)
    lines = [json.loads(line) for line in (tmp_path / "t" / "index.jsonl").read_text().splitlines()]
    assert lines[0] == {"schema": "vadpipe.pack/1", "files": len(ODD_IDS)}
    assert {line["path"]: line["sha256"] for line in lines[1:]} == {
        place: hashlib.sha256(content).hexdigest() for place, content in contents(store.root).items()
    }


def test_equal_stores_make_equal_packs_and_a_rerun_keeps_shards(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    store = filled(tmp_path / "1", names)
    two = 2 * store.path(SPEC, "a").stat().st_size
    one = packed(store, tmp_path / "p1", two)
    other = packed(filled(tmp_path / "2", names[::-1]), tmp_path / "p2", two)
    assert {path.name: path.read_bytes() for path in one.iterdir()} == {
        path.name: path.read_bytes() for path in other.iterdir()
    }
    (one / "pack.json").unlink()
    (one / "shard-00001.tar").unlink()
    files = files_to_pack(tmp_path / "1")
    again = pack_store(tmp_path / "1", files, one, shard_bytes=two)
    assert (again.shards, again.kept, again.files) == (2, 1, 4)
    assert (one / "shard-00001.tar").read_bytes() == (other / "shard-00001.tar").read_bytes()


def test_a_half_written_shard_is_written_again(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    pack = packed(store, tmp_path / "p")
    whole = (pack / "shard-00000.tar").read_bytes()
    (pack / "pack.json").unlink()
    (pack / "shard-00000.tar").write_bytes(whole[:-5])
    packed(store, pack)
    assert (pack / "shard-00000.tar").read_bytes() == whole


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("place", ["data", "padding", "end"])
def test_a_damaged_shard_is_written_again_and_never_blessed(tmp_path: Path, finished: bool, place: str) -> None:
    store = filled(tmp_path / "s")
    pack = packed(store, tmp_path / "p", 1)
    listed, path = (pack / "pack.json").read_bytes(), pack / "shard-00001.tar"
    whole = path.read_bytes()
    at = {"data": whole.index(b"\x89HDF") + 3000, "padding": whole.index(b"\x89HDF") - 1, "end": len(whole) - 1}[place]
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert list(verify(pack).damaged)
    if not finished:
        (pack / "pack.json").unlink()
    again = pack_store(store.root, files_to_pack(store.root), pack, shard_bytes=1)
    assert (again.shards, again.kept) == (3, 2)
    assert path.read_bytes() == whole
    assert (pack / "pack.json").read_bytes() == listed
    assert verify(pack).fine


def test_the_list_of_a_finished_pack_is_never_changed(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    pack = packed(store, tmp_path / "p", 1)
    shards = {path: path.read_bytes() for path in pack.glob("*.tar")}
    strange = (pack / "pack.json").read_text().replace('"files": 3', '"files": 3, "by": "me"')
    (pack / "pack.json").write_text(strange)
    (pack / "shard-00002.tar").unlink()
    packed(store, pack, 1)
    assert (pack / "pack.json").read_text() == strange
    assert {path: path.read_bytes() for path in pack.glob("*.tar")} == shards
    store.path(SPEC, "b").unlink()
    with pytest.raises(UsageError, match="finished pack of other files"):
        packed(store, pack, 1)
    (pack / "pack.json").write_text("{")
    with pytest.raises(StoreError, match="cannot be used"):
        packed(store, pack, 1)
    assert (pack / "pack.json").read_text() == "{"


def test_other_files_do_not_get_into_a_finished_pack(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    pack = packed(store, tmp_path / "p")
    store.write(track("d"))
    with pytest.raises(UsageError, match="finished pack of other files"):
        packed(store, pack)
    (pack / "pack.json").unlink()
    (pack / "shard-00007.tar").touch()
    with pytest.raises(UsageError, match=r"not of this pack: shard-00007\.tar"):
        packed(store, pack)
    assert not (pack / "pack.json").exists()
    with pytest.raises(UsageError, match="inside the store"):
        packed(store, store.root / "p")
    with pytest.raises(UsageError, match="no features"):
        files_to_pack(tmp_path / "p")
    with pytest.raises(UsageError, match=f"there are: {SPEC.folder}"):
        files_to_pack(store.root, ["clip-00000000"])


def test_a_damaged_file_is_named_and_not_packed(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    bad = store.path(SPEC, "b")
    bad.write_bytes(bad.read_bytes()[:-100])
    found = pack_store(store.root, files_to_pack(store.root), tmp_path / "p")
    assert (found.files, list(found.damaged)) == (2, [str(bad.relative_to(store.root))])
    assert bad.is_file()
    assert unpacked(tmp_path / "p", tmp_path / "u").done == 2


def test_a_file_that_changes_while_it_is_packed_is_an_error(tmp_path: Path) -> None:
    store = filled(tmp_path / "s")
    place = next(places(tmp_path / "s" / SPEC.folder))
    member = member_of(store.root, place)
    with pytest.raises(StoreError, match="changed while it was packed"):
        write_shard(tmp_path / "x.tar", store.root, [Member(place, member.size, "0" * 64)])
    assert not list(tmp_path.glob("*.tar"))
    assert not list(tmp_path.glob(".*"))


def test_what_the_store_has_is_not_overwritten_unasked(tmp_path: Path) -> None:
    pack = packed(filled(tmp_path / "s"), tmp_path / "p")
    other = FeatureStore(tmp_path / "u")
    path = other.write(track("b", seed=5))
    before = path.read_bytes()
    found = unpacked(pack, other.root)
    assert (found.done, found.kept, list(found.failed.values())) == (
        2,
        0,
        ["the store holds a file of this name with other bytes (--replace)"],
    )
    assert path.read_bytes() == before
    found = unpacked(pack, other.root, replace=True)
    assert (found.done, found.kept, found.failed) == (1, 2, {})
    assert contents(other.root) == contents(tmp_path / "s")


def test_an_unfinished_pack_or_one_without_a_shard_is_refused_whole(tmp_path: Path) -> None:
    pack = packed(filled(tmp_path / "s"), tmp_path / "p", 1)
    (pack / "shard-00001.tar").rename(tmp_path / "elsewhere.tar")
    with pytest.raises(StoreError, match=r"lacks shard-00001\.tar \(1 of 3 shards\)"):
        unpacked(pack, tmp_path / "u")
    assert unpacked(tmp_path / "elsewhere.tar", tmp_path / "u").done == 1  # a shard is complete in itself
    (pack / "pack.json").unlink()
    with pytest.raises(StoreError, match="no finished pack"):
        unpacked(pack, tmp_path / "u")
    with pytest.raises(UsageError, match="is not there"):
        shards_of([tmp_path / "nothing"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b'{"schema": "vadpipe.pack/2", "shards": []}',
        b'{"schema": "vadpipe.pack/1", "shards": [{"name": "../x.tar", "bytes": 1, "files": 1, "sha256": ""}]}',
        b'{"schema": "vadpipe.pack/1", "shards": [{"name": 5, "bytes": 1, "files": 1, "sha256": ""}]}',
        b'{"schema": "vadpipe.pack/1", "shards": [{"name": "shard-00000.tar", "bytes": -1, "files": 1, "sha256": ""}]}',
        b"[" * 100_000,
    ],
)
def test_a_list_of_shards_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pack.json").write_bytes(content)
    with pytest.raises(StoreError, match="cannot be used"):
        read_pack(tmp_path)


def made_up(path: Path, members: list[tuple[str, bytes]], change: Callable[[bytes], bytes] = lambda x: x) -> Path:
    """A shard that is right in form, whatever the paths; ``change`` is made to its index."""
    lines = [Member(name, len(content), hashlib.sha256(content).hexdigest()) for name, content in members]
    index = change(pack_shard._index(lines))
    with path.open("wb") as out:
        for name, content in [("index.jsonl", index), *members]:
            out.write(pack_shard._header(name, len(content)) + content + bytes(-len(content) % 512))
        out.write(bytes(1024))
    return path


@pytest.mark.parametrize(
    "place",
    [
        "../../etc/passwd",
        "/etc/passwd",
        f"{SPEC.folder}/../../x.h5",
        f"{SPEC.folder}/aa/../../../x-0123456789ab.h5",
        f"{SPEC.folder}/aa/.x-0123456789ab.h5",
        f"{SPEC.folder}/manifest.jsonl",
        f"{SPEC.folder}/quarantine/x-0123456789ab.h5",
        f"{SPEC.folder}\\aa\\x-0123456789ab.h5",
        f"{SPEC.folder}/aa/x-0123456789ab.h5\n",
        "aa/x-0123456789ab.h5",
        "",
    ],
)
def test_no_path_leads_out_of_the_store(tmp_path: Path, place: str) -> None:
    assert not is_place(place)
    shard = made_up(tmp_path / "x.tar", [(place, b"x")])
    found = unpack([shard], FeatureStore(tmp_path / "deep" / "er" / "u"))
    assert (found.done, list(found.failed)) == (0, [str(shard)])
    assert "its index is not one of vadpipe.pack/1" in found.failed[str(shard)]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["x.tar"]


def test_a_track_under_another_name_or_no_track_does_not_appear(tmp_path: Path) -> None:
    good = filled(tmp_path / "s", ["a"])
    content = good.path(SPEC, "a").read_bytes()
    wrong = f"{SPEC.folder}/{safe_name('b')}"
    shard = made_up(tmp_path / "x.tar", [(wrong, content), (f"{SPEC.folder}/{safe_name('c')}", b"text")])
    found = unpack([shard], FeatureStore(tmp_path / "u"))
    assert found.done == 0
    assert f"it belongs under the name {SPEC.folder}/{safe_name('a')}" in found.failed[wrong]
    assert "it is damaged" in found.failed[f"{SPEC.folder}/{safe_name('c')}"]
    assert [path for path in (tmp_path / "u").rglob("*") if path.is_file()] == []


def links(path: Path, kind: bytes, target: str) -> Path:
    """A shard whose only member is a link or a device in the tar sense."""
    made_up(path, [(f"{SPEC.folder}/{safe_name('a')}", b"")])
    raw = path.read_bytes()
    info = tarfile.TarInfo(f"{SPEC.folder}/{safe_name('a')}")
    info.type, info.linkname = kind, target
    at = raw.index(SPEC.folder.encode(), 1024) if raw.count(SPEC.folder.encode()) > 1 else 1024
    start = at - at % 512
    header = info.tobuf(tarfile.USTAR_FORMAT)
    path.write_bytes(raw[:start] + header + raw[start + 512 :])
    with tarfile.open(path) as tar:
        assert tar.getmembers()[1].type == kind
    return path


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_devices_and_folders_are_never_made(tmp_path: Path, kind: bytes) -> None:
    shard = links(tmp_path / "x.tar", kind, "/etc/passwd")
    found = unpack([shard], FeatureStore(tmp_path / "u"))
    assert found.done == 0
    assert "are not those of the index" in next(iter(found.failed.values()))
    assert list((tmp_path / "u").rglob("*.h5")) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.replace(b'"size": 1', b'"size": 99999999999'),
        lambda index: index.replace(b'"size": 1', b'"size": true'),
        lambda index: index.replace(b'"size": 1', b'"size": -1'),
        lambda index: index.replace(b'"size": 1', b'"size": 1, "link": "x"'),
        lambda index: index + index.splitlines(keepends=True)[1],
        lambda index: index.replace(b'"files": 1', b'"files": 2'),
        lambda _: b"[" * 100_000,
        lambda _: b"\xff",
        lambda _: b"",
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    shard = made_up(tmp_path / "x.tar", [(f"{SPEC.folder}/{safe_name('a')}", b"x")], change)
    with pytest.raises(StoreError, match="its index is not one of"):
        Shard(shard)


@pytest.mark.parametrize("cut", [0, 100, 511, 512, 2000, -1])
def test_a_shard_that_was_cut_off_is_refused_before_anything_appears(tmp_path: Path, cut: int) -> None:
    pack = packed(filled(tmp_path / "s"), tmp_path / "p")
    shard = pack / "shard-00000.tar"
    shard.write_bytes(shard.read_bytes()[:cut])
    found = unpack([shard], FeatureStore(tmp_path / "u"))
    assert (found.done, found.kept, list(found.failed)) == (0, 0, [str(shard)])
    assert not (tmp_path / "u").exists()


def test_every_flipped_byte_of_a_shard_is_noticed(tmp_path: Path) -> None:
    pack = packed(filled(tmp_path / "s", ["a"]), tmp_path / "p")
    shard = pack / "shard-00000.tar"
    whole = shard.read_bytes()
    assert verify(pack).fine
    unpackable = 0
    for place in range(0, len(whole), 97):
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        assert not verify(pack).fine, place
        root = tmp_path / f"u{place}"
        if unpack([shard], FeatureStore(root)).done:  # padding, which nothing is made of
            assert contents(root) == contents(tmp_path / "s")
            unpackable += 1
    assert unpackable < 30


def test_ten_thousand_files_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain files under the names of odd ids: writing so many HDF5 files takes minutes, ``benchmarks/crashes.py``."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    names = [f"{chr(33 + number % 900)}{number}" for number in range(10_000)]
    wanted = {f"{SPEC.folder}/{safe_name(name.replace('/', '-'))}": name.encode() for name in names}
    assert len(wanted) == 10_000
    for place, content in wanted.items():
        (tmp_path / "s" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "s" / place).write_bytes(content)
    seen = list[str]()
    pack_store(tmp_path / "s", files_to_pack(tmp_path / "s"), tmp_path / "p", shard_bytes=20_000, check=lambda *_: None)
    shards = shards_of([tmp_path / "p"])
    assert len(shards) > 2
    found = unpack(
        [path for path, _ in shards],
        FeatureStore(tmp_path / "u"),
        check=lambda *_: None,
        on_file=seen.append,
    )
    assert (found.done, found.failed, len(seen)) == (10_000, {}, 10_000)
    assert contents(tmp_path / "u") == wanted
