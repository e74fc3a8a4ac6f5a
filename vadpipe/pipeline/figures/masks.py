"""LEC-VAD's Gaussian mixture prior against the raw scores that it smooths (its Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vadpipe.pipeline.figures.scores import draw_band, shade_truth
from vadpipe.pipeline.figures.style import (
    FAINT,
    INK,
    LINES,
    PALETTE,
    add_cautions,
    grid_lines,
    legend_above,
    new_figure,
    plain,
)
from vadpipe.pipeline.reporting.material import Curve, Material, Series
from vadpipe.tracks import FloatArray, Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

_MOST_ROWS = 4
# the mixture often lies on the raw score: thin and dashed upon thick and pale, both can be seen
_RAW: dict[str, Any] = {"color": "#8FC1E0", "linewidth": 2.4}
_PRIOR: dict[str, Any] = {"color": PALETTE[1], "linewidth": 1.1, "linestyle": LINES[1]}
_WITHOUT: dict[str, Any] = {"color": INK, "linewidth": 0.9}


@dataclass(frozen=True, slots=True, eq=False)
class MaskRow:
    """One video.

    raw, prior
        s_b and s_gmm over the runs of the series.
    without
        s_b of a series that was trained without the prior (lambda = 0); None where there is no such run.
    masks
        (first snippet, G (n, n)) of each window, of the series' first run.
    """

    id: str
    end_s: float
    truth: tuple[Interval, ...]
    raw: Curve
    prior: Curve
    without: Curve | None
    masks: tuple[tuple[int, FloatArray], ...]


def mask_series(material: Material) -> tuple[Series, Series | None] | str:
    """(the series to draw, one trained without the prior or None); else why there is nothing to draw."""
    of_mixture = [series for series in material.series if any(run.mixtures for run in series.runs)]
    if not of_mixture:
        heads = ", ".join(sorted({run.trained.config.head for series in material.series for run in series.runs}))
        return f"only LEC-VAD has a Gaussian mixture prior; the head is {heads}"
    trained = [series for series in of_mixture if lambda_of(series) > 0]
    without = [series for series in of_mixture if lambda_of(series) == 0]
    if not trained:
        return "the head was trained with model.lambda_gmm = 0, so its Gaussian mixture was never fitted"
    return trained[0], without[0] if without else None


def lambda_of(series: Series) -> float:
    """Weight of the prior in the loss (eq. 10)."""
    return float(getattr(series.runs[0].trained.config.model, "lambda_gmm", 0.0))


def mask_rows(series: Series, without: Series | None, shown: Sequence[str], most: int = _MOST_ROWS) -> list[MaskRow]:
    """A row for each of the first ``most`` anomalous videos shown; the first shown ones where none is anomalous."""
    videos = series.runs[0].videos
    eventful = [name for name in shown if videos[name].record.is_anomalous] or list(shown)
    rows = []
    for name in [name for name in eventful if name in series.runs[0].mixtures][:most]:
        grid = videos[name].scores.grid
        edges, traces = grid.edges_s(), [run.mixtures[name] for run in series.runs]
        bare = None
        if without is not None and all(name in run.mixtures for run in without.runs):
            bare_edges = without.runs[0].videos[name].scores.grid.edges_s()
            bare = Curve.over("without", bare_edges, [run.mixtures[name].raw for run in without.runs])
        rows.append(
            MaskRow(
                name,
                max(grid.duration_s, 1e-3),
                videos[name].record.intervals,
                Curve.over("raw", edges, [trace.raw for trace in traces]),
                Curve.over("prior", edges, [trace.prior for trace in traces]),
                bare,
                traces[0].masks,
            )
        )
    return rows


def mean_step(values: FloatArray) -> float:
    """Mean absolute change from one snippet to the next, a measure of roughness; 0 for fewer than two snippets."""
    return float(np.abs(np.diff(values)).mean()) if len(values) > 1 else 0.0


def reach(masks: Sequence[FloatArray]) -> float:
    """Share of its window over which a snippet's mixture is at least half of its peak, in the mean; 1 is flat."""
    shares = [(mask >= mask.max(axis=1, keepdims=True) / 2).mean(axis=1) for mask in masks if len(mask)]
    return float(np.concatenate(shares).mean()) if shares else 0.0


def draw_masks(rows: Sequence[MaskRow], cautions: Sequence[str] = ()) -> Figure:
    """Curves on the left, the masks on the right: row t is the mixture that snippet t puts over the video."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure = new_figure(0.9 + 1.55 * len(rows) + 0.13 * len(cautions))
    axes = figure.subplots(len(rows), 2, squeeze=False, gridspec_kw={"width_ratios": [3.4, 1.0]})
    top = max(float(mask.max(initial=0.0)) for row in rows for _, mask in row.masks)
    image = None
    for (left, right), row in zip(axes, rows, strict=True):
        _curves(left, row)
        image = _heat(right, row, max(top, 1e-6)) or image
    axes[-1, 0].set_xlabel("time (s)")
    axes[-1, 1].set_xlabel("snippet j")
    if image is not None:
        figure.colorbar(image, ax=list(axes[:, 1]), shrink=0.8, aspect=30, label="mask G[t, j]")
    signs: list[Line2D | Patch] = [
        Line2D([], [], label="raw score s_b", **_RAW),
        Line2D([], [], label="Gaussian mixture s_gmm", **_PRIOR),
    ]
    if any(row.without is not None for row in rows):
        signs.append(Line2D([], [], label="raw score, trained without it", **_WITHOUT))
    if any(row.truth for row in rows):
        signs.append(Patch(color="#D9D9D9", linewidth=0, label="true incident"))
    legend_above(figure, signs)
    add_cautions(figure, cautions)
    return figure


def _curves(axis: Axes, row: MaskRow) -> None:
    shade_truth(axis, row.truth)
    draw_band(axis, row.raw, PALETTE[0])
    lines = [(row.raw, _RAW), (row.prior, _PRIOR)]
    if row.without is not None:
        lines.insert(0, (row.without, _WITHOUT))
    for curve, style in lines:
        axis.stairs(curve.mean, curve.edges_s, baseline=None, **style)
    highest = max(float(row.raw.high.max(initial=0.0)), *(float(curve.mean.max(initial=0.0)) for curve, _ in lines))
    axis.set_ylim(0.0, max(1.02, 1.04 * highest))
    axis.set_xlim(0.0, row.end_s)
    axis.set_ylabel("score")
    axis.set_title(plain(row.id, 34), loc="left", fontsize=7)
    steps = f"mean step: raw {mean_step(row.raw.mean):.3f}, mixture {mean_step(row.prior.mean):.3f}"
    axis.set_title(steps, loc="right", fontsize=7, color="#555555")
    grid_lines(axis)


def _heat(axis: Axes, row: MaskRow, top: float) -> AxesImage | None:
    """Windows stand on the diagonal: a snippet's mixture does not reach beyond its own."""
    image = None
    for start, mask in row.masks:
        end = start + len(mask)
        image = axis.imshow(
            mask, extent=(start, end, end, start), cmap="cividis", vmin=0.0, vmax=top, interpolation="nearest"
        )
    size = max((start + len(mask) for start, mask in row.masks), default=1)
    axis.set_xlim(0, size)
    axis.set_ylim(size, 0)
    axis.set_ylabel("snippet t")
    axis.locator_params(nbins=4, integer=True)
    axis.set_title(
        f"reach {100 * reach([mask for _, mask in row.masks]):.0f} %", loc="right", fontsize=7, color="#555555"
    )
    if image is None:
        axis.text(0.5, 0.5, "no snippets", transform=axis.transAxes, ha="center", va="center", color=FAINT)
    return image
