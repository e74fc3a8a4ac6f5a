"""``vadpipe features compare``: are two sets of features the same, and if not, how do they differ?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import DataError, StoreError, UsageError
from vadpipe.pipeline.features.compare_lags import LAGS, best_lag, lag_means
from vadpipe.pipeline.features.compare_rows import RowComparison, compare_rows
from vadpipe.pipeline.features.sources import FeatureSource, VideoRows

EDGES = np.concatenate([[0.0], np.logspace(-9.0, math.log10(2.0), 187)])
"""Edges of the histogram of 1 - cosine: finer towards 0, where features that are the same up to rounding lie."""


@dataclass(slots=True)
class Comparison:
    """Result over all videos that both sides have.

    videos, failed
        Id -> comparison; id -> why its files cannot be used.
    only_a, only_b
        Ids that one side alone has.
    rows_missing, crops_missing
        Rows that one side has and the other has not, over all common videos; videos with crops that one side has and
        the other has not.
    other_grids, other_states
        Of stored features: videos whose rows lie at other times (rate, number of frames, stride); rows of sound whose
        states differ. Neither is part of the values that are compared.
    spec_differences
        Field -> (A's, B's), where both are stored features.
    histogram
        Rows by 1 - cosine, between :data:`EDGES`.
    lag_cosines
        Mean cosine over all rows at every lag of ``LAGS``.
    """

    a: str
    b: str
    videos: dict[str, RowComparison] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    only_a: list[str] = field(default_factory=list)
    only_b: list[str] = field(default_factory=list)
    rows_missing: int = 0
    crops_missing: int = 0
    other_grids: list[str] = field(default_factory=list)
    other_states: int = 0
    spec_differences: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(EDGES) - 1, dtype=np.int64))
    _lag_sums: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, len(LAGS))))

    def add(self, video: str, found: RowComparison, cosines: NDArray[np.float64]) -> None:
        """Count one video."""
        self.videos[video] = found
        self.rows_missing += found.rows_missing
        self.crops_missing += bool(found.only_crops_a or found.only_crops_b)
        self.histogram += np.histogram(1.0 - cosines, EDGES)[0]
        at_lag, rows = np.array(found.lag_cosines), np.array(found.lag_rows)
        self._lag_sums += np.where(rows > 0, at_lag, 0.0) * rows, rows

    def add_beside(self, video: str, a: VideoRows, b: VideoRows) -> None:
        """Count what differs beside the values of one video."""
        if a.grid is not None and b.grid is not None and a.grid != b.grid:
            self.other_grids.append(video)
        if a.states is not None or b.states is not None:
            states = [np.zeros(a.data.shape[-2], np.uint8) if s is None else s for s in (a.states, b.states)]
            count = min(map(len, states))
            self.other_states += int((states[0][:count] != states[1][:count]).sum())

    @property
    def lag_cosines(self) -> NDArray[np.float64]:
        """(17,) mean cosine over all rows; NaN at lags that no video has."""
        return lag_means(self._lag_sums)

    @property
    def verdict(self) -> str:
        """In words: the videos' verdict where they agree, else how many have which; and whether rows are missing."""
        crops = f"; {self.crops_missing} videos have crops on one side only" if self.crops_missing else ""
        missing = f"; {self.rows_missing} rows are on one side only" if self.rows_missing else ""
        return self._likeness() + crops + missing

    def _likeness(self) -> str:
        counts = Counter(found.likeness for found in self.videos.values())
        if set(counts) == {"identical", "same up to rounding"}:
            return f"same up to rounding; {counts['identical']} of {len(self.videos)} videos identical"
        if len(counts) == 1:
            return next(iter(counts))
        return "; ".join(f"{count} of {len(self.videos)} videos: {words}" for words, count in counts.most_common())

    def summary(self) -> dict[str, Any]:
        """Figures over all videos; the median is that of the histogram, to about a tenth of 1 - cosine."""
        rows = [found for found in self.videos.values() if found.cosine_mean is not None]
        weights = [found.rows - found.empty_rows for found in rows]
        means = [found.cosine_mean for found in rows]
        ratios = [found.norm_ratio for found in rows if found.norm_ratio is not None]
        differences = [found.max_abs_difference or 0.0 for found in self.videos.values()]
        lags = self.lag_cosines
        lag = best_lag(lags)
        at_lag = float(lags[LAGS.index(lag)])
        return {
            "verdict": self.verdict,
            "videos": len(self.videos),
            "rows": sum(found.rows for found in self.videos.values()),
            "unequal_rows": sum(found.unequal_rows for found in self.videos.values()),
            "empty_rows": sum(found.empty_rows for found in self.videos.values()),
            "rows_missing": self.rows_missing,
            "videos_with_crops_missing": self.crops_missing,
            "cosine_mean": float(np.average(np.array(means, dtype=np.float64), weights=weights)) if rows else None,
            "cosine_median": self._median(),
            "cosine_min": min((found.cosine_min or 0.0 for found in rows), default=None),
            "best_lag": lag,
            "best_lag_cosine": None if math.isnan(at_lag) else at_lag,
            "norm_ratio": float(np.median(ratios)) if ratios else None,
            "max_abs_difference": max(differences, default=None),
        }

    def to_mapping(self) -> dict[str, Any]:
        """All of it, for JSON; what is not known is null."""
        lags = {f"{lag:+d}": _or_none(value) for lag, value in zip(LAGS, self.lag_cosines.tolist(), strict=True)}
        return {
            "a": self.a,
            "b": self.b,
            **self.summary(),
            "spec_differences": {name: list(pair) for name, pair in self.spec_differences.items()},
            "other_time_grids": self.other_grids,
            "rows_of_other_sound_states": self.other_states,
            "only_in_a": self.only_a,
            "only_in_b": self.only_b,
            "failed": self.failed,
            "cosine_by_lag": lags,
            "by_video": {name: _mapping(found) for name, found in self.videos.items()},
        }

    def _median(self) -> float | None:
        total = int(self.histogram.sum())
        if not total:
            return None
        middle = int(np.searchsorted(np.cumsum(self.histogram), (total + 1) // 2))
        return 1.0 - float(EDGES[middle] + EDGES[middle + 1]) / 2


def compare_features(
    a: FeatureSource, b: FeatureSource, notify: Callable[[str, int], None] | None = None
) -> Comparison:
    """Compare all videos that both sides have, one at a time; ``notify(id, number of videos)`` follows each.

    Ids have to be the same, except between two single files. A file that cannot be used costs its video only.
    :class:`UsageError` where the sides have no video in common.
    """
    pairs = {name: (name, name) for name in a.files if name in b.files}
    if a.is_single and b.is_single:
        (one,), (other,) = a.files, b.files
        pairs = {one if one == other else f"{one} / {other}": (one, other)}
    if not pairs:
        example = f"e.g. {next(iter(a.files))!r} and {next(iter(b.files))!r}"
        raise UsageError(f"{a.place} and {b.place} have no video in common, {example}; ids have to be the same")
    result = Comparison(str(a.place), str(b.place))
    if a.spec is not None and b.spec is not None:
        result.spec_differences = a.spec.differences(b.spec)
    used_a, used_b = {pair[0] for pair in pairs.values()}, {pair[1] for pair in pairs.values()}
    result.only_a = [name for name in a.files if name not in used_a]
    result.only_b = [name for name in b.files if name not in used_b]
    for name, (one, other) in pairs.items():
        try:
            of_a, of_b = a.rows(one), b.rows(other)
            result.add(name, *compare_rows(of_a.data, of_b.data, of_a.crops, of_b.crops))
            result.add_beside(name, of_a, of_b)
        except (DataError, StoreError) as error:
            result.failed[name] = str(error)
        if notify is not None:
            notify(name, len(pairs))
    return result


def _mapping(found: RowComparison) -> dict[str, Any]:
    told = asdict(found) | {"verdict": found.verdict}
    told["lag_cosines"] = [_or_none(value) for value in found.lag_cosines]
    return told


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
