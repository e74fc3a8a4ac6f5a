"""Precision over recall, and ROC, of all frames of the test videos; several seeds as mean and band."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.pipeline.evaluating.picture import curve_points
from vadpipe.pipeline.figures.style import (
    DASHES,
    FAINT,
    add_cautions,
    grid_lines,
    new_figure,
    plain,
    series_style,
)
from vadpipe.pipeline.metrics import Ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS = 401

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RankingBand:
    """Both curves of a series.

    recall, precision; false_rate, true_rate
        Their points; of several runs the mean at the same recall, and at the same false positive rate.
    precision_band, true_band
        (2, P) lowest and highest run; None for one run.
    ap, auc, share
        Figure of each run; share of abnormal frames.
    """

    recall: Floats
    precision: Floats
    precision_band: Floats | None
    false_rate: Floats
    true_rate: Floats
    true_band: Floats | None
    ap: tuple[float, ...]
    auc: tuple[float, ...]
    share: float


def ranking_band(rankings: Sequence[Ranking]) -> RankingBand:
    """Curves of one run as they are; of several, at the same recall and at the same false positive rate.

    Precision at a recall is that of the first cut of the ranked frames that reaches it, so it goes in steps; the ROC is
    a line from cut to cut. Areas under the mean curves are the means of the areas, AP and AUC, but for
    the :data:`_POINTS` points that are drawn.
    """
    ap, auc = tuple(item.ap for item in rankings), tuple(item.auc for item in rankings)
    share = rankings[0].abnormal_share
    if len(rankings) == 1:
        recall, precision, false_rate = curve_points(rankings[0])
        rates = np.append(0.0, false_rate), np.append(0.0, recall)
        return RankingBand(recall, precision, None, *rates, None, ap, auc, share)
    steps = np.linspace(0.0, 1.0, _POINTS)
    precisions = np.stack([precision_at(item, steps) for item in rankings])
    rates_at = np.stack([true_rate_at(item, steps) for item in rankings])
    return RankingBand(
        steps, precisions.mean(axis=0), _extremes(precisions), steps, rates_at.mean(axis=0), _extremes(rates_at),
        ap, auc, share,
    )  # fmt: skip


def precision_at(ranking: Ranking, recall: Floats) -> Floats:
    """Precision at the first cut whose recall is at least each value."""
    reached = ranking.hits / ranking.hits[-1]
    places = np.minimum(np.searchsorted(reached, recall - 1e-12), len(reached) - 1)
    found: Floats = ranking.hits[places] / (ranking.hits[places] + ranking.false[places])
    return found


def true_rate_at(ranking: Ranking, false_rate: Floats) -> Floats:
    """True positive rate at each false positive rate; the highest where the curve rises straight up."""
    x = np.append(0.0, ranking.false / ranking.false[-1])
    y = np.append(0.0, ranking.hits / ranking.hits[-1])
    # not np.interp: the curve has vertical pieces, and at one of them the upper end counts
    start = np.searchsorted(x, false_rate, side="right") - 1
    end = np.minimum(start + 1, len(x) - 1)
    width = np.where(end > start, x[end] - x[start], 1.0)
    found: Floats = y[start] + (y[end] - y[start]) * (false_rate - x[start]) / width
    return found


def _extremes(values: Floats) -> Floats:
    return np.stack([values.min(axis=0), values.max(axis=0)])


def draw_ranking(bands: Mapping[str, RankingBand], cautions: Sequence[str] = ()) -> Figure:
    """Both curves of each series (by name); dashed lines are chance."""
    figure = new_figure(3.1 + 0.13 * len(cautions))
    left, right = figure.subplots(1, 2)
    for place, (name, band) in enumerate(bands.items()):
        style = series_style(place)
        said = f"{plain(name, 24)}: AP {told(band.ap)}"
        _curve(left, band.recall, band.precision, band.precision_band, style | {"drawstyle": "steps-pre"}, said)
        said = f"{plain(name, 24)}: AUC {told(band.auc)}"
        _curve(right, band.false_rate, band.true_rate, band.true_band, style, said)
        left.axhline(band.share, color=FAINT, linewidth=0.9, linestyle=DASHES, zorder=1)
    left.plot([], [], color=FAINT, linewidth=0.9, linestyle=DASHES, label="chance: share of abnormal frames")
    right.plot([0, 1], [0, 1], color=FAINT, linewidth=0.9, linestyle=DASHES, label="chance: AUC 0.5")
    _finish(left, "recall", "precision", "upper right")
    _finish(right, "false positive rate", "true positive rate", "lower right")
    add_cautions(figure, cautions)
    return figure


def told(values: Sequence[float]) -> str:
    """One value, or mean ± sample standard deviation."""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.fmean(values):.3f} ± {statistics.stdev(values):.3f}"


def _curve(axis: Axes, x: Floats, y: Floats, band: Floats | None, style: dict[str, str], label: str) -> None:
    if band is not None:
        step: Any = "pre" if "drawstyle" in style else None
        axis.fill_between(x, band[0], band[1], color=style["color"], alpha=0.22, linewidth=0, step=step)
    axis.plot(x, y, linewidth=1.3, label=label, **style)  # type: ignore[arg-type]


def _finish(axis: Axes, x: str, y: str, place: Any) -> None:
    axis.set_xlim(0.0, 1.0)
    axis.set_ylim(0.0, 1.01)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    grid_lines(axis, "both")
    axis.legend(loc=place, frameon=True, framealpha=0.85, edgecolor="none", fontsize=6.5)
