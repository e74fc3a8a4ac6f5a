"""Stopping after any epoch and going on gives the bytes of the uninterrupted run, whatever is switched on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.pipeline.heads import INPUTS, small_config, small_inputs
from tests.pipeline.planted import AUDIO_SPEC, CLASSES, CONFIG, SMALL, SPEC, Planted, plant, plant_audio
from vadpipe.config import RunConfig, TrainConfig, load_config
from vadpipe.errors import UsageError
from vadpipe.models.checkpoint import TrainedHead, load_head
from vadpipe.models.heads import build_head
from vadpipe.pipeline.train import FitResult, Row, fit, validate
from vadpipe.pipeline.training.bags import Bags
from vadpipe.pipeline.training.state import TrainState, placed
from vadpipe.pipeline.training.teacher import Teacher
from vadpipe.pipeline.training.validate import is_stalled

RICH = TrainConfig(
    lr=2e-3,
    batch_size=6,
    epochs=4,
    accumulate=2,
    micro_batch=5,
    schedule="cosine",
    warmup_steps=3,
    clip_gradients=1.0,
    average=0.5,
    early_stopping=3,
)
WAYS: dict[str, RunConfig] = {
    "everything": replace(CONFIG, train=RICH, model=replace(SMALL, standardise="pca", input_dropout=0.2)),
    "bf16": replace(CONFIG, train=TrainConfig(lr=2e-3, batch_size=8, epochs=3, precision="bf16", schedule="step")),
    "prompts": small_config("vadclip", replace(RICH, epochs=3)),
    "student": small_config("avadclip_student", replace(RICH, epochs=3), distill_weight=0.1),
}


class StoppedError(Exception):
    """What the tests interrupt a run with."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    made = plant(tmp_path_factory.mktemp("planted"), 24)
    plant_audio(made)
    return made


def run(planted: Planted, config: RunConfig, folder: Path, stop_after: int = 0) -> FitResult:
    """Train in ``folder``; with ``stop_after``, raise once that many epochs are on disk."""
    audio = AUDIO_SPEC if config.audio_stream else None
    train, val = (Bags(planted.store, SPEC, planted.part(part), CLASSES, audio_spec=audio) for part in ("train", "val"))

    def on_epoch(row: Row) -> None:
        if row["epoch"] == stop_after:
            raise StoppedError

    inputs = INPUTS if config.head == "lec_vad" else small_inputs()
    teacher = None
    if config.head == "avadclip_student":
        torch.manual_seed(1)
        told = small_config("avadclip")
        head = build_head(told, small_inputs())
        both = Bags(planted.store, SPEC, planted.part("train"), CLASSES, audio_spec=AUDIO_SPEC)
        teacher = Teacher(TrainedHead(head, told, SPEC, CLASSES, "", {}, "abc", AUDIO_SPEC), both)
    return fit(train, val, inputs, config, folder, teacher=teacher, on_epoch=on_epoch)


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_run_that_stops_and_goes_on_is_the_uninterrupted_run(planted: Planted, tmp_path: Path, way: str) -> None:
    whole = run(planted, WAYS[way], tmp_path / "whole")
    for epochs in (1, 2):
        with pytest.raises(StoppedError):
            run(planted, WAYS[way], tmp_path / "broken", stop_after=epochs)
    resumed = run(planted, WAYS[way], tmp_path / "broken")
    assert resumed.history == whole.history
    for name in ("model.safetensors", "metrics.jsonl", "config.json", "state.safetensors"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    rates = [row["lr"] for row in whole.history]
    assert len(set(rates)) == (1 if way == "bf16" else len(rates))


def test_the_kept_head_has_the_figures_that_it_was_kept_for(planted: Planted, tmp_path: Path) -> None:
    """With learned prompts and averaged weights, what is saved is what was validated: class text included."""
    result = run(planted, WAYS["prompts"], tmp_path)
    val = Bags(planted.store, SPEC, planted.part("val"), CLASSES)
    again = validate(load_head(tmp_path).head, val, WAYS["prompts"])
    assert again == {name: pytest.approx(result.best[name], abs=1e-6) for name in again}


def early(patience: int, epochs: int = 9) -> RunConfig:
    return replace(CONFIG, train=TrainConfig(lr=1e-9, batch_size=8, epochs=epochs, early_stopping=patience))


def test_training_ends_early_where_nothing_gets_better(planted: Planted, tmp_path: Path) -> None:
    result = run(planted, early(2), tmp_path)  # at this rate no figure moves: epochs 2 and 3 are no better than 1
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert "of 3 (stopped early, 9 were allowed)" in result.trained.selection
    assert run(planted, early(2), tmp_path).trained.sha256 == result.trained.sha256


def test_a_run_that_was_stopped_early_is_not_trained_on_after_a_kill(planted: Planted, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        run(planted, early(2), tmp_path / "broken", stop_after=3)  # the state is written, the checkpoint is not
    assert not (tmp_path / "broken" / "config.json").exists()
    assert len(run(planted, early(2), tmp_path / "broken").history) == 3


def test_stalled_means_no_epoch_above_the_best_before() -> None:
    def rows(*figures: float) -> list[Row]:
        return [{"frame_ap": value, "video_ap": 0.5} for value in figures]

    assert not is_stalled(rows(0.1, 0.5, 0.5, 0.5), 0)
    assert not is_stalled(rows(0.5, 0.4), 2)
    assert is_stalled(rows(0.5, 0.4, 0.5), 2)
    assert not is_stalled(rows(0.5, 0.4, 0.51), 2)
    assert not is_stalled(rows(0.1, 0.6, 0.3), 2)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        (["train.early_stopping=3", "train.select=last"], "early_stopping compares epochs"),
        (["train.early_stopping=-1"], r"train\.early_stopping: got -1"),
        (["train.schedule=linear"], r"train\.schedule: got 'linear', expected constant, cosine or step"),
        (["train.step_epochs=[3, 3]"], "step_epochs: got"),
        (["train.step_factor=0"], "step_factor: got 0"),
        (["train.precision=fp16"], "expected float32 or bf16"),
        (["train.accumulate=0"], r"train\.accumulate"),
        (["train.micro_batch=-4"], r"train\.micro_batch"),
    ],
)
def test_settings_that_make_no_sense_are_named(override: list[str], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        load_config(None, override)


def test_step_counters_stay_on_the_cpu() -> None:
    meta = torch.device("meta")
    names = ("optimizer/head.weight/step", "optimizer/head.weight/exp_avg", "head/step")
    assert [placed(name, torch.zeros(1), meta).device.type for name in names] == ["cpu", "meta", "meta"]


def test_averages_copy_counters_and_mix_the_rest() -> None:
    class Counting(torch.nn.Linear):
        def __init__(self) -> None:
            super().__init__(1, 1)
            self.count: torch.Tensor
            self.register_buffer("count", torch.tensor(0))

    head = Counting()
    optimizer = torch.optim.AdamW(head.parameters())
    state = TrainState(head, optimizer, TrainConfig(average=0.75), "")
    weight: Any = head.weight
    for value in (1.0, 3.0):
        with torch.no_grad():
            weight.fill_(value)
        head.count += 1
        state.update_average()
    assert state.average["weight"].item() == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert state.average["count"].item() == 2
    assert state.scoring_head().count.item() == 2
    assert not state.scoring_head().training
