"""Grids as tables: rows are settings, columns AP, AUC and mAP@IoU in percent; text, CSV, LaTeX, JSON.

Names of rows are untrusted text.
"""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vadpipe.models.checkpoint import names_test_set
from vadpipe.pipeline.evaluating.report import csv_cell, latex_text
from vadpipe.pipeline.evaluating.result import PROTOCOLS
from vadpipe.pipeline.training.grid import GridResult, GridRun
from vadpipe.track_file import atomic_write

COLUMNS = {
    "frame_ap": "AP",
    "frame_auc": "AUC",
    **{f"map_vadclip@{value:g}": f"@{value:g}" for value in (0.1, 0.2, 0.3, 0.4, 0.5)},
    "map_vadclip_average": "AVG",
    "map_strict_average": "strict AVG",
}
"""Key of a test figure -> heading. @0.1 … AVG are mAP@IoU in the protocol of the published tables."""

Spread = tuple[float, float | None]


def over_seeds(runs: Sequence[GridRun], key: str) -> Spread | None:
    """Mean over the runs that worked and sample standard deviation (None for one); None where one lacks the figure."""
    values = [run.figures.get(key) for run in runs if not run.failure]
    known = [value for value in values if value is not None]
    if not known or len(known) != len(values):
        return None
    return statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None


def grid_rows(result: GridResult) -> list[list[str]]:
    """Cells of the table for people, in percent; a row of fewer seeds than asked for says so."""
    rows = []
    for name, runs in result.runs.items():
        cells = [_cell(over_seeds(runs, key)) for key in COLUMNS]
        rows.append([f"{name} ({_count(runs)} of {len(runs)} seeds)" if _failed(runs) else name, *cells])
    return rows


def _cell(spread: Spread | None, plus_minus: str = " ± ", nothing: str = "–") -> str:
    if spread is None:
        return nothing
    mean, deviation = spread
    return f"{100 * mean:.2f}" + ("" if deviation is None else f"{plus_minus}{100 * deviation:.2f}")


def _count(runs: Sequence[GridRun]) -> int:
    return sum(not run.failure for run in runs)


def _failed(runs: Sequence[GridRun]) -> bool:
    return _count(runs) < len(runs)


def footer(result: GridResult) -> list[str]:
    """What a reader of the table has to know: seeds, test videos, what chose the epochs, the protocol, failures."""
    runs = [run for runs in result.runs.values() for run in runs if not run.failure]
    seeds = ", ".join(str(seed) for seed in result.plan.seeds)
    spread = "mean ± sample standard deviation over the seeds" if len(result.plan.seeds) > 1 else "one run, seed"
    lines = [f"percent, {spread} {seeds}"]
    if runs:
        videos = " or ".join(str(count) for count in sorted({run.videos for run in runs}))
        lines.append(f"measured on {videos} test videos")
    for words, count in Counter(_selection(run.selection) for run in runs).items():
        lines.append(f"epochs of {count} run{'s' if count > 1 else ''}: {words}")
    if any(names_test_set(run.selection) for run in runs):
        lines.append("WARNING: the TEST set chose epochs of these runs or their teachers; no honest estimates")
    elif runs:
        lines.append("the test videos chose no epoch; the table is only a report")
    lines.append(f"@IoU and AVG, mAP in the protocol vadclip: {PROTOCOLS['vadclip']}")
    lines.append(f"strict AVG, mAP average in the protocol strict: {PROTOCOLS['strict']}")
    return lines + [f"failed: {name}, seed {run.seed}: {run.failure}" for name, run in result.failures]


def _selection(said: str) -> str:
    """``epoch 4 of 10, selected by …`` without the number of the epoch, which differs from run to run."""
    last = "the last epoch, " if "the last epoch" in said else ""
    return last + said[max(said.find("selected"), 0) :]


def grid_csv(result: GridResult) -> str:
    """A row a setting: seeds that worked and failed, then mean and deviation of every test figure, as fractions."""
    every = [run.figures for runs in result.runs.values() for run in runs if not run.failure]
    keys = list(dict.fromkeys(key for figures in every for key in figures)) or list(COLUMNS)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"{key}_{end}" for key in keys for end in ("mean", "sd")]
    writer.writerow(["row", "seeds", "failed", "selection", *columns])
    for name, runs in result.runs.items():
        worked = dict.fromkeys(_selection(run.selection) for run in runs if not run.failure)
        values = [value for key in keys for value in over_seeds(runs, key) or (None, None)]
        about = [name, _count(runs), len(runs) - _count(runs), " | ".join(worked)]
        writer.writerow(csv_cell(value) for value in (*about, *values))
    return text.getvalue()


def grid_latex(result: GridResult) -> str:
    """Whole ``tabular`` environment, without packages; the footer stands in comments."""
    maps = sum(heading.startswith("@") or heading == "AVG" for heading in COLUMNS.values())
    above = rf" & & & \multicolumn{{{maps}}}{{c}}{{mAP@IoU (\%)}} & \\"
    lines = [f"% {_one_line(text)}" for text in (result.plan.title, *footer(result))]
    lines += [rf"\begin{{tabular}}{{l{'c' * len(COLUMNS)}}}", r"\hline", above]
    lines += [" & ".join(("setting", *(heading.lstrip("@") for heading in COLUMNS.values()))) + r" \\", r"\hline"]
    for name, runs in result.runs.items():
        cells = [_cell(over_seeds(runs, key), r" \pm ", "--") for key in COLUMNS]
        cells = [f"${cell}$" if "pm" in cell else cell for cell in cells]
        lines.append(" & ".join((latex_text(name), *cells)) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def grid_mapping(result: GridResult) -> dict[str, Any]:
    """Plain values for JSON: every run with its figures, and mean and deviation of each row."""
    return {
        "grid": result.plan.name,
        "title": result.plan.title,
        "seeds": list(result.plan.seeds),
        "rows": [_row_mapping(name, runs) for name, runs in result.runs.items()],
        "notes": footer(result),
    }


def _row_mapping(name: str, runs: Sequence[GridRun]) -> dict[str, Any]:
    keys = list(dict.fromkeys(key for run in runs for key in run.figures))
    spreads = {key: over_seeds(runs, key) for key in keys}
    listed = [
        {"seed": run.seed, "run": str(run.folder), "selection": run.selection, "figures": dict(run.figures)}
        | ({"failure": run.failure} if run.failure else {})
        for run in runs
    ]
    return {
        "name": name,
        "mean": {key: spread and spread[0] for key, spread in spreads.items()},
        "sd": {key: spread and spread[1] for key, spread in spreads.items()},
        "runs": listed,
    }


def write_grid(result: GridResult, root: Path) -> list[Path]:
    """Write ``<grid>.csv``, ``.tex`` and ``.json`` into ``root``, each whole or not at all."""
    told = json.dumps(grid_mapping(result), indent=1) + "\n"
    texts = {".csv": grid_csv(result), ".tex": grid_latex(result), ".json": told}
    paths = {root / f"{result.plan.name}{ending}": text for ending, text in texts.items()}
    root.mkdir(parents=True, exist_ok=True)
    for path, text in paths.items():
        atomic_write(path, text.encode())
    return list(paths)
