"""``vadpipe data check`` and ``vadpipe import labels``: what a data set holds, and its lists as a manifest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vadpipe.cli_complete import dataset_names, one_of
from vadpipe.cli_options import PATH, frame_rate, json_option, quiet_option
from vadpipe.cli_output import print_json, print_table, progress, say

if TYPE_CHECKING:
    from vadpipe.pipeline.data_check import DataCheck

_NAMED = 20  # of each kind of finding; --json has all


@click.group(name="data")
def data_group() -> None:
    """Look after data sets.

    \b
    Examples:
      vadpipe data check folder videos/
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines


@data_group.command(name="check", short_help="Compare files with a known data set.")
@click.argument("name", shell_complete=one_of(dataset_names))
@click.argument("path", type=PATH)
@click.option("--list", "lists", multiple=True, type=PATH, help="List of what should be there; may be repeated.")
@click.option("--annotations", type=PATH, help="Annotations, as a further list.")
@json_option
@quiet_option
def check_command(
    name: str, path: Path, lists: tuple[Path, ...], annotations: Path | None, as_json: bool, quiet: bool
) -> None:
    """Compare the videos or .npy features in PATH with the data set NAME: xd_violence, ucf_crime, cctv_fights, folder.

    Says what is missing, not listed, twice, incomplete, unreadable or known to be bad, by name, and how the counts
    compare with the official ones. Exit code 1 where something is wrong.

    \b
    Examples:
      vadpipe data check folder videos/ --list labels.csv
      vadpipe data check xd_violence features/ --list XD_Violence_train.csv --list XD_Violence_test.csv
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.data_check import check_data

    with progress(quiet) as bars:
        task = bars.add_task("files", total=None, note="")
        wanted = [*lists, annotations] if annotations is not None else lists
        check = check_data(name, path, wanted, lambda done, total: bars.update(task, completed=done, total=total))
    print_json(check.to_mapping()) if as_json else _print_check(check)
    if not check.ok:
        sys.exit(1)


def _print_check(check: DataCheck) -> None:
    rows = [[f"listed in {name}", f"{count}"] for name, count in check.listed.items()]
    rows += [[f"official: {split}", f"{count}"] for split, count in check.official.items()]
    rows += [["videos found", f"{check.found}"], ["files looked at", f"{check.files}"]]
    found = {
        "missing": dict.fromkeys(check.missing, ""),
        "not listed": dict.fromkeys(check.extra, ""),
        "incomplete": {video: f"no crop {', '.join(map(str, crops))}" for video, crops in check.incomplete.items()},
        "twice": {video: ", ".join(files) for video, files in check.duplicates.items()},
        "unreadable": check.unreadable,
        "known bad": check.known_bad,
    }
    rows += [[kind, f"{len(names)}"] for kind, names in found.items()]
    rows.append(["result", "fine" if check.ok else "not as it should be"])
    print_table(f"{check.dataset} in {check.folder}", ["", "videos"], rows)
    named = [[kind, name, why] for kind, names in found.items() for name, why in list(names.items())[:_NAMED]]
    named += [
        [kind, f"and {len(names) - _NAMED} more; --json names all", ""]
        for kind, names in found.items()
        if len(names) > _NAMED
    ]
    if check.counts or named:
        print_table("by name", ["what", "name", "why"], [["count", "", text] for text in check.counts] + named)


@click.command(name="labels", short_help="Write lists and annotations as a manifest.")
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option("--dataset", required=True, help="xd_violence, ucf_crime, cctv_fights, or folder for your own data.")
@click.option("--out", type=PATH, default=Path("manifest.jsonl"), show_default=True, help="File to write.")
@click.option("--split", "splits", multiple=True, help="train, val or test: one for all FILES, or one for each.")
@click.option("--annotations", type=PATH, help="True incidents of the videos that are not for training.")
@click.option("--order", type=PATH, help="List whose order the annotations follow, where they are an array.")
@click.option("--fps", help="Frame rate of videos whose files and data set state none.")
@json_option
def import_labels(
    files: tuple[Path, ...],
    dataset: str,
    out: Path,
    splits: tuple[str, ...],
    annotations: Path | None,
    order: Path | None,
    fps: str | None,
    as_json: bool,
) -> None:
    """Write lists and annotations, of any kind, as one manifest.jsonl, which --labels takes everywhere.

    FILES are released lists (path,label CSV, .list, Anomaly_Train.txt), annotations, labels.csv, ActivityNet JSON,
    label folders or other manifests.

    \b
    Examples:
      vadpipe import labels labels.csv --dataset folder --annotations annotations.txt
      vadpipe import labels train.list test.list --dataset ucf_crime --split train --split test --out ucf.jsonl
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.importing.labels import import_labels as run

    summary = run(files, dataset, out, splits, annotations, order, frame_rate(fps))
    for note in summary.notes:
        say(f"note: {note}")
    if as_json:
        print_json({"videos": len(summary.records), "out": str(out), "splits": summary.counts()})
        return
    rows = [[split, *map(str, counts)] for split, counts in summary.counts().items()]
    print_table(f"{len(summary.records)} videos in {out}", ["split", "videos", "normal", "with incidents"], rows)
