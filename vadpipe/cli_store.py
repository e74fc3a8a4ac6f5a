"""``vadpipe store``: pack, unpack, verify, gc and stats of a feature store."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vadpipe.cli_options import PATH, json_option, quiet_option
from vadpipe.cli_output import print_json, print_table, progress, say

if TYPE_CHECKING:
    from vadpipe.pipeline.storing.gc import GcPlan
    from vadpipe.pipeline.storing.stats import SpecStats
    from vadpipe.pipeline.storing.verify import VerifySummary

_NAMED = 20  # lines of one kind that are spelt out; --json has all
store_argument = click.argument("store", type=PATH, default=Path("features"))


@click.group(name="store")
def store_group() -> None:
    """Pack, unpack, check, tidy and measure feature stores.

    STORE is the --out of vadpipe extract, by default features.

    \b
    Examples:
      vadpipe store stats
      vadpipe store pack features --out pack
      vadpipe store unpack pack --out elsewhere/features
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines


@store_group.command(name="pack", short_help="Put the files of a store into a few large ones.")
@store_argument
@click.option("--out", type=PATH, required=True, help="Folder of the pack: shard-00000.tar … and pack.json.")
@click.option(
    "--shard-mib", type=click.IntRange(1), default=1024, show_default=True, help="Largest shard, in MiB of features."
)
@click.option("--only", multiple=True, metavar="FOLDER", help="Only this folder of STORE, e.g. clip-1a2b3c4d.")
@json_option
@quiet_option
def pack_command(store: Path, out: Path, shard_mib: int, only: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Pack the features of STORE into tar files for shipping, each with an index and the digest of every file.

    Every file is checked first; a damaged one is named and left out, and the exit code is then 3. A shard appears
    whole or not at all, pack.json comes last, and the same command again goes on after a stop. A finished pack is
    never changed: of a store with other files, give another --out. An empty store makes an empty pack.

    \b
    Examples:
      vadpipe store pack --out pack
      vadpipe store pack features --out pack --shard-mib 256 --only clip-1a2b3c4d
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.storing.pack import files_to_pack, pack_store

    files = files_to_pack(store, only)
    if not files:
        say(f"note: {store} is an empty store, so the pack is empty, too")
    with progress(quiet) as bars:
        task = bars.add_task("files", total=len(files), note="")
        found = pack_store(store, files, out, shard_bytes=shard_mib << 20, on_file=lambda _: bars.advance(task))
    _say("damaged, left out", found.damaged)
    if as_json:
        print_json(asdict(found))
    else:
        rows = [
            ["shards", f"{found.shards} ({found.kept} were there)"],
            ["files", f"{found.files}"],
            ["size", _size(found.bytes)],
            ["damaged", f"{len(found.damaged)}"],
        ]
        print_table(f"pack in {out}", ["", ""], rows)
    if found.damaged:
        sys.exit(3 if found.files else 1)


@store_group.command(name="unpack", short_help="Put packed files into a store.")
@click.argument("packs", nargs=-1, required=True, type=PATH)
@click.option("--out", type=PATH, default=Path("features"), show_default=True, help="Feature store to write to.")
@click.option("--replace", is_flag=True, help="Replace files of the store that hold other bytes than the pack's.")
@json_option
@quiet_option
def unpack_command(packs: tuple[Path, ...], out: Path, replace: bool, as_json: bool, quiet: bool) -> None:
    """Unpack PACKS, folders that vadpipe store pack made or single shards, into a store: the same bytes.

    A file appears once its digest and its own checksums are right and it belongs under its name. What is there
    already is kept. Exit code 3 where files are damaged, the store holds others of their names, or one of several
    packs is unfinished or not there.

    \b
    Examples:
      vadpipe store unpack pack
      vadpipe store unpack pack/shard-00007.tar --out elsewhere/features
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.storing.unpack import shards_of, unpack
    from vadpipe.store import FeatureStore

    refused: dict[str, str] = {}
    shards = shards_of(packs, refused)
    with progress(quiet) as bars:
        task = bars.add_task("files", total=sum(files for _, files in shards), note="")
        found = unpack(
            [path for path, _ in shards], FeatureStore(out), replace=replace, on_file=lambda _: bars.advance(task)
        )
    found.failed |= refused
    _say("failed", found.failed)
    if as_json:
        print_json(asdict(found))
    else:
        rows = [["unpacked", f"{found.done}"], ["there already", f"{found.kept}"], ["failed", f"{len(found.failed)}"]]
        print_table(f"files in {out}", ["", ""], rows)
    if found.failed:
        sys.exit(3 if found.done or found.kept else 1)


@store_group.command(name="verify", short_help="Read every checksum of a store or a pack.")
@store_argument
@click.option("--quarantine", is_flag=True, help="Move damaged files away; the next extraction makes them anew.")
@json_option
@quiet_option
def verify_command(store: Path, quarantine: bool, as_json: bool, quiet: bool) -> None:
    """Read all of STORE, a store or a pack, and compare it with every checksum. Exit code 1 where one is wrong.

    Of a store: HDF5's checksum of every chunk, our digest of data, times, states and attributes, the mark of a
    complete file, the frame numbers, and that the file lies where its id and specification belong. Of a pack: every
    file's digest, every shard's, and that no shard is missing. Where there is nothing to check, the exit code is 2.

    \b
    Examples:
      vadpipe store verify
      vadpipe store verify features --quarantine
      vadpipe store verify pack --json
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.storing.verify import verify

    with progress(quiet) as bars:
        task = bars.add_task("files", total=None, note="")
        found = verify(store, quarantine=quarantine, on_file=lambda _, total: bars.update(task, total=total, advance=1))
    print_json(asdict(found)) if as_json else _print_verified(store, found)
    if not found.fine:
        sys.exit(1)


@store_group.command(name="gc", short_help="Remove leftovers.")
@store_argument
@click.option("--delete", is_flag=True, help="Remove what is listed; without it nothing is changed.")
@click.option("--runs", multiple=True, type=PATH, help="Folder of runs, to be tidied too, and for --unused.")
@click.option("--unused", is_flag=True, help="Also features that no head under --runs was trained on.")
@click.option("--quarantine-days", type=click.FloatRange(0), help="Also files in quarantine for so many days.")
@click.option(
    "--stale-days",
    type=click.FloatRange(1),
    help="Also temporary files of other machines, untouched for so many days.",
)
@json_option
@quiet_option
def gc_command(
    store: Path,
    delete: bool,
    runs: tuple[Path, ...],
    unused: bool,
    quarantine_days: float | None,
    stale_days: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """List what may be removed from STORE, and with --delete remove it.

    Without further options: temporary files of processes that ran on this machine, since its last start, and are
    dead; and the index is put in order, a line for each track, sorted by id. What cannot be proven to be garbage is
    kept and named. --unused takes features that were extracted for a training which has not been run yet, too.

    \b
    Examples:
      vadpipe store gc
      vadpipe store gc --delete --quarantine-days 30 --stale-days 7
      vadpipe store gc features --runs runs --unused
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.storing.gc import GcRequest, find_garbage, remove

    plan = find_garbage(GcRequest(store, runs, stale_days, quarantine_days, unused))
    freed = remove(plan) if delete else 0
    if not quiet:
        _say("kept", {str(path): reason for path, reason in plan.kept.items()})
    _print_garbage(plan, freed, delete, as_json)


@store_group.command(name="stats", short_help="Count videos, rows and bytes.")
@store_argument
@json_option
@quiet_option
def stats_command(store: Path, as_json: bool, quiet: bool) -> None:
    """Count what STORE holds, stream by stream: videos, rows, hours of video and bytes.

    Reads the files' attributes, not their data.

    \b
    Examples:
      vadpipe store stats
      vadpipe store stats features --json
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.storing.files import spec_folders
    from vadpipe.pipeline.storing.stats import stats_of

    with progress(quiet) as bars:
        task = bars.add_task("files", total=None, note="")
        found = [stats_of(folder, lambda _: bars.advance(task)) for folder in spec_folders(store)]
    print_json([asdict(stats) for stats in found]) if as_json else _print_stats(store, found)


def _print_verified(store: Path, found: VerifySummary) -> None:
    for what, places in (("damaged", found.damaged), ("unreadable", found.unreadable)):
        for place, reason in places.items():
            say(f"{what}: {place}: {reason}")
    _say("warning: listed in the index, but not there", dict.fromkeys(found.missing, "extract it again to have it"))
    for place in found.quarantined:
        say(f"moved to {place}")
    rows = [
        ["read", f"{found.files} files, {_size(found.bytes)}"],
        ["damaged", f"{len(found.damaged)}"],
        ["unreadable", f"{len(found.unreadable)}"],
        ["moved to quarantine", f"{len(found.quarantined)}"],
        ["listed, not there", f"{len(found.missing)}"],
    ]
    print_table(f"checksums in {store}", ["", ""], rows)


def _print_garbage(plan: GcPlan, freed: int, delete: bool, as_json: bool) -> None:
    if as_json:
        found = [{"path": str(item.path), "kind": item.kind, "bytes": item.bytes} for item in plan.garbage]
        kept = {str(path): reason for path, reason in plan.kept.items()}
        indexes = [str(folder) for folder in plan.indexes]
        print_json({"garbage": found, "kept": kept, "indexes": indexes, "deleted": delete, "freed_bytes": freed})
        return
    print_table(
        "removed" if delete else "may be removed (--delete)",
        ["file", "kind", "size"],
        [[str(item.path), item.kind, _size(item.bytes)] for item in plan.garbage],
    )
    for folder in plan.indexes:
        say(f"{folder}: index {'put' if delete else 'not'} in order, a line for each track, sorted by id")


def _print_stats(store: Path, found: list[SpecStats]) -> None:
    columns = ["folder", "columns", "videos", "rows", "hours", "size", "unreadable", "quarantined", "temporary"]
    rows = [
        [
            stats.folder,
            f"{stats.dim}",
            f"{stats.videos}",
            f"{stats.rows}",
            f"{stats.hours:.2f}",
            _size(stats.bytes),
            f"{stats.unreadable}",
            f"{stats.quarantined}",
            f"{stats.temporary}",
        ]
        for stats in found
    ]
    print_table(f"features in {store}", columns, rows)


def _say(what: str, places: dict[str, str]) -> None:
    for place, reason in list(places.items())[:_NAMED]:
        say(f"{what}: {place}: {reason}")
    if len(places) > _NAMED:
        say(f"{what}: {len(places) - _NAMED} more; --json names all")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
