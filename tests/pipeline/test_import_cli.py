"""Released features on the command line, as far as trained and evaluated heads; exit codes and messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.extractors import painted_videos
from vadpipe.cli import cli

ROOT = Path(__file__).parents[2]
SMALL = [
    *("--set", "model.local_layers=1", "--set", "model.memory_blocks=1"),
    *("--set", "train.epochs=1", "--set", "train.batch_size=8"),
]


def vadpipe(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in its own process, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "vadpipe", *(str(item) for item in arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "VADPIPE_WEIGHTS": str(cwd / "weights")},
    )


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lists of XD-Violence's naming and their features: 16 training videos, 8 test videos, crop 0."""
    folder = tmp_path_factory.mktemp("released")
    (folder / "data").mkdir()
    rng, spans = np.random.default_rng(0), []
    for split, name, count in (("train", "xd_CLIP_rgb.csv", 16), ("test", "xd_CLIP_rgbtest.csv", 8)):
        rows = []
        for number in range(count):
            label = ("A", "B1-0-0", "A", "G-0-0")[number % 4]
            video = f"Film.{number}={split}__#00-0{number % 10}-00_label_{label}"
            data = rng.standard_normal((30, 16)).astype(np.float16)
            if label != "A":
                data[10:16, number % 4] += 6
                spans.append(f"{video} {label.split('-')[0]} 160 256")
            np.save(folder / "data" / f"{video}__0.npy", data)
            rows += [f"/home/author/{video}__{crop}.npy,{label}" for crop in range(10 if split == "train" else 1)]
        (folder / name).write_text("path,label\n" + "\n".join(rows) + "\n")
    (folder / "annotations.txt").write_text("\n".join(spans) + "\n")
    return folder


IMPORT = ["import", "features", "--dataset", "xd_violence", "--root", "data"]
LISTS = ["--list", "xd_CLIP_rgb.csv", "--list", "test=xd_CLIP_rgbtest.csv"]


def test_from_lists_to_figures_without_any_video(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(released)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments, catch_exceptions=False)  # in this process: torch is loaded once

    done = run(*IMPORT, *LISTS, "--annotations", "annotations.txt", "--stream", "clip-xd")
    assert done.exit_code == 0, done.stderr
    assert "24 of 24 videos: their true number of frames is not known" in done.stderr
    assert "features/manifest.jsonl" in done.stderr
    labels = ["--labels", "features/manifest.jsonl", "--device", "cpu"]
    done = run("train", *labels, "--stream", "clip-xd", "--weights", "random", *SMALL)
    assert done.exit_code == 0, done.stderr
    assert "train: 12 videos" in done.stderr
    done = run("evaluate", *labels, "--json")
    assert done.exit_code == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["videos"], figures["frames"]) == (8, 8 * 480)
    assert figures["frame_ap_chance"] == pytest.approx(4 * 96 / (8 * 480))


def test_what_is_missing_extra_or_unusable_is_named_with_exit_code_3(released: Path, tmp_path: Path) -> None:
    for path in (released / "data").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    first, second, *_ = sorted(tmp_path.glob("*train*"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-3])
    (tmp_path / "Other\x1b[31m__0.npy").write_bytes(b"")
    command = ["import", "features", "--dataset", "xd_violence", "--root", tmp_path, "--out", tmp_path / "out", *LISTS]
    done = vadpipe(*command, "--json", cwd=released)
    assert done.returncode == 3
    assert f"missing: released-xd_violence: {first.name[:-7]}: {first.name}" in done.stderr
    assert f"failed: {second.name[:-7]}: " in done.stderr
    assert "truncated" in done.stderr
    assert "extra: Other\\x1b[31m__0.npy" in done.stderr
    (stream,) = json.loads(done.stdout)["streams"]
    assert len(stream["done"]) == 22
    assert (list(stream["failed"]), stream["missing"]) == ([second.name[:-7]], [first.name[:-7]])
    for path in (first, second):
        path.write_bytes((released / "data" / path.name).read_bytes())
    done = vadpipe(*command, cwd=released)
    assert done.returncode == 0, done.stderr
    assert "already there" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either a FOLDER"),
        (["data", *LISTS], "either a FOLDER"),
        (LISTS, "needs --dataset"),
        (["--dataset", "xd_violence", *LISTS], "needs --root"),
        (["data"], "--stream"),
        (["data", "--stream", "made", "--test-crops", "0"], "--test-crops belongs to --list"),
        (["--dataset", "xd", "--root", "data", *LISTS], "xd_violence"),
        (["--dataset", "xd_violence", "--root", "data", "--list", "xd_CLIP_rgbtest.csv"], "name says test"),
        (["--dataset", "xd_violence", "--root", "data", "--fps", "0", *LISTS], "--fps: got 0"),
        (["--dataset", "xd_violence", "--root", "nowhere", *LISTS], "not a folder"),
    ],
)
def test_wrong_requests_are_one_line_and_exit_code_2(released: Path, arguments: list[str], message: str) -> None:
    done = vadpipe("import", "features", *arguments, cwd=released)
    assert done.returncode == 2
    assert message in done.stderr.strip().split("\n")[-1]
    assert "Traceback" not in done.stderr


def test_a_folder_with_labels_still_works(released: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 4), np.float32))
    np.save(tmp_path / "b.npy", np.full((3, 4), np.inf, np.float32))
    (tmp_path / "labels.csv").write_text("video,label,frames,fps\na,normal,40,25\nb,normal,40,25\nc,riot,9,25\n")
    done = vadpipe("import", "features", tmp_path, "--stream", "made", "--json", cwd=tmp_path)
    assert done.returncode == 3
    assert "failed: b: " in done.stderr
    told = json.loads(done.stdout)
    assert (told["done"], told["missing"]) == (["a"], ["c"])


def test_a_folder_needs_no_labels_where_the_videos_are_there(tmp_path: Path) -> None:
    painted_videos.write(tmp_path / "videos.mp4", 1)  # not looked at: outside the folder
    (tmp_path / "videos").mkdir()
    painted_videos.write(tmp_path / "videos" / "a.mp4", 40)
    for crop in (0, 1):
        np.save(tmp_path / f"a__{crop}.npy", np.ones((3, 4), np.float32))
    command = ["import", "features", str(tmp_path), "--stream", "made", "--videos", str(tmp_path / "videos")]
    done = CliRunner().invoke(cli, [*command, "--crops", "all", "--out", str(tmp_path / "store"), "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["done"] == ["a"]


def test_missing_files_of_a_folder_are_exit_code_3_and_odd_videos_are_named(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    painted_videos.write(tmp_path / "videos" / "a.mp4", 40)
    painted_videos.write(tmp_path / "videos" / "b.mp4", 40)
    (tmp_path / "videos" / "odd\n.mp4").write_bytes(b"")
    np.save(tmp_path / "a.npy", np.ones((3, 4), np.float32))
    command = ["import", "features", str(tmp_path), "--stream", "made", "--videos", str(tmp_path / "videos")]
    done = CliRunner().invoke(cli, [*command, "--out", str(tmp_path / "store"), "--json"])
    assert done.exit_code == 3
    told = json.loads(done.stdout)
    assert (told["done"], told["missing"], told["failed"]) == (["a"], ["b"], {})
    assert "missing: b has no b.npy" in done.stderr
    assert "left out: video id" in done.stderr


def test_lists_of_which_no_video_can_be_imported_are_exit_code_1(tmp_path: Path) -> None:
    np.save(tmp_path / "A__#0_label_A__0.npy", np.full((3, 4), np.nan, np.float32))
    (tmp_path / "list.csv").write_text("path,label\n/a/A__#0_label_A__0.npy,A\n")
    command = ["import", "features", "--dataset", "xd_violence", "--root", str(tmp_path)]
    command += ["--list", f"train={tmp_path / 'list.csv'}", "--out", str(tmp_path / "store")]
    done = CliRunner().invoke(cli, command)
    assert (done.exit_code, type(done.exception)) == (1, SystemExit)
    assert "holds NaN" in done.stderr
    assert (tmp_path / "store" / "manifest.jsonl").is_file()
