"""What ``vadpipe train`` is to train on: found in the project folder, or said to be missing. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vadpipe.class_names import why_no_classes
from vadpipe.config import RunConfig, TrainConfig
from vadpipe.datasets import dataset_spec
from vadpipe.datasets.folder import split_validation
from vadpipe.errors import DataError, UnknownVideos, UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.pipeline.project import find_annotations, find_labels, find_spec, seen_parts, stored_records, with_truth
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.track_file import has_sound, read_attributes
from vadpipe.tracks import NORMAL

if TYPE_CHECKING:
    from vadpipe.models.checkpoint import TrainedHead


@dataclass(frozen=True, slots=True)
class TrainRequest:
    """Places and settings; what is None is looked for in the current folder (:mod:`vadpipe.pipeline.project`).

    teacher
        Run folder of the head that a student is to learn from.
    """

    config: RunConfig
    features: Path = Path("features")
    labels: Path | None = None
    annotations: Path | None = None
    out: Path | None = None
    seed: int = 0
    restart: bool = False
    weights: str | None = None
    teacher: Path | None = None

    def folder(self, spec: FeatureSpec) -> Path:
        """Run folder: ``out``, or ``runs/<head>-<stream>-seed<seed>``."""
        return self.out or Path("runs") / f"{self.config.head}-{spec.stream}-seed{self.seed}"


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Everything that a training run reads, and the folder that it writes.

    train, val, test
        Records that have features, with their true intervals where those are known. val may be empty.
    audio_spec
        Features of the sound where the head uses them; videos without them count as videos without sound.
    teacher
        The head that teaches, on the CPU; None for no distillation.
    """

    request: TrainRequest
    store: FeatureStore
    spec: FeatureSpec
    classes: tuple[str, ...]
    train: tuple[VideoRecord, ...]
    val: tuple[VideoRecord, ...]
    test: tuple[VideoRecord, ...]
    folder: Path
    audio_spec: FeatureSpec | None = None
    teacher: TrainedHead | None = None


def find_training_data(request: TrainRequest, say: Callable[[str], None] | None = None) -> TrainingData:
    """Find features, labels and truth, and cut the validation set; ``say`` gets notes for people."""
    config, tell = request.config, say or (lambda _text: None)
    _check_distillation(request)
    store = FeatureStore(request.features)
    spec = find_spec(store, config.stream)
    spec.require_picture()
    audio_spec = find_spec(store, config.audio_stream, "audio_stream") if config.audio_stream else None
    records, labels = find_labels(request.labels, Path(), request.features)
    classes = _checked_classes(config.classes, records) or dataset_spec("folder", records).classes
    if why := why_no_classes(classes):
        raise DataError(f"classes of the labels: {why}")
    teacher = _find_teacher(request, classes, spec, audio_spec, tell)
    records, without = stored_records(records, store, spec)
    if without:
        tell(f"warning: {len(without)} labelled videos have no features and are left out: {', '.join(without[:5])}")
    try:
        records, notes = with_truth(records, store, spec, find_annotations(request.annotations, labels))
    except UnknownVideos as error:
        if request.annotations is not None:
            raise
        notes = [f"{error}; training goes on without frame truth"]
    train, val, test = _parts(records, config.train)
    if teacher is not None:
        notes += _teachers_notes(request, teacher, spec, val)
    for listened in {item.digest: item for item in (audio_spec, teacher and teacher.audio_spec) if item}.values():
        notes += _without_sound(store, listened, [*train, *val])
    if spec.untrained:
        notes.append("the features come from an encoder with random weights")
    for note in notes:
        tell(f"note: {note}")
    for name, part in (("train", train), ("validation", val)):
        normal = sum(NORMAL in record.labels for record in part)
        tell(f"{name}: {len(part)} videos, {normal} normal, {len(part) - normal} anomalous")
    folder = request.folder(spec)
    return TrainingData(
        request, store, spec, classes, tuple(train), tuple(val), tuple(test), folder, audio_spec, teacher
    )


def _check_distillation(request: TrainRequest) -> None:
    """Refuse a student that distils without a teacher, before anything is read."""
    distill = getattr(request.config.model, "distill", "none")
    if distill != "none" and request.teacher is None:
        raise UsageError(
            f"{request.config.head} learns from a teacher (model.distill = {distill!r}): pass --teacher RUN, "
            "or --set model.distill=none to train it without"
        )


def _find_teacher(
    request: TrainRequest,
    classes: tuple[str, ...],
    spec: FeatureSpec,
    audio_spec: FeatureSpec | None,
    tell: Callable[[str], None],
) -> TrainedHead | None:
    if request.teacher is None:
        return None
    from vadpipe.pipeline.training.teacher import check_teacher, load_teacher  # needs torch

    teacher = load_teacher(request.teacher, request.config)
    check_teacher(teacher, classes, spec, audio_spec)
    if teacher.chosen_on_test:
        tell("WARNING: the teacher was chosen on the TEST set; the student's figures are no honest estimates either")
    return teacher


def _teachers_notes(
    request: TrainRequest, teacher: TrainedHead, spec: FeatureSpec, val: Sequence[VideoRecord]
) -> list[str]:
    notes = [f"{request.teacher} ({teacher.config.head}) teaches; the student sees its video stream, {spec.folder}"]
    trained = {video for part, ids in seen_parts(request.teacher or Path()).items() if part != "val" for video in ids}
    if seen := sum(record.id in trained for record in val):
        notes.append(f"the teacher was trained on {seen} of the {len(val)} validation videos; their figures flatter")
    return notes


def _without_sound(store: FeatureStore, spec: FeatureSpec, records: Sequence[VideoRecord]) -> list[str]:
    """Say how many videos have no sound; :class:`DataError` where none has any."""
    ids = set(store.ids(spec))
    stored = [record.id for record in records if record.id in ids]
    if not stored:
        raise DataError(
            f"none of the {len(records)} videos has {spec.folder} features; extract or import the audio stream"
        )
    heard = sum(has_sound(read_attributes(store.path(spec, name))[1]) for name in stored)
    if not heard:
        raise DataError(f"none of the {len(records)} videos has sound in its {spec.folder} features; train without it")
    parts = (len(records) - len(stored), f"no {spec.folder} features"), (len(stored) - heard, "no snippet with sound")
    said = " and ".join(f"{count} of {len(records)} videos have {what}" for count, what in parts if count)
    return [f"{said}: they count as videos without sound"] if said else []


def _checked_classes(classes: tuple[str, ...], records: Sequence[VideoRecord]) -> tuple[str, ...]:
    """Return the classes of the settings, or () where they leave them to the labels; refuse what does not fit."""
    if not classes:
        return ()
    if classes[0] != NORMAL or len(classes) < 2 or len(set(classes)) != len(classes):
        raise UsageError(
            f"classes: got {list(classes)!s:.300}, expected {NORMAL!r} first, anomalies after it, none twice"
        )
    if unknown := sorted({label for record in records for label in record.labels} - set(classes)):
        raise DataError(f"labels {unknown} are none of the settings' classes {list(classes)}; spell them alike")
    return classes


def _parts(
    records: Sequence[VideoRecord], settings: TrainConfig
) -> tuple[list[VideoRecord], list[VideoRecord], list[VideoRecord]]:
    """Split into train, val, test as the labels say; without val records, cut them from train by a hash of the id.

    A share of 0, and the selection on the test set, train on all that is not test. :class:`DataError` where that
    selection has no test records.
    """
    train, val, test = ([record for record in records if record.split == name] for name in ("train", "val", "test"))
    if settings.select == "paper-test" and not test:
        raise DataError("no record has split = test; paper-test needs them: add the column to the labels")
    if settings.select == "paper-test" or settings.validation_share == 0:
        return train + val, [], test
    return (*split_validation(train, settings.validation_share), test) if not val else (train, val, test)
