"""``vadpipe store gc``: what may be removed from a store, and why; nothing else is ever touched.

Garbage without being asked: temporary files of writers that ran here and are dead. When asked: temporary files that
nobody has written to for days, quarantined files that lie there for days, and features that no run uses.
"""

from __future__ import annotations

import contextlib
import json
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vadpipe.errors import StoreError, UsageError
from vadpipe.pipeline.store_files import places, spec_folders
from vadpipe.spec import FeatureSpec
from vadpipe.store import MANIFEST
from vadpipe.whole_file import disk_reason, is_leftover, is_temporary

_DAY_S = 86400.0
_HEAD = "vadpipe.head/"


@dataclass(frozen=True, slots=True)
class Garbage:
    """A file that may go. kind: ``temporary``, ``quarantine`` or ``unused``."""

    path: Path
    kind: str
    bytes: int


@dataclass(slots=True)
class GcPlan:
    """What may go, folders of specifications that are empty then, and what is kept, with the reason."""

    garbage: list[Garbage] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    kept: dict[Path, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GcRequest:
    """What to look for.

    runs
        Folders of runs, looked through for temporary files, and for heads where ``unused`` is set.
    stale_days, quarantine_days
        Age in days from which temporary files of unknown writers, and quarantined files, are garbage; None: never.
    unused
        Features of specifications that no head under ``runs`` was trained on are garbage.
    """

    root: Path
    runs: tuple[Path, ...] = ()
    stale_days: float | None = None
    quarantine_days: float | None = None
    unused: bool = False


def find_garbage(request: GcRequest) -> GcPlan:
    """Look for garbage; removes nothing.

    :class:`UsageError` where there is no such folder, or where ``unused`` cannot be told: no run, one that is
    unfinished, or one that cannot be read.
    """
    folders = spec_folders(request.root)
    plan = GcPlan()
    for path in _temporaries(request):
        if is_leftover(path.name) or _is_old(path, request.stale_days):
            _add(plan, path, "temporary")
        else:
            plan.kept[path] = "its writer is at work, or ran elsewhere; see --stale-days"
    if request.quarantine_days is not None:
        for folder in folders:
            for path in sorted(folder.glob("quarantine/*")):
                if _is_old(path, request.quarantine_days):
                    _add(plan, path, "quarantine")
    if request.unused:
        used = used_folders(request.runs)
        for folder in folders:
            if folder.name not in used:
                _add_unused(plan, folder)
    return plan


def remove(plan: GcPlan) -> int:
    """Remove; returns the bytes that are free now. :class:`StoreError` where the disk refuses. A rerun goes on."""
    freed = 0
    for item in plan.garbage:
        try:
            item.path.unlink()
            freed += item.bytes
        except FileNotFoundError:
            continue  # its writer, or another gc
        except OSError as error:
            raise StoreError(f"cannot remove {item.path}: {disk_reason(error)}") from error
    for folder in plan.folders:
        for part in (*folder.iterdir(), folder):
            with contextlib.suppress(OSError):  # not empty: something in it is not ours
                part.rmdir()
    return freed


def used_folders(runs: Sequence[Path]) -> set[str]:
    """Names of the store folders that heads under ``runs`` were trained on; errors as of :func:`find_garbage`."""
    used = set[str]()
    for run in runs:
        if not run.is_dir():
            raise UsageError(f"--runs {run}: no such folder")
        heads = {path: specs for path in sorted(run.rglob("config.json")) if (specs := _specs(path))}
        used |= {spec.folder for specs in heads.values() for spec in specs}
        for state in sorted(run.rglob("state.safetensors")):
            if state.parent / "config.json" not in heads:
                raise UsageError(f"--unused: {state.parent} is an unfinished run; what it uses cannot be told")
    if not used:
        raise UsageError("--unused: there is no trained head under --runs, so every feature would be unused")
    return used


def _specs(path: Path) -> list[FeatureSpec]:
    try:
        told = json.loads(path.read_bytes())
        if not isinstance(told, dict) or not str(told.get("schema")).startswith(_HEAD):
            return []  # another program's
        parts = [told["spec"], told.get("audio_spec")]
        return [FeatureSpec.from_mapping(part) for part in parts if part]
    except (OSError, ValueError, TypeError, KeyError, RecursionError, StoreError) as error:
        raise UsageError(f"--unused: {path} cannot be read ({error}); what it uses cannot be told") from error


def _temporaries(request: GcRequest) -> Iterator[Path]:
    root = request.root
    found = [path for pattern in (".*.tmp", "*/.*.tmp", "*/*/.*.tmp") for path in root.glob(pattern)]
    found += [path for run in request.runs for path in run.rglob(".*.tmp")]
    yield from (path for path in sorted(set(found)) if is_temporary(path.name))


def _is_old(path: Path, days: float | None) -> bool:
    """Whether a file has been as it is, and where it is, for so many days; a move changes its ctime only."""
    if days is None:
        return False
    try:
        told = path.lstat()
    except OSError:
        return False
    return time.time() - max(told.st_mtime, told.st_ctime) >= days * _DAY_S


def _add(plan: GcPlan, path: Path, kind: str) -> None:
    try:
        told = path.lstat()
    except OSError:
        return
    if stat.S_ISREG(told.st_mode):
        plan.garbage.append(Garbage(path, kind, told.st_size))
    else:
        plan.kept[path] = "no file of ours: a link or a folder"


def _add_unused(plan: GcPlan, folder: Path) -> None:
    if folder.is_symlink():
        plan.kept[folder] = "a link; remove it yourself"
        return
    for place in places(folder):
        _add(plan, folder.parent / place, "unused")
    for path in [folder / MANIFEST, *sorted(folder.glob("quarantine/*"))]:
        if path.exists():
            _add(plan, path, "unused")
    plan.folders.append(folder)
