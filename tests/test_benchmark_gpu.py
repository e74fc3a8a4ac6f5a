"""The script for a machine with a GPU: nothing that fails may cost the sections that work."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.extractors import painted_videos
from tests.pipeline.mean_colour import MeanColour
from vadpipe.errors import UsageError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("gpu")


def test_a_section_that_fails_is_said_and_the_others_are_written(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> str:
        raise RuntimeError("the driver is another one")

    painted_videos.write(tmp_path / "a.mp4", 20)
    monkeypatch.setattr(
        sys, "argv", ["gpu.py", str(tmp_path), "--device", "cpu", "--quick", "--out", str(tmp_path / "o")]
    )
    monkeypatch.setattr(gpu, "_decoding", broken)
    monkeypatch.setattr(gpu, "_videos_an_hour", broken)
    monkeypatch.setattr(gpu, "_script", lambda name, *_: f"figures of {name}")
    gpu.main()
    text = (tmp_path / "o").read_text()
    assert text.count("not measured: RuntimeError: the driver is another one") == 2
    assert text.count("figures of extract.py") == 2


def test_the_first_file_that_is_a_video_is_taken(gpu: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no video")
    (tmp_path / "b.mp4").write_bytes(b"\0" * 100)
    with pytest.raises(UsageError, match="no video that can be read"):
        gpu._small(tmp_path, tmp_path / "small")
    painted_videos.write(tmp_path / "c.mp4", 5)
    assert gpu._small(tmp_path, tmp_path / "small.mp4").stat().st_size > 0


def test_every_clip_is_measured_after_the_warm_run(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [painted_videos.write(tmp_path / f"{number}.mp4", 20) for number in range(2)]
    monkeypatch.setattr(gpu, "create", lambda *_, **__: MeanColour())
    options = argparse.Namespace(quick=True, device="cpu")
    assert "wav2clip" in gpu._videos_an_hour(clips, options, tmp_path)  # RuntimeError where not all were done


def test_no_gpu_is_a_message(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", str(tmp_path)])
    with pytest.raises(UsageError, match="torch sees no GPU"):
        gpu.main()
