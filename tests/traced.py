"""Run a piece of code in a child and kill it at its n-th change of the file system, or let changes fail, with no hook.

The child is traced (ptrace, as strace does it) and stops before every system call, inside any library. Those that
change files are counted; at the n-th the child gets SIGKILL, and that call does not happen; or calls are refused with
an error as of a full disk. Linux on x86-64 only; elsewhere tests say so and skip.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vadpipe.errors import VadpipeError

_TRACEME, _POKEUSER, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 6, 24, 0x4200, 0x420E
_RESULT_AT, _NUMBER_AT = 80, 120  # of the registers rax and orig_rax
_TRACESYSGOOD, _EXITKILL = 1, 0x100000
_ENTRY = 1
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
# number -> name and the places of the arguments that are file descriptors or paths
_CALLS: dict[int, tuple[str, str, tuple[int, ...]]] = {
    1: ("write", "fd", (0,)),
    2: ("open", "path", (0,)),
    18: ("write", "fd", (0,)),
    20: ("write", "fd", (0,)),
    40: ("write", "fd", (0,)),
    72: ("lock", "fd", (0,)),
    73: ("lock", "fd", (0,)),
    74: ("fsync", "fd", (0,)),
    75: ("fsync", "fd", (0,)),
    77: ("truncate", "fd", (0,)),
    82: ("rename", "path", (0, 1)),
    83: ("mkdir", "path", (0,)),
    84: ("rmdir", "path", (0,)),
    87: ("unlink", "path", (0,)),
    257: ("open", "path", (1,)),
    258: ("mkdir", "path", (1,)),
    263: ("unlink", "path", (1,)),
    264: ("rename", "path", (1, 3)),
    285: ("truncate", "fd", (0,)),
    296: ("write", "fd", (0,)),
    316: ("rename", "path", (1, 3)),
    326: ("write", "fd", (2,)),
}
_FLAGS_AT = {2: 1, 257: 2}
_FCNTL = 72
_LOCKS = {6, 7, 37, 38}  # commands of fcntl that lock


@dataclass(frozen=True)
class Call:
    """A change of the file system: what, and the files."""

    name: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Trace:
    """All changes that were begun, in order; ``killed``: the last of them was not let happen.

    error
        Class and message of the expected error that the action ended with, if any.
    """

    calls: tuple[Call, ...]
    killed: bool
    error: str = ""


def can_trace() -> bool:
    """Whether this machine lets a process trace its child."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        return not trace(lambda: None).killed
    except OSError:
        return False


def trace(action: Callable[[], object], kill_at: int = 0, refuse: Callable[[int, Call], int] = lambda *_: 0) -> Trace:
    """Run ``action`` in a child until it ends, or until its ``kill_at``-th change of the file system.

    refuse
        Given a change and its number, from 1: 0, or the error number with which it fails.

    AssertionError where the action fails with another error than vadpipe's own. Call it from a process with one thread.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_traced(action, writer)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as said:
        calls, status = _follow(child, kill_at, refuse)
        if os.WIFSIGNALED(status) and len(calls) == kill_at:
            return Trace(calls, killed=True)
        assert os.WIFEXITED(status), f"ended by signal {status}"
        assert os.WEXITSTATUS(status) == 0, "the traced action failed"
        return Trace(calls, killed=False, error=said.read())


def _follow(child: int, kill_at: int, refuse: Callable[[int, Call], int]) -> tuple[tuple[Call, ...], int]:
    """The changes that a child makes until it ends, and how it ended."""
    calls = list[Call]()
    try:
        _, status = os.waitpid(child, 0)  # it has stopped itself
        if not os.WIFSTOPPED(status):
            raise OSError("the child was not let be traced")
        _ptrace(_SETOPTIONS, child, 0, _TRACESYSGOOD | _EXITKILL)
        passed = 0
        while True:
            status = _step(child, passed)
            if not os.WIFSTOPPED(status):
                return tuple(calls), status
            stopped_by = os.WSTOPSIG(status)
            passed = 0 if stopped_by == signal.SIGTRAP | 0x80 else stopped_by
            if passed == 0 and (call := _change(child)) is not None:
                calls.append(call)
                if len(calls) == kill_at:
                    os.kill(child, signal.SIGKILL)
                elif number := refuse(len(calls), call):
                    _ptrace(_POKEUSER, child, _NUMBER_AT, -1)  # no such call
                    _step(child, 0)
                    _ptrace(_POKEUSER, child, _RESULT_AT, -number)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise


def _step(child: int, passed: int) -> int:
    """Let it run to the beginning or end of its next system call; ``passed``: a signal that it gets."""
    with contextlib.suppress(ProcessLookupError):  # it was killed
        _ptrace(_SYSCALL, child, 0, passed)
    return os.waitpid(child, 0)[1]


def unsafe_order(calls: Sequence[Call]) -> list[str]:
    """What a power loss could undo or halve: renames of files that are not on disk, and names that are not.

    A file has to be synced after its last write and before it is renamed; its folder after that; and the folder above
    a new folder.
    """
    wrong = []
    for number, call in enumerate(calls):
        later = {path for other in calls[number:] if other.name == "fsync" for path in other.paths}
        if call.name == "mkdir" and str(Path(call.paths[0]).parent) not in later:
            wrong.append(f"{call.paths[0]} is made, and the folder above it not synced")
        if call.name != "rename":
            continue
        source, target = call.paths
        before = [other.name for other in calls[:number] if other.paths == (source,)]
        if "write" in before and before[-1] != "fsync":
            wrong.append(f"{target} is renamed before it is synced")
        if str(Path(target).parent) not in later:
            wrong.append(f"{target} is renamed, and its folder not synced")
    return wrong


def _be_traced(action: Callable[[], object], writer: int) -> None:
    try:
        _ptrace(_TRACEME, 0, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        action()
    except VadpipeError as error:
        os.write(writer, f"{type(error).__name__}: {error}".encode())
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _change(child: int) -> Call | None:
    info = (ctypes.c_uint64 * 16)()
    _ptrace(_GET_SYSCALL_INFO, child, ctypes.sizeof(info), ctypes.addressof(info))
    number, arguments = info[3], info[4:10]
    if info[0] & 0xFF != _ENTRY or number not in _CALLS:
        return None
    name, kind, places = _CALLS[number]
    if kind == "fd":
        if number == _FCNTL and arguments[1] not in _LOCKS:
            return None
        path = str(Path(f"/proc/{child}/fd/{arguments[places[0]]}").readlink())
        return Call(name, (path,)) if arguments[places[0]] > 2 and path.startswith("/") else None  # or what it says
    if number in _FLAGS_AT and not arguments[_FLAGS_AT[number]] & _WRITES:
        return None
    paths = tuple(_text(child, arguments[place]) for place in places)
    return None if paths[0].startswith("/dev/") and not paths[0].startswith("/dev/shm/") else Call(name, paths)


def _text(child: int, address: int) -> str:
    with Path(f"/proc/{child}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        return os.fsdecode(memory.read(4096).partition(b"\0")[0])


def _ptrace(request: int, pid: int, address: int, data: int) -> None:
    if _library()(request, pid, address, data) == -1:
        raise OSError(ctypes.get_errno(), "ptrace")


@cache
def _library() -> Any:
    call = ctypes.CDLL(None, use_errno=True).ptrace
    call.restype = ctypes.c_long
    call.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    return call
