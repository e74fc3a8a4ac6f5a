"""``vadpipe train``: features + video-level labels -> a head. ``fit`` never sees the test set.

A run folder holds ``state.safetensors`` (everything needed to go on after a kill, replaced once an epoch),
``metrics.jsonl``, ``curve.png`` and, once finished, the checkpoint. Running the same command again resumes or returns
the finished run; with other settings it refuses.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vadpipe.config import RunConfig, to_mapping
from vadpipe.errors import UsageError
from vadpipe.models.checkpoint import TrainedHead, load_head, save_head
from vadpipe.models.heads import build_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.localize import mean_of_highest
from vadpipe.pipeline.bags import Bags, epoch_batches
from vadpipe.pipeline.metrics import frame_ap, frame_auc
from vadpipe.pipeline.project import SEEN_FILE
from vadpipe.pipeline.score import score_track
from vadpipe.pipeline.train_state import TrainState
from vadpipe.track_file import atomic_write, read_attributes

Row = dict[str, float]


@dataclass(frozen=True, slots=True)
class FitResult:
    """The kept head, its epoch's figures, and every epoch's figures."""

    trained: TrainedHead
    best: Row
    history: tuple[Row, ...]


def fit(
    train: Bags,
    validation: Bags | None,
    text: Tensor,
    config: RunConfig,
    folder: Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    selection: Bags | None = None,
    provenance: Mapping[str, Any] | None = None,
    on_epoch: Callable[[Row], None] | None = None,
) -> FitResult:
    """Train one head and write its run folder.

    train, validation
        Bags with the same classes; both must hold normal and anomalous videos. None: nothing is held out.
    text (C+1, dim)
        Text features of the class prompts.
    selection
        Only for ``select = "paper-test"``: the bags on which the best epoch is picked. Nothing else may be passed.
    """
    if (selection is not None) != (config.train.select == "paper-test"):
        raise UsageError("test data belongs to select = 'paper-test' and to nothing else")
    for name, bags in (("training", train), ("validation", validation)):
        if bags is not None and len({record.is_anomalous for record in bags.records}) != 2:
            raise UsageError(f"{name} videos are all of one kind; both normal and anomalous ones are needed")
    fingerprint = _fingerprint(train, validation, selection, text, config, seed)
    finished = _finished(folder, fingerprint, device)
    if finished is not None:
        return finished
    torch.manual_seed(seed)
    head = build_head(config, HeadInputs(train.spec.dim, text))
    if config.model.standardise != "none":
        head.set_statistics("video", *train.statistics())
    head.to(device)
    state = TrainState.resume_or_start(folder, head, config.train, fingerprint)
    while state.epoch < config.train.epochs:
        losses = _one_epoch(state, train, config, seed)
        watched = selection or validation
        figures = validate(state.averaged(), watched, config) if watched is not None else {}
        row = {"epoch": float(state.epoch + 1), **losses, **figures}
        state.finish_epoch(row, better=_better(row, state.best, config.train.select))
        state.save(folder)
        _write_history(folder, state.history)
        if on_epoch is not None:
            on_epoch(row)
    return _finish(folder, state, train, validation, config, seed, provenance or {})


def _one_epoch(state: TrainState, bags: Bags, config: RunConfig, seed: int) -> Row:
    """Run one epoch; mean of every loss part. Seeded by (seed, epoch), so that a resumed run takes the same steps."""
    head, settings = state.head, config.train
    torch.manual_seed(int(np.random.default_rng([seed, state.epoch, 1]).integers(2**31)))
    device = next(head.parameters()).device
    totals: dict[str, list[float]] = {}
    head.train()
    for indices in epoch_batches(bags, settings.batch_size, balanced=settings.balanced, seed=seed, epoch=state.epoch):
        batch = bags.batch(indices).to(device)
        out = head(batch.video, batch.lengths, batch.audio, batch.has_audio)
        parts = head.loss(out, batch.targets, batch.lengths)
        if not bool(torch.isfinite(parts["total"])):
            raise UsageError(f"loss is not finite in epoch {state.epoch + 1}; lower train.lr (now {settings.lr})")
        state.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(parts["total"])
        if settings.clip_gradients:
            torch.nn.utils.clip_grad_norm_(head.parameters(), settings.clip_gradients)
        state.optimizer.step()
        sums = head.step_sums(out)
        head.after_step(None if sums is None else sums / len(indices))
        state.update_average()
        for name, value in parts.items():
            totals.setdefault(f"loss_{name}", []).append(value.item())
    return {name: float(np.mean(values)) for name, values in totals.items()}


def validate(head: Any, bags: Bags, config: RunConfig) -> Row:
    """Validation figures of a head.

    ``video_ap``, ``video_auc`` rank videos by the mean of their highest snippets against the video labels;
    ``frame_ap``, ``frame_auc`` are there only where every anomalous video's incidents are known.
    """
    head.eval()
    video_scores, frame_scores, frame_truth = [], [], []
    known = all(record.intervals for record in bags.records if record.is_anomalous)
    for record in bags.records:
        scores = score_track(head, bags.store.read(bags.spec, record.id), bags.classes, config.detect.window)
        video_scores.append(float(mean_of_highest(scores.anomaly[:, None])[0]))
        truth = np.zeros(scores.grid.num_frames, dtype=bool)
        for interval in record.intervals:
            truth[interval.start_frame : interval.end_frame] = True
        frame_scores.append(scores.per_frame())
        frame_truth.append(truth)
    labels = np.array([record.is_anomalous for record in bags.records])
    row = {"video_ap": frame_ap(np.array(video_scores), labels), "video_auc": frame_auc(np.array(video_scores), labels)}
    if known:
        joined, true = np.concatenate(frame_scores), np.concatenate(frame_truth)
        row |= {"frame_ap": frame_ap(joined, true), "frame_auc": frame_auc(joined, true)}
    return row


def selection_figure(row: Row) -> tuple[str, float]:
    """Name and value of the figure that epochs are compared by: frame AP where truth is known, else video AP."""
    name = "frame_ap" if "frame_ap" in row else "video_ap"
    return name, row[name]


def _better(row: Row, best: Row | None, select: str) -> bool:
    if best is None or select == "last":
        return True
    return selection_figure(row)[1] >= selection_figure(best)[1]  # a tie goes to the later, longer trained epoch


def _fingerprint(
    train: Bags, validation: Bags | None, selection: Bags | None, text: Tensor, config: RunConfig, seed: int
) -> str:
    described = {
        "config": to_mapping(config),
        "spec": train.spec.digest,
        "classes": train.classes,
        "train": _told(train),
        "validation": _told(validation),
        "selection": _told(selection),
        "text": hashlib.sha256(text.float().numpy().tobytes()).hexdigest(),
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _told(bags: Bags | None) -> list[Any]:
    """What a run depends on, video by video: labels, truth, and the content of the stored features."""
    return [
        (
            record.id,
            sorted(record.labels),
            [(span.category, span.start_frame, span.end_frame) for span in record.intervals],
            read_attributes(bags.store.path(bags.spec, record.id))[1]["content_sha256"],
        )
        for record in (bags.records if bags is not None else ())
        if bags is not None
    ]


def _finished(folder: Path, fingerprint: str, device: str) -> FitResult | None:
    if not (folder / "config.json").is_file():
        return None
    trained = load_head(folder, device)
    if trained.provenance.get("fingerprint") != fingerprint:
        raise UsageError(
            f"{folder} holds a finished run with other data or settings; give another --out, or --restart to replace it"
        )
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    best = next(row for row in rows if row["epoch"] == trained.provenance["epoch"])
    return FitResult(trained, best, tuple(rows))


def _write_history(folder: Path, history: Sequence[Row]) -> None:
    text = "".join(json.dumps(row, sort_keys=True) + "\n" for row in history)
    atomic_write(folder / "metrics.jsonl", text.encode())


def _finish(
    folder: Path,
    state: TrainState,
    train: Bags,
    validation: Bags | None,
    config: RunConfig,
    seed: int,
    provenance: Mapping[str, Any],
) -> FitResult:
    best, head = state.best_row_and_head()
    _write_history(folder, state.history)  # again: a kill may have come between the last state and its history
    seen = {
        name: sorted(record.id for record in bags.records)
        for name, bags in (("train", train), ("val", validation))
        if bags
    }
    atomic_write(
        folder / SEEN_FILE, (json.dumps(seen, indent=1) + "\n").encode()
    )  # before config.json, the done-marker
    held_out = len(validation) if validation is not None else 0
    facts = {
        **provenance,
        "seed": seed,
        "epoch": best["epoch"],
        "epochs": config.train.epochs,
        "training_videos": len(train),
        "validation_videos": held_out,
        "fingerprint": state.fingerprint,
        **{name: round(value, 4) for name, value in best.items() if name.startswith(("frame_", "video_"))},
    }
    chosen = "the last epoch, selected on nothing"
    if config.train.select != "last":
        name = selection_figure(best)[0]
        chosen = f"selected by {name} on " + (
            "the TEST set (paper-test)" if config.train.select == "paper-test" else f"{held_out} validation videos"
        )
    selection = f"epoch {best['epoch']:.0f} of {config.train.epochs}, {chosen}"
    trained = TrainedHead(head, config, train.spec, train.classes, selection, facts)
    save_head(folder, trained)
    return FitResult(load_head(folder, str(next(head.parameters()).device)), best, tuple(state.history))
