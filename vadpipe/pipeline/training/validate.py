"""Figures of a head on held-out videos, and what they decide: which epoch is kept, and when training ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vadpipe.config import RunConfig
from vadpipe.models.localize import mean_of_highest
from vadpipe.pipeline.metrics import frame_ap, frame_auc
from vadpipe.pipeline.score import score_track
from vadpipe.pipeline.training.bags import Bags

Row = dict[str, float]
"""Figures of one epoch: ``epoch``, ``lr`` (rate of its last step), ``loss_…`` and those of :func:`validate`."""


def validate(head: Any, bags: Bags, config: RunConfig) -> Row:
    """Validation figures of a head, computed in float32 on unpooled features.

    ``video_ap``, ``video_auc`` rank videos by the mean of their highest snippets against the video labels;
    ``frame_ap``, ``frame_auc`` are there only where every anomalous video's incidents are known.
    """
    head.eval()
    video_scores, frame_scores, frame_truth = [], [], []
    known = all(record.intervals for record in bags.records if record.is_anomalous)
    for index, record in enumerate(bags.records):
        track, sound = bags.track(index), bags.audio_track(index)
        scores = score_track(head, track, bags.classes, config.detect.window, sound)
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


def is_better(row: Row, best: Row | None, select: str) -> bool:
    """Whether an epoch takes the place of the kept one; a tie goes to the later, longer trained epoch."""
    if best is None or select == "last":
        return True
    return selection_figure(row)[1] >= selection_figure(best)[1]


def is_stalled(history: Sequence[Row], patience: int) -> bool:
    """Whether the last ``patience`` epochs all stayed at or below the best figure before them; 0 is never."""
    if patience == 0 or len(history) <= patience:
        return False
    figures = [selection_figure(row)[1] for row in history]
    return max(figures[-patience:]) <= max(figures[:-patience])
