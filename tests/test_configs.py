"""Recipes and grids: every file loads, so does every line that its head offers, and the papers' values are in them."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from vadpipe.config import RunConfig, head_config, load_config
from vadpipe.datasets import DATASETS
from vadpipe.extractors import EXTRACTORS
from vadpipe.head_config import AVadClipConfig, AVadClipStudentConfig, LecVadConfig, VadClipConfig
from vadpipe.pipeline.training.grid_file import GridOptions, plan_grids, read_grid

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))
GRIDS = sorted((ROOT / "configs" / "grids").glob("*.toml"))
AS_SET = {"--stream": "stream", "--select": "train.select", "--head": "head"}


def offered(path: Path) -> list[tuple[str, list[str], list[str]]]:
    """(line, overrides, files) of every line of a file's head that holds options to add to the command."""
    found = []
    for line in path.read_text().splitlines():
        options = line.startswith("#") and re.search(r"(?<!\S)--(set|stream|select|head|config|grid)\s.*", line)
        if not options:
            continue
        words = shlex.split(options[0].rstrip("."))
        pairs = [(word, value) for word, value in itertools.pairwise(words) if word.startswith("--")]
        sets = [value if word == "--set" else f"{AS_SET[word]}={value}" for word, value in pairs if takes_value(word)]
        files = [value for word, value in pairs if word in ("--config", "--grid") and value.endswith(".toml")]
        found.append((line, sets, files))
    return found


def takes_value(word: str) -> bool:
    return word == "--set" or word in AS_SET


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_offered_line_is_a_setting_that_loads_and_changes_something(path: Path) -> None:
    plain, lines = load_config(path), offered(path)
    assert len(lines) >= 2 or path.stem == "lec_vad_small"
    for line, sets, files in lines:
        sets = [text for text in sets if "NAME" not in text]
        if sets:
            assert load_config(path, sets) != plain, line
        for name in files:
            assert (ROOT / name).is_file(), line


@pytest.mark.parametrize("path", [*CONFIGS, *GRIDS], ids=lambda path: path.name)
def test_files_are_readable_in_a_terminal_and_name_files_that_exist(path: Path) -> None:
    text = path.read_text()
    assert max(len(line) for line in text.splitlines()) <= 120
    for name in re.findall(r"(?:configs|docs)/[\w/.-]+\.(?:toml|md)", text):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_no_recipe_promises_what_is_not_there(path: Path) -> None:
    """Sound has no encoder here, so it is imported; and no offered weight of UKD is above the released one."""
    text, sound = path.read_text(), load_config(path).audio_stream
    if sound and sound not in EXTRACTORS and "vadpipe extract" in text:
        assert "vadpipe import features" in text
    for line, sets, _ in offered(path):
        for told in sets:
            key, _, value = told.partition("=")
            assert key != "model.distill_weight" or float(value) <= 1e-8, line


def config(name: str) -> RunConfig:
    return load_config(ROOT / "configs" / f"{name}.toml")


def schedule(name: str) -> tuple[object, ...]:
    train = config(name).train
    return train.lr, train.batch_size, train.epochs, train.balanced, train.schedule, train.step_epochs


def test_lec_vads_values_are_the_papers() -> None:
    for name in ("lec_vad_xd", "lec_vad_ucf"):
        assert isinstance(config(name).model, LecVadConfig)
        assert config(name).model == LecVadConfig()
        assert schedule(name)[:3] == (3e-5, 64, 10)
        assert config(name).train.schedule == "constant"
    assert config("lec_vad_ucf").train.balanced


def test_values_of_the_two_branch_heads_are_those_of_the_released_training() -> None:
    xd = (1e-5, 96, 10, False, "step", (3, 6, 10))
    for name in ("avadclip_xd", "avadclip_xd_student", "avadclip_cctv", "vadclip_xd"):
        assert schedule(name) == xd, name
    assert schedule("vadclip_ucf") == (2e-5, 128, 10, True, "step", (4, 8))  # 64 normal and 64 anomalous videos
    settings = {
        "avadclip_xd": (AVadClipConfig, 2, 4, "alignment", 1e-4),
        "avadclip_cctv": (AVadClipConfig, 2, 4, "alignment", 1e-4),
        "avadclip_xd_student": (AVadClipStudentConfig, 1, 64, "alignment", 1e-4),
        "vadclip_ucf": (VadClipConfig, 2, 8, "binary", 0.1),
        "vadclip_xd": (VadClipConfig, 1, 64, "alignment", 1e-4),
    }
    for name, (kind, *values) in settings.items():
        model: Any = config(name).model
        assert head_config(config(name).head) is kind
        assert [model.layers, model.window, model.score, model.text_weight] == values, name
        assert (model.max_snippets, model.tau, model.prompt_prefix, model.zero_init) == (256, 0.07, 10, False), name
    student = config("avadclip_xd_student").model
    assert isinstance(student, AVadClipStudentConfig)
    assert (student.distill, student.distill_weight) == ("ukd", 1e-8)


@pytest.mark.parametrize("path", [path for path in CONFIGS if "small" not in path.name], ids=lambda path: path.name)
def test_classes_are_the_data_sets(path: Path) -> None:
    dataset = {"xd": "xd_violence", "ucf": "ucf_crime", "cctv": "cctv_fights"}[
        path.stem.split("_student")[0].split("_")[-1]
    ]
    assert load_config(path).classes == DATASETS[dataset].classes


PUBLISHED_ROWS = {
    "lec_vad_table5": ["30.17", "33.23", "34.94"],
    "lec_vad_table6": ["30.04", "32.49", "33.51", "34.94"],
    "lec_vad_table7": ["28.90", "32.73", "32.53", "34.94"],
    "avadclip_table4": ["27.89", "26.63", "26.79", "28.61"],
    "avadclip_table5": ["10.51", "27.66", "28.88", "28.61"],
    "avadclip_table6": ["12.20", "13.50", "22.92", "27.44", "28.61"],
}


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.name)
def test_every_grid_plans_and_its_rows_carry_the_published_averages(path: Path) -> None:
    (plan,) = plan_grids([path], GridOptions())
    assert plan.name == path.stem
    assert f"vadpipe train --grid configs/grids/{path.name}" in path.read_text()
    if path.stem in PUBLISHED_ROWS:
        assert [name[-5:] for name in re.findall(r"^name = .*$", path.read_text(), re.M)] == PUBLISHED_ROWS[path.stem]
        assert len({row.key for row in plan.rows}) == len(plan.rows)


def test_every_published_table_has_its_grid() -> None:
    assert {path.stem for path in GRIDS} == {*PUBLISHED_ROWS, "lec_vad_figure5"}


def test_tables_of_a_paper_share_the_full_model() -> None:
    for head, base in (("lec_vad", "lec_vad_xd"), ("avadclip", "avadclip_xd")):
        plans = plan_grids([path for path in GRIDS if path.stem.startswith(head)], GridOptions())
        full = [row.key for plan in plans for row in plan.rows if row.config == config(base)]
        assert len(full) >= len(plans)
        assert len(set(full)) == 1


def test_figure_5_goes_through_the_papers_values_of_beta() -> None:
    (plan,) = plan_grids([ROOT / "configs" / "grids" / "lec_vad_figure5.toml"], GridOptions())
    models = [row.config.model for row in plan.rows if row.name.startswith("beta")]
    assert [model.gmm_beta for model in models if isinstance(model, LecVadConfig)] == [0.1, 0.3, 0.5, 0.7, 0.9]


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.name)
def test_every_grid_runs_on_small_data_with_other_streams(path: Path) -> None:
    base = "lec_vad_small" if path.stem.startswith("lec_vad") else "avadclip_small"
    sound = () if base == "lec_vad_small" else ("audio_stream=other",)
    options = GridOptions(ROOT / "configs" / f"{base}.toml", ("stream=mine", *sound))
    (plan,) = plan_grids([path], options)
    assert plan.name == f"{path.stem}-{base}"
    for row in plan.rows:
        assert (row.config.stream, row.config.train.select, row.config.train.lr) == ("mine", "last", 1e-4)
        assert row.config.audio_stream == ("other" if row.config.model.uses_audio else "")
    assert len(read_grid(path).row) == len(plan.rows)


def test_students_of_table_6_learn_from_the_audio_visual_row() -> None:
    (plan,) = plan_grids([ROOT / "configs" / "grids" / "avadclip_table6.toml"], GridOptions())
    teachers = {row.name: row.teacher.name if row.teacher else "" for row in plan.rows}
    assert [name for name, teacher in teachers.items() if teacher == "audio-visual model"] == [
        "audio model with UKD",
        "visual model with UKD",
    ]
    assert [row.name for row, _ in plan.runs()][-2:] == ["audio model with UKD", "visual model with UKD"]
