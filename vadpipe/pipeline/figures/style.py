"""How figures of a report look, and how they are written: sizes of a printed page, colours of the timeline.

Every text is shown as it is: names of videos and categories are untrusted, and never markup or formulas.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vadpipe.pipeline.pages.timeline import _ALARM, _DASHES, _FAINT, _INK, _PALETTE
from vadpipe.track_file import atomic_write
from vadpipe.tracks import NORMAL

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES = 6.75
"""Text width of a two-column page; fonts are 7 and 8 points there."""

ALARM, DASHES, FAINT, INK, PALETTE = _ALARM, _DASHES, _FAINT, _INK, _PALETTE
GRID = {"color": "#E6E6E6", "linewidth": 0.6}
LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
MARKERS = ("o", "^", "s")

# Svg and pdf keep text as text: it can be searched, and is set in the page's own font where that is wanted.
_STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.titlesize": 8.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "hatch.linewidth": 0.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "vadpipe",
    "pdf.fonttype": 42,
    "text.parse_math": False,
    "text.usetex": False,
    "savefig.dpi": 300,
}
_STAMPS: dict[str, dict[str, None]] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw and write within this: the user's own matplotlib settings do not count, and missing glyphs are boxes."""
    from matplotlib import style

    with style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(height: float, width: float = WIDTH_INCHES) -> Figure:
    """Return an empty figure, inches, that lays itself out."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.04, h_pad=0.04, wspace=0.02, hspace=0.02)
    return Figure(figsize=(width, height), layout=layout)


def write_figure(figure: Figure, folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """Write ``name`` in each format into ``folder``, each whole or not at all; the same figure gives the same bytes."""
    paths = []
    for kind in formats:
        content = io.BytesIO()
        figure.savefig(content, format=kind, metadata=_STAMPS[kind])
        paths.append(folder / f"{name}.{kind}")
        atomic_write(paths[-1], content.getvalue())
    return paths


def add_cautions(figure: Figure, cautions: Sequence[str]) -> None:
    """Write warnings under the figure, whatever else it shows."""
    lines = [line for text in cautions for line in textwrap.wrap(plain(text, 400), int(figure.get_figwidth() * 16))]
    if lines:
        figure.supxlabel("\n".join(lines), fontsize=6.5, color=ALARM, fontweight="bold", x=0.5)


def plain(text: str, limit: int = 40) -> str:
    """A name as it can stand in a picture: control characters made visible, cut to ``limit`` characters."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def file_part(text: str) -> str:
    """A name as part of a file name: letters, digits, ``-`` and ``_``; at most 40 of them."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:40] or "x"


def category_style(labels: Sequence[str], category: str) -> dict[str, Any]:
    """Colour, line and marker of a category; the timeline's colours, in the head's order; ``normal`` is grey."""
    if category == NORMAL:
        return {"color": FAINT, "linestyle": "-", "marker": "o"}
    known = [label for label in labels if label != NORMAL]
    place = known.index(category) if category in known else len(known)
    turn = place // len(PALETTE) % len(LINES)
    return {"color": PALETTE[place % len(PALETTE)], "linestyle": LINES[turn], "marker": MARKERS[turn]}


def category_bar(labels: Sequence[str], category: str) -> dict[str, Any]:
    """The same for a bar: categories that share a colour are cut by white lines, as their curves are by gaps."""
    style = category_style(labels, category)
    hatch = {LINES[0]: None, LINES[1]: "|" * 4, LINES[2]: "|" * 9}[style["linestyle"]]
    return {"facecolor": style["color"], "edgecolor": "white", "linewidth": 0, "hatch": hatch}


def series_style(place: int) -> dict[str, Any]:
    """Colour and line of the ``place``-th head in a picture of several."""
    return {"color": PALETTE[place % len(PALETTE)], "linestyle": LINES[place // len(PALETTE) % len(LINES)]}


def shade(position: float) -> tuple[float, float, float]:
    """A shade of the first colour, from light (0) to full (1), for values with an order."""
    full = [int(PALETTE[0][place : place + 2], 16) / 255 for place in (1, 3, 5)]
    weight = 0.25 + 0.75 * position
    red, green, blue = (1 - weight * (1 - part) for part in full)
    return red, green, blue


def legend_above(figure: Figure, signs: Sequence[Artist], columns: int = 4) -> None:
    """One legend for all panels, over them."""
    if signs:
        figure.legend(handles=list(signs), loc="outside upper center", ncols=min(columns, len(signs)))


def grid_lines(axis: Axes, which: str = "y") -> None:
    """Faint lines behind the data."""
    axis.grid(axis=which, **GRID)  # type: ignore[arg-type]
