"""Help as a manual: every command says in a line what it is, has examples, and every example can be given."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.test_cli_start import HEAVY
from vadpipe.cli import cli

NAMES_OF_HELP = ["-h", "--help"]  # a command keeps the option of its first context: of one like cli's, then


def commands(command: click.Command = cli, name: str = "vadpipe") -> Iterator[tuple[str, click.Command]]:
    """Every command and group with its full name."""
    yield name, command
    if isinstance(command, click.Group):
        for child in sorted(command.commands):
            yield from commands(command.commands[child], f"{name} {child}")


def page(command: click.Command, name: str, width: int = 110) -> str:
    return command.get_help(
        click.Context(
            command, help_option_names=NAMES_OF_HELP, info_name=name, max_content_width=width, terminal_width=width
        )
    )


def examples(text: str) -> list[str]:
    """The lines of the block ``Examples:``."""
    block = re.search(r"^  Examples:\n((?:    .+\n)+)", text, re.M)
    return [line.strip() for line in block[1].splitlines()] if block else []


def parse(line: str) -> tuple[click.Command, click.Context]:
    """What a shell would start, without starting it; click's errors for what it would refuse."""
    words = shlex.split(line.partition(" > ")[0])
    assert words.pop(0) == "vadpipe"
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    return command, command.make_context("vadpipe", words, help_option_names=NAMES_OF_HELP)


ALL = dict(commands())
NAMES = [pytest.param(name, id=name.replace(" ", "-")) for name in ALL]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_a_summary_a_paragraph_and_examples_that_can_be_given(name: str) -> None:
    text = page(ALL[name], name)
    first, *further = [part for part in (ALL[name].help or "").replace("\b", "").split("\n\n") if part.strip()]
    assert first.strip().endswith(".")
    assert [part for part in further if "Examples:" not in part] or isinstance(ALL[name], click.Group)
    lines = examples(text)
    assert lines
    assert any(line.startswith(name) for line in lines)
    for line in lines:
        if line != "vadpipe detect --help":
            command, context = parse(line)
            assert context.args == []
            assert command in ALL.values()


def test_examples_that_cannot_be_given_are_found() -> None:
    with pytest.raises(click.UsageError):
        parse("vadpipe detect")
    with pytest.raises(click.UsageError):
        parse("vadpipe train --no-such-option")
    with pytest.raises(click.UsageError):
        parse("vadpipe completion tcsh")
    with pytest.raises(KeyError):
        parse("vadpipe nonsense")
    assert examples("Usage: x\n\n  Examples:\n    vadpipe a\n    vadpipe b\n\nOptions:\n") == ["vadpipe a", "vadpipe b"]


@pytest.mark.parametrize("name", [name for name, command in ALL.items() if isinstance(command, click.Group)])
def test_summaries_fit_into_the_usual_width(name: str) -> None:
    listed = page(ALL[name], name, 80).partition("Commands:\n")[2]
    assert listed
    assert "..." not in listed


def test_the_exit_codes_are_named() -> None:
    text = page(cli, "vadpipe")
    for code in ("0 ", "1 ", "2 ", "3 ", "130 ", "143 "):
        assert re.search(rf"\b{code}", text), code


RENDER_ALL = """
import sys, click
from vadpipe.cli import cli
def walk(command):
    print(command.get_help(click.Context(command)))
    for child in getattr(command, "commands", {}).values():
        walk(child)
walk(cli)
print(*{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
"""


def test_no_help_loads_the_heavy_libraries() -> None:
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", RENDER_ALL], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.count("Examples:") == len(ALL)
    assert "vadpipe" in done.stderr.split()
    assert set(done.stderr.split()) & HEAVY == set()
