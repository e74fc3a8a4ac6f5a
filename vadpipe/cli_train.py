"""``vadpipe train``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vadpipe.cli_options import (
    PATH,
    annotations_option,
    device_option,
    features_option,
    json_option,
    labels_option,
    quiet_option,
    resolve_device,
    weights_option,
)
from vadpipe.cli_output import print_json, print_table, progress, say


@click.command()
@features_option
@labels_option
@annotations_option
@click.option("--stream", help="Stream or folder name of the features.  [default: the config's, clip]")
@click.option("--out", type=PATH, help="Run folder.  [default: runs/<head>-<stream>-seed<seed>]")
@click.option("--config", "config_file", type=PATH, help="TOML file of settings.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting; may be repeated.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--restart", is_flag=True, help="Replace an earlier run in the same folder.")
@weights_option
@device_option
@json_option
@quiet_option
def train(config_file: Path | None, overrides: tuple[str, ...], as_json: bool, quiet: bool, **places: Any) -> None:
    """Train a head on stored features and video-level labels; the same command again resumes."""
    from vadpipe.config import load_config
    from vadpipe.pipeline.train_data import TrainRequest, find_training_data

    stream, device = places.pop("stream"), places.pop("device")
    settings = load_config(config_file, (*overrides, *([f"stream={stream}"] if stream else [])))
    data = find_training_data(TrainRequest(config=settings, **places), say)
    if settings.train.select == "paper-test":
        say("WARNING: paper-test keeps the epoch that is best on the TEST set; its figures are not honest estimates")
    device = resolve_device(device)
    from vadpipe.pipeline.train_run import train_run

    with progress(quiet) as bars:
        task = bars.add_task("epochs", total=settings.train.epochs, note="")

        def on_epoch(row: dict[str, float]) -> None:
            note = " ".join(f"{name}={value:.4g}" for name, value in row.items() if name != "epoch")
            bars.update(task, completed=row["epoch"], note=note)
            if not quiet:
                bars.console.print(f"epoch {row['epoch']:.0f}: {note}", markup=False)

        result = train_run(data, device, on_epoch)
    if as_json:
        print_json({"run": str(data.folder), "selection": result.trained.selection, "best": result.best})
        return
    rows = [[name, f"{value:.4f}"] for name, value in sorted(result.best.items())]
    print_table(f"{data.folder}: {result.trained.selection}", ["figure", "value"], rows)
