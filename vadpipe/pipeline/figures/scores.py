"""Scores over time against truth, a panel a video (LEC-VAD, Figs. 6 and 7; AVadCLIP, Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vadpipe.pipeline.figures.style import (
    FAINT,
    INK,
    PALETTE,
    add_cautions,
    category_bar,
    category_style,
    grid_lines,
    legend_above,
    new_figure,
    plain,
    series_style,
)
from vadpipe.pipeline.reporting.material import Curve, Material, Series
from vadpipe.tracks import NORMAL, Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_CATEGORIES = 5
_TRUE_LANE, _FOUND_LANE, _LANE_HEIGHT = -0.13, -0.29, 0.13
_TRUE_GREY = "#D9D9D9"


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One video: its id, labels, length, true intervals (None: not known), intervals found, and curves.

    hidden: how many categories have no curve of their own, and (T,) the highest of them; for panels of categories.
    """

    id: str
    labels: tuple[str, ...]
    end_s: float
    truth: tuple[Interval, ...] | None
    found: tuple[Interval, ...]
    curves: tuple[Curve, ...]
    hidden: tuple[int, Curve | None] = (0, None)


def score_panels(material: Material) -> list[Panel]:
    """A panel for each video shown, with the anomaly score of each series."""
    return [_panel(material.series[0], name, _anomaly_curves(material, name)) for name in material.shown]


def category_panels(series: Series, shown: Sequence[str], most: int = _MOST_CATEGORIES) -> list[Panel]:
    """A panel for each video shown, with the probabilities of at most ``most`` categories.

    Those that are true or labelled there, then those with the highest peaks; ``normal`` is none. Of the others the
    highest at each snippet is kept, of the mean over the runs.
    """
    panels = []
    for name in shown:
        videos = [run.videos[name] for run in series.runs]
        edges = videos[0].scores.grid.edges_s()
        curves = {
            label: Curve.over(label, edges, [video.scores.categories[:, column] for video in videos])
            for column, label in enumerate(series.classes)
            if label != NORMAL
        }
        record = videos[0].record
        due = record.labels | {span.category for span in record.intervals}
        peaks = {label: float(curve.mean.max(initial=0.0)) for label, curve in curves.items()}
        kept = sorted(curves, key=lambda label: (label not in due, -peaks[label]))[:most]
        others = [curve.mean for label, curve in curves.items() if label not in kept]
        rest = Curve.over("others", edges, [np.max(others, axis=0)]) if others else None
        wanted = tuple(curve for label, curve in curves.items() if label in kept)
        panels.append(_panel(series, name, wanted, (len(others), rest)))
    return panels


def _anomaly_curves(material: Material, name: str) -> tuple[Curve, ...]:
    curves = []
    for series in material.series:
        tracks = [run.videos[name].scores for run in series.runs]
        curves.append(Curve.over(series.name, tracks[0].grid.edges_s(), [track.anomaly for track in tracks]))
    return tuple(curves)


def _panel(series: Series, name: str, curves: tuple[Curve, ...], hidden: tuple[int, Curve | None] = (0, None)) -> Panel:
    video = series.runs[0].videos[name]
    record = video.record
    truth = None if record.is_anomalous and not record.intervals else record.intervals
    end_s = max(video.scores.grid.duration_s, 1e-3)
    return Panel(name, tuple(sorted(record.labels)), end_s, truth, video.found, curves, hidden)


def draw_scores(panels: Sequence[Panel], cautions: Sequence[str] = ()) -> Figure:
    """Anomaly curves, true incidents shaded; bands go from the lowest to the highest run of a series."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure, axes = _canvas(panels, 1.25, cautions)
    for axis, panel in zip(axes, panels, strict=True):
        for place, curve in enumerate(panel.curves):
            style = series_style(place)
            draw_band(axis, curve, style["color"])
            axis.stairs(curve.mean, curve.edges_s, baseline=None, linewidth=1.1, **style)
        axis.set_ylim(0.0, 1.02)
        axis.set_ylabel("anomaly score")
        _left_only(axis)
    names = [curve.name for curve in panels[0].curves]
    signs = [
        Line2D([], [], linewidth=1.3, label=plain(name), **series_style(place)) for place, name in enumerate(names)
    ]
    banded = any(curve.several for panel in panels for curve in panel.curves)
    band = [Patch(color=PALETTE[0], alpha=0.22, linewidth=0, label="lowest to highest seed")] if banded else []
    true = [Patch(color=_TRUE_GREY, linewidth=0, label="true incident")] if any(p.truth for p in panels) else []
    legend_above(figure, [*signs, *band, *true])
    return figure


def draw_categories(panels: Sequence[Panel], labels: Sequence[str], cautions: Sequence[str] = ()) -> Figure:
    """Curves of categories; below each, what is true and what was found, in the categories' colours."""
    from matplotlib.lines import Line2D

    figure, axes = _canvas(panels, 1.5, cautions)
    for axis, panel in zip(axes, panels, strict=True):
        rest = panel.hidden[1]
        if rest is not None:
            axis.stairs(rest.mean, rest.edges_s, baseline=None, color="#BBBBBB", linewidth=0.8)
        for curve in panel.curves:
            style = category_style(labels, curve.name)
            draw_band(axis, curve, style["color"])
            axis.stairs(curve.mean, curve.edges_s, baseline=None, linewidth=1.1, color=style["color"],
                        linestyle=style["linestyle"])  # fmt: skip
        _lanes(axis, panel, labels)
    drawn = {curve.name for panel in panels for curve in panel.curves}
    drawn |= {span.category for panel in panels for span in (*(panel.truth or ()), *panel.found)}
    signs = []
    for name in [label for label in labels if label in drawn] + sorted(drawn - set(labels)):
        style = category_style(labels, name)
        signs.append(
            Line2D([], [], linewidth=1.6, color=style["color"], linestyle=style["linestyle"], label=plain(name, 24))
        )
    if any(panel.hidden[1] is not None for panel in panels):
        signs.append(Line2D([], [], linewidth=1.2, color="#BBBBBB", label="highest of the others"))
    legend_above(figure, signs, 5)
    return figure


def draw_band(axis: Axes, curve: Curve, colour: str) -> None:
    """Fill from the lowest to the highest run, where they differ."""
    if curve.several:
        low, high = (np.append(values, values[-1:]) for values in (curve.low, curve.high))
        axis.fill_between(curve.edges_s, low, high, step="post", color=colour, alpha=0.22, linewidth=0)


def shade_truth(axis: Axes, truth: Sequence[Interval]) -> None:
    """Grey spans behind the curves."""
    for span in truth:
        axis.axvspan(span.start_s, span.end_s, color=_TRUE_GREY, linewidth=0, zorder=0)


def _lanes(axis: Axes, panel: Panel, labels: Sequence[str]) -> None:
    lanes = [(_TRUE_LANE, panel.truth or ()), (_FOUND_LANE, panel.found)]
    for y, spans in lanes:
        present = sorted({span.category for span in spans})  # at the same time, so each has its part of the height
        part = _LANE_HEIGHT / max(len(present), 1)
        for span in spans:
            middle = y + _LANE_HEIGHT / 2 - (present.index(span.category) + 0.5) * part
            look = category_bar(labels, span.category)
            axis.barh(middle, span.end_s - span.start_s, 0.9 * part, left=span.start_s, **look)
    axis.axhline(0.0, color=INK, linewidth=0.5)
    axis.set_ylim(_FOUND_LANE - 0.08, 1.02)
    axis.set_yticks([0.0, 0.5, 1.0, _TRUE_LANE, _FOUND_LANE], ["0", "0.5", "1", "true", "found"])
    axis.set_ylabel("probability", loc="top")
    _left_only(axis)


def _left_only(axis: Axes) -> None:
    """Panels of a row share the vertical axis; each has its own length, and so its own seconds."""
    place = axis.get_subplotspec()
    if place is not None and not place.is_first_col():
        axis.set_ylabel("")
        axis.tick_params(labelleft=False)


def _canvas(panels: Sequence[Panel], height: float, cautions: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Two columns of panels with their titles, truth shaded, seconds below the last ones; and the warnings."""
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    figure = new_figure(0.75 + rows * (height + 0.3) + 0.13 * len(cautions))
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    axes = list(grid.flat)
    for axis in axes[len(panels) :]:
        axis.remove()
    for place, (axis, panel) in enumerate(zip(axes, panels, strict=False)):
        shade_truth(axis, panel.truth or ())
        axis.set_xlim(0.0, panel.end_s)
        axis.set_title(plain(panel.id, 30), loc="left", fontsize=7)
        axis.set_title(plain(", ".join(panel.labels), 20), loc="right", fontsize=7, color="#555555")
        missing = "no snippets" if not panel.curves or not len(panel.curves[0].mean) else ""
        missing = missing or ("truth not known" if panel.truth is None else "")
        if missing:
            axis.text(0.5, 0.93, missing, transform=axis.transAxes, ha="center", va="center", color=FAINT)
        if place >= len(panels) - columns:
            axis.set_xlabel("time (s)")
        grid_lines(axis)
    add_cautions(figure, cautions)
    return figure, axes[: len(panels)]
