"""Training on one's own labels needs no change of code: any number of categories, any printable names, every head."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from tests.extractors import painted_videos
from tests.pipeline.heads import DIM, small_tower
from tests.pipeline.planted import AUDIO_SPEC, SPEC
from tests.test_cli import write_labels
from vadpipe.cli import cli
from vadpipe.manifest import VideoRecord
from vadpipe.models.checkpoint import load_head
from vadpipe.pipeline.text import TextInputs
from vadpipe.pipeline.training import run as train_run
from vadpipe.store import FeatureStore
from vadpipe.tracks import NORMAL, FeatureTrack, Interval, TimeGrid

THREE = ("ladder fall", "zone-4_breach", "Überfall 火")  # as sorted by Python
TWENTY = tuple(f"incident {index:02d}" for index in range(20))  # numbers in names, as in annotations of frames
HEADS = {
    "lec_vad": ["--set=model.heads=4", "--set=model.memory_blocks=1"],
    "vadclip": ["--set=model.layers=1"],
    "avadclip": ["--set=model.layers=1", "--set=audio_stream=sound"],
}


def plant(folder: Path, categories: tuple[str, ...]) -> list[VideoRecord]:
    """Store pictures and sound of two training and one test video a category, and as many normal ones."""
    rng, store, records = np.random.default_rng(0), FeatureStore(folder / "features"), []
    for index in range(6 * len(categories)):
        grid = TimeGrid(Fraction(25), 160 + int(rng.integers(40)))
        label = NORMAL if index % 2 else categories[index // 2 % len(categories)]
        spans: tuple[Interval, ...] = ()
        if label != NORMAL:
            spans = (Interval.of_frames(label, *grid.frames_of(3, 7), grid),)
        name, split = f"v {index:03d}", "test" if index // 2 >= 2 * len(categories) else "train"
        for spec, strength in ((SPEC, 6.0), (AUDIO_SPEC, 4.0)):
            rows = rng.standard_normal((grid.num_snippets, spec.dim)).astype(np.float32)
            if spans:
                rows[3:7, (1 + categories.index(label)) % spec.dim] += strength
            store.write(FeatureTrack(rows, grid, spec, name))
        records.append(VideoRecord(name, frozenset({label}), spans, split, grid.num_frames, grid.fps))
    return records


def small_text(texts: list[str]) -> torch.Tensor:
    return torch.randn(len(texts), DIM, generator=torch.Generator().manual_seed(0))


def small_text_inputs(texts: list[str], *_args: Any) -> TextInputs:
    tokens = torch.zeros(len(texts), 77, dtype=torch.int64)
    for row in range(len(texts)):
        tokens[row, :4] = torch.tensor([62, 1 + 2 * row, 2 + 2 * row, 63])
    return TextInputs(small_text(texts), tokens, small_tower(), "small")


def run(*arguments: str) -> Result:
    ended = CliRunner().invoke(cli, [*arguments, "--device", "cpu"], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended


@pytest.mark.parametrize("categories", [THREE, TWENTY], ids=["3", "20"])
def test_labels_go_all_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, categories: tuple[str, ...]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_run, "text_features", lambda texts, *_args: (small_text(texts), "small"))
    monkeypatch.setattr(train_run, "text_inputs", small_text_inputs)
    records = plant(tmp_path, categories)
    write_labels(tmp_path, tuple(records))
    last = records[-2]
    painted_videos.write(tmp_path / f"{last.id}.mp4", last.num_frames or 0, sound=np.zeros((1, 44800), np.float32))
    for head, settings in HEADS.items():
        shared = ["--stream", "planted", "--set=model.dim=32", "--set=train.epochs=2", "--set=train.batch_size=16"]
        shared += ["--set=train.select=last", "--set=train.validation_share=0", "--set=train.lr=0.01"]
        run("train", "--head", head, "--out", f"runs/{head}", *shared, *settings)
        assert load_head(tmp_path / "runs" / head).classes == (NORMAL, *categories)
        told = json.loads(run("evaluate", "--run", f"runs/{head}", "--json", "-q").stdout)
        assert all(name in json.dumps(told, ensure_ascii=False) for name in categories)
        detect = [
            "detect",
            f"{last.id}.mp4",
            "--run",
            f"runs/{head}",
            "--features",
            "features",
            "--out",
            f"{head}.json",
        ]
        run(*detect, "--set=r_ano=0", "--set=r_cls=0", "-q")
        content = json.loads(Path(f"{head}.json").read_text())
        assert content["model"]["categories"] == [NORMAL, *categories]
        assert content["model"]["zero_shot"] == []
        assert {item["label"] for item in content["intervals"]} <= set(categories)
        with np.load(f"{head}.scores.npz") as arrays:
            assert arrays["labels"].tolist() == [NORMAL, *categories]
