"""The same training with several seeds: a run folder each, and one table of all."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vadpipe.pipeline.train import FitResult, Row
from vadpipe.pipeline.training.data import TrainingData
from vadpipe.pipeline.training.ranks import ALONE, Ranks
from vadpipe.pipeline.training.run import prepare, train_run

FIGURES = ("frame_ap", "frame_auc", "video_ap", "video_auc")


@dataclass(frozen=True, slots=True)
class SeedRuns:
    """Results by seed, and where each was written."""

    results: dict[int, FitResult]
    folders: dict[int, Path]

    def figures(self) -> dict[str, tuple[float, float]]:
        """Figure of the kept epochs -> mean over seeds, and standard deviation with n - 1 (0 for one seed)."""
        best = [result.best for result in self.results.values()]
        columns = {name: [row[name] for row in best] for name in FIGURES if all(name in row for row in best)}
        return {
            name: (statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0)
            for name, values in columns.items()
        }

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        runs = [
            {
                "seed": seed,
                "run": str(self.folders[seed]),
                "selection": result.trained.selection,
                "best": result.best,
            }
            for seed, result in self.results.items()
        ]
        figures = {name: {"mean": mean, "sd": sd} for name, (mean, sd) in self.figures().items()}
        return {"runs": runs, "figures": figures}


def with_seed(data: TrainingData, seed: int) -> TrainingData:
    """The same data for a run with another seed: in ``<out>-seed<k>``, or the default folder, which names the seed."""
    out = data.request.out
    out = None if out is None else out.with_name(f"{out.name}-seed{seed}")
    request = replace(data.request, seed=seed, out=out)
    return replace(data, request=request, folder=request.folder(data.spec))


def train_seeds(
    data: TrainingData,
    seeds: Sequence[int],
    device: str = "cpu",
    on_epoch: Callable[[int, Row], None] | None = None,
    *,
    on_step: Callable[[int, float], None] | None = None,
    ranks: Ranks = ALONE,
    board: bool = False,
) -> SeedRuns:
    """Train one run a seed, one after another; finished ones are returned as they are, unfinished ones go on.

    Callbacks as for :func:`vadpipe.pipeline.training.run.train_run`, with the seed first.
    """
    prepared, results, folders = prepare(data, device), {}, {}
    for seed in seeds:
        own = with_seed(data, seed)
        results[seed] = train_run(
            own,
            device,
            None if on_epoch is None else partial(on_epoch, seed),
            on_step=None if on_step is None else partial(on_step, seed),
            prepared=prepared,
            ranks=ranks,
            board=board,
        )
        folders[seed] = own.folder
    return SeedRuns(results, folders)
