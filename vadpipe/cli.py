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
from vadpipe.cli_output import print_detection, print_evaluation, print_json, print_table, progress, say
from vadpipe.errors import UsageError, VadpipeError

if TYPE_CHECKING:
    from vadpipe.pipeline.extract import Extracted, ExtractOptions, ExtractSummary

_PATH = click.Path(path_type=Path)
_features = click.option("--features", type=_PATH, default=Path("features"), show_default=True, help="Feature store.")
_device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
_quiet = click.option("-q", "--quiet", is_flag=True, help="No progress, only results and errors.")
_labels = click.option("--labels", type=_PATH, help="labels.csv (video,label) or a folder of label folders.")
_annotations = click.option("--annotations", type=_PATH, help="Frames of the true incidents.")
_decoder = click.option("--decoder", default="pyav", show_default=True, help="pyav or decord.")
_jobs = click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Decoder processes at once.")
_weights = click.option("--weights", help="openai, a file, or random[:SEED] (untrained, for trying things out).")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="vadpipe")
def cli() -> None:
    r"""Weakly supervised video anomaly detection, from raw video to scored intervals.

    \b
    vadpipe extract videos/
    vadpipe train
    vadpipe detect clip.mp4 --out intervals.json
    """


@cli.command()
@click.argument("videos", nargs=-1, required=True, type=_PATH)
@click.option("--out", type=_PATH, default=Path("features"), show_default=True, help="Feature store to write to.")
@click.option("--stream", default="clip", show_default=True, help="Kind of features.")
@_weights
@click.option("--dtype", default="float32", show_default=True, help="float32, or bfloat16 where the machine has it.")
@click.option("--stride", type=click.IntRange(1), default=16, show_default=True, help="Frames per snippet.")
@click.option("--batch-size", type=click.IntRange(1), help="Images per encoder batch.")
@_decoder
@_jobs
@_device
@_json
@_quiet
def extract(videos: tuple[Path, ...], out: Path, quiet: bool, as_json: bool, **settings: Any) -> None:
    """Compute features of VIDEOS (files or folders) into the store; a rerun does only what is missing."""
    from vadpipe.extractors import create
    from vadpipe.pipeline.extract import ExtractOptions, find_videos
    from vadpipe.store import FeatureStore

    found = find_videos(videos)
    extractor = create(
        settings["stream"],
        weights=settings["weights"] or "openai",
        device=_resolve(settings["device"]),
        dtype=settings["dtype"],
        batch_size=settings["batch_size"],
    )
    options = ExtractOptions(settings["stride"], settings["decoder"], settings["jobs"])
    summary = _extract(found, FeatureStore(out), extractor, options, quiet)
    if as_json:
        print_json({name: getattr(summary, name) for name in summary.__slots__})
    else:
        _print_summary(summary, out)
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


def _print_summary(summary: ExtractSummary, out: Path) -> None:
    for text in summary.warnings:
        say(f"warning: {text}")
    rate = summary.frames / summary.seconds if summary.seconds else 0.0
    rows = [
        ["extracted", f"{len(summary.done)} videos"],
        ["already there", f"{len(summary.kept)} videos"],
        ["failed", f"{len(summary.failed)} videos"],
        ["frames covered", f"{summary.frames} ({rate:.0f}/s)"],
        ["snippets encoded", f"{summary.rows} ({summary.rows / max(summary.seconds, 1e-9):.1f}/s)"],
        ["time", f"{summary.seconds:.1f} s"],
    ]
    print_table(f"features in {out}", ["", ""], rows)


@cli.command()
@_features
@_labels
@_annotations
@click.option("--stream", help="Stream or folder name of the features.  [default: the config's, clip]")
@click.option("--out", type=_PATH, help="Run folder.  [default: runs/<head>-<stream>-seed<seed>]")
@click.option("--config", "config_file", type=_PATH, help="TOML file of settings.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting; may be repeated.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--restart", is_flag=True, help="Replace an earlier run in the same folder.")
@_weights
@_device
@_json
@_quiet
def train(config_file: Path | None, overrides: tuple[str, ...], as_json: bool, quiet: bool, **places: Any) -> None:
    """Train a head on stored features and video-level labels; the same command again resumes."""
    from vadpipe.config import load_config
    from vadpipe.pipeline.train_run import TrainRequest, train_run

    stream = places.pop("stream")
    settings = load_config(config_file, (*overrides, *([f"stream={stream}"] if stream else [])))
    if settings.train.select == "paper-test":
        say("WARNING: paper-test keeps the epoch that is best on the TEST set; its figures are not honest estimates")
    with progress(quiet) as bars:
        task = bars.add_task("epochs", total=settings.train.epochs, note="")

        def on_epoch(row: dict[str, float]) -> None:
            note = " ".join(f"{name}={value:.4g}" for name, value in row.items() if name != "epoch")
            bars.update(task, completed=row["epoch"], note=note)
            if not quiet:
                bars.console.print(f"epoch {row['epoch']:.0f}: {note}", markup=False)

        places["device"] = _resolve(places["device"])
        result = train_run(TrainRequest(config=settings, **places), on_epoch, say)
    if as_json:
        print_json({"run": str(result.folder), "selection": result.fit.trained.selection, "best": result.fit.best})
        return
    rows = [[name, f"{value:.4f}"] for name, value in sorted(result.fit.best.items())]
    print_table(f"{result.folder}: {result.fit.trained.selection}", ["figure", "value"], rows)


@cli.command()
@click.option("--run", type=_PATH, help="Run folder.  [default: the only one under runs/]")
@_features
@_labels
@_annotations
@click.option("--split", default="test", show_default=True, help="Which records of the labels; all for every one.")
@click.option("--allow-seen", is_flag=True, help="Evaluate even videos that the head was trained or selected on.")
@click.option("--out", type=_PATH, help="Write the figures as JSON.")
@_device
@_json
def evaluate(run: Path | None, as_json: bool, out: Path | None, device: str, **places: Any) -> None:
    """Compare a head with known incidents: frame AP and AUC, mAP@IoU, chance beside each."""
    import json

    from vadpipe.models.checkpoint import load_head
    from vadpipe.pipeline.evaluate import evaluate as evaluate_head
    from vadpipe.pipeline.project import find_run, test_records
    from vadpipe.store import FeatureStore
    from vadpipe.track_file import atomic_write

    folder = find_run(run, Path())
    trained = load_head(folder, _resolve(device))
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
@click.argument("videos", nargs=-1, required=True, type=_PATH)
@click.option("--run", type=_PATH, help="Run folder.  [default: the only one under runs/]")
@click.option("--out", type=_PATH, help="JSON file; a folder where there are several videos.")
@click.option("--features", type=_PATH, help="Store to look in first and to keep features in.")
@click.option("--picture", is_flag=True, help="Also draw the timeline as PNG beside the JSON.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Thresholds, e.g. r_ano=0.3.")
@click.option("--accept", multiple=True, metavar="FIELD", help="Field of the feature specification that may differ.")
@_weights
@_decoder
@_device
@_json
@_quiet
def detect(videos: tuple[Path, ...], out: Path | None, as_json: bool, quiet: bool, **settings: Any) -> None:
    """Find incidents in VIDEOS: intervals with category and score, and a score for every frame."""
    from vadpipe.pipeline.detect_run import DetectRequest, detect_run

    settings["device"] = _resolve(settings["device"])
    request = DetectRequest(videos=videos, out=out, **settings)
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
    if result.failed:
        sys.exit(3 if result.found else 1)


@cli.command()
@click.option("--out", type=_PATH, default=Path("demo"), show_default=True, help="Folder of the demo project.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@_device
@_quiet
def demo(out: Path, seed: int, device: str, quiet: bool) -> None:
    """Make a small synthetic data set, then extract, train, evaluate and detect on it; no download."""
    from vadpipe.pipeline.demo import run_demo

    with progress(quiet) as bars:
        result = run_demo(out, seed=seed, device=_resolve(device), bars=bars, say=say)
    print_evaluation(result.evaluation)
    print_detection(result.detection)
    print_table("files", ["what", "where"], [[name, str(path)] for name, path in result.files.items()])


@cli.group(name="import")
def import_group() -> None:
    """Bring in what other tools made."""


@import_group.command(name="features")
@click.argument("folder", type=_PATH)
@_labels
@click.option("--stream", required=True, help="A name for where these features come from.")
@click.option("--out", type=_PATH, default=Path("features"), show_default=True, help="Feature store to write to.")
@click.option("--stride", type=click.IntRange(1), default=16, show_default=True, help="Frames per row.")
@_json
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


@cli.command()
@click.option("--full", is_flag=True, help="Also import torch and look for a GPU.")
def doctor(full: bool) -> None:
    """Say what is installed and what is missing, with the command that mends it."""
    from vadpipe.pipeline.doctor import checks

    rows = [[check.name, check.state, check.hint] for check in checks(full=full)]
    print_table(f"vadpipe {__version__}", ["what", "state", "what to do"], rows)


def _resolve(device: str) -> str:
    """``auto`` -> ``cuda`` where there is one, else ``cpu``; an explicit device that is not there is an error."""
    if device == "cpu":
        return device
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not device.startswith("cuda"):
        raise UsageError(f"--device: got {device!r}, expected auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise UsageError(
            f"--device {device}: torch sees no GPU here; use --device cpu or auto, and see vadpipe doctor --full"
        )
    return device


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
