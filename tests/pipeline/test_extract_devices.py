"""Extraction by several processes: the same bytes as by one, and what is said when one of them fails or dies."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.extractors import painted_videos
from tests.pipeline.device_streams import build
from vadpipe.errors import UsageError, WorkerDied
from vadpipe.pipeline.extract import ExtractOptions, ExtractSummary, Outcome, Step
from vadpipe.pipeline.extracting.devices import _collect, extract_on, gpu_devices
from vadpipe.store import FeatureStore

OPTIONS = ExtractOptions(jobs=1)


@pytest.fixture
def videos(tmp_path: Path) -> dict[str, Path]:
    paths = {f"v{number}": painted_videos.write(tmp_path / f"v{number}.mp4", 20 + number) for number in range(3)}
    (tmp_path / "bad.mp4").write_text("no video")
    return {**paths, "bad": tmp_path / "bad.mp4"}


def test_two_processes_write_the_bytes_of_one(tmp_path: Path, videos: dict[str, Path]) -> None:
    outcomes: list[Outcome] = []
    steps: list[Step] = []
    one, two = FeatureStore(tmp_path / "one"), FeatureStore(tmp_path / "two")
    alone = extract_on(["cpu"], build, videos, one, OPTIONS)
    together = extract_on(["cpu", "cpu"], build, videos, two, OPTIONS, outcomes.append, steps.append)
    files = {path.relative_to(one.root): path.read_bytes() for path in one.root.rglob("*.h5")}
    assert files == {path.relative_to(two.root): path.read_bytes() for path in two.root.rglob("*.h5")}
    assert len(files) == 6
    assert sorted(together.done) == sorted(alone.done) == ["v0", "v1", "v2"]
    assert (together.frames, together.rows, together.failed) == (alone.frames, alone.rows, alone.failed)
    assert list(together.failed) == ["bad"]
    assert sorted(outcome.name for outcome in outcomes) == sorted(videos)
    assert sum(step.rows for step in steps) == together.rows


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [("dying", WorkerDied, "process of device . ended with code 7"), ("failing", UsageError, "not on this device")],
)
def test_a_process_that_fails_ends_the_run(
    tmp_path: Path, videos: dict[str, Path], kind: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        extract_on(["cpu", "cpu"], partial(build, kind=kind), videos, FeatureStore(tmp_path / "store"), OPTIONS)


@dataclass
class Process:
    exitcode: int | None

    def is_alive(self) -> bool:
        return self.exitcode is None


@dataclass
class Busy:
    """Events of two processes: ``last`` words of the first, then the second goes on and on, for 100 rows."""

    last: list[Any] = field(default_factory=list)
    rows: int = 0

    def get(self, block: bool = True, timeout: float | None = None) -> tuple[int, Any]:
        if self.last:
            return 0, self.last.pop(0)
        if self.rows == 100:
            raise queue.Empty
        self.rows += 1
        return 1, Step(1, 16.0, 0.1) if self.rows < 100 else ExtractSummary(done=["b"])

    def get_nowait(self) -> tuple[int, Any]:
        if self.last:
            return self.get()
        raise queue.Empty


def test_a_death_is_noticed_while_another_process_is_busy() -> None:
    events, steps = Busy(), list[Step]()
    with pytest.raises(WorkerDied, match="process of device 0 ended with code -9"):
        _collect({0: Process(-9), 1: Process(None)}, events, None, steps.append)
    assert len(steps) == events.rows == 1


def test_the_last_words_of_a_process_that_ended_are_heard() -> None:
    outcome = Outcome("a", Path("a.mp4"))
    outcomes: list[Outcome] = []
    events = Busy([outcome, ExtractSummary(done=["a"])])
    total = _collect({0: Process(0), 1: Process(None)}, events, outcomes.append, None)
    assert (total.done, outcomes, events.rows) == (["a", "b"], [outcome], 100)
    with pytest.raises(UsageError, match="bad"):
        _collect({0: Process(0), 1: Process(None)}, Busy([outcome, UsageError("bad")]), None, None)


def test_a_process_that_cannot_be_started_says_why(tmp_path: Path, videos: dict[str, Path]) -> None:
    with pytest.raises(Exception, match="pickle"):
        extract_on(["cpu", "cpu"], lambda device: build(device), videos, FeatureStore(tmp_path / "store"), OPTIONS)


def test_gpus_are_chosen_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match="torch sees no GPU"):
        gpu_devices("all")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert gpu_devices("all") == ("cuda:0", "cuda:1")
    assert gpu_devices("1") == ("cuda:1",)
    for wrong in ("2", "0,0", "x", "", "-1"):
        with pytest.raises(UsageError, match="different numbers below 2"):
            gpu_devices(wrong)
