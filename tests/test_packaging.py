"""The wheel holds the whole package and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import vadpipe

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel of a copy of the tree, built without the package index."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "vadpipe", copy / "vadpipe", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "tests").mkdir()
    (copy / "tests" / "__init__.py").touch()  # what must not get in
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "!!" not in done.stdout + done.stderr  # how setuptools frames its warnings
    (path,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    return Parser().parsestr(wheel.read(f"{dist_info()}/METADATA").decode())


def dist_info() -> str:
    return f"vadpipe-{vadpipe.__version__}.dist-info"


def test_wheel_holds_every_file_of_the_package_and_no_other(wheel: zipfile.ZipFile) -> None:
    files = [path for path in (ROOT / "vadpipe").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    inside = {name for name in wheel.namelist() if not name.startswith(f"{dist_info()}/")}
    assert inside == {str(path.relative_to(ROOT)) for path in files}
    assert "vadpipe/py.typed" in inside
    assert "vadpipe/schemas/intervals-1.json" in inside


def test_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    entry_points = ConfigParser()
    entry_points.read_string(wheel.read(f"{dist_info()}/entry_points.txt").decode())
    assert dict(entry_points["console_scripts"]) == {"vadpipe": "vadpipe.cli:main"}


def test_wheel_says_its_licence_and_carries_it(wheel: zipfile.ZipFile, metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert wheel.read(f"{dist_info()}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_version_is_the_same_in_the_package_and_its_metadata(metadata: Message) -> None:
    assert metadata["Version"] == vadpipe.__version__


def test_core_install_needs_no_extra(metadata: Message) -> None:
    required = [text for text in metadata.get_all("Requires-Dist", []) if "extra ==" not in text]
    names = {text.split(">=")[0].split("<")[0] for text in required}
    assert "torch" in names
    assert names.isdisjoint({"decord", "torchcodec", "ray", "torchaudio", "pytest", "setuptools"})
