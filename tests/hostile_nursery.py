"""Decoder children forked from a process that has imported the decoder already: for many files, a start is what costs.

What a child does is all its own: limits, confinement, request, messages, end. Only the imports are shared, and it is
no part of vadpipe: run as ``python -P -m tests.hostile_nursery SOCKET_FD DECODER_MODULE``, one child at a time.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from vadpipe.extractors import decode_child, media_child
from vadpipe.extractors.decode_process import DecodeProcess, _environment
from vadpipe.extractors.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
_BORN, _GONE = struct.Struct("=q"), struct.Struct("=iqd")  # pid; status, KiB, seconds of processor time


class MeasuredChild(subprocess.Popen[bytes]):
    """A real child whose peak memory is known once it is gone, where it is above this process's own.

    The system begins to count before the child is another program than its parent: below the parent's peak it tells
    nothing, and 0 stands here. The children of a :class:`Nursery`, which is small, are measured exactly.
    """

    peak_kib = 0
    cpu_s = 0.0

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        deadline = time.monotonic() + (timeout or 0)
        while self._reap(os.WNOHANG if timeout is not None else 0) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(0.002)
        assert self.returncode is not None
        return self.returncode

    def _reap(self, flags: int) -> int | None:
        if self.returncode is None:
            pid, status, usage = os.wait4(self.pid, flags)
            if pid:
                self._note(status, usage)
        return self.returncode

    def _note(self, status: int, usage: resource.struct_rusage) -> None:
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.peak_kib = usage.ru_maxrss if usage.ru_maxrss > own else 0
        self.cpu_s = usage.ru_utime + usage.ru_stime
        self.returncode = os.waitstatus_to_exitcode(status)


class Nursery:
    """The forking process; each thread has one of its own. :meth:`close` it."""

    def __init__(self, module: str) -> None:
        self._socket, given = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.hostile_nursery", str(given.fileno()), module],
            pass_fds=(given.fileno(),),
            env={**_environment(), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
        )
        given.close()

    def bear(self, fds: list[int]) -> ForkedChild:
        socket.send_fds(self._socket, [b"."], fds)
        return ForkedChild(self._socket, _BORN.unpack(_read(self._socket, _BORN.size))[0])

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


class ForkedChild:
    """What a DecodeProcess uses of a Popen, for a child of a nursery."""

    peak_kib = 0
    cpu_s = 0.0

    def __init__(self, told: socket.socket, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin: Any = None
        self._told = told

    def poll(self) -> int | None:
        return self._listen(0.0)

    def wait(self, timeout: float | None = None) -> int:
        if self._listen(timeout) is None:
            raise subprocess.TimeoutExpired("a forked child", timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def _listen(self, timeout: float | None) -> int | None:
        if self.returncode is not None:
            return self.returncode
        self._told.settimeout(timeout)
        try:
            data = self._told.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, TimeoutError):
            return None
        finally:
            self._told.settimeout(None)
        assert data, "the nursery has died"
        status, self.peak_kib, self.cpu_s = _GONE.unpack(_read(self._told, _GONE.size))
        self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def measured_process(nursery: Nursery | None, born: Callable[[Any], None]) -> type[DecodeProcess]:
    """A DecodeProcess whose children are real ones, or those of a nursery; ``born`` is told each."""

    class Measured(DecodeProcess):
        def _spawn(self, module: str, stderr: int, given: tuple[int, ...]) -> Any:
            child: Any
            if nursery is None:
                child = MeasuredChild(**self._start_options(module, stderr, given))
            else:
                theirs, ours = os.pipe()
                child = nursery.bear([theirs, stderr, *given])
                os.close(theirs)
                child.stdin = os.fdopen(ours, "wb", buffering=0)
            born(child)
            return child

    return Measured


def _read(given: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = given.recv(size - len(data))
        assert part, "the nursery has died"
        data += part
    return data


def _serve(told: socket.socket, module: str) -> None:
    for name in module.split(","):
        import_module(name)
    null = os.open(os.devnull, os.O_RDWR)
    while True:
        data, fds, _, _ = socket.recv_fds(told, 1, 5)
        if not data:
            return
        child = os.fork()
        if child == 0:
            _live(told, null, fds)
        for fd in fds:
            os.close(fd)
        told.sendall(_BORN.pack(child))
        _, status, usage = os.wait4(child, 0)
        told.sendall(_GONE.pack(status, usage.ru_maxrss, usage.ru_utime + usage.ru_stime))


def _live(told: socket.socket, null: int, fds: list[int]) -> None:
    try:
        os.setsid()
        os.chdir("/")
        told.close()
        stdin, stderr, *given = fds
        for fd, place in ((stdin, 0), (null, 1), (stderr, 2)):
            os.dup2(fd, place)
        names = list(map(str, given))
        decode_child.main(names, _answer, lambda request: str(request.get("module") or TASKS[request["task"]]))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(1)


def _answer(link: Any, request: dict[str, Any]) -> None:
    (media_child.answer if "task" in request else decode_child.serve)(link, request)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
