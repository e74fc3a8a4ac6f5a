"""``vadpipe report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vadpipe.cli_options import (
    PATH,
    RUN,
    annotations_option,
    device_option,
    features_option,
    json_option,
    labels_option,
    quiet_option,
    resolve_device,
)
from vadpipe.cli_output import print_json, print_table, progress, say


@click.command(short_help="Draw the papers' figures of trained heads.")
@click.argument("runs", nargs=-1, type=RUN, metavar="[RUN]...")
@features_option
@labels_option
@annotations_option
@click.option("--order", type=PATH, help="Test list that gives the order of a gt*.npy.")
@click.option("--split", default="test", show_default=True, help="Which records of the labels; all for every one.")
@click.option("--allow-seen", is_flag=True, help="Draw even videos that the head was trained or selected on.")
@click.option("--grid", type=PATH, help="Folder of vadpipe train --grid, for its curves; or one of its JSON files.")
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help="One figure: scores, categories, masks, tsne, grid, ranking, classes or confusion; once for each.",
)
@click.option(
    "--videos",
    multiple=True,
    metavar="ID",
    help="Video with a panel of its own; once for each.  [default: the first of each category, 8 in all]",
)
@click.option("--format", "formats", default="png,svg,pdf", show_default=True, help="Kinds of files.")
@click.option("--out", type=PATH, default=Path("figures"), show_default=True, help="Folder of the files.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of t-SNE.")
@device_option
@json_option
@quiet_option
def report(
    runs: tuple[Path, ...],
    only: tuple[str, ...],
    formats: str,
    as_json: bool,
    quiet: bool,
    device: str,
    **given: Any,
) -> None:
    """Draw the papers' figures of trained heads on their test videos, as PNG, SVG and PDF with captions.

    Runs that differ in their seed only are drawn as one, with a band. What does not apply is left out and said.

    \b
    Examples:
      vadpipe report runs/a --labels test.csv --annotations annotations.txt
      vadpipe report runs/seed-0 runs/seed-1 runs/seed-2 --only ranking --only classes --format pdf
      vadpipe report --only grid --grid runs/grid
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.reporting.kinds import chosen_formats, chosen_kinds

    kinds, kept = chosen_kinds(only, grid=given["grid"] is not None), chosen_formats(formats)
    if any(not kind.of_grid for kind in kinds):
        from vadpipe.pipeline.project import find_run

        runs = tuple(find_run(run, Path(), "RUN") for run in runs or (None,))
    from vadpipe.pipeline.report import ReportRequest, write_report

    request = ReportRequest(runs, kinds=kinds, named=bool(only), formats=kept, **given)
    with progress(quiet) as bars:
        made = write_report(request, resolve_device(device), bars, say)
    for name, reason in made.left_out.items():
        say(f"left out: {name}: {reason}")
    if as_json:
        print_json(made.to_mapping())
        return
    rows = [[picture.name, picture.kind.shows, "\n".join(picture.files)] for picture in made.pictures]
    print_table(f"figures in {made.out}; captions in {made.index}", ["figure", "shows", "files"], rows)
