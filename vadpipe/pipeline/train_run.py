"""What ``vadpipe train`` does around :func:`vadpipe.pipeline.train.fit`: find data, make text features, draw."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vadpipe.config import RunConfig
from vadpipe.datasets import dataset_spec
from vadpipe.datasets.folder import split_validation
from vadpipe.manifest import VideoRecord
from vadpipe.pipeline.bags import Bags
from vadpipe.pipeline.project import (
    SEEN_FILE,
    clear_run,
    find_annotations,
    find_labels,
    find_spec,
    stored_records,
    with_truth,
)
from vadpipe.pipeline.text import class_text, text_features
from vadpipe.pipeline.timeline import draw_training_curve
from vadpipe.pipeline.train import FitResult, Row, fit
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.track_file import atomic_write
from vadpipe.tracks import NORMAL


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """Places and settings; what is None is looked for in the current folder (:mod:`vadpipe.pipeline.project`)."""

    config: RunConfig
    features: Path = Path("features")
    labels: Path | None = None
    annotations: Path | None = None
    out: Path | None = None
    seed: int = 0
    restart: bool = False
    weights: str | None = None
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class TrainRun:
    """A finished run and its folder."""

    folder: Path
    fit: FitResult


def train_run(
    request: TrainRequest, on_epoch: Callable[[Row], None] | None = None, say: Callable[[str], None] | None = None
) -> TrainRun:
    """Train as asked; ``say`` gets notes for people."""
    config, tell = request.config, say or (lambda _text: None)
    store = FeatureStore(request.features)
    spec = find_spec(store, config.stream)
    records, labels = find_labels(request.labels, Path())
    classes = config.classes or dataset_spec("folder", records).classes
    records, without = stored_records(records, store, spec)
    if without:
        tell(f"warning: {len(without)} labelled videos have no features and are left out: {', '.join(without[:5])}")
    records, notes = with_truth(records, store, spec, find_annotations(request.annotations, labels))
    for note in notes:
        tell(f"note: {note}")
    parts = _parts(records, config.train.validation_share)
    bags = {
        name: Bags(store, spec, part, classes, max_snippets=config.model.max_snippets) for name, part in parts.items()
    }
    texts = class_text(classes, config.prompts, config.prompt_template)
    text, weights = text_features(texts, spec, request.weights, request.device)
    folder = request.out or Path("runs") / f"{config.head}-{spec.stream}-seed{request.seed}"
    if request.restart:
        clear_run(folder)
    _tell_start(tell, parts, spec, folder)
    result = fit(
        bags["train"],
        bags["val"] if parts["val"] else None,
        text,
        config,
        folder,
        seed=request.seed,
        device=request.device,
        selection=bags["test"] if config.train.select == "paper-test" else None,
        provenance={"text_weights": weights, "prompts": " | ".join(texts)},
        on_epoch=on_epoch,
    )
    seen = {name: sorted(record.id for record in parts[name]) for name in ("train", "val")}
    atomic_write(folder / SEEN_FILE, (json.dumps(seen, indent=1) + "\n").encode())
    draw_training_curve(folder / "curve.png", result.history)
    return TrainRun(folder, result)


def _parts(records: Sequence[VideoRecord], share: float) -> dict[str, list[VideoRecord]]:
    """Split into train, val, test as the labels say; without val records, cut them from train by a hash of the id.

    A share of 0 trains on all that is not test.
    """
    parts = {name: [record for record in records if record.split == name] for name in ("train", "val", "test")}
    if share == 0:
        parts["train"], parts["val"] = parts["train"] + parts["val"], []
    elif not parts["val"]:
        parts["train"], parts["val"] = split_validation(parts["train"], share)
    return parts


def _tell_start(
    tell: Callable[[str], None], parts: dict[str, list[VideoRecord]], spec: FeatureSpec, folder: Path
) -> None:
    if spec.untrained:
        tell("note: the features come from an encoder with random weights")
    for name in ("train", "val"):
        normal = sum(NORMAL in record.labels for record in parts[name])
        tell(f"{name}: {len(parts[name])} videos, {normal} normal, {len(parts[name]) - normal} anomalous")
    tell(f"run: {folder}")
