"""What a child that reads untrusted videos gives up once its libraries are loaded: an extra wall behind the limits.

Three things of Linux, through the C library alone, for the calling process and for good:

- Landlock: of all files only those of Python, of the system's libraries and the given ones can be opened; no TCP;
- seccomp: no socket of any kind, no other program, no new process, no look into other processes;
- ``no_new_privs``: nothing that is started later could gain rights.

Where a kernel, a container or a machine lacks one of them, the others hold, and :class:`Confined` says so; ``vadpipe
doctor`` shows it. Nothing else relies on them: formats and protocols are refused before, by content.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_NO_NEW_PRIVS = 38  # of prctl
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every machine
_PATH_BENEATH = 1
_EXECUTE, _WRITE, _READ, _READ_DIR = 1, 2, 4, 8
_TRUNCATE = 1 << 14
_FILES_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP, _TCP_ABI = 3, 4  # bind, connect
_SCOPES, _SCOPES_ABI = 3, 6  # abstract sockets and signals to the outside

_FILTER, _SYNC_THREADS = 1, 1  # of seccomp
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _ANY_OF, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_EPERM, _ENOSYS = 1, 38
_THREAD = 0x10000  # of clone: a thread, and no process
_X32 = 0x40000000


@dataclass(frozen=True, slots=True)
class _Machine:
    """System calls by number: ``denied`` ones, ``clone`` (threads only), and ``seccomp`` itself."""

    audit: int
    seccomp: int
    clone: int
    denied: tuple[int, ...]


_CLONE3 = 435  # its flags cannot be looked at; the C library then uses clone
_MACHINES = {
    # socket connect fork vfork execve ptrace process_vm_readv, _writev bpf execveat io_uring_setup
    "x86_64": _Machine(0xC000003E, 317, 56, (41, 42, 57, 58, 59, 101, 310, 311, 321, 322, 425)),
    # socket connect ptrace execve process_vm_readv, _writev bpf execveat io_uring_setup
    "aarch64": _Machine(0xC00000B7, 277, 220, (198, 203, 117, 221, 270, 271, 280, 281, 425)),
}


@dataclass(frozen=True, slots=True)
class Confined:
    """What holds from now on.

    landlock
        Version of the kernel's interface, 0: other files can be opened. From 4 on TCP is closed by it too.
    seccomp
        Whether sockets, programs and processes are refused.
    no_new_privs
        Whether no rights can be gained.
    """

    landlock: int
    seccomp: bool
    no_new_privs: bool

    @property
    def is_whole(self) -> bool:
        """Whether all of it holds."""
        return self.landlock > 0 and self.seccomp and self.no_new_privs


def confine(readable: Sequence[Path], writable: Sequence[Path] = ()) -> Confined:
    """Give up everything but these files, what Python and the system's libraries need, and threads.

    Of this process's threads the calling one and later ones lose files; all lose sockets and programs. Raises nothing:
    what could not be done is in the answer.
    """
    if sys.platform != "linux":
        return Confined(0, False, False)
    library = ctypes.CDLL(None, use_errno=True)
    privileges = library.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    landlock = _landlock(library, [*_own_places(), *readable], writable) if privileges else 0
    return Confined(landlock, privileges and _seccomp(library), privileges)


def _own_places() -> Iterator[Path]:
    """What Python and libraries may still open: modules and libraries that are loaded late, facts of the machine."""
    for place in (sys.prefix, sys.base_prefix, *sys.path, *os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)):
        if place:
            yield Path(place)
    system = "/usr /lib /lib64 /etc/ld.so.cache /etc/localtime /proc/self /proc/cpuinfo /proc/meminfo /proc/stat"
    devices = "/sys/devices/system/cpu /sys/fs/cgroup /dev/null /dev/zero /dev/urandom /dev/random"
    yield from map(Path, [*system.split(), *devices.split()])


def _landlock(library: ctypes.CDLL, readable: Sequence[Path], writable: Sequence[Path]) -> int:
    abi = library.syscall(_CREATE_RULESET, None, 0, 1)
    if abi < 1:
        return 0
    files = _FILES_OF_ABI[max(known for known in _FILES_OF_ABI if known <= abi)]
    fields = [files, _TCP if abi >= _TCP_ABI else 0, _SCOPES if abi >= _SCOPES_ABI else 0]
    attributes = struct.pack("=3Q", *fields)[: 24 if abi >= _SCOPES_ABI else 16 if abi >= _TCP_ABI else 8]
    rules = library.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return 0
    try:
        for path in readable:
            _allow(library, rules, path, _READ | _READ_DIR)
        for path in writable:
            _allow(library, rules, path, (_READ | _WRITE | _TRUNCATE) & files)
        return int(abi) if library.syscall(_RESTRICT_SELF, rules, 0) == 0 else 0
    finally:
        os.close(rules)


def _allow(library: ctypes.CDLL, rules: int, path: Path, access: int) -> None:
    """A rule for a file, or for a folder and all that is in it; none for what does not exist."""
    with contextlib.suppress(OSError):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            access = access if path.is_dir() else access & ~_READ_DIR
            library.syscall(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", access, place), 0)
        finally:
            os.close(place)


def _seccomp(library: ctypes.CDLL) -> bool:
    machine = _MACHINES.get(platform.machine())
    if machine is None or struct.calcsize("P") != 8:
        return False
    program = _program(machine)
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    return bool(library.syscall(machine.seccomp, _FILTER, _SYNC_THREADS, head) == 0)


def _program(machine: _Machine) -> bytes:
    """The filter: system calls of another machine's kind and the denied ones are refused, clone makes threads only."""
    refuse, absent = _ERRNO | _EPERM, _ERRNO | _ENOSYS
    # each: code, jump if true, jump if false, value. Of a call the number lies at 0, the machine at 4, arguments at 16.
    steps: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, refuse),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, refuse),
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, absent),
    ]
    for number in machine.denied:
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, refuse)]
    steps += [
        (_EQUAL, 0, 3, machine.clone),
        (_LOAD, 0, 0, 16),
        (_ANY_OF, 1, 0, _THREAD),
        (_RETURN, 0, 0, refuse),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
