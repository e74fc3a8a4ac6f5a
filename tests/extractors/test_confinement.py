"""What a confined child can still do: asked of this machine's kernel, and of the filter itself for both machines."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import platform
import resource
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vadpipe.extractors import confinement
from vadpipe.extractors.confined_calls import ALLOW, LOOKED_AT, MACHINES, MISSING, REFUSE, REFUSED, Machine, program
from vadpipe.extractors.confinement import confine

PID = 4321


def answer(machine: Machine, number: int, *arguments: int, audit: int | None = None) -> int:
    """What the filter says to a call: its steps, run here."""
    call = struct.pack("=iIQ6Q", number, audit or machine.audit, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = list(struct.iter_unpack("HBBI", program(machine, PID)))
    at = held = 0
    while True:
        code, if_true, if_false, value = steps[at]
        at += 1
        match code:
            case 0x20:
                held = struct.unpack_from("=I", call, value)[0]
            case 0x54:
                held &= value
            case 0x15 | 0x45 | 0x35:
                holds = {0x15: held == value, 0x45: bool(held & value), 0x35: held >= value}[code]
                at += if_true if holds else if_false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(hex(code))


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> Machine:
    return MACHINES[request.param]


def number_of(machine: Machine, name: str) -> int:
    return {**REFUSED, **MISSING, **LOOKED_AT}[name][machine.place]


def test_what_a_decoder_needs_is_allowed(machine: Machine) -> None:
    reads, writes, maps, futex = {"x86_64": (0, 1, 9, 202), "aarch64": (63, 64, 222, 98)}[
        next(name for name, one in MACHINES.items() if one is machine)
    ]
    assert {answer(machine, number, 3) for number in (reads, writes, maps, futex)} == {ALLOW}


def test_every_call_of_the_table_is_refused(machine: Machine) -> None:
    for name, numbers in REFUSED.items():
        if numbers[machine.place] >= 0:
            assert answer(machine, numbers[machine.place]) == REFUSE, name
    for numbers in MISSING.values():
        assert answer(machine, numbers[machine.place]) & 0xFFFF == 38  # ENOSYS
    assert len(program(machine, PID)) // 8 < 4096  # as many steps as a filter may have


def test_no_call_is_reached_by_another_door(machine: Machine) -> None:
    """The calls of 32-bit programs have other numbers, those of x32 have a bit more."""
    assert answer(machine, 1, audit=0x40000003) == REFUSE
    assert answer(machine, 1 | 0x40000000) == REFUSE
    assert answer(machine, -1) == REFUSE


def test_the_tables_name_no_call_twice() -> None:
    for machine in MACHINES.values():
        numbers = [pair[machine.place] for pair in [*REFUSED.values(), *MISSING.values(), *LOOKED_AT.values()]]
        known = [number for number in numbers if number >= 0]
        assert len(known) == len(set(known))


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("clone", [(0x3D0F00,)], [(0x11,), (0x4111,), (0,)]),  # threads; processes
        ("kill", [(PID, 9)], [(1, 9), (0, 9), (2**32 - 1, 9), (2**64 - 1, 9)]),
        ("tgkill", [(PID, PID + 1, 6)], [(1, 1, 6)]),
        ("prlimit64", [(0, 7)], [(1, 7)]),
        ("sched_setaffinity", [(0, 8)], [(1, 8)]),
        ("sched_setscheduler", [(0, 1)], [(1, 1)]),
        ("sched_setparam", [(0, 1)], [(1, 1)]),
        ("sched_setattr", [(0, 1)], [(1, 1)]),
        ("setpriority", [(0, 0, 5)], [(0, 1, 5), (2, 0, 5), (1, 0, 5)]),  # PRIO_USER means all of a user's
        ("fcntl", [(3, 3), (3, 4), (3, 1033)], [(3, 8, 1), (3, 10, 9), (3, 15, 1)]),
        ("ioctl", [(1, 0x5401)], [(3, 0x40086602), (3, 0x401C5820)]),
        ("openat", [(0, 0, 0), (0, 0, 0o1102), (0, 0, 0o1101)], [(0, 0, 0o1000), (0, 0, 0o1003)]),
        ("open", [(0, 0), (0, 0o1102), (0, 0o1101)], [(0, 0o1000), (0, 0o1003)]),
    ],
)
def test_what_is_looked_at(
    name: str, allowed: list[tuple[int, ...]], refused: list[tuple[int, ...]], machine: Machine
) -> None:
    if number_of(machine, name) < 0:
        pytest.skip("this machine has no such call")
    assert [answer(machine, number_of(machine, name), *one) for one in allowed] == [ALLOW] * len(allowed)
    assert [answer(machine, number_of(machine, name), *one) for one in refused] == [REFUSE] * len(refused)


def in_confined_child(
    tried: dict[str, Callable[[], object]], *readable: Path
) -> tuple[confinement.Confined, dict[str, str]]:
    """What became of each attempt, made by a child that is confined to these files."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            held = confine(readable)
            told = {name: _tried(action) for name, action in tried.items()}
            os.write(writer, json.dumps([held.landlock, held.seccomp, held.no_new_privs, told]).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as file:
        *held, told = json.loads(file.read())
    return confinement.Confined(*held), told


def _tried(action: Callable[[], object]) -> str:
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"


def _call(name: str, *arguments: Any) -> int:
    """A system call by its number, OSError where it fails."""
    number = {**REFUSED, **LOOKED_AT}[name][MACHINES[platform.machine()].place]
    done = ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)
    if done < 0:
        raise OSError(ctypes.get_errno(), name)
    return int(done)


def attempts(path: Path, video: Path) -> dict[str, Callable[[], object]]:
    """What reaches other processes, and a file that was not given."""
    parent = os.getpid()
    opened = os.open(path, os.O_RDONLY)
    return {
        "read": path.read_bytes,
        "chmod": lambda: path.chmod(0o777),
        "fchmod": lambda: os.fchmod(opened, 0o777),
        "chown": lambda: os.chown(path, os.getuid(), os.getgid()),
        "utime": lambda: os.utime(path, (1, 1)),
        "setxattr": lambda: os.setxattr(path, "user.x", b"1"),
        "truncate": lambda: os.truncate(path, 0),
        "open to cut off": lambda: os.open(video, os.O_RDONLY | os.O_TRUNC),
        "unlink": path.unlink,
        "signal": lambda: os.kill(parent, 0),
        "signal by a descriptor": lambda: fcntl.fcntl(opened, fcntl.F_SETOWN, parent),
        "limits": lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)),
        "affinity": lambda: os.sched_setaffinity(parent, os.sched_getaffinity(0)),
        "priority": lambda: os.setpriority(os.PRIO_PROCESS, parent, os.getpriority(os.PRIO_PROCESS, 0)),
        "descriptor of a process": lambda: _call("pidfd_open", parent, 0),
        "keys": lambda: _call("keyctl", 0, -3, 0),
        "shared memory": lambda: os.close(_call("shmget", 0, 4096, 0o600)),
        "namespace": lambda: _call("unshare", 0x10000000),
        "page faults": lambda: _call("userfaultfd", 1),
    }


@pytest.mark.parametrize("abi", [None, 1, 2, 5])
def test_nothing_reaches_others_on_any_kernel(abi: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels from 5.13 to 6.11 have a Landlock that cannot refuse cutting off files (1, 2) or signals (to 5)."""
    path = tmp_path / "secret"
    path.write_text("hello")
    path.chmod(0o600)
    whole, _ = in_confined_child({})
    if not whole.is_whole or (abi or 0) > whole.landlock:
        pytest.skip(f"this machine holds a child back with {whole} only")
    if abi is not None:
        monkeypatch.setattr(ctypes, "CDLL", _older(abi))
    video = tmp_path / "video"
    video.write_text("frames")
    held, told = in_confined_child({**attempts(path, video), "own": video.read_text}, video)
    assert told.pop("own") == "done"
    assert video.read_text() == "frames"
    assert held.is_whole
    assert held.landlock == (abi or whole.landlock)
    assert told == dict.fromkeys(told, "PermissionError")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("hello", 0o600)


def _older(abi: int) -> Callable[..., Any]:
    """The C library as the code sees it, on a kernel whose Landlock says that it has this version."""
    real = ctypes.CDLL(None, use_errno=True)

    class Library:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def syscall(self, number: int, *arguments: Any) -> int:
            if number == 444 and arguments[0] is None:
                return abi
            return int(real.syscall(number, *arguments))

    return Library
