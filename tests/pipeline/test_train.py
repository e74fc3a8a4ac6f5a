"""Training: it learns, it is reproducible, it survives kill -9, it cannot see the test set."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from tests.pipeline.heads import INPUTS
from tests.pipeline.planted import CLASSES, CONFIG, SPEC, Planted, plant
from vadpipe.config import RunConfig, TrainConfig
from vadpipe.errors import CheckpointError, UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.models.checkpoint import load_head
from vadpipe.pipeline.evaluate import evaluate
from vadpipe.pipeline.train import FitResult, fit, validate
from vadpipe.pipeline.training.bags import Bags
from vadpipe.tracks import NORMAL


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return plant(tmp_path_factory.mktemp("planted"), 32)


def bags(planted: Planted, split: str) -> Bags:
    return Bags(planted.store, SPEC, planted.part(split), CLASSES)


def run(planted: Planted, folder: Path, config: RunConfig = CONFIG, seed: int = 0) -> FitResult:
    return fit(bags(planted, "train"), bags(planted, "val"), INPUTS, config, folder, seed=seed)


def test_a_planted_incident_is_found_in_unseen_videos(planted: Planted, tmp_path: Path) -> None:
    many = plant(tmp_path / "many", 80)
    config = replace(CONFIG, train=TrainConfig(lr=1e-2, batch_size=16, epochs=12))
    result = run(many, tmp_path / "run", config)
    measured = evaluate(result.trained, many.store, many.part("test"))
    assert measured.ap > 3 * measured.abnormal_share
    assert measured.auc > 0.9
    assert measured.intervals.mean[0] > 2 * measured.chance[0]
    assert result.best["loss_total"] < result.history[0]["loss_total"]


def test_same_seed_same_bytes_other_seed_other_weights(planted: Planted, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(planted, tmp_path / name, seed=seed)
    first, second, third = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert first == second != third


def test_a_finished_run_is_returned_and_other_settings_are_refused(planted: Planted, tmp_path: Path) -> None:
    first = run(planted, tmp_path)
    stamp = (tmp_path / "model.safetensors").stat().st_mtime_ns
    again = run(planted, tmp_path)
    assert (again.best, again.trained.sha256) == (first.best, first.trained.sha256)
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(UsageError, match="other data or settings"):
        run(planted, tmp_path, seed=5)


def test_changed_features_or_truth_are_another_run(tmp_path: Path) -> None:
    planted = plant(tmp_path / "store", 16)
    config = replace(CONFIG, train=replace(CONFIG.train, epochs=1, validation_share=0.0, select="last"))

    def again(records: list[VideoRecord]) -> FitResult:
        return fit(Bags(planted.store, SPEC, records, CLASSES), None, INPUTS, config, tmp_path / "run")

    records = planted.part("train")
    again(records)
    assert (tmp_path / "run" / "videos.json").exists()
    with pytest.raises(UsageError, match="other data or settings"):
        again([replace(record, intervals=()) for record in records])
    track = planted.store.read(SPEC, records[0].id)
    planted.store.write(replace(track, data=track.data + 1))
    with pytest.raises(UsageError, match="other data or settings"):
        again(records)


def test_history_is_written_and_the_best_epoch_is_kept(planted: Planted, tmp_path: Path) -> None:
    result = run(planted, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, CONFIG.train.epochs + 1))
    assert result.best["frame_ap"] == max(row["frame_ap"] for row in rows)
    kept = validate(load_head(tmp_path).head, bags(planted, "val"), CONFIG)
    assert kept["frame_ap"] == pytest.approx(result.best["frame_ap"])


def test_select_last_keeps_the_last_epoch(planted: Planted, tmp_path: Path) -> None:
    config = replace(CONFIG, train=replace(CONFIG.train, select="last"))
    result = run(planted, tmp_path, config)
    assert result.best["epoch"] == config.train.epochs
    assert "last epoch" in result.trained.selection


def test_test_data_is_taken_for_paper_test_only(planted: Planted, tmp_path: Path) -> None:
    test = bags(planted, "test")
    with pytest.raises(UsageError, match="paper-test"):
        fit(bags(planted, "train"), bags(planted, "val"), INPUTS, CONFIG, tmp_path, selection=test)
    config = replace(CONFIG, train=replace(CONFIG.train, select="paper-test", epochs=1))
    result = fit(bags(planted, "train"), bags(planted, "val"), INPUTS, config, tmp_path, selection=test)
    assert "TEST" in result.trained.selection
    assert "TEST" in (tmp_path / "README.md").read_text()


def test_a_finished_run_without_its_figures_says_what_to_do(planted: Planted, tmp_path: Path) -> None:
    config = replace(CONFIG, train=replace(CONFIG.train, epochs=1))
    run(planted, tmp_path, config)
    history = tmp_path / "metrics.jsonl"
    for content in ("", '{"epoch": 7}', "no json", "[1]"):
        history.write_text(content)
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl .*train with --restart"):
            run(planted, tmp_path, config)
    history.unlink()
    with pytest.raises(CheckpointError, match="train with --restart"):
        run(planted, tmp_path, config)


def test_selecting_on_nothing_is_refused(planted: Planted, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no validation videos"):
        fit(bags(planted, "train"), None, INPUTS, CONFIG, tmp_path)


def test_videos_of_one_kind_only_are_refused(planted: Planted, tmp_path: Path) -> None:
    normal = [record for record in planted.part("train") if NORMAL in record.labels]
    with pytest.raises(UsageError, match="all of one kind"):
        fit(Bags(planted.store, SPEC, normal, CLASSES), bags(planted, "val"), INPUTS, CONFIG, tmp_path)


def test_validation_without_truth_ranks_videos(planted: Planted, tmp_path: Path) -> None:
    blind = [replace(record, intervals=()) for record in planted.part("val")]
    result = fit(bags(planted, "train"), Bags(planted.store, SPEC, blind, CLASSES), INPUTS, CONFIG, tmp_path)
    assert "frame_ap" not in result.best
    assert result.trained.selection.endswith("selected by video_ap on 6 validation videos")


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from tests.pipeline.heads import INPUTS
    from tests.pipeline.planted import CLASSES, CONFIG, SPEC, plant
    from vadpipe.pipeline import train
    from vadpipe.pipeline.training.bags import Bags

    store, out, after, half = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "half"
    planted = plant(store, 32)
    written = 0
    replace = os.replace

    def counted(source, target):
        global written
        written += 1
        if written > after:
            if not half:
                replace(source, target)
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = counted
    bags = {name: Bags(planted.store, SPEC, planted.part(name), CLASSES) for name in ("train", "val")}
    written = 0
    train.fit(bags["train"], bags["val"], INPUTS, CONFIG, out)
"""


@pytest.fixture(scope="module")
def whole(planted: Planted, tmp_path_factory: pytest.TempPathFactory) -> tuple[FitResult, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return run(planted, folder), folder


@pytest.mark.parametrize(("after", "half"), [(0, "half"), (3, "whole"), (8, "half"), (8, "whole"), (12, "half")])
def test_kill_9_at_any_write_then_rerun_gives_the_same_weights(
    planted: Planted, whole: tuple[FitResult, Path], tmp_path: Path, after: int, half: str
) -> None:
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    root = str(Path(__file__).parents[2])
    arguments = [sys.executable, str(script), str(tmp_path / "store"), str(tmp_path / "killed"), str(after), half]
    ended = subprocess.run(arguments, env={**os.environ, "PYTHONPATH": root}, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    resumed, (unbroken, folder) = run(planted, tmp_path / "killed"), whole
    assert resumed.trained.sha256 == unbroken.trained.sha256
    assert resumed.history == unbroken.history
    assert run(planted, tmp_path / "killed").best == unbroken.best
    for name in ("model.safetensors", "metrics.jsonl", "config.json", "state.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (folder / name).read_bytes(), name
