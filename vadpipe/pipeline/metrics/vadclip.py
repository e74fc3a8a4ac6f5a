"""mAP@IoU in the protocol of the published figures, ``vadclip``, its traps included, and its chance level.

Legend: V videos, T snippets of one of them, S snippets of all, N frames of one video, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import DataError
from vadpipe.pipeline.metrics.matching import (
    IOU_THRESHOLDS,
    Floats,
    IntArray,
    Table,
    chance_precisions,
    checked_thresholds,
    claims,
    table,
)

# The top 1/16 of the frames weigh 0.7; runs reach 0.6 of the range down, over at least 2 frames.
_TOP, _WEIGHT, _DEPTH, _SHORTEST = 16, 0.7, 0.6, 2


@dataclass(frozen=True, slots=True)
class VadclipMap:
    """mAP@IoU of the protocol ``vadclip``.

    per_class
        Class (``normal`` among them) -> average precision at each of the K thresholds; 0 without true segments.
    without_proposals, without_truth
        Classes that nothing was proposed for: any makes the mAP 0. Classes without true segments: each counts as 0.
    """

    iou_thresholds: tuple[float, ...]
    per_class: Mapping[str, tuple[float, ...]]
    without_proposals: tuple[str, ...] = ()
    without_truth: tuple[str, ...] = ()

    @property
    def mean(self) -> tuple[float, ...]:
        """(K,) mAP at each threshold."""
        if self.without_proposals:
            return (0.0,) * len(self.iou_thresholds)
        return tuple(np.mean(list(self.per_class.values()), axis=0).tolist())

    @property
    def average(self) -> float:
        """Mean of :attr:`mean` over the thresholds."""
        return float(np.mean(self.mean))


@dataclass(frozen=True, slots=True)
class VadclipTables:
    """Proposals and true segments of each class, a table each, and the frames of each video, (V,)."""

    proposed: Mapping[str, Table]
    true: Mapping[str, Table]
    num_frames: IntArray

    def figures(self, iou_thresholds: Floats = IOU_THRESHOLDS) -> VadclipMap:
        """Match and average."""
        thresholds = checked_thresholds(iou_thresholds)
        found = {name: claims(self.proposed[name], true, thresholds) for name, true in self.true.items()}
        return self._named(thresholds, {name: item.average_precisions() for name, item in found.items()})

    def chance(self, iou_thresholds: Floats = IOU_THRESHOLDS, repeats: int = 5, seed: int = 0) -> VadclipMap:
        """What the protocol gives for proposals of the same lengths, scores and classes in random places.

        Places are drawn as for :func:`vadpipe.pipeline.metrics.chance_map`; the mean over ``repeats`` draws.
        """
        thresholds = checked_thresholds(iou_thresholds)
        per_class = chance_precisions(self.proposed, self.true, self.num_frames, thresholds, repeats, seed)
        return self._named(thresholds, per_class)

    def _named(self, thresholds: tuple[float, ...], per_class: Mapping[str, tuple[float, ...]]) -> VadclipMap:
        empty = tuple(name for name, found in self.proposed.items() if not len(found))
        return VadclipMap(
            thresholds, per_class, empty, tuple(name for name, true in self.true.items() if not len(true))
        )


def vadclip_map(
    probabilities: Sequence[NDArray[Any]],
    segments: Sequence[Sequence[tuple[int, int]]],
    labels: Sequence[Sequence[str]],
    classes: Sequence[str],
    iou_thresholds: Floats = IOU_THRESHOLDS,
    frames_per_snippet: int = 1,
    num_frames: Sequence[int] | None = None,
) -> dict[float, float]:
    """mAP@IoU in the protocol of the published figures, its traps included: threshold -> mAP.

    probabilities
        One (T, C) array a video, ``normal`` among the classes; a row holds for ``frames_per_snippet`` frames.
    segments, labels
        For each video its true segments [start, end) in frames and the class of each; a normal video has one segment
        of the class ``normal`` over its whole length.
    num_frames
        Frames of each video, where the last snippet is short; else T times ``frames_per_snippet``.

    The traps: one class without any proposal makes the mAP 0 for all; a class without true segments counts as 0; no
    proposals come from a video of under 16 frames, nor where a class does not vary or its top mean is not above 0.
    """
    tables = vadclip_tables(probabilities, segments, labels, classes, frames_per_snippet, num_frames)
    figures = tables.figures(iou_thresholds)
    return dict(zip(figures.iou_thresholds, figures.mean, strict=True))


def vadclip_tables(
    probabilities: Sequence[NDArray[Any]],
    segments: Sequence[Sequence[tuple[int, int]]],
    labels: Sequence[Sequence[str]],
    classes: Sequence[str],
    frames_per_snippet: int = 1,
    num_frames: Sequence[int] | None = None,
) -> VadclipTables:
    """Proposals and truth of the protocol; arguments as in :func:`vadclip_map`."""
    if not len(probabilities) == len(segments) == len(labels):
        raise ValueError(f"got {len(probabilities)} probabilities, {len(segments)} segments, {len(labels)} labels")
    rows: dict[str, list[tuple[int, int, int, float]]] = {name: [] for name in classes}
    for number, (spans, names) in enumerate(zip(segments, labels, strict=True)):
        for (start, end), name in zip(spans, names, strict=True):
            if name not in rows:
                raise DataError(f"video {number}: label {name!r} is none of {tuple(classes)}")
            rows[name].append((number, start, end, 1.0))
    for number, given in enumerate(probabilities):
        if given.ndim != 2 or given.shape[1] != len(classes) or not np.isfinite(given).all():
            raise ValueError(
                f"probabilities: got {given.shape} for video {number}, expected finite (T, {len(classes)})"
            )
    frames = _lengths(probabilities, frames_per_snippet, num_frames)
    proposed = _proposals(probabilities, len(classes), frames, frames_per_snippet)
    return VadclipTables(
        dict(zip(classes, proposed, strict=True)), {name: table(found) for name, found in rows.items()}, frames
    )


def _lengths(probabilities: Sequence[NDArray[Any]], step: int, num_frames: Sequence[int] | None) -> IntArray:
    snippets = np.array([len(given) for given in probabilities], dtype=np.int64)
    if num_frames is None:
        return snippets * step
    frames = np.array(num_frames, dtype=np.int64)
    if frames.shape != snippets.shape or (wrong := np.flatnonzero(-(-frames // step) != snippets)).size:
        said = "" if frames.shape != snippets.shape else f", the first in video {wrong[0]}"
        raise ValueError(f"num_frames does not fit the number of snippets of every video{said}")
    return frames


def _proposals(probabilities: Sequence[NDArray[Any]], num_classes: int, frames: IntArray, step: int) -> list[Table]:
    """One table a class, of all videos at once: they stand one after another in one long array.

    Differs from the released code: non-maximum suppression is left out, since runs above one threshold never overlap.
    """
    lengths = [(video, length) for video, length in enumerate(frames.tolist()) if length >= _TOP]
    if not lengths:
        return [table([]) for _ in range(num_classes)]
    blocks = [np.ascontiguousarray(probabilities[video].T, dtype=np.float64) for video, _ in lengths]
    values = np.concatenate(blocks, axis=1)  # (C, S)
    counts = np.array([block.shape[1] for block in blocks])
    first = np.cumsum(counts) - counts
    high, low = np.maximum.reduceat(values, first, axis=1), np.minimum.reduceat(values, first, axis=1)
    top = np.stack([_top_mean(block, length, step) for block, (_, length) in zip(blocks, lengths, strict=True)], 1)
    threshold = np.where(top > 0, high - (high - low) * _DEPTH, np.inf)
    start, end, owner, column = _runs(values > np.repeat(threshold, counts, axis=1), first, counts)
    peak = _peaks(values, start, end, column)
    begin = (start - first[owner]) * step
    video = np.array([number for number, _ in lengths])[owner]
    finish = np.minimum((end - first[owner]) * step, frames[video])
    rows = np.column_stack((video, begin, finish, peak + _WEIGHT * top[column, owner]))
    long = finish - begin >= _SHORTEST
    return [rows[long & (column == number)] for number in range(num_classes)]


def _runs(above: NDArray[np.bool_], first: IntArray, counts: IntArray) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Runs of True in (C, S) within each video: start and end in S, place of the video, class."""
    starts, ends = above.copy(), above.copy()
    starts[:, 1:] &= ~above[:, :-1]
    ends[:, :-1] &= ~above[:, 1:]
    starts[:, first] = above[:, first]  # a video's first and last snippet end every run
    ends[:, first + counts - 1] = above[:, first + counts - 1]
    column, start = np.nonzero(starts)
    end = np.nonzero(ends)[1] + 1
    return start, end, np.searchsorted(first, start, side="right") - 1, column


def _peaks(values: NDArray[np.float64], start: IntArray, end: IntArray, column: IntArray) -> NDArray[np.float64]:
    """Highest value of each run; runs are in the order of their places and do not overlap."""
    if not len(start):
        return np.zeros(0)
    flat = np.append(values.ravel(), -np.inf)  # so that the last run may end where the values do
    offset = column * values.shape[1]
    edges = np.column_stack((start + offset, end + offset)).ravel()
    peaks: NDArray[np.float64] = np.maximum.reduceat(flat, edges)[::2]
    return peaks


def _top_mean(values: NDArray[np.float64], num_frames: int, step: int) -> NDArray[np.float64]:
    """(C, T) -> (C,) mean of the highest floor(N / 16) of the N >= 16 frame values of each class."""
    count, total = num_frames // _TOP, values.shape[1]
    kept = min(count // step + 2, total)  # of these one may be the short last snippet, one is counted in part
    last = num_frames - (total - 1) * step
    if last == step:
        ranked = np.sort(np.partition(values, total - kept, axis=1)[:, total - kept :], axis=1)[:, ::-1]
        return np.asarray(ranked @ (np.clip(count - np.arange(kept) * step, 0, step) / count))
    highest = np.argpartition(values, total - kept, axis=1)[:, total - kept :]
    picked = np.take_along_axis(values, highest, axis=1)
    order = np.argsort(picked, axis=1)[:, ::-1]
    held = np.where(np.take_along_axis(highest, order, axis=1) == total - 1, last, step)
    used = np.clip(count - (np.cumsum(held, axis=1) - held), 0, held)
    return np.asarray((np.take_along_axis(picked, order, axis=1) * used).sum(axis=1) / count)
