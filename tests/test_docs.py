"""Documents that fail when they lie: the command page, the settings, the paths and commands that pages name."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

import vadpipe
from vadpipe.cli import cli
from vadpipe.config import TrainConfig, load_config
from vadpipe.extractors.weights_table import KNOWN
from vadpipe.head_config import LecVadConfig

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_command_page_is_what_help_says() -> None:
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs" / "make_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "cli.md").read_text() == module.page(), "run make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_life_of_a_clip_names_code_that_exists() -> None:
    text = (ROOT / "docs" / "life-of-a-clip.md").read_text()
    modules = list((ROOT / "vadpipe").rglob("*.py"))
    joined = "\n".join(path.read_text() for path in modules)
    named = re.findall(r"`([\w/]+\.py)(?::\s*([^`]+))?`", text)
    assert len(named) > 15
    for path, names in named:
        assert any(module.as_posix().endswith(f"/{path}") for module in modules) or (ROOT / path).is_file(), path
        for name in re.findall(r"[A-Za-z_]\w*", names or ""):
            assert re.search(rf"(def|class) {name}\b", joined), f"{path}: {name}"


def test_commands_in_the_readme_exist() -> None:
    for name in re.findall(r"^\s+(?:\.venv/bin/|\$run )?vadpipe (\w+)", (ROOT / "README.md").read_text(), re.M):
        assert name in cli.commands, name


def test_every_public_name_and_head_setting_is_explained() -> None:
    for name in vadpipe.__all__:
        assert hasattr(vadpipe, name)
    for kind in (LecVadConfig, TrainConfig):
        assert kind.__doc__ is not None
        for field in fields(kind):
            assert field.name in kind.__doc__, f"{kind.__name__}.{field.name} is not in its docstring"


def test_the_page_on_weights_is_what_the_table_says() -> None:
    rows = [row for row in (ROOT / "docs" / "weights.md").read_text().splitlines() if row.startswith("| `")]
    told = {tuple(cell.strip(" `<>") for cell in row.strip("|").split("|")) for row in rows}
    assert {(*row[:4], row[5]) for row in told} == {
        (name, known.stream, known.file_name, known.url, known.licence) for name, known in KNOWN.items()
    }
    assert all(row[4].startswith("published" if KNOWN[row[0]].sha256 else "recorded") for row in told)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_every_recipe_is_readable_and_says_how_to_run_it(path: Path) -> None:
    load_config(path)
    head = "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("#"))
    for word in ("Command", "Data", "Cost", "Published"):
        assert word in head, word
    assert f"--config configs/{path.name}" in head
    assert tomllib.loads(path.read_text())


def test_there_are_recipes() -> None:
    assert len(list((ROOT / "configs").glob("*.toml"))) >= 3
