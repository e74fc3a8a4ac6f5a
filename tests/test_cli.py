"""The commands as a user meets them: exit codes, one-line errors, tables and JSON on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extractors import painted_videos
from tests.pipeline.planted import CONFIG, SPEC, Planted, plant
from vadpipe.manifest import VideoRecord

ROOT = Path(__file__).parents[1]


def vadpipe(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in its own process, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "vadpipe", *(str(item) for item in arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "VADPIPE_WEIGHTS": str(cwd / "weights")},
    )


def write_labels(folder: Path, records: tuple[VideoRecord, ...]) -> None:
    rows = [f"{item.id},{'|'.join(item.labels)},{item.split},{item.num_frames},{item.fps}" for item in records]
    (folder / "labels.csv").write_text("video,label,split,frames,fps\n" + "\n".join(rows) + "\n")
    spans = [
        f"{item.id} " + " ".join(f"{span.category} {span.start_frame} {span.end_frame}" for span in item.intervals)
        for item in records
        if item.intervals
    ]
    (folder / "annotations.txt").write_text("\n".join(spans) + "\n")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    folder = tmp_path_factory.mktemp("project")
    planted = plant(folder / "features", 32)
    write_labels(folder, planted.records)
    return folder, planted


SETTINGS = [f"--set=model.{name}={getattr(CONFIG.model, name)}" for name in ("dim", "heads", "memory_blocks")]


def test_train_finds_what_is_in_the_folder_then_says_it_lacks_text_weights(project: tuple[Path, Planted]) -> None:
    folder, _ = project
    ended = vadpipe("train", "--stream", "planted", "-q", cwd=folder)
    assert ended.returncode == 1
    assert "ViT-B-16.pt" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["extract", "nowhere.mp4", "--weights", "random"], 2, "does not exist"),
        (["train"], 2, "vadpipe extract"),
        (["evaluate"], 2, "vadpipe train"),
        (["detect", "x.mp4"], 2, "does not exist"),
        (["train", "--set", "train.epoch=3"], 2, "train.epoch"),
        (["train", "--device", "gpu"], 2, "expected auto, cpu, cuda"),
        (["extract"], 2, "VIDEOS"),
        (["nonsense"], 2, "nonsense"),
        (["import", "features", ".", "--stream", "x"], 2, "labels"),
    ],
)
def test_wrong_requests_are_one_message_and_a_code(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    ended = vadpipe(*arguments, cwd=tmp_path)
    assert ended.returncode == code
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_one_bad_video_among_good_ones_is_exit_code_3(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    painted_videos.write(videos / "good.mp4", 5)
    (videos / "bad\x1b[31m.mp4").write_text("text")
    ended = vadpipe("extract", videos, "--weights", "random", "--batch-size", 4, "--json", cwd=tmp_path)
    assert ended.returncode == 3, ended.stderr
    told = json.loads(ended.stdout)
    assert told["done"] == ["good"]
    assert told["rows"] == 1
    assert "random weights" in ended.stderr
    assert "\x1b" not in ended.stderr
    again = vadpipe("extract", videos / "good.mp4", "--weights", "random", "--batch-size", 4, "--json", cwd=tmp_path)
    assert (again.returncode, json.loads(again.stdout)["kept"]) == (0, ["good"])


def test_doctor_says_what_is_there(tmp_path: Path) -> None:
    ended = vadpipe("doctor", cwd=tmp_path)
    assert ended.returncode == 0
    assert "torch" in ended.stdout
    assert "VADPIPE_WEIGHTS" in ended.stdout


def test_specs_are_found_by_stream_or_folder_name(project: tuple[Path, Planted]) -> None:
    folder, _ = project
    ended = vadpipe("train", "--stream", "clip", cwd=folder)
    assert ended.returncode == 2
    assert SPEC.folder in ended.stderr
