"""Having a task done on one video that may be damaged or hostile, in a child process that can be killed.

The tasks: :data:`vadpipe.extractors.tasks.TASKS`. Limits, memory and the way in which a child ends are those of a
decoder child (docs/decisions/0003-decoding.md). This module imports no decoder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import DecoderCrashed, UsageError
from vadpipe.extractors.decode_link import Ring
from vadpipe.extractors.decode_process import DecodeProcess
from vadpipe.extractors.limits import Limits
from vadpipe.extractors.media import decoder_version
from vadpipe.extractors.video_file import check_file
from vadpipe.whole_file import check_target, is_leftover, open_new, temporary_path

_SLOTS = 4
_MOST_NAME_BYTES = 150  # of 255, which the rest of a temporary name adds to


class MediaTask:
    """One task on the video ``path``; a context manager, and an iterator over the child's messages up to its last one.

    Leaving early kills the child. Errors, on entering or iterating: UsageError (no such file; what the task refuses),
    and every :class:`vadpipe.errors.VideoError`.
    """

    def __init__(self, name: str, path: Path, limits: Limits | None = None, **arguments: Any) -> None:
        self._path, self._limits = path, limits or Limits()
        self._request = {**arguments, **asdict(self._limits), "task": name, "path": str(path.absolute())}
        self._child: DecodeProcess | None = None
        self._ring: Ring | None = None

    def __enter__(self) -> Self:
        decoder_version("pyav")
        size_bytes = check_file(self._path)
        # Each result of a task may take as long as a whole video.
        results = 1 + len(self._request.get("seconds", ())) + len(self._request.get("cuts", ()))
        frames = self._request.get("num_frames", 0)
        self._request["allowed_s"] = results * self._limits.allowed_s(size_bytes, frames)
        written = (self._request.get("temporary"), *(cut[2] for cut in self._request.get("cuts", ())))
        self._request["written"] = [name for name in written if name]
        self._request["file_bytes"] = self._limits.written_bytes(size_bytes)
        self._child = self._start_child()
        return self

    def _start_child(self) -> DecodeProcess:
        return DecodeProcess(self._request, "vadpipe.extractors.media_child")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            self._child.close()
        self._ring = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (message := self._running().receive())["t"] != "done":
            yield message

    def open_ring(self, slot_bytes: int) -> None:
        """Size the shared memory for pictures, as the child asked for it, and let it go on."""
        self._ring = self._running().open_ring(slot_bytes, _SLOTS)

    def picture(self, message: dict[str, Any]) -> NDArray[np.uint8]:
        """(h, w, 3) uint8: copy of the picture that a message announces; its slot is handed back."""
        if self._ring is None:
            raise RuntimeError("open_ring() comes first")
        image = self._ring.get(message["slot"], (message["h"], message["w"], 3), np.uint8)
        self._running().release_slot()
        return image

    @contextmanager
    def checking(self) -> Iterator[None]:
        """Around the use of messages: an impossible one is the decoder's failure."""
        try:
            yield
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DecoderCrashed(f"{self._path}: the decoder sent an impossible message ({error}).") from error

    def _running(self) -> DecodeProcess:
        if self._child is None:
            raise RuntimeError("a MediaTask is used inside its with block")
        return self._child


class Appearing:
    """A file that a child writes under another name beside ``out``, until :meth:`settle` gives it its own.

    UsageError where ``out`` is ``source`` itself, is a folder, or cannot be written. :meth:`discard` is to be called in
    any case; what killed runs have left in the folder is removed.
    """

    def __init__(self, out: Path, source: Path) -> None:
        self._out = out
        self.temporary = _temporary(out)
        try:
            if out.is_dir():
                raise UsageError(f"{out}: it is a folder. Give the name of a file to write.")
            if out.exists() and out.samefile(source):
                raise UsageError(f"{out}: it is the video itself. Give another name to write to.")
            check_target(out)
            open_new(self.temporary).close()
        except OSError as error:
            raise UsageError(
                f"{out}: it cannot be written ({error.strerror or error}). Give a folder that can be."
            ) from error
        with suppress(OSError):
            _sweep(out.parent)

    def settle(self) -> Path:
        """Move the whole file over ``out``, once it is on the disk."""
        try:
            with self.temporary.open("rb") as file:
                os.fsync(file.fileno())
            self.temporary.replace(self._out)
        except OSError as error:
            raise UsageError(f"{self._out}: it cannot be written ({error.strerror}).") from error
        return self._out

    def discard(self) -> None:
        """Remove what was not settled."""
        self.temporary.unlink(missing_ok=True)


def _temporary(out: Path) -> Path:
    """Beside ``out``, by the rule of all temporary files; its own also where long names are alike and are cut."""
    name = os.fsencode(out.name)
    digest = hashlib.sha256(name).hexdigest()[:8]
    return temporary_path(out.with_name(f"{digest}-{name[:_MOST_NAME_BYTES].decode(errors='ignore')}"))


def _sweep(folder: Path) -> None:
    own = f".{os.getpid()}-"  # there may be hundreds, of one run
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.endswith(".tmp") and own not in entry.name]
    for name in names:
        if is_leftover(name):
            with suppress(OSError):
                (folder / name).unlink()
