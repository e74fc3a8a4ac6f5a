"""``vadpipe demo``: the whole way on a small synthetic data set, without downloads. Running it again goes on.

Everything is what the other commands do, one call each; the encoder has seeded random weights, and every output says
so. The training part is all that training sees; the test part is touched once, at the end.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vadpipe.config import RunConfig, load_config
from vadpipe.detection import Detection
from vadpipe.extractors import Extractor, create
from vadpipe.manifest import VideoRecord
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.pipeline.demo_data import DemoData, write_demo_data
from vadpipe.pipeline.detect import DetectOptions, detect_video, write_report
from vadpipe.pipeline.evaluate import Evaluation, evaluate
from vadpipe.pipeline.extract import ExtractOptions, Outcome, extract
from vadpipe.pipeline.pages.timeline import draw_timeline
from vadpipe.pipeline.project import test_records
from vadpipe.pipeline.train import Row
from vadpipe.pipeline.training.data import TrainRequest, find_training_data
from vadpipe.pipeline.training.run import train_run
from vadpipe.pipeline.videos import said_of
from vadpipe.store import FeatureStore
from vadpipe.track_file import atomic_write

if TYPE_CHECKING:
    from rich.progress import Progress

UNTRAINED_NOTE = "No pretrained weights were used: the CLIP encoder is random (seeded)."


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Figures on the test part, the detection of one test clip, and what was written (name -> path)."""

    evaluation: Evaluation
    detection: Detection
    files: dict[str, Path]


def run_demo(
    out: Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    train: int = 44,
    test: int = 20,
    bars: Progress,
    say: Callable[[str], None],
) -> DemoResult:
    """Make the data set in ``out``, extract, train, evaluate on the test part, detect and draw one test clip."""
    task = bars.add_task("drawing street videos", total=train + test, note="")
    data = write_demo_data(
        out, seed=seed, train=train, test=test, progress=lambda done, _all: bars.update(task, completed=done)
    )
    say(f"{train} training and {test} test videos in {out / 'videos'}. {UNTRAINED_NOTE}")
    extractor = create("clip", weights=f"random:{seed}", device=device)
    store = FeatureStore(out / "features")
    _extract(data, store, extractor, bars, say)
    trained = _train(out, data, seed, device, bars, say)
    records = test_records(out / "run", store, trained.spec, data.labels, data.annotations, "test", False, say)
    evaluation = evaluate(trained, store, records)
    content = {"note": UNTRAINED_NOTE, **evaluation.to_mapping()}
    atomic_write(out / "evaluation.json", (json.dumps(content, indent=1) + "\n").encode())
    detection = _detect(out, data, _shown(records), trained, store, extractor)
    return DemoResult(evaluation, detection, _files(out))


def demo_config() -> RunConfig:
    """Settings of the demo's training: more and larger steps than the papers', since there is little data."""
    return load_config(None, ["train.lr=3e-4", "train.batch_size=16", "train.epochs=30", 'model.standardise="columns"'])


def _extract(
    data: DemoData, store: FeatureStore, extractor: Extractor, bars: Progress, say: Callable[[str], None]
) -> None:
    task = bars.add_task("extracting features", total=len(data.videos), note="")

    def finished(outcome: Outcome) -> None:
        bars.advance(task)
        if outcome.error is not None:
            say(f"failed: {said_of(outcome.path, outcome.error)}")

    summary = extract(
        {video.id: data.path(video) for video in data.videos},
        store,
        [extractor],
        ExtractOptions(),
        finished,
    )
    say(f"features of {len(summary.done)} videos made, {len(summary.kept)} were there ({summary.seconds:.0f} s)")


def _train(
    out: Path, data: DemoData, seed: int, device: str, bars: Progress, say: Callable[[str], None]
) -> TrainedHead:
    config = demo_config()
    task = bars.add_task("training", total=config.train.epochs, note="")

    def on_epoch(row: Row) -> None:
        bars.update(task, completed=row["epoch"], note=f"loss {row['loss_total']:.3f}")

    request = TrainRequest(
        config,
        features=out / "features",
        labels=data.labels,
        annotations=data.annotations,
        out=out / "run",
        seed=seed,
    )
    return train_run(find_training_data(request, say), device, on_epoch).trained


def _shown(records: list[VideoRecord]) -> VideoRecord:
    """Pick the clip to show: the first anomalous test video, by id; nobody looked at its scores."""
    return min((record for record in records if record.intervals), key=lambda record: record.id)


def _detect(
    out: Path, data: DemoData, shown: VideoRecord, trained: TrainedHead, store: FeatureStore, extractor: Extractor
) -> Detection:
    path = next(data.path(video) for video in data.videos if video.id == shown.id)
    detection = detect_video(path, trained, DetectOptions(store), extractor)

    def draw(picture: Path) -> None:
        title = f"{shown.id}: truth and prediction"
        draw_timeline(
            picture, detection.scores, detection.intervals, shown.intervals, title, untrained_note=UNTRAINED_NOTE
        )

    write_report(detection, out / "intervals.json", draw)
    return detection


def _files(out: Path) -> dict[str, Path]:
    names = {
        "intervals": "intervals.json",
        "timeline": "intervals.png",
        "frame scores": "intervals.scores.npz",
        "figures": "evaluation.json",
        "head": "run",
        "training curve": "run/curve.png",
    }
    return {name: out / place for name, place in names.items()}
