"""The command answers help and usage errors without loading what it does not need for them."""

from __future__ import annotations

import subprocess
import sys

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
