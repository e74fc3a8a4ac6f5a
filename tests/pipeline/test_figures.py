"""What figures show, on cases that a reader can check by hand; and that they can be drawn whatever the names are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.pipeline.planted import CONFIG, SMALL
from tests.pipeline.report_runs import HOSTILE, material, scored_run, two_seeds
from tests.pipeline.test_evaluate import LABELS, NONE, VIDEOS, video
from vadpipe.errors import UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.pipeline.evaluate import measure
from vadpipe.pipeline.evaluating import picture as evaluate_picture
from vadpipe.pipeline.figures import embedding as figures_embedding
from vadpipe.pipeline.figures.classes import (
    class_bars,
    confusion,
    draw_classes,
    draw_confusion,
    found_category,
)
from vadpipe.pipeline.figures.embedding import draw_embedding, embed, sample_snippets, snippet_categories
from vadpipe.pipeline.figures.grid import draw_curves_of, draw_rows_of
from vadpipe.pipeline.figures.masks import draw_masks, mask_rows, mask_series, mean_step, reach
from vadpipe.pipeline.figures.ranking import draw_ranking, precision_at, ranking_band, true_rate_at
from vadpipe.pipeline.figures.scores import category_panels, draw_categories, draw_scores, score_panels
from vadpipe.pipeline.figures.style import category_style, file_part, paper_style, plain, write_figure
from vadpipe.pipeline.metrics import rank_snippets
from vadpipe.pipeline.pages.timeline import _PALETTE
from vadpipe.pipeline.reporting.grid import GridLine, GridTable
from vadpipe.pipeline.reporting.material import into_series
from vadpipe.pipeline.reporting.record import MixtureTrace, SnippetRows
from vadpipe.tracks import NORMAL, Interval, ScoreTrack, TimeGrid

GRID = TimeGrid(Fraction(16), 16 * 4)


def span(category: str, start: int, end: int) -> Interval:
    return Interval.of_frames(category, start, end, GRID)


# scores


def test_a_panel_holds_the_curve_of_each_series_and_the_truth() -> None:
    calm, first, second = score_panels(material(*two_seeds().runs))
    assert (calm.id, calm.labels, calm.truth, calm.end_s) == ("calm", (NORMAL,), (), 4.0)
    assert [(curve.name, curve.several) for curve in first.curves] == [("run (2 seeds)", True)]
    assert first.curves[0].mean.tolist() == pytest.approx([0.05, 0.05, 0.95, 0.95])
    assert first.curves[0].high.tolist() == pytest.approx([0.1, 0.1, 1.0, 1.0])
    assert first.curves[0].edges_s.tolist() == [0, 1, 2, 3, 4]
    assert first.truth == VIDEOS[0].record.intervals
    assert second.found == ()


def test_an_anomalous_video_without_annotation_has_no_known_truth() -> None:
    unknown = video("x", "09")
    unknown = replace(unknown, record=VideoRecord("x", frozenset({"riot"})))
    (panel,) = score_panels(material(scored_run(videos=[unknown])))
    assert panel.truth is None


def test_true_categories_come_first_then_the_highest() -> None:
    labels = (NORMAL, "a", "b", "c", "d")
    scores = np.array([[0.1, 0.3, 0.2, 0.0, 0.4], [0.1, 0.2, 0.6, 0.0, 0.1]], np.float32)
    track = ScoreTrack(np.zeros(2, np.float32), scores, labels, TimeGrid(Fraction(16), 32))
    one = replace(video("v", "00"), scores=track, record=VideoRecord("v", frozenset({"c"})))
    run = scored_run(videos=[one])
    (series,) = into_series([replace(run, trained=replace(run.trained, classes=labels))])
    (panel,) = category_panels(series, ["v"], most=2)
    assert [curve.name for curve in panel.curves] == ["b", "c"]  # c is the label, b has the highest peak
    hidden, rest = panel.hidden
    assert hidden == 2
    assert rest is not None
    assert rest.mean.tolist() == pytest.approx([0.4, 0.2])


# the Gaussian mixture


def traced(name: str, lambda_gmm: float = 0.3, raw: float = 0.5):  # type: ignore[no-untyped-def]
    mask = np.array([[1.0, 0.4], [0.6, 1.0]], np.float32)
    trace = MixtureTrace(np.array([raw, 0.9], np.float32), np.array([1.0, 1.0], np.float32), ((0, mask),))
    config = replace(CONFIG, model=replace(SMALL, lambda_gmm=lambda_gmm))
    videos = [video("calm", "07"), video("riot-1", "09", riot=(1, 2), found=(1, 2))]
    return scored_run(name, videos, config, mixtures={"riot-1": trace})


def test_masks_stand_beside_the_scores_of_a_head_trained_without_them() -> None:
    found = mask_series(material(traced("with"), traced("bare", 0.0, raw=0.1)))
    assert not isinstance(found, str)
    series, without = found
    assert without is not None
    assert (series.name, without.name) == ("with", "bare")
    (row,) = mask_rows(series, without, ("calm", "riot-1"))  # normal videos have no incident to complete
    assert (row.id, len(row.truth), row.end_s) == ("riot-1", 1, 2.0)
    assert row.raw.mean.tolist() == pytest.approx([0.5, 0.9])
    assert row.prior.mean.tolist() == [1.0, 1.0]
    assert row.without is not None
    assert row.without.mean.tolist() == pytest.approx([0.1, 0.9])
    assert [mean_step(row.raw.mean), mean_step(row.prior.mean)] == pytest.approx([0.4, 0.0])
    assert mean_step(row.raw.mean[:1]) == 0.0
    assert reach([mask for _, mask in row.masks]) == 0.75  # 0.4 is under half of 1, 0.6 is not


def test_heads_without_a_mixture_say_so() -> None:
    assert mask_series(material(scored_run())) == "only LEC-VAD has a Gaussian mixture prior; the head is lec_vad"
    assert "lambda_gmm = 0" in str(mask_series(material(traced("bare", 0.0))))


# t-SNE


def test_a_snippet_has_the_category_that_covers_more_than_half_of_it() -> None:
    record = VideoRecord("v", frozenset({"riot"}), (span("riot", 16, 41), span("theft", 56, 57)))
    assert snippet_categories(record, GRID) == [NORMAL, "riot", "riot", ""]
    touching = VideoRecord("v", frozenset({"riot"}), (span("riot", 8, 16),))
    assert snippet_categories(touching, GRID)[:2] == ["", NORMAL]  # exactly half is not more


def test_the_sample_is_even_over_categories_and_repeatable() -> None:
    records = [
        VideoRecord("b", frozenset({"riot"}), (span("riot", 0, 16),)),
        VideoRecord("a", frozenset({NORMAL})),
        VideoRecord("unknown", frozenset({"riot"})),
    ]
    grids = dict.fromkeys(("a", "b", "unknown"), GRID)
    sample = sample_snippets(records, grids, seed=0, most=3)
    told = [category for _, categories in sample.values() for category in categories]
    assert (told.count("riot"), told.count(NORMAL)) == (1, 3)
    assert "unknown" not in sample
    assert sample["b"][1][0] == "riot"
    again = sample_snippets(records[::-1], grids, seed=0, most=3)
    assert {name: rows.tolist() for name, (rows, _) in again.items()} == {
        name: rows.tolist() for name, (rows, _) in sample.items()
    }


def clusters() -> SnippetRows:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((40, 8)).astype(np.float32)
    apart = noise * 0.1
    apart[:20, 0] += 5
    apart[20:, 1] += 5
    noise[3] = 0  # a row without direction
    return SnippetRows(("riot",) * 20 + (NORMAL,) * 20, noise, apart)


def test_a_head_that_separates_categories_has_a_higher_silhouette() -> None:
    found = embed(clusters())
    assert found.before.shape == found.after.shape == (40, 2)
    assert found.silhouettes is not None
    before, after = found.silhouettes
    assert before < 0.1 < 0.9 < after
    centres = [found.after[:20].mean(axis=0), found.after[20:].mean(axis=0)]
    spread = max(found.after[:20].std(), found.after[20:].std())
    assert np.linalg.norm(centres[0] - centres[1]) > spread
    assert (embed(clusters()).after == found.after).all()
    assert embed(replace(clusters(), categories=("riot",) * 40)).silhouettes is None


def test_without_scikit_learn_the_command_that_mends_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.manifold", None)
    with pytest.raises(UsageError, match=r"pip install 'vadpipe\[report\]'"):
        figures_embedding.embed(clusters())


# precision, recall, ROC


def test_curves_of_several_runs_are_met_at_the_same_recall_and_rate() -> None:
    one = rank_snippets([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0], [0, 1, 0, 1])  # hit, false, hit, false
    two = rank_snippets([0.9, 0.8, 0.7, 0.1], [1, 1, 0, 0], [0, 0, 1, 1])  # hit, hit, false, false
    steps = np.array([0.0, 0.5, 0.51, 1.0])
    assert precision_at(one, steps).tolist() == pytest.approx([1.0, 1.0, 2 / 3, 2 / 3])
    assert precision_at(two, steps).tolist() == [1.0] * 4
    assert true_rate_at(one, np.array([0.0, 0.25, 0.5, 1.0])).tolist() == [0.5, 0.5, 1.0, 1.0]
    assert true_rate_at(two, np.array([0.0, 0.5])).tolist() == [1.0, 1.0]
    band = ranking_band([one, two])
    assert band.precision_band is not None
    assert band.true_band is not None
    assert (band.recall[0], band.recall[-1], len(band.recall)) == (0.0, 1.0, 401)
    assert band.precision[-1] == pytest.approx((2 / 3 + 1) / 2)
    assert band.precision_band[:, -1].tolist() == pytest.approx([2 / 3, 1.0])
    assert np.trapezoid(band.true_rate, band.false_rate) == pytest.approx(np.mean(band.auc), abs=2e-3)
    assert (band.auc, band.share) == ((0.75, 1.0), 0.5)
    assert ranking_band([one]).precision_band is None


@pytest.mark.parametrize("frames", [20, 5000])
def test_the_drawn_area_is_ap(frames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where more cuts are there than points are drawn."""
    rng = np.random.default_rng(0)
    truth = rng.random(frames) < 0.3
    ranking = rank_snippets(rng.random(frames) + 0.3 * truth, truth.astype(int), (~truth).astype(int))
    figures = [draw_ranking({"a": ranking_band([ranking])}), draw_ranking({"a": ranking_band([ranking] * 2)})]
    monkeypatch.setattr(evaluate_picture, "_save", lambda figure, _path: figures.append(figure))
    evaluate_picture.draw_curves(tmp_path / "x.png", {"a": ranking})
    for figure, close in zip(figures, (1e-9, 5e-3 if frames > 20 else 0.05, 1e-9), strict=True):
        line = figure.axes[0].lines[0]
        recall, precision = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert line.get_drawstyle() == "steps-pre"
        assert len(recall) <= 2001
        assert np.sum(np.diff(recall) * precision[1:]) == pytest.approx(ranking.ap, abs=close)


# classes and confusion


def test_bars_are_the_evaluation_of_each_run() -> None:
    worse = measure([replace(VIDEOS[0], found=()), *VIDEOS[1:]], NONE)
    strict, vadclip = class_bars([measure(VIDEOS, NONE), worse])
    assert (strict.names, strict.counts) == (("riot", "mAP"), ("2 true", ""))
    assert strict.values.shape == (2, 2, 5)
    assert strict.values[:, 0, 0].tolist() == [0.25, 0.0]
    assert (strict.values[:, 1] == strict.values[:, 0]).all()  # one category: the mean is that category
    assert vadclip.names == (NORMAL, "riot", "theft", "mAP")
    assert vadclip.counts[:2] == ("1 videos", "2 true")
    assert vadclip.values[0, 1].tolist() == pytest.approx([(1 + 2 / 3) / 2] * 5)
    assert vadclip.values[0, 3] == pytest.approx(vadclip.values[0, :3].mean(axis=0))


def test_what_is_found_in_a_video_is_what_detect_reports_of_it() -> None:
    grid = VIDEOS[0].scores.grid
    both = replace(
        VIDEOS[0],
        found=(Interval.of_frames("theft", 0, 16, grid, 0.9), Interval.of_frames("riot", 32, 48, grid, 0.1)),
    )
    assert found_category(both) == "riot"  # its highest snippets are higher, though its interval's contrast is not
    assert found_category(VIDEOS[1]) == NORMAL


def test_confusion_by_hand() -> None:
    several = replace(video("z", "09", riot=(1, 2), found=(1, 2)))
    several = replace(several, record=replace(several.record, labels=frozenset({"riot", "arson"})))
    (series,) = into_series([scored_run(name, [*VIDEOS, several]) for name in ("a-0", "a-1")])
    found = confusion(series)
    assert found.labels == (*LABELS, "arson")
    # calm has an alarm, riot-1 is found, riot-2 is missed, z is found and has two labels; twice
    assert found.counts.tolist() == [[0, 2, 0, 0], [2, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert found.shares[1].tolist() == pytest.approx([1 / 3, 2 / 3, 0, 0])
    assert found.shares[2].tolist() == [0, 0, 0, 0]
    assert (found.runs, found.videos, found.several) == (2, 4, 1)


# drawing


def hostile_drawings() -> dict[str, Callable[[], Figure]]:
    labels = (NORMAL, "riot", HOSTILE)
    grid = TimeGrid(Fraction(16), 64)
    truth = (Interval.of_frames(HOSTILE, 16, 48, grid),)
    record = VideoRecord("id $a_{b$ <i>", frozenset({HOSTILE.replace("\n", "").replace("\x00", "")}))
    scores = ScoreTrack(np.linspace(0, 1, 4, dtype=np.float32), np.full((4, 3), 1 / 3, np.float32), labels, grid)
    one = replace(
        VIDEOS[0], scores=scores, record=replace(record, labels=frozenset({"riot"}), intervals=truth), found=truth
    )
    run = scored_run(HOSTILE, [one, replace(one, record=VideoRecord("calm", frozenset({NORMAL})), found=())])
    mask = np.eye(4, dtype=np.float32)
    trace = MixtureTrace(scores.anomaly, scores.anomaly, ((0, mask),))
    run = replace(run, trained=replace(run.trained, classes=labels), mixtures={record.id: trace})
    assert run.evaluation is not None
    evaluation = run.evaluation
    (series,) = into_series([run])
    shown = material(run)
    rows = clusters()
    rows = replace(rows, categories=(HOSTILE,) * 20 + (NORMAL,) * 20)
    lines = tuple(GridLine(f"{HOSTILE} = {value}", {"frame_ap": (0.3, 0.4)}) for value in (0.001, 0.1))
    table = GridTable("g", HOSTILE, (*lines, GridLine(HOSTILE, {"frame_ap": (0.5,)})), 2)
    caution = (HOSTILE * 4,)
    return {
        "scores": lambda: draw_scores(score_panels(shown), caution),
        "categories": lambda: draw_categories(category_panels(series, shown.shown), labels, caution),
        "masks": lambda: draw_masks(mask_rows(series, None, shown.shown), caution),
        "tsne": lambda: draw_embedding(embed(rows), labels, (HOSTILE, HOSTILE), caution),
        "ranking": lambda: draw_ranking({HOSTILE: ranking_band([evaluation.ranking] * 2)}, caution),
        "classes": lambda: draw_classes(class_bars([evaluation]), caution),
        "confusion": lambda: draw_confusion(confusion(series), caution),
        "curves": lambda: draw_curves_of(table, caution),
        "rows": lambda: draw_rows_of(table, caution),
    }


@pytest.mark.parametrize("name", hostile_drawings())
def test_any_name_is_drawn_as_it_is(tmp_path: Path, name: str) -> None:
    with paper_style():
        png, svg = write_figure(hostile_drawings()[name](), tmp_path, name, ("png", "svg"))
    with Image.open(png) as image:
        image.load()
        assert image.width > 900
        assert image.height > 350
    root = ET.fromstring(svg.read_bytes())
    said = " ".join("".join(item.itertext()) for item in root.iter("{http://www.w3.org/2000/svg}text"))
    assert r"$x_{1}<b>\n\alpha$" in said  # a line end is shown, a formula is not read
    assert "date" not in svg.read_text(encoding="utf-8").lower()


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for folder in ("first", "second"):
        with paper_style():
            written.append(write_figure(hostile_drawings()["rows"](), tmp_path / folder, "m", ("png", "svg", "pdf")))
    for once, again in zip(*written, strict=True):
        assert once.read_bytes() == again.read_bytes(), once.suffix
    content = written[0][2].read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/CreationDate" not in content
    assert re.search(rb"/Subtype /(CIDFontType2|TrueType)", content)  # text as text, not as Type 3 outlines


def test_the_users_own_settings_do_not_count(tmp_path: Path) -> None:
    import matplotlib as mpl

    written = []
    for size in (10.0, 20.0):
        with mpl.rc_context({"font.size": size, "svg.fonttype": "path"}), paper_style():
            written.append(write_figure(hostile_drawings()["confusion"](), tmp_path / f"{size}", "c", ("svg",))[0])
    assert written[0].read_bytes() == written[1].read_bytes()


def test_names_are_cut_and_made_visible() -> None:
    assert plain("a\nb\x00\udc80") == r"a\nb\x00\udc80"
    assert plain("x" * 50, 10) == "x" * 9 + "…"
    assert file_part("a/b $ c (2 seeds)") == "a-b-c-2-seeds"
    assert file_part("火") == "x"


def test_categories_have_the_colours_of_the_timeline() -> None:
    labels = (NORMAL, *(f"c{place}" for place in range(8)))
    assert [category_style(labels, f"c{place}")["color"] for place in (0, 5, 6)] == [
        _PALETTE[0],
        _PALETTE[5],
        _PALETTE[0],
    ]
    assert category_style(labels, "c0")["linestyle"] != category_style(labels, "c6")["linestyle"]
    assert category_style(labels, NORMAL)["color"] not in _PALETTE
    assert category_style(labels, "foreign")["color"] in _PALETTE
