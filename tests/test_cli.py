"""The commands as a user meets them: exit codes, one-line errors, tables and JSON on stdout."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.extractors import painted_videos
from tests.pipeline.planted import SPEC, Planted, plant
from vadpipe.cli import main
from vadpipe.cli_output import print_table
from vadpipe.config import RunConfig
from vadpipe.head_config import LecVadConfig
from vadpipe.manifest import VideoRecord, write_manifest
from vadpipe.models import HeadInputs, LecVad
from vadpipe.models.checkpoint import TrainedHead, save_head
from vadpipe.store import FeatureStore

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


SMALL = ["--set=model.local_layers=1", "--set=model.memory_blocks=1"]


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
        (["evaluate", "--run", "nope"], 2, "--run nope: no trained head there"),
    ],
)
def test_wrong_requests_are_one_message_and_a_code(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    ended = vadpipe(*arguments, cwd=tmp_path)
    assert ended.returncode == code
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_one_bad_video_among_good_ones_then_detect(tmp_path: Path) -> None:
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
    spec = FeatureStore(tmp_path / "features").specs()[0]
    network = LecVad(LecVadConfig(memory_blocks=1), HeadInputs(spec.dim, torch.randn(2, 512)))
    save_head(tmp_path / "runs" / "x", TrainedHead(network, RunConfig(), spec, ("normal", "riot"), "none"))
    detect = ["detect", videos / "good.mp4", "--features", "features", "--out", "found.json", "--picture", "--json"]
    refused = vadpipe(*detect, cwd=tmp_path)
    assert refused.returncode == 1, refused.stderr
    assert "memory_blocks.1" in refused.stderr
    config = RunConfig(model=LecVadConfig(memory_blocks=1))
    save_head(tmp_path / "runs" / "x", TrainedHead(network, config, spec, ("normal", "riot"), "none"))
    found = vadpipe(*detect, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout) == json.loads((tmp_path / "found.json").read_text())
    assert (tmp_path / "found.png").stat().st_size > 1000
    assert any("untrained" in text for text in json.loads(found.stdout)["warnings"])
    partly = vadpipe("detect", videos, "--features", "features", "--out", "one.json", cwd=tmp_path)
    assert partly.returncode == 3, partly.stderr
    assert "rename the file" in partly.stderr
    assert (tmp_path / "one.json").exists()


def test_doctor_says_what_is_there(tmp_path: Path) -> None:
    ended = vadpipe("doctor", "--quick", cwd=tmp_path)
    assert ended.returncode == 0
    assert "torch" in ended.stdout
    assert "painted frames, each the right one" in ended.stdout


def test_specs_are_found_by_stream_or_folder_name(project: tuple[Path, Planted]) -> None:
    folder, _ = project
    ended = vadpipe("train", "--stream", "clip", cwd=folder)
    assert ended.returncode == 2
    assert SPEC.folder in ended.stderr


def test_import_train_evaluate_without_any_video(project: tuple[Path, Planted], tmp_path: Path) -> None:
    _, planted = project
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    for record in planted.records:
        np.save(arrays / f"{record.id}.npy", planted.store.read(SPEC, record.id).data)
    write_labels(tmp_path, planted.records)
    imported = vadpipe("import", "features", arrays, "--stream", "other", "--json", cwd=tmp_path)
    assert imported.returncode == 0, imported.stderr
    assert len(json.loads(imported.stdout)["done"]) == len(planted.records)
    train = ["train", "--stream", "other", "--weights", "random", "--set", "train.epochs=1", *SMALL]
    trained = vadpipe(*train, "--json", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    run = tmp_path / "runs" / "lec_vad-other-seed0"
    for name in ("model.safetensors", "config.json", "README.md", "metrics.jsonl", "curve.png", "videos.json"):
        assert (run / name).stat().st_size > 0, name
    assert json.loads(vadpipe(*train, "--json", cwd=tmp_path).stdout) == json.loads(trained.stdout)
    evaluated = vadpipe("evaluate", "--out", "figures.json", "--json", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    figures = json.loads(evaluated.stdout)
    assert figures == json.loads((tmp_path / "figures.json").read_text())
    assert figures["videos"] == len(planted.part("test"))
    assert 0 < figures["frame_ap_chance"] < 0.2
    refused = vadpipe("evaluate", "--split", "train", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--allow-seen" in refused.stderr
    assert vadpipe("evaluate", "--split", "train", "--allow-seen", cwd=tmp_path).returncode == 0
    kept = (run / "model.safetensors").read_bytes()
    failed = vadpipe("train", "--stream", "other", "--restart", cwd=tmp_path)  # no text weights here
    assert failed.returncode == 1
    assert (run / "model.safetensors").read_bytes() == kept
    misspelt = vadpipe(*train, '--set=classes=["normal", "Fighting", "riot"]', cwd=tmp_path)
    assert misspelt.returncode == 1
    assert "labels ['fighting'] are none of" in misspelt.stderr
    other = vadpipe(*train, "--set", "train.lr=1e-3", cwd=tmp_path)
    assert other.returncode == 2
    assert "--restart" in other.stderr


@pytest.mark.parametrize("given", ["labels.csv", "manifest.jsonl", "a.list"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fps", "x"], "--fps: got 'x'"),
        (["--fps", "0"], "--fps: got 0"),
        (["--split", "tset"], "--split: got 'tset'"),
        (["--order", "a.list"], "pass that as --annotations"),
    ],
)
def test_wrong_options_of_import_labels_are_usage_errors(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: str,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").write_text("video,label\na,theft\n")
    (tmp_path / "a.list").write_text("theft/a.mp4\n")
    write_manifest(tmp_path / "manifest.jsonl", [VideoRecord("a", frozenset({"theft"}))])
    command = ["vadpipe", "import", "labels", given, "--dataset", "folder", "--out", "out.jsonl", *arguments]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_table_never_cuts_a_name_off(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("names", ["id", "videos"], [["x" * 400, "1"]])
    shown = capsys.readouterr().out
    assert shown.count("x") == 400
    assert "…" not in shown


def test_the_shaped_benchmark_works_in_a_relative_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["xd_shaped.py", "--work", "here"])
    assert importlib.import_module("xd_shaped")._options().work == tmp_path / "here"
