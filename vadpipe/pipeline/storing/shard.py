"""One shard of a pack: an uncompressed tar file whose first member lists the others with their digests.

``index.jsonl`` has one line a member (path, size, sha256), in the order of the members, after a line that names the
schema. Any tar program can unpack a shard. What reads it here never interprets a header: the index says what each must
be, byte for byte, so there are no links, no devices, no sparse files, no second names and no sizes to believe.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from vadpipe.errors import StoreError
from vadpipe.outside import open_regular, parse_json
from vadpipe.pipeline.storing.files import is_place
from vadpipe.whole_file import check_target, disk_reason, make_folder, open_new, sync_folder, temporary_path

SCHEMA = "vadpipe.pack/1"
INDEX = "index.jsonl"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_MOST_INDEX_BYTES = 256 << 20
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a shard: its path below the store, bytes and digest."""

    path: str
    size: int
    sha256: str


def member_of(root: Path, place: str) -> Member:
    """Size and digest of the file at ``place`` below ``root``; OSError where it cannot be read."""
    with (root / place).open("rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
        return Member(place, os.fstat(handle.fileno()).st_size, digest)


class _Digested:
    """Counts and digests what is written, and hands it on where there is a target."""

    def __init__(self, target: BinaryIO | None = None) -> None:
        self.size, self._digest, self._target = 0, hashlib.sha256(), target

    def write(self, content: bytes) -> None:
        self.size += len(content)
        self._digest.update(content)
        if self._target is not None:
            self._target.write(content)

    def told(self) -> tuple[int, str]:
        return self.size, self._digest.hexdigest()


def describe_shard(root: Path, members: Sequence[Member]) -> tuple[int, str]:
    """Bytes and digest of the shard that :func:`write_shard` would write; errors as there, of reading."""
    out = _Digested()
    _write(out, root, members)
    return out.told()


def write_shard(path: Path, root: Path, members: Sequence[Member]) -> tuple[int, str]:
    """Write a shard; it appears whole or not at all, and depends on the members alone. Returns its bytes and digest.

    :class:`StoreError` where the disk refuses, or where a file is no longer what ``members`` says.
    """
    temporary = temporary_path(path)
    try:
        make_folder(path.parent)
        check_target(path)
        with open_new(temporary) as file:
            out = _Digested(file)
            _write(out, root, members)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105  # the atomic step deserves its own name
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {disk_reason(error)}. Finished shards are kept; rerun to go on."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return out.told()


def _write(out: _Digested, root: Path, members: Sequence[Member]) -> None:
    index = _index(members)
    out.write(_header(INDEX, len(index)) + index + _padding(len(index)))
    for member in members:
        out.write(_header(member.path, member.size))
        with (root / member.path).open("rb") as handle:
            if not _copied(handle, out, member):
                raise StoreError(f"{root / member.path} changed while it was packed; pack again")
        out.write(_padding(member.size))
    out.write(_END)


class Shard:
    """A shard that is open for reading, its index read and checked; a context manager.

    :class:`StoreError` for a file that is not exactly as long as its index says, or no shard.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = open_regular(path)
        except OSError as error:
            raise StoreError(f"cannot read {path}: {disk_reason(error)}") from error
        try:
            self.members, self._at = self._read_index()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Shard:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def copy(self, member: Member, target: BinaryIO | None = None) -> bool:
        """Copy a member's bytes; True where it and its header are what the index says. Errors as of the class."""
        try:
            self._file.seek(self._at[member.path])
            if self._file.read(_BLOCK) != _header(member.path, member.size):
                return False
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {disk_reason(error)}") from error
        return _copied(self._file, target, member)

    def sha256(self) -> str:
        """Digest of the whole file."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def _read_index(self) -> tuple[tuple[Member, ...], dict[str, int]]:
        there = os.fstat(self._file.fileno()).st_size
        first = self._file.read(_BLOCK)
        digits = first[124:135]
        size = int(digits, 8) if re.fullmatch(rb"[0-7]{11}", digits) else -1
        if not 0 <= size <= min(there, _MOST_INDEX_BYTES) or first != _header(INDEX, size):
            raise StoreError(f"{self.path} is no shard of {SCHEMA}")
        members = _members(self._file.read(size), self.path)
        at = _BLOCK + _padded(size)
        starts = {}
        for member in members:
            starts[member.path] = at
            at += _BLOCK + _padded(member.size)
        if at + len(_END) != there:
            raise StoreError(
                f"{self.path} has {there} bytes, its index says {at + len(_END)}; was it cut off? Fetch it again"
            )
        return members, starts


def _index(members: Sequence[Member]) -> bytes:
    lines = [{"schema": SCHEMA, "files": len(members)}, *(asdict(member) for member in members)]
    return "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines).encode()


def _members(index: bytes, path: Path) -> tuple[Member, ...]:
    """The members that an index lists; :class:`StoreError` unless it is one that :func:`_index` writes."""
    try:
        lines = [parse_json(line) for line in index.decode("utf-8").splitlines()]
        members = tuple(Member(**line) for line in lines[1:])
        fine = all(
            is_place(member.path)
            and type(member.size) is int
            and 0 <= member.size < 1 << 33  # what a header can say
            and _SHA256.fullmatch(member.sha256)
            for member in members
        )
        names = {member.path for member in members}
        if not fine or len(names) < len(members) or _index(members) != index:
            raise ValueError("a line is impossible, or there twice")
    except (ValueError, TypeError) as error:
        raise StoreError(f"{path}: its index is not one of {SCHEMA} ({error})") from error
    return members


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    try:
        return info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
    except ValueError as error:
        raise StoreError(f"{name} does not fit into a tar header: {error}") from error


def _copied(source: BinaryIO, target: BinaryIO | _Digested | None, member: Member) -> bool:
    """Copy so many bytes; False where there are fewer, or others than the digest says. OSError of ``target``."""
    digest, left = hashlib.sha256(), member.size
    while left and (piece := source.read(min(left, _PIECE))):
        digest.update(piece)
        left -= len(piece)
        if target is not None:
            target.write(piece)
    return not left and digest.hexdigest() == member.sha256


def _padded(size: int) -> int:
    return size + len(_padding(size))


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)
