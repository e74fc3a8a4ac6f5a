"""``vadpipe evaluate``: a trained head against known incidents, each figure with its chance level beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vadpipe.errors import DataError
from vadpipe.manifest import VideoRecord
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.pipeline.intervals import find_intervals
from vadpipe.pipeline.metrics import StrictMap, chance_map, frame_ap, frame_auc, strict_map
from vadpipe.pipeline.score import score_track
from vadpipe.store import FeatureStore
from vadpipe.tracks import Interval, ScoreTrack


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures over all frames of all videos joined.

    ap, auc
        Frame-level average precision and area under the ROC curve.
    abnormal_share
        Share of abnormal frames: the AP of a random score. The chance level of AUC is 0.5.
    intervals, chance
        mAP@IoU of the emitted intervals (protocol ``strict``), and of the same intervals at random places.
    videos, frames
        How much was evaluated. left_out: ids without known truth.
    """

    ap: float
    auc: float
    abnormal_share: float
    intervals: StrictMap
    chance: tuple[float, ...]
    videos: int
    frames: int
    left_out: tuple[str, ...]

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        thresholds = [f"{value:g}" for value in self.intervals.iou_thresholds]
        return {
            "frame_ap": self.ap,
            "frame_ap_chance": self.abnormal_share,
            "frame_auc": self.auc,
            "frame_auc_chance": 0.5,
            "map_protocol": "strict",
            "map": dict(zip(thresholds, self.intervals.mean, strict=True)),
            "map_chance": dict(zip(thresholds, self.chance, strict=True)),
            "map_per_class": {name: list(values) for name, values in self.intervals.per_class.items()},
            "classes_without_truth": list(self.intervals.left_out),
            "videos": self.videos,
            "frames": self.frames,
            "videos_without_truth": list(self.left_out),
        }


def evaluate(
    trained: TrainedHead,
    store: FeatureStore,
    records: Sequence[VideoRecord],
    on_video: Callable[[str, ScoreTrack, tuple[Interval, ...]], None] | None = None,
) -> Evaluation:
    """Score every record's stored features and compare with its intervals.

    Normal videos count as all normal; anomalous ones without intervals have unknown truth and are left out, by name.
    """
    known = [record for record in records if record.intervals or not record.is_anomalous]
    left_out = tuple(record.id for record in records if record.is_anomalous and not record.intervals)
    if not any(record.intervals for record in known):
        raise DataError("no evaluated video has annotated incidents; pass --annotations with their frames")
    scores, truth = [], []
    found: dict[str, tuple[Interval, ...]] = {}
    true: dict[str, tuple[Interval, ...]] = {}
    frames: dict[str, int] = {}
    for record in known:
        track = store.read(trained.spec, record.id)
        scored = score_track(trained.head, track, trained.classes, trained.config.detect.window)
        found[record.id] = find_intervals(scored, trained.config.detect)
        true[record.id], frames[record.id] = record.intervals, track.grid.num_frames
        scores.append(scored.per_frame())
        truth.append(_frame_truth(record.intervals, track.grid.num_frames))
        if on_video is not None:
            on_video(record.id, scored, found[record.id])
    joined, abnormal = np.concatenate(scores), np.concatenate(truth)
    categories = sorted({*trained.classes[1:], *(span.category for spans in true.values() for span in spans)})
    chance = chance_map(found, true, frames, categories)
    return Evaluation(
        frame_ap(joined, abnormal),
        frame_auc(joined, abnormal),
        float(abnormal.mean()),
        strict_map(found, true, categories),
        chance.mean,
        len(known),
        len(joined),
        left_out,
    )


def _frame_truth(intervals: Sequence[Interval], num_frames: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    truth = np.zeros(num_frames, dtype=bool)
    for interval in intervals:
        truth[interval.start_frame : interval.end_frame] = True
    return truth
