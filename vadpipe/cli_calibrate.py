"""``vadpipe calibrate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vadpipe.cli_detect import Shown
from vadpipe.cli_options import (
    PATH,
    RUN,
    chosen_engine,
    engine_options,
    json_option,
    quiet_option,
    reading_options,
)
from vadpipe.cli_output import console, print_json, print_table, progress, say
from vadpipe.errors import UsageError

if TYPE_CHECKING:
    from vadpipe.calibration import Calibration
    from vadpipe.pipeline.calibrating.run import CalibrateSummary, Kept


@click.command(short_help="Choose a threshold from normal footage.")
@click.argument("videos", nargs=-1, type=PATH)
@click.option("--false-alarms-per-hour", "rate", type=float, help="How many there may be, e.g. 0.5.")
@click.option("--run", type=RUN, help="Run folder.  [default: the only one under runs/]")
@click.option("--student", type=RUN, help="Run folder for videos without sound.  [default: student/ in the run]")
@click.option("--features", type=PATH, help="Store to look in first and to keep features in.")
@click.option("--out", type=PATH, help="A .json file to write.  [default: calibration.json in the run folder]")
@click.option("--show", is_flag=True, help="Only show the calibration that the run has.")
@click.option("--allow-seen", is_flag=True, help="Take videos of the same name as those the head was trained on.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="As for detect, e.g. min_length_s=1.")
@reading_options
@engine_options
@json_option
@quiet_option
def calibrate(videos: tuple[Path, ...], show: bool, as_json: bool, quiet: bool, **settings: Any) -> None:
    """Choose a threshold from VIDEOS in which nothing happens: normal footage of your own camera.

    It is stored with the model, and detect then reports only intervals that reach it. VIDEOS as for detect.

    \b
    Examples:
      vadpipe calibrate normal/ --false-alarms-per-hour 0.5
      vadpipe calibrate 'normal/*.mp4' --false-alarms-per-hour 1 --run runs/x --features features
      vadpipe calibrate --show
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.project import find_run

    if show:
        _show(find_run(settings["run"], Path()), settings["student"], as_json=as_json)
        return
    rate = settings.pop("rate")
    if not videos or rate is None:
        raise UsageError("expected normal footage and --false-alarms-per-hour, or --show")
    refused: dict[str, str] = {}
    summary = _calibrated(videos, rate, refused, quiet, settings)
    if as_json:
        print_json({"calibrations": [_json(kept) for kept in summary.kept], "failed": summary.failed | refused})
    for kept in summary.kept:
        _print(kept, as_json=as_json)
    if summary.failed or refused or not summary.kept:
        sys.exit(3 if summary.kept else 1)


def _calibrated(
    videos: tuple[Path, ...], rate: float, refused: dict[str, str], quiet: bool, settings: dict[str, Any]
) -> CalibrateSummary:
    from vadpipe.pipeline.detecting.inputs import find_inputs
    from vadpipe.pipeline.project import find_run

    found, run = find_inputs(videos, refused), find_run(settings.pop("run"), Path())
    for reason in refused.values():
        say(f"failed: {reason}")
    from vadpipe.extractors.limits import parse_limits

    settings["limits"] = parse_limits(settings["limits"])
    settings |= chosen_engine(settings)
    from vadpipe.pipeline.calibrating.run import CalibrateRequest, calibrate_run
    from vadpipe.pipeline.detecting.request import DetectRequest

    own = {name: settings.pop(name) for name in ("out", "allow_seen")}
    request = CalibrateRequest(DetectRequest(videos=found, run=run, **settings), rate, **own)
    with progress(quiet) as bars:
        is_plain = not quiet and not console(stderr=True).is_terminal
        return calibrate_run(request, Shown(len(found), bars, say if is_plain else None), say)


def _show(run: Path, student: Path | None, *, as_json: bool) -> None:
    from vadpipe.pipeline.calibrating.file import to_json
    from vadpipe.pipeline.calibrating.run import shown_calibrations

    found = shown_calibrations(run, student)
    if as_json:
        print_json([{"file": str(path), **to_json(known)} for path, known in found.items()])
        return
    for path, known in found.items():
        print_table(str(path), ["", ""], _rows(known))


def _rows(known: Calibration) -> list[list[str]]:
    return [
        ["threshold on an interval's highest raw anomaly score", f"{known.threshold:.6f}"],
        ["false alarms an hour asked for", f"{known.false_alarms_per_hour:g}"],
        ["normal footage", f"{known.hours:.4g} h in {known.videos} videos"],
        ["alarms in it", f"{known.alarms} ({known.alarms / known.hours:.3g} an hour)"],
        ["upper 95 % limit of the true rate (Poisson)", f"{known.upper:.3g} an hour"],
        ["head", known.head_sha256[:12]],
        ["settings", ", ".join(f"{name} {value:g}" for name, value in known.settings.items())],
    ]


def _print(kept: Kept, *, as_json: bool) -> None:
    made = kept.made
    if not as_json:
        rows = _rows(made.calibration)
        expected = made.expected
        most = f"unknown (at most {made.calibration.upper:.3g} an hour)"
        told = most if expected is None else f"{expected:.3g} an hour"
        rows.insert(4, ["to expect in other footage like it", told])
        rows.insert(3, ["intervals in it without a threshold", str(made.candidates)])
        print_table(f"calibration of {made.head}", ["", ""], rows)
        highest = [
            [item.video, item.category, f"{item.start_s:.1f} s", f"{item.end_s:.1f} s", f"{item.peak:.6f}"]
            for item in made.highest
        ]
        if highest:
            title = "highest in it: look whether they are normal"
            print_table(title, ["video", "category", "start", "end", "peak"], highest)
    for text in made.said:
        say(f"warning: {text}")
    if kept.changed:
        say(f"changed: {'; '.join(kept.changed)}")
    say(f"wrote {kept.path}")


def _json(kept: Kept) -> dict[str, Any]:
    from dataclasses import asdict

    from vadpipe.pipeline.calibrating.file import to_json

    made = kept.made
    return {
        "file": str(kept.path),
        "head": made.head,
        **to_json(made.calibration),
        "candidates": made.candidates,
        "expected": made.expected,
        "highest": [asdict(item) for item in made.highest],
        "warnings": list(made.said),
        "changed": list(kept.changed),
    }
