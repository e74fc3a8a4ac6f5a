"""Extraction by several processes: the same bytes as by one, and what is said when one of them fails or dies."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from tests.extractors import painted_videos
from tests.pipeline.device_streams import build
from vadpipe.errors import UsageError, WorkerDied
from vadpipe.pipeline.extract import ExtractOptions, Outcome, Step
from vadpipe.pipeline.extract_devices import extract_on, gpu_devices
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
