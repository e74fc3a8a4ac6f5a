"""``vadpipe train``: options that stand for settings, seeds, and what several ranks print."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.pipeline.heads import TEXT
from tests.pipeline.planted import Planted, plant
from tests.test_cli import write_labels
from vadpipe.cli import cli
from vadpipe.config import RunConfig, load_config
from vadpipe.errors import DataError, UsageError
from vadpipe.pipeline.training import data as train_data
from vadpipe.pipeline.training import run as train_run
from vadpipe.pipeline.training.data import TrainRequest, find_training_data

SMALL = ["--set=model.dim=32", "--set=model.heads=4", "--set=train.epochs=2", "--device=cpu"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planted:
    """A project folder, and text features without CLIP."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_run, "text_features", lambda *_args: (TEXT, "small"))
    planted = plant(tmp_path / "features", 24)
    write_labels(tmp_path, planted.records)
    return planted


def train(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["train", "--stream", "planted", *SMALL, *arguments], catch_exceptions=True)


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["--head", "lec-vad", "--select", "last"], ["head=lec_vad", "train.select=last"]),
        (["--head", "avadclip-student", "--set=model.distill=none"], ["head=avadclip_student", "model.distill=none"]),
        (["--head", "avadclip_student", "--set=model.distill=mse"], ["head=avadclip-student", "model.distill=mse"]),
        (["--select", "paper-test"], ["train.select=paper-test"]),
    ],
)
def test_options_stand_for_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], settings: list[str]
) -> None:
    asked: list[TrainRequest] = []

    def stop(request: TrainRequest, _say: Any) -> None:
        asked.append(request)
        raise UsageError("enough")

    monkeypatch.setattr(train_data, "find_training_data", stop)
    ended = CliRunner().invoke(cli, ["train", *arguments, "--teacher", "runs/t", "--out", "here"])
    assert isinstance(ended.exception, UsageError)
    wanted: RunConfig = load_config(None, settings)
    assert asked[0].config == wanted
    assert (asked[0].teacher, asked[0].out) == (Path("runs/t"), Path("here"))


def test_a_student_without_teacher_is_told_so_before_anything_is_read(tmp_path: Path) -> None:
    ended = CliRunner().invoke(cli, ["train", "--head", "avadclip-student", "--features", str(tmp_path / "none")])
    assert isinstance(ended.exception, UsageError)
    assert "pass --teacher RUN, or --set model.distill=none" in str(ended.exception)


@pytest.mark.parametrize("seeds", ["0", "x", "1,1", "-2", "1.5", "1001", ","])
def test_seeds_that_are_none_are_refused(seeds: str) -> None:
    ended = CliRunner().invoke(cli, ["train", f"--seeds={seeds}"])
    assert ended.exit_code == 2
    assert "seeds" in ended.output


@pytest.mark.parametrize("seed", [0, 1])
def test_seed_and_seeds_exclude_each_other(seed: int) -> None:
    ended = CliRunner().invoke(cli, ["train", f"--seed={seed}", "--seeds=3"])
    assert ended.exit_code == 2
    assert "exclude each other" in ended.output


def test_seeds_give_a_table_and_json(project: Planted) -> None:
    table = train("--seeds", "2")
    assert table.exit_code == 0, table.output
    for word in ("lec_vad-planted-seed0", "lec_vad-planted-seed1", "mean", "sd", "frame_ap", "seed 1: 2 of 2"):
        assert word in table.output
    told = train("--seeds", "0,1", "--json", "-q")
    assert told.exit_code == 0
    content = json.loads(told.stdout)
    assert [run["seed"] for run in content["runs"]] == [0, 1]
    assert set(content["figures"]["frame_ap"]) == {"mean", "sd"}
    assert content["runs"][0]["run"] == "runs/lec_vad-planted-seed0"


def test_one_run_says_how_far_it_is_and_what_it_kept(project: Planted) -> None:
    ended = train("--set=train.schedule=cosine", "--set=train.batch_size=8", "--select=paper-test")
    assert ended.exit_code == 0, ended.output
    assert "run: runs/lec_vad-planted-seed0" in ended.stderr
    assert "WARNING: paper-test" in ended.stderr
    assert "epochs: 1 of 2" in ended.stderr
    assert "s to go" in ended.stderr
    assert "TEST" in ended.stdout
    assert json.loads(Path("runs/lec_vad-planted-seed0/config.json").read_text())["config"]["train"]["select"] == (
        "paper-test"
    )
    assert Path("runs/lec_vad-planted-seed0/curve.png").read_bytes()[:4] == b"\x89PNG"


def test_paper_test_holds_nothing_out(project: Planted) -> None:
    config = load_config(None, ["stream=planted", "train.select=paper-test", "train.validation_share=0"])
    request = TrainRequest(config, labels=Path("labels.csv"))
    data = find_training_data(request)
    assert {record.id for record in data.train} == {item.id for part in ("train", "val") for item in project.part(part)}
    assert (data.val, len(data.test)) == ((), len(project.part("test")))
    held_out = replace(config, train=replace(config.train, select="last", validation_share=0.2))
    assert len(find_training_data(replace(request, config=held_out)).val) > 0
    write_labels(Path(), tuple(record for record in project.records if record.split != "test"))
    with pytest.raises(DataError, match="no record has split = test; paper-test needs them"):
        find_training_data(request)


def test_further_ranks_say_nothing_but_their_errors(project: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    ended = train("--stream", "other")
    assert str(ended.exception).startswith("rank 1: --stream other: 0 fit")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    ended = train()
    assert "MASTER_ADDR" in str(ended.exception)
    assert ended.output == ""
