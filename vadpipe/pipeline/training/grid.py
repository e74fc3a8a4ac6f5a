"""``vadpipe train --grid``: every row of an ablation table, with every seed, trained and measured on the test videos.

Nothing is chosen here. Each run keeps its epoch as its settings say; the test figures are written down, never compared.
A run folder is named after its settings, so a second call finds what is finished, and grids share equal rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from vadpipe.errors import DataError, UsageError, VadpipeError
from vadpipe.pipeline.evaluate import EvaluateOptions, Evaluation, evaluate
from vadpipe.pipeline.evaluating.report import figures
from vadpipe.pipeline.project import test_records
from vadpipe.pipeline.training.board import writer_class
from vadpipe.pipeline.training.data import TrainingData, TrainRequest, find_training_data
from vadpipe.pipeline.training.grid_file import Plan, PlannedRow
from vadpipe.pipeline.training.run import Prepared, prepare, train_run
from vadpipe.store import FeatureStore
from vadpipe.track_file import atomic_write

EVALUATION_FILE = "evaluation.json"
"""In a run folder: all figures of its last evaluation."""


@dataclass(frozen=True, slots=True)
class GridRequest:
    """Where training data and test data are.

    train
        As for one run; its config, seed, teacher and out are the rows' affair.
    root
        Folder of the run folders and of the tables.
    test_features, test_labels, test_annotations
        None: those of the training data, of which the records with split = test are taken.
    """

    train: TrainRequest
    root: Path = Path("runs") / "grid"
    test_features: Path | None = None
    test_labels: Path | None = None
    test_annotations: Path | None = None


@dataclass(frozen=True, slots=True)
class GridRun:
    """One row with one seed.

    selection
        How its epoch was chosen. figures: key of a test figure -> value, None where the videos do not define it.
    videos
        How many it was measured on. failure: why there is none of this; empty for a run that worked.
    """

    seed: int
    folder: Path
    selection: str = ""
    figures: Mapping[str, float | None] = field(default_factory=dict)
    videos: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class GridResult:
    """All runs of one grid: row name -> its runs in the order of the seeds."""

    plan: Plan
    runs: Mapping[str, tuple[GridRun, ...]]

    @property
    def failures(self) -> list[tuple[str, GridRun]]:
        """(row name, run) of the runs that failed."""
        return [(name, run) for name, runs in self.runs.items() for run in runs if run.failure]


class GridProgress(Protocol):
    """Who is told how far a grid is; a run that several rows share is told once."""

    def begin(self, row: PlannedRow, seed: int, *, finished: bool) -> None:
        """A run begins; ``finished``: it was trained before and is only measured."""

    def step(self, epochs: float) -> None:
        """So many epochs of it are done, as a fraction."""

    def end(self, row: PlannedRow, run: GridRun) -> None:
        """It has ended, well or not."""


def train_grids(
    plans: Sequence[Plan],
    request: GridRequest,
    device: str,
    progress: GridProgress,
    say: Callable[[str], None],
    *,
    board: bool = False,
) -> Iterator[GridResult]:
    """Train and measure all rows; a grid's result comes as soon as it is complete.

    A row that fails costs itself, and the students it was to teach. :class:`UsageError` or :class:`DataError`, before
    anything is trained, where the data cannot be found or the test videos cannot be told from the training videos.
    """
    runner = _Runner(request, device, progress, _once(say), board)
    runner.check(plans[0])
    for plan in plans:
        done = {(row.key, seed): runner.run(row, seed) for row, seed in plan.runs()}
        yield GridResult(plan, {row.name: tuple(done[row.key, seed] for seed in plan.seeds) for row in plan.rows})


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Rows have the same data, and so the same notes; each is said once."""
    said: set[str] = set()

    def tell(text: str) -> None:
        if text not in said:
            said.add(text)
            say(text)

    return tell


class _Runner:
    """Runs rows and remembers what they gave, and what they may share."""

    def __init__(
        self, request: GridRequest, device: str, progress: GridProgress, say: Callable[[str], None], board: bool
    ) -> None:
        self.request, self.device, self.progress, self.say, self.board = request, device, progress, say, board
        self._runs: dict[tuple[str, int], GridRun] = {}
        self._shared: tuple[Any, Prepared] | None = None  # one at a time: it holds the features in memory

    def check(self, plan: Plan) -> None:
        """Find the data of the first row, and test videos with known truth that it does not train on."""
        row = next(row for row, _ in plan.runs())  # it has no teacher among the rows
        if self.board:
            writer_class()
        data = find_training_data(self._train_request(row, plan.seeds[0]), self.say)
        if self.request.test_labels is None and not data.test:
            raise UsageError("no record has split = test; add the column to the labels, or pass --test-labels")
        records = self._test_records(self.request.root, data)
        known = {record.id for part in (data.train, data.val) for record in part}
        if seen := [record.id for record in records if record.id in known]:
            raise UsageError(f"{len(seen)} test videos are training videos too ({seen[0]!r} …); pass other test labels")
        if not any(record.intervals for record in records):
            raise DataError("no test video has annotated incidents; pass --test-annotations with their frames")

    def run(self, row: PlannedRow, seed: int) -> GridRun:
        """Train and measure one row with one seed, or return what that gave before."""
        if (row.key, seed) in self._runs:
            return self._runs[row.key, seed]
        folder = row.folder(self.request.root, seed)
        self.progress.begin(row, seed, finished=(folder / "config.json").is_file() and not self.request.train.restart)
        try:
            run = self._train_and_measure(row, seed, folder)
        except torch.OutOfMemoryError as error:
            self._shared = None
            run = GridRun(seed, folder, failure=f"{str(error).splitlines()[0]}; try --set train.micro_batch=8")
        except VadpipeError as error:
            run = GridRun(seed, folder, failure=str(error))
        self._runs[row.key, seed] = run
        self.progress.end(row, run)
        return run

    def _train_and_measure(self, row: PlannedRow, seed: int, folder: Path) -> GridRun:
        data = find_training_data(self._train_request(row, seed), self.say)
        result = train_run(
            data, self.device, on_step=self.progress.step, prepared=self._prepared(data), board=self.board
        )
        measured = self._measure(folder, result.trained, data)
        for note in measured.notes:
            self.say(f"note: {row.name}, seed {seed}: {note}")
        atomic_write(folder / EVALUATION_FILE, (json.dumps(measured.to_mapping(), indent=1) + "\n").encode())
        values = {figure.key: figure.value for figure in figures(measured)}
        return GridRun(seed, folder, result.trained.selection, values, measured.videos)

    def _teacher(self, row: PlannedRow, seed: int) -> Path | None:
        if getattr(row.config.model, "distill", "none") == "none":
            return None
        if row.teacher is None:
            return self.request.train.teacher
        run = self._runs[row.teacher.key, seed]
        if run.failure:
            raise VadpipeError(f"its teacher, the row {row.teacher.name!r}, failed")
        return run.folder

    def _train_request(self, row: PlannedRow, seed: int) -> TrainRequest:
        folder, teacher = row.folder(self.request.root, seed), self._teacher(row, seed)
        return replace(self.request.train, config=row.config, seed=seed, out=folder, teacher=teacher)

    def _prepared(self, data: TrainingData) -> Prepared:
        """What was read and encoded for the run before, where this one needs the same."""
        config = data.request.config
        texts = (data.classes, config.prompts, config.prompt_template, data.request.weights, config.head)
        needs = (data.spec, data.audio_spec, data.train, data.val, data.test, texts, config.model.max_snippets)
        same = (*needs, data.request.teacher)
        if self._shared is None or self._shared[0] != same:
            self._shared = None  # free the old one first
            self._shared = same, prepare(data, self.device)
        return self._shared[1]

    def _test_records(self, folder: Path, data: TrainingData) -> list[Any]:
        """Test videos of the row with their truth; refuses what the run in ``folder`` or its teacher has seen."""
        request, train = self.request, self.request.train
        annotations = request.test_annotations or (train.annotations if request.test_labels is None else None)
        labels = request.test_labels or train.labels
        store = self._test_store()
        return test_records(folder, store, data.spec, labels, annotations, "test", False, self.say)

    def _test_store(self) -> FeatureStore:
        return FeatureStore(self.request.test_features or self.request.train.features)

    def _measure(self, folder: Path, trained: Any, data: TrainingData) -> Evaluation:
        records = self._test_records(folder, data)
        return evaluate(trained, self._test_store(), records, options=EvaluateOptions(draws=0))
