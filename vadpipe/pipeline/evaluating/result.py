"""What an evaluation results in: every figure with its chance level and its 95 % interval; and how it was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vadpipe.errors import UsageError
from vadpipe.pipeline.evaluating.tables import ClassRow, VideoRow
from vadpipe.pipeline.metrics import FalseAlarms, Ranking, StrictMap, VadclipMap

PROTOCOLS: Mapping[str, str] = {
    "strict": "intervals as detect reports them, anomaly categories only; a category without truth is left out",
    "vadclip": "the published figures' own proposals from category scores, normal is a class; "
    "one class without proposals makes it 0, a class without truth counts as 0",
}
"""Name of each protocol of mAP@IoU -> its definition in one line."""

Bounds = Mapping[str, tuple[float, float] | None]


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """threshold: anomaly score above which a frame is an alarm. draws, seed: of the bootstrap; 0 draws leave it out."""

    threshold: float = 0.5
    draws: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise UsageError(f"threshold: got {self.threshold}, expected 0 … <1, as anomaly scores are")
        if self.draws < 0:
            raise UsageError(f"bootstrap draws: got {self.draws}, expected 0 or more")


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
    abnormal_only
        The same over the anomalous videos alone; None where they hold no normal frame.
    vadclip, vadclip_chance
        mAP@IoU in the protocol ``vadclip``, and of the same proposals at random places.
    alarms
        False alarms on normal videos; None without any.
    bounds
        95 % bootstrap intervals over videos, by the name of the figure in :meth:`to_mapping`; None where a figure is
        undefined in most draws. Empty where no draws were asked for.
    classes, rows
        A row for each class and for each video.
    notes, differences
        What a reader has to know; video -> frames that its scores had more than its truth, or its labels state.
    """

    ap: float
    auc: float
    abnormal_share: float
    intervals: StrictMap
    chance: tuple[float, ...]
    videos: int
    frames: int
    left_out: tuple[str, ...]
    abnormal_only: Ranking | None
    vadclip: VadclipMap
    vadclip_chance: tuple[float, ...]
    alarms: FalseAlarms | None
    bounds: Bounds
    classes: tuple[ClassRow, ...]
    rows: tuple[VideoRow, ...]
    notes: tuple[str, ...]
    differences: Mapping[str, int]
    options: EvaluateOptions
    ranking: Ranking = field(repr=False)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        thresholds = [f"{value:g}" for value in self.intervals.iou_thresholds]
        only, alarms = self.abnormal_only, self.alarms
        return {
            "frame_ap": self.ap,
            "frame_ap_chance": self.abnormal_share,
            "frame_auc": self.auc,
            "frame_auc_chance": 0.5,
            "frame_ap_abnormal_videos": only.ap if only else None,
            "frame_ap_abnormal_videos_chance": only.abnormal_share if only else None,
            "frame_auc_abnormal_videos": only.auc if only else None,
            "false_alarms": _alarms(alarms) if alarms else None,
            "map_protocol": "strict",
            "map": dict(zip(thresholds, self.intervals.mean, strict=True)),
            "map_average": self.intervals.average,
            "map_chance": dict(zip(thresholds, self.chance, strict=True)),
            "map_per_class": {name: list(values) for name, values in self.intervals.per_class.items()},
            "map_vadclip": dict(zip(thresholds, self.vadclip.mean, strict=True)),
            "map_vadclip_average": self.vadclip.average,
            "map_vadclip_chance": dict(zip(thresholds, self.vadclip_chance, strict=True)),
            "map_vadclip_per_class": {name: list(values) for name, values in self.vadclip.per_class.items()},
            "map_vadclip_classes_without_proposals": list(self.vadclip.without_proposals),
            "map_vadclip_classes_without_truth": list(self.vadclip.without_truth),
            "protocols": dict(PROTOCOLS),
            "classes_without_truth": list(self.intervals.left_out),
            "bootstrap": {"draws": self.options.draws, "seed": self.options.seed, "level": 0.95, "over": "videos"},
            "intervals_95": {name: bound and list(bound) for name, bound in self.bounds.items()},
            "videos": self.videos,
            "frames": self.frames,
            "videos_without_truth": list(self.left_out),
            "length_differences": dict(self.differences),
            "notes": list(self.notes),
            "per_class": [asdict(row) for row in self.classes],
            "per_video": [asdict(row) for row in self.rows],
        }


def _alarms(alarms: FalseAlarms) -> dict[str, float | int]:
    return {**asdict(alarms), "rate": alarms.rate, "per_hour": alarms.per_hour}
