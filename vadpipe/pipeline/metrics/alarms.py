"""False alarms: what a fixed threshold would report on videos where nothing happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """False alarms on normal videos; a frame is an alarm where its score is above ``threshold``.

    videos, frames, hours
        How much normal footage there was. alarm_frames: its frames above the threshold.
    runs
        Stretches of consecutive snippets above the threshold: how often a person would be called.
    """

    threshold: float
    videos: int
    frames: int
    hours: float
    alarm_frames: int
    runs: int

    @property
    def rate(self) -> float:
        """Share of normal frames above the threshold."""
        return self.alarm_frames / self.frames

    @property
    def per_hour(self) -> float:
        """Runs for every hour of normal footage."""
        return self.runs / self.hours


def false_alarms(
    scores: Sequence[NDArray[Any]], frames: Sequence[ArrayLike], hours: float, threshold: float = 0.5
) -> FalseAlarms | None:
    """Count false alarms of normal videos; None where there is no normal frame or no time.

    scores, frames
        For each normal video its scores (T,) and the number of frames of each snippet (T,).
    hours
        Length of all of them together.
    """
    counts = [np.asarray(held) for held in frames]
    total = sum(int(held.sum()) for held in counts)
    if total == 0 or hours <= 0:
        return None
    alarms = sum(int(held[values > threshold].sum()) for values, held in zip(scores, counts, strict=True))
    runs = sum(count_runs(values > threshold) for values in scores)
    return FalseAlarms(threshold, len(scores), total, hours, alarms, runs)


def count_runs(flags: NDArray[np.bool_], touching: NDArray[np.bool_] | None = None) -> int:
    """Runs of True in (T,); with ``touching`` (T,) only those in which it is nowhere True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    if touching is None or not len(edges):
        return len(edges) // 2
    before = np.concatenate(([0], np.cumsum(touching)))
    return int(np.count_nonzero(before[edges[1::2]] == before[edges[::2]]))
