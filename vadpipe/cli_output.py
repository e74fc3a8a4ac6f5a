"""What the command line shows: tables on stdout, progress and messages on stderr, plain text without a terminal."""

from __future__ import annotations

import io
import json
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vadpipe.redact import brief

if TYPE_CHECKING:
    from click import ClickException
    from rich.console import Console
    from rich.progress import Progress

    from vadpipe.detection import Detection
    from vadpipe.pipeline.evaluating.report import RunReport
    from vadpipe.pipeline.evaluating.result import Evaluation
    from vadpipe.pipeline.extract import ExtractSummary
    from vadpipe.pipeline.shard import Shard
    from vadpipe.tracks import Interval


_TABLE_ROWS = 1000
_MOST_SHOWN = 100_000


def console(*, stderr: bool = False) -> Console:
    """Return a rich console that honours NO_COLOR and does not wrap at 80 columns when piped."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, emoji=False, width=None if stream.isatty() else 160)


def say(message: str) -> None:
    """Print a message for people on stderr; control characters of file names are made visible."""
    print(visible(message), file=sys.stderr)  # noqa: T201  # this module is where printing lives


def visible(text: str) -> str:
    """Return ``text`` fit for a terminal: secrets of addresses hidden, and control characters escaped.

    So a file name cannot drive the terminal, nor turn the text beside it round. Of what nobody reads to its end, over
    100,000 characters, the middle goes.
    """
    return "".join(
        char if char.isprintable() or char == "\n" else repr(char)[1:-1] for char in brief(text, _MOST_SHOWN)
    )


def say_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """As ``sys.excepthook``: the whole traceback, loud, since it is a bug; but what is in it is text like any other."""
    say("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"))


def say_thread_crash(crash: threading.ExceptHookArgs) -> None:
    """As ``threading.excepthook``: the same for a thread; SystemExit ends one silently, as always."""
    if crash.exc_value is not None and not isinstance(crash.exc_value, SystemExit):
        say_crash(crash.exc_type, crash.exc_value, crash.exc_traceback)


def say_usage(error: ClickException) -> None:
    """What click says of wrong arguments, which may be names of files that a shell put there."""
    text = io.StringIO()
    error.show(text)
    say(text.getvalue().rstrip("\n"))


def print_json(content: Any) -> None:
    """Print machine-readable output on stdout."""
    print(json.dumps(content, indent=1, ensure_ascii=True))  # noqa: T201  # this module is where printing lives


@contextmanager
def progress(quiet: bool) -> Iterator[Progress]:
    """Progress bars on stderr with elapsed and remaining time; nothing where ``quiet`` or not a terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Description(ProgressColumn):
        """What a bar is about: text, never markup."""

        def render(self, task: Task) -> Text:
            return Text(visible(task.description))

    class Note(ProgressColumn):
        """What stands behind it."""

        def render(self, task: Task) -> Text:
            return Text(visible(str(task.fields["note"])))

    screen = console(stderr=True)
    columns = (
        Description(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        Note(),
    )
    with Progress(*columns, console=screen, disable=quiet or not screen.is_terminal) as bars:
        yield bars


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout; cells are text, never markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(visible(title)), title_justify="left")
    for index, name in enumerate(columns):
        # a name that is too wide goes on in the next line: cut off, it could be another's
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    console().print(table)


def print_summary(summary: ExtractSummary, out: Path, shard: Shard | None = None) -> None:
    """Print what an extraction did; its warnings go to stderr."""
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
    print_table(f"features in {out}" if shard is None else f"shard {shard}: features in {out}", ["", ""], rows)


def print_detection(detection: Detection) -> None:
    """Print the intervals of one video, the head that scored it, and what became of its sound."""
    rows = [_interval_row(detection, item) for item in detection.intervals]
    columns = ["category", "start", "end", "first frame", "end frame", "score", "peak"]
    if (known := detection.calibration) is not None:
        columns.append("calibrated")
    title = f"{detection.clip.id}: {len(rows)} intervals in {_clock(detection.scores.grid.duration_s)}"
    print_table(title, columns, rows)
    head, sound = detection.provenance.get("name", "a head"), "used" if detection.audio.used else "not used"
    _print_line(f"scored by {head}; audio {sound}: {detection.audio.reason}")
    if known is not None:
        _print_line(
            f"calibrated on {known.hours:.2f} h of normal footage: threshold {known.threshold:.3f} for "
            f"{known.false_alarms_per_hour:g} false alarms an hour"
        )


def print_detections(detections: Sequence[Detection]) -> None:
    """Print a row for each of several videos, the most suspicious first; of very many a table for each thousand.

    A table is held as a whole; ``detections`` are looked at one by one.
    """
    highest = [_highest(detection) for detection in detections]
    order = sorted(range(len(highest)), key=highest.__getitem__, reverse=True)
    columns = ["video", "length", "intervals", "highest score", "head", "audio"]
    for first in range(0, len(order), _TABLE_ROWS):
        part = order[first : first + _TABLE_ROWS]
        title = f"{len(order)} videos" + (f", from {first + 1} on" if first else "")
        print_table(title, columns, [_video_row(detections[place]) for place in part])


def _video_row(detection: Detection) -> list[str]:
    head, sound = detection.provenance.get("name", ""), "used" if detection.audio.used else "not used"
    length = _clock(detection.scores.grid.duration_s)
    return [detection.clip.id, length, str(len(detection.intervals)), f"{_highest(detection):.3f}", head, sound]


def _highest(detection: Detection) -> float:
    return float(detection.scores.anomaly.max(initial=0.0))


def _interval_row(detection: Detection, item: Interval) -> list[str]:
    row = [detection.shown(item.category), _clock(item.start_s), _clock(item.end_s), f"{item.start_frame}"]
    row += [f"{item.end_frame}", f"{item.score:.3f}", f"{detection.peak(item):.3f}"]
    if detection.calibration is not None:
        calibrated = detection.calibrated_peak(item)
        row.append("–" if calibrated is None else f"{calibrated:.3f}")
    return row


def _print_line(text: str) -> None:
    console().print(visible(text), markup=False, soft_wrap=True)


def print_evaluation(evaluation: Evaluation, name: str = "", selection: str = "") -> None:
    """Print the figures with their 95 % intervals and chance, what the protocols are, and a row for each class.

    ``selection`` says how the head's epoch was chosen; figures mean nothing without it.
    """
    from vadpipe.pipeline.evaluating.report import figures
    from vadpipe.pipeline.evaluating.result import PROTOCOLS

    rows = []
    for figure in figures(evaluation):
        bounds = f"{figure.bounds[0]:.4f} … {figure.bounds[1]:.4f}" if figure.bounds else ""
        rows.append([figure.label, _number(figure.value), bounds, _number(figure.chance, "")])
    size = f"{evaluation.videos} videos, {evaluation.frames} frames"
    print_table(f"{name}: {size}" if name else size, ["figure", "value", "95 %", "chance"], rows)
    if selection:
        console().print(f"selection: {visible(selection)}", markup=False)
    for protocol, meaning in PROTOCOLS.items():
        console().print(f"{protocol}: {meaning}", markup=False)
    if evaluation.bounds:
        options = evaluation.options
        text = f"95 %: {options.draws} draws of whole videos with replacement, seed {options.seed}"
        console().print(text, markup=False)
    thresholds = evaluation.intervals.iou_thresholds
    columns = ["class", "videos", "true", "found"]
    columns += [f"{protocol} @{value:g}" for protocol in ("strict", "vadclip") for value in thresholds]
    rows = []
    for row in evaluation.classes:
        counts = [row.name, str(row.videos), str(row.true), str(row.found)]
        values = [*(row.strict or (None,) * len(thresholds)), *(row.vadclip or (None,) * len(thresholds))]
        rows.append([*counts, *(_number(value, places=3) for value in values)])
    print_table("average precision of each class", columns, rows)


def print_comparison(report: RunReport) -> None:
    """Print the published figures beside ours, in percent; nothing where none are known for this test set."""
    from vadpipe.pipeline.evaluating.report import compared

    rows = [
        [
            label,
            "–" if ours is None else f"{ours:.2f}",
            f"{published.percent:.2f}",
            published.features,
            published.source,
        ]
        for label, ours, published in compared(report)
    ]
    if rows:
        title = f"{report.name} on {report.dataset}, percent; our features: {report.features}"
        print_table(title, ["figure", "ours", "published", "its features", "source"], rows)


def print_runs(reports: Sequence[RunReport]) -> None:
    """Print mean and standard deviation over several runs; nothing for one."""
    from vadpipe.pipeline.evaluating.report import figures, summary

    over = summary(reports)
    labels = {figure.key: figure.label for figure in figures(reports[0].evaluation)}
    rows = [[labels[key], f"{mean:.4f}", f"{sd:.4f}"] for key, (mean, sd) in over.items()]
    if rows:
        print_table(f"{len(reports)} runs", ["figure", "mean", "standard deviation"], rows)


def _number(value: float | None, nothing: str = "–", places: int = 4) -> str:
    return nothing if value is None else f"{value:.{places}f}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 2), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:05.2f}" if hours else f"{minutes}:{rest:05.2f}"
