"""Which runs are drawn as one, which videos are shown, what is recorded while they are scored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.pipeline.heads import TEXT, small_config, small_inputs
from tests.pipeline.planted import AUDIO_SPEC, CLASSES, CONFIG, SMALL, SPEC
from tests.pipeline.report_runs import material, scored_run
from tests.pipeline.test_evaluate import VIDEOS, video
from vadpipe.config import DetectConfig
from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.models.heads import build_head
from vadpipe.pipeline.reporting.material import Curve, ScoredRun, choose_videos, into_series
from vadpipe.pipeline.reporting.record import Recorder, recording, stitch, window_starts
from vadpipe.pipeline.score import score_track
from vadpipe.tracks import FeatureTrack, TimeGrid


def record(name: str, label: str) -> VideoRecord:
    return VideoRecord(name, frozenset({label}))


def made(name: str, **facts: Any) -> ScoredRun:
    """A run whose folder records these facts."""
    run = scored_run(name)
    return replace(run, trained=replace(run.trained, provenance=facts))


def test_runs_that_differ_in_their_seed_only_are_one_series() -> None:
    other = replace(CONFIG, model=replace(SMALL, lambda_gmm=0.0))
    runs = [scored_run("lec-seed0"), scored_run("bare", config=other), scored_run("lec-seed1")]
    first, second = into_series(runs)
    assert (first.name, [run.name for run in first.runs]) == ("lec (2 seeds)", ["lec-seed0", "lec-seed1"])
    assert second.name == "bare"
    (nameless,) = into_series([scored_run("a"), scored_run("b")])
    assert nameless.name == "lec_vad (2 seeds)"


@pytest.mark.parametrize(
    "facts", [{"training_videos": 60}, {"validation_videos": 5}, {"text_weights": "random:0"}, {"teacher_sha256": "a"}]
)
def test_heads_trained_on_other_data_are_no_seeds_of_one_head(facts: dict[str, Any]) -> None:
    known = {"training_videos": 600, "validation_videos": 0, "text_weights": "openai", "teacher_sha256": "b"}
    runs = [made("a", seed=0, **known), made("b", seed=1, **(known | facts)), made("c", seed=2, **known)]
    assert [series.name for series in into_series(runs)] == ["lec_vad (2 seeds)", "b"]
    runs[2] = replace(runs[2], seen="other ids")
    assert [series.name for series in into_series(runs)] == ["a", "b", "c"]


@pytest.mark.parametrize("seeds", [(0, 0), (0, None), (None, None)])
def test_runs_whose_seeds_do_not_differ_stay_apart(seeds: tuple[int | None, ...]) -> None:
    said: list[str] = []
    runs = [made(name, seed=seed) for name, seed in zip("ab", seeds, strict=True)]
    assert [series.name for series in into_series(runs, said.append)] == ["a", "b"]
    assert said == [
        f"note: drawn apart, since their seeds do not tell them apart: a (seed {seeds[0]}), b (seed {seeds[1]})"
    ]


def test_a_copied_run_is_refused() -> None:
    one = made("one", seed=0)
    one = replace(one, trained=replace(one.trained, sha256="f" * 64))
    with pytest.raises(UsageError, match="one and copy hold the same head"):
        into_series([one, replace(one, name="copy")])


def test_runs_on_different_videos_do_not_stand_side_by_side() -> None:
    with pytest.raises(DataError, match="different videos"):
        into_series([scored_run("a"), scored_run("b", VIDEOS[:2])])


def test_a_caution_names_its_series_where_it_does_not_hold_for_all() -> None:
    other = replace(CONFIG, model=replace(SMALL, lambda_gmm=0.0))
    both = material(
        scored_run("a", cautions=("prompts", "WARNING: untrained")),
        scored_run("b", config=other, cautions=("prompts",)),
    )
    assert both.cautions == ("a: WARNING: untrained", "prompts")
    assert both.series[1].cautions == ("prompts",)


def test_a_curve_over_runs_is_their_mean_between_lowest_and_highest() -> None:
    curve = Curve.over("x", np.arange(3.0), [np.array([0.1, 0.5], np.float32), np.array([0.3, 0.5], np.float32)])
    assert curve.mean.tolist() == pytest.approx([0.2, 0.5])
    assert (curve.low.tolist(), curve.high.tolist()) == (pytest.approx([0.1, 0.5]), pytest.approx([0.3, 0.5]))
    assert curve.several
    assert not Curve.over("x", np.arange(3.0), [curve.mean, curve.mean]).several


def test_videos_are_chosen_by_category_and_id_and_never_by_score() -> None:
    records = [record(f"r{place}", "riot") for place in range(9)]
    records += [record("t0", "theft"), record("n1", "normal"), record("n0", "normal")]
    assert choose_videos(records, most=4) == ["r0", "t0", "r1", "n0"]
    assert choose_videos(records[:2], most=4) == ["r0", "r1"]
    assert choose_videos(records[10:], most=4) == ["n0", "n1"]
    assert choose_videos(records, ["n1", "r8", "n1"]) == ["n1", "r8"]
    with pytest.raises(UsageError, match=r"--videos x: not among the 12 test videos, e\.g\. 'n0'"):
        choose_videos(records, ["x"])


@pytest.mark.parametrize(
    ("sizes", "snippets", "overlap", "starts"),
    [
        ([4, 4, 2], 10, 0, [0, 4, 8]),
        ([4, 4, 4, 4], 10, 2, [0, 2, 4, 6]),
        ([4, 4, 2], 10, 2, [0, 4, 8]),
        ([3], 3, 2, [0]),
    ],
)
def test_windows_are_found_again_from_their_sizes(
    sizes: list[int], snippets: int, overlap: int, starts: list[int]
) -> None:
    assert window_starts(sizes, snippets, DetectConfig(window=4, overlap=overlap)) == starts


def test_windows_that_do_not_cover_the_video_are_refused() -> None:
    with pytest.raises(ValueError, match="do not cover a video of 9"):
        window_starts([4, 4], 9, DetectConfig(window=4))


def test_shared_snippets_are_the_mean_of_their_windows() -> None:
    parts = [np.array([[1.0], [2.0]], np.float32), np.array([[4.0], [5.0]], np.float32)]
    assert stitch([0, 1], parts).tolist() == [[1.0], [3.0], [5.0]]


@pytest.mark.parametrize("name", ["lec_vad", "vadclip", "avadclip"])
def test_what_a_head_computes_is_kept_while_it_scores(name: str) -> None:
    torch.manual_seed(0)
    config = small_config(name)
    head = build_head(config, small_inputs()).eval()
    rng = np.random.default_rng(0)
    grid = TimeGrid(VIDEOS[0].scores.grid.fps, 16 * 10 - 3)
    data = rng.standard_normal((2, 10, SPEC.dim)).astype(np.float32)  # two crops
    track = FeatureTrack(data, grid, SPEC, "v")
    sound = FeatureTrack(rng.standard_normal((10, 8)).astype(np.float32), grid, AUDIO_SPEC, "v")
    sample = {"v": (np.array([1, 9]), ("riot", "normal"))}
    recorder = Recorder(head, ("v",), sample, DetectConfig(window=4))
    audio = sound if name == "avadclip" else None
    with recording(head, recorder) as ended:
        ended("v", score_track(head, track, CLASSES, 4, audio))
    rows = recorder.rows()
    assert rows is not None
    assert rows.categories == ("riot", "normal")
    assert rows.before == pytest.approx(data.mean(axis=0)[[1, 9]])
    assert rows.after.shape == (2, TEXT.shape[1])
    assert set(recorder.mixtures) == ({"v"} if name == "lec_vad" else set())
    if name == "lec_vad":
        trace = recorder.mixtures["v"]
        assert [(start, mask.shape) for start, mask in trace.masks] == [(0, (4, 4)), (4, (4, 4)), (8, (2, 2))]
        diagonals = np.concatenate([np.diagonal(mask) for _, mask in trace.masks])
        assert diagonals == pytest.approx(trace.prior, abs=1e-6)  # s_gmm is the diagonal of the masks
    scored_later = score_track(head, track, CLASSES, 4, audio)  # the hook is gone
    assert len(scored_later.anomaly) == 10
    assert recorder.rows() is not None
    assert len(recorder._chunks) == 0


def test_an_empty_video_leaves_nothing() -> None:
    recorder = Recorder(None, ("v",), {}, DetectConfig())
    recorder.end_video("v", video("v", "").scores)
    assert recorder.mixtures == {}
    assert recorder.rows() is None
