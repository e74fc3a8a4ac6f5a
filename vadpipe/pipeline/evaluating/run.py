"""Whole runs evaluated: heads loaded, test videos found and checked, figures measured, files written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

from vadpipe.errors import UsageError
from vadpipe.models.checkpoint import TrainedHead, load_head
from vadpipe.pipeline.evaluate import EvaluateOptions, evaluate
from vadpipe.pipeline.evaluating.align import named
from vadpipe.pipeline.evaluating.picture import draw_curves
from vadpipe.pipeline.evaluating.report import RunReport, latex_rows, runs_csv, to_json, videos_csv
from vadpipe.pipeline.pages.timeline import SUFFIXES
from vadpipe.pipeline.project import test_records
from vadpipe.pipeline.published import features_in_words, published_figures, require_test_set
from vadpipe.store import FeatureStore
from vadpipe.track_file import atomic_write

_HEADS = ("avadclip", "vadclip", "lec_vad")


class Bars(Protocol):
    """Who is told how far it is; rich's ``Progress`` is one."""

    def add_task(self, description: str, *, total: float | None, note: str) -> Any:
        """Begin something of ``total`` steps; what is returned names it."""

    def advance(self, task_id: Any) -> None:
        """One step of it is done."""


@dataclass(frozen=True, slots=True)
class EvaluateRequest:
    """What ``vadpipe evaluate`` is asked for: runs, the places of their test data, what the data set is called."""

    runs: tuple[Path, ...]
    features: Path = Path("features")
    labels: Path | None = None
    annotations: Path | None = None
    order: Path | None = None
    split: str = "test"
    allow_seen: bool = False
    dataset: str = ""
    options: EvaluateOptions = field(default_factory=EvaluateOptions)


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Files to write, each left out where None: all figures, a row a run, LaTeX rows, a row a video, curves.

    :class:`UsageError` where two are the same file, or one cannot be written where it is asked for.
    """

    json: Path | None = None
    csv: Path | None = None
    latex: Path | None = None
    per_video: Path | None = None
    picture: Path | None = None

    def __post_init__(self) -> None:
        if self.picture is not None and self.picture.suffix.lower() not in SUFFIXES:
            raise UsageError(f"--picture {self.picture}: expected a name that ends in {', '.join(SUFFIXES)}")
        taken: dict[Path, str] = {}
        for name in (item.name for item in fields(self)):
            path: Path | None = getattr(self, name)
            if path is None:
                continue
            option = "--out" if name == "json" else f"--{name.replace('_', '-')}"
            _check_target(path, option)
            if (other := taken.setdefault(path.resolve(), option)) != option:
                raise UsageError(f"{other} and {option} are the same file, {path}; give each its own")


def _check_target(path: Path, option: str) -> None:
    """Refuse, before anything is computed, a file that could not be written; folders that lack are made later."""
    place = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    if path.is_dir() or not place.is_dir():
        wrong = path if path.is_dir() else place
        raise UsageError(f"{option} {path}: {wrong} is {'a' if path.is_dir() else 'no'} folder; give another file name")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {path}: no permission to write in {place}")


def evaluate_runs(
    request: EvaluateRequest, device: str, bars: Bars, say: Callable[[str], None]
) -> tuple[RunReport, ...]:
    """Evaluate each run on its test videos; ``say`` is told what a reader of the figures has to know.

    :class:`UsageError` where ``dataset`` is given and the videos are not exactly its test set.
    """
    store = FeatureStore(request.features)
    reports: list[RunReport] = []
    for folder, name in zip(request.runs, _names(request.runs), strict=True):
        trained = load_head(folder, device)
        reports.append(_evaluate_run(folder, name, trained, store, request, bars, say))
    sets = [{row.id for row in report.evaluation.rows} for report in reports]
    if any(ids != sets[0] for ids in sets):
        say("warning: the runs were evaluated on different videos, so their mean and deviation mean little")
    return tuple(reports)


def _names(runs: Sequence[Path]) -> list[str]:
    """Names of the folders; whole paths where two folders have one name."""
    names = [run.resolve().name for run in runs]
    if len(set(runs)) != len(runs):
        raise UsageError("--run: the same folder is given twice; its figures would count twice")
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def _evaluate_run(
    folder: Path,
    name: str,
    trained: TrainedHead,
    store: FeatureStore,
    request: EvaluateRequest,
    bars: Bars,
    say: Callable[[str], None],
) -> RunReport:
    places = (request.labels, request.annotations, request.split, request.allow_seen)
    lengths: dict[str, int] = {}
    records = test_records(folder, store, trained.spec, *places, say, request.order, lengths)
    known = [record.id for record in records if record.intervals or not record.is_anomalous]
    dataset = _dataset(request.dataset, trained, known, say)
    task = bars.add_task(f"scoring {name}", total=len(known), note="")
    evaluation = evaluate(trained, store, records, lambda *_: bars.advance(task), request.options)
    stated = {name: lengths[name] for name in known if name in lengths}
    evaluation = replace(evaluation, differences={**stated, **evaluation.differences})
    if evaluation.left_out:
        count = len(evaluation.left_out)
        say(f"warning: {count} anomalous videos have no annotated span and are left out: {named(evaluation.left_out)}")
    if trained.spec.untrained:
        say(f"note: {name}: the features come from an encoder with random weights")
    if trained.caution:
        say(f"note: {name}: {trained.caution}")
    for note in evaluation.notes:
        say(f"note: {name}: {note}")
    words = features_in_words(trained.spec, trained.audio_spec)
    published = published_figures(dataset, _head_family(trained.config.head), words) if dataset else ()
    shown = f"{words} ({trained.spec.folder})"
    return RunReport(name, trained.config.head, shown, trained.selection, evaluation, dataset, published)


def _dataset(asked: str, trained: TrainedHead, ids: Sequence[str], say: Callable[[str], None]) -> str:
    """Data set to compare on: what the user said, else what the run recorded and these videos are; else none."""
    if asked:
        require_test_set(asked, ids)
        return asked
    recorded = trained.provenance.get("dataset")
    if not isinstance(recorded, str) or not recorded:
        return ""
    try:
        require_test_set(recorded, ids)
    except UsageError as error:
        say(f"note: no published figures beside: the run says {error}")
        return ""
    return recorded


def _head_family(head: str) -> str:
    return next((name for name in _HEADS if head.startswith(name)), head)


def write_reports(reports: Sequence[RunReport], files: ReportFiles) -> None:
    """Write the files that are wanted, each whole or not at all."""
    texts = {files.csv: runs_csv, files.latex: latex_rows, files.per_video: videos_csv}
    if files.json is not None:
        atomic_write(files.json, (json.dumps(to_json(reports), indent=1) + "\n").encode())
    for path, text in texts.items():
        if path is not None:
            atomic_write(path, text(reports).encode())
    if files.picture is not None:
        draw_curves(files.picture, {report.name: report.evaluation.ranking for report in reports})
