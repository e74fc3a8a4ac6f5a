"""What gc takes and what it leaves, what verify finds, what stats counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import pytest

from tests.test_store import SPEC, track
from vadpipe.errors import UsageError
from vadpipe.pipeline.storing.gc import GcRequest, find_garbage, remove
from vadpipe.pipeline.storing.pack import files_to_pack, pack_store
from vadpipe.pipeline.storing.stats import SpecStats, stats_of
from vadpipe.pipeline.storing.verify import verify
from vadpipe.store import FeatureStore
from vadpipe.whole_file import temporary_path

OLDER = replace(SPEC, model="older")


def dead_name(path: Path) -> Path:
    """The temporary name that a process which has ended would have used."""
    code = "import sys; from pathlib import Path; from vadpipe.whole_file import temporary_path as t;"
    code += "print(t(Path(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def two(root: Path) -> FeatureStore:
    """A store with two specifications."""
    store = FeatureStore(root)
    for name in ("a", "b"):
        store.write(track(name))
    store.write(replace(track("a"), spec=OLDER))
    return store


def head(folder: Path, content: object = None) -> None:
    """As much of a run's config.json as matters here."""
    folder.mkdir(parents=True)
    told = {"schema": "vadpipe.head/1", "spec": json.loads(SPEC.to_json()), "audio_spec": None}
    (folder / "config.json").write_text(json.dumps(content or told))


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_only_leftovers_of_the_dead_go_unasked(tmp_path: Path) -> None:
    store = two(tmp_path / "s")
    path = store.path(SPEC, "a")
    dead = [
        dead_name(path),
        dead_name(tmp_path / "s" / SPEC.folder / "manifest.jsonl"),
        dead_name(tmp_path / "runs" / "r" / "x"),
    ]
    kept = [
        temporary_path(path),  # of this process
        path.with_name(".x.h5.01234567.1-1.tmp"),  # of another machine
        path.with_name(".notes.tmp"),
        path.with_name("note.txt"),
        path.parent.parent / "quarantine" / "old.h5",
    ]
    for name in [*dead, *kept]:
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(b"half")
    before = files(tmp_path)
    plan = find_garbage(GcRequest(tmp_path / "s", (tmp_path / "runs",)))
    assert sorted(item.path for item in plan.garbage) == sorted(dead)
    assert sorted(plan.kept) == sorted(kept[:2])
    assert files(tmp_path) == before  # looking changes nothing
    assert remove(plan) == 12
    assert files(tmp_path) == sorted({*before} - {str(name.relative_to(tmp_path)) for name in dead})
    assert find_garbage(GcRequest(tmp_path / "s", (tmp_path / "runs",))).garbage == []


def test_age_is_what_is_asked_for_and_a_move_makes_young(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = two(tmp_path)
    foreign = store.path(SPEC, "a").with_name(".x.h5.01234567.1-1.tmp")
    foreign.write_bytes(b"half")
    moved = store.quarantine(SPEC, store.path(SPEC, "b"))
    os.utime(moved, (0, 0))  # written long ago, moved now
    request = GcRequest(tmp_path, stale_days=7, quarantine_days=30)
    assert find_garbage(request).garbage == []
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 8 * 86400)
    assert [item.path for item in find_garbage(request).garbage] == [foreign]
    monkeypatch.setattr(time, "time", lambda: now + 31 * 86400)
    assert {item.path: item.kind for item in find_garbage(request).garbage} == {
        foreign: "temporary",
        moved: "quarantine",
    }
    assert find_garbage(GcRequest(tmp_path)).garbage == []


def test_features_go_only_when_no_run_uses_them_and_all_runs_can_be_read(tmp_path: Path) -> None:
    store = two(tmp_path / "s")
    runs = tmp_path / "runs"
    with pytest.raises(UsageError, match="no such folder"):
        find_garbage(GcRequest(store.root, (runs,), unused=True))
    runs.mkdir()
    with pytest.raises(UsageError, match="every feature would be unused"):
        find_garbage(GcRequest(store.root, (runs,), unused=True))
    head(runs / "other", {"name": "of another program"})
    head(runs / "one" / "student")
    request = GcRequest(store.root, (runs,), unused=True)
    (runs / "half").mkdir()
    (runs / "half" / "state.safetensors").touch()
    with pytest.raises(UsageError, match="half is an unfinished run"):
        find_garbage(request)
    (runs / "half" / "state.safetensors").unlink()
    (runs / "half" / "config.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be told"):
        find_garbage(request)
    (runs / "half" / "config.json").unlink()
    (store.root / OLDER.folder / "mine.txt").touch()
    plan = find_garbage(request)
    assert {item.kind for item in plan.garbage} == {"unused"}
    assert {item.path.relative_to(store.root).parts[0] for item in plan.garbage} == {OLDER.folder}
    remove(plan)
    assert store.specs() == [SPEC]
    assert files(store.root / OLDER.folder) == ["mine.txt"]
    (store.root / OLDER.folder / "mine.txt").unlink()
    remove(find_garbage(request))
    assert not (store.root / OLDER.folder).exists()
    assert store.ids(SPEC) == ["a", "b"]


def test_links_are_never_followed_nor_removed(tmp_path: Path) -> None:
    store = two(tmp_path / "s")
    head(tmp_path / "runs")
    elsewhere = tmp_path / "elsewhere"
    (store.root / OLDER.folder).rename(elsewhere)
    (store.root / OLDER.folder).symlink_to(elsewhere)
    link = dead_name(store.path(SPEC, "a"))
    link.symlink_to(store.path(SPEC, "b"))
    before = files(tmp_path)
    plan = find_garbage(GcRequest(store.root, (tmp_path / "runs",), unused=True))
    assert plan.garbage == []
    assert set(plan.kept) == {store.root / OLDER.folder, link}
    remove(plan)
    assert files(tmp_path) == before


@pytest.mark.parametrize("damage", ["cut", "data", "frames", "place"])
def test_verify_finds_damage_and_moves_it_only_when_asked(tmp_path: Path, damage: str) -> None:
    store = two(tmp_path)
    path = store.path(SPEC, "a")
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-9])
    elif damage == "data":
        place = content.index(track("a").data.tobytes()[:16])
        path.write_bytes(content[:place] + b"\x00" + content[place + 1 :])
    elif damage == "frames":  # which the content's digest does not cover
        with h5py.File(path, "r+") as file:
            file["frame_index"][1] = 3
    else:
        path = path.rename(path.with_name("other-0123456789ab.h5"))
    name = str(path.relative_to(tmp_path))
    told = list[tuple[str, int]]()
    found = verify(tmp_path, on_file=lambda place, total: told.append((place, total)))
    assert (found.files, list(found.damaged), found.fine, found.quarantined) == (3, [name], False, [])
    assert path.is_file()
    assert len(told) == 3
    assert {total for _, total in told} == {3}
    found = verify(tmp_path, quarantine=True)
    assert found.quarantined == [f"{SPEC.folder}/quarantine/{path.name}"]
    assert (tmp_path / found.quarantined[0]).is_file()
    assert verify(tmp_path).fine


def test_what_the_system_does_not_let_be_read_is_not_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two(tmp_path)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(h5py, "File", refused)
    found = verify(tmp_path, quarantine=True)
    assert (len(found.unreadable), found.damaged, found.quarantined, found.fine) == (3, {}, [], False)


def test_a_pack_that_is_not_the_one_listed_fails(tmp_path: Path) -> None:
    store = two(tmp_path / "s")
    for name, shard_bytes in (("p", 1), ("q", 1 << 20)):
        pack_store(store.root, files_to_pack(store.root), tmp_path / name, shard_bytes=shard_bytes)
    assert verify(tmp_path / "p").fine
    (tmp_path / "q" / "shard-00000.tar").replace(tmp_path / "p" / "shard-00000.tar")  # whole, of another pack
    assert verify(tmp_path / "p").damaged == {"shard-00000.tar": "it is not the shard that pack.json lists"}
    with pytest.raises(UsageError, match="is a pack"):
        verify(tmp_path / "p", quarantine=True)
    with pytest.raises(UsageError, match="is no folder"):
        verify(tmp_path / "nothing")


def test_stats_count_what_is_there(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    store.write(track("a", frames=40, crops=3))
    store.write(track("b", frames=17))
    store.write(track("c"))
    bad = store.write(track("d"))
    bad.write_bytes(b"text")
    store.quarantine(SPEC, store.path(SPEC, "c"))
    temporary_path(bad).write_bytes(b"half")
    size = sum(path.stat().st_size for path in tmp_path.glob("*/??/*.h5"))
    (tmp_path / SPEC.folder / "note.h5").touch()
    found = stats_of(tmp_path / SPEC.folder)
    assert found.hours == pytest.approx((40 + 17) * 1001 / 30000 / 3600)
    assert found == SpecStats(SPEC.folder, "clip", 8, 2, 3 + 2, 57, found.hours, size, 1, 1, 1)
