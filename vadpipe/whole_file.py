"""Files that are written whole or not at all, under temporary names that tell a dead writer's from a living one's."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import socket
import stat
import threading
from collections.abc import Iterable
from io import BufferedWriter
from pathlib import Path

from vadpipe.errors import StoreError
from vadpipe.outside import NoRegularFile

_TEMPORARY = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})\.(?P<pid>[0-9]{1,10})(-[0-9]+)?\.tmp")
_NAME_BYTES = 100


def temporary_path(path: Path) -> Path:
    """Where this thread writes what will be ``path``: beside it, under a name that no other writer anywhere has."""
    name = path.name[:_NAME_BYTES]
    while len(os.fsencode(name)) > _NAME_BYTES:  # file systems count bytes; a character must not be cut in two
        name = name[:-1]
    return path.with_name(f".{name}.{_machine()}.{os.getpid()}-{threading.get_native_id()}.tmp")


def is_temporary(name: str) -> bool:
    """Whether :func:`temporary_path` gives such file names."""
    return _TEMPORARY.fullmatch(name) is not None


def is_leftover(name: str) -> bool:
    """Whether ``name`` is of a temporary file whose writer is known to be dead: a process that ran here and ended.

    Of writers on other machines, in other containers and before the last start of this machine nothing is known.
    """
    found = _TEMPORARY.fullmatch(name)
    return found is not None and found["machine"] == _machine() and not _alive(int(found["pid"]))


def _machine() -> str:
    """What process numbers count in: this start of this machine, and the container."""
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        told = start + os.readlink("/proc/self/ns/pid")  # noqa: PTH115  # no path: "pid:[number]"
    except OSError:  # no Linux
        told = socket.gethostname()
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each so that it survives a power loss."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def open_new(temporary: Path) -> BufferedWriter:
    """Open a temporary file for writing, and only as a new one.

    Its name can be guessed. What lies there, a dead writer's file or somebody's link to a file of ours, is removed.
    """
    temporary.unlink(missing_ok=True)
    return temporary.open("xb")


def check_target(path: Path) -> None:
    """OSError where ``path`` is a pipe, socket or device, or a link to one: a rename would replace it.

    Whoever names ``/dev/stdout`` wants no file in its place. Other links are no targets of their own.
    """
    modes = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        modes.append(path.lstat().st_mode)
    with contextlib.suppress(OSError):  # a link to nothing, or round in a loop
        modes.append(path.stat().st_mode)
    if any(not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)) for mode in modes):
        raise OSError("it is a pipe, socket or device, which is never replaced")


def append_line(path: Path, line: str) -> None:
    """Append a line to a regular file, or make it; a torn line before it is ended.

    OSError for anything else, links included, which might lead anywhere.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "ab") as handle:
        if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
            raise OSError("it is no regular file")
        size = os.fstat(handle.fileno()).st_size
        is_torn = size > 0 and os.pread(handle.fileno(), 1, size - 1) != b"\n"
        handle.write(("\n" if is_torn else "").encode() + line.encode())


def atomic_write(path: Path, content: bytes, *, as_before: bool = False) -> None:
    """Write a file so that after a crash it holds either the old or the new content, whole.

    ``as_before``: it keeps the mode of the file that it replaces, and owner and group where the system permits that.
    """
    atomic_write_parts(path, (content,), as_before=as_before)


def atomic_write_parts(path: Path, parts: Iterable[bytes], *, as_before: bool = False) -> None:
    """The same for content that is made while it is written, and may be too long to be held."""
    temporary = temporary_path(path)
    try:
        make_folder(path.parent)
        check_target(path)
        with open_new(temporary) as handle:
            for part in parts:
                handle.write(part)
            handle.flush()
            if as_before:
                _give(handle.fileno(), path)
            os.fsync(handle.fileno())
        os.replace(temporary, path)  # noqa: PTH105  # the atomic step deserves its own name
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {disk_reason(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _give(handle: int, path: Path) -> None:
    """Give an open file the owner, group and mode of the regular file at ``path``, as far as the system permits."""
    try:
        told = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISREG(told.st_mode):
        with contextlib.suppress(OSError):  # only root gives files away
            os.fchown(handle, told.st_uid, -1)
        with contextlib.suppress(OSError):  # a group that this user is not in
            os.fchown(handle, -1, told.st_gid)
        with contextlib.suppress(OSError):  # last: a change of the owner takes bits away
            os.fchmod(handle, stat.S_IMODE(told.st_mode) & 0o777)


def sync_folder(folder: Path) -> None:
    """Fsync a folder, so that a rename inside it survives a power loss; nothing where the file system cannot do it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):  # some network disks: docs/reliability.md
            raise
    finally:
        os.close(handle)


def disk_reason(error: OSError) -> str:
    """Say in plain words why the file system refused."""
    if isinstance(error, NoRegularFile):
        return str(error.strerror)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left (disk full or over quota)"
    if error.errno == errno.ELOOP:
        return "it is a symbolic link, which is not followed here, or leads round in a loop"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return "the folder cannot be written (permissions, or a read-only disk)"
    return os.strerror(error.errno) if error.errno else str(error)
