"""Test figures over a hyper-parameter (LEC-VAD, Fig. 5), or over the rows of an ablation table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vadpipe.pipeline.figures.style import FAINT, INK, PALETTE, add_cautions, grid_lines, new_figure, plain
from vadpipe.pipeline.reporting.grid import GridLine, GridTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVE_FIGURES: Mapping[str, str] = {"frame_ap": "frame AP (%)", "map_vadclip_average": "mAP AVG (%)"}
"""Figures with curves, as in LEC-VAD's Fig. 5 and its tables."""

ROW_FIGURES: Mapping[str, str] = {
    **CURVE_FIGURES,
    "frame_auc": "frame AUC (%)",
    "map_strict_average": "strict mAP AVG (%)",
}

Point = tuple[float, float, float, tuple[float, ...]]


def curve_of(rows: Sequence[tuple[float, GridLine]], key: str) -> list[Point]:
    """(setting, mean, sample deviation, values) in percent, of the rows that have the figure; deviation 0 for one."""
    return [(setting, *spread_of(line, key)) for setting, line in rows if line.values.get(key)]


def spread_of(line: GridLine, key: str) -> tuple[float, float, tuple[float, ...]]:
    """(mean, sample deviation, values) of a figure over the seeds, in percent."""
    values = tuple(100 * value for value in line.values[key])
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0, values


def draw_curves_of(table: GridTable, cautions: Sequence[str] = ()) -> Figure:
    """A column for each hyper-parameter, a row for each figure; whiskers are ± sd, faint dots single seeds."""
    curves = table.curves
    figure = new_figure(0.5 + 1.6 * len(CURVE_FIGURES) + 0.13 * len(cautions))
    axes = figure.subplots(len(CURVE_FIGURES), len(curves), squeeze=False, sharey="row", sharex="col")
    for column, (name, rows) in enumerate(curves.items()):
        for row, (key, label) in enumerate(CURVE_FIGURES.items()):
            axis = axes[row, column]
            _curve(axis, curve_of(rows, key), place=row)
            if column == 0:
                axis.set_ylabel(label)
        axes[-1, column].set_xlabel(plain(name, 24))
        _ticks(axes[-1, column], [setting for setting, _ in rows])
    add_cautions(figure, cautions)
    return figure


def _curve(axis: Axes, points: Sequence[Point], place: int) -> None:
    if points:
        settings, means, spreads, values = zip(*points, strict=True)
        colour = PALETTE[place % len(PALETTE)]
        axis.plot(settings, means, "-o", color=colour, linewidth=1.2, markersize=4)
        if any(spreads):
            axis.errorbar(settings, means, yerr=spreads, fmt="none", ecolor=colour, elinewidth=0.9, capsize=2)
            for setting, single in zip(settings, values, strict=True):
                axis.plot([setting] * len(single), single, ".", color=FAINT, markersize=3, zorder=1)
    else:
        axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", va="center", color=FAINT)
    grid_lines(axis, "both")


def _ticks(axis: Axes, settings: Sequence[float]) -> None:
    """Ticks at the values that were tried; a logarithmic axis where they span more than a factor of 30."""
    from matplotlib.ticker import FixedLocator, NullLocator

    if min(settings) > 0 and max(settings) / min(settings) > 30:
        axis.set_xscale("log")
        axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_locator(FixedLocator(list(settings)))
    axis.set_xticks(list(settings), [f"{value:g}" for value in settings])


def draw_rows_of(table: GridTable, cautions: Sequence[str] = ()) -> Figure:
    """Rows of an ablation table from top to bottom, a panel for each figure; whiskers are ± sd over seeds."""
    lines = table.others
    figure = new_figure(0.75 + 0.24 * max(len(lines), 2) + 0.13 * len(cautions))
    axes = figure.subplots(1, len(ROW_FIGURES), squeeze=False, sharey=True)[0]
    for axis, (key, label) in zip(axes, ROW_FIGURES.items(), strict=True):
        for y, line in enumerate(lines):
            if line.values.get(key):
                mean, spread, values = spread_of(line, key)
                axis.errorbar(mean, y, xerr=spread or None, fmt="o", color=PALETTE[0], markersize=4.5, capsize=2)
                if len(values) > 1:
                    axis.plot(values, [y] * len(values), ".", color=FAINT, markersize=3, zorder=1)
                axis.annotate(
                    f"{mean:.1f}",
                    (mean, y),
                    xytext=(0, 4),
                    textcoords="offset points",
                    ha="center",
                    fontsize=6,
                    color=INK,
                )
        axis.set_xlabel(label)
        axis.margins(x=0.2)
        axis.locator_params(axis="x", nbins=4)
        grid_lines(axis, "both")
    axes[0].set_yticks(np.arange(len(lines)), [plain(line.name, 34) for line in lines])
    axes[0].set_ylim(len(lines) - 0.5, -0.6)
    add_cautions(figure, cautions)
    return figure
