"""The process on a cluster's node that works on videos: it asks for one after the other, and tells of each.

It is told of a video only when it asks for it, so that the driver knows at any time which videos are in its hands.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vadpipe import __version__
from vadpipe.errors import UsageError, VadpipeError
from vadpipe.pipeline.on_ray.cluster import import_ray
from vadpipe.spec import FeatureSpec

Video = tuple[str, Path]
Tell = Callable[[str, Any], None]
"""``tell(name, what)``: what became of a video, once for each; ``tell("", what)``: anything else, e.g. progress."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Work(Protocol):
    """What an actor does with its videos; made in its process, and kept from one session to the next."""

    @property
    def specs(self) -> tuple[FeatureSpec, ...]:
        """Specifications of the features that it makes; those of all actors have to agree."""

    def run(self, videos: Iterator[Video], tell: Tell) -> None:
        """Work on videos as they come until there are no more, and tell of each.

        One whose work ended with the death of another process is told of as :class:`Died`. A :class:`VadpipeError`
        ends the whole run.
        """


Make = Callable[[str], Work]
"""``make(device)``; picklable: a function of a module, or a partial of one."""


@dataclass(frozen=True, slots=True)
class Died:
    """An attempt at a video ended with the death of a process that worked on this video alone."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ready:
    """An actor has made its work. host: name of its machine."""

    specs: tuple[FeatureSpec, ...]
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class Wants:
    """An actor asks for its next video."""


@dataclass(frozen=True, slots=True)
class Told:
    """What :data:`Tell` was called with."""

    name: str
    what: Any


@dataclass(frozen=True, slots=True)
class Trouble:
    """A session ended with an error that ends the run."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker needs to see as the driver does.

    folder
        The driver's current one: paths as they were given mean the same, and messages read the same.
    paths
        Must exist, e.g. the store and the first video.
    threads
        Values of the variables that set how many threads torch uses; None: not set. Ray sets them to 1 where they are
        not, and rows of an encoder must not depend on how it is run.
    """

    folder: Path
    paths: tuple[Path, ...]
    version: str
    threads: tuple[str | None, ...]

    @classmethod
    def here(cls, paths: tuple[Path, ...]) -> Place:
        """The driver's; of ``paths`` those that exist."""
        known = tuple(path for path in paths if path.exists())
        return cls(Path.cwd(), known, __version__, tuple(map(os.environ.get, _THREADS)))

    def enter(self) -> None:
        """Go there; :class:`UsageError` where this machine lacks it, or has another version of the program."""
        if __version__ != self.version:
            raise UsageError(
                f"{socket.gethostname()}: vadpipe {__version__} there, expected {self.version} as here; install it"
            )
        for path in (self.folder, *(self.folder / path for path in self.paths)):
            if not path.exists():
                raise UsageError(
                    f"{socket.gethostname()}: {path} does not exist there. Every node of a Ray cluster needs the same "
                    "absolute paths as this machine: use a shared file system, mounted at the same place"
                )
        os.chdir(self.folder)
        for name, value in zip(_THREADS, self.threads, strict=True):
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Actor:
    """Made by Ray in a process of its own. ``session`` runs in one thread, ``give`` meanwhile in another."""

    def __init__(self) -> None:
        self._given: queue.SimpleQueue[Video | None] = queue.SimpleQueue()
        self._said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._work: Work | None = None

    def start(self, place: Place, make: Sequence[Any], device: str) -> Ready | Trouble:
        """Make the work, once.

        ``make`` holds Ray's reference to a :data:`Make`. It is fetched after the place was entered: with it come its
        modules, and torch looks once, when it is imported, how many threads it may use.
        """
        try:
            place.enter()
            self._work = import_ray().get(make[0])(device)
            return Ready(self._work.specs, socket.gethostname(), os.getpid())
        except VadpipeError as error:
            return Trouble(error)
        except Exception:  # a bug: told whole, since a traceback does not travel
            return Trouble(_as_text())

    def session(self) -> Iterator[list[Any]]:
        """Yield lists of :class:`Wants`, :class:`Told` and :class:`Trouble` until the videos end."""
        worker = threading.Thread(target=self._run, daemon=True)
        worker.start()
        ended = False
        while not ended:
            said = [self._said.get()]
            while not self._said.empty():
                said.append(self._said.get())
            ended = said[-1] is None
            yield said[:-1] if ended else said
        worker.join()

    def give(self, video: Video | None) -> None:
        """Answer :class:`Wants`; None: there are no more in this session."""
        self._given.put(video)

    def _run(self) -> None:
        try:
            if self._work is None:
                raise RuntimeError("session() before start()")
            self._work.run(self._videos(), lambda name, what: self._said.put(Told(name, what)))
        except VadpipeError as error:
            self._said.put(Trouble(error))
        except BaseException:  # as above
            self._said.put(Trouble(_as_text()))
        finally:
            self._said.put(None)

    def _videos(self) -> Iterator[Video]:
        while True:
            self._said.put(Wants())
            if (video := self._given.get()) is None:
                return
            yield video


def _as_text() -> RuntimeError:
    return RuntimeError(f"on {socket.gethostname()}:\n{traceback.format_exc()}")
