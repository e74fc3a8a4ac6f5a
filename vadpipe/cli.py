"""The command line: parses, calls one function of the pipeline, prints. Exit codes: 0 fine, 1 failed, 2 usage,
3 finished but some videos failed, 130 interrupted, 143 terminated. All that it can do, a notebook can do.

Heavy modules are imported inside the commands, so that help and usage errors answer at once.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from vadpipe import __version__
from vadpipe.cli_calibrate import calibrate
from vadpipe.cli_checkpoint import import_checkpoint
from vadpipe.cli_completion import completion
from vadpipe.cli_data import data_group, import_labels
from vadpipe.cli_detect import detect
from vadpipe.cli_doctor import doctor
from vadpipe.cli_evaluate import evaluate
from vadpipe.cli_extract import extract
from vadpipe.cli_features import features_group
from vadpipe.cli_import import import_group
from vadpipe.cli_options import (
    PATH,
    device_option,
    quiet_option,
    resolve_device,
)
from vadpipe.cli_output import (
    print_detection,
    print_evaluation,
    print_table,
    progress,
    say,
    say_crash,
    say_thread_crash,
    say_usage,
)
from vadpipe.cli_report import report
from vadpipe.cli_store import store_group
from vadpipe.cli_train import train
from vadpipe.cli_weights import weights_group
from vadpipe.errors import VadpipeError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="vadpipe")
def cli() -> None:
    """Weakly supervised video anomaly detection, from raw video to scored intervals.

    It trains on labels of whole videos and tells for every frame of a new one how anomalous it is, and for every
    incident when it starts and ends. A command that was stopped goes on where it was when it is given again. Results
    go to stdout, progress and messages to stderr; where NO_COLOR is set nothing is coloured.

    \b
    Exit codes:
      0    fine
      1    failed; one line says what was got, what was expected and what to do
      2    usage: an option, an argument or a file that is not there
      3    finished, but some videos failed, each named with its reason
      130  interrupted, 143 terminated; what was finished is kept

    \b
    Examples:
      vadpipe extract videos/
      vadpipe train
      vadpipe detect clip.mp4 --out intervals.json
      vadpipe detect --help
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines


@cli.command(short_help="See it work on made-up videos; no download.")
@click.option("--out", type=PATH, default=Path("demo"), show_default=True, help="Folder of the demo project.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@device_option
@quiet_option
def demo(out: Path, seed: int, device: str, quiet: bool) -> None:
    """Make a small synthetic data set, then extract, train, evaluate and detect on it; no download.

    Draws 64 street videos with planted fights, explosions and crashes. The encoder has random weights, so the figures
    show that the machinery works and learns, not how good pretrained features are. Takes some minutes.

    \b
    Examples:
      vadpipe demo
      vadpipe demo --out /tmp/demo --seed 1 --device cpu
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.demo import run_demo

    with progress(quiet) as bars:
        result = run_demo(out, seed=seed, device=resolve_device(device), bars=bars, say=say)
    print_evaluation(result.evaluation)
    print_detection(result.detection)
    print_table("files", ["what", "where"], [[name, str(path)] for name, path in result.files.items()])


cli.add_command(extract)
cli.add_command(detect)
cli.add_command(calibrate)
cli.add_command(train)
cli.add_command(evaluate)
cli.add_command(report)
cli.add_command(import_group)
cli.add_command(data_group)
cli.add_command(weights_group)
cli.add_command(features_group)
cli.add_command(store_group)
cli.add_command(doctor)
cli.add_command(completion)
import_group.add_command(import_labels)
import_group.add_command(import_checkpoint)


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(143)  # unwinds: readers are stopped, finished work is kept


def main() -> None:
    """Entry point: run a command, translate expected errors into one line and an exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    sys.excepthook = say_crash
    threading.excepthook = say_thread_crash
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        say("interrupted; what was finished is kept, run the same command to go on")
        sys.exit(130)
    except KeyboardInterrupt:
        say("interrupted; what was finished is kept, run the same command to go on")
        sys.exit(130)
    except click.ClickException as error:
        say_usage(error)
        sys.exit(error.exit_code)
    except VadpipeError as error:
        say(f"vadpipe: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
