"""``vadpipe train``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vadpipe.cli_complete import head_names, one_of
from vadpipe.cli_grid import run_grids
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
    weights_option,
)
from vadpipe.cli_output import print_json, print_table, progress, say, visible
from vadpipe.errors import VadpipeError

if TYPE_CHECKING:
    from rich.progress import Progress

    from vadpipe.pipeline.train import FitResult
    from vadpipe.pipeline.training.data import TrainingData
    from vadpipe.pipeline.training.ranks import Ranks
    from vadpipe.pipeline.training.seeds import SeedRuns

Row = dict[str, float]


def _parse_seeds(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, ...]:
    """``5`` -> 0 … 4; ``0,7`` or ``3,`` -> these."""
    if value is None:
        return ()
    parts = [part.strip() for part in value.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise click.BadParameter(f"got {value!r}, expected a number of seeds, or seeds joined by commas")
    seeds = tuple(int(part) for part in parts)
    seeds = seeds if "," in value else tuple(range(min(seeds[0], 1001)))
    if not 1 <= len(seeds) <= 1000 or len(set(seeds)) != len(seeds):
        raise click.BadParameter(f"got {value!r}, expected 1 to 1000 seeds, none twice")
    return seeds


@click.command(short_help="Train a head on features and labels.")
@features_option
@labels_option
@annotations_option
@click.option(
    "--head",
    shell_complete=one_of(head_names),
    help="Head to train, e.g. lec_vad, vadclip, avadclip, avadclip-student; as --set head=NAME.",
)
@click.option("--stream", help="Stream or folder name of the features.  [default: the config's, clip]")
@click.option("--teacher", type=RUN, metavar="RUN", help="Run folder of the head that a student learns from.")
@click.option(
    "--out",
    type=PATH,
    help="Run folder; of --grid that of all its runs.  [default: runs/<head>-<stream>-seed<seed>; runs/grid]",
)
@click.option("--config", "config_file", type=PATH, help="TOML file of settings.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting; may be repeated.")
@click.option(
    "--select",
    type=click.Choice(["validation", "last", "paper-test"]),
    help="Epoch to keep, as --set train.select=…; paper-test picks it on the TEST set and says so everywhere.",
)
@click.option("--seed", type=click.IntRange(0), help="[default: 0; of --grid the file's seeds]")
@click.option(
    "--seeds", callback=_parse_seeds, metavar="N|LIST", help="Seeds 0 … N-1 or those listed (1,5); a run folder each."
)
@click.option(
    "--grid", "grids", type=PATH, multiple=True, metavar="FILE", help="Train the rows of a table: docs/training.md."
)
@click.option("--test-features", type=PATH, help="Of --grid: store of the test videos.  [default: --features]")
@click.option("--test-labels", type=PATH, help="Of --grid.  [default: --labels, its records with split = test]")
@click.option("--test-annotations", type=PATH, help="Of --grid: frames of the test videos' true incidents.")
@click.option("--restart", is_flag=True, help="Replace an earlier run in the same folder.")
@click.option("--tensorboard", is_flag=True, help="Also write RUN/tensorboard (needs the extra tensorboard).")
@weights_option
@device_option
@json_option
@quiet_option
def train(
    config_file: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    seed: int | None,
    seeds: tuple[int, ...],
    grids: tuple[Path, ...],
    **rest: Any,
) -> None:
    """Train a head on stored features and video-level labels; the same command again resumes.

    Holds out a fifth of the training videos and keeps the epoch that is best there. Writes a run folder: the head, its
    settings, a model card, every epoch's figures and their curve. Started by torchrun, several processes train one head
    together: docs/training.md.

    \b
    Examples:
      vadpipe train
      vadpipe train --config configs/lec_vad_small.toml --labels labels.csv --out runs/small
      vadpipe train --head vadclip --set train.epochs=20 --seeds 5
      vadpipe train --head avadclip-student --teacher runs/avadclip
      vadpipe train --grid configs/grids/lec_vad_table5.toml --test-labels test.csv
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.config import load_config
    from vadpipe.pipeline.training.data import TrainRequest, find_training_data
    from vadpipe.pipeline.training.grid_file import GridOptions
    from vadpipe.pipeline.training.ranks import own_rank

    if seeds and seed is not None:
        raise click.UsageError("--seed and --seeds exclude each other")
    device, board = rest.pop("device"), rest.pop("tensorboard")
    named = {"head": rest.pop("head"), "stream": rest.pop("stream"), "train.select": rest.pop("select")}
    chosen = [f"{key}={value}" for key, value in named.items() if value]
    if grids:
        shared = {"device": device, "board": board, "as_json": as_json, "quiet": quiet, "root": rest.pop("out")}
        seeds = seeds or (() if seed is None else (seed,))
        options = GridOptions(config_file, (*overrides, *chosen), seeds, rest.pop("teacher"))
        run_grids(grids, options, rest, **shared)
        return
    if given := [name for name in ("test_features", "test_labels", "test_annotations") if rest.pop(name)]:
        raise click.UsageError(f"--{given[0].replace('_', '-')} belongs to --grid; see vadpipe evaluate")
    rank = own_rank()
    with _named_errors(rank):
        settings = load_config(config_file, (*overrides, *chosen))
        tell = say if rank == 0 else _nobody
        data = find_training_data(TrainRequest(config=settings, seed=seed or 0, **rest), tell)
        if settings.train.select == "paper-test":
            tell(
                "WARNING: paper-test keeps the epoch that is best on the TEST set; its figures are no honest estimates"
            )
        _train(data, resolve_device(device), seeds, board, as_json, quiet or rank > 0)


def _nobody(_text: str) -> None:
    """Further ranks are silent."""


@contextmanager
def _named_errors(rank: int) -> Iterator[None]:
    """Say which rank an error comes from, where there are several and it is not the first."""
    try:
        yield
    except VadpipeError as error:
        if rank == 0:
            raise
        raise type(error)(f"rank {rank}: {error}") from error


def _train(data: TrainingData, device: str, seeds: tuple[int, ...], board: bool, as_json: bool, quiet: bool) -> None:
    from vadpipe.pipeline.training.ranks import joined_ranks
    from vadpipe.pipeline.training.run import train_run
    from vadpipe.pipeline.training.seeds import train_seeds

    epochs = data.request.config.train.epochs
    with joined_ranks(device) as ranks, progress(quiet) as bars:
        if ranks.first and not seeds:
            say(f"run: {data.folder}" + (f", {ranks.world} ranks" if ranks.world > 1 else ""))
        if not seeds:
            on_epoch, on_step = _reporter(bars, "epochs", epochs, quiet)
            result = train_run(data, ranks.device, on_epoch, on_step=on_step, ranks=ranks, board=board)
            _print_run(data, result, ranks, as_json)
            return
        reporters = {seed: _reporter(bars, f"seed {seed}", epochs, quiet) for seed in seeds}
        runs = train_seeds(
            data,
            seeds,
            ranks.device,
            lambda seed, row: reporters[seed][0](row),
            on_step=lambda seed, done: reporters[seed][1](done),
            ranks=ranks,
            board=board,
        )
        if ranks.first:
            _print_seeds(runs, as_json)


def _reporter(
    bars: Progress, name: str, epochs: int, quiet: bool
) -> tuple[Callable[[Row], None], Callable[[float], None]]:
    """What tells people of each epoch, with the time that is left, and moves the bar at each step."""
    task = bars.add_task(name, total=epochs, note="", start=False)
    began: list[tuple[float, float]] = []  # when the first step was done, and how many epochs that were

    def on_step(done: float) -> None:
        if not began:
            began.append((time.monotonic(), done))
            bars.start_task(task)
        bars.update(task, completed=done)

    def on_epoch(row: Row) -> None:
        note = " ".join(f"{key}={value:.4g}" for key, value in row.items() if key != "epoch")
        bars.update(task, completed=row["epoch"], note=note)
        first, done = began[0]
        left = (time.monotonic() - first) / max(row["epoch"] - done, 1e-9) * (epochs - row["epoch"])
        if not quiet:
            ends = f", about {left:.0f} s to go" if epochs > row["epoch"] > done else ""
            line = f"{name}: {row['epoch']:.0f} of {epochs}{ends}: {note}"
            bars.console.print(visible(line), markup=False)

    return on_epoch, on_step


def _print_run(data: TrainingData, result: FitResult, ranks: Ranks, as_json: bool) -> None:
    if not ranks.first:
        return
    if as_json:
        print_json({"run": str(data.folder), "selection": result.trained.selection, "best": result.best})
        return
    rows = [[name, f"{value:.4g}" if name == "lr" else f"{value:.4f}"] for name, value in sorted(result.best.items())]
    print_table(f"{data.folder}: {result.trained.selection}", ["figure", "value"], rows)


def _print_seeds(runs: SeedRuns, as_json: bool) -> None:
    if as_json:
        print_json(runs.to_mapping())
        return
    figures = runs.figures()
    rows = [
        [str(runs.folders[seed]), f"{result.best['epoch']:.0f}", *(f"{result.best[name]:.4f}" for name in figures)]
        for seed, result in runs.results.items()
    ]
    rows += [["mean", "", *(f"{mean:.4f}" for mean, _ in figures.values())]]
    rows += [["sd", "", *(f"{sd:.4f}" for _, sd in figures.values())]]
    selection = next(iter(runs.results.values())).trained.selection.partition(", ")[2]
    print_table(f"{len(runs.results)} seeds, each {selection}", ["run", "epoch", *figures], rows)
