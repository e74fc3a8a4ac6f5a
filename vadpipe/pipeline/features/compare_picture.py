"""A picture of one comparison of features: how far rows are apart, and whether one side is late."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vadpipe.pipeline.features.compare_features import EDGES, Comparison
from vadpipe.pipeline.features.compare_lags import LAGS, best_lag
from vadpipe.pipeline.pages.timeline import _ALARM, _DASHES, _FAINT, _PALETTE, _figure, _plain, _save, _short, _unmarked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT_INCHES = 4.2
_PER_BAR = 6  # bins of the histogram that one bar shows


def draw_comparison(path: Path, found: Comparison) -> None:
    """Draw a histogram of 1 - cosine on a logarithmic axis, and the mean cosine against the lag.

    :class:`UsageError` for a suffix other than .png, .svg, .pdf.
    """
    figure = _figure(path, _HEIGHT_INCHES)
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.08, right=0.98, top=0.84, bottom=0.14, wspace=0.22)
    texts = [
        figure.text(0.08, 0.945, f"A: {_short(found.a, 60)}    B: {_short(found.b, 60)}", fontsize=9.5),
        figure.text(0.08, 0.885, _short(found.verdict, 120), fontsize=9.5, weight="bold"),
    ]
    _unmarked(texts)
    _draw_histogram(left, found)
    _draw_lags(right, found)
    _save(figure, path)


def _draw_histogram(axis: Axes, found: Comparison) -> None:
    # the first bin, cosine 1 to nine places, has no place on a logarithmic axis and becomes a bar at its left end
    starts = np.arange(1, len(found.histogram), _PER_BAR)
    counts = np.add.reduceat(found.histogram, starts)
    lefts, rights = EDGES[starts], EDGES[np.minimum(starts + _PER_BAR, len(EDGES) - 1)]
    axis.bar(lefts, counts, width=rights - lefts, align="edge", color=_PALETTE[0])
    same = int(found.histogram[0])
    axis.bar(1e-10, same, width=7e-10, align="edge", color=_PALETTE[2], label=f"within 1e-9: {same} rows")
    axis.set_xscale("log")
    axis.set_xlim(5e-11, 3.0)
    axis.set_xlabel("1 - cosine of the same row in A and B")
    axis.set_ylabel("rows")
    axis.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    _plain(axis)
    axis.legend(fontsize=8.5, framealpha=0.85)


def _draw_lags(axis: Axes, found: Comparison) -> None:
    cosines = found.lag_cosines
    best = best_lag(cosines)
    axis.axvline(0, color=_FAINT, linewidth=1.0, linestyle=_DASHES)
    axis.plot(LAGS, cosines, "-o", color=_PALETTE[0], markersize=4, linewidth=1.5)
    value = cosines[LAGS.index(best)]
    axis.plot(
        [best],
        [value],
        "o",
        color=_ALARM,
        markersize=8,
        label=f"best at {best:+d}: {value:.4f}" if best else f"best at 0: {value:.4f}",
    )
    axis.set_xticks(LAGS[::2])
    axis.set_xlabel("lag: row t of A against row t + lag of B")
    axis.set_ylabel("mean cosine")
    axis.grid(color="#E6E6E6", linewidth=0.8)
    _plain(axis)
    axis.legend(fontsize=8.5, framealpha=0.85)
