"""``vadpipe store gc``: what may be removed from a store, and why; nothing else is ever touched.

Garbage without being asked: temporary files of writers that ran here and are dead, and lines of an index that others
have replaced (it is written anew, sorted). When asked: temporary files that
nobody has written to for days, quarantined files that lie there for days, and features that no run uses. Links to
folders may lead out of the store, to files of others: in a store they are named and not followed. In folders of runs
they are followed to find heads, since what those were trained on is in use.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from vadpipe.errors import StoreError, UsageError
from vadpipe.outside import read_json
from vadpipe.pipeline.storing.files import PART, SPEC_FOLDER, TRACK_NAME, entries, is_folder, spec_folders
from vadpipe.pipeline.storing.index import is_in_order, put_in_order
from vadpipe.spec import FeatureSpec
from vadpipe.store import MANIFEST
from vadpipe.whole_file import disk_reason, is_leftover, is_temporary

_DAY_S = 86400.0
_HEAD = "vadpipe.head/"
_QUARANTINE = "quarantine"
_AT_WORK = "its writer is at work, or ran elsewhere; see --stale-days"
_LINK = "a link to a folder: not followed; remove it yourself"
_NOT_LISTED = "cannot be listed"
_STRANGE = "no file of ours: it is not called like a track"


@dataclass(frozen=True, slots=True)
class Garbage:
    """A file that may go. kind: ``temporary``, ``quarantine`` or ``unused``."""

    path: Path
    kind: str
    bytes: int


@dataclass(slots=True)
class GcPlan:
    """What may go, indexes to put in order, folders that are empty then, and what is kept, with the reason."""

    garbage: list[Garbage] = field(default_factory=list)
    indexes: list[Path] = field(default_factory=list)
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
    for path in _temporaries(request, plan):
        if is_leftover(path.name) or _is_old(path, request.stale_days):
            _add(plan, path, "temporary")
        else:
            plan.kept[path] = _AT_WORK
    if request.quarantine_days is not None:
        for folder in folders:
            for path in _tracks(plan, folder, quarantine=True):
                if _is_old(path, request.quarantine_days):
                    _add(plan, path, "quarantine")
    if request.unused:
        used = used_folders(request.runs)
        for folder in folders:
            if folder.name not in used:
                _add_unused(plan, folder)
    gone = {item.path.parent for item in plan.garbage if item.path.name == MANIFEST}
    candidates = [folder for folder in folders if folder not in gone and not folder.is_symlink()]
    plan.indexes = [folder for folder in candidates if not is_in_order(folder)]
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
    freed += sum(put_in_order(folder) for folder in plan.indexes)
    for folder in plan.folders:
        parts = [folder / entry.name for entry in entries(folder) if _is_part(entry.name)]
        for part in (*parts, folder):
            with contextlib.suppress(OSError):  # not empty: something in it is not ours
                part.rmdir()
    return freed


def used_folders(runs: Sequence[Path]) -> set[str]:
    """Names of the store folders that heads under ``runs`` were trained on; errors as of :func:`find_garbage`."""
    used = set[str]()
    for run in runs:
        if not run.is_dir():
            raise UsageError(f"--runs {run}: no such folder")
        for folder, names in _walk(run):
            specs = _specs(folder / "config.json") if "config.json" in names else []
            if "state.safetensors" in names and not specs:
                raise UsageError(f"--unused: {folder} is an unfinished run; what it uses cannot be told")
            used |= {spec.folder for spec in specs}
    if not used:
        raise UsageError("--unused: there is no trained head under --runs, so every feature would be unused")
    return used


def _untold(error: OSError) -> NoReturn:
    told = error.strerror or error
    raise UsageError(f"--unused: {error.filename} cannot be read ({told}); what it uses cannot be told") from error


def _walk(run: Path) -> Iterator[tuple[Path, list[str]]]:
    """All folders below, through links too, each once, and their files; :class:`UsageError` for what cannot be read."""
    seen = set[tuple[int, int]]()
    for top, folders, names in os.walk(run, followlinks=True, onerror=_untold):
        folder = Path(top)
        try:
            told = folder.stat()
            for name in names:  # a link that leads nowhere now may be one to a run on a disk that is not mounted
                if (folder / name).is_symlink():
                    (folder / name).stat()
        except OSError as error:
            _untold(error)
        if (told.st_dev, told.st_ino) in seen:
            folders.clear()
            continue
        seen.add((told.st_dev, told.st_ino))
        yield folder, names


def _specs(path: Path) -> list[FeatureSpec]:
    try:
        told = read_json(path)
        if not isinstance(told, dict) or not str(told.get("schema")).startswith(_HEAD):
            return []  # another program's
        parts = [told["spec"], told.get("audio_spec")]
        return [FeatureSpec.from_mapping(part) for part in parts if part]
    except (OSError, ValueError, TypeError, KeyError, RecursionError, StoreError) as error:
        raise UsageError(f"--unused: {path} cannot be read ({error}); what it uses cannot be told") from error


def _temporaries(request: GcRequest, plan: GcPlan) -> list[Path]:
    """Temporary files as deep as ours lie, and anywhere below the runs."""
    root, found = request.root, set[Path]()
    folders = [root, *_folders(plan, root)]
    folders += [part for folder in folders[1:] if SPEC_FOLDER.fullmatch(folder.name) for part in _folders(plan, folder)]
    for folder in folders:
        found |= {folder / entry.name for entry in _listed(plan, folder)}
    for run in request.runs:
        for top, _, names in os.walk(run, onerror=lambda error: _unlisted(plan, Path(error.filename), error)):
            found |= {Path(top, name) for name in names}
    return sorted(path for path in found if is_temporary(path.name))


def _unlisted(plan: GcPlan, path: Path, error: OSError) -> None:
    plan.kept[path] = f"{_NOT_LISTED}: {error.strerror or error}"


def _listed(plan: GcPlan, folder: Path) -> list[os.DirEntry[str]]:
    return entries(folder, lambda path, error: _unlisted(plan, path, error))


def _folders(plan: GcPlan, folder: Path) -> list[Path]:
    """The folders in one; links to folders are kept."""
    found = list[Path]()
    for entry in _listed(plan, folder):
        if not entry.is_symlink():
            found += [folder / entry.name] if is_folder(entry) else []
        elif is_folder(entry):
            plan.kept[folder / entry.name] = _LINK
    return found


def _is_part(name: str) -> bool:
    return name == _QUARANTINE or PART.fullmatch(name) is not None


def _tracks(plan: GcPlan, folder: Path, *, quarantine: bool = False) -> Iterator[Path]:
    """Tracks in the folder of one specification, or in its quarantine; nothing that is reached through a link."""
    if folder.is_symlink():
        plan.kept[folder] = _LINK
        return
    for part in _folders(plan, folder):
        if _is_part(part.name) and (part.name == _QUARANTINE) is quarantine:
            for entry in _listed(plan, part):
                path = part / entry.name
                if TRACK_NAME.fullmatch(entry.name):
                    yield path
                elif quarantine and not is_temporary(entry.name):
                    plan.kept[path] = _STRANGE


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
    unsure = {path: reason for path, reason in plan.kept.items() if path == folder or folder in path.parents}
    for path, reason in unsure.items():
        if reason == _AT_WORK or reason.startswith(_NOT_LISTED):
            plan.kept[folder] = f"no run uses it, but it may be worked at: {path.name} is kept"
            return
    for path in (*_tracks(plan, folder), *_tracks(plan, folder, quarantine=True)):
        _add(plan, path, "unused")
    if folder in plan.kept:  # a link
        return
    if (folder / MANIFEST).exists():
        _add(plan, folder / MANIFEST, "unused")
    plan.folders.append(folder)
