"""``vadpipe train --grid``: what it shows while rows are trained, and their tables."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vadpipe.cli_options import resolve_device
from vadpipe.cli_output import console, print_json, print_table, progress, say, visible
from vadpipe.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from vadpipe.pipeline.training.grid import GridResult, GridRun
    from vadpipe.pipeline.training.grid_file import GridOptions, PlannedRow


def run_grids(
    files: Sequence[Path],
    options: GridOptions,
    places: dict[str, Any],
    *,
    root: Path | None,
    device: str,
    board: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train the rows of all grid files and print their tables; exit code 3 where rows failed, 1 where all did.

    ``places``: where data are; names as in ``TrainRequest``, those of test data as in ``GridRequest``.
    """
    from vadpipe.config import RunConfig
    from vadpipe.pipeline.training.data import TrainRequest
    from vadpipe.pipeline.training.grid_file import count_runs, plan_grids

    if os.environ.get("WORLD_SIZE", "1") not in ("", "1"):
        raise UsageError("--grid trains its rows one after another in one process; start it without torchrun")
    plans = plan_grids(files, options)
    device = resolve_device(device)
    from vadpipe.pipeline.training.grid import GridRequest, train_grids

    test = {name: places.pop(name) for name in ("test_features", "test_labels", "test_annotations")}
    given = TrainRequest(config=RunConfig(), teacher=options.teacher, **places)
    request = GridRequest(given, root or Path("runs") / "grid", **test)
    if any(row.config.train.select == "paper-test" for plan in plans for row in plan.rows):
        say("WARNING: paper-test keeps the epoch that is best on the TEST set; its figures are no honest estimates")
    results = []
    with progress(quiet) as bars:
        shown = _GridBars(bars, count_runs(plans), quiet)
        for result in train_grids(plans, request, device, shown, say, board=board):
            results.append(result)
            _report(result, request.root, as_json=as_json)
    if as_json:
        _print_all(results)
    failed = sum(len(result.failures) for result in results)
    if failed:
        every = sum(len(runs) for result in results for runs in result.runs.values())
        sys.exit(3 if failed < every else 1)


def _report(result: GridResult, root: Path, *, as_json: bool) -> None:
    """Write a grid's files, and print its table as soon as it is complete."""
    from vadpipe.pipeline.training.grid_table import COLUMNS, footer, grid_rows, write_grid

    written = write_grid(result, root)
    if not as_json:
        print_table(result.plan.title, ["setting", *COLUMNS.values()], grid_rows(result))
        for line in footer(result):
            console().print(visible(line), markup=False, soft_wrap=True)
    say(f"wrote {', '.join(str(path) for path in written)}")


def _print_all(results: Sequence[GridResult]) -> None:
    from vadpipe.pipeline.training.grid_table import grid_mapping

    print_json({"grids": [grid_mapping(result) for result in results]})


class _GridBars:
    """A bar over all runs, one over the epochs of the run at hand, and a line a run."""

    def __init__(self, bars: Progress, total: int, quiet: bool) -> None:
        self.bars, self.total, self.quiet = bars, total, quiet
        self.all = bars.add_task("runs", total=total, note="")
        self.one = bars.add_task("epochs", total=None, note="")
        self.done, self.trained, self.began, self.spent = 0, 0, 0.0, 0.0
        self.finished = False

    def begin(self, row: PlannedRow, seed: int, *, finished: bool) -> None:
        """Start the second bar again."""
        self.began, self.finished = time.monotonic(), finished
        note = f"{visible(row.name)}, seed {seed}"
        self.bars.reset(self.one, total=row.config.train.epochs, note=note)

    def step(self, epochs: float) -> None:
        """Move it."""
        self.bars.update(self.one, completed=epochs)

    def end(self, row: PlannedRow, run: GridRun) -> None:
        """Say what came of a run, and how long the rest will take at the mean pace of those that were trained now."""
        self.done += 1
        took = time.monotonic() - self.began
        if not self.finished and not run.failure:
            self.trained, self.spent = self.trained + 1, self.spent + took
        self.bars.update(self.all, completed=self.done)
        name = f"run {self.done} of {self.total}: {row.name}, seed {run.seed}"
        if run.failure:
            say(f"failed: {name}: {run.failure}")
            return
        left = self.total - self.done
        ends = f", about {left * self.spent / self.trained:.0f} s to go" if left and self.trained else ""
        value = run.figures["frame_ap"] or 0.0
        if not self.quiet:
            what = "measured again" if self.finished else "trained"
            self.bars.console.print(
                visible(f"{name}: {what}, AP {100 * value:.2f}, {took:.0f} s{ends}"), markup=False, soft_wrap=True
            )
