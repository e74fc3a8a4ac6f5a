"""What a child that reads untrusted videos gives up once its libraries are loaded: an extra wall behind the limits.

Three things of Linux, through the C library alone, for the calling process and for good:

- Landlock: of all files only those of Python, of the system's libraries and the given ones can be opened; no TCP;
- seccomp: no socket of any kind, no other program, no new process, no look into other processes and no signal to them,
  no change of a file by its name, of its attributes, of the machine (``confined_calls.py``);
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

from vadpipe.extractors.confined_calls import MACHINES, program

_NO_NEW_PRIVS = 38  # of prctl
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every machine
_PATH_BENEATH = 1
_EXECUTE, _WRITE, _READ, _READ_DIR = 1, 2, 4, 8
_TRUNCATE = 1 << 14
_FILES_OF_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP, _TCP_ABI = 3, 4  # bind, connect
_SCOPES, _SCOPES_ABI = 3, 6  # abstract sockets and signals to the outside

_FILTER, _SYNC_THREADS = 1, 1  # of seccomp


@dataclass(frozen=True, slots=True)
class Confined:
    """What holds from now on.

    landlock
        Version of the kernel's interface, 0: other files can be opened. What the first versions leave open (cutting
        off files, TCP, signals) is refused by seccomp, so that any version will do.
    seccomp
        Whether sockets, programs, processes, signals to others and changes of files are refused.
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
    libraries = os.pathsep.join(os.environ.get(name, "") for name in ("LD_LIBRARY_PATH", "NIX_LD_LIBRARY_PATH"))
    for place in (sys.prefix, sys.base_prefix, *sys.path, *libraries.split(os.pathsep)):
        if place:  # an empty one would be the folder that this runs in
            yield Path(place)
    system = "/nix/store /usr /lib /lib64 /etc/ld.so.cache /etc/localtime /proc/self /proc/cpuinfo /proc/meminfo"
    devices = "/proc/stat /sys/devices/system/cpu /sys/fs/cgroup /dev/null /dev/zero /dev/urandom /dev/random"
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
    machine = MACHINES.get(platform.machine())
    if machine is None or struct.calcsize("P") != 8:
        return False
    steps = program(machine, os.getpid())
    code = ctypes.create_string_buffer(steps, len(steps))
    head = struct.pack("HxxxxxxP", len(steps) // 8, ctypes.addressof(code))
    return bool(library.syscall(machine.seccomp, _FILTER, _SYNC_THREADS, head) == 0)
