"""Completion in a shell: the scripts, what is offered, and that it is offered without waiting for torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from tests.test_cli_start import HEAVY
from vadpipe import __version__
from vadpipe.cli import cli
from vadpipe.pipeline.exports import EXPORTERS

SHELLS = ("bash", "zsh", "fish")
START = "import sys; sys.argv = ['vadpipe', *sys.argv[1:]]; from vadpipe.cli import main; main()"


def offered(*words: str) -> list[str]:
    """What is offered for the last word; a kind in brackets stands for what the shell itself knows, such as files."""
    found = ShellComplete(cli, {}, "vadpipe", "_VADPIPE_COMPLETE").get_completions(list(words[:-1]), words[-1])
    return [item.value if item.type == "plain" else f"[{item.type}]" for item in found]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell(shell: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0
    assert f"_VADPIPE_COMPLETE={shell}_complete" in done.stdout
    if program := shutil.which(shell):
        parsed = subprocess.run([program, "-n"], input=done.stdout, text=True, capture_output=True, check=False)
        assert (parsed.returncode, parsed.stderr) == (0, "")


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    program = tmp_path / "vadpipe"
    program.write_text(f"#!{sys.executable}\n{START}\n")
    program.chmod(0o755)
    (tmp_path / "clip.mp4").touch()
    script = (
        'eval "$(vadpipe completion bash)"; complete -p vadpipe; COMP_WORDS=(vadpipe detect --export sr); COMP_CWORD=3;'
        ' _vadpipe_completion vadpipe; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": root}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert "-F _vadpipe_completion vadpipe" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "srt"


def test_what_is_offered_comes_fast_and_another_shell_is_refused(tmp_path: Path) -> None:
    environment = {**os.environ, "_VADPIPE_COMPLETE": "bash_complete", "COMP_CWORD": "3"}
    environment |= {"COMP_WORDS": "vadpipe detect --export ", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-X", "importtime", "-c", START]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert {line.partition(",")[2] for line in done.stdout.split()} == set(EXPORTERS)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "vadpipe" in imported
    assert imported & HEAVY == set()
    assert CliRunner().invoke(cli, ["completion", "tcsh"]).exit_code == 2


def test_runs_that_are_finished_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert offered("detect", "--run", "") == ["[dir]"]
    for name in ("runs/b", "runs/a", "runs/grid/row/seed-0", "elsewhere/c"):
        Path(name).mkdir(parents=True)
        (Path(name) / "config.json").touch()
    Path("runs/unfinished").mkdir()
    assert offered("detect", "--run", "") == ["runs/a", "runs/b", "runs/grid/row/seed-0"]
    assert offered("evaluate", "--run", "runs/b") == ["runs/b"]
    assert offered("evaluate", "--run", "elsewhere/") == ["elsewhere/c"]
    assert offered("report", "runs/") == ["runs/a", "runs/b", "runs/grid/row/seed-0"]
    assert offered("train", "--teacher", "x") == ["[dir]"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("det",), ["detect"]),
        (("import", ""), ["checkpoint", "features", "labels"]),
        (("detect", "--exp"), ["--export"]),
        (("detect", "cl"), ["[file]"]),
        (("detect", "--html", ""), ["[file]"]),
        (("detect", "--export", "s"), ["srt"]),
        (("detect", "--decoder", "py"), ["pyav"]),
        (("extract", "--streams", "i3d"), ["i3d-inception", "i3d-r50"]),
        (("extract", "--streams", "clip,wav"), ["clip,wav2clip"]),
        (("extract", "--streams", "clip,c"), ["clip,c3d"]),
        (("extract", "--crops", "1"), ["10"]),
        (("train", "--head", "lec"), ["lec_vad"]),
        (("weights", "get", "open"), ["openai"]),
        (("data", "check", "ucf"), ["ucf_crime"]),
        (("completion", ""), list(SHELLS)),
    ],
)
def test_offered(words: tuple[str, ...], expected: list[str]) -> None:
    assert offered(*words) == expected


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(cli, ["--version"]).stdout == f"vadpipe, version {__version__}\n"
