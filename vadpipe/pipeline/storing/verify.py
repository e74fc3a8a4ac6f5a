"""``vadpipe store verify``: every checksum of a store, or of a pack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vadpipe.errors import StoreError, TrackDamaged, UsageError
from vadpipe.pipeline.storing.files import check_file, is_place, places, spec_folders, strays
from vadpipe.pipeline.storing.pack import PACK, ShardFile, read_pack
from vadpipe.pipeline.storing.shard import Shard
from vadpipe.store import MANIFEST, FeatureStore


@dataclass(slots=True)
class VerifySummary:
    """What a check found.

    files, bytes
        Read, damaged ones included.
    damaged
        Path -> what is wrong with it; unreadable: path -> why the system did not let it be read, which is no damage.
    quarantined
        Damaged files that were moved away.
    missing
        Files that an index lists and that are not there: no damage, somebody may have removed them.
    """

    files: int = 0
    bytes: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    quarantined: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def fine(self) -> bool:
        """Whether all was read, and all of it is what was written."""
        return not self.damaged and not self.unreadable


Tell = Callable[[str, int], None]


def verify(folder: Path, *, quarantine: bool = False, on_file: Tell = lambda *_: None) -> VerifySummary:
    """Check a store or a pack; ``on_file`` is told of every file, and how many there are.

    :class:`vadpipe.errors.UsageError` where there is no such folder, where it is a store without anything to
    check, and for ``quarantine`` of a pack. A pack without files is fine: a shard without videos makes one.
    """
    if not (folder / PACK).is_file() and not any(folder.glob("shard-*.tar")):
        found = verify_store(folder, quarantine=quarantine, on_file=on_file)
        if not found.files and found.fine and not found.missing:
            raise UsageError(f"{folder} holds no features, so nothing was checked; name a feature store or a pack")
    elif quarantine:
        raise UsageError(f"--quarantine: {folder} is a pack; fetch a damaged shard again, or pack it again")
    else:
        found = verify_pack(folder, on_file)
    return found


def verify_store(root: Path, *, quarantine: bool = False, on_file: Tell = lambda *_: None) -> VerifySummary:
    """Read every track whole, HDF5's checksums and ours; with ``quarantine``, move damaged ones away.

    A file that is gone meanwhile counts as unreadable, as does a folder that cannot be listed; a file that is in no
    place of a track counts as damaged, and stays. :class:`StoreError` where one cannot be moved.
    """
    summary, store = VerifySummary(), FeatureStore(root)

    def refused(path: Path, error: OSError) -> None:
        summary.unreadable[path.relative_to(root).as_posix()] = f"cannot be listed: {error.strerror or error}"

    folders = spec_folders(root)
    files = [place for folder in folders for place in places(folder, refused)]
    for place in strays(root, refused):
        summary.damaged[place] = "no track belongs there, so nothing reads it; was it or its folder renamed?"
    for folder in folders:
        try:
            summary.missing += [place for place in store.missing(folder.name) if is_place(place)]
        except OSError as error:
            summary.unreadable[f"{folder.name}/{MANIFEST}"] = f"not compared: {error.strerror or error}"
    for place in files:
        path = root / place
        summary.files += 1
        try:
            summary.bytes += path.stat().st_size
            check_file(path, place)
        except TrackDamaged as error:
            summary.damaged[place] = str(error)
        except StoreError as error:
            summary.unreadable[place] = str(error)
        except OSError as error:
            summary.unreadable[place] = error.strerror or str(error)
        if quarantine and place in summary.damaged:
            summary.quarantined.append(str(store.quarantine_file(path).relative_to(root)))
        on_file(place, len(files))
    return summary


def verify_pack(folder: Path, on_file: Tell = lambda *_: None) -> VerifySummary:
    """Read every byte of a pack and compare it with the indexes' digests and with ``pack.json``'s.

    :class:`StoreError` for a pack that is unfinished or lacks shards.
    """
    summary, shards = VerifySummary(), read_pack(folder)
    total = sum(shard.files for shard in shards)
    for listed in shards:
        try:
            with Shard(folder / listed.name) as shard:
                _verify_shard(shard, listed, summary, lambda place: on_file(place, total))
        except StoreError as error:
            summary.damaged[listed.name] = str(error)
        except OSError as error:
            summary.unreadable[listed.name] = error.strerror or str(error)
    return summary


def _verify_shard(shard: Shard, listed: ShardFile, summary: VerifySummary, on_file: Callable[[str], None]) -> None:
    for member in shard.members:
        summary.files += 1
        summary.bytes += member.size
        if not shard.copy(member):
            summary.damaged[f"{listed.name}: {member.path}"] = "its bytes are not those of the index"
        on_file(member.path)
    if len(shard.members) != listed.files or shard.sha256() != listed.sha256:
        summary.damaged.setdefault(listed.name, "it is not the shard that pack.json lists")
