"""``vadpipe report`` on saved heads: what is drawn, what is left out and why, what every figure warns of."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import torch
from click.testing import CliRunner, Result

from tests.pipeline.heads import INPUTS, small_config, small_inputs
from tests.pipeline.planted import CLASSES, CONFIG, SPEC, Planted, plant
from vadpipe.cli import cli
from vadpipe.config import RunConfig
from vadpipe.errors import CheckpointError, DataError, UsageError
from vadpipe.manifest import write_manifest
from vadpipe.models.checkpoint import TrainedHead, save_head
from vadpipe.models.heads import build_head
from vadpipe.pipeline import report as report_module
from vadpipe.pipeline.calibrating.file import CALIBRATION_FILE
from vadpipe.pipeline.figures import embedding as figures_embedding
from vadpipe.pipeline.figures.embedding import Embedding
from vadpipe.pipeline.reporting import draw as report_draw
from vadpipe.pipeline.reporting import runs as report_runs
from vadpipe.pipeline.reporting.record import SnippetRows

RUN_FIGURES = ["scores", "categories", "masks", "tsne", "ranking", "classes", "confusion"]


def save(folder: Path, seed: int, config: RunConfig = CONFIG, selection: str = "last epoch", **facts: Any) -> None:
    torch.manual_seed(seed)
    head = build_head(config, INPUTS if config is CONFIG else small_inputs()).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # away from the start at which all scores are equal
    save_head(folder, TrainedHead(head, config, SPEC, CLASSES, selection, {"seed": seed, **facts}))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    folder = tmp_path_factory.mktemp("project")
    planted = plant(folder / "features", 32)
    write_manifest(folder / "manifest.jsonl", planted.records)
    for seed in (0, 1):
        save(folder / "runs" / f"$a^{seed}", seed)
    save(folder / "runs" / "vc", 0, small_config("vadclip"), "epoch 3 of 5, selected by frame AP on the TEST set")
    return folder, planted


def report(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.chdir(folder)
    return CliRunner().invoke(cli, ["report", *arguments, "--labels", "manifest.jsonl", "--device", "cpu"])


def one_video(planted: Planted) -> tuple[str, str]:
    """Options that leave one panel to draw, of an anomalous video."""
    return "--videos", next(record.id for record in planted.part("test") if record.is_anomalous)


def flat(rows: SnippetRows, _seed: int) -> Embedding:
    """The first two columns in place of a t-SNE, which takes its time."""
    return Embedding(rows.categories, rows.before[:, :2], rows.after[:, :2], None)


def test_two_seeds_give_every_figure_of_runs(
    project: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    few = (*one_video(project[1]), "--format", "svg")
    ended = report(project[0], monkeypatch, "runs/$a^0", "runs/$a^1", *few, "--out", str(out), "--json")
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    assert [figure["figure"] for figure in told["figures"]] == RUN_FIGURES
    assert (told["left_out"], told["runs"]) == ({}, ["$a^0", "$a^1"])
    files = [Path(name) for figure in told["figures"] for name in figure["files"]]
    assert sorted(path.name for path in out.iterdir()) == sorted([*(path.name for path in files), "figures.md"])
    for path in files:
        assert any("".join(item.itertext()) for item in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")), path
    captions = {figure["figure"]: figure["caption"] for figure in told["figures"]}
    assert "$a^ (2 seeds)" in captions["scores"]
    assert "band goes from the lowest to the highest" in captions["ranking"]
    index = (out / "figures.md").read_text()
    assert r"\$a^0" in index
    assert all(f"]({path.name})" in index for path in files)
    only = ("--only", "tsne", "--only", "scores", "--out", str(tmp_path / "again"))
    again = report(project[0], monkeypatch, "runs/$a^0", "runs/$a^1", *few, *only)
    assert again.exit_code == 0, again.output
    for name in ("tsne.svg", "scores.svg"):
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_a_head_without_mixture_is_drawn_without_masks_and_warns_of_its_selection(
    project: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(figures_embedding, "embed", flat)
    ended = report(project[0], monkeypatch, "runs/vc", *one_video(project[1]), "--format", "svg", "--out", str(out))
    assert ended.exit_code == 0, ended.output
    assert "left out: masks: only LEC-VAD has a Gaussian mixture prior; the head is vadclip" in ended.stderr
    assert "ranking.svg" in ended.stdout
    assert not (out / "masks.svg").exists()
    for name in [name for name in RUN_FIGURES if name != "masks"]:
        assert "WARNING: the TEST set chose" in (out / f"{name}.svg").read_text(), name
    assert "masks (Gaussian mixture prior against raw scores): only LEC-VAD" in (out / "figures.md").read_text()


def test_a_figure_that_was_named_and_does_not_apply_is_an_error_after_the_others(
    project: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = ("--only", "masks", "--only", "confusion", "--format", "png", "--out", str(tmp_path))
    ended = report(project[0], monkeypatch, "runs/vc", *only)
    assert isinstance(ended.exception, DataError)
    assert "figure masks does not apply: only LEC-VAD" in str(ended.exception)
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def no_sklearn() -> None:
    raise UsageError("t-SNE needs scikit-learn")


def test_without_scikit_learn_a_named_tsne_costs_itself_only(
    project: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_module, "require_sklearn", no_sklearn)
    only = ("--only", "tsne", "--only", "confusion", "--format", "svg", "--out", str(tmp_path))
    ended = report(project[0], monkeypatch, "runs/vc", *only)
    assert isinstance(ended.exception, DataError)
    assert "figure tsne does not apply: t-SNE needs scikit-learn" in str(ended.exception)
    assert {path.name for path in tmp_path.iterdir()} == {"confusion.svg", "figures.md"}
    monkeypatch.setattr(report_runs, "score_videos", None)  # nothing is left to score
    ended = report(project[0], monkeypatch, "runs/vc", *only[:2], *only[4:])
    assert "t-SNE needs scikit-learn" in str(ended.exception)


def test_every_run_is_checked_before_one_is_scored(
    project: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_runs, "score_videos", None)
    copy = tmp_path / "copy"
    shutil.copytree(project[0] / "runs" / "vc", copy)
    ended = report(project[0], monkeypatch, "runs/vc", str(copy), "--out", str(tmp_path / "out"))
    assert isinstance(ended.exception, UsageError)
    assert "vc and copy hold the same head" in str(ended.exception)
    (copy / "model.safetensors").write_bytes(b"damaged")
    ended = report(project[0], monkeypatch, "runs/vc", str(copy), "--out", str(tmp_path / "out"))
    assert isinstance(ended.exception, CheckpointError)


def test_a_calibration_beside_a_run_changes_nothing_and_that_is_said(
    project: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(project[0] / "runs" / "vc", run)
    (run / CALIBRATION_FILE).write_text("{}")
    only = ("--only", "confusion", "--format", "svg", "--out", str(tmp_path / "out"))
    ended = report(project[0], monkeypatch, str(run), *only)
    assert ended.exit_code == 0, ended.output
    assert "note: run: figures show scores and intervals without the calibration" in ended.stderr
    assert "without a calibration" in (tmp_path / "out" / "figures.md").read_text()


def test_different_heads_are_curves_of_one_picture_and_pictures_of_their_own(
    project: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = [part for name in ("ranking", "confusion") for part in ("--only", name)]
    ended = report(project[0], monkeypatch, "runs/$a^0", "runs/vc", *only, "--format", "svg", "--out", str(tmp_path))
    assert ended.exit_code == 0, ended.output
    names = {"ranking.svg", "confusion-1-a-0.svg", "confusion-2-vc.svg", "figures.md"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert "vc: WARNING: the TEST set chose" in (tmp_path / "ranking.svg").read_text()
    assert "WARNING" not in (tmp_path / "confusion-1-a-0.svg").read_text()


def test_without_annotations_what_needs_them_is_left_out_with_one_message(
    project: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, planted = project
    rows = [f"{record.id},{min(record.labels)}" for record in planted.part("test")]
    (tmp_path / "labels.csv").write_text("\n".join(["video,label", *rows]) + "\n")
    monkeypatch.chdir(tmp_path)
    places = ["--features", str(folder / "features"), "--labels", "labels.csv", "--device", "cpu", "--format", "svg"]
    places += one_video(planted)
    ended = CliRunner().invoke(cli, ["report", str(folder / "runs" / "$a^0"), *places])
    assert ended.exit_code == 0, ended.output
    for name in ("tsne", "ranking", "classes"):
        lines = [line for line in ended.stderr.splitlines() if line.startswith(f"left out: {name}: ")]
        assert len(lines) == 1
        assert "pass --annotations" in lines[0]
    assert "truth not known" in Path("figures/scores.svg").read_text()
    assert Path("figures/confusion.svg").is_file()


def test_a_grid_needs_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"name": f"beta = {v}", "runs": [{"figures": {"frame_ap": v}}]} for v in (0.1, 0.9)]
    rows.append({"name": "all", "runs": [{"figures": {"frame_ap": 0.3}}]})
    (tmp_path / "g.json").write_text(json.dumps({"grid": "g", "title": "G", "seeds": [0], "rows": rows}))
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(cli, ["report", "--only", "grid", "--grid", ".", "--format", "png,svg"])
    assert ended.exit_code == 0, ended.output
    written = {path.name for path in Path("figures").iterdir()}
    assert written == {
        "figures.md",
        *(f"grid-g-{part}.{kind}" for part in ("curves", "rows") for kind in ("png", "svg")),
    }
    assert "whether the encoders of 3 runs were trained is not known" in Path("figures/grid-g-curves.svg").read_text()


def test_grids_whose_names_are_alike_have_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "ablation-of-a-name-that-is-longer-than-its-file-beta",
        "ablation-of-a-name-that-is-longer-than-its-file-mu",
    ]
    for value, name in enumerate((*names, "火", "打"), 1):
        rows = [{"name": "a", "runs": [{"figures": {"frame_ap": value / 10}}]}]
        (tmp_path / f"{name}.json").write_text(json.dumps({"grid": "g", "seeds": [0], "rows": rows}))
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(cli, ["report", "--only", "grid", "--grid", ".", "--format", "svg"])
    assert ended.exit_code == 0, ended.output
    files = sorted(Path("figures").glob("*.svg"))
    assert len({path.read_bytes() for path in files}) == 4
    monkeypatch.setattr(report_draw, "file_part", lambda _name: "x")
    monkeypatch.setattr(
        report_draw, "enumerate", lambda tables, _start: ((1, table) for table in tables), raising=False
    )
    ended = CliRunner().invoke(cli, ["report", "--only", "grid", "--grid", ".", "--format", "svg", "--out", "again"])
    assert "two figures would be grid-1-x-rows" in str(ended.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("runs/vc", "--only", "heatmap"), "--only heatmap: no such figure; expected scores"),
        (("runs/vc", "--only", "grid"), "pass --grid with its folder"),
        (("runs/vc", "--grid", "gone"), "--grid gone: no such folder"),
        (("runs/vc", "--format", "bmp"), "--format: got 'bmp'"),
        (("runs/vc", "--format", ","), "--format: got ','"),
        (("runs/vc", "runs/vc"), "the same run folder is given twice"),
        (("runs/vc", "--videos", "nobody"), "--videos nobody: not among the"),
        (("runs/vc", "--out", "manifest.jsonl"), "cannot be made a folder"),
        (("gone",), "RUN gone: no trained head there"),
        ((), "several trained heads under runs"),
    ],
)
def test_wrong_requests_are_refused_before_anything_is_drawn(
    project: tuple[Path, Planted], monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    ended = report(project[0], monkeypatch, *arguments)
    assert isinstance(ended.exception, UsageError)
    assert message in str(ended.exception)
    assert not (project[0] / "figures").exists() or not list((project[0] / "figures").iterdir())


def test_the_videos_that_were_named_are_shown_in_their_order(
    project: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [record.id for record in project[1].part("test")][:2][::-1]
    named = [part for name in ids for part in ("--videos", name)]
    ended = report(
        project[0], monkeypatch, "runs/vc", "--only", "scores", *named, "--format", "svg", "--out", str(tmp_path)
    )
    assert ended.exit_code == 0, ended.output
    text = (tmp_path / "scores.svg").read_text()
    assert 0 < text.index(ids[0]) < text.index(ids[1])
    assert "picked by hand" in (tmp_path / "figures.md").read_text()


def test_help_and_usage_errors_import_no_torch() -> None:
    code = (
        "import sys, click.testing as t; from vadpipe.cli import cli; "
        "r = t.CliRunner().invoke(cli, ['report', '--only', 'x']); assert 'no such figure' in str(r.exception); "
        "r = t.CliRunner().invoke(cli, ['report', '--help']); assert 'Draw the papers' in r.output; "
        "assert not {'torch', 'matplotlib', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
