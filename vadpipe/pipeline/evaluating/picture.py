"""A picture of one evaluation or several: precision over recall, and the ROC curve. Drawn as the timeline is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.pipeline.metrics import Ranking
from vadpipe.pipeline.pages.timeline import _DASHES, _FAINT, _PALETTE, _figure, _plain, _save, _short, _unmarked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT_INCHES, _POINTS = 5.2, 2000


def draw_curves(path: Path, rankings: Mapping[str, Ranking]) -> None:
    """Draw the precision-recall and ROC curves of each run; ``rankings``: name of a run -> its ranked frames.

    Dashed lines are chance. :class:`UsageError` for a suffix other than .png, .svg, .pdf.
    """
    figure = _figure(path, _HEIGHT_INCHES)
    left, right = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.07, right=0.985, top=0.95, bottom=0.11, wspace=0.2)
    for number, (name, ranking) in enumerate(rankings.items()):
        colour = _PALETTE[number % len(_PALETTE)]
        style = ("-", "--", ":")[number // len(_PALETTE) % 3]
        recall, precision, false_rate = curve_points(ranking)
        said = _short(name, 30)
        said_ap, drawn = f"{said}: AP {ranking.ap:.3f}", "steps-pre"
        left.plot(recall, precision, style, color=colour, linewidth=1.5, label=said_ap, drawstyle=drawn)
        right.plot(false_rate, recall, style, color=colour, linewidth=1.5, label=f"{said}: AUC {ranking.auc:.3f}")
        left.axhline(ranking.abnormal_share, color=_FAINT, linewidth=1.0, linestyle=_DASHES)
    right.plot([0, 1], [0, 1], color=_FAINT, linewidth=1.0, linestyle=_DASHES)
    _finish(left, "recall", "precision", loc="upper right")
    _finish(right, "false positive rate", "true positive rate", loc="lower right")
    _save(figure, path)


def curve_points(ranking: Ranking) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Recall, precision and false positive rate from no frame to all, thinned to about 2000 points for drawing.

    Precision is to be drawn in steps, each up to its recall (``steps-pre``): so AP is defined, which is the area then.
    Where cuts are left out, a step has their mean precision, and the area stays.
    """
    picked = np.unique(np.linspace(0, len(ranking.hits) - 1, _POINTS).astype(np.int64))
    each = ranking.hits / (ranking.hits + ranking.false)
    area = np.cumsum(each * np.diff(ranking.hits, prepend=0))[picked]
    hits, false = ranking.hits[picked], ranking.false[picked]
    gained = np.diff(hits, prepend=0)
    precision = np.where(gained > 0, np.diff(area, prepend=0.0) / np.maximum(gained, 1e-12), each[picked])
    recall, false_rate = hits / ranking.hits[-1], false / ranking.false[-1]
    return np.append(0.0, recall), np.append(precision[0], precision), np.append(0.0, false_rate)


def _finish(axis: Axes, x: str, y: str, **place: Any) -> None:
    axis.set_xlim(0.0, 1.0)
    axis.set_ylim(0.0, 1.01)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(color="#E6E6E6", linewidth=0.8)
    _plain(axis)
    legend = axis.legend(fontsize=8.5, framealpha=0.85, **place)
    _unmarked(legend.get_texts())
