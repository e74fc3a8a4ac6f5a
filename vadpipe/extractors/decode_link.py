"""What parent and decoder child share: a ring of slots in anonymous shared memory, and messages of one JSON line each.

The memory has no name (``memfd_create``, else a file that is unlinked at once), so nothing is left behind in /dev/shm
or /tmp, however either side dies. Messages go through a pipe of their own, so that nothing that a decoder library
prints can be taken for one.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

RING_BYTES = 512 * 1024**2
"""Upper bound of a ring's memory: frames that are handed over untouched get fewer slots, at least two."""

_SEALS = ("F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_SEAL")


def anonymous_file() -> int:
    """Open file descriptor of memory without a name, size 0, not inherited unless passed on."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("vadpipe-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as unlinked:
        return os.dup(unlinked.fileno())


def slots_for(slot_bytes: int, wanted: int) -> int:
    """How many slots of ``slot_bytes`` fit into :data:`RING_BYTES`: at most ``wanted``, at least 2."""
    return max(2, min(wanted, RING_BYTES // slot_bytes))


class Ring:
    """``slots`` slots of ``slot_bytes`` bytes, mapped from an anonymous file into both processes."""

    def __init__(self, fd: int, slots: int, slot_bytes: int) -> None:
        self.slots = slots
        self.slot_bytes = slot_bytes
        self._map = mmap.mmap(fd, slots * slot_bytes)

    @classmethod
    def create(cls, fd: int, slots: int, slot_bytes: int) -> Ring:
        """Give the file its size, for good where the system can (a child that shrank it would crash its parent)."""
        os.ftruncate(fd, slots * slot_bytes)
        if hasattr(fcntl, "F_ADD_SEALS") and hasattr(os, "memfd_create"):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, sum(getattr(fcntl, seal) for seal in _SEALS))
        return cls(fd, slots, slot_bytes)

    def put(self, slot: int, data: NDArray[Any]) -> None:
        """Copy an array's bytes into a slot; ValueError where they do not fit."""
        raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        start = self._start(slot, len(raw))
        self._map[start : start + len(raw)] = raw.data

    def get(self, slot: int, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        """Copy of the array at the start of a slot; ValueError where it would reach beyond it."""
        count = int(np.prod(shape))
        start = self._start(slot, count * np.dtype(dtype).itemsize)
        return np.frombuffer(self._map, dtype, count, start).reshape(shape).copy()

    def close(self) -> None:
        """Unmap."""
        self._map.close()

    def _start(self, slot: int, size: int) -> int:
        if not (0 <= slot < self.slots and 0 <= size <= self.slot_bytes):
            raise ValueError(f"slot {slot} with {size} bytes; there are {self.slots} of {self.slot_bytes}")
        return slot * self.slot_bytes


def encode(message: dict[str, Any]) -> bytes:
    """One message as one line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """The message in one line; ValueError for anything that is not a JSON object."""
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError(f"got {line[:80]!r}, expected a JSON object")
    return message
