"""``vadpipe evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vadpipe.cli_complete import dataset_names, one_of
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
from vadpipe.cli_output import print_comparison, print_evaluation, print_json, print_runs, progress, say


@click.command(short_help="Compare heads with known incidents.")
@click.option(
    "--run",
    "runs",
    type=RUN,
    multiple=True,
    help="Run folder; several give mean and standard deviation.  [default: the only one under runs/]",
)
@features_option
@labels_option
@annotations_option
@click.option("--order", type=PATH, help="Test list that gives the order of a gt*.npy.")
@click.option("--split", default="test", show_default=True, help="Which records of the labels; all for every one.")
@click.option("--allow-seen", is_flag=True, help="Evaluate even videos that the head was trained or selected on.")
@click.option(
    "--dataset",
    default="",
    shell_complete=one_of(dataset_names),
    help="xd_violence, ucf_crime or cctv_fights: published figures beside.",
)
@click.option(
    "--threshold", type=float, default=0.5, show_default=True, help="Anomaly score above which a frame is an alarm."
)
@click.option(
    "--bootstrap",
    "draws",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="Draws of the 95 % intervals; 0 for none.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of these draws.")
@click.option("--out", type=PATH, help="Write all figures as JSON.")
@click.option("--csv", type=PATH, help="Write a row for each run.")
@click.option("--latex", type=PATH, help="Write a LaTeX table row for each run.")
@click.option("--per-video", type=PATH, help="Write a CSV row for each video.")
@click.option("--picture", type=PATH, help="Draw precision over recall, and ROC.")
@device_option
@json_option
@quiet_option
def evaluate(
    runs: tuple[Path, ...],
    as_json: bool,
    quiet: bool,
    device: str,
    threshold: float,
    draws: int,
    seed: int,
    **given: Any,
) -> None:
    """Compare heads with known incidents: frame AP and AUC, mAP@IoU, false alarms, chance beside each.

    Scores the stored features of the videos with split = test and compares every frame and interval with the
    annotations. Videos that a head was trained or selected on are refused. Each figure has its chance level and its
    95 % interval; what the protocols mean is printed below them.

    \b
    Examples:
      vadpipe evaluate
      vadpipe evaluate --run runs/a --labels test.csv --annotations annotations.txt --out figures.json
      vadpipe evaluate --run runs/seed-0 --run runs/seed-1 --dataset xd_violence --latex rows.tex
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.project import find_run

    folders = tuple(find_run(run, Path()) for run in runs or (None,))
    from vadpipe.pipeline.evaluate import EvaluateOptions
    from vadpipe.pipeline.evaluating.report import to_json
    from vadpipe.pipeline.evaluating.run import EvaluateRequest, ReportFiles, evaluate_runs, write_reports

    names = ("csv", "latex", "per_video", "picture")
    files = ReportFiles(given.pop("out"), **{name: given.pop(name) for name in names})
    request = EvaluateRequest(folders, options=EvaluateOptions(threshold, draws, seed), **given)
    with progress(quiet) as bars:
        reports = evaluate_runs(request, resolve_device(device), bars, say)
    if as_json:
        print_json(to_json(reports))
    else:
        for report in reports:
            title = f"{report.name}, {report.head}, {report.features}"
            print_evaluation(report.evaluation, title, report.selection)
            print_comparison(report)
        print_runs(reports)
    write_reports(reports, files)  # last: what a full disk refuses is on the screen
