"""Evaluations as CSV, LaTeX, JSON, pictures, and beside published figures; names may hold anything."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path

import pytest

from tests.pipeline.test_evaluate import NONE, VIDEOS, video
from vadpipe.errors import UsageError
from vadpipe.pipeline.evaluate import EvaluateOptions, measure
from vadpipe.pipeline.evaluating.picture import curve_points, draw_curves
from vadpipe.pipeline.evaluating.report import (
    RunReport,
    compared,
    csv_cell,
    figures,
    latex_rows,
    latex_text,
    runs_csv,
    summary,
    to_json,
    videos_csv,
)
from vadpipe.pipeline.published import (
    PUBLISHED,
    TEST_SETS,
    TestSet,
    features_in_words,
    published_figures,
    require_test_set,
)
from vadpipe.spec import FeatureSpec

FIRST = RunReport("one", "lec_vad", "CLIP (clip-0)", "last", measure(VIDEOS, EvaluateOptions(draws=40)))
WORSE = measure([video("riot-1", "9900", riot=(2, 4), found=(0, 1)), *VIDEOS[1:]], EvaluateOptions(draws=40))
SECOND = RunReport('=cmd|"x"', "lec_vad", "CLIP (clip-0)", "last", WORSE)


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_mean_and_deviation_over_runs() -> None:
    over = summary([FIRST, SECOND])
    low, high = WORSE.ap, FIRST.evaluation.ap
    assert over["frame_ap"] == pytest.approx(((low + high) / 2, abs(high - low) / 2**0.5))
    assert summary([FIRST]) == {}
    told = to_json([FIRST, SECOND])
    assert [run["run"] for run in told["runs"]] == ["one", '=cmd|"x"']
    assert (told["mean"]["frame_ap"], told["sd"]["frame_ap"]) == over["frame_ap"]
    assert json.loads(json.dumps(to_json([FIRST])))["head"] == "lec_vad"


def test_a_figure_that_one_run_lacks_has_no_mean() -> None:
    without = measure([VIDEOS[0]], NONE)
    over = summary([FIRST, RunReport("x", "lec_vad", "CLIP", "last", without)])
    assert "false_alarm_rate" not in over
    assert "frame_ap" in over


def test_csv_has_a_row_for_each_run_and_their_mean() -> None:
    rows = read(runs_csv([FIRST, SECOND]))
    assert [row["run"] for row in rows] == ["one", '\'=cmd|"x"', "mean", "sd"]
    assert [row["selection"] for row in rows] == ["last", "last", "", ""]
    assert float(rows[0]["frame_ap"]) == pytest.approx(FIRST.evaluation.ap, abs=1e-6)
    assert float(rows[0]["frame_ap_low"]) <= float(rows[0]["frame_ap"]) <= float(rows[0]["frame_ap_high"])
    assert {figure.key for figure in figures(WORSE)} <= rows[0].keys()
    assert [row["run"] for row in read(runs_csv([FIRST]))] == ["one"]


def test_csv_has_a_row_for_each_run_and_video() -> None:
    rows = read(videos_csv([FIRST, SECOND]))
    assert [row["id"] for row in rows] == ["calm", "riot-1", "riot-2"] * 2
    assert (rows[0]["ap"], rows[0]["found_intervals"], rows[0]["false_alarms"]) == ("", "1", "1")
    assert float(rows[1]["max_score"]) == pytest.approx(0.9)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "  =1", "=HYPERLINK(1)\n"])
def test_no_cell_is_a_formula(name: str) -> None:
    assert csv_cell(name).startswith("'")


def test_cells() -> None:
    assert csv_cell("v=a-b, c") == "v=a-b, c"
    assert csv_cell("a\nb\x1b") == "a b "
    assert (csv_cell(None), csv_cell(-0.5), csv_cell(7)) == ("", "-0.500000", "7")


def test_latex_prints_every_character() -> None:
    assert latex_text(r"50% of a_b & \c {d} #1 ~^$ <e|f>") == (
        r"50\% of a\_b \& \textbackslash{}c \{d\} \#1 \textasciitilde{}\textasciicircum{}\$ "
        r"\textless{}e\textbar{}f\textgreater{}"
    )
    assert [latex_text(name) for name in ("[b]", "*", "\n[b]")] == ["{}[b]", "{}*", "{} [b]"]
    assert latex_text("a\n\\input{x}\x00") == r"a \textbackslash{}input\{x\} "


def test_latex_has_a_row_for_each_run_and_their_mean() -> None:
    lines = latex_rows([FIRST, SECOND]).splitlines()
    rows = [line for line in lines if not line.startswith("%")]
    assert len(rows) == 3
    assert all(row.endswith(r" \\") for row in rows)
    assert len({row.count(" & ") for row in rows}) == 1
    assert rows[0].startswith(f"one & {100 * FIRST.evaluation.ap:.2f} & ")
    assert r"=cmd\textbar{}\char34{}x" in rows[1]
    assert r"\pm" in rows[2]
    assert "% one: selection: last" in lines
    assert sum(line.startswith(("% strict: ", "% vadclip: ")) for line in lines) == 2


def test_pictures_are_drawn_for_any_name(tmp_path: Path) -> None:
    for name in ("curves.png", "curves.svg"):
        draw_curves(tmp_path / name, {"$x$": FIRST.evaluation.ranking, "y": WORSE.ranking})
        assert (tmp_path / name).stat().st_size > 5000
    with pytest.raises(UsageError, match=r"\.txt"):
        draw_curves(tmp_path / "curves.txt", {"x": WORSE.ranking})


def test_curves_go_from_nothing_to_everything() -> None:
    recall, precision, false_rate = curve_points(FIRST.evaluation.ranking)
    assert (recall[0], recall[-1], false_rate[0], false_rate[-1]) == (0, 1, 0, 1)
    assert (precision[0], precision[-1]) == (1, 0.25)


# --- published figures


def test_published_averages_are_those_of_their_rows() -> None:
    groups: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in PUBLISHED:
        groups.setdefault((row.head, row.dataset, row.features), {})[row.figure] = row.percent
    whole = [group for group in groups.values() if "map@0.1" in group]
    assert len(whole) == 6
    for group in whole:
        values = [group[f"map@{threshold:g}"] for threshold in (0.1, 0.2, 0.3, 0.4, 0.5)]
        assert sum(values) / 5 == pytest.approx(group["map_average"], abs=0.011)
        assert values == sorted(values, reverse=True)
    assert len({(row.head, row.dataset, row.features, row.figure) for row in PUBLISHED}) == len(PUBLISHED)
    assert {row.dataset for row in PUBLISHED} == set(TEST_SETS)


@pytest.mark.parametrize(
    ("dataset", "head", "features", "figure", "percent"),
    [
        ("xd_violence", "lec_vad", "CLIP", "frame_ap", 86.56),
        ("xd_violence", "lec_vad", "I3D", "frame_ap", 88.47),
        ("ucf_crime", "lec_vad", "C3D", "frame_auc", 84.75),
        ("ucf_crime", "lec_vad", "CLIP", "map_average", 13.56),
        ("xd_violence", "avadclip", "CLIP + audio", "frame_ap", 86.04),
        ("xd_violence", "avadclip", "CLIP", "map_average", 27.44),
        ("cctv_fights", "avadclip", "CLIP + audio", "frame_ap", 73.38),
        ("xd_violence", "vadclip", "CLIP", "frame_ap", 84.51),
        ("ucf_crime", "vadclip", "CLIP", "frame_auc", 88.02),
    ],
)
def test_published_figures_of_the_same_features(
    dataset: str, head: str, features: str, figure: str, percent: float
) -> None:
    found = [row for row in published_figures(dataset, head, features) if row.figure == figure]
    assert [row.percent for row in found] == [percent]
    assert found[0].features in (features, "not stated")
    assert "Table" in found[0].source


def test_other_features_show_all_of_them() -> None:
    found = published_figures("ucf_crime", "lec_vad", "mine")
    assert {row.features for row in found} == {"CLIP", "I3D", "C3D", "not stated"}
    assert published_figures("ucf_crime", "avadclip", "CLIP") == ()


def test_ours_stands_beside_the_same_figure() -> None:
    rows = published_figures("xd_violence", "lec_vad", "CLIP")
    beside = compared(RunReport("x", "lec_vad", "CLIP", "last", FIRST.evaluation, "xd_violence", rows))
    ours = {row.figure: value for _, value, row in beside}
    assert ours["frame_ap"] == pytest.approx(100 * FIRST.evaluation.ap)
    assert ours["map@0.5"] == pytest.approx(100 * FIRST.evaluation.vadclip.mean[4])
    assert ours["map_average"] == pytest.approx(100 * FIRST.evaluation.vadclip.average)


def test_a_test_set_is_exactly_its_videos() -> None:
    two = TestSet(2, hashlib.sha256(b"a\nb").hexdigest())
    assert two.holds(["b", "a"])
    assert not two.holds(["a"])
    with pytest.raises(UsageError, match="the 2 videos to evaluate are not exactly its 800 test videos"):
        require_test_set("xd_violence", ["a__label_A", "b__label_A"])
    with pytest.raises(UsageError, match="expected one with published figures: xd_violence, ucf_crime, cctv_fights"):
        require_test_set("folder", [])


@pytest.mark.parametrize(
    ("stream", "audio", "words"),
    [("clip", "", "CLIP"), ("i3d", "", "I3D"), ("mine", "", "mine"), ("clip", "wav2clip", "CLIP + audio")],
)
def test_features_in_words(stream: str, audio: str, words: str) -> None:
    spec = FeatureSpec(stream, 4, "m", "w")
    assert features_in_words(spec, FeatureSpec(audio, 4, "m", "w") if audio else None) == words
