"""``vadpipe evaluate``."""

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
    resolve_device,
)
from vadpipe.cli_output import print_evaluation, print_json, say


@click.command()
@click.option("--run", type=PATH, help="Run folder.  [default: the only one under runs/]")
@features_option
@labels_option
@annotations_option
@click.option("--split", default="test", show_default=True, help="Which records of the labels; all for every one.")
@click.option("--allow-seen", is_flag=True, help="Evaluate even videos that the head was trained or selected on.")
@click.option("--out", type=PATH, help="Write the figures as JSON.")
@device_option
@json_option
def evaluate(run: Path | None, as_json: bool, out: Path | None, device: str, **places: Any) -> None:
    """Compare a head with known incidents: frame AP and AUC, mAP@IoU, chance beside each."""
    import json

    from vadpipe.pipeline.project import find_run

    folder = find_run(run, Path())
    from vadpipe.models.checkpoint import load_head
    from vadpipe.pipeline.evaluate import evaluate as evaluate_head
    from vadpipe.pipeline.project import test_records
    from vadpipe.store import FeatureStore
    from vadpipe.track_file import atomic_write

    trained = load_head(folder, resolve_device(device))
    store = FeatureStore(places["features"])
    records = test_records(
        folder, store, trained.spec, places["labels"], places["annotations"], places["split"], places["allow_seen"], say
    )
    result = evaluate_head(trained, store, records)
    if out is not None:
        atomic_write(out, (json.dumps(result.to_mapping(), indent=1) + "\n").encode())
    if result.left_out:
        say(f"warning: {len(result.left_out)} anomalous videos without annotation are left out: {result.left_out[:5]}")
    if trained.spec.untrained:
        say("note: the features come from an encoder with random weights")
    print_json(result.to_mapping()) if as_json else print_evaluation(result)
