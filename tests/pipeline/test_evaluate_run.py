"""``vadpipe evaluate`` on saved heads: several runs, files, published figures only beside the real test set."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from tests.pipeline.heads import INPUTS
from tests.pipeline.planted import CLASSES, CONFIG, SPEC, Planted, plant
from tests.pipeline.test_evaluate import NONE, VIDEOS
from vadpipe.cli import cli, main
from vadpipe.cli_output import progress
from vadpipe.config import DetectConfig
from vadpipe.errors import StoreError
from vadpipe.manifest import VideoRecord, write_manifest
from vadpipe.models.checkpoint import TrainedHead, load_head, save_head
from vadpipe.models.heads import build_head
from vadpipe.pipeline import published
from vadpipe.pipeline.evaluate import measure, score_videos
from vadpipe.pipeline.evaluating import run as evaluate_run
from vadpipe.pipeline.evaluating.report import RunReport
from vadpipe.pipeline.published import TestSet
from vadpipe.pipeline.score import score_track


def save_untrained(folder: Path, seed: int, **provenance: Any) -> None:
    torch.manual_seed(seed)
    head = build_head(CONFIG, INPUTS).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # away from the start at which all scores are equal
    save_head(folder, TrainedHead(head, CONFIG, SPEC, CLASSES, "last epoch", provenance))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    folder = tmp_path_factory.mktemp("project")
    planted = plant(folder / "features", 32)
    write_manifest(folder / "manifest.jsonl", planted.records)
    for name, seed in (("first", 0), ("=second_", 1)):
        save_untrained(folder / "runs" / name, seed, dataset="xd_violence")
    return folder, planted


def evaluate(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.chdir(folder)
    fixed = ["evaluate", "--labels", "manifest.jsonl", "--device", "cpu", "--bootstrap", "20"]
    return CliRunner().invoke(cli, [*fixed, *arguments])


BOTH = ("--run", "runs/first", "--run", "runs/=second_")


def test_windows_stand_side_by_side_whatever_the_overlap_of_detect_is(project: tuple[Path, Planted]) -> None:
    folder, planted = project
    trained = load_head(folder / "runs" / "first")
    trained = replace(trained, config=replace(CONFIG, detect=DetectConfig(window=2, overlap=1)))
    one = planted.part("test")[0]
    videos, _ = score_videos(trained, planted.store, [one])
    track = planted.store.read(SPEC, one.id)
    beside, blended = (score_track(trained.head, track, CLASSES, 2, None, overlap) for overlap in (0, 1))
    assert (videos[0].scores.anomaly == beside.anomaly).all()
    assert not np.allclose(beside.anomaly, blended.anomaly)


def test_several_runs_give_each_and_their_mean(
    project: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, planted = project
    names = ("out.json", "runs.csv", "rows.tex", "videos.csv", "curves.png")
    files = [str(tmp_path / name) for name in names]
    options = zip(("--out", "--csv", "--latex", "--per-video", "--picture"), files, strict=True)
    ended = evaluate(folder, monkeypatch, *BOTH, "--json", *(part for pair in options for part in pair))
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    assert told == json.loads(Path(files[0]).read_text())
    assert [run["run"] for run in told["runs"]] == ["first", "=second_"]
    values = [run["frame_ap"] for run in told["runs"]]
    assert values[0] != values[1]
    assert told["mean"]["frame_ap"] == pytest.approx(sum(values) / 2)
    assert told["sd"]["frame_ap"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    with Path(files[1]).open() as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["first", "'=second_", "mean", "sd"]
    assert r"=second\_ & " in Path(files[2]).read_text()
    with Path(files[3]).open() as file:
        rows = list(csv.DictReader(file))
    assert {row["id"] for row in rows} == {record.id for record in planted.part("test")}
    assert Path(files[4]).stat().st_size > 5000
    assert "no published figures beside: the run says" in ended.stderr


def test_what_a_head_from_elsewhere_warns_of_is_said(
    project: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_untrained(tmp_path / "released", 0, caution="made by others")
    ended = evaluate(project[0], monkeypatch, "--run", str(tmp_path / "released"))
    assert ended.exit_code == 0, ended.output
    assert "note: released: made by others" in ended.stderr


def test_tables_are_for_people(project: tuple[Path, Planted], monkeypatch: pytest.MonkeyPatch) -> None:
    ended = evaluate(project[0], monkeypatch, *BOTH)
    assert ended.exit_code == 0, ended.output
    for text in (
        "mAP average (strict)",
        "mAP average (vadclip)",
        "strict: ",
        "vadclip: ",
        "2 runs",
        "fighting",
        "95 %",
        "selection: last epoch",
    ):
        assert text in ended.stdout, text
    assert "published" not in ended.stdout.replace("the published figures' own", "")


def test_published_figures_stand_beside_only_for_the_real_test_set(
    project: tuple[Path, Planted], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, planted = project
    refused = evaluate(folder, monkeypatch, "--run", "runs/first", "--dataset", "xd_violence")
    assert refused.exit_code != 0
    assert "are not exactly its 800 test videos" in f"{refused.output}{refused.exception}"
    ids = sorted(record.id for record in planted.part("test"))
    these = TestSet(len(ids), hashlib.sha256("\n".join(ids).encode()).hexdigest())
    monkeypatch.setattr(published, "TEST_SETS", {"xd_violence": these})
    for arguments in (("--dataset", "xd_violence"), ()):  # said, or recorded in the run
        ended = evaluate(folder, monkeypatch, "--run", "runs/first", *arguments)
        assert ended.exit_code == 0, ended.output
        assert "86.56" in ended.stdout
        assert "LEC-VAD, ICML 2025, Table 1" in ended.stdout
        assert "our features: planted" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--run", "runs/first", "--run", "runs/first"), "the same folder is given twice"),
        (("--run", "runs/first", "--picture", "x.txt"), "expected a name that ends in"),
        (("--run", "runs/first", "--threshold", "1"), "threshold: got 1.0"),
        (("--run", "runs/first", "--dataset", "folder"), "expected one with published figures"),
    ],
)
def test_wrong_requests(
    project: tuple[Path, Planted], monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str], message: str
) -> None:
    ended = evaluate(project[0], monkeypatch, *arguments)
    assert ended.exit_code != 0
    assert message in f"{ended.output}{ended.exception}"


def test_runs_on_different_videos_are_not_averaged_in_silence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    results = [measure(VIDEOS, NONE), measure(VIDEOS[:2], NONE)]
    reports = iter(RunReport("x", "lec_vad", "CLIP", "last", result) for result in results)
    monkeypatch.setattr(evaluate_run, "load_head", lambda *_: None)
    monkeypatch.setattr(evaluate_run, "_evaluate_run", lambda *_: next(reports))
    said: list[str] = []
    request = evaluate_run.EvaluateRequest((tmp_path / "a", tmp_path / "b"), tmp_path)
    with progress(quiet=True) as bars:
        evaluate_run.evaluate_runs(request, "cpu", bars, said.append)
    assert said == ["warning: the runs were evaluated on different videos, so their mean and deviation mean little"]


def test_videos_without_features_are_left_out_by_name(
    project: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, planted = project
    short = [record for record in planted.records if record.split == "test"][:6]
    write_manifest(tmp_path / "few.jsonl", [*short, VideoRecord("unknown", frozenset({"riot"}), split="test")])
    monkeypatch.chdir(folder)
    ended = CliRunner().invoke(
        cli, ["evaluate", "--labels", str(tmp_path / "few.jsonl"), "--run", "runs/first", "--bootstrap", "0"]
    )
    assert ended.exit_code == 0, ended.output
    assert "unknown" in ended.stderr
    assert "6 videos" in ended.stdout


def exit_code(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Exit code of the program, as a shell sees it."""
    monkeypatch.chdir(folder)
    fixed = ["vadpipe", "evaluate", "--labels", "manifest.jsonl", "--device", "cpu", "--run", "runs/first"]
    monkeypatch.setattr(sys, "argv", [*fixed, "--bootstrap", "0", *arguments])
    try:
        main()
    except SystemExit as ended:
        return ended.code
    return 0


def test_lengths_that_the_labels_state_are_compared_with_the_features(
    project: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, planted = project
    calm = next(record for record in planted.part("test") if not record.is_anomalous)
    labels = str(tmp_path / "m.jsonl")
    for by, code in ((0, 0), (10, 0), (-16, 0), (17, 1)):
        changed = replace(calm, num_frames=(calm.num_frames or 0) + by)
        write_manifest(labels, [changed if record is calm else record for record in planted.records])
        assert exit_code(folder, monkeypatch, "--labels", labels, "--json") == code
        shown = capsys.readouterr()
        assert (f"{calm.id!r} ({by:+d})" in shown.err) == (by != 0)
        if not code:
            assert json.loads(shown.out)["length_differences"] == ({calm.id: -by} if by else {})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--split", "tset"), "--split: got 'tset'"),
        (("--order", "x.list"), "pass --annotations"),
        (("--out", "x", "--csv", "./x"), "--out and --csv are the same file"),
        (("--per-video", "runs"), "--per-video runs: runs is a folder"),
        (("--latex", "manifest.jsonl/x.tex"), "manifest.jsonl is no folder"),
    ],
)
def test_a_wrong_request_ends_before_anything_is_scored(
    project: tuple[Path, Planted],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: Sequence[str],
    said: str,
) -> None:
    monkeypatch.setattr(evaluate_run, "evaluate", lambda *_: pytest.fail("scored"))
    assert exit_code(project[0], monkeypatch, *arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_figures_are_shown_even_where_the_files_cannot_be_written(
    project: tuple[Path, Planted],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    form: Sequence[str],
) -> None:
    def full(*_: object) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(evaluate_run, "atomic_write", full)
    assert exit_code(project[0], monkeypatch, "--out", "new/figures.json", *form) == 1
    assert "AP" in capsys.readouterr().out.replace("frame_ap", "AP")
