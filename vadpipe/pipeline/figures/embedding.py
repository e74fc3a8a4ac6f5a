"""t-SNE of snippet features before and after the head (LEC-VAD, Fig. 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vadpipe.errors import UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.pipeline.figures.style import add_cautions, category_style, legend_above, new_figure, plain
from vadpipe.pipeline.reporting.record import Sample, SnippetRows
from vadpipe.tracks import NORMAL, FloatArray, TimeGrid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_OF_A_CATEGORY = 250
"""Snippets that are drawn of each category, so that the large ones do not hide the others."""

LEAST_SNIPPETS = 12
"""Under this a neighbour embedding shows nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """Snippets in the plane.

    before, after
        (S, 2). categories: of each snippet.
    silhouettes
        How well the categories are apart in the full space, -1 … 1, before and after (cosine distance); None where
        there is one category only, or each snippet is its own.
    """

    categories: tuple[str, ...]
    before: FloatArray
    after: FloatArray
    silhouettes: tuple[float, float] | None


def sample_snippets(
    records: Sequence[VideoRecord], grids: Mapping[str, TimeGrid], seed: int = 0, most: int = MOST_OF_A_CATEGORY
) -> Sample:
    """Draw snippets whose category is known: at most ``most`` of each, all where there are fewer.

    A snippet has a category where a true interval covers more than half of its frames (the longest, if several), and is
    normal where none touches it; the others lie on an edge and are left out, as are videos without known truth.
    """
    known: dict[str, list[tuple[str, int]]] = {}
    for record in sorted(records, key=lambda item: item.id):
        if record.is_anomalous and not record.intervals:
            continue
        for row, category in enumerate(snippet_categories(record, grids[record.id])):
            if category:
                known.setdefault(category, []).append((record.id, row))
    rng = np.random.default_rng(seed)
    drawn: list[tuple[str, int, str]] = []
    for category in sorted(known):
        places = known[category]
        picked = np.sort(rng.choice(len(places), min(most, len(places)), replace=False))
        drawn += [(*places[place], category) for place in picked]
    by_video: dict[str, list[tuple[int, str]]] = {}
    for name, row, category in drawn:
        by_video.setdefault(name, []).append((row, category))
    return {
        name: (np.array([row for row, _ in sorted(rows)]), tuple(category for _, category in sorted(rows)))
        for name, rows in by_video.items()
    }


def snippet_categories(record: VideoRecord, grid: TimeGrid) -> list[str]:
    """(T,) category of each snippet, ``normal``, or empty where it lies on the edge of an incident."""
    step, found = grid.frames_per_snippet, []
    for row in range(grid.num_snippets):
        start, end = row * step, min((row + 1) * step, grid.num_frames)
        covers = [(min(span.end_frame, end) - max(span.start_frame, start), span.category) for span in record.intervals]
        frames, category = max(covers, default=(0, NORMAL))
        found.append(NORMAL if frames <= 0 else category if 2 * frames > end - start else "")
    return found


def embed(rows: SnippetRows, seed: int = 0) -> Embedding:
    """t-SNE of both sides with the same settings: cosine distance, perplexity 30 or (S - 1) / 3, PCA start, ``seed``.

    :class:`UsageError` where scikit-learn is not installed.
    """
    manifold, silhouette = require_sklearn()
    plane = []
    for features in (rows.before, rows.after):
        perplexity = min(30.0, (len(features) - 1) / 3)
        tsne = manifold(2, perplexity=perplexity, metric="cosine", init="pca", random_state=seed, n_jobs=1)
        plane.append(np.asarray(tsne.fit_transform(_safe(features)), dtype=np.float32))
    apart = None
    if 2 <= len(set(rows.categories)) < len(rows.categories):
        names = np.array(rows.categories)
        before, after = (float(silhouette(_safe(part), names, metric="cosine")) for part in (rows.before, rows.after))
        apart = before, after
    return Embedding(rows.categories, plane[0], plane[1], apart)


def _safe(features: FloatArray) -> FloatArray:
    """A row of zeros has no direction; a trace of a constant gives it one."""
    return np.where(np.any(features != 0, axis=1, keepdims=True), features, np.float32(1e-6)).astype(np.float32)


def require_sklearn() -> tuple[Any, Any]:
    """Give what is used of scikit-learn: (TSNE, silhouette_score); :class:`UsageError` where it is not installed."""
    try:
        from sklearn.manifold import TSNE
        from sklearn.metrics import silhouette_score
    except ImportError as error:
        raise UsageError(f"t-SNE needs scikit-learn ({error}); run: pip install 'vadpipe[report]'") from error
    return TSNE, silhouette_score


def draw_embedding(
    found: Embedding, labels: Sequence[str], titles: tuple[str, str], cautions: Sequence[str] = ()
) -> Figure:
    """Both sides beside each other; the axes of a t-SNE have no unit and no meaning of their own."""
    from matplotlib.lines import Line2D

    figure = new_figure(3.7 + 0.13 * len(cautions))
    axes = figure.subplots(1, 2)
    for place, (axis, points) in enumerate(zip(axes, (found.before, found.after), strict=True)):
        apart = f"silhouette {found.silhouettes[place]:.2f}" if found.silhouettes else ""
        _scatter(axis, points, found.categories, labels)
        axis.set_title(plain(titles[place], 40), loc="left", fontsize=8)
        axis.set_title(apart, loc="right", fontsize=7, color="#555555")
    present = set(found.categories)
    signs = []
    for name in [label for label in labels if label in present] + sorted(present - set(labels)):
        style = category_style(labels, name)
        count = found.categories.count(name)
        style |= {"linestyle": "none", "markersize": 4, "markeredgewidth": 0}
        signs.append(Line2D([], [], label=f"{plain(name, 22)} ({count})", **style))
    legend_above(figure, signs, 5)
    add_cautions(figure, cautions)
    return figure


def _scatter(axis: Axes, points: FloatArray, categories: Sequence[str], labels: Sequence[str]) -> None:
    names = np.array(categories)
    for name in sorted(set(categories), key=lambda name: (name != NORMAL, name)):  # normal ones lie below
        style = category_style(labels, name)
        kept = points[names == name]
        size = 7 if name == NORMAL else 10
        axis.scatter(
            kept[:, 0], kept[:, 1], s=size, color=style["color"], marker=style["marker"], linewidths=0, alpha=0.75
        )
    axis.set_xticks([])
    axis.set_yticks([])
    for side in ("top", "right"):
        axis.spines[side].set_visible(True)
    axis.set_box_aspect(1)
