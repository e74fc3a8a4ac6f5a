"""Several seeds: a folder each, one table, nothing twice; and the curves for TensorBoard."""

from __future__ import annotations

import statistics
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.pipeline.heads import INPUTS
from tests.pipeline.planted import CONFIG, Planted, plant
from tests.test_cli import write_labels
from vadpipe.errors import UsageError
from vadpipe.pipeline.training import seeds as module
from vadpipe.pipeline.training.bags import Bags
from vadpipe.pipeline.training.board import Board
from vadpipe.pipeline.training.data import TrainingData, TrainRequest, find_training_data
from vadpipe.pipeline.training.run import Prepared, train_run
from vadpipe.pipeline.training.seeds import train_seeds, with_seed

SHORT = replace(CONFIG, train=replace(CONFIG.train, epochs=2))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingData:
    monkeypatch.chdir(tmp_path)
    planted: Planted = plant(tmp_path / "features", 24)
    write_labels(tmp_path, planted.records)
    monkeypatch.setattr(module, "prepare", lambda data, _device: prepared(data))
    return find_training_data(TrainRequest(SHORT, out=Path("out/run")))


def prepared(data: TrainingData) -> Prepared:
    train, val = (Bags(data.store, data.spec, part, data.classes) for part in (data.train, data.val))
    return Prepared(train, val, None, INPUTS, None, "none", "")


def test_seeds_have_a_folder_each_and_a_common_table(data: TrainingData) -> None:
    epochs: list[tuple[int, float]] = []
    runs = train_seeds(data, [0, 3], "cpu", lambda seed, row: epochs.append((seed, row["epoch"])))
    assert runs.folders == {0: Path("out/run-seed0"), 3: Path("out/run-seed3")}
    assert epochs == [(0, 1), (0, 2), (3, 1), (3, 2)]
    values = [result.best["frame_ap"] for result in runs.results.values()]
    assert runs.figures()["frame_ap"] == (statistics.fmean(values), statistics.stdev(values))
    assert runs.results[0].trained.sha256 != runs.results[3].trained.sha256
    again = train_seeds(data, [0, 3, 4], "cpu", lambda seed, row: epochs.append((seed, row["epoch"])))
    assert epochs[4:] == [(4, 1), (4, 2)]  # finished seeds are not run again
    assert again.results[3].trained.sha256 == runs.results[3].trained.sha256
    told = again.to_mapping()
    assert [run["seed"] for run in told["runs"]] == [0, 3, 4]
    assert set(told["figures"]["video_ap"]) == {"mean", "sd"}


def test_a_seed_alone_is_the_run_of_that_seed(data: TrainingData, tmp_path: Path) -> None:
    request = replace(data.request, seed=3, out=tmp_path / "alone")
    alone = train_run(replace(data, request=request, folder=tmp_path / "alone"), prepared=prepared(data))
    several = train_seeds(data, [1, 3])
    assert several.results[3].trained.sha256 == alone.trained.sha256
    values = [result.best["video_ap"] for result in several.results.values()]
    assert several.figures()["video_ap"][1] == statistics.stdev(values)
    assert train_seeds(data, [3]).figures()["video_ap"][1] == 0.0


def test_default_folders_name_the_seed(data: TrainingData) -> None:
    default = replace(data, request=replace(data.request, out=None))
    assert with_seed(default, 4).folder == Path("runs/lec_vad-planted-seed4")
    assert with_seed(default, 4).request.seed == 4


class FakeWriter:
    """Keeps what it is told."""

    written: list[tuple[str, float, int]]
    made: list[FakeWriter] = []  # noqa: RUF012  # a list of all is the point

    def __init__(self, log_dir: str) -> None:
        Path(log_dir).mkdir(parents=True)
        self.log_dir, self.written, self.closed = log_dir, [], False
        self.made.append(self)

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.written.append((tag, value, step))

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_the_board_holds_each_epoch_once_also_after_a_restart(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake: Any = ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = FakeWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    result = train_run(data, prepared=prepared(data), board=True)
    first = FakeWriter.made[-1]
    assert first.closed
    assert Path(first.log_dir) == data.folder / "tensorboard"
    tags = {tag for tag, _, _ in first.written}
    assert {"lr", "loss/total", "loss/gmm", "validation/frame_ap"} <= tags
    assert {(value, step) for tag, value, step in first.written if tag == "loss/total"} == {
        (row["loss_total"], row["epoch"]) for row in result.history
    }
    train_run(data, prepared=prepared(data), board=True)  # finished: written anew from metrics.jsonl
    assert FakeWriter.made[-1] is not first
    assert sorted(FakeWriter.made[-1].written) == sorted(first.written)
    again = replace(data, request=replace(data.request, restart=True))
    train_run(again, prepared=prepared(data), board=True)  # --restart knows the folder


def test_a_missing_package_is_said_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'vadpipe\[tensorboard\]'"):
        Board(tmp_path)
    assert not (tmp_path / "tensorboard").exists()


def test_events_are_read_back_where_the_package_is_there(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    accumulator = import_module("tensorboard.backend.event_processing.event_accumulator")
    board = Board(tmp_path, [{"epoch": 1.0, "loss_total": 2.0}])
    board.add({"epoch": 2.0, "loss_total": 1.5, "frame_ap": 0.25})
    board.close()
    read = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss/total")] == [(1, 2.0), (2, 1.5)]
    assert [event.value for event in read.Scalars("validation/frame_ap")] == [0.25]
