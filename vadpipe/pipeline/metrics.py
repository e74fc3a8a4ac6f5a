"""How good scores and intervals are: frame AP and AUC, mAP@IoU in the protocols ``strict`` and ``vadclip``, chance.

Plain arrays and intervals in, numbers in [0, 1] out; nothing here reads a file or knows a data set.
Legend: N frames, T snippets, C classes, P proposals and G true segments of one category over all videos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vadpipe.errors import DataError
from vadpipe.tracks import Interval

IOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)

# Of the protocol "vadclip": the top 1/16 of the frames weigh 0.7; runs reach 0.6 of the range down, over >= 2 frames.
_TOP, _WEIGHT, _DEPTH, _SHORTEST = 16, 0.7, 0.6, 2

_IntArray = NDArray[np.int64]
IntervalsById = Mapping[str, Sequence[Interval]]
"""Video id -> intervals."""

_Floats = Sequence[float]
_Rows = dict[str, list[tuple[int, int, int, float]]]
_Table = NDArray[np.float64]  # (n, 4): number of the video, start and end frame, score; whole numbers stay exact


def frame_ap(scores: ArrayLike, truth: ArrayLike) -> float:
    """Average precision over frames, scikit-learn's definition: the sum of precision times the step in recall.

    scores (N,), any finite numbers; truth (N,), 0 or 1. Frames with equal scores enter together, so their order does
    not matter. Chance level is the share of abnormal frames. :class:`DataError` if all frames are of one kind.
    """
    hits, false = _curve(scores, truth)
    steps = np.diff(hits, prepend=0)
    return float(np.sum(steps * (hits / (hits + false))) / hits[-1])


def frame_auc(scores: ArrayLike, truth: ArrayLike) -> float:
    """Area under the ROC curve over frames; arguments and errors as in :func:`frame_ap`, chance level 0.5."""
    hits, false = _curve(scores, truth)
    # Trapezoids in pairs of frames, whole numbers: exact up to the division.
    doubled = np.sum(np.diff(false, prepend=0) * (hits + np.append(0, hits[:-1])))
    return float(doubled / (2.0 * hits[-1] * false[-1]))


def _curve(scores: ArrayLike, truth: ArrayLike) -> tuple[_IntArray, _IntArray]:
    """Number of abnormal and of normal frames at or above each distinct score, from the highest score down."""
    values, positive = np.asarray(scores), np.asarray(truth)
    if values.ndim != 1 or values.shape != positive.shape:
        raise ValueError(f"scores and truth: got shapes {values.shape} and {positive.shape}, expected (N,) twice")
    if not np.isfinite(values).all():
        raise ValueError("scores hold NaN or infinity")
    if ((positive != 0) & (positive != 1)).any():
        raise ValueError("truth holds values other than 0 and 1")
    total = np.count_nonzero(positive)
    if total in (0, len(positive)):
        raise DataError(
            f"{total} of {len(positive)} frames are abnormal; AP and AUC need frames of both kinds, "
            "so test on normal and anomalous videos together"
        )
    order = np.argsort(values)[::-1]
    ranked = values[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    hits = np.cumsum(positive[order], dtype=np.int64)[ends]
    return hits, ends + 1 - hits


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
    predicted: IntervalsById, truth: IntervalsById, categories: Sequence[str], iou_thresholds: _Floats = IOU_THRESHOLDS
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
    thresholds = _checked(iou_thresholds)
    proposed, true = _tables(predicted, truth, categories)
    return _strict(proposed, true, thresholds)


def chance_map(
    predicted: IntervalsById,
    truth: IntervalsById,
    num_frames: Mapping[str, int],
    categories: Sequence[str],
    iou_thresholds: _Floats = IOU_THRESHOLDS,
    repeats: int = 20,
    seed: int = 0,
) -> StrictMap:
    """What :func:`strict_map` gives for intervals of the same lengths, scores and categories in random places.

    Every proposal moves to a uniformly random start in a uniformly random test video (a key of ``truth``) that is
    long enough; the result is the mean over ``repeats`` such draws. ``num_frames`` gives the length of every video.
    """
    thresholds = _checked(iou_thresholds)
    if repeats < 1:
        raise ValueError(f"repeats: got {repeats}, expected at least 1")
    proposed, true = _tables(predicted, truth, categories)
    if missing := sorted(set(truth) - set(num_frames)):
        raise DataError(f"chance level: {len(missing)} videos without a number of frames, {missing[0]!r} first")
    frames = np.array([num_frames[video] for video in sorted(truth)], dtype=np.int64)
    for table in proposed.values():
        if (table[:, 2] > frames[table[:, 0].astype(np.int64)]).any():
            raise DataError("chance level: a proposal ends after the last frame of its video")
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(repeats):
        moved = {name: _scattered(table, frames, rng) for name, table in proposed.items()}
        draws.append(_strict(moved, true, thresholds))
    classes = draws[0].per_class
    means = {name: tuple(np.mean([draw.per_class[name] for draw in draws], axis=0).tolist()) for name in classes}
    return StrictMap(thresholds, means, draws[0].left_out)


def _table(rows: Sequence[tuple[int, int, int, float]]) -> _Table:
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _checked(iou_thresholds: _Floats) -> tuple[float, ...]:
    if not iou_thresholds or not all(0 < threshold <= 1 for threshold in iou_thresholds):
        raise ValueError(f"iou_thresholds: got {iou_thresholds!r}, expected numbers in (0, 1]")
    return tuple(iou_thresholds)


def _tables(
    predicted: IntervalsById, truth: IntervalsById, categories: Sequence[str]
) -> tuple[dict[str, _Table], dict[str, _Table]]:
    if strangers := sorted(set(predicted) - set(truth)):
        raise DataError(f"{len(strangers)} videos have proposals but no truth, {strangers[0]!r} first")
    numbers = {video: number for number, video in enumerate(sorted(truth))}
    tables = []
    for spans in (predicted, truth):
        rows: _Rows = {name: [] for name in categories}
        for video in sorted(spans):
            for span in spans[video]:
                if span.category not in rows:
                    raise DataError(f"video {video!r}: category {span.category!r} is none of {tuple(categories)}")
                rows[span.category].append((numbers[video], span.start_frame, span.end_frame, span.score))
        tables.append({name: _table(sorted(found)) for name, found in rows.items()})
    if not any(len(table) for table in tables[1].values()):
        raise DataError("no test video has a true incident; mAP needs temporal annotations of the test videos")
    return tables[0], tables[1]


def _strict(proposed: Mapping[str, _Table], true: Mapping[str, _Table], thresholds: tuple[float, ...]) -> StrictMap:
    tested = [name for name, table in true.items() if len(table)]
    per_class = {name: _average_precisions(proposed[name], true[name], thresholds) for name in tested}
    return StrictMap(thresholds, per_class, tuple(name for name in true if name not in per_class))


def _scattered(table: _Table, frames: _IntArray, rng: np.random.Generator) -> _Table:
    by_length = np.argsort(frames, kind="stable")
    length = (table[:, 2] - table[:, 1]).astype(np.int64)
    video = by_length[rng.integers(np.searchsorted(frames[by_length], length), len(frames))]
    start = rng.integers(0, frames[video] - length + 1)
    return np.column_stack((video, start, start + length, table[:, 3]))


def _average_precisions(proposed: _Table, true: _Table, thresholds: _Floats) -> tuple[float, ...]:
    """AP of one category at each threshold; needs G > 0, gives 0 for P = 0."""
    video, start, end, score = proposed.T
    ranked = proposed[np.lexsort((end, start, video, -score))]
    rank, segment, iou = _overlaps(ranked, true, min(thresholds))
    results = []
    for threshold in thresholds:
        hit, claimed = np.zeros(len(ranked), dtype=bool), np.zeros(len(true), dtype=bool)
        enough = iou >= threshold
        for p, g in zip(rank[enough].tolist(), segment[enough].tolist(), strict=True):
            if not hit[p] and not claimed[g]:
                hit[p] = claimed[g] = True
        precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
        results.append(float(precision[hit].sum() / len(true)))
    return tuple(results)


def _overlaps(ranked: _Table, true: _Table, least: float) -> tuple[_IntArray, _IntArray, NDArray[np.float64]]:
    """Pairs (rank of proposal, true segment, IoU >= ``least``) in the same video, by rank, then best IoU first.

    ``true`` is sorted by video.
    """
    first = np.searchsorted(true[:, 0], ranked[:, 0], side="left")
    counts = np.searchsorted(true[:, 0], ranked[:, 0], side="right") - first
    rank = np.repeat(np.arange(len(counts)), counts)
    segment = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    _, start, end, _ = ranked[rank].T
    _, true_start, true_end, _ = true[segment].T
    both = np.maximum(np.minimum(end, true_end) - np.maximum(start, true_start), 0)
    iou = both / (end - start + true_end - true_start - both)
    order = np.lexsort((segment, -iou, rank))
    order = order[iou[order] >= least]
    return rank[order], segment[order], iou[order]


def vadclip_map(
    probabilities: Sequence[NDArray[Any]],
    segments: Sequence[Sequence[tuple[int, int]]],
    labels: Sequence[Sequence[str]],
    classes: Sequence[str],
    iou_thresholds: _Floats = IOU_THRESHOLDS,
    frames_per_snippet: int = 1,
) -> dict[float, float]:
    """mAP@IoU in the protocol of the published figures, its traps included: threshold -> mAP.

    probabilities
        One (T, C) array a video, ``normal`` among the classes; a row holds for ``frames_per_snippet`` frames.
    segments, labels
        For each video its true segments [start, end) in frames and the class of each; a normal video has one segment
        of the class ``normal`` over its whole length.

    The traps: one class without any proposal makes the mAP 0 for all; a class without true segments counts as 0; no
    proposals come from a video of under 16 frames, nor where a class does not vary or its top mean is not above 0.
    """
    thresholds = _checked(iou_thresholds)
    if not len(probabilities) == len(segments) == len(labels):
        raise ValueError(f"got {len(probabilities)} probabilities, {len(segments)} segments, {len(labels)} labels")
    proposed = _vadclip_proposals(probabilities, len(classes), frames_per_snippet)
    rows: _Rows = {name: [] for name in classes}
    for number, (spans, names) in enumerate(zip(segments, labels, strict=True)):
        for (start, end), name in zip(spans, names, strict=True):
            if name not in rows:
                raise DataError(f"video {number}: label {name!r} is none of {tuple(classes)}")
            rows[name].append((number, start, end, 1.0))
    if not all(len(table) for table in proposed):
        return dict.fromkeys(thresholds, 0.0)
    results = [
        _average_precisions(table, _table(rows[name]), thresholds) if rows[name] else (0.0,) * len(thresholds)
        for table, name in zip(proposed, classes, strict=True)
    ]
    return dict(zip(thresholds, np.mean(results, axis=0).tolist(), strict=True))


def _vadclip_proposals(probabilities: Sequence[NDArray[Any]], num_classes: int, step: int) -> list[_Table]:
    """One table a class. Non-maximum suppression is left out: runs above one threshold never overlap."""
    rows: list[list[tuple[int, int, int, float]]] = [[] for _ in range(num_classes)]
    for number, given in enumerate(probabilities):
        if given.ndim != 2 or given.shape[1] != num_classes or not np.isfinite(given).all():
            raise ValueError(f"probabilities: got {given.shape} for video {number}, expected finite (T, {num_classes})")
        if len(given) * step < _TOP:
            continue
        values = given.astype(np.float64)
        top = _top_mean(values, step)
        high, low = values.max(axis=0), values.min(axis=0)
        above = values > high - (high - low) * _DEPTH
        edges = np.diff(np.pad(above, ((1, 1), (0, 0))).astype(np.int8), axis=0).T
        starts, ends = np.argwhere(edges == 1).tolist(), np.nonzero(edges == -1)[1].tolist()
        for (column, start), end in zip(starts, ends, strict=True):
            if top[column] > 0 and (end - start) * step >= _SHORTEST:
                score = float(values[start:end, column].max() + _WEIGHT * top[column])
                rows[column].append((number, start * step, end * step, score))
    return [_table(found) for found in rows]


def _top_mean(values: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """(C,) mean of the highest floor(N / 16) of the N >= 16 frame values."""
    count = len(values) * step // _TOP
    weights = np.clip(count - np.arange(len(values)) * step, 0, step) / count
    return np.asarray(weights @ np.sort(values, axis=0)[::-1])
