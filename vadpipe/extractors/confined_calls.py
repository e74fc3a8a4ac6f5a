"""System calls that a confined child is refused, and the filter that refuses them (seccomp's classic BPF).

Refused is what reaches beyond the process and its files: talking to others, looking into them, changing files, the
machine or another process's limits. Each call has its numbers on x86-64 and on ARM64; some are refused only with
arguments that reach further than this process. What this leaves open is written in docs/security.md.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

ALLOW, REFUSE, ABSENT = 0x7FFF0000, 0x00050001, 0x00050026
"""What the filter answers: go on, EPERM, and ENOSYS, after which the C library takes an older call."""

_LOAD, _AND, _EQUAL, _ANY_OF, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x45, 0x35, 0x06
_X32 = 0x40000000
_THREAD = 0x10000  # of clone: a thread, and no process
_TRUNCATE, _ACCESS, _WRITE, _READ_WRITE = 0o1000, 3, 1, 2  # of open
_SET_OWNER, _SET_SIGNAL, _SET_OWNER_OF_ANY_KIND = 8, 10, 15  # of fcntl: who gets which signal of a descriptor
_SET_FLAGS, _SET_ATTRIBUTES = 0x40086602, 0x401C5820  # of ioctl: attributes of a file that is open for reading

Step = tuple[int, int, int, int]
"""Code, jump if true, jump if false, value."""

_NONE = -1

REFUSED: dict[str, tuple[int, int]] = {
    # programs and processes
    **{"fork": (57, _NONE), "vfork": (58, _NONE), "execve": (59, 221), "execveat": (322, 281)},
    # talking
    **{"socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201)},
    **{"shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "shmdt": (67, 197)},
    **{"semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192)},
    **{"msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187)},
    **{"mq_open": (240, 180), "mq_unlink": (241, 181)},
    **{"add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219)},
    # other processes; a thread is told by a number that cannot be compared with its process's
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272)},
    **{"process_madvise": (440, 440), "process_mrelease": (448, 448), "ioprio_set": (251, 30)},
    **{"pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "tkill": (200, 130)},
    **{"rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240)},
    **{"migrate_pages": (256, 238), "move_pages": (279, 239)},
    # files that cannot be opened, by their names, and attributes of those that can
    **{"chmod": (90, _NONE), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452)},
    **{"chown": (92, _NONE), "fchown": (93, 55), "lchown": (94, _NONE), "fchownat": (260, 54)},
    **{"utime": (132, _NONE), "utimes": (235, _NONE), "futimesat": (261, _NONE), "utimensat": (280, 88)},
    **{"setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463)},
    **{"removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466)},
    **{"truncate": (76, 45), "file_setattr": (469, 469), "open_by_handle_at": (304, 265)},
    **{"quotactl": (179, 60), "quotactl_fd": (443, 443), "fanotify_init": (300, 262)},
    # namespaces and mounts
    **{"unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51), "pivot_root": (155, 41), "mount": (165, 40)},
    **{"umount2": (166, 39), "mount_setattr": (442, 442), "move_mount": (429, 429), "open_tree": (428, 428)},
    **{"open_tree_attr": (467, 467), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432)},
    **{"fspick": (433, 433)},
    # the machine, and parts of the kernel that have let programs out before
    **{"init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106)},
    **{"kexec_load": (246, 104), "kexec_file_load": (320, 294), "reboot": (169, 142), "acct": (163, 89)},
    **{"swapon": (167, 224), "swapoff": (168, 225), "settimeofday": (164, 170), "clock_settime": (227, 112)},
    **{"clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162)},
    **{"syslog": (103, 116), "vhangup": (153, 58), "iopl": (172, _NONE), "ioperm": (173, _NONE)},
    **{"modify_ldt": (154, _NONE), "uselib": (134, _NONE), "personality": (135, 92), "bpf": (321, 280)},
    **{"perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425)},
    **{"io_uring_enter": (426, 426), "io_uring_register": (427, 427)},
}
"""Name -> numbers on x86-64 and ARM64 (-1: there is none)."""

MISSING: dict[str, tuple[int, int]] = {"clone3": (435, 435), "openat2": (437, 437)}
"""Calls whose flags lie in memory, where a filter cannot look; there is an older call for each."""

LOOKED_AT: dict[str, tuple[int, int]] = {
    **{"clone": (56, 220), "kill": (62, 129), "tgkill": (234, 131), "fcntl": (72, 25), "ioctl": (16, 29)},
    **{"open": (2, _NONE), "openat": (257, 56), "prlimit64": (302, 261), "setpriority": (141, 140)},
    **{"sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118)},
    **{"sched_setattr": (314, 274)},
}
"""Calls that are refused with some arguments."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A kind of machine: its place in the tables, its name for filters, its number of ``seccomp``."""

    place: int
    audit: int
    seccomp: int


MACHINES = {"x86_64": Machine(0, 0xC000003E, 317), "aarch64": Machine(1, 0xC00000B7, 277)}


def program(machine: Machine, pid: int) -> bytes:
    """The filter for the process ``pid``, 8 bytes a step."""
    # Of a call the number lies at 0, the machine at 4, arguments at 16, each of 8 bytes.
    steps: list[Step] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, REFUSE),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, REFUSE),
    ]
    for table, answer in ((REFUSED, REFUSE), (MISSING, ABSENT)):
        for numbers in table.values():
            if numbers[machine.place] != _NONE:
                steps += [(_EQUAL, 0, 1, numbers[machine.place]), (_RETURN, 0, 0, answer)]
    for name, numbers in LOOKED_AT.items():
        if numbers[machine.place] != _NONE:
            look = _look(name, pid)
            steps += [(_EQUAL, 0, len(look), numbers[machine.place]), *look]
    steps.append((_RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _look(name: str, pid: int) -> list[Step]:
    """Steps that end with an answer, for one of :data:`LOOKED_AT`."""
    match name:
        case "clone":
            return [(_LOAD, 0, 0, 16), (_ANY_OF, 0, 1, _THREAD), *_allow_else_refuse()]
        case "kill" | "tgkill":  # to itself; 0 and -1 mean more than that
            return _one_of(0, [pid])
        case "fcntl":
            return _none_of(1, [_SET_OWNER, _SET_SIGNAL, _SET_OWNER_OF_ANY_KIND])
        case "ioctl":
            return _none_of(1, [_SET_FLAGS, _SET_ATTRIBUTES])
        case "open":
            return _opening(1)
        case "openat":
            return _opening(2)
        case "setpriority":  # of this thread, told as process 0
            return [(_LOAD, 0, 0, 16), (_EQUAL, 1, 0, 0), (_RETURN, 0, 0, REFUSE), *_one_of(1, [0])]
        case _:  # limits and scheduling: of 0, which is the caller
            return _one_of(0, [0])


def _opening(argument: int) -> list[Step]:
    """Nothing is cut off by being opened for reading, which Landlock before its version 3 does not see."""
    return [
        (_LOAD, 0, 0, 16 + 8 * argument),
        (_ANY_OF, 1, 0, _TRUNCATE),
        (_RETURN, 0, 0, ALLOW),
        (_AND, 0, 0, _ACCESS),
        (_EQUAL, 1, 0, _WRITE),
        (_EQUAL, 0, 1, _READ_WRITE),
        *_allow_else_refuse(),
    ]


def _one_of(argument: int, values: Sequence[int]) -> list[Step]:
    jumps = [(_EQUAL, len(values) - 1 - place, 0, value) for place, value in enumerate(values[:-1])]
    return [(_LOAD, 0, 0, 16 + 8 * argument), *jumps, (_EQUAL, 0, 1, values[-1]), *_allow_else_refuse()]


def _none_of(argument: int, values: Sequence[int]) -> list[Step]:
    *steps, allow, refuse = _one_of(argument, values)
    return [*steps, refuse, allow]


def _allow_else_refuse() -> list[Step]:
    return [(_RETURN, 0, 0, ALLOW), (_RETURN, 0, 0, REFUSE)]
