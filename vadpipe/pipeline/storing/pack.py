"""``vadpipe store pack``: the per-video files of a store -> a few large files for shipping, and their list.

A pack is a folder of ``shard-00000.tar`` … and ``pack.json``, which is written last: with it the pack is finished. The
same store gives the same bytes. A rerun keeps the shards that are there, so it is the resume.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vadpipe.errors import StoreError, TrackDamaged, UsageError
from vadpipe.outside import read_json
from vadpipe.pipeline.quarantine import QUARANTINE_FILE
from vadpipe.pipeline.storing.files import SPEC_FOLDER, check_file, entries, places, refuse, spec_folders
from vadpipe.pipeline.storing.shard import SCHEMA, Member, describe_shard, member_of, write_shard
from vadpipe.whole_file import atomic_write, disk_reason, is_leftover, is_temporary

PACK = "pack.json"
SHARD_BYTES = 1 << 30
_SHARD = re.compile(r"shard-[0-9]{5,8}\.tar")
_MOST_PACK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One line of ``pack.json``."""

    name: str
    bytes: int
    files: int
    sha256: str


@dataclass(slots=True)
class PackSummary:
    """What packing did. kept: shards that were there already. damaged: files that were left out, and why."""

    shards: int = 0
    kept: int = 0
    files: int = 0
    bytes: int = 0
    damaged: dict[str, str] = field(default_factory=dict)


def files_to_pack(root: Path, only: Sequence[str] = ()) -> list[tuple[str, int]]:
    """Path below ``root`` and bytes of each track, sorted; ``only``: of the specifications with these folders.

    None for a store that is empty, such as that of a shard without videos. :class:`UsageError` for a folder that holds
    other things instead, or where there is none; :class:`StoreError` where a folder cannot be listed.
    """
    folders = spec_folders(root)
    if unknown := sorted(set(only) - {folder.name for folder in folders}):
        there = ", ".join(folder.name for folder in folders) or "none"
        raise UsageError(f"--only {unknown[0]}: no such folder in {root}; there are: {there}")
    chosen = [folder for folder in folders if not only or folder.name in only]
    found = [(place, _bytes(root / place)) for folder in chosen for place in places(folder)]
    if not found and (only or not _is_empty_store(root)):
        raise UsageError(f"{root} holds no features; run vadpipe extract first")
    return found


def _is_empty_store(root: Path) -> bool:
    """Whether nothing lies in a folder but what an extraction leaves that has stored no video."""
    names = [entry.name for entry in entries(root)]
    return all(name == QUARANTINE_FILE or SPEC_FOLDER.fullmatch(name) or is_temporary(name) for name in names)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:  # gone since it was listed, too: whoever removes features should not do so now
        refuse(path, error)


def pack_store(
    root: Path,
    files: Sequence[tuple[str, int]],
    out: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    check: Callable[[Path, str], object] = check_file,
    on_file: Callable[[str], None] = lambda _: None,
) -> PackSummary:
    """Pack ``files`` of :func:`files_to_pack` into ``out``, at most ``shard_bytes`` of them a shard, at least one.

    check
        Raises :class:`vadpipe.errors.TrackDamaged` for a file that is to be left out.

    Shards that are there already are compared whole with what they have to be; damaged ones are written again. The
    ``pack.json`` of a finished pack is never changed.

    :class:`UsageError` where ``out`` holds another finished pack, :class:`StoreError` where a disk refuses or where
    ``pack.json`` is damaged.
    """
    if out.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"--out {out} is inside the store; pack into a folder of its own")
    _clean(out)
    summary, shards = PackSummary(), list[ShardFile]()
    finished = {shard.name: shard for shard in _listed(out)} if (out / PACK).exists() else None
    for number, group in enumerate(_groups(files, shard_bytes)):
        members = [made for place, _ in group if (made := _member(root, place, check, summary, on_file))]
        if members:
            shards.append(_shard(out / f"shard-{number:05}.tar", root, members, finished, summary))
    if strange := sorted({path.name for path in out.glob("shard-*.tar")} - {shard.name for shard in shards}):
        raise UsageError(f"{out} holds shards that are not of this pack: {', '.join(strange[:5])}; remove them")
    if finished is not None:
        if set(finished) != {shard.name for shard in shards}:
            raise _another(out)
        return summary
    if summary.damaged and not shards:
        return summary  # a pack of none of the files would pass for that of an empty store
    content = {"schema": SCHEMA, "files": summary.files, "bytes": summary.bytes}
    listed = [{name: getattr(shard, name) for name in ShardFile.__slots__} for shard in shards]
    atomic_write(out / PACK, (json.dumps({**content, "shards": listed}, indent=1) + "\n").encode())
    return summary


def read_pack(folder: Path) -> tuple[ShardFile, ...]:
    """The shards of a finished pack; :class:`StoreError` where it is unfinished, damaged or lacks one."""
    shards = _listed(folder)
    if missing := [shard.name for shard in shards if not (folder / shard.name).is_file()]:
        raise StoreError(
            f"{folder} lacks {', '.join(missing[:5])} ({len(missing)} of {len(shards)} shards); fetch them"
        )
    return shards


def _listed(folder: Path) -> tuple[ShardFile, ...]:
    """The shards that ``pack.json`` lists; errors as of :func:`read_pack`."""
    path = folder / PACK
    try:
        described = read_json(path, _MOST_PACK_BYTES)
        shards = tuple(ShardFile(**line) for line in described["shards"])
        if described["schema"] != SCHEMA or not all(_possible(shard) for shard in shards):
            raise ValueError(f"not of {SCHEMA}")
    except FileNotFoundError:
        raise StoreError(f"{folder} holds no finished pack (no {PACK}); run vadpipe store pack again") from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {disk_reason(error)}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path} cannot be used ({error}); fetch it again") from error
    return shards


def _possible(shard: ShardFile) -> bool:
    counts: list[Any] = [shard.bytes, shard.files]
    texts: list[Any] = [shard.name, shard.sha256]
    return (
        all(type(count) is int and count >= 0 for count in counts)
        and all(isinstance(text, str) for text in texts)
        and _SHARD.fullmatch(shard.name) is not None
    )


def _groups(files: Sequence[tuple[str, int]], most: int) -> Iterator[list[tuple[str, int]]]:
    group, total = list[tuple[str, int]](), 0
    for place, size in files:
        if group and total + size > most:
            yield group
            group, total = [], 0
        group.append((place, size))
        total += size
    if group:
        yield group


def _member(
    root: Path,
    place: str,
    check: Callable[[Path, str], object],
    summary: PackSummary,
    on_file: Callable[[str], None],
) -> Member | None:
    try:
        check(root / place, place)
        member = member_of(root, place)
    except TrackDamaged as error:
        summary.damaged[place] = str(error)
        return None
    except OSError as error:
        raise StoreError(f"cannot read {root / place}: {disk_reason(error)}") from error
    finally:
        on_file(place)
    summary.files += 1
    summary.bytes += member.size
    return member


def _shard(
    path: Path, root: Path, members: Sequence[Member], finished: Mapping[str, ShardFile] | None, summary: PackSummary
) -> ShardFile:
    """Keep the shard that is there if each of its bytes is right, or write it.

    finished
        What ``pack.json`` lists, name -> shard; None where there is none yet.
    """
    summary.shards += 1
    if finished is None and not path.exists():
        size, digest = write_shard(path, root, members)
        return ShardFile(path.name, size, len(members), digest)
    made = ShardFile(path.name, *_described(root, members))
    if finished is not None and finished.get(path.name) != made:
        raise _another(path.parent)
    if _digest(path) == made.sha256:
        summary.kept += 1
    else:
        write_shard(path, root, members)
    return made


def _described(root: Path, members: Sequence[Member]) -> tuple[int, int, str]:
    try:
        size, digest = describe_shard(root, members)
    except OSError as error:
        raise StoreError(f"cannot read {root}: {error.strerror or error}") from error
    return size, len(members), digest


def _digest(path: Path) -> str:
    """Digest of a whole file; empty where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        refuse(path, error)


def _another(out: Path) -> UsageError:
    return UsageError(f"{out} holds a finished pack of other files; give another --out, or remove that pack first")


def _clean(out: Path) -> None:
    """Remove what killed packers left."""
    for path in out.glob(".shard-*.tmp"):
        if is_leftover(path.name):
            path.unlink(missing_ok=True)
