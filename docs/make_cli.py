"""Write docs/cli.md from the commands' own help: ``make docs``. A test compares the page with what this gives."""

from __future__ import annotations

from pathlib import Path

import click

from vadpipe.cli import cli

PAGE = Path(__file__).parent / "cli.md"


def page() -> str:
    """Return the whole page: one section per command, in alphabetical order."""
    head = "# Commands\n\nMade by `make docs` from `--help`; do not edit.\n"
    return head + "".join(_section(command, name) for name, command in _walk(cli, "vadpipe"))


def _walk(command: click.Command, name: str) -> list[tuple[str, click.Command]]:
    found = [(name, command)]
    if isinstance(command, click.Group):
        for child in sorted(command.commands):
            found += _walk(command.commands[child], f"{name} {child}")
    return found


def _section(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=name, max_content_width=110, terminal_width=110)
    context.help_option_names = ["-h", "--help"]
    return f"\n## {name}\n```\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
