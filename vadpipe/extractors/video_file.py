"""What can be said against a file before any decoder sees it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vadpipe.errors import UsageError, VideoUnreadable
from vadpipe.extractors.containers import names_other_files

_LOOK_BYTES = 1024
_PROBED_BYTES = 1 << 20  # FFmpeg looks no further to tell a format


def check_file(path: Path) -> int:
    """Refuse, before any process is started, what cannot be a video file; give its size in bytes.

    Errors: UsageError where there is none; VideoUnreadable for a folder, pipe or device, an empty file, a text file,
    and what a demuxer could take for a list of other files.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise VideoUnreadable(f"{path}: it is {kind}. Give a regular file.")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            start = file.read(_LOOK_BYTES)
            text = start if b"\0" in start else start + file.read(_PROBED_BYTES)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file. Check the path.") from error
    except (OSError, ValueError) as error:
        raise VideoUnreadable(f"{path}: it cannot be read ({error}). Check the path and its permissions.") from error
    if not start:
        raise VideoUnreadable(f"{path}: the file is empty (0 bytes). Download or record it again.")
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in start):
        raise VideoUnreadable(f"{path}: it is a text file, not a video. It begins with {start[:40]!r}.")
    if names_other_files(text):
        raise VideoUnreadable(f"{path}: it is a playlist or a description of other files. Give the video itself.")
    return status.st_size


@contextmanager
def vanishing(path: Path) -> Iterator[None]:
    """Around work on a file that was there when the run began: where it has gone, that is this video's failure.

    A UsageError or OSError from inside becomes VideoUnreadable if the file cannot be found any more.
    """
    try:
        yield
    except (UsageError, OSError) as error:
        try:
            path.stat()
        except OSError as reason:
            raise VideoUnreadable(
                f"{path}: {reason.strerror or reason}; removed meanwhile, or a dangling link"
            ) from error
        raise
