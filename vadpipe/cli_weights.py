"""``vadpipe weights``: the table of published encoder weights, their download and their check."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from vadpipe.cli_complete import one_of, weights_names
from vadpipe.cli_options import json_option, quiet_option
from vadpipe.cli_output import print_json, print_table, progress, say

if TYPE_CHECKING:
    from vadpipe.pipeline.weights import WeightsFile


@click.group(name="weights")
def weights_group() -> None:
    """Published encoder weights: list, download, check.

    They are kept in ~/.cache/vadpipe/weights or $VADPIPE_WEIGHTS: docs/weights.md.

    \b
    Examples:
      vadpipe weights list
      vadpipe weights get openai
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines


@weights_group.command(name="list", short_help="Show what is published, and what is here.")
@json_option
@quiet_option
def list_command(as_json: bool, quiet: bool) -> None:
    """Show what is published, under which licence, where each digest comes from, and what is here.

    Files that are here are hashed; nothing is downloaded.

    \b
    Examples:
      vadpipe weights list
      vadpipe weights list --json
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.weights import known_names, look

    _print(_each(known_names(), look, "weights", quiet), as_json)


@weights_group.command(name="get", short_help="Download a file and check it.")
@click.argument("name", shell_complete=one_of(weights_names))
@json_option
@quiet_option
def get_command(name: str, as_json: bool, quiet: bool) -> None:
    """Download NAME into the cache folder unless it is there, and check it.

    A download counts once it is whole and has the digest that is published, or recorded here, and fits the network.

    \b
    Examples:
      vadpipe weights get openai
      vadpipe weights get wav2clip-vggsound --json
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.weights import get

    file = get(name, progress=not quiet)
    say(f"{file.path}: sha256 {file.sha256 or 'not recorded'} ({file.origin}); licence: {file.known.licence}")
    _print([file], as_json)


@weights_group.command(name="verify", short_help="Check what is here.")
@click.argument("name", required=False, shell_complete=one_of(weights_names))
@json_option
@quiet_option
def verify_command(name: str | None, as_json: bool, quiet: bool) -> None:
    """Hash what is here (or NAME alone) anew, and compare names and shapes with the network's.

    Exit code 1 where a file is damaged or does not fit, or NAME is missing.

    \b
    Examples:
      vadpipe weights verify
      vadpipe weights verify openai
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.weights import all_fine, known_names, verify

    files = _each(known_names(name), verify, "checked", quiet)
    _print(files, as_json)
    if not all_fine(files, name):
        sys.exit(1)


def _each(names: Sequence[str], work: Callable[[str], WeightsFile], what: str, quiet: bool) -> list[WeightsFile]:
    with progress(quiet) as bars:
        task = bars.add_task(what, total=len(names), note="")
        files = []
        for name in names:
            bars.update(task, note=name)
            files.append(work(name))
            bars.advance(task)
    return files


def _print(files: Sequence[WeightsFile], as_json: bool) -> None:
    for file in files:
        if file.reason:
            say(f"{'note' if file.ok else file.state}: {file.name}: {file.reason}")
    if as_json:
        print_json([_json(file) for file in files])
        return
    rows = [
        [file.name, file.known.stream, _size(file.size_bytes), file.known.licence, _digest(file), file.state]
        for file in files
    ]
    print_table(f"weights in {files[0].path.parent}", ["name", "stream", "size", "licence", "sha256", "here"], rows)


def _json(file: WeightsFile) -> dict[str, Any]:
    told = {"name": file.name, **asdict(file.known), "path": str(file.path), "state": file.state}
    return told | {
        "sha256": file.sha256,
        "sha256_origin": file.origin,
        "size_bytes": file.size_bytes,
        "reason": file.reason,
    }


def _digest(file: WeightsFile) -> str:
    return f"{file.sha256[:12]}… {file.origin}" if file.sha256 else file.origin


def _size(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else f"{size_bytes / 1e6:.1f} MB"
