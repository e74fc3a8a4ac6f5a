"""The command line: parses, calls one function of the pipeline, prints. Exit codes: 0 fine, 1 failed, 2 usage,
3 finished but some videos failed, 130 interrupted, 143 terminated. All that it can do, a notebook can do.

Heavy modules are imported inside the commands, so that help and usage errors answer at once.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from vadpipe import __version__
from vadpipe.cli_import import import_group
from vadpipe.cli_options import (
    PATH,
    annotations_option,
    decoder_option,
    device_option,
    features_option,
    jobs_option,
    json_option,
    labels_option,
    quiet_option,
    resolve_device,
    weights_option,
)
from vadpipe.cli_output import print_detection, print_evaluation, print_json, print_summary, print_table, progress, say
from vadpipe.errors import VadpipeError

if TYPE_CHECKING:
    from vadpipe.pipeline.extract import Extracted, ExtractOptions, ExtractSummary


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="vadpipe")
def cli() -> None:
    """Weakly supervised video anomaly detection, from raw video to scored intervals.

    \b
    vadpipe extract videos/
    vadpipe train
    vadpipe detect clip.mp4 --out intervals.json
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines


@cli.command()
@click.argument("videos", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, default=Path("features"), show_default=True, help="Feature store to write to.")
@click.option("--stream", default="clip", show_default=True, help="Kind of features.")
@weights_option
@click.option("--dtype", default="float32", show_default=True, help="float32, or bfloat16 where the machine has it.")
@click.option("--stride", type=click.IntRange(1), default=16, show_default=True, help="Frames per snippet.")
@click.option("--batch-size", type=click.IntRange(4), default=32, show_default=True, help="Images per encoder batch.")
@decoder_option
@jobs_option
@device_option
@json_option
@quiet_option
def extract(videos: tuple[Path, ...], out: Path, quiet: bool, as_json: bool, **settings: Any) -> None:
    """Compute features of VIDEOS (files or folders) into the store; a rerun does only what is missing."""
    from vadpipe.extractors import create, media
    from vadpipe.pipeline.extract import ExtractOptions
    from vadpipe.pipeline.videos import find_videos
    from vadpipe.store import FeatureStore

    refused: dict[str, str] = {}
    found = find_videos(videos, refused)
    media.decoder_version(settings["decoder"])  # a wrong name is said before torch is imported
    options = ExtractOptions(settings["stride"], settings["decoder"], settings["jobs"])
    extractor = create(
        settings["stream"],
        weights=settings["weights"] or "openai",
        device=resolve_device(settings["device"]),
        dtype=settings["dtype"],
        batch_size=settings["batch_size"],
    )
    for reason in refused.values():
        say(f"failed: {reason}")
    summary = _extract(found, FeatureStore(out), extractor, options, quiet)
    summary.failed |= refused
    if as_json:
        print_json({name: getattr(summary, name) for name in summary.__slots__})
    else:
        print_summary(summary, out)
    if summary.failed:
        sys.exit(3 if summary.done or summary.kept else 1)


def _extract(
    found: dict[str, Path], store: Any, extractor: Any, options: ExtractOptions, quiet: bool
) -> ExtractSummary:
    from vadpipe.pipeline.extract import Failed, feature_spec
    from vadpipe.pipeline.extract import extract as run

    if feature_spec(extractor, options).untrained:
        say("note: the encoder has seeded random weights, not pretrained ones")
    with progress(quiet) as bars:
        videos = bars.add_task("videos", total=len(found), note="")
        rows = bars.add_task("snippets", total=None, note="")

        def finished(result: Extracted | Failed) -> None:
            bars.advance(videos)
            if isinstance(result, Failed):
                say(f"failed: {result.path}: {result.error}")

        return run(found, store, extractor, options, finished, lambda count: bars.advance(rows, count))


@cli.command()
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


@cli.command()
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


@cli.command()
@click.argument("videos", nargs=-1, required=True, type=PATH)
@click.option("--run", type=PATH, help="Run folder.  [default: the only one under runs/]")
@click.option("--out", type=PATH, help="A .json file for one video, else a folder.")
@click.option("--features", type=PATH, help="Store to look in first and to keep features in.")
@click.option("--picture", is_flag=True, help="Also draw the timeline as PNG beside the JSON.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Thresholds, e.g. r_ano=0.3.")
@click.option("--accept", multiple=True, metavar="FIELD", help="Field of the feature specification that may differ.")
@weights_option
@decoder_option
@device_option
@json_option
@quiet_option
def detect(videos: tuple[Path, ...], out: Path | None, as_json: bool, quiet: bool, **settings: Any) -> None:
    """Find incidents in VIDEOS: intervals with category and score, and a score for every frame."""
    from vadpipe.pipeline.project import find_run
    from vadpipe.pipeline.videos import find_videos

    refused: dict[str, str] = {}
    found, run = find_videos(videos, refused), find_run(settings.pop("run"), Path())
    for reason in refused.values():
        say(f"failed: {reason}")
    settings["device"] = resolve_device(settings["device"])
    from vadpipe.pipeline.detect_run import DetectRequest, detect_run

    request = DetectRequest(videos=found, run=run, out=out, **settings)
    with progress(quiet) as bars:
        task = bars.add_task("videos", total=None, note="")
        result = detect_run(request, lambda total: bars.update(task, total=total, advance=1), say)
    for detection, content in result.found:
        if as_json:
            print_json(content)
            continue
        print_detection(detection)
        for text in detection.warnings:
            say(f"warning: {text}")
    for place in result.written:
        say(f"wrote {place}")
    if result.failed or refused:
        sys.exit(3 if result.found else 1)


@cli.command()
@click.option("--out", type=PATH, default=Path("demo"), show_default=True, help="Folder of the demo project.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@device_option
@quiet_option
def demo(out: Path, seed: int, device: str, quiet: bool) -> None:
    """Make a small synthetic data set, then extract, train, evaluate and detect on it; no download."""
    from vadpipe.pipeline.demo import run_demo

    with progress(quiet) as bars:
        result = run_demo(out, seed=seed, device=resolve_device(device), bars=bars, say=say)
    print_evaluation(result.evaluation)
    print_detection(result.detection)
    print_table("files", ["what", "where"], [[name, str(path)] for name, path in result.files.items()])


cli.add_command(import_group)


@cli.command()
@click.option("--full", is_flag=True, help="Also import torch and look for a GPU.")
def doctor(full: bool) -> None:
    """Say what is installed and what is missing, with the command that mends it."""
    from vadpipe.pipeline.doctor import checks

    rows = [[check.name, check.state, check.hint] for check in checks(full=full)]
    print_table(f"vadpipe {__version__}", ["what", "state", "what to do"], rows)


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(143)  # unwinds: readers are stopped, finished work is kept


def main() -> None:
    """Entry point: run a command, translate expected errors into one line and an exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        say("interrupted; what was finished is kept, run the same command to go on")
        sys.exit(130)
    except KeyboardInterrupt:
        say("interrupted; what was finished is kept, run the same command to go on")
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except VadpipeError as error:
        say(f"vadpipe: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
