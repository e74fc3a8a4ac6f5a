"""What ``vadpipe train`` does around :func:`vadpipe.pipeline.train.fit`: bags, text features, the run's side files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vadpipe.manifest import VideoRecord
from vadpipe.models.inputs import HeadInputs
from vadpipe.pipeline.pages.timeline import draw_training_curve
from vadpipe.pipeline.project import clear_run, seen_parts
from vadpipe.pipeline.text import class_text, text_features, text_inputs
from vadpipe.pipeline.train import FitResult, Row, fit
from vadpipe.pipeline.training.bags import Bags
from vadpipe.pipeline.training.board import Board, writer_class
from vadpipe.pipeline.training.data import TrainingData
from vadpipe.pipeline.training.ranks import ALONE, Ranks
from vadpipe.pipeline.training.record import read_history
from vadpipe.pipeline.training.teacher import Teacher


@dataclass(frozen=True, slots=True)
class Prepared:
    """What runs that differ in seed and ``train`` settings only can share: bags with what they have read, and text.

    text_weights, prompts
        Where the text features come from, for the model card.
    """

    train: Bags
    val: Bags | None
    test: Bags | None
    inputs: HeadInputs
    teacher: Teacher | None
    text_weights: str
    prompts: str


def prepare(data: TrainingData, device: str = "cpu") -> Prepared:
    """Make bags, text features and the teacher ready; features are read when they are first asked for."""
    config = data.request.config

    def bags(records: Sequence[VideoRecord]) -> Bags:
        return Bags(
            data.store,
            data.spec,
            records,
            data.classes,
            max_snippets=config.model.max_snippets,
            audio_spec=data.audio_spec,
        )

    inputs, weights, prompts = _head_inputs(data, device)
    train, val, test = bags(data.train), bags(data.val) if data.val else None, bags(data.test) if data.test else None
    return Prepared(train, val, test, inputs, _teacher(data, device), weights, prompts)


def _head_inputs(data: TrainingData, device: str) -> tuple[HeadInputs, str, str]:
    """What the head is built from, where its text is from, and the prompts; a tower where prompts are learned."""
    config, audio_dim = data.request.config, data.audio_spec.dim if data.audio_spec else 0
    texts = class_text(data.classes, config.prompts, config.prompt_template)
    said = "; ".join(texts)
    if hasattr(config.model, "prompt_prefix"):
        made = text_inputs(texts, data.spec, data.request.weights)
        return HeadInputs(data.spec.dim, made.features, audio_dim, made.tokens, made.tower), made.weights, said
    text, weights = text_features(texts, data.spec, data.request.weights, device)
    return HeadInputs(data.spec.dim, text, audio_dim), weights, said


def _teacher(data: TrainingData, device: str) -> Teacher | None:
    trained = data.teacher
    if trained is None:
        return None
    trained.head.to(device)
    bags = Bags(
        data.store,
        trained.spec,
        data.train,
        data.classes,
        max_snippets=data.request.config.model.max_snippets,
        audio_spec=trained.audio_spec,
    )
    parts = seen_parts(data.request.teacher) if data.request.teacher is not None else {}
    seen = frozenset(video for ids in parts.values() for video in ids)
    return Teacher(trained, bags, data.audio_spec is not None, seen)


def train_run(
    data: TrainingData,
    device: str = "cpu",
    on_epoch: Callable[[Row], None] | None = None,
    *,
    on_step: Callable[[float], None] | None = None,
    prepared: Prepared | None = None,
    ranks: Ranks = ALONE,
    board: bool = False,
) -> FitResult:
    """Train on ``data``; writes the run folder with its list of seen videos and its curve.

    ``prepared``: from another run that differs in seed or ``train`` settings only. ``board``: write events for
    TensorBoard too. ``on_epoch``, ``on_step`` and ``ranks`` as for :func:`vadpipe.pipeline.train.fit`.
    """
    if board:
        writer_class()  # what is missing is said before anything is done
    request, ready = data.request, prepared or prepare(data, device)
    if request.restart and ranks.first:
        clear_run(data.folder)  # only now: what could fail before has not
    ranks.wait()
    provenance = {"text_weights": ready.text_weights, "prompts": ready.prompts}
    if request.teacher is not None:
        provenance["teacher"] = request.teacher.resolve().name
    events = Board(data.folder, read_history(data.folder)) if board and ranks.first else None

    def epoch_done(row: Row) -> None:
        if events is not None:
            events.add(row)
        if on_epoch is not None:
            on_epoch(row)

    try:
        result = fit(
            ready.train,
            ready.val,
            ready.inputs,
            request.config,
            data.folder,
            seed=request.seed,
            device=device,
            selection=ready.test if request.config.train.select == "paper-test" else None,
            teacher=ready.teacher,
            ranks=ranks,
            provenance=provenance,
            on_epoch=epoch_done,
            on_step=on_step,
        )
    finally:
        if events is not None:
            events.close()
    if ranks.first:
        draw_training_curve(data.folder / "curve.png", result.history)
    return result
