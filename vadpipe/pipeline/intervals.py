"""Scores -> intervals, the two-step thresholding of LEC-VAD. Pure: no files, no model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vadpipe.calibration import Calibration
from vadpipe.config import DetectConfig
from vadpipe.models.localize import mean_of_highest, outer_inner_score, runs_above, temporal_nms
from vadpipe.tracks import Interval, ScoreTrack, TimeGrid

_ROUNDING_S = 1e-9  # seconds are rounded fractions: 32 / 25 - 16 / 25 is not always 16 / 25


def find_intervals(
    scores: ScoreTrack, config: DetectConfig, calibration: Calibration | None = None
) -> tuple[Interval, ...]:
    """Incidents in one video, sorted by start.

    A category whose video-level activation (mean of its highest snippets) is over ``r_cls`` is kept; its consecutive
    snippets over ``r_ano`` become candidates (:func:`runs_between`, :func:`joined`), scored by outer-inner contrast,
    thinned by temporal NMS. With a ``calibration``, those stay whose :func:`peak` reaches its threshold: all of them
    are judged by the anomaly score, which is the head's own, whatever names a category.

    Differs from the paper: ``r_ano`` is never under an even share, 1 / classes (``ScoreTrack.even_share``). The
    paper's 0.2 is over that with 7 and 14 classes; with 2 to 4, a head that cannot decide would report every snippet as
    every category. Hysteresis, gaps, lengths and a calibration are no part of it; by default they change nothing.
    """
    if scores.grid.num_snippets == 0:
        return ()
    activation = mean_of_highest(scores.categories)
    candidates: list[Interval] = []
    for column, category in enumerate(scores.labels):
        if column == 0 or activation[column] <= config.r_cls:
            continue
        values, threshold = scores.categories[:, column], max(config.r_ano, scores.even_share(category))
        runs = runs_between(values, threshold, config.leave * threshold)
        for start, end in joined(runs, scores.grid, config.merge_gap_s, config.min_length_s):
            frames = scores.grid.frames_of(start, end)
            contrast = outer_inner_score(values, start, end)
            candidates.append(Interval.of_frames(category, *frames, scores.grid, contrast))
    kept = temporal_nms(candidates, config.nms_iou)
    if calibration is not None:
        kept = [item for item in kept if peak(scores, item) >= calibration.threshold]
    return tuple(sorted(kept, key=lambda item: (item.start_frame, item.end_frame, item.category)))


def peak(scores: ScoreTrack, interval: Interval) -> float:
    """Highest raw anomaly score within an interval, as :meth:`vadpipe.detection.Detection.peak` says it."""
    grid = scores.grid
    return float(
        scores.anomaly[grid.snippet_of(interval.start_frame) : grid.snippet_of(interval.end_frame - 1) + 1].max()
    )


def runs_between(values: NDArray[np.floating], enter: float, leave: float) -> Iterator[tuple[int, int]]:
    """Half-open runs with hysteresis: begun by an entry above ``enter``, going on while entries are above ``leave``.

    values (T,); ``leave`` is at most ``enter``. What lies before the first entry above ``enter`` is no part of a run,
    so that a live system, which does not know the future, would say the same.
    """
    for start, end in runs_above(values, leave):
        above = np.flatnonzero(values[start:end] > enter)
        if above.size:
            yield start + int(above[0]), end


def joined(
    runs: Iterator[tuple[int, int]] | Sequence[tuple[int, int]], grid: TimeGrid, gap_s: float, length_s: float
) -> list[tuple[int, int]]:
    """Ascending runs of snippets, those less than ``gap_s`` apart made one; then without those under ``length_s``."""
    whole: list[tuple[int, int]] = []
    for start, end in runs:
        if whole and _length_s(grid, whole[-1][1], start) < gap_s - _ROUNDING_S:
            whole[-1] = (whole[-1][0], end)
        else:
            whole.append((start, end))
    return [(start, end) for start, end in whole if _length_s(grid, start, end) >= length_s - _ROUNDING_S]


def _length_s(grid: TimeGrid, start: int, end: int) -> float:
    first, last = grid.frames_of(start, end)
    return grid.second_of(last) - grid.second_of(first)
