"""The parent's side of one decoder child: start it, listen to it, say how it died, make sure that it is gone."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

from vadpipe import errors
from vadpipe.extractors.decode_link import Ring, anonymous_file, decode, encode, slots_for

_STDERR_TAIL = 4096
_LAST_WORDS = 300
_MOST_MESSAGE_BYTES = 256 * 1024**2
_PATHS = ("PYTHONPATH", "LD_LIBRARY_PATH", "NIX_LD_LIBRARY_PATH")
_PYTHON = (
    "ASYNCIODEBUG COERCECLOCALE DEBUG DEVMODE DONTWRITEBYTECODE EXECUTABLE FAULTHANDLER HASHSEED HOME INTMAXSTRDIGITS "
    "IOENCODING MALLOC MALLOCSTATS NODEBUGRANGES NOUSERSITE OPTIMIZE PERFSUPPORT PLATLIBDIR PROFILEIMPORTTIME "
    "PYCACHEPREFIX SAFEPATH TRACEMALLOC UNBUFFERED USERBASE UTF8 VERBOSE WARNDEFAULTENCODING WARNINGS _CPU_COUNT _GIL"
)
_ENVIRONMENT = frozenset(
    {"HOME", "LANG", "LANGUAGE", "PATH", "TMPDIR", "TZ", "XDG_DATA_HOME", "XDG_DATA_DIRS", "NIX_LD", *_PATHS}
    | {"LD_AUDIT", "LD_BIND_NOW", "LD_PRELOAD"}
    | {f"PYTHON{name}" for name in _PYTHON.split()}
)
_PREFIXES = ("LC_",)
"""What a child is given of the environment, besides what begins so: what Python, the loader and the search for fonts
read, and nothing that could be a secret."""
_ERROR_KINDS = {
    kind.__name__: kind
    for kind in (errors.UsageError, errors.VideoUnreadable, errors.VideoTooLarge, errors.DecoderCrashed)
}
_MEMORY_WORDS = ("bad_alloc", "cannot allocate memory", "memoryerror", "out of memory")


class DecodeProcess:
    """A running decoder child. :meth:`close` must be called; it kills the child where it still runs.

    ``module`` is what the child runs. Not for use by several threads at once; different threads may have a child each.
    """

    def __init__(self, request: dict[str, Any], module: str = "vadpipe.extractors.decode_child") -> None:
        self._path = request["path"]
        self._stall_s = float(request["stall_s"])
        self._memory_bytes = int(request["memory_bytes"])
        self._allowed_s = self._left_s = float(request["allowed_s"])
        self._buffer = bytearray()
        self._searched = 0
        self._chatter = b""
        self._ring: Ring | None = None
        self._fds: set[int] = set()
        self._process = self._start(module)
        self._send(encode(request))

    def receive(self) -> dict[str, Any]:
        """The child's next message, signs of life left out.

        Both clocks run only while this method waits, so a slow consumer is never taken for a stalled child. Errors: the
        one that the child reports; :class:`vadpipe.errors.DecoderTimeout`; :class:`vadpipe.errors.DecoderCrashed`.
        """
        deadline = time.monotonic() + self._stall_s
        while True:
            line = self._take_line()
            if line is not None:
                message = self._parse(line)
                if message["t"] != "beat":
                    return message
                deadline = time.monotonic() + self._stall_s
                continue
            began = time.monotonic()
            came = self._pump(min(deadline - began, self._left_s))
            self._left_s -= time.monotonic() - began
            if not came:
                self.close()
                raise self._too_slow() if self._left_s <= 0 else self._stalled()

    def allow(self, seconds: float) -> None:
        """Let the child take so much longer in all."""
        self._allowed_s += seconds
        self._left_s += seconds

    def open_ring(self, slot_bytes: int, queue_slots: int) -> Ring:
        """Size the shared memory and let the child begin."""
        slots = slots_for(slot_bytes, queue_slots)
        self._ring = Ring.create(self._memory, slots, slot_bytes)
        self._send(b"%d\n" % slots)
        return self._ring

    def release_slot(self) -> None:
        """Hand the oldest slot back to the child."""
        self._send(b".")

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def kill(self) -> None:
        """Kill the child where it still runs and free nothing, so that any thread may call it."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the child where it still runs, reap it, free memory and descriptors. Can be called again."""
        self.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        while self._fds:
            os.close(self._fds.pop())
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _start(self, module: str) -> subprocess.Popen[bytes]:
        self._memory = self._own(anonymous_file())
        self._control, control_child = map(self._own, os.pipe())
        self._stderr, stderr_child = map(self._own, os.pipe())
        life_child, _life = map(self._own, os.pipe())  # the other end stays open, unused, as long as this process lives
        # Chatter that nobody reads yet is lost instead of blocking the child.
        os.set_blocking(stderr_child, False)
        given = (control_child, self._memory, life_child)
        try:
            process = self._spawn(module, stderr_child, given)
        except OSError:
            while self._fds:
                os.close(self._fds.pop())
            raise
        for fd in (control_child, stderr_child, life_child):
            os.close(fd)
            self._fds.discard(fd)
        return process

    def _spawn(self, module: str, stderr: int, given: tuple[int, ...]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(**self._start_options(module, stderr, given))

    @staticmethod
    def _start_options(module: str, stderr: int, given: tuple[int, ...]) -> dict[str, Any]:
        return {
            "args": [sys.executable, "-P", "-m", module, *map(str, given)],
            "stdin": subprocess.PIPE,
            "stdout": subprocess.DEVNULL,
            "stderr": stderr,
            "bufsize": 0,
            "pass_fds": given,
            "start_new_session": True,
            "cwd": "/",  # no relative name means anything there
            "env": _environment(),
        }

    def _own(self, fd: int) -> int:
        self._fds.add(fd)
        return fd

    def _send(self, data: bytes) -> None:
        if self._process.stdin is None:
            raise RuntimeError("the child was started without stdin")
        with contextlib.suppress(BrokenPipeError):  # its death is noticed, and explained, where messages are read
            while data:
                data = data[self._process.stdin.write(data) or 0 :]

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            if self._searched > _MOST_MESSAGE_BYTES:
                self.close()
                raise errors.DecoderCrashed(f"{self._path}: the decoder sent a message that does not end.")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    def _parse(self, line: bytes) -> dict[str, Any]:
        try:
            message = decode(line)
            kind = message["t"]
            error = _ERROR_KINDS[message["kind"]](errors.one_line(str(message["text"]))) if kind == "error" else None
        except (ValueError, KeyError, TypeError, RecursionError) as damage:
            raise errors.DecoderCrashed(
                f"{self._path}: the decoder sent a damaged message ({line[:80]!r})."
            ) from damage
        if error is not None:
            raise error
        return message

    def _pump(self, wait_s: float) -> bool:
        """Read what there is, waiting at most ``wait_s``; False where nothing came."""
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._stderr, select.POLLIN)
        limit = time.monotonic() + wait_s
        while (left := limit - time.monotonic()) > 0:
            ready = {fd for fd, _ in poller.poll(left * 1000)}
            if self._stderr in ready and not self._read_chatter():
                poller.unregister(self._stderr)
            if self._control in ready:
                data = os.read(self._control, 1 << 16)
                if not data:
                    raise self._death()
                self._buffer += data
                return True
        return False

    def _read_chatter(self) -> bool:
        data = os.read(self._stderr, 1 << 16)
        self._chatter = (self._chatter + data)[-_STDERR_TAIL:]
        return bool(data)

    def _death(self) -> errors.VideoError:
        """Why the control pipe was closed without a last message."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        os.set_blocking(self._stderr, False)
        with contextlib.suppress(BlockingIOError):
            while self._read_chatter():
                pass
        code = self._process.returncode
        self.close()
        said = self._chatter.decode(errors="replace").strip()
        if code == -signal.SIGALRM:
            return errors.DecoderTimeout(f"{self._path}: the decoder made no progress and was stopped by its alarm.")
        if code == -signal.SIGXCPU:
            return self._too_slow()
        if code is None:
            how = "closed its connection without an answer"
        else:
            how = f"ended with exit code {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"
        memory = f" (out of memory, limit {self._memory_bytes / 1024**3:.1f} GiB)" if _about_memory(said) else ""
        words = said.splitlines()[-1].strip()[-_LAST_WORDS:] if said else ""
        last = f" Its last words: {words}" if words else ""
        death = errors.DecoderCrashed(f"{self._path}: the decoder {how}{memory}. Try another decoder.{last}")
        if said != words:
            death.add_note(said)  # a traceback of ours shows all that it said
        return death

    def _stalled(self) -> errors.DecoderTimeout:
        return errors.DecoderTimeout(
            f"{self._path}: the decoder made no progress for {self._stall_s:g} s and was killed. "
            "Check the file, try another decoder, or wait longer: --limit stall_s=SECONDS."
        )

    def _too_slow(self) -> errors.DecoderTimeout:
        return errors.DecoderTimeout(
            f"{self._path}: the decoder was not done after {self._allowed_s:.1f} s, as its size and frames allow, and "
            "was killed. Check the file, try another decoder, or wait longer: --limit wall_s=SECONDS."
        )


def _environment() -> dict[str, str]:
    """The child's: :data:`_ENVIRONMENT`, with names of folders that do not depend on where it runs."""
    kept = {name: text for name, text in os.environ.items() if name in _ENVIRONMENT or name.startswith(_PREFIXES)}
    for name in _PATHS:
        if name in kept:  # an empty part means the folder that this runs in, all of which a child could read
            kept[name] = os.pathsep.join(map(os.path.abspath, filter(None, kept[name].split(os.pathsep))))
    # A BLAS thread pool costs start-up time and address space, and nothing here multiplies matrices.
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (perhaps by the system, for want of memory)" if number == signal.SIGKILL else name


def _about_memory(said: str) -> bool:
    return any(word in said.lower() for word in _MEMORY_WORDS)
