"""95 % intervals by resampling whole videos with replacement.

Frames of one video resemble each other, so videos are what is drawn. Scores are sorted once, and a draw only changes
how often each video counts.

Legend: V videos, R draws, T snippets of all videos together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vadpipe.pipeline.metrics.matching import Claims
from vadpipe.pipeline.metrics.ranking import IntArray, tie_ends

DRAWS = 1000

Counts = NDArray[np.int32]
"""(R, V): how often each video is in each draw; rows sum to V."""

Values = NDArray[np.float64]


def bootstrap_counts(videos: int, draws: int = DRAWS, seed: int = 0) -> Counts:
    """Draw ``videos`` of so many videos with replacement, ``draws`` times."""
    rng = np.random.default_rng(seed)
    counts = np.empty((draws, videos), dtype=np.int32)
    for row in counts:
        row[:] = np.bincount(rng.integers(0, videos, videos), minlength=videos)
    return counts


def bootstrap_ranking(
    scores: NDArray[np.floating], abnormal: IntArray, normal: IntArray, video: IntArray, counts: Counts
) -> tuple[Values, Values]:
    """AP and AUC of every draw, (R,) each; NaN where a draw has frames of one kind only.

    scores, abnormal, normal, video
        (T,) score, number of abnormal and of normal frames, and number of the video of each snippet.
    counts
        How often each video counts; the result of a row is that of the joined frames of so many copies.
    """
    aps, aucs = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    if not abnormal.any():
        return aps, aucs
    ranked = _Ranked.of(scores, abnormal, normal, video)
    for draw, times in enumerate(counts.astype(np.int64)):
        aps[draw], aucs[draw] = ranked.figures(times)
    return aps, aucs


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Snippets from the highest score down, cut after every group of tied ones that holds an abnormal frame: K cuts.

    AP and AUC change only there, so a draw needs cumulated counts at the cuts and little else. All whole numbers: they
    are exact, and their cumulated sums are several times as fast as those of floats.

    video, normal, cuts
        Of all snippets; place of the last snippet of each group (K,).
    abnormal_video, abnormal, abnormal_cuts
        The same of the snippets with abnormal frames alone; each cut is after one of them.
    tied_video, tied, tied_cut
        Snippets with normal frames that are tied with abnormal frames, or the same snippet: each pair counts half.
    """

    video: IntArray
    normal: IntArray
    cuts: IntArray
    abnormal_video: IntArray
    abnormal: IntArray
    abnormal_cuts: IntArray
    tied_video: IntArray
    tied: IntArray
    tied_cut: IntArray

    @classmethod
    def of(cls, scores: NDArray[np.floating], abnormal: IntArray, normal: IntArray, video: IntArray) -> _Ranked:
        order = np.argsort(scores)[::-1]
        owner, positive, negative = video[order], abnormal[order], normal[order]
        ends = tie_ends(scores[order])
        starts = np.append(0, ends[:-1] + 1)
        mixed = np.add.reduceat(positive, starts) > 0
        cuts, opened = ends[mixed], starts[mixed]
        place = np.arange(cuts[-1] + 1)
        cut = np.searchsorted(cuts, place)
        hit = np.flatnonzero(positive)
        tied = np.flatnonzero((negative[: len(place)] > 0) & (place >= opened[cut]))
        last = np.searchsorted(cut[hit], np.arange(len(cuts)), side="right") - 1
        return cls(
            owner, negative, cuts, owner[hit], positive[hit], last, owner[tied], negative[tied], cut[tied]
        )  # fmt: skip

    def figures(self, times: IntArray) -> tuple[float, float]:
        """AP and AUC where video v counts ``times[v]`` times, (V,); NaN for frames of one kind."""
        hits = np.cumsum(times.take(self.abnormal_video) * self.abnormal).take(self.abnormal_cuts)
        every = np.cumsum(times.take(self.video) * self.normal)
        if not hits[-1] or not every[-1]:
            return np.nan, np.nan
        false, hit = every.take(self.cuts), np.diff(hits, prepend=0)
        ap = np.sum(hit * (hits / np.maximum(hits + false, 1))) / hits[-1]
        pairs = np.sum(hit * (every[-1] - false))  # an abnormal frame above a normal one
        tied = np.sum(hit.take(self.tied_cut) * times.take(self.tied_video) * self.tied)
        return float(ap), float((2 * pairs + tied) / (2.0 * hits[-1] * every[-1]))


def bootstrap_map(found: Mapping[str, Claims], counts: Counts) -> Values:
    """Mean average precision, averaged over thresholds in every draw, (R,); NaN where a draw has no true segment.

    A category without true segments in a draw enters no mean there, as in the protocol ``strict``. Copies of one video
    are ranked one after another.
    """
    classes = list(found.values())
    if not classes:
        return np.full(len(counts), np.nan)
    sizes = np.array([len(item.video) for item in classes])
    owner = np.concatenate([item.video for item in classes])
    hit = np.concatenate([item.hit for item in classes], axis=1).astype(np.float64)
    true = np.stack([np.bincount(item.true_video, minlength=counts.shape[1]) for item in classes])
    kind = np.repeat(np.arange(len(classes)), sizes)
    segments = counts.astype(np.int64) @ true.T  # (R, classes)
    averages = np.full(len(counts), np.nan)
    for draw, row in enumerate(counts):
        known = segments[draw] > 0
        if known.any():
            picked = np.repeat(np.arange(len(owner)), row[owner])
            sums = _precision_sums(hit[:, picked], kind[picked], len(classes))
            averages[draw] = np.mean(sums[known] / segments[draw][known])
    return averages


def _precision_sums(hit: Values, kind: IntArray, num_classes: int) -> Values:
    """(K, P) hits by class and rank -> (classes,) sum of the precision at every hit, the mean over thresholds."""
    sums = np.zeros(num_classes)
    if not len(kind):
        return sums
    first = np.concatenate(([0], np.flatnonzero(np.diff(kind)) + 1))
    sizes = np.diff(first, append=len(kind))
    hits = np.cumsum(hit, axis=1)
    before = (hits - hit)[:, first]  # of the classes in front
    rank = np.arange(1, len(kind) + 1) - np.repeat(first, sizes)
    precision = hit * (hits - np.repeat(before, sizes, axis=1)) / rank
    sums[kind[first]] = np.add.reduceat(precision.mean(axis=0), first)
    return sums


def percentile_interval(values: Values, level: float = 0.95) -> tuple[float, float] | None:
    """Middle ``level`` of the draws that have a figure; None where fewer than half have one."""
    known = values[~np.isnan(values)]
    if not len(known) or 2 * len(known) < len(values):
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
