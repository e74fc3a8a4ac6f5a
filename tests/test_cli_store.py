"""``vadpipe store`` as a user meets it: what it prints, and its exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.test_store import SPEC, track
from vadpipe.cli import main
from vadpipe.store import FeatureStore


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in a folder whose store holds three tracks; exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        FeatureStore("features").write(track(name))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vadpipe", "store", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_pack_and_unpack(run: Any) -> None:
    size = sum(path.stat().st_size for path in Path("features").glob("*/??/*.h5"))
    code, out, _ = run("pack", "--out", "pack", "--json")
    assert (code, json.loads(out)) == (0, {"shards": 1, "kept": 0, "files": 3, "bytes": size, "damaged": {}})
    assert run("pack", "--out", "pack")[1].count("1 (1 were there)") == 1
    assert run("verify", "pack")[0] == 0
    code, out, _ = run("unpack", "pack", "--out", "other", "--json")
    assert (code, json.loads(out)) == (0, {"done": 3, "kept": 0, "failed": {}})
    assert FeatureStore("other").ids(SPEC) == ["a", "b", "c"]
    code, out, err = run("unpack", "nothing")
    assert (code, out) == (2, "")
    assert "vadpipe: nothing is not there" in err


def test_damage_is_told_by_name_and_exit_code(run: Any) -> None:
    path = FeatureStore("features").path(SPEC, "b")
    path.write_bytes(b"text")
    code, out, err = run("verify")
    assert code == 1
    assert f"damaged: {path.relative_to('features')}: " in err
    assert "3 files" in out
    code, _, err = run("pack", "--out", "pack")
    assert code == 3
    assert "damaged, left out" in err
    code, out, _ = run("verify", "--quarantine", "--json")
    assert (code, json.loads(out)["quarantined"]) == (1, [f"{SPEC.folder}/quarantine/{path.name}"])
    code, out, err = run("verify")
    assert code == 0
    assert f"warning: listed in the index, but not there: {path.relative_to('features')}" in err
    code, out, err = run("verify", SPEC.folder)
    assert (code, out) == (2, "")
    for name in ("a", "c"):
        FeatureStore("features").path(SPEC, name).write_bytes(b"text")
    assert run("pack", "--out", "none")[0] == 1


def test_gc_changes_nothing_without_delete(run: Any) -> None:
    store = FeatureStore("features")
    moved = store.quarantine(SPEC, store.path(SPEC, "a"))
    size = moved.stat().st_size
    code, out, _ = run("gc", "--quarantine-days", "0")
    assert code == 0
    assert "may be removed" in out
    assert moved.is_file()
    code, out, _ = run("gc", "--quarantine-days", "0", "--delete", "--json")
    assert json.loads(out)["freed_bytes"] == size
    assert not moved.exists()
    assert run("gc", "--unused")[0] == 2


def test_stats(run: Any) -> None:
    (found,) = json.loads(run("stats", "--json")[1])
    assert (found["folder"], found["videos"], found["rows"]) == (SPEC.folder, 3, 9)
    assert SPEC.folder in run("stats")[1]
    assert run("stats", "nowhere")[0] == 2


def test_a_shard_without_videos_is_packed_and_unpacked_with_the_others(run: Any, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "quarantined.jsonl").touch()  # what an extraction that stored nothing may leave
    code, _, err = run("pack", "none", "--out", "packs/0")
    assert (code, "note: none is an empty store, so the pack is empty, too" in err) == (0, True)
    assert run("pack", "none", "--out", "packs/0")[0] == 0
    assert run("verify", "packs/0")[0] == 0
    assert run("pack", "features", "--out", "packs/1")[0] == 0
    code, out, _ = run("unpack", "packs/0", "packs/1", "--out", "u", "--json")
    assert (code, json.loads(out)["done"]) == (0, 3)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    assert run("pack", "videos", "--out", "packs/2")[0] == 2  # no store


def test_packs_that_are_there_are_unpacked_and_others_named(run: Any, tmp_path: Path) -> None:
    run("pack", "features", "--out", "packs/1")
    (tmp_path / "packs" / "2").mkdir()
    code, out, err = run("unpack", "packs/1", "packs/2", "packs/3", "--out", "u", "--json")
    told = json.loads(out)
    assert (code, told["done"], sorted(told["failed"])) == (3, 3, ["packs/2", "packs/3"])
    assert "failed: packs/2: packs/2 holds no finished pack" in err
    assert run("unpack", "packs/3", "--out", "u")[0] == 2
    assert run("unpack", "packs/2", "packs/3", "--out", "u")[0] == 1


def test_freed_bytes_are_never_less_than_nothing(run: Any, tmp_path: Path) -> None:
    manifest = tmp_path / "features" / SPEC.folder / "manifest.jsonl"
    manifest.write_bytes(manifest.read_bytes().rstrip(b"\n"))
    code, out, _ = run("gc", "--delete", "--json")
    assert (code, json.loads(out)["freed_bytes"]) == (0, 0)
    assert manifest.read_bytes().endswith(b"\n")
