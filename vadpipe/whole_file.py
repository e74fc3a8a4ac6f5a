"""Files that are written whole or not at all, under temporary names that tell a dead writer's from a living one's."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import socket
import threading
from pathlib import Path

from vadpipe.errors import StoreError

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


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it holds either the old or the new content, whole."""
    temporary = temporary_path(path)
    try:
        make_folder(path.parent)
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)  # noqa: PTH105  # the atomic step deserves its own name
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {disk_reason(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


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
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left (disk full or over quota)"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return "the folder cannot be written (permissions, or a read-only disk)"
    return os.strerror(error.errno) if error.errno else str(error)
