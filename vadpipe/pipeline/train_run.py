"""What ``vadpipe train`` does around :func:`vadpipe.pipeline.train.fit`: bags, text features, the run's side files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vadpipe.manifest import VideoRecord
from vadpipe.pipeline.bags import Bags
from vadpipe.pipeline.project import clear_run
from vadpipe.pipeline.text import class_text, text_features
from vadpipe.pipeline.timeline import draw_training_curve
from vadpipe.pipeline.train import FitResult, Row, fit
from vadpipe.pipeline.train_data import TrainingData


def train_run(data: TrainingData, device: str = "cpu", on_epoch: Callable[[Row], None] | None = None) -> FitResult:
    """Train on ``data``; writes the run folder with its list of seen videos and its curve."""
    request = data.request
    config = request.config

    def bags(records: Sequence[VideoRecord]) -> Bags:
        return Bags(data.store, data.spec, records, data.classes, max_snippets=config.model.max_snippets)

    texts = class_text(data.classes, config.prompts, config.prompt_template)
    text, weights = text_features(texts, data.spec, request.weights, device)
    if request.restart:
        clear_run(data.folder)  # only now: what could fail before has not
    result = fit(
        bags(data.train),
        bags(data.val) if data.val else None,
        text,
        config,
        data.folder,
        seed=request.seed,
        device=device,
        selection=bags(data.test) if config.train.select == "paper-test" else None,
        provenance={"text_weights": weights, "prompts": " | ".join(texts)},
        on_epoch=on_epoch,
    )
    draw_training_curve(data.folder / "curve.png", result.history)
    return result
