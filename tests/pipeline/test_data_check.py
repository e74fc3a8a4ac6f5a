"""data check: counts, missing, extra, incomplete, twice, unreadable and known bad, each by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.datasets.real import CCTV, UCF, XD
from tests.refused_arrays import save_pickled
from vadpipe.cli import cli
from vadpipe.datasets.lists import read_list
from vadpipe.errors import UsageError
from vadpipe.pipeline.data_check import DataCheck, check_data
from vadpipe.pipeline.importing.released_files import walk

ROWS = np.zeros((2, 3), np.float16)


def features(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        path = folder / f"{name}.npy"
        path.parent.mkdir(exist_ok=True)
        np.save(path, ROWS)
    return folder


def listing(folder: Path, *rows: str) -> Path:
    path = folder / "list.csv"
    path.write_text("path,label\n" + "".join(f"/home/me/{row}\n" for row in rows))
    return path


def wrong(check: DataCheck) -> dict[str, Any]:
    """Fields of findings that are not empty."""
    names = ("counts", "missing", "extra", "incomplete", "duplicates", "unreadable", "known_bad")
    return {name: getattr(check, name) for name in names if getattr(check, name)}


def test_a_whole_test_set(tmp_path: Path) -> None:
    order = UCF / "ucf_CLIP_rgbtest.csv.gz"
    names = [name.removesuffix(".npy") for video in read_list(order, "ucf_crime") for name in video.files]
    folder = features(tmp_path / "f", *names)
    told: list[tuple[int, int]] = []
    check = check_data("ucf_crime", folder, [order, UCF / "Anomaly_Test.txt.gz"], lambda *now: told.append(now))
    assert wrong(check) == {}
    assert check.ok
    assert (check.files, check.found, list(check.listed.values())) == (290, 290, [290, 290])
    assert told == [(done, 290) for done in range(1, 291)]
    assert wrong(check_data("ucf_crime", folder)) == {}
    (folder / f"{names[7]}.npy").unlink()
    check = check_data("ucf_crime", folder)
    assert wrong(check) == {"counts": ["the folder holds 289 videos, official are train 1610, test 290, together 1900"]}
    missing = wrong(check_data("ucf_crime", folder, [order]))
    assert missing == {"missing": [names[7].removesuffix("__5")]}


def test_lists_are_counted_together(tmp_path: Path) -> None:
    folder = features(tmp_path / "f", "x_label_A")
    check = check_data("xd_violence", folder, [XD / "xd_CLIP_rgb.csv.gz", XD / "xd_CLIP_rgbtest.csv.gz"])
    assert check.counts == []
    assert (len(check.missing), check.extra) == (4754, ["x_label_A"])
    assert len(check.known_bad) == 5
    check = check_data("xd_violence", folder, [XD / "annotations.txt.gz"])
    assert check.counts == ["the lists name 500 videos, official are train 3954, test 800, together 4754"]
    assert check_data("cctv_fights", folder, [CCTV / "annotations_cctv.txt"]).counts == []


def test_every_kind_of_finding_by_name(tmp_path: Path) -> None:
    folder = features(tmp_path / "f", "a__0", "a__1", "b", "c__0", "sub/c__0", "d", "e", "g", "h", "extra", ".hidden")
    (folder / "d.npy").write_bytes(b"")
    (folder / "e.npy").write_bytes((folder / "e.npy").read_bytes()[:-1])
    np.save(folder / "g.npy", np.zeros((2, 3), np.int64))
    np.save(folder / "h.npy", np.zeros((0, 3), np.float32))
    (folder / "i.npy").symlink_to(folder / "nothing.npy")
    save_pickled(folder / "j.npy", np.array([{}]))
    rows = [f"{name}.npy,theft" for name in ("a__0", "a__1", "a__2", "b__0", "c", "d", "e", "g", "h", "i", "j", "gone")]
    check = check_data("folder", folder, [listing(tmp_path, *rows)])
    reasons = check.unreadable
    assert reasons.keys() == {"d.npy", "e.npy", "g.npy", "h.npy", "i.npy", "j.npy"}
    assert reasons["d.npy"] == "empty (0 bytes)"
    assert "not a plain .npy array" in reasons["e.npy"]
    assert "int64 (2, 3), expected floats (T, D)" in reasons["g.npy"]
    assert "T > 0" in reasons["h.npy"]
    assert "No such file" in reasons["i.npy"]
    assert "Python objects" in reasons["j.npy"]
    assert check.missing == ["gone"]
    assert check.extra == ["extra"]
    assert check.incomplete == {"a": [2]}
    assert check.duplicates == {"c": ["c__0.npy", "sub/c__0.npy"]}
    assert not check.ok


def test_a_name_that_is_no_id_costs_itself(tmp_path: Path) -> None:
    folder = features(tmp_path / "f", "a", "b\nc")
    assert "rename the file" in check_data("folder", folder).unreadable["b\nc.npy"]


def test_videos(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("v=8cTqh9tMz_I__#1_label_A.mp4", "a_label_A.mp4", "a_label_A.mkv", "b_label_A.avi", "notes.txt"):
        (folder / name).write_bytes(b"x")
    (folder / "b_label_A.avi").write_bytes(b"")
    (folder / "c_label_A.mp4").symlink_to("nothing")
    text = listing(tmp_path, "a_label_A__0.npy,A", "b_label_A__0.npy,A", "c_label_A__0.npy,A")
    check = check_data("xd_violence", folder, [text])
    assert check.duplicates == {"a_label_A": ["a_label_A.mkv", "a_label_A.mp4"]}
    assert check.unreadable == {"b_label_A.avi": "empty (0 bytes)", "c_label_A.mp4": "a link to nothing, or no file"}
    assert check.extra == ["v=8cTqh9tMz_I__#1_label_A"]
    assert "cannot be decoded" in check.known_bad["v=8cTqh9tMz_I__#1_label_A"]
    assert not check.incomplete


def test_known_bad_files_are_said_but_no_fault(tmp_path: Path) -> None:
    name = "Ip.Man.2008__#01-40-37_01-42-07_label_B4-0-0"
    folder = features(tmp_path / "f", *(f"{n}_label_A" for n in range(799)), name)
    check = check_data("xd_violence", folder)
    assert check.ok
    assert wrong(check) == {"known_bad": {name: "named riot, annotated as fighting (B1)"}}


def test_wrong_requests(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="data set: got 'ucf'"):
        check_data("ucf", tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        check_data("folder", tmp_path / "none")
    with pytest.raises(UsageError, match="holds neither videos nor"):
        check_data("folder", tmp_path)
    features(tmp_path, "a")
    (tmp_path / "a.mp4").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"1 videos and 1 \.npy files; name the folder of either"):
        check_data("folder", tmp_path)


# --- command


def test_the_command(tmp_path: Path) -> None:
    folder = features(tmp_path / "f", *(f"v{n}" for n in range(30)))
    rows = listing(tmp_path, *(f"v{n}.npy,theft" for n in range(29)), *(f"w{n:02}.npy,theft" for n in range(25)))
    run = CliRunner().invoke(cli, ["data", "check", "folder", str(folder), "--list", str(rows)])
    assert run.exit_code == 1
    assert "not as it should be" in run.stdout
    assert "w19" in run.stdout
    assert "w20" not in run.stdout
    assert "and 5 more; --json names all" in run.stdout
    assert "v29" in run.stdout
    run = CliRunner().invoke(cli, ["data", "check", "folder", str(folder), "--annotations", str(rows), "--json"])
    found = json.loads(run.stdout)
    assert run.exit_code == 1
    assert (found["ok"], found["missing"][-1], found["extra"]) == (False, "w24", ["v29"])
    assert CliRunner().invoke(cli, ["data", "check", "folder", str(folder), "-q"]).exit_code == 0


def test_links_are_followed_and_hidden_folders_passed_over_as_the_importer_does(tmp_path: Path) -> None:
    folder = features(tmp_path / "f", "a", ".hidden/b")
    (folder / "link").symlink_to(features(tmp_path / "elsewhere", "c"))
    (folder / "circle").symlink_to(folder)
    listed = check_data("folder", folder, [listing(tmp_path, "a.npy,theft", "c.npy,theft")])
    assert wrong(listed) == {}
    assert {path.name for path in walk(folder, (".npy",))} == {"a.npy", "c.npy"}
