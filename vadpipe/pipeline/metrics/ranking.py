"""Frame AP and AUC: frames ranked by score, given one by one or as snippets with the number of frames in each.

Legend: N frames, T snippets, U distinct scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vadpipe.errors import DataError

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Frames from the highest score down; frames with equal scores enter together.

    hits, false
        (U,) number of abnormal and of normal frames at or above each distinct score; the last entries are the totals,
        both at least 1.
    """

    hits: IntArray
    false: IntArray

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Ranking)
            and np.array_equal(self.hits, other.hits)
            and np.array_equal(self.false, other.false)
        )

    __hash__ = None  # type: ignore[assignment]  # arrays have none

    @property
    def ap(self) -> float:
        """Average precision, scikit-learn's definition: the sum of precision times the step in recall."""
        steps = np.diff(self.hits, prepend=0)
        return float(np.sum(steps * (self.hits / (self.hits + self.false))) / self.hits[-1])

    @property
    def auc(self) -> float:
        """Area under the ROC curve; a tie counts half."""
        # Trapezoids in pairs of frames, whole numbers: exact up to the division.
        doubled = np.sum(np.diff(self.false, prepend=0) * (self.hits + np.append(0, self.hits[:-1])))
        return float(doubled / (2.0 * self.hits[-1] * self.false[-1]))

    @property
    def abnormal_share(self) -> float:
        """Share of abnormal frames: the AP of a score without any information. That of AUC is 0.5."""
        return float(self.hits[-1] / (self.hits[-1] + self.false[-1]))


def frame_ap(scores: ArrayLike, truth: ArrayLike) -> float:
    """Average precision over frames, scikit-learn's definition: the sum of precision times the step in recall.

    scores (N,), any finite numbers; truth (N,), 0 or 1. Frames with equal scores enter together, so their order does
    not matter. Chance level is the share of abnormal frames. :class:`DataError` if all frames are of one kind.
    """
    return rank_frames(scores, truth).ap


def frame_auc(scores: ArrayLike, truth: ArrayLike) -> float:
    """Area under the ROC curve over frames; arguments and errors as in :func:`frame_ap`, chance level 0.5."""
    return rank_frames(scores, truth).auc


def rank_frames(scores: ArrayLike, truth: ArrayLike) -> Ranking:
    """Rank single frames; arguments and errors as in :func:`frame_ap`."""
    values, positive = np.asarray(scores), np.asarray(truth)
    _check(values, positive, "truth")
    if ((positive != 0) & (positive != 1)).any():
        raise ValueError("truth holds values other than 0 and 1")
    abnormal = positive.astype(np.int64)
    return _ranking(values, abnormal, 1 - abnormal)


def rank_snippets(scores: ArrayLike, abnormal: ArrayLike, normal: ArrayLike) -> Ranking:
    """Rank frames whose score is constant in a snippet: exactly :func:`rank_frames` of the repeated scores.

    scores (T,); abnormal, normal (T,) integers >= 0, how many frames of each snippet are so. :class:`DataError` if
    all frames are of one kind.
    """
    values, positive, negative = np.asarray(scores), np.asarray(abnormal), np.asarray(normal)
    _check(values, positive, "abnormal")
    _check(values, negative, "normal")
    for name, counts in (("abnormal", positive), ("normal", negative)):
        if counts.dtype.kind not in "iub" or (counts < 0).any():
            raise ValueError(f"{name}: got {counts.dtype}, expected whole numbers that are not negative")
    held = positive + negative > 0  # a snippet without frames ranks nothing
    if not held.all():
        values, positive, negative = values[held], positive[held], negative[held]
    return _ranking(values, positive.astype(np.int64), negative.astype(np.int64))


def count_frames(truth: ArrayLike, frames_per_snippet: int) -> tuple[IntArray, IntArray]:
    """Truth of frames -> (abnormal, normal) frames of each snippet, (T,) each with T = ceil(N / frames_per_snippet)."""
    positive = np.asarray(truth, dtype=np.int64)
    starts = np.arange(0, len(positive), frames_per_snippet)
    if not len(starts):
        return starts, starts
    abnormal = np.add.reduceat(positive, starts)
    return abnormal, np.diff(starts, append=len(positive)) - abnormal


def _check(values: NDArray[Any], other: NDArray[Any], name: str) -> None:
    if values.ndim != 1 or values.shape != other.shape:
        raise ValueError(f"scores and {name}: got shapes {values.shape} and {other.shape}, expected one length twice")
    if not np.isfinite(values).all():
        raise ValueError("scores hold NaN or infinity")


def _ranking(values: NDArray[Any], abnormal: IntArray, normal: IntArray) -> Ranking:
    total, every = int(abnormal.sum()), int(abnormal.sum() + normal.sum())
    if total in (0, every):
        raise DataError(
            f"{total} of {every} frames are abnormal; AP and AUC need frames of both kinds, "
            "so test on normal and anomalous videos together"
        )
    order = np.argsort(values)[::-1]
    ends = tie_ends(values[order])
    return Ranking(np.cumsum(abnormal[order])[ends], np.cumsum(normal[order])[ends])


def tie_ends(ranked: NDArray[Any]) -> IntArray:
    """Places of the last of every group of equal values in a sorted, non-empty array."""
    return np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
