"""Grid files: the rows of an ablation table, each a name and the settings it changes. Imports no torch.

::

    title = "LEC-VAD, Table 5: branches"
    config = "../lec_vad_xd.toml"            # base settings, beside this file; --config takes their place
    seeds = [0, 1, 2]                        # --seeds takes their place

    [[row]]
    name = "CMB"
    set = ["model.vision_only_branch=false"] # as --set; after the command line's own --set

A row may also name another ``config`` and, for a student, the ``teacher``: a row of the same grid. Two words in braces
stand for what the base says, so that one grid runs on several bases: ``{base}`` for its path without ``.toml`` (in
``config``), ``{audio_stream}`` for its audio stream (in ``set``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vadpipe.config import RunConfig, from_mapping, load_config, to_mapping
from vadpipe.errors import UsageError
from vadpipe.outside import read_toml

_LONGEST_NAME, _MOST_SEEDS = 80, 1000
_BASE, _AUDIO = "{base}", "{audio_stream}"


@dataclass(frozen=True, slots=True)
class GridRow:
    """One row as the file has it; ``config`` and ``teacher`` may be empty."""

    name: str = ""
    set: tuple[str, ...] = ()
    config: str = ""
    teacher: str = ""


@dataclass(frozen=True, slots=True)
class GridFile:
    """A grid file; :class:`UsageError` where it has no rows, two of one name, or a teacher that is no other row."""

    title: str = ""
    config: str = ""
    seeds: tuple[int, ...] = ()
    row: tuple[GridRow, ...] = ()

    def __post_init__(self) -> None:
        names = [row.name for row in self.row]
        if not names:
            raise UsageError("no [[row]]; a grid needs at least one")
        for name in names:
            if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
                raise UsageError(f"row name: got {name!r:.80}, expected 1 to {_LONGEST_NAME} printable characters")
            if names.count(name) > 1:
                raise UsageError(f"row name {name!r} is there {names.count(name)} times; give every row its own")
        if len(set(self.seeds)) != len(self.seeds) or any(not 0 <= seed < 10**9 for seed in self.seeds):
            raise UsageError(f"seeds: got {list(self.seeds)}, expected numbers from 0, none twice")
        if len(self.seeds) > _MOST_SEEDS:
            raise UsageError(f"seeds: got {len(self.seeds)}, expected at most {_MOST_SEEDS}")
        free = {row.name for row in self.row if not row.teacher}
        for row in self.row:
            if row.teacher and row.teacher not in free:
                raise UsageError(f"row {row.name!r}: teacher {row.teacher!r} is no row of this grid without a teacher")


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """A row with its settings.

    key
        8 hex digits over settings and teacher. Rows that say the same in several grids have one key, and one run.
    teacher
        The row whose run of the same seed teaches.
    """

    name: str
    config: RunConfig
    key: str
    teacher: PlannedRow | None = None

    def folder(self, root: Path, seed: int) -> Path:
        """Run folder of one seed."""
        return root / f"{self.config.head}-{self.key}-seed{seed}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What one grid file asks for. name: of its tables' files. rows: in the table's order."""

    name: str
    title: str
    rows: tuple[PlannedRow, ...]
    seeds: tuple[int, ...]

    def runs(self) -> Iterator[tuple[PlannedRow, int]]:
        """Every row with every seed, teachers first."""
        for row in sorted(self.rows, key=lambda row: row.teacher is not None):
            for seed in self.seeds:
                yield row, seed


@dataclass(frozen=True, slots=True)
class GridOptions:
    """What the command line says to every row of every grid.

    config, overrides
        Base settings in place of the files'; ``--set`` lines that are applied before a row's own.
    seeds
        In place of the files' seeds; where neither has any, seed 0.
    teacher
        Run folder that teaches students without a ``teacher`` of their own.
    """

    config: Path | None = None
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    teacher: Path | None = None


def plan_grids(paths: Sequence[Path], options: GridOptions) -> tuple[Plan, ...]:
    """Read and check all grid files before anything is trained; :class:`UsageError` names file and row."""
    plans = tuple(_plan(path, options) for path in paths)
    names = [plan.name for plan in plans]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"--grid: {twice[0]} is there twice; its tables would overwrite each other")
    return plans


def count_runs(plans: Sequence[Plan]) -> int:
    """Different runs of all grids together."""
    return len({(row.key, seed) for plan in plans for row, seed in plan.runs()})


def read_grid(path: Path) -> GridFile:
    """Read a grid file; :class:`UsageError` names it, and the key that is wrong."""
    try:
        return from_mapping(GridFile, read_toml(path))
    except FileNotFoundError:
        raise UsageError(f"grid file {path} does not exist") from None
    except (OSError, ValueError, UsageError) as error:
        raise UsageError(f"grid file {path}: {error}") from error


def _plan(path: Path, options: GridOptions) -> Plan:
    grid = read_grid(path)
    own = path.parent / grid.config if grid.config else None
    base = options.config or own
    planned: dict[str, PlannedRow] = {}
    for row in sorted(grid.row, key=lambda row: bool(row.teacher)):
        try:
            planned[row.name] = _planned(row, path.parent, base, options, planned.get(row.teacher))
        except UsageError as error:
            raise UsageError(f"grid file {path}, row {row.name!r}: {error}") from error
    name = path.stem if base == own or base is None else f"{path.stem}-{base.stem}"
    seeds = options.seeds or grid.seeds or (0,)
    return Plan(name, grid.title or path.stem, tuple(planned[row.name] for row in grid.row), seeds)


def _planned(
    row: GridRow, folder: Path, base: Path | None, options: GridOptions, teacher: PlannedRow | None
) -> PlannedRow:
    """Settings of a row: its config or the base's, the command line's ``--set``, its own ``set``, in this order."""
    place = base
    if row.config:
        if _BASE in row.config and base is None:
            raise UsageError(f"config {row.config!r}, but there is no base; pass --config")
        stem = "" if base is None else str(base.with_suffix(""))
        place = Path(row.config.replace(_BASE, stem)) if _BASE in row.config else folder / row.config
    own = row.set
    if any(_AUDIO in text for text in own):
        sound = load_config(base, options.overrides).audio_stream
        if not sound:
            raise UsageError(f"{_AUDIO}, but the base settings have no audio_stream")
        own = tuple(text.replace(_AUDIO, sound) for text in own)
    config = load_config(place, (*options.overrides, *own))
    learns = getattr(config.model, "distill", "none") != "none"
    if learns and teacher is None and options.teacher is None:
        raise UsageError(f"{config.head} learns from a teacher: give the row a teacher, or pass --teacher RUN")
    if teacher is not None and not learns:
        raise UsageError(f"teacher {row.teacher!r}, but {config.head} with these settings learns from no teacher")
    given = str(options.teacher.resolve()) if learns and teacher is None and options.teacher is not None else ""
    told = json.dumps([to_mapping(config), teacher.key if teacher else given], sort_keys=True)
    return PlannedRow(row.name, config, hashlib.sha256(told.encode()).hexdigest()[:8], teacher)
