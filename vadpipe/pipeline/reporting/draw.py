"""From the material of a report to its drawings: what each figure is called, says in its caption, and warns of."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vadpipe.pipeline.figures import classes as figures_classes
from vadpipe.pipeline.figures import embedding as figures_embedding
from vadpipe.pipeline.figures import grid as figures_grid
from vadpipe.pipeline.figures import masks as figures_masks
from vadpipe.pipeline.figures import ranking as figures_ranking
from vadpipe.pipeline.figures import scores as figures_scores
from vadpipe.pipeline.figures.style import file_part
from vadpipe.pipeline.reporting.grid import GridTable
from vadpipe.pipeline.reporting.material import Material, Series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_TRUTH = "no test video has annotated incidents; pass --annotations with their frames"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure that can be drawn: name of its files, caption, warnings, and what draws it, given these warnings."""

    name: str
    caption: str
    cautions: tuple[str, ...]
    draw: Callable[[Sequence[str]], Figure]


Made = list[Drawing] | str
"""Drawings, or why a figure does not apply."""


def _scores(material: Material) -> Made:
    panels = figures_scores.score_panels(material)
    names = " and ".join(series.name for series in material.series)
    caption = (
        f"Anomaly score of {names} in {len(panels)} test videos; true incidents are shaded. Steps are snippets. "
        f"{_band_words(material.series)}{_shown_words(material)}"
    )
    return [Drawing("scores", caption, material.cautions, partial(figures_scores.draw_scores, panels))]


def _categories(material: Material) -> Made:
    drawings = []
    for series in material.series:
        panels = figures_scores.category_panels(series, material.shown)
        caption = (
            f"Probability of each anomaly category for {series.name}; shaded where something is true. The stripes "
            "below are the true incidents and the intervals that detect reports without a calibration"
            f"{' for the first run' if len(series.runs) > 1 else ''}, in the categories' colours. "
            f"{_band_words([series])}{_hidden_words(panels)}{_shown_words(material)}"
        )
        draw = partial(figures_scores.draw_categories, panels, series.classes)
        drawings.append(Drawing(_named("categories", series, material), caption, series.cautions, draw))
    return drawings


def _masks(material: Material) -> Made:
    found = figures_masks.mask_series(material)
    if isinstance(found, str):
        return found
    series, without = found
    rows = figures_masks.mask_rows(series, without, material.shown)
    steps = [(figures_masks.mean_step(row.raw.mean), figures_masks.mean_step(row.prior.mean)) for row in rows]
    raw, prior = (statistics.fmean(part) for part in zip(*steps, strict=True))
    beside = f" Black: {without.name}, trained with lambda = 0." if without is not None else ""
    caption = (
        f"Raw scores s_b of {series.name} and the Gaussian mixture scores s_gmm (eq. 12) that the loss draws them "
        f"towards (eq. 8).{beside} Right: the masks{' of the first run' if len(series.runs) > 1 else ''}, whose "
        "diagonal is s_gmm; row t is the mixture that snippet t puts over its window. reach: share of the window over "
        "which it is at least half of its peak. s_gmm is a sum over categories and may pass 1. From snippet to snippet "
        f"the raw score moves by {raw:.3f} in the mean, the mixture by {prior:.3f}. The prior acts in training only; "
        f"detect does not read it. {_band_words([series])}"
    )
    return [Drawing("masks", caption, material.cautions, partial(figures_masks.draw_masks, rows))]


def _tsne(material: Material) -> Made:
    drawings = []
    for series in material.series:
        run = series.runs[0]
        if not series.evaluations:
            return NO_TRUTH
        if run.rows is None or len(run.rows.categories) < figures_embedding.LEAST_SNIPPETS:
            return f"the test videos hold fewer than {figures_embedding.LEAST_SNIPPETS} snippets of known category"
        found = figures_embedding.embed(run.rows, material.seed)
        stream = run.trained.spec.stream
        if getattr(run.trained.config.model, "modality", "") == "audio" and run.trained.audio_spec is not None:
            stream = run.trained.audio_spec.stream
        caption = (
            f"t-SNE of {len(found.categories)} snippets of the test videos: stored features ({stream}) on the left, "
            f"features of the head {run.name} on the right. Colours are the true category of a snippet; snippets on "
            f"the edge of an incident are left out; at most {figures_embedding.MOST_OF_A_CATEGORY} of a category are "
            f"drawn (seed {material.seed}). Cosine distance, perplexity 30 or less, start by PCA. Distances between "
            f"clusters mean nothing in a t-SNE{_silhouette_words(found)}."
        )
        titles = (f"before: {stream}", f"after: {run.name}")
        draw = partial(figures_embedding.draw_embedding, found, series.classes, titles)
        drawings.append(Drawing(_named("tsne", series, material), caption, series.cautions, draw))
    return drawings


def _ranking(material: Material) -> Made:
    bands = {
        series.name: figures_ranking.ranking_band([found.ranking for found in series.evaluations])
        for series in material.series
        if series.evaluations
    }
    if not bands:
        return NO_TRUTH
    told = "; ".join(
        f"{name}: AP {figures_ranking.told(band.ap)}, AUC {figures_ranking.told(band.auc)}"
        for name, band in bands.items()
    )
    first = material.series[0].evaluations[0]
    caption = (
        f"Precision over recall and ROC of the {first.frames} frames of {first.videos} test videos. {told}. Dashed: "
        f"chance. {_band_words(material.series, 'the mean precision at a recall, and the mean true positive rate')}"
    )
    return [Drawing("ranking", caption, material.cautions, partial(figures_ranking.draw_ranking, bands))]


def _classes(material: Material) -> Made:
    drawings = []
    for series in material.series:
        if not series.evaluations:
            return NO_TRUTH
        bars = figures_classes.class_bars(series.evaluations)
        seeds = len(series.runs)
        caption = (
            f"Average precision of each class of {series.name} at each IoU, and the mean (mAP). strict: intervals as "
            "detect reports them without a calibration; vadclip: the protocol of the published figures, in which "
            "normal is a class too. A tick is the chance level of the mAP: the same intervals at random places."
            f"{f' Mean and standard deviation over {seeds} seeds.' if seeds > 1 else ''}"
        )
        draw = partial(figures_classes.draw_classes, bars)
        drawings.append(Drawing(_named("classes", series, material), caption, series.cautions, draw))
    return drawings


def _confusion(material: Material) -> Made:
    drawings = []
    for series in material.series:
        found = figures_classes.confusion(series)
        summed = f", summed over {found.runs} seeds" if found.runs > 1 else ""
        several = (
            f" {found.several} videos have several labels: right with any, else in the row of the first by name."
            if found.several
            else ""
        )
        caption = (
            f"Category that {series.name} finds in a video against its label, {found.videos} videos{summed}. Colours "
            "and percent are shares of a row, numbers below are videos. A video is normal where detect reports no "
            "interval (without a calibration), else of the reported category with the highest video-level activation."
            f"{several}"
        )
        draw = partial(figures_classes.draw_confusion, found)
        drawings.append(Drawing(_named("confusion", series, material), caption, series.cautions, draw))
    return drawings


MAKERS: Mapping[str, Callable[[Material], Made]] = {
    "scores": _scores,
    "categories": _categories,
    "masks": _masks,
    "tsne": _tsne,
    "ranking": _ranking,
    "classes": _classes,
    "confusion": _confusion,
}
"""Name of a figure of runs -> what makes its drawings."""


def grid_drawings(tables: Sequence[GridTable]) -> list[Drawing]:
    """Of each grid: curves where rows are values of a hyper-parameter, points where they are settings.

    Files of several grids are numbered: the parts of their names that file names keep may be the same.
    """
    drawings = []
    for number, table in enumerate(tables, 1):
        seeds = f" Mean and standard deviation over {table.seeds} seeds; dots are seeds." if table.seeds > 1 else ""
        seeds = seeds or " One seed, so the spread is not known."
        failed = f" Failed: {'; '.join(table.failures)}." if table.failures else ""
        base = file_part(table.name) if len(tables) == 1 else f"{number}-{file_part(table.name)}"
        about = f"{table.title}, measured on the test videos.{seeds}{failed}"
        if table.curves:
            draw = partial(figures_grid.draw_curves_of, table)
            drawings.append(Drawing(f"grid-{base}-curves", about, table.cautions, draw))
        if table.others:
            draw = partial(figures_grid.draw_rows_of, table)
            drawings.append(Drawing(f"grid-{base}-rows", about, table.cautions, draw))
    return drawings


def _named(kind: str, series: Series, material: Material) -> str:
    """Files of several series are numbered; their names alone might be the same on disk."""
    if len(material.series) == 1:
        return kind
    return f"{kind}-{material.series.index(series) + 1}-{file_part(series.name)}"


def _band_words(series: Sequence[Series], mean: str = "the mean") -> str:
    if all(len(item.runs) == 1 for item in series):
        return ""
    return f"Of several seeds the line is {mean}, the band goes from the lowest to the highest. "


def _shown_words(material: Material) -> str:
    if material.picked:
        return "The videos were picked by hand."
    return "The videos are the first of each category by id, and of the normal ones, whatever their scores are."


def _hidden_words(panels: Sequence[figures_scores.Panel]) -> str:
    most = max((panel.hidden[0] for panel in panels), default=0)
    return f"Of up to {most} more categories in a panel only the highest value is drawn, in grey. " if most else ""


def _silhouette_words(found: figures_embedding.Embedding) -> str:
    if found.silhouettes is None:
        return ""
    before, after = found.silhouettes
    return f"; the silhouette, in the full space, goes from {before:.2f} to {after:.2f}"
