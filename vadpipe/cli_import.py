"""``vadpipe import …``: bring in what other tools made."""

from __future__ import annotations

from pathlib import Path

import click

from vadpipe.cli_options import PATH, json_option, labels_option
from vadpipe.cli_output import print_json, print_table, say


@click.group(name="import")
def import_group() -> None:
    """Bring in what other tools made."""


@import_group.command(name="features")
@click.argument("folder", type=PATH)
@labels_option
@click.option("--stream", required=True, help="A name for where these features come from.")
@click.option("--out", type=PATH, default=Path("features"), show_default=True, help="Feature store to write to.")
@click.option("--stride", type=click.IntRange(1), default=16, show_default=True, help="Frames per row.")
@json_option
def import_features(folder: Path, labels: Path | None, stream: str, out: Path, stride: int, as_json: bool) -> None:
    """Import FOLDER/<id>.npy, (T, D) each; the labels need the columns frames and fps."""
    from vadpipe.pipeline.import_features import import_features as run
    from vadpipe.pipeline.project import find_labels
    from vadpipe.store import FeatureStore

    records, _ = find_labels(labels, Path())
    summary = run(folder, FeatureStore(out), records, stream, stride)
    for note in summary.notes[:20]:
        say(f"note: {note}")
    for name in summary.missing:
        say(f"missing: {name} is labelled but has no file in {folder}")
    if as_json:
        print_json({"spec": summary.spec.folder, "done": summary.done, "missing": summary.missing})
        return
    rows = [["imported", f"{len(summary.done)}"], ["labelled without file", f"{len(summary.missing)}"]]
    rows.append(["files without label, left out", f"{len(summary.unlabelled)}"])
    print_table(f"{summary.spec.folder} in {out}", ["", "videos"], rows)
