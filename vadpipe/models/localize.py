"""From snippet scores to intervals: outer-inner contrast and temporal NMS (LEC-VAD, Inference; AutoLoc). Pure numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vadpipe.tracks import Interval


def outer_inner_score(scores: NDArray[np.floating], start: int, end: int) -> float:
    """Mean of ``scores`` inside snippets [start, end) minus the mean in the two flanks (AutoLoc).

    Each flank is a quarter of the length, rounded up, and clipped at the video's ends; without any flank (the interval
    is the whole video) the outer mean is 0. scores (T,).
    """
    if not 0 <= start < end <= len(scores):
        raise ValueError(f"[{start}, {end}) is not a span inside [0, {len(scores)})")
    flank = math.ceil((end - start) / 4)
    outer = np.concatenate([scores[max(start - flank, 0) : start], scores[end : end + flank]])
    return float(np.mean(scores[start:end]) - (np.mean(outer) if outer.size else 0.0))


def temporal_nms(intervals: Sequence[Interval], iou: float) -> list[Interval]:
    """Keep the best of every group of same-category intervals that overlap by more than ``iou`` (hard NMS).

    Sorted by descending score; equal scores go to the earlier start.
    """
    kept: list[Interval] = []
    for candidate in sorted(intervals, key=lambda item: (-item.score, item.start_frame, item.end_frame)):
        rivals = (item for item in kept if item.category == candidate.category)
        if all(candidate.iou(item) <= iou for item in rivals):
            kept.append(candidate)
    return kept


def runs_above(values: NDArray[np.floating], threshold: float) -> list[tuple[int, int]]:
    """Half-open runs of consecutive entries strictly above ``threshold``."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], values > threshold, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def mean_of_highest(values: NDArray[np.floating], k_divisor: int = 16) -> NDArray[np.floating]:
    """(T, C) -> (C,): mean of each column's ``max(T // k_divisor, 1)`` highest values, as in training."""
    k = max(len(values) // k_divisor, 1)
    highest: NDArray[np.floating] = np.sort(values, axis=0)[-k:].mean(axis=0)
    return highest
