"""The layering of the package: who may import whom, imports inside functions included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "vadpipe").rglob("*.py"))

# A part imports only from parts on earlier lines, or from itself; so extractors and models never meet.
LINES = """
    class_names outside redact
    errors
    whole_file
    shapes_only
    spec sound
    tracks
    calibration
    detection
    __init__
    head_config
    config track_file
    manifest store
    datasets
    extractors models
    pipeline
    api_given
    api_model
    api
    cli_complete
    cli_options cli_output
    cli_grid
    cli_extract cli_import cli_checkpoint cli_train cli_evaluate cli_data cli_weights cli_features cli_store
    cli_detect cli_report
    cli_calibrate
    cli_doctor cli_completion
    cli
    __main__
"""
LINE_OF = {part: number for number, line in enumerate(LINES.split("\n")) for part in line.split()}
DECODERS = {"av", "decord", "torchcodec"}
LAZY = ("vadpipe/__init__.py", "api")  # its names are looked up when they are used; tests/test_api.py holds that
DECODING = ("vadpipe/extractors/decoders/", "vadpipe/extractors/tasks/")  # what runs only in children


def imported_modules(source: str) -> Iterator[str]:
    """Dotted names that a module imports; ``from vadpipe import x`` counts as ``vadpipe.x``."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=None) | ast.ImportFrom(level=1 | 2 | 3):
                yield "relative"
            case ast.ImportFrom(module="vadpipe", names=names):
                yield from (f"vadpipe.{a.name}" if a.name in LINE_OF else "vadpipe" for a in names)
            case ast.ImportFrom(module=str(name)):
                yield name
            case ast.Call(func=ast.Name(id="import_module" | "__import__"), args=[ast.Constant(value=str(name)), *_]):
                yield name
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
                yield name


def violations(path: str, source: str) -> list[str]:
    """What a module at ``path`` (as in ``vadpipe/store.py``) imports against the rules."""
    own = path.split("/")[1].removesuffix(".py")
    may_decode = path.startswith(DECODING) or path == "vadpipe/extractors/media_write.py"
    wrong = []
    for name in imported_modules(source):
        top, _, rest = name.partition(".")
        part = rest.partition(".")[0] or "__init__"
        upwards = top == "vadpipe" and part != own and LINE_OF[part] >= LINE_OF[own]
        if (upwards and (path, part) != LAZY) or name == "relative" or (top in DECODERS and not may_decode):
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("path", [str(path.relative_to(ROOT)) for path in SOURCES])
def test_a_module_imports_only_from_lower_layers(path: str) -> None:
    assert violations(path, (ROOT / path).read_text()) == []


def test_every_part_of_the_package_has_its_line() -> None:
    assert {path.relative_to(ROOT / "vadpipe").parts[0].removesuffix(".py") for path in SOURCES} <= set(LINE_OF)


@pytest.mark.parametrize(
    ("path", "source", "wrong"),
    [
        ("vadpipe/models/head.py", "from vadpipe.extractors.media import probe", ["vadpipe.extractors.media"]),
        ("vadpipe/extractors/clip.py", "def f():\n    import vadpipe.models", ["vadpipe.models"]),
        ("vadpipe/__init__.py", "from vadpipe.config import RunConfig", ["vadpipe.config"]),
        ("vadpipe/__init__.py", "from vadpipe import tracks, store", ["vadpipe.store"]),
        ("vadpipe/tracks.py", "import vadpipe", ["vadpipe"]),
        ("vadpipe/store.py", "from .models import layers", ["relative"]),
        ("vadpipe/pipeline/train.py", "if flag:\n    import av.container", ["av.container"]),
        ("vadpipe/pipeline/doctor.py", "importlib.import_module('decord')", ["decord"]),
        ("vadpipe/extractors/media.py", "from torchcodec import decoders", ["torchcodec"]),
        ("vadpipe/extractors/media_task.py", "import av", ["av"]),
        ("vadpipe/extractors/decoders/pyav.py", "import av", []),
        ("vadpipe/extractors/tasks/cut.py", "import av", []),
        ("vadpipe/pipeline/detect.py", "from vadpipe import __version__\nfrom vadpipe.models import head", []),
        ("vadpipe/datasets/folder.py", "from vadpipe.datasets import DATASETS", []),
    ],
)
def test_the_rules_tell_good_from_bad(path: str, source: str, wrong: list[str]) -> None:
    assert violations(path, source) == wrong
