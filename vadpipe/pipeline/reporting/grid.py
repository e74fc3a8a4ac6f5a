"""What ``vadpipe train --grid`` has measured, read back from its JSON for figures. The file is untrusted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vadpipe.errors import DataError, UsageError, VadpipeError
from vadpipe.models.checkpoint import names_test_set
from vadpipe.outside import read_json
from vadpipe.spec import FeatureSpec

_MOST_BYTES = 64 << 20
_SMALLEST, _LARGEST = 1e-12, 1e12
_SETTING = re.compile(r"(.+?)\s*=\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class GridLine:
    """One row of the grid: its name, and of each test figure the value of every seed that worked."""

    name: str
    values: Mapping[str, tuple[float, ...]]

    @property
    def setting(self) -> tuple[str, float] | None:
        """``beta = 0.7`` -> (``beta``, 0.7); None for a name that is not such."""
        found = _SETTING.fullmatch(self.name.strip())
        if found is None:
            return None
        value = float(found[2])
        # Axes cannot span what lies beyond; such a row is a setting without a number.
        return (found[1].strip(), value) if value == 0 or _SMALLEST <= abs(value) <= _LARGEST else None


@dataclass(frozen=True, slots=True)
class GridTable:
    """One grid: name of its file, title, rows, number of seeds, failures in words, and what has to be warned of."""

    name: str
    title: str
    lines: tuple[GridLine, ...]
    seeds: int
    failures: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def curves(self) -> dict[str, list[tuple[float, GridLine]]]:
        """Hyper-parameters with at least two values, each with its rows by rising value."""
        found: dict[str, dict[float, GridLine]] = {}
        for line in self.lines:
            if line.setting is not None:
                found.setdefault(line.setting[0], {}).setdefault(line.setting[1], line)
        return {key: sorted(rows.items()) for key, rows in found.items() if len(rows) > 1}

    @property
    def others(self) -> list[GridLine]:
        """Rows that are on no curve."""
        curves = self.curves
        return [line for line in self.lines if line.setting is None or line.setting[0] not in curves]


def read_grids(place: Path) -> tuple[GridTable, ...]:
    """Grids of a folder, or of one JSON file, by name.

    :class:`UsageError` where there are none, :class:`DataError` for a file that is no grid or says what cannot be.
    Other JSON files of a folder are passed over.
    """
    if not place.exists():
        raise UsageError(f"--grid {place}: no such folder; expected that of vadpipe train --grid")
    files = sorted(place.glob("*.json")) if place.is_dir() else [place]
    tables = []
    for path in files:
        told = _read(path)
        if isinstance(told, dict) and {"grid", "rows"} <= told.keys():
            tables.append(_table(path, told))
        elif not place.is_dir():
            raise DataError(f"{path} is no result of a grid: it has no 'grid' and 'rows'")
    if not tables:
        raise UsageError(f"--grid {place}: no results of a grid there; run vadpipe train --grid FILE --out {place}")
    return tuple(tables)


def _read(path: Path) -> Any:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path}: got {path.stat().st_size} bytes, expected at most {_MOST_BYTES}")
        return read_json(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _table(path: Path, told: Mapping[str, Any]) -> GridTable:
    rows, notes = told["rows"], told.get("notes", [])
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: rows: expected at least one, each with its name and runs")
    runs = [run for row in rows for run in _runs(path, row)]
    lines = tuple(GridLine(_name(path, row), _values(path, _runs(path, row))) for row in rows)
    failures = tuple(
        f"{_name(path, row)}, seed {run.get('seed')}: {run['failure']}"
        for row in rows
        for run in _runs(path, row)
        if run.get("failure")
    )
    seeds = told.get("seeds", [])
    warned = [str(note) for note in notes if str(note).startswith("WARNING")] if isinstance(notes, list) else []
    title = str(told.get("title") or path.stem)
    count = len(seeds) if isinstance(seeds, list) else 0
    return GridTable(path.stem, title, lines, count, failures, (*warned, *_cautions(path.parent, runs, bool(warned))))


def _name(path: Path, row: Mapping[str, Any]) -> str:
    if not isinstance(row.get("name"), str) or not row["name"]:
        raise DataError(f"{path}: a row without a name")
    return str(row["name"])


def _runs(path: Path, row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    runs = row.get("runs")
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise DataError(f"{path}, row {row.get('name')!r}: runs: expected a list of what each seed gave")
    return runs


def _values(path: Path, runs: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, ...]]:
    """Figure -> value of each seed that has it."""
    values: dict[str, list[float]] = {}
    for run in runs:
        figures = run.get("figures", {})
        if not isinstance(figures, dict):
            raise DataError(f"{path}: figures of a run: got {type(figures).__name__}, expected names and numbers")
        for key, value in figures.items():
            if value is None or run.get("failure"):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:  # nor NaN
                raise DataError(f"{path}: {key}: got {_shown(value)}, expected a number of at most {_LARGEST:g}")
            values.setdefault(str(key), []).append(float(value))
    return {key: tuple(found) for key, found in values.items()}


def _shown(value: object) -> str:
    """A value in a message; Python refuses to write integers of thousands of digits."""
    return "a number of too many digits" if isinstance(value, int) and abs(value) > _LARGEST else repr(value)[:40]


def _cautions(folder: Path, runs: Sequence[Mapping[str, Any]], warned: bool) -> list[str]:
    """What the runs' own folders, which lie beside the grid, say of their encoders and of their selection."""
    found: list[str] = []
    if not warned and any(names_test_set(str(run.get("selection", ""))) for run in runs):
        found.append("WARNING: the TEST set chose epochs of these runs; no honest estimates")
    unknown = 0
    for run in runs:
        if run.get("failure"):
            continue
        path = folder / Path(str(run.get("run", ""))).name / "config.json"
        try:
            told = read_json(path)
            spec = FeatureSpec.from_mapping(told["spec"])
            facts = told.get("provenance") or {}
            found += encoder_cautions(spec.untrained, str(facts.get("text_weights", "")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, VadpipeError):
            unknown += 1
    if unknown:
        found.append(f"whether the encoders of {unknown} runs were trained is not known: no run folder beside the grid")
    return list(dict.fromkeys(found))


def encoder_cautions(untrained: bool, text_weights: str) -> list[str]:
    """What to warn of where an encoder had random weights."""
    found = []
    if untrained:
        found.append(
            "WARNING: features of an UNTRAINED encoder (random weights); shows that the pipeline works, no more"
        )
    if text_weights.startswith("random"):
        found.append("the class prompts were encoded by an untrained text tower (random weights)")
    return found
