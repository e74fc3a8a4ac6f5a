"""The decoder child's side of the connection to its parent: messages, slots, and how it ends.

A child dies with its parent, even while it hangs in a library with Python's lock held: the parent holds the other end
of a pipe ("life") and never writes to it, so the kernel sends SIGIO (default action: terminate) when the parent is
gone. The backstop, where other processes inherited that end, is SIGALRM (default action: terminate), which is set
again at every sign of progress and is off while the child waits for its parent.
"""

from __future__ import annotations

import fcntl
import math
import os
import resource
import select
import signal
import time
from typing import Any

from numpy.typing import NDArray

from vadpipe.errors import VideoUnreadable
from vadpipe.extractors.decode_link import Ring, encode

_MOST_OPEN_FILES = 256
_CPU_SHARE = 6  # threads: encoders have four, some decoders two


class Link:
    """The child's end of the connection to its parent, its alarm clock and its slots."""

    def __init__(self, control_fd: int, memory_fd: int) -> None:
        self._control_fd = control_fd
        self._memory_fd = memory_fd
        self._alarm_s = self._beat_s = 0.0
        self._last_beat = time.monotonic()
        self._ring: Ring | None = None
        self._free = 0
        self._next_slot = 0

    def set_alarm(self, stall_s: float) -> None:
        """Start the alarm clock. The parent kills after ``stall_s``; this one is for when there is no parent."""
        self._alarm_s = stall_s + 1.0
        self._beat_s = min(1.0, stall_s / 4)
        self._arm()

    def allow(self, allowed_s: float) -> None:
        """Let this process work for ``allowed_s`` in all; where there is a parent, its clock runs out first."""
        _limit_cpu(allowed_s)

    def beat(self) -> None:
        """Say that there is progress; cheap enough for every packet."""
        now = time.monotonic()
        if now - self._last_beat > self._beat_s:
            self._last_beat = now
            self.send(t="beat")

    def send(self, **message: Any) -> None:
        """Send one message; ends the process where nobody is left to read it."""
        data = encode(message)
        self._disarm()
        try:
            while data:
                data = data[os.write(self._control_fd, data) :]
        except BrokenPipeError:
            os._exit(0)
        self._arm()

    def open_ring(self, slot_bytes: int) -> None:
        """Map the shared memory that the parent made after the head; its answer is the number of slots."""
        slots = int(self.wait_line())
        self._ring = Ring(self._memory_fd, slots, slot_bytes)
        self._free = slots

    def wait_line(self) -> bytes:
        """One line from the parent, which sends nothing behind a line before it was answered."""
        line = b""
        while not line.endswith(b"\n"):
            line += self._wait(1 << 16)
        return line

    def hand_over(self, data: NDArray[Any], **message: Any) -> None:
        """Copy ``data`` into the next free slot, waiting for one if need be, and announce it."""
        if self._ring is None:
            raise RuntimeError("open_ring() comes first")
        if data.nbytes > self._ring.slot_bytes:
            raise VideoUnreadable(
                f"a frame has {data.nbytes} bytes, the first had {self._ring.slot_bytes}: the picture size grows "
                "midway, which only a geometry with a fixed output size can take. Use one, or convert the file."
            )
        while self._free == 0:
            self._free += len(self._wait(4096))
        slot = self._next_slot
        self._ring.put(slot, data)
        self._free -= 1
        self._next_slot = (slot + 1) % self._ring.slots
        self.send(slot=slot, **message)

    def _wait(self, most: int) -> bytes:
        self._disarm()
        data = os.read(0, most)
        if not data:
            os._exit(0)  # the parent is gone
        self._arm()
        return data

    def _arm(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self._alarm_s)

    def _disarm(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)


def limit_child(memory_bytes: int, allowed_s: float) -> None:
    """Cap the address space, processor time and open files, leave no core file.

    Processes are not capped here: the system counts all of a user's, and not those of root.
    """
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _MOST_OPEN_FILES)
    _limit_cpu(allowed_s)


def limit_files(file_bytes: int) -> None:
    """Cap the size of what is written (0: nothing can be), which does not hold for pipes and shared memory."""
    _limit(resource.RLIMIT_FSIZE, file_bytes)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (most, most))


def _limit_cpu(allowed_s: float) -> None:
    """Processor time for ``allowed_s`` of work in all; it grows once the frames are counted."""
    most, hard = math.ceil(_CPU_SHARE * allowed_s) + 1, resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def die_with_parent(life_fd: int) -> None:
    """Have the kernel end this process as soon as the parent's end of ``life_fd`` is closed."""
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO, signal.SIGALRM})
    fcntl.fcntl(life_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life_fd, fcntl.F_SETFL, fcntl.fcntl(life_fd, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([life_fd], [], [], 0)[0]:  # gone before the line above
        os._exit(0)
