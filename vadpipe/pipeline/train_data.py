"""What ``vadpipe train`` is to train on: found in the project folder, or said to be missing. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vadpipe.config import RunConfig
from vadpipe.datasets import dataset_spec
from vadpipe.datasets.folder import split_validation
from vadpipe.errors import DataError, UnknownVideos, UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.pipeline.project import find_annotations, find_labels, find_spec, stored_records, with_truth
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
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


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Everything that a training run reads, and the folder that it writes.

    train, val, test
        Records that have features, with their true intervals where those are known. val may be empty.
    """

    request: TrainRequest
    store: FeatureStore
    spec: FeatureSpec
    classes: tuple[str, ...]
    train: tuple[VideoRecord, ...]
    val: tuple[VideoRecord, ...]
    test: tuple[VideoRecord, ...]
    folder: Path


def find_training_data(request: TrainRequest, say: Callable[[str], None] | None = None) -> TrainingData:
    """Find features, labels and truth, and cut the validation set; ``say`` gets notes for people."""
    config, tell = request.config, say or (lambda _text: None)
    store = FeatureStore(request.features)
    spec = find_spec(store, config.stream)
    records, labels = find_labels(request.labels, Path())
    classes = _checked_classes(config.classes, records) or dataset_spec("folder", records).classes
    records, without = stored_records(records, store, spec)
    if without:
        tell(f"warning: {len(without)} labelled videos have no features and are left out: {', '.join(without[:5])}")
    try:
        records, notes = with_truth(records, store, spec, find_annotations(request.annotations, labels))
    except UnknownVideos as error:
        if request.annotations is not None:
            raise
        notes = [f"{error}; training goes on without frame truth"]
    for note in notes:
        tell(f"note: {note}")
    train, val, test = _parts(records, config.train.validation_share)
    folder = request.out or Path("runs") / f"{config.head}-{spec.stream}-seed{request.seed}"
    if spec.untrained:
        tell("note: the features come from an encoder with random weights")
    for name, part in (("train", train), ("validation", val)):
        normal = sum(NORMAL in record.labels for record in part)
        tell(f"{name}: {len(part)} videos, {normal} normal, {len(part) - normal} anomalous")
    tell(f"run: {folder}")
    return TrainingData(request, store, spec, classes, tuple(train), tuple(val), tuple(test), folder)


def _checked_classes(classes: tuple[str, ...], records: Sequence[VideoRecord]) -> tuple[str, ...]:
    """Return the classes of the settings, or () where they leave them to the labels; refuse what does not fit."""
    if not classes:
        return ()
    if classes[0] != NORMAL or len(classes) < 2 or len(set(classes)) != len(classes):
        raise UsageError(f"classes: got {list(classes)}, expected {NORMAL!r} first, anomalies after it, none twice")
    if unknown := sorted({label for record in records for label in record.labels} - set(classes)):
        raise DataError(f"labels {unknown} are none of the settings' classes {list(classes)}; spell them alike")
    return classes


def _parts(
    records: Sequence[VideoRecord], share: float
) -> tuple[list[VideoRecord], list[VideoRecord], list[VideoRecord]]:
    """Split into train, val, test as the labels say; without val records, cut them from train by a hash of the id.

    A share of 0 trains on all that is not test.
    """
    train, val, test = ([record for record in records if record.split == name] for name in ("train", "val", "test"))
    if share == 0:
        return train + val, [], test
    return (*split_validation(train, share), test) if not val else (train, val, test)
