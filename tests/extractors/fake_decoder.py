"""A decoder that misbehaves as the name of its file says; tests register it under ``fake``."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from vadpipe.errors import VideoUnreadable
from vadpipe.extractors.decoders import Facts, Job, Picture, Sound, Tally

SIDE = 64


class FakeSource:
    """Grey pictures of 64 x 64, frame i has the value i % 256; misbehaves at frame 64."""

    def __init__(self, job: Job) -> None:
        self._name = job.path.stem
        self._job = job
        self._side = SIDE
        frames = 4096 if self._name == "long" else 320
        self.tally = Tally()
        self.facts = Facts(SIDE, SIDE, Fraction(25), False, np.arange(frames + 1) / 25)

    def items(self) -> Iterator[Picture | Sound]:
        for index in range(self.facts.num_frames):
            self._job.beat()
            if index == 64:
                self._misbehave()
            grey = np.full((self._side, self._side, 3), index % 256, np.uint8)
            yield Picture(index, grey.copy)

    def _misbehave(self) -> None:
        match self._name:
            case "hang-in-c":  # PyDLL keeps Python's lock, so no Python code of this process runs any more
                ctypes.PyDLL(None).sleep(600)
            case "slow":
                for _ in range(10):
                    time.sleep(0.25)
                    self._job.beat()
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "segfault":
                ctypes.string_at(0)
            case "greedy":
                hoard = [np.empty(2**27, np.uint8) for _ in range(64)]
                raise AssertionError(f"{len(hoard)} blocks of 128 MiB fitted into the limit")
            case "greedy-in-c":
                sys.stderr.write("terminate called after throwing an instance of 'std::bad_alloc'\n")
                sys.stderr.flush()
                os.abort()
            case "bug":
                raise ZeroDivisionError("a bug in the decoder module")
            case "grows":
                self._side *= 8
            case "dribbles":  # signs of life for ever, and never a frame
                while True:
                    time.sleep(0.05)
                    self._job.beat()
            case "burns":
                while True:
                    self._job.beat()
            case "talks":  # in a line that does not end
                while True:
                    os.write(int(sys.argv[1]), b"x" * 65536)
            case "curious":
                self.tally.warnings += [f"{what}: {_tried(action)}" for what, action in _CURIOSITIES.items()]
            case "chatter":
                os.write(1, b'{"t":"done"}\n' * 20000)
                os.write(2, b"x" * 60000)


def _tried(action: Callable[[], object]) -> str:
    try:
        return str(action())
    except OSError as error:
        return type(error).__name__


def _thread() -> str:
    done: list[str] = []
    thread = threading.Thread(target=done.append, args=("runs",))
    thread.start()
    thread.join()
    return done[0]


_CURIOSITIES: dict[str, Callable[[], object]] = {
    "sibling": lambda: Path(os.environ["LC_SIBLING"]).read_text(),
    "folder": lambda: list(Path(os.environ["LC_SIBLING"]).parent.iterdir()),
    "write": lambda: Path(os.environ["LC_SIBLING"]).with_name("new").write_text("x"),
    "parent": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    "tcp": lambda: socket.create_connection(("127.0.0.1", int(os.environ["LC_PORT"]))),
    "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    "program": lambda: subprocess.run(["/bin/true"], check=False),
    "fork": os.fork,
    "signal": lambda: os.kill(os.getppid(), 0),
    "thread": _thread,
    "environment": lambda: " ".join(sorted(os.environ)),
    "folder it runs in": os.getcwd,
    "descriptors": lambda: len(list(Path("/proc/self/fd").iterdir())),
    "limits": lambda: [
        resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE)
    ],
}


def open_source(job: Job) -> FakeSource:
    if job.path.stem == "refused":
        raise VideoUnreadable("refused with a clear message")
    if job.path.stem == "first-pass":  # a long one, that shows signs of life
        for _ in range(40):
            time.sleep(0.25)
            job.beat()
    if job.path.stem == "garbage":
        os.write(int(sys.argv[1]), b"this is no message\n")
    return FakeSource(job)
