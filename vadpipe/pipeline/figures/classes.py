"""Average precision of each class, and what was found in videos against their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.models.localize import mean_of_highest
from vadpipe.pipeline.evaluating.result import Evaluation
from vadpipe.pipeline.evaluating.tables import ClassRow, ScoredVideo
from vadpipe.pipeline.figures.style import (
    INK,
    PALETTE,
    add_cautions,
    grid_lines,
    legend_above,
    new_figure,
    plain,
    shade,
)
from vadpipe.pipeline.reporting.material import Series
from vadpipe.tracks import NORMAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEAN_ROW = "mAP"
_BAR_INCHES, _THIN_BAR_INCHES, _MANY = 0.085, 0.06, 8


@dataclass(frozen=True, slots=True, eq=False)
class ClassBars:
    """AP of each class in one protocol; K thresholds, N rows.

    names, counts
        Row names, the mean last; what is true of each, in words, empty for the mean.
    values
        (runs, N, K); NaN where the protocol leaves the class out.
    chance
        (K,) mAP of the same intervals at random places, mean over the runs.
    """

    protocol: str
    thresholds: tuple[float, ...]
    names: tuple[str, ...]
    counts: tuple[str, ...]
    values: NDArray[np.float64]
    chance: NDArray[np.float64]


def class_bars(evaluations: Sequence[Evaluation]) -> tuple[ClassBars, ClassBars]:
    """Rows of the protocols strict (anomaly categories with truth) and vadclip (every class of the head)."""
    first = evaluations[0]
    bars = []
    for protocol in ("strict", "vadclip"):
        rows = [row for row in first.classes if getattr(row, protocol) is not None]
        values = [
            [*(_of(evaluation, row.name, protocol) for row in rows), _mean(evaluation, protocol)]
            for evaluation in evaluations
        ]
        chance = [e.chance if protocol == "strict" else e.vadclip_chance for e in evaluations]
        names = tuple(row.name for row in rows)
        bars.append(
            ClassBars(
                protocol,
                first.intervals.iou_thresholds,
                (*names, MEAN_ROW),
                (*(_count(row) for row in rows), ""),
                np.array(values, dtype=np.float64),
                np.mean(chance, axis=0),
            )
        )
    return bars[0], bars[1]


def _count(row: ClassRow) -> str:
    return f"{row.videos} videos" if row.name == NORMAL else f"{row.true} true"


def _of(evaluation: Evaluation, name: str, protocol: str) -> tuple[float, ...]:
    values = next((getattr(row, protocol) for row in evaluation.classes if row.name == name), None)
    return values or (float("nan"),) * len(evaluation.intervals.iou_thresholds)


def _mean(evaluation: Evaluation, protocol: str) -> tuple[float, ...]:
    return evaluation.intervals.mean if protocol == "strict" else evaluation.vadclip.mean


def draw_classes(both: Sequence[ClassBars], cautions: Sequence[str] = ()) -> Figure:
    """A panel for each protocol, a group of bars for each class, a bar for each IoU; whiskers are ± sd over seeds."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    thresholds = both[0].thresholds
    most = max(len(bars.names) for bars in both)
    bar = _BAR_INCHES if most <= _MANY else _THIN_BAR_INCHES
    figure = new_figure(0.85 + most * (len(thresholds) * bar + 0.13) + 0.13 * len(cautions))
    axes = figure.subplots(1, len(both), squeeze=False)[0]
    for axis, bars in zip(axes, both, strict=True):
        _bars(axis, bars)
    shades = [shade(place / max(len(thresholds) - 1, 1)) for place in range(len(thresholds))]
    signs: list[Any] = [
        Patch(color=colour, label=f"IoU {value:g}") for colour, value in zip(shades, thresholds, strict=True)
    ]
    signs.append(Line2D([], [], color=INK, marker="|", markersize=6, linestyle="none", label="chance"))
    legend_above(figure, signs, 6)
    add_cautions(figure, cautions)
    return figure


def _bars(axis: Axes, bars: ClassBars) -> None:
    runs, rows, count = bars.values.shape
    height = 0.82 / count
    mean = bars.values.mean(axis=0)
    for place in range(count):
        y = np.arange(rows) + (place - (count - 1) / 2) * height
        colour = shade(place / max(count - 1, 1))
        axis.barh(y, 100 * np.nan_to_num(mean[:, place]), 0.92 * height, color=colour, linewidth=0)
        if runs > 1:
            spread = 100 * np.nan_to_num(bars.values[:, :, place].std(axis=0, ddof=1))
            axis.errorbar(100 * np.nan_to_num(mean[:, place]), y, xerr=spread, fmt="none", ecolor=INK, elinewidth=0.7)
        axis.plot(100 * bars.chance[place], y[-1], marker="|", color=INK, markersize=5, linestyle="none")
    names = [f"{plain(name, 20)}\n{count}".strip() for name, count in zip(bars.names, bars.counts, strict=True)]
    axis.set_yticks(range(rows), names)
    axis.set_ylim(rows - 0.5, -0.5)
    axis.axhline(rows - 1.5, color=INK, linewidth=0.5)
    axis.set_xlim(0, 100)
    axis.set_xlabel("average precision (%)")
    axis.set_title(f"protocol {bars.protocol}", loc="left")
    grid_lines(axis, "x")


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Videos by label and by what was found.

    labels
        Rows and columns, ``normal`` first. counts (L, L): videos of a row's label in which a column's was found.
    runs, videos
        How many runs are summed; videos of each. several: videos with more than one label.
    """

    labels: tuple[str, ...]
    counts: NDArray[np.int64]
    runs: int
    videos: int
    several: int

    @property
    def shares(self) -> NDArray[np.float64]:
        """(L, L) counts by the sum of their row; 0 where a row is empty."""
        found: NDArray[np.float64] = self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)
        return found


def found_category(video: ScoredVideo) -> str:
    """What ``vadpipe detect`` says of a video as a whole: ``normal`` where it reports no interval.

    Else, of the reported categories, that with the highest video-level activation, the mean of its highest T / 16
    probabilities, which also decides whether a category is reported at all (LEC-VAD, r_cls).
    """
    reported = {span.category for span in video.found}
    if not reported:
        return NORMAL
    activation = dict(zip(video.scores.labels, mean_of_highest(video.scores.categories), strict=True))
    return max(sorted(reported), key=lambda name: float(activation.get(name, 0.0)))


def confusion(series: Series) -> Confusion:
    """Sum over the runs of a series. A video with several labels is right with any, else in the row of the first."""
    records = [video.record for video in series.runs[0].videos.values()]
    foreign = sorted({label for record in records for label in record.labels} - set(series.classes))
    labels = (*series.classes, *foreign)
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for run in series.runs:
        for video in run.videos.values():
            found = found_category(video)
            row = found if found in video.record.labels else min(video.record.labels)
            counts[place[row], place[found]] += 1
    several = sum(len(record.labels) > 1 for record in records)
    return Confusion(labels, counts, len(series.runs), len(records), several)


def draw_confusion(found: Confusion, cautions: Sequence[str] = ()) -> Figure:
    """Colour is the share of a row; each cell says the share and the count."""
    from matplotlib.colors import LinearSegmentedColormap

    size = len(found.labels)
    side = min(1.6 + 0.5 * size, 6.5)
    slanted = size > 4
    width = min(side + 1.2, 6.75)
    figure = new_figure(width - (1.15 if slanted else 1.35) + 0.13 * len(cautions), width)
    axis = figure.subplots()
    colours = LinearSegmentedColormap.from_list("share", ["#FFFFFF", PALETTE[0]])
    image = axis.imshow(found.shares, cmap=colours, vmin=0.0, vmax=1.0, aspect="auto")
    small = 7.0 if size <= 8 else 5.0
    for row in range(size):
        for column in range(size):
            _cell(axis, found, row, column, small)
    names = [plain(label, 18) for label in found.labels]
    totals = [f"{name} ({total})" for name, total in zip(names, found.counts.sum(axis=1), strict=True)]
    axis.set_xticks(range(size), names, rotation=35 if slanted else 0, ha="right" if slanted else "center")
    axis.set_yticks(range(size), totals)
    axis.set_xlabel("found in the video")
    axis.set_ylabel("label of the video")
    axis.tick_params(length=0)
    for edge in ("top", "right"):
        axis.spines[edge].set_visible(True)
    figure.colorbar(image, ax=axis, shrink=0.8, label="share of the label's videos")
    add_cautions(figure, cautions)
    return figure


def _cell(axis: Axes, found: Confusion, row: int, column: int, size: float) -> None:
    count, share = int(found.counts[row, column]), float(found.shares[row, column])
    if count:
        ink = "white" if share > 0.55 else INK
        axis.text(column, row, f"{100 * share:.0f} %\n{count}", ha="center", va="center", fontsize=size, color=ink)
