"""Threads that follow one decoder each and hand its items to the thread that encodes, through one bounded channel."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vadpipe.errors import VideoError
from vadpipe.extractors import media
from vadpipe.extractors.video_file import vanishing
from vadpipe.pipeline.extracting.assemble import Item, Reader, assemble, open_reader
from vadpipe.pipeline.extracting.memory import memory_watched
from vadpipe.pipeline.extracting.plan import ExtractOptions, Stream, Task, plan_feed
from vadpipe.tracks import TimeGrid


@dataclass(frozen=True, slots=True)
class Opened:
    """A decoder has begun with a video; its items follow.

    mtime_ns
        Modification time of the file before the decoder opened it: one that is replaced later has another.
    """

    task: Task
    grid: TimeGrid
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Ended:
    """All items of a video have been handed over."""

    task: Task
    report: media.MediaReport


@dataclass(frozen=True, slots=True)
class Broken:
    """A video cannot be used; no more items of it follow."""

    task: Task
    error: VideoError


_LESS_MEMORY = "use fewer --jobs, or decode on the processor (--decode-device cpu)"
Message = Opened | Item | Ended | Broken | Task


class Readers:
    """Iterate to receive messages, of up to ``options.jobs`` videos at once; ends when all tasks are done.

    ``tasks`` is advanced by the reader threads, one at a time. Items wait in the channel for at most about two batches
    of each stream, so memory depends on neither the number of videos nor their length.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        streams: tuple[Stream, ...],
        options: ExtractOptions,
        batch_items: tuple[int, ...],
    ) -> None:
        self._tasks, self._lock = iter(tasks), threading.Lock()
        self._streams, self._options = streams, options
        self._shares = tuple(1 / items for items in batch_items)
        self._channel = Channel(room=2.0 * len(streams))
        self._working = options.jobs
        self._open: set[Reader] = set()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(options.jobs)]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[Message]:
        while self._working:
            message = self._channel.get()
            if isinstance(message, BaseException):
                raise message  # of a reader, or of the tasks: loud, in the caller's thread
            if message is None:
                self._working -= 1
            else:
                yield message

    def stop(self) -> None:
        """Stop reading, at once: decoders are killed, since one may be in its first pass over a long file."""
        self._channel.close()
        for reader in self._open.copy():
            reader.kill()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            while not self._channel.closed and (task := self._next()) is not None:
                if not task.wanted:
                    self._channel.put(task)
                    continue
                try:
                    with vanishing(task.path), memory_watched("decoding", _LESS_MEMORY):
                        self._read(task)
                except VideoError as error:
                    self._channel.put(Broken(task, error))
        except BaseException as error:  # handed to the caller's thread, which raises it
            self._channel.put(error)
        else:
            self._channel.put(None)

    def _next(self) -> Task | None:
        with self._lock:
            return next(self._tasks, None)

    def _read(self, task: Task) -> None:
        feed = plan_feed(self._streams, task.wanted, self._options.frames_per_snippet)
        mtime_ns = task.path.stat().st_mtime_ns
        opened = open_reader(task, feed.request, self._options)
        self._open.add(opened)
        try:
            if self._channel.closed:  # stop() has not seen this one
                return
            with opened as reader:
                self._channel.put(Opened(task, reader.grid, mtime_ns))
                for item in assemble(task, reader, feed, self._streams):
                    if not self._channel.put(item, sum(self._shares[place] for place in item.streams)):
                        return
                self._channel.put(Ended(task, reader.report))
        finally:
            self._open.discard(opened)


class Channel:
    """A queue whose entries have a load; :meth:`put` waits while there is no room for one more."""

    def __init__(self, room: float) -> None:
        self.closed = False
        self._room = room
        self._load = 0.0
        self._entries: deque[tuple[Message | BaseException | None, float]] = deque()
        self._changed = threading.Condition()

    def put(self, message: Message | BaseException | None, load: float = 0.0) -> bool:
        """Add a message; False where the channel was closed instead."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or not self._entries or self._load + load <= self._room)
            if self.closed:
                return False
            self._entries.append((message, load))
            self._load += load
            self._changed.notify_all()
            return True

    def get(self) -> Message | BaseException | None:
        """The oldest message; waits for one."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._entries))
            message, load = self._entries.popleft()
            self._load -= load
            self._changed.notify_all()
            return message

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
