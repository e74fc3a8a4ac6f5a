"""mAP@IoU of reported intervals, the protocol ``strict``, and its chance level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vadpipe.errors import DataError
from vadpipe.pipeline.metrics.matching import (
    IOU_THRESHOLDS,
    Claims,
    Floats,
    Table,
    chance_precisions,
    checked_thresholds,
    claims,
    table,
)
from vadpipe.tracks import Interval

IntervalsById = Mapping[str, Sequence[Interval]]
"""Video id -> intervals."""


@dataclass(frozen=True, slots=True)
class StrictMap:
    """mAP@IoU of the protocol ``strict``.

    iou_thresholds
        The K overlaps from which a proposal may claim a true segment.
    per_class
        Category -> K average precisions; 0 where nothing, or nothing right, was proposed.
    left_out
        Categories that no true segment has; they enter no mean.
    """

    iou_thresholds: tuple[float, ...]
    per_class: Mapping[str, tuple[float, ...]]
    left_out: tuple[str, ...]

    @property
    def mean(self) -> tuple[float, ...]:
        """(K,) mAP at each threshold."""
        return tuple(float(np.mean(column)) for column in zip(*self.per_class.values(), strict=True))

    @property
    def average(self) -> float:
        """Mean of :attr:`mean` over the thresholds."""
        return float(np.mean(self.mean))


def strict_map(
    predicted: IntervalsById, truth: IntervalsById, categories: Sequence[str], iou_thresholds: Floats = IOU_THRESHOLDS
) -> StrictMap:
    """mAP@IoU over anomaly categories, of intervals as they are reported.

    predicted, truth
        Every test video is a key of ``truth``, normal ones with an empty sequence; one that ``predicted`` lacks has no
        proposals.
    categories
        The anomaly categories; ``normal`` is none.

    The proposals of a category from all videos are ranked by score (ties: id, start, end). In this order each claims
    the unclaimed true segment of its video with the largest IoU in frames, if that reaches the threshold (ties: the
    earlier one); a segment is claimed once. AP is the sum of the precision at every claim over the number of segments.

    :class:`DataError` for proposals in a video or category that is not tested, and without any true segment.
    """
    return strict_of(strict_claims(predicted, truth, categories, iou_thresholds), categories, iou_thresholds)


def strict_claims(
    predicted: IntervalsById, truth: IntervalsById, categories: Sequence[str], iou_thresholds: Floats = IOU_THRESHOLDS
) -> dict[str, Claims]:
    """Who claimed what, for every category with a true segment; videos are numbered in the order of ``sorted(truth)``.

    Arguments and errors as in :func:`strict_map`. Claims in one video do not depend on the others, so a resampling of
    videos needs no new matching.
    """
    thresholds = checked_thresholds(iou_thresholds)
    proposed, true = _tables(predicted, truth, categories)
    return {name: claims(proposed[name], found, thresholds) for name, found in true.items() if len(found)}


def strict_of(found: Mapping[str, Claims], categories: Sequence[str], iou_thresholds: Floats) -> StrictMap:
    """Figures of the protocol from :func:`strict_claims`."""
    per_class = {name: outcome.average_precisions() for name, outcome in found.items()}
    return StrictMap(tuple(iou_thresholds), per_class, tuple(name for name in categories if name not in per_class))


def chance_map(
    predicted: IntervalsById,
    truth: IntervalsById,
    num_frames: Mapping[str, int],
    categories: Sequence[str],
    iou_thresholds: Floats = IOU_THRESHOLDS,
    repeats: int = 20,
    seed: int = 0,
) -> StrictMap:
    """What :func:`strict_map` gives for intervals of the same lengths, scores and categories in random places.

    Every proposal moves to a uniformly random start in a uniformly random test video (a key of ``truth``) that is
    long enough; the result is the mean over ``repeats`` such draws. ``num_frames`` gives the length of every video.
    """
    thresholds = checked_thresholds(iou_thresholds)
    proposed, true = _tables(predicted, truth, categories)
    if missing := sorted(set(truth) - set(num_frames)):
        raise DataError(f"chance level: {len(missing)} videos without a number of frames, {missing[0]!r} first")
    frames = np.array([num_frames[video] for video in sorted(truth)], dtype=np.int64)
    tested = {name: found for name, found in true.items() if len(found)}
    per_class = chance_precisions(proposed, tested, frames, thresholds, repeats, seed)
    return StrictMap(thresholds, per_class, tuple(name for name in true if name not in tested))


def _tables(
    predicted: IntervalsById, truth: IntervalsById, categories: Sequence[str]
) -> tuple[dict[str, Table], dict[str, Table]]:
    if strangers := sorted(set(predicted) - set(truth)):
        raise DataError(f"{len(strangers)} videos have proposals but no truth, {strangers[0]!r} first")
    numbers = {video: number for number, video in enumerate(sorted(truth))}
    tables = []
    for spans in (predicted, truth):
        rows: dict[str, list[tuple[int, int, int, float]]] = {name: [] for name in categories}
        for video in sorted(spans):
            for span in spans[video]:
                if span.category not in rows:
                    raise DataError(f"video {video!r}: category {span.category!r} is none of {tuple(categories)}")
                rows[span.category].append((numbers[video], span.start_frame, span.end_frame, span.score))
        tables.append({name: table(sorted(found)) for name, found in rows.items()})
    if not any(len(found) for found in tables[1].values()):
        raise DataError("no test video has a true incident; mAP needs temporal annotations of the test videos")
    return tables[0], tables[1]
