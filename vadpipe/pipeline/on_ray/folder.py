"""The closed folder that holds all files of a command's own cluster, and goes with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vadpipe.errors import UsageError
from vadpipe.outside import open_regular

_LONGEST_PLACE = 20  # bytes; of the 107 of a socket's path we append 23 and Ray some 64
_PREFIX, _LOCK = "vadpipe-ray-", "lock"
_MARK = b"vadpipe: a Ray cluster of one command; removed with it, or by the next one\n"
_REMOVE_S = 5.0


@contextmanager
def closed_folder() -> Iterator[Path]:
    """A folder with a short path that only this user can enter; what is in it ends with it, processes too.

    :class:`UsageError` where there is no place for it.
    """
    places = [tempfile.gettempdir(), "/tmp", "/var/tmp"]  # noqa: S108
    places = [place for place in places if len(os.fsencode(place)) < _LONGEST_PLACE]
    place = next((place for place in places if os.access(place, os.W_OK)), None)
    if place is None:
        raise UsageError("--engine ray: no folder for temporary files with a short path; set TMPDIR, e.g. to /tmp")
    remove_leftovers(Path(place))
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    try:
        with (folder / _LOCK).open("xb", buffering=0) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # not inherited: it ends with this process, however that ends
            lock.write(_MARK)  # from here on it counts as ours, and the lock is held already
            yield folder
    finally:
        _end_leftovers(folder)
        deadline = time.monotonic() + _REMOVE_S
        while folder.exists() and time.monotonic() < deadline:  # a process that is ending may still write its log
            shutil.rmtree(folder, ignore_errors=True)
            time.sleep(0.0 if not folder.exists() else 0.1)


def remove_leftovers(place: Path) -> None:
    """Remove folders of commands of this user that were killed: they have our mark, and nobody holds their lock."""
    for folder in place.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or another command is at it
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            with open_regular(folder / _LOCK) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if lock.read(len(_MARK) + 1) == _MARK:
                    shutil.rmtree(folder, ignore_errors=True)


def _end_leftovers(folder: Path) -> None:
    """Kill servers of this cluster that Ray has lost sight of, as after an interrupt in the middle of its start."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_ours = os.fsencode(folder) in (place / "cmdline").read_bytes()
            if is_ours and int(place.name) != os.getpid():
                os.kill(int(place.name), signal.SIGKILL)
