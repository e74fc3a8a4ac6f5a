"""Grids: what a file may say, that finished rows are not run again, that a failed row costs itself, and the tables."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.pipeline.heads import small_inputs
from tests.pipeline.planted import CLASSES, SPEC, plant, plant_audio
from vadpipe.cli import cli
from vadpipe.config import RunConfig
from vadpipe.errors import UsageError
from vadpipe.manifest import VideoRecord, write_manifest
from vadpipe.models.checkpoint import load_head
from vadpipe.pipeline.training import grid as train_grid
from vadpipe.pipeline.training import run as train_run
from vadpipe.pipeline.training.bags import Bags
from vadpipe.pipeline.training.data import TrainingData
from vadpipe.pipeline.training.grid import GridResult, GridRun
from vadpipe.pipeline.training.grid_file import GridOptions, Plan, PlannedRow, count_runs, plan_grids
from vadpipe.pipeline.training.grid_table import COLUMNS, footer, grid_csv, grid_latex, grid_rows, over_seeds
from vadpipe.pipeline.training.run import Prepared
from vadpipe.pipeline.training.teacher import Teacher

BASE = """
stream = "planted"
[model]
dim = 32
heads = 4
memory_blocks = 1
[train]
lr = 2e-3
batch_size = 8
epochs = 1
"""
STUDENT = 'head = "avadclip_student"\nstream = "planted"\n[model]\ndim = 32\nlayers = 1\n[train]\nepochs = 1\n'
TEACHER = 'audio_stream = "sound"\n' + STUDENT.replace("_student", "")


def row(name: str, *sets: str, **more: str) -> str:
    told = "".join(f'{key} = "{value}"\n' for key, value in {"name": name, **more}.items())
    return f"[[row]]\n{told}set = {json.dumps(sets)}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with both streams, bases, and a small text tower in place of CLIP's."""
    planted = plant(tmp_path / "features", 24)
    plant_audio(planted)
    write_manifest(tmp_path / "manifest.jsonl", planted.records)
    for name, text in (("base", BASE), ("av", TEACHER), ("av_student", STUDENT)):
        (tmp_path / f"{name}.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_grid, "prepare", prepared)
    monkeypatch.setattr(train_run, "draw_training_curve", lambda *_: None)  # half the time of these short runs
    return tmp_path


def prepared(data: TrainingData, _device: str) -> Prepared:
    def bags(records: Sequence[VideoRecord]) -> Bags:
        return Bags(data.store, data.spec, records, CLASSES, audio_spec=data.audio_spec)

    teacher = None
    if data.teacher is not None:
        both = Bags(data.store, data.teacher.spec, data.train, CLASSES, audio_spec=data.teacher.audio_spec)
        teacher = Teacher(data.teacher, both, data.audio_spec is not None)
    inputs = replace(small_inputs(), video_dim=SPEC.dim)
    val = bags(data.val) if data.val else None
    return Prepared(bags(data.train), val, bags(data.test), inputs, teacher, "small", "")


def train(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["train", "--labels", "manifest.jsonl", "--device", "cpu", *arguments])


def weights(folder: Path) -> dict[str, str]:
    return {path.parent.name: load_head(path.parent).sha256 for path in sorted(folder.glob("*/config.json"))}


def test_rows_are_trained_once_measured_and_tabled(project: Path) -> None:
    (project / "one.toml").write_text(
        'title = "Table 1"\nconfig = "base.toml"\n' + row("none", "model.vision_prompt=false") + row("full")
    )
    (project / "two.toml").write_text('config = "base.toml"\nseeds = [7]\n' + row("=all_") + row("r", "train.lr=1e-3"))
    grids = ("--grid", "one.toml", "--grid", "two.toml", "--seeds", "2")
    ended = train(*grids)
    assert ended.exit_code == 0, ended.output
    made = weights(project / "runs" / "grid")
    assert len(made) == 6  # three different settings, two seeds; "=all_" is "full"
    assert "run 6 of 6: r, seed 1: trained, AP" in ended.stderr
    assert "s to go" in ended.stderr
    assert ended.stderr.count("train: ") == 1  # what all rows share is said once
    for text in ("Table 1", "AVG", "±", "measured on 4 test videos", "epochs of 4 runs: selected by frame_ap on"):
        assert text in ended.stdout, text
    times = {path: path.stat().st_mtime_ns for path in (project / "runs" / "grid").glob("*/model.safetensors")}
    again = train(*grids, "--json")
    assert again.exit_code == 0, again.output
    assert "trained, AP" not in again.stderr
    assert all(path.stat().st_mtime_ns == then for path, then in times.items())
    first, second = json.loads(again.stdout)["grids"]
    assert first == json.loads((project / "runs" / "grid" / "one.json").read_text())
    assert [item["name"] for item in first["rows"]] == ["none", "full"]
    assert first["rows"][1]["mean"] == second["rows"][0]["mean"] != first["rows"][0]["mean"]
    for item in (*first["rows"], *second["rows"]):
        for run in item["runs"]:
            told = json.loads((project / run["run"] / "evaluation.json").read_text())
            assert told["frame_ap"] == run["figures"]["frame_ap"]
            assert load_head(project / run["run"]).provenance["seed"] == run["seed"]
    with (project / "runs" / "grid" / "two.csv").open() as file:
        assert [(line["row"], line["seeds"], line["failed"]) for line in csv.DictReader(file)] == [
            ("'=all_", "2", "0"),
            ("r", "2", "0"),
        ]
    assert r"=all\_ & $" in (project / "runs" / "grid" / "two.tex").read_text()


def test_a_failed_row_costs_itself(project: Path) -> None:
    (project / "grid.toml").write_text(row("bad", "train.warmup_steps=999999") + row("good"))
    ended = train("--grid", "grid.toml", "--config", "base.toml", "-q")
    assert ended.exit_code == 3, ended.output
    assert "failed: run 1 of 2: bad, seed 0: train.warmup_steps: got 999999" in ended.stderr
    assert "bad (0 of 1 seeds)" in ended.stdout
    assert "failed: bad, seed 0: train.warmup_steps" in ended.stdout
    assert len(weights(project / "runs" / "grid")) == 1
    (project / "grid.toml").write_text(row("bad", "train.warmup_steps=999999"))
    assert train("--grid", "grid.toml", "--config", "base.toml", "-q").exit_code == 1
    kept = (project / "runs" / "grid" / "grid-base.csv").read_text()
    assert kept.startswith("row,seeds,failed,selection,")
    assert kept.splitlines()[1].startswith("bad,0,1,,,")


def test_students_learn_from_the_run_of_their_own_seed(project: Path) -> None:
    audio = ("model.modality=audio", "audio_stream={audio_stream}")
    student = {"config": "{base}_student.toml", "teacher": "both"}
    (project / "grid.toml").write_text(
        'config = "av.toml"\n'
        + row("sound", *audio, **student)
        + row("picture", "audio_stream=", **student)
        + row("alone", "audio_stream=", "model.distill=none", config="{base}_student.toml")
        + row("both")
        + row("bad", "train.warmup_steps=999999")
        + row("orphan", "audio_stream=", "train.lr=1e-4", config="{base}_student.toml", teacher="bad")
    )
    ended = train("--grid", "grid.toml", "--seeds", "3,", "--json", "-q")
    assert ended.exit_code == 3, ended.output
    assert "orphan, seed 3: its teacher, the row 'bad', failed" in ended.stderr
    rows = {item["name"]: item["runs"][0] for item in json.loads(ended.stdout)["grids"][0]["rows"]}
    teacher = load_head(project / rows["both"]["run"])
    heads = {name: load_head(project / rows[name]["run"]) for name in ("sound", "picture", "alone")}
    assert [heads[name].provenance.get("teacher_sha256") for name in heads] == [teacher.sha256, teacher.sha256, None]
    assert [bool(head.audio_spec) for head in heads.values()] == [True, False, False]
    assert list(rows) == ["sound", "picture", "alone", "both", "bad", "orphan"]


def test_seed_0_is_a_seed(project: Path) -> None:
    (project / "grid.toml").write_text('config = "base.toml"\nseeds = [1, 2]\n' + row("full"))
    ended = train("--grid", "grid.toml", "--seed", "0", "-q")
    assert ended.exit_code == 0, ended.output
    assert [name.rpartition("-")[2] for name in weights(project / "runs" / "grid")] == ["seed0"]


def test_test_videos_are_looked_for_before_anything_is_trained(project: Path) -> None:
    (project / "grid.toml").write_text(row("good"))
    grid = ("--grid", "grid.toml", "--config", "base.toml")
    records = plant(project / "other", 24).records
    write_manifest(project / "train.jsonl", [replace(item, split="train") for item in records if item.split != "test"])
    write_manifest(project / "blind.jsonl", [replace(item, intervals=()) for item in records if item.split == "test"])
    for arguments, said in (
        (("--labels", "train.jsonl"), "no record has split = test; .* or pass --test-labels"),
        (("--labels", "train.jsonl", "--test-labels", "train.jsonl"), "test videos are training videos too"),
        (("--labels", "train.jsonl", "--test-labels", "blind.jsonl"), "pass --test-annotations"),
        (("--stream", "nowhere"), "--stream nowhere: 0 fit"),
    ):
        with pytest.raises(Exception, match=said):
            raise train(*grid, *arguments).exception or AssertionError
    assert not (project / "runs").exists()
    write_manifest(project / "test.jsonl", [item for item in records if item.split == "test"])
    apart = ("--labels", "train.jsonl", "--test-labels", "test.jsonl", "--test-features", "other", "--out", "mine")
    ended = train(*grid, *apart, "--seed", "4")
    assert ended.exit_code == 0, ended.output
    assert [name.rpartition("-")[2] for name in weights(project / "mine")] == ["seed4"]
    assert "percent, one run, seed 4" in ended.stdout


def test_a_table_of_epochs_chosen_on_test_says_so(project: Path) -> None:
    (project / "grid.toml").write_text('config = "base.toml"\n' + row("full"))
    ended = train("--grid", "grid.toml", "--select", "paper-test")
    assert ended.exit_code == 0, ended.output
    assert "WARNING: paper-test" in ended.stderr
    assert "WARNING: the TEST set chose epochs" in ended.stdout
    assert "chose no epoch" not in ended.stdout
    assert "TEST set" in (project / "runs" / "grid" / "grid.tex").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"no \[\[row\]\]"),
        ("[[row", "grid.toml: "),
        ("sedes = [1]\n" + row("a"), r"unknown setting sedes; known here: config, row, seeds, title"),
        (row("a", color="red"), r"unknown setting row\.color"),
        (row(""), "row name: got ''"),
        (row("a\\nb"), "row name"),
        (row("a") + row("b") + row("a"), "row name 'a' is there 2 times"),
        ("seeds = [1, 1]\n" + row("a"), "seeds: got"),
        ("seeds = [true]\n" + row("a"), "seeds: got True, expected int"),
        (row("a", "modle.dim=4"), r"row 'a': unknown setting modle"),
        (row("a", config="none.toml"), "row 'a': config file .*none.toml does not exist"),
        (row("a", config="{base}_student.toml"), "there is no base"),
        (row("a", "audio_stream={audio_stream}"), "the base settings have no audio_stream"),
        (row("a", teacher="b"), "teacher 'b' is no row of this grid"),
        (row("a", teacher="a"), "teacher 'a' is no row of this grid"),
        (row("a") + row("b", teacher="a"), "row 'b': teacher 'a', but lec_vad with these settings learns from no"),
        (row("a", "head=avadclip_student"), "give the row a teacher, or pass --teacher RUN"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "grid.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        plan_grids([tmp_path / "grid.toml"], GridOptions())


def test_wrong_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"grid file none\.toml does not exist"):
        plan_grids([Path("none.toml")], GridOptions())
    Path("a.toml").write_text(row("x"))
    with pytest.raises(UsageError, match="a is there twice"):
        plan_grids([Path("a.toml"), Path("a.toml")], GridOptions())
    assert "--test-labels belongs to --grid" in train("--test-labels", "x.csv").output
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "without torchrun" in str(train("--grid", "a.toml").exception)


def test_what_is_under_a_row_comes_in_this_order(tmp_path: Path) -> None:
    """File or --config, then --set, then the row; equal settings are one run, whatever their name."""
    (tmp_path / "base.toml").write_text("[train]\nepochs = 5\nlr = 0.5\nbatch_size = 7\n")
    (tmp_path / "grid.toml").write_text(
        'config = "base.toml"\nseeds = [1, 2]\n' + row("a", "train.lr=0.25") + row("b", "train.epochs=3") + row("c")
    )
    (plan,) = plan_grids([tmp_path / "grid.toml"], GridOptions(overrides=("train.epochs=3", "train.lr=0.125")))
    first, second, third = (item.config.train for item in plan.rows)
    assert (first.epochs, first.lr, first.batch_size) == (3, 0.25, 7)
    assert (second.lr, second) == (0.125, third)
    assert plan.rows[1].key == plan.rows[2].key != plan.rows[0].key
    assert (plan.seeds, count_runs([plan]), plan.name) == ((1, 2), 4, "grid")
    (tmp_path / "other.toml").write_text("[train]\nbatch_size = 9\n")
    (plan,) = plan_grids([tmp_path / "grid.toml"], GridOptions(config=tmp_path / "other.toml", seeds=(5,)))
    assert [item.config.train.batch_size for item in plan.rows] == [9, 9, 9]
    assert (plan.rows[0].config.train.epochs, plan.seeds, plan.name) == (10, (5,), "grid-other")
    assert plan.rows[0].folder(Path("x"), 5) == Path("x") / f"lec_vad-{plan.rows[0].key}-seed5"


def made(seed: int, ap: float | None, failure: str = "") -> GridRun:
    figures = {} if failure else {**dict.fromkeys(COLUMNS, 0.25), "frame_ap": ap, "frame_auc": None}
    said = "" if failure else f"epoch {seed + 1} of 9, selected by frame_ap on 20 validation videos"
    return GridRun(seed, Path(f"run-{seed}"), said, figures, 5, failure)


RESULT = GridResult(
    Plan("t", "Title", tuple(PlannedRow(name, RunConfig(), "0") for name in ("=a_b", "c", "d")), (0, 1)),
    {
        "=a_b": (made(0, 0.5), made(1, 0.7)),
        "c": (made(0, 0.125), made(1, None, "why")),
        "d": (made(0, None, "no"), made(1, None, "no")),
    },
)


def test_tables_by_hand() -> None:
    """0.5 and 0.7: mean 0.6, sample deviation 0.1 x sqrt 2."""
    assert over_seeds(RESULT.runs["=a_b"], "frame_ap") == pytest.approx((0.6, 0.02**0.5))
    rows = grid_rows(RESULT)
    assert rows[0] == ["=a_b", "60.00 ± 14.14", "–", *["25.00 ± 0.00"] * 7]
    assert rows[1] == ["c (1 of 2 seeds)", "12.50", "–", *["25.00"] * 7]
    assert rows[2] == ["d (0 of 2 seeds)", *["–"] * 9]
    lines = list(csv.DictReader(io.StringIO(grid_csv(RESULT))))
    assert [(line["row"], line["seeds"], line["failed"]) for line in lines] == [
        ("'=a_b", "2", "0"),
        ("c", "1", "1"),
        ("d", "0", "2"),
    ]
    assert [(line["frame_ap_mean"], line["frame_ap_sd"]) for line in lines] == [
        ("0.600000", "0.141421"),
        ("0.125000", ""),
        ("", ""),
    ]
    assert lines[0]["selection"] == "selected by frame_ap on 20 validation videos"
    text = grid_latex(RESULT)
    assert r"=a\_b & $60.00 \pm 14.14$ & -- & $25.00 \pm 0.00$" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in body if "multicolumn" not in line} == {len(COLUMNS)}
    assert "% failed: d, seed 1: no" in text


def test_the_footer_says_what_chose_the_epochs() -> None:
    lines = footer(RESULT)
    assert "percent, mean ± sample standard deviation over the seeds 0, 1" in lines
    assert "epochs of 3 runs: selected by frame_ap on 20 validation videos" in lines
    assert "the test videos chose no epoch; the table is only a report" in lines
    assert [line for line in lines if line.startswith("failed")] == [
        "failed: c, seed 1: why",
        "failed: d, seed 0: no",
        "failed: d, seed 1: no",
    ]
    taught = replace(made(0, 0.5), selection="epoch 9 of 9, selected on x; its teacher was chosen on the TEST set")
    lines = footer(replace(RESULT, runs={"c": (taught,)}))
    assert "epochs of 1 run: selected on x; its teacher was chosen on the TEST set" in lines
    assert "WARNING: the TEST set chose epochs of these runs or their teachers; no honest estimates" in lines
    last = replace(made(0, 0.5), selection="epoch 9 of 9, the last epoch, selected on nothing")
    assert "epochs of 1 run: the last epoch, selected on nothing" in footer(replace(RESULT, runs={"c": (last,)}))
