"""The command line: parses, calls one function of the pipeline, prints. Exit codes: 0 fine, 1 failed, 2 usage,
3 finished but some videos failed, 130 interrupted, 143 terminated. All that it can do, a notebook can do.

Heavy modules are imported inside the commands, so that help and usage errors answer at once.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from vadpipe import __version__
from vadpipe.cli_checkpoint import import_checkpoint
from vadpipe.cli_data import data_group, import_labels
from vadpipe.cli_evaluate import evaluate
from vadpipe.cli_extract import extract
from vadpipe.cli_features import features_group
from vadpipe.cli_import import import_group
from vadpipe.cli_options import (
    PATH,
    decoder_option,
    device_option,
    json_option,
    limit_option,
    quiet_option,
    resolve_device,
    stream_weights_option,
)
from vadpipe.cli_output import print_detection, print_evaluation, print_json, print_table, progress, say
from vadpipe.cli_train import train
from vadpipe.cli_weights import weights_group
from vadpipe.errors import VadpipeError


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
@click.option("--run", type=PATH, help="Run folder.  [default: the only one under runs/]")
@click.option("--student", type=PATH, help="Run folder for videos without sound.  [default: student/ in the run]")
@click.option("--out", type=PATH, help="A .json file for one video, else a folder.")
@click.option("--features", type=PATH, help="Store to look in first and to keep features in.")
@click.option("--picture", is_flag=True, help="Also draw the timeline as PNG beside the JSON.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Thresholds, e.g. r_ano=0.3.")
@click.option("--accept", multiple=True, metavar="FIELD", help="Field of the feature specification that may differ.")
@stream_weights_option
@decoder_option
@click.option(
    "--decode-device",
    type=click.Choice(["cpu", "cuda"]),
    help="Where pictures are decoded.  [default: as those of the head's features]",
)
@limit_option
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
    from vadpipe.extractors.limits import parse_limits

    settings["limits"] = parse_limits(settings["limits"])
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
        say(f"audio: {'used' if detection.audio.used else 'not used'}: {detection.audio.reason}")
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


cli.add_command(extract)
cli.add_command(train)
cli.add_command(evaluate)
cli.add_command(import_group)
cli.add_command(data_group)
cli.add_command(weights_group)
cli.add_command(features_group)
import_group.add_command(import_labels)
import_group.add_command(import_checkpoint)


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
