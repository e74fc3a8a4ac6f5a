"""Pictures: the timeline of one video, and the course of a training run. PNG, SVG or PDF, by the file's suffix."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vadpipe.errors import UsageError
from vadpipe.track_file import atomic_write
from vadpipe.tracks import NORMAL, Interval, ScoreTrack

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

SUFFIXES = (".png", ".svg", ".pdf")

# Okabe and Ito's colours, told apart with any common colour vision; black, yellow (too pale) and grey are left out
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_INK, _FAINT, _ALARM = "#222222", "#8A8A8A", "#A33B00"
_DASHES = (0, (5, 3))
_TRUE_STYLE: dict[str, Any] = {"facecolor": "none", "edgecolor": _INK, "linewidth": 1.1, "hatch": "/////"}
_LANE_INCHES, _CURVE_INCHES, _WIDTH_INCHES = 0.62, 2.6, 10.0


def draw_timeline(
    path: Path,
    scores: ScoreTrack,
    predicted: Sequence[Interval],
    truth: Sequence[Interval] = (),
    title: str = "",
    subtitle: str = "",
    untrained_note: str = "",
    threshold: float | None = None,
) -> None:
    """Draw one video: its anomaly score over time; below it, a lane per category: what was found, what is true.

    scores
        The curve, one step a snippet; of any length, 0 included.
    predicted, truth
        Intervals; found ones are filled and carry their score, true ones are outlined. A category has a lane where it
        occurs in either.
    title, subtitle, untrained_note
        Text as it is (no markup is read in it); the note is a warning in the picture.
    threshold
        Anomaly score from which a snippet counts as abnormal, drawn as a line; None draws none.

    :class:`UsageError` for a suffix other than .png, .svg, .pdf.
    """
    lanes = _lanes(scores, predicted, truth)
    head = 0.72 + 0.22 * sum(bool(line) for line in (subtitle, untrained_note))
    height = head + _CURVE_INCHES + _LANE_INCHES * max(len(lanes), 1) + 0.7
    figure = _figure(path, height)
    curve, table = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [_CURVE_INCHES, _LANE_INCHES * max(len(lanes), 1)]}
    )
    figure.subplots_adjust(left=0.13, right=0.975, top=1 - head / height, bottom=0.6 / height, hspace=0.08)
    _heading(figure, height, title, subtitle, untrained_note)
    colours = {label: _PALETTE[index % len(_PALETTE)] for index, label in enumerate(_categories(scores, lanes))}
    _draw_curve(curve, scores, truth, threshold)
    end_s = max(scores.grid.duration_s, 1e-3)
    _draw_lanes(table, lanes, colours, predicted, truth, end_s)
    _explain(curve, bool(predicted), bool(truth), threshold)
    table.set_xlim(0.0, end_s)
    table.set_xlabel("time (s)")
    _save(figure, path)


def draw_training_curve(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Draw a training run: ``rows`` hold ``epoch``, every other key is a curve.

    Keys with ``loss`` in their name go into the upper panel, all others (AP, AUC, … in 0 … 1) into one below.
    ``loss_distill``, which is of another size, and a learning rate ``lr`` that changes have panels of their own. A key
    that is missing or not finite in some rows leaves a gap. :class:`UsageError` for no rows, or a bad suffix.
    """
    if not rows:
        raise UsageError("training curve: got no epochs, expected at least one; train first.")
    names = list(dict.fromkeys(name for row in rows for name in row if name != "epoch"))
    if len({row.get("lr") for row in rows}) == 1:
        names = [name for name in names if name != "lr"]
    panels = [[name for name in names if _panel_of(name) == panel] for panel in range(4)]
    panels = [panel for panel in panels if panel] or [[]]
    height = 0.9 + 2.5 * len(panels)
    figure = _figure(path, height)
    axes = np.atleast_1d(figure.subplots(len(panels), 1, sharex=True))
    figure.subplots_adjust(left=0.09, right=0.82, top=1 - 0.3 / height, bottom=0.6 / height, hspace=0.12)
    epochs = [row.get("epoch", float(number)) for number, row in enumerate(rows, start=1)]
    for axis, panel in zip(axes, panels, strict=True):
        _draw_panel(axis, epochs, rows, panel)
    axes[-1].set_xlabel("epoch")
    _save(figure, path)


def _panel_of(name: str) -> int:
    if name in ("loss_distill", "lr"):
        return 1 if name == "loss_distill" else 3
    return 0 if "loss" in name else 2


def _figure(path: Path, height: float) -> Figure:
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"picture {path.name!r}: got suffix {path.suffix!r}, expected one of {', '.join(SUFFIXES)}.")
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH_INCHES, height), dpi=120)


def _save(figure: Figure, path: Path) -> None:
    import matplotlib as mpl

    kind = path.suffix.lower().lstrip(".")
    stamp = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    content = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "vadpipe"}):
        figure.savefig(content, format=kind, metadata=stamp)
    atomic_write(path, content.getvalue())


def _lanes(scores: ScoreTrack, predicted: Sequence[Interval], truth: Sequence[Interval]) -> list[str]:
    """Categories that need a lane, in the head's order, foreign ones last."""
    seen = {interval.category for interval in (*predicted, *truth)}
    return [label for label in scores.labels if label in seen] + sorted(seen - set(scores.labels))


def _categories(scores: ScoreTrack, lanes: Sequence[str]) -> list[str]:
    own = [label for label in scores.labels if label != NORMAL]
    return own + [label for label in lanes if label not in own]


def _heading(figure: Figure, height: float, title: str, subtitle: str, note: str) -> None:
    lines = (
        (title or "anomaly timeline", 13, "bold", _INK),
        (subtitle, 9.5, "normal", "#555555"),
        (note, 9.5, "bold", _ALARM),
    )
    y = 0.13
    for text, size, weight, colour in lines:
        if text:
            figure.text(
                0.13,
                1 - y / height,
                _short(text),
                fontsize=size,
                fontweight=weight,
                color=colour,
                va="top",
                parse_math=False,
            )
            y += 0.27 if size > 10 else 0.22


def _short(text: str, limit: int = 110) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _draw_curve(axis: Axes, scores: ScoreTrack, truth: Sequence[Interval], threshold: float | None) -> None:
    for interval in truth:
        axis.axvspan(interval.start_s, interval.end_s, color="#000000", alpha=0.08, linewidth=0)
    if len(scores.anomaly):
        axis.stairs(scores.anomaly, scores.grid.edges_s(), color=_INK, linewidth=1.6, baseline=None)
    else:
        axis.text(0.5, 0.5, "no snippets", transform=axis.transAxes, ha="center", va="center", color=_FAINT)
    if threshold is not None:
        axis.axhline(threshold, color=_ALARM, linewidth=1.1, linestyle=_DASHES)
    axis.set_ylim(0.0, 1.02)
    axis.set_ylabel("anomaly score")
    axis.tick_params(labelbottom=False)
    _plain(axis)


def _draw_lanes(
    axis: Axes,
    lanes: Sequence[str],
    colours: Mapping[str, str],
    predicted: Sequence[Interval],
    truth: Sequence[Interval],
    end_s: float,
) -> None:
    for interval in truth:
        y = lanes.index(interval.category) - 0.2
        axis.barh(y, _length(interval), 0.3, interval.start_s, **_TRUE_STYLE)
    for interval in predicted:
        y = lanes.index(interval.category) + 0.18
        axis.barh(y, _length(interval), 0.34, interval.start_s, color=colours[interval.category])
        _write_score(axis, interval, y, end_s)
    axis.set_yticks(range(len(lanes)), [_short(lane, 18) for lane in lanes])
    _unmarked(axis.get_yticklabels())
    axis.set_ylim(max(len(lanes), 1) - 0.5, -0.5)
    for line in range(1, len(lanes)):
        axis.axhline(line - 0.5, color="#DDDDDD", linewidth=0.8)
    if not lanes:
        axis.text(0.5, 0.5, "no incident found", transform=axis.transAxes, ha="center", va="center", color=_FAINT)
    _plain(axis)


def _write_score(axis: Axes, interval: Interval, y: float, end_s: float) -> None:
    """Inside the bar where it is long enough, else behind it, at the right edge in front of it."""
    inside, late = _length(interval) > 0.06 * end_s, interval.end_s > 0.94 * end_s
    x, offset, side = (interval.end_s, 3, "left")
    if inside:
        x, offset, side = (interval.start_s + interval.end_s) / 2, 0, "center"
    elif late:
        x, offset, side = interval.start_s, -3, "right"
    axis.annotate(
        f"{interval.score:.2f}", (x, y), xytext=(offset, -0.5), textcoords="offset points", ha=side,
        va="center", fontsize=8.5, color="white" if inside else _INK, fontweight="bold" if inside else "normal",
    )  # fmt: skip


def _length(interval: Interval) -> float:
    return interval.end_s - interval.start_s


def _explain(axis: Axes, found: bool, true: bool, threshold: float | None) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    signs: list[Line2D | Patch] = [Line2D([], [], color=_INK, linewidth=1.6, label="anomaly score")]
    if threshold is not None:
        line = Line2D([], [], color=_ALARM, linewidth=1.1, linestyle=_DASHES, label=f"threshold {threshold:.2f}")
        signs.append(line)
    if found:
        signs.append(Patch(color="#777777", label="found, with its score"))
    if true:
        signs.append(Patch(label="true incident", **_TRUE_STYLE))
    axis.legend(handles=signs, ncols=4, loc="lower right", bbox_to_anchor=(1.0, 0.99), frameon=False, fontsize=8.5)


def _draw_panel(axis: Axes, epochs: Sequence[float], rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    for index, name in enumerate(names):
        values = [row.get(name, math.nan) for row in rows]
        style = ("-", "--", ":")[index // len(_PALETTE) % 3]
        colour = _PALETTE[index % len(_PALETTE)]
        axis.plot(
            epochs, values, style, color=colour, marker="o", markersize=3.5, linewidth=1.5, label=_short(name, 20)
        )
    axis.set_ylabel("loss" if any("loss" in name for name in names) else "rate" if names == ["lr"] else "score")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    _plain(axis)
    if names:
        legend = axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
        _unmarked(legend.get_texts())


def _plain(axis: Axes) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.set_axisbelow(True)


def _unmarked(texts: Iterable[Text]) -> None:
    """Show ``$`` as it is: ids and categories are names, not formulas."""
    for text in texts:
        text.set_parse_math(False)
