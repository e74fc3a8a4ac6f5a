"""Which proposals claim which true segments, and the AP that follows. Shared by both protocols of mAP@IoU.

Legend: P proposals and G true segments of one category over all videos, K thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import DataError

IOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)

Floats = Sequence[float]
IntArray = NDArray[np.int64]
Table = NDArray[np.float64]
"""(n, 4): number of the video, start and end frame, score; whole numbers stay exact."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Outcome for one category.

    video, hit
        (P,) number of the video of each proposal, by rank; (K, P) whether it claimed a segment at each threshold.
    true_video
        (G,) number of the video of each true segment.
    """

    video: IntArray
    hit: NDArray[np.bool_]
    true_video: IntArray

    def average_precisions(self) -> tuple[float, ...]:
        """(K,) sum of the precision at every claim over the number of segments; 0 where there is none of these."""
        if not len(self.true_video):
            return (0.0,) * len(self.hit)
        precision = np.cumsum(self.hit, axis=1) / np.arange(1, self.hit.shape[1] + 1)
        return tuple(((precision * self.hit).sum(axis=1) / len(self.true_video)).tolist())


def checked_thresholds(iou_thresholds: Floats) -> tuple[float, ...]:
    """Return the thresholds; ValueError for none, or one outside (0, 1]."""
    if not iou_thresholds or not all(0 < threshold <= 1 for threshold in iou_thresholds):
        raise ValueError(f"iou_thresholds: got {iou_thresholds!r}, expected numbers in (0, 1]")
    return tuple(iou_thresholds)


def table(rows: Sequence[tuple[int, int, int, float]]) -> Table:
    """Table of rows (video, start, end, score)."""
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def claims(proposed: Table, true: Table, thresholds: Floats) -> Claims:
    """Let proposals claim segments: by descending score (ties: video, start, end), the best IoU first (ties: earlier).

    ``true`` is sorted by video, start and end. Each segment is claimed once, at every threshold anew.
    """
    video, start, end, score = proposed.T
    ranked = proposed[np.lexsort((end, start, video, -score))]
    rank, segment, iou = _overlaps(ranked, true, min(thresholds))
    hit = np.zeros((len(thresholds), len(ranked)), dtype=bool)
    for row, threshold in zip(hit, thresholds, strict=True):
        enough = iou >= threshold
        claimed, hits = bytearray(len(true)), bytearray(len(ranked))
        for p, g in zip(rank[enough].tolist(), segment[enough].tolist(), strict=True):
            if not hits[p] and not claimed[g]:
                hits[p] = claimed[g] = 1
        row[:] = np.frombuffer(hits, dtype=bool)
    return Claims(ranked[:, 0].astype(np.int64), hit, true[:, 0].astype(np.int64))


def scattered(proposed: Table, num_frames: IntArray, rng: np.random.Generator) -> Table:
    """Every proposal in a random place: a random start in a random video that is long enough; lengths, scores stay."""
    by_length = np.argsort(num_frames, kind="stable")
    length = (proposed[:, 2] - proposed[:, 1]).astype(np.int64)
    video = by_length[rng.integers(np.searchsorted(num_frames[by_length], length), len(num_frames))]
    start = rng.integers(0, num_frames[video] - length + 1)
    return np.column_stack((video, start, start + length, proposed[:, 3]))


def chance_precisions(
    proposed: Mapping[str, Table],
    true: Mapping[str, Table],
    num_frames: IntArray,
    thresholds: tuple[float, ...],
    repeats: int,
    seed: int,
) -> dict[str, tuple[float, ...]]:
    """AP of each category of ``true`` for :func:`scattered` proposals, the mean over ``repeats`` draws."""
    if repeats < 1:
        raise ValueError(f"repeats: got {repeats}, expected at least 1")
    for found in proposed.values():
        if (found[:, 2] > num_frames[found[:, 0].astype(np.int64)]).any():
            raise DataError("chance level: a proposal ends after the last frame of its video")
    rng = np.random.default_rng(seed)
    draws: list[dict[str, tuple[float, ...]]] = []
    for _ in range(repeats):
        moved = {name: scattered(found, num_frames, rng) for name, found in proposed.items()}
        draws.append({name: claims(moved[name], true[name], thresholds).average_precisions() for name in true})
    return {name: tuple(np.mean([draw[name] for draw in draws], axis=0).tolist()) for name in true}


def _overlaps(ranked: Table, true: Table, least: float) -> tuple[IntArray, IntArray, NDArray[np.float64]]:
    """Pairs (rank of proposal, true segment, IoU >= ``least``) in the same video, by rank, then best IoU first."""
    first = np.searchsorted(true[:, 0], ranked[:, 0], side="left")
    counts = np.searchsorted(true[:, 0], ranked[:, 0], side="right") - first
    rank = np.repeat(np.arange(len(counts)), counts)
    segment = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    _, start, end, _ = ranked[rank].T
    _, true_start, true_end, _ = true[segment].T
    both = np.maximum(np.minimum(end, true_end) - np.maximum(start, true_start), 0)
    iou = both / (end - start + true_end - true_start - both)
    near = np.flatnonzero(iou >= least)  # few of all pairs, so they are picked before they are sorted
    rank, segment, iou = rank[near], segment[near], iou[near]
    order = np.lexsort((segment, -iou, rank))
    return rank[order], segment[order], iou[order]
