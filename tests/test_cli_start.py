"""The command answers help and usage errors without loading what it does not need for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "torchvision",
    "open_clip",
    "av",
    "decord",
    "torchcodec",
    "matplotlib",
    "PIL",
    "h5py",
    "scipy",
    "timm",
}


def run(*arguments: str) -> tuple[int, str, set[str]]:
    """Exit code, standard output, and the top-level modules that ``python -m vadpipe`` imported."""
    command = [sys.executable, "-X", "importtime", "-m", "vadpipe", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [line.split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    return done.returncode, done.stdout, {row[-1].strip().partition(".")[0] for row in rows}


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [(("--help",), 0), (("--version",), 0), (("train", "--help"), 0), (("no-such-command",), 2)],
    ids=["help", "version", "command help", "usage error"],
)
def test_starts_without_the_heavy_libraries(arguments: tuple[str, ...], exit_code: int) -> None:
    code, _, imported = run(*arguments)
    assert code == exit_code
    assert "vadpipe" in imported  # the list was read at all
    assert imported & HEAVY == set()


def test_help_lists_the_commands() -> None:
    _, printed, _ = run("--help")
    assert all(command in printed for command in ("extract", "train", "evaluate", "detect", "demo", "doctor"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor", "--quick"),
        ("extract", "nowhere.mp4"),
        ("train",),
        ("train", "--set", "train.epoch=3"),
        ("evaluate",),
        ("detect", "nowhere.mp4"),
        ("import", "features", "nowhere", "--stream", "x"),
    ],
    ids=" ".join,
)
def test_doctor_and_mistakes_do_not_wait_for_torch(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    code, _, imported = run(*arguments)
    assert code == (0 if arguments == ("doctor", "--quick") else 2)
    assert imported & {"torch", "open_clip", "av", "matplotlib"} == set()
