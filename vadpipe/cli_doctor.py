"""``vadpipe doctor``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vadpipe import __version__
from vadpipe.cli_options import json_option, quiet_option
from vadpipe.cli_output import console, print_json, visible

if TYPE_CHECKING:
    from vadpipe.pipeline.diagnosing.check import Check

_STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "broken": "bold red"}


@click.command(short_help="Say what works here, and how to mend the rest.")
@click.option("--quick", is_flag=True, help="Leave out what imports torch: the GPU, NVDEC, torchcodec, throughput.")
@json_option
@quiet_option
def doctor(quick: bool, as_json: bool, quiet: bool) -> None:
    """Say what is installed, what works here, and the command that mends what does not.

    Looks at versions, GPU and NVDEC, FFmpeg's libraries, weights and their digests, the folders that are written to;
    has every installed decoder decode a painted video and compares the frames; and measures for 5 seconds how fast
    video is decoded and encoded. Nothing is downloaded or changed.

    States: ok; note, worth knowing; warning, something that you may want does not work; broken, what everybody needs
    does not. Exit code 1 where something is broken, else 0.

    \b
    Examples:
      vadpipe doctor
      vadpipe doctor --quick
      vadpipe doctor --json > doctor.json
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.doctor import is_usable, run_checks, to_mapping

    found: list[Check] = []
    screen = console(stderr=True)
    with screen.status("looking", spinner="dots") as spinner:
        if quiet or not screen.is_terminal:
            spinner.stop()
        found += run_checks(Path(), quick=quick, on_begin=lambda name: spinner.update(f"looking at {name} …"))
    print_json(to_mapping(found)) if as_json else _print(found)
    if not is_usable(found):
        sys.exit(1)


def _print(found: Sequence[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"vadpipe {__version__}"), title_justify="left")
    for name in ("state", "what", "found"):
        table.add_column(name, overflow="fold")
    for check in found:
        table.add_row(Text(check.state, _STYLES[check.state]), *(Text(visible(t)) for t in (check.name, check.found)))
    screen = console()
    screen.print(table)
    for check in found:
        if check.fix:
            line = Text.assemble((check.state, _STYLES[check.state]), f": {visible(check.name)}: {visible(check.fix)}")
            screen.print(line, soft_wrap=True)
    counts = [f"{sum(each.state == state for each in found)} {state}" for state in _STYLES]
    screen.print(", ".join(counts), soft_wrap=True)
