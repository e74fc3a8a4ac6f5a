"""A store's index: what putting it in order keeps, whose it stays, and what it costs where it cannot be written."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.test_store import SPEC, track
from vadpipe.errors import StoreError
from vadpipe.pipeline.storing import index as module
from vadpipe.pipeline.storing.gc import GcRequest, find_garbage, remove
from vadpipe.store import FeatureStore


def unordered(root: Path) -> Path:
    """A store whose index is not in order; the index."""
    store = FeatureStore(root)
    for name in ("b", "a"):
        store.write(track(name))
    return root / SPEC.folder / "manifest.jsonl"


def gc(root: Path) -> list[Path]:
    """The folders whose indexes it put in order."""
    plan = find_garbage(GcRequest(root))
    remove(plan)
    return plan.indexes


def test_only_what_is_no_json_object_is_torn(tmp_path: Path) -> None:
    manifest = unordered(tmp_path)
    b, a = manifest.read_bytes().splitlines(keepends=True)
    newer = json.dumps({**json.loads(a), "crop": "ü\u2028"}, ensure_ascii=False).encode() + b"\n"
    no_id, number, odd = b'{"other": 1}\n', b"17\n", a.replace(b'"a"', b"5")
    manifest.write_bytes(b"".join([b, newer, a, a[:20] + b"\n", number, no_id, odd, newer]))
    gc(tmp_path)
    assert manifest.read_bytes() == b"".join([no_id, odd, a, newer, b])
    assert gc(tmp_path) == []
    assert sorted(FeatureStore(tmp_path).index(SPEC)) == ["a", "b"]


def test_an_index_that_grew_meanwhile_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = unordered(tmp_path)
    real, plan = module.in_order, find_garbage(GcRequest(tmp_path))

    def grows(folder: Path) -> bytes:
        content = real(folder)
        FeatureStore(tmp_path).write(track("c"))
        return content

    monkeypatch.setattr(module, "in_order", grows)
    assert plan.indexes == [manifest.parent]
    assert remove(plan) == 0
    assert [json.loads(line)["id"] for line in manifest.read_text().splitlines()] == ["b", "a", "c"]


@pytest.mark.parametrize("what", ["index", "folder"])
def test_an_index_behind_a_link_is_none_of_ours(tmp_path: Path, what: str) -> None:
    manifest = unordered(tmp_path / "s")
    elsewhere = tmp_path / "elsewhere"
    linked = manifest if what == "index" else manifest.parent
    linked.rename(elsewhere)
    linked.symlink_to(elsewhere)
    before = manifest.read_bytes()
    assert gc(tmp_path / "s") == []
    assert linked.is_symlink()
    assert manifest.read_bytes() == before


@pytest.mark.parametrize("way", ["gc", "scan"])
def test_the_index_keeps_its_mode_and_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    manifest = unordered(tmp_path)
    manifest.chmod(0o664)
    given: list[tuple[int, int]] = []
    told = manifest.stat()
    monkeypatch.setattr("vadpipe.whole_file.os.fchown", lambda _, user, group: given.append((user, group)))
    before, old = manifest.stat().st_ino, os.umask(0o077)
    try:
        if way == "gc":
            gc(tmp_path)
        else:
            FeatureStore(tmp_path).rebuild_index(SPEC)
    finally:
        os.umask(old)
    assert manifest.stat().st_ino != before
    assert stat.S_IMODE(manifest.stat().st_mode) == 0o664
    assert given == [(told.st_uid, -1), (-1, told.st_gid)]


def test_who_may_not_give_files_away_keeps_the_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = unordered(tmp_path)
    manifest.chmod(0o666)

    def refused(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("vadpipe.whole_file.os.fchown", refused)
    gc(tmp_path)
    assert stat.S_IMODE(manifest.stat().st_mode) == 0o666


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_an_index_of_somebody_else_makes_no_stored_track_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    manifest, store, before = unordered(tmp_path), FeatureStore(tmp_path), b""
    before = manifest.read_bytes()

    def refused(*_: Any) -> None:
        raise OSError(code, os.strerror(code))  # becomes a PermissionError

    with monkeypatch.context() as patch:
        patch.setattr("vadpipe.store.append_line", refused)
        assert store.write(track("c")).is_file()
    assert manifest.read_bytes() == before
    assert store.stored(SPEC, "c") is not None
    assert store.ids(SPEC) == ["a", "b", "c"]


def test_another_trouble_with_the_index_names_the_index(tmp_path: Path) -> None:
    manifest, store = unordered(tmp_path), FeatureStore(tmp_path)
    manifest.unlink()
    manifest.mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*manifest\.jsonl: .*rerun to go on") as error:
        store.write(track("c"))
    assert "Finished videos are kept" in str(error.value)
    assert store.stored(SPEC, "c") is not None
