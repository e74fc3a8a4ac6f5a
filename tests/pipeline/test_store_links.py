"""Links, folders that may not be listed and runs elsewhere: nothing outside the store goes, nothing is passed over."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.test_store_gc import OLDER, files, head, two
from tests.test_store import SPEC, track
from vadpipe.errors import StoreError, UsageError
from vadpipe.pipeline.storing.files import spec_folders
from vadpipe.pipeline.storing.gc import GcRequest, find_garbage, remove
from vadpipe.pipeline.storing.pack import files_to_pack, pack_store
from vadpipe.pipeline.storing.stats import stats_of
from vadpipe.pipeline.storing.verify import verify
from vadpipe.store import FeatureStore
from vadpipe.whole_file import temporary_path

Lock = Callable[[Path], None]


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Lock:
    """Folders that cannot be listed: whoever may do everything can list all, so permissions would not do."""
    locked, listed = set[str](), os.scandir

    def scandir(path: Any = ".") -> Any:
        if str(path) in locked:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return lambda path: locked.add(str(path))


def unused(store: FeatureStore, runs: Path) -> list[str]:
    """Folders of the store from which something would go."""
    plan = find_garbage(GcRequest(store.root, (runs,), unused=True))
    return sorted({item.path.relative_to(store.root).parts[0] for item in plan.garbage})


def test_gc_does_not_follow_a_linked_quarantine(tmp_path: Path) -> None:
    store = two(tmp_path / "s")
    store.quarantine(SPEC, store.path(SPEC, "a"))
    (store.root / SPEC.folder / "quarantine").rename(tmp_path / "elsewhere")
    (store.root / SPEC.folder / "quarantine").symlink_to(tmp_path / "elsewhere")
    before = files(tmp_path)
    plan = find_garbage(GcRequest(store.root, quarantine_days=0))
    assert plan.garbage == []
    assert list(plan.kept) == [store.root / SPEC.folder / "quarantine"]
    remove(plan)
    assert files(tmp_path) == before


@pytest.mark.parametrize("whole", [True, False], ids=["specification", "part"])
def test_gc_does_not_follow_a_link_to_another_store(tmp_path: Path, whole: bool) -> None:
    other = two(tmp_path / "other")
    head(tmp_path / "runs")
    path = other.path(OLDER, "a")
    foreign = path.with_name(".x.h5.01234567.1-1.tmp")
    foreign.write_bytes(b"half")
    link, target = (OLDER.folder, path.parents[1]) if whole else (f"{OLDER.folder}/{path.parent.name}", path.parent)
    (tmp_path / "s" / link).parent.mkdir(parents=True)
    (tmp_path / "s" / link).symlink_to(target)
    os.utime(foreign, (0, 0))
    plan = find_garbage(GcRequest(tmp_path / "s", (tmp_path / "runs",), 0, 0, unused=True))
    assert plan.garbage == []
    assert list(plan.kept) == [tmp_path / "s" / link]
    remove(plan)
    assert path.is_file()
    assert foreign.is_file()


def test_only_tracks_go_from_quarantine(tmp_path: Path) -> None:
    store = two(tmp_path / "s")
    moved = store.quarantine(SPEC, store.path(SPEC, "a"))
    mine = moved.with_name("notes.txt")
    mine.touch()
    plan = find_garbage(GcRequest(store.root, quarantine_days=0))
    assert [item.path for item in plan.garbage] == [moved]
    assert list(plan.kept) == [mine]
    head(tmp_path / "runs", {"schema": "vadpipe.head/1", "spec": json.loads(OLDER.to_json()), "audio_spec": None})
    remove(find_garbage(GcRequest(store.root, (tmp_path / "runs",), unused=True)))
    assert files(store.root / SPEC.folder) == ["quarantine/notes.txt"]


def test_a_run_that_is_linked_counts_and_a_circle_ends(tmp_path: Path) -> None:
    store = two(tmp_path / "s")
    head(tmp_path / "runs" / "one")
    assert unused(store, tmp_path / "runs") == [OLDER.folder]
    head(
        tmp_path / "disk" / "best",
        {"schema": "vadpipe.head/1", "spec": json.loads(OLDER.to_json()), "audio_spec": None},
    )
    (tmp_path / "runs" / "best").symlink_to(tmp_path / "disk" / "best")
    (tmp_path / "disk" / "best" / "back").symlink_to(tmp_path / "runs")
    assert unused(store, tmp_path / "runs") == []
    (tmp_path / "disk").rename(tmp_path / "unmounted")
    with pytest.raises(UsageError, match=r"runs/best cannot be read \(No such file"):
        unused(store, tmp_path / "runs")


def test_a_run_that_cannot_be_read_counts(tmp_path: Path, lock: Lock) -> None:
    store = two(tmp_path / "s")
    head(tmp_path / "runs" / "one")
    head(
        tmp_path / "runs" / "two", {"schema": "vadpipe.head/1", "spec": json.loads(OLDER.to_json()), "audio_spec": None}
    )
    lock(tmp_path / "runs" / "two")
    with pytest.raises(UsageError, match=r"runs/two cannot be read \(Permission denied\)"):
        unused(store, tmp_path / "runs")


def test_features_that_are_being_extracted_are_not_unused(tmp_path: Path, lock: Lock) -> None:
    store = two(tmp_path / "s")
    head(tmp_path / "runs")
    path = store.path(OLDER, "a")
    temporary_path(path).write_bytes(b"half")  # of this process
    assert unused(store, tmp_path / "runs") == []
    temporary_path(path).unlink()
    assert unused(store, tmp_path / "runs") == [OLDER.folder]
    lock(path.parent)  # there may be one in it
    assert unused(store, tmp_path / "runs") == []


def test_what_cannot_be_listed_is_not_passed_over(tmp_path: Path, lock: Lock) -> None:
    store = two(tmp_path / "s")
    part = store.path(SPEC, "a").parent
    lock(part)
    place = str(part.relative_to(store.root))
    found = verify(store.root)
    assert (found.files, found.damaged, found.fine) == (2, {}, False)
    assert found.unreadable == {place: "cannot be listed: Permission denied"}
    for act in (files_to_pack, lambda root: [stats_of(folder) for folder in spec_folders(root)]):
        with pytest.raises(StoreError, match=f"cannot read .*{place}: Permission denied"):
            act(store.root)
    lock(store.root)
    with pytest.raises(StoreError, match="Permission denied"):
        verify(store.root)


def test_where_nothing_is_checked_nothing_is_fine(tmp_path: Path) -> None:
    store = two(tmp_path / "s")
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path, tmp_path / "empty", store.root / SPEC.folder):
        with pytest.raises(UsageError, match="holds no features"):
            verify(folder)
    for spec in (SPEC, OLDER):
        for name in ("a", "b"):
            if (path := store.path(spec, name)).exists():
                path.write_bytes(b"text")
    found = pack_store(store.root, files_to_pack(store.root), tmp_path / "p")
    assert len(found.damaged) == 3
    assert not (tmp_path / "p").exists()  # of damaged files alone there is no pack
    with pytest.raises(UsageError, match="is no folder"):
        verify(tmp_path / "p")


@pytest.mark.parametrize("wrong", ["{spec}/{part}/b.h5", "{spec}/ZZ/{name}", "old/{part}/{name}"])
def test_a_track_in_no_place_of_a_track_is_told_and_stays(tmp_path: Path, wrong: str) -> None:
    store = two(tmp_path / "s")
    path = store.path(OLDER, "a")
    place = wrong.format(spec=OLDER.folder, part=path.parent.name, name=path.name)
    (store.root / place).parent.mkdir(parents=True, exist_ok=True)
    path.rename(store.root / place)
    found = verify(store.root, quarantine=True)
    assert (found.files, list(found.damaged), found.quarantined) == (2, [place], [])
    assert (store.root / place).is_file()


def test_a_track_that_is_listed_and_not_there_is_a_warning(tmp_path: Path) -> None:
    store = two(tmp_path / "s")
    store.write(replace(track("a"), spec=OLDER))  # a second line of the same
    assert verify(store.root).missing == []
    path = store.path(OLDER, "a")
    path.unlink()
    found = verify(store.root)
    assert (found.files, found.missing, found.fine) == (2, [str(path.relative_to(store.root))], True)


def test_a_file_that_goes_while_it_is_listed_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = two(tmp_path / "s")
    gone = f"{SPEC.folder}/aa/x-0123456789ab.h5"
    monkeypatch.setattr("vadpipe.pipeline.storing.pack.places", lambda _: [gone])
    with pytest.raises(StoreError, match=r"x-0123456789ab\.h5: No such file"):
        files_to_pack(store.root)
    plan = find_garbage(GcRequest(store.root))
    plan.folders.append(store.root / "gone")  # as another gc would have done it meanwhile
    assert remove(plan) == 0
