"""``vadpipe store unpack``: shards -> per-video files in a store, the bytes that were packed.

A pack may come from anywhere. A file appears in the store only when its digest is that of the index, it is a whole
track by its own checksums, and it belongs under its name; paths other than a store's own do not pass the index.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vadpipe.errors import StoreError, TrackDamaged, UsageError
from vadpipe.pipeline.storing.files import check_file
from vadpipe.pipeline.storing.pack import read_pack
from vadpipe.pipeline.storing.shard import Member, Shard, member_of
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.whole_file import disk_reason, make_folder, open_new, sync_folder, temporary_path

Check = Callable[[Path, str], tuple[FeatureSpec, dict[str, Any]] | None]


@dataclass(slots=True)
class UnpackSummary:
    """What unpacking did, in files.

    done, kept
        New ones; those that were there already with the same bytes.
    failed
        Path in the store, or of a shard, -> why it is not there: damaged, or the store holds other bytes.
    """

    done: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def shards_of(sources: Sequence[Path], refused: dict[str, str] | None = None) -> list[tuple[Path, int]]:
    """Path and number of files of each shard; ``sources`` are packs (folders) and single shards.

    :class:`StoreError` for an unfinished pack or one that lacks shards, :class:`UsageError` for a path that is
    nothing. With ``refused`` these cost themselves only where others can be used: source -> reason.
    """
    found, errors = list[tuple[Path, int]](), dict[Path, StoreError | UsageError]()
    for source in sources:
        try:
            found += _shards_of(source)
        except (StoreError, UsageError) as error:
            if refused is None:
                raise
            errors[source] = error
    if errors and len(errors) == len(set(sources)):
        raise next(iter(errors.values()))
    if refused is not None:
        refused.update({str(source): str(error) for source, error in errors.items()})
    return found


def _shards_of(source: Path) -> list[tuple[Path, int]]:
    if source.is_dir():
        return [(source / shard.name, shard.files) for shard in read_pack(source)]
    if source.is_file():
        with Shard(source) as shard:
            return [(source, len(shard.members))]
    raise UsageError(f"{source} is not there; name a folder that vadpipe store pack made, or a shard of it")


def unpack(
    shards: Sequence[Path],
    store: FeatureStore,
    *,
    replace: bool = False,
    check: Check = check_file,
    on_file: Callable[[str], None] = lambda _: None,
) -> UnpackSummary:
    """Unpack ``shards`` into ``store``; what is there with the same bytes is kept, so a rerun is the resume.

    replace
        Take the shard's file where the store holds another of the same name.
    check
        Raises :class:`vadpipe.errors.TrackDamaged` for a file that must not appear; otherwise what the index needs.

    :class:`StoreError` where the store cannot be written; a damaged shard costs itself only.
    """
    summary = UnpackSummary()
    store.clean()
    for path in shards:
        try:
            shard = Shard(path)
        except StoreError as error:
            summary.failed[str(path)] = str(error)
            continue
        with shard:
            _unpack_shard(shard, store, replace, check, on_file, summary)
    return summary


def _unpack_shard(
    shard: Shard,
    store: FeatureStore,
    replace: bool,
    check: Check,
    on_file: Callable[[str], None],
    summary: UnpackSummary,
) -> None:
    touched = set[Path]()
    try:
        for member in shard.members:
            target = store.root / member.path
            there = member_of(store.root, member.path) if target.is_file() else None
            if there == member:
                summary.kept += 1
            elif there is not None and not replace:
                summary.failed[member.path] = "the store holds a file of this name with other bytes (--replace)"
            elif reason := _place(shard, member, store, check):
                summary.failed[member.path] = reason
            else:
                summary.done += 1
                touched.add(target.parent)
            on_file(member.path)
        for folder in sorted(touched):
            sync_folder(folder)
    except OSError as error:
        raise StoreError(
            f"cannot copy from {shard.path} to {store.root}: {disk_reason(error)}. "
            "Finished files are kept; rerun to go on."
        ) from error


def _place(shard: Shard, member: Member, store: FeatureStore, check: Check) -> str:
    """Put one member in its place; the reason where that must not be, else ''."""
    target = store.root / member.path
    temporary = temporary_path(target)
    try:
        make_folder(target.parent)
        with open_new(temporary) as out:
            whole = shard.copy(member, out)
            out.flush()
            os.fsync(out.fileno())
        if not whole:
            return f"its bytes in {shard.path.name} are not those of the index; fetch the shard again"
        told = check(temporary, member.path)
        os.replace(temporary, target)  # noqa: PTH105  # the atomic step deserves its own name
        if told is not None:
            store.add_to_index(*told, target)
    except TrackDamaged as error:
        return str(error).replace(str(temporary), "it")
    finally:
        temporary.unlink(missing_ok=True)
    return ""
