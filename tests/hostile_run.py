"""Read damaged videos through the real parent and child, and see how it ends. Used by tests and benchmarks."""

from __future__ import annotations

import gc
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests import hostile_media
from tests.hostile_nursery import Nursery, measured_process
from vadpipe.errors import VideoError
from vadpipe.extractors import decoders
from vadpipe.extractors.media import AudioChunk, FrameRow, Limits, MediaReader, Request, View
from vadpipe.extractors.media_task import MediaTask
from vadpipe.extractors.tasks import TASKS

LIMITS = Limits(stall_s=30.0, wall_s=60.0, memory_bytes=2 * 1024**3)
_REQUESTS = (
    Request(audio_rate=16000),
    Request(5, views=(View("full", every_frame=True), View())),
    Request(2, offset=1, views=(View("full"),), audio_rate=8000),
)
LONGEST_REASON = 1000
MODULES = ",".join((decoders.DECODERS["pyav"].module, *TASKS.values()))
"""What a nursery for the default decoder and the tasks imports."""


@dataclass(slots=True)
class Outcome:
    """How one file ended: ``kind`` is ``read`` or the class of the error; ``wrong`` is what must never happen."""

    number: int
    kind: str = ""
    reason: str = ""
    rows: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    peak_kib: int = 0
    signal: int = 0
    wrong: list[str] = field(default_factory=list)


def request_of(number: int) -> Request:
    """What is asked of this file."""
    return _REQUESTS[number % len(_REQUESTS)]


def read(path: Path, number: int, decoder: str = "pyav", nursery: Nursery | None = None) -> Outcome:
    """Read all of a file and check everything that came."""
    found, children = Outcome(number), list[Any]()
    reader = _Reader(path, request_of(number), decoder, LIMITS)
    reader.process = measured_process(nursery, children.append)
    began = time.monotonic()
    try:
        with reader:
            found.rows = check_items(reader, request_of(number))
            check_report(reader)
        found.kind = "read"
    except VideoError as error:
        found.kind, found.reason = type(error).__name__, str(error)
        found.wrong += wrong_with(str(error), path)
    except Exception as error:  # the main process is not to see any other
        found.kind = "CRASH"
        found.wrong.append(f"{type(error).__name__}: {error}")
    return _measured(found, children, decoder, began)


def _measured(found: Outcome, children: list[Any], decoder: str, began: float) -> Outcome:
    found.seconds = time.monotonic() - began
    for child in children:
        found.peak_kib, found.cpu_s = max(found.peak_kib, child.peak_kib), found.cpu_s + child.cpu_s
        if "killed by SIG" in found.reason:  # else by its parent, which was done with it
            found.signal = -child.returncode
    room = LIMITS.memory_bytes + decoders.DECODERS[decoder].memory_bytes
    if found.peak_kib * 1024 > room:
        found.wrong.append(f"{found.peak_kib} KiB of memory")
    if found.seconds > LIMITS.wall_s + 5:
        found.wrong.append(f"{found.seconds:.0f} s")
    return found


def do_task(path: Path, number: int, nursery: Nursery | None = None) -> Outcome:
    """Small pictures, a cut clip or a drawn overlay of a file, by its number; what is written is removed."""
    found, children = Outcome(number), list[Any]()
    written = path.with_name(f"{path.stem}.written")
    written.touch()
    name, arguments = _tasks(written)[number % 4]
    task = _Task(name, path, LIMITS, **arguments)
    task.process = measured_process(nursery, children.append)
    began = time.monotonic()
    try:
        with task:
            for message in task:
                if message["t"] == "head":
                    task.open_ring(message["slot_bytes"])
                elif message["t"] == "picture":
                    assert task.picture(message).shape[2] == 3
                found.rows += 1
        found.kind = "read"
    except VideoError as error:
        found.kind, found.reason = type(error).__name__, str(error)
        found.wrong += wrong_with(str(error), path)
    except Exception as error:
        found.kind = "CRASH"
        found.wrong.append(f"{name}: {type(error).__name__}: {error}")
    finally:
        written.unlink()
    return _measured(found, children, "pyav", began)


def _tasks(written: Path) -> list[tuple[str, dict[str, Any]]]:
    grid = {"fps": [25, 1], "num_frames": 16, "step": 16, "boundaries_s": [], "anomaly": [0.5]}
    drawn = {"calibrated": None, "threshold": None, "marks": [(2, 9, "fight", "fight", "")]}
    kept = {"temporary": str(written), "shown": "x.mp4"}
    cuts = [[(0.1, 0.4, str(written), "x.mp4", "a")], [(0.0, 9.0, str(written), "x.mp4", "b")]]
    return [
        ("pictures", {"seconds": [0.0, 0.21, 5.0], "height": 20}),
        ("cut", {"cuts": cuts[0]}),
        ("cut", {"cuts": cuts[1]}),
        ("overlay", {**grid, **drawn, **kept}),
    ]


class _Task(MediaTask):
    process: Any = None

    def _start_child(self) -> Any:
        return self.process(self._request, "vadpipe.extractors.media_child")


class _Reader(MediaReader):
    process: Any = None

    def _start_child(self) -> Any:
        return self.process(self._request)


def wrong_with(reason: str, path: Path) -> list[str]:
    """What a reason must not be: empty, of several lines, long, unprintable, or silent about the file."""
    faults = []
    if not reason.isprintable() or not reason.strip():
        faults.append(f"not one plain line: {reason!r}")
    if len(reason) > LONGEST_REASON:
        faults.append(f"{len(reason)} characters")
    if path.name not in reason:
        faults.append(f"does not name the file: {reason}")
    if "Traceback" in reason or "bug" in reason or "Error:" in reason:
        faults.append(f"tells of a defect of ours: {reason}")
    return faults


def check_items(reader: MediaReader, request: Request) -> int:
    """AssertionError where a row or a piece of sound is not what was promised; gives the number of rows."""
    clip, grid = reader.clip, reader.grid
    rows, sounds, last = 0, 0, (-1, -1)
    for item in reader:
        if isinstance(item, AudioChunk):
            assert request.audio_rate
            assert item.start_sample == sounds, "sound has holes"
            sounds += len(item.samples)
            assert sounds <= np.ceil(clip.duration_s * request.audio_rate) + 1
            assert item.samples.dtype == np.float32
            continue
        assert isinstance(item, FrameRow)
        assert item.image.dtype == np.uint8
        assert item.image.shape[2] == 3
        assert 0 <= item.row < grid.num_snippets
        assert grid.snippet_of(item.frame) == item.row
        assert 0 <= item.pts_s <= clip.duration_s
        assert last < (item.frame, item.view), "out of order"
        last = (item.frame, item.view)
        rows += 1
    expected = sum(grid.num_frames if view.every_frame else grid.num_snippets for view in request.views)
    assert rows == expected, f"{rows} rows, expected {expected}"
    return rows


def check_report(reader: MediaReader) -> None:
    """AssertionError where the facts of a video that was read to its end cannot be."""
    report, clip, grid = reader.report, reader.clip, reader.grid
    assert clip.num_frames > 0
    assert np.isfinite(clip.duration_s)
    assert clip.duration_s > 0
    assert np.isfinite(clip.start_s)
    assert 0 < float(clip.fps) < float("inf")
    assert np.isfinite(grid.edges_s()).all()
    assert report.audio_state in ("absent", "present", "undecodable")
    assert all(text.isprintable() and len(text) < 300 for text in report.warnings), report.warnings


def run(
    numbers: Iterable[int],
    one: Callable[[int, Nursery | None], Outcome],
    jobs: int = 2,
    module: str = "",
) -> Iterator[Outcome]:
    """Outcomes as they come, from ``jobs`` threads at once; with ``module`` each thread has a nursery."""
    waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
    for number in numbers:
        waiting.put(number)
    for _ in range(jobs):
        waiting.put(None)

    def work() -> None:
        nursery = Nursery(module) if module else None
        try:
            while (number := waiting.get()) is not None:
                done.put(one(number, nursery))
        except BaseException as error:
            done.put(error)
        finally:
            if nursery is not None:
                nursery.close()
            done.put(None)

    threads = [threading.Thread(target=work) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    left = jobs
    try:
        while left:
            item = done.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        while not waiting.empty():
            waiting.get()
        for _ in range(jobs):
            waiting.put(None)
        for thread in threads:
            thread.join()


def reading(
    sources: Mapping[str, bytes], seed: int, folder: Path, decoder: str = "pyav", *, tasks: bool = False
) -> Callable[[int, Nursery | None], Outcome]:
    """For :func:`run`: write the mutation of a number, read it (or do a task on it), remove it."""

    def one(number: int, nursery: Nursery | None) -> Outcome:
        path = folder / f"m{number}.mp4"
        path.write_bytes(hostile_media.mutate(sources, seed, number).content)
        try:
            return do_task(path, number, nursery) if tasks else read(path, number, decoder, nursery)
        finally:
            path.unlink()

    return one


@dataclass(frozen=True)
class Held:
    """What this process holds: open files, children, threads."""

    descriptors: tuple[str, ...]
    children: tuple[str, ...]
    threads: int

    @classmethod
    def now(cls) -> Held:
        gc.collect()
        links = []
        for entry in Path("/proc/self/fd").iterdir():
            try:
                links.append(str(entry.readlink()))
            except FileNotFoundError:  # the descriptor of this very listing
                continue
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        shown = sorted(link for link in links if "/proc/" not in link)
        return cls(tuple(shown), tuple(children), threading.active_count())


@contextmanager
def leaving_nothing(most_kib: int = 60_000) -> Iterator[None]:
    """AssertionError where this process holds other things afterwards, or much more memory."""
    before, memory = Held.now(), _resident_kib()
    yield
    assert Held.now() == before
    assert _resident_kib() - memory < most_kib, f"{_resident_kib() - memory} KiB more than before"


def _resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
