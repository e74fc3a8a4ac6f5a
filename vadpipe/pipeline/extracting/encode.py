"""The thread that encodes: full batches of each stream, across videos, and every row back to its video.

Legend: T snippets of a video, K crops, D columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vadpipe.extractors.media import MediaReport
from vadpipe.pipeline.extracting.assemble import Item
from vadpipe.pipeline.extracting.memory import memory_watched
from vadpipe.pipeline.extracting.plan import ExtractOptions, Failed, Stream, Task
from vadpipe.pipeline.extracting.readers import Broken, Ended, Message, Opened, Readers
from vadpipe.sound import PRESENT, kept_warnings
from vadpipe.tracks import FeatureTrack, TimeGrid, VideoClip


@dataclass(frozen=True, slots=True)
class Extracted:
    """The features of one video (a track for each stream that was wanted), its facts, and what went not quite right.

    mtime_ns
        Modification time of the file before it was decoded.
    """

    path: Path
    clip: VideoClip
    tracks: tuple[FeatureTrack, ...]
    warnings: tuple[str, ...] = ()
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """Progress: rows that were encoded, and how many video frames and videos they are, shared among the streams.

    A video that fails takes back what it has added to ``videos``: that is then below 0.
    """

    rows: int
    frames: float
    videos: float


def batch_items(stream: Stream) -> int:
    """Items that fill the encoder's batches to the last place, with all their crops."""
    size = stream.extractor.batch_size
    return size // math.gcd(size, stream.crops)


def encode_tasks(
    tasks: Iterable[Task],
    streams: tuple[Stream, ...],
    options: ExtractOptions,
    on_track: Callable[[FeatureTrack, int], None],
    on_step: Callable[[Step], None],
) -> Generator[Extracted | Failed | Task, None, None]:
    """Yield one result per video, in the order they finish; a task that wants nothing comes back as it is.

    ``on_track`` gets each track as soon as it is whole, which may be before the video's other tracks are, and the
    modification time of its file in nanoseconds. Closing the generator kills the decoders.
    """
    sizes = tuple(map(batch_items, streams))
    readers = Readers(tasks, streams, options, sizes)
    encoder = _Encoder(streams, sizes, on_track, on_step)
    try:
        for message in readers:
            yield from encoder.take(message)
        yield from encoder.finish()
    finally:
        readers.stop()


class _Encoder:
    """Items that wait for a full batch, and the videos whose rows are not all there."""

    def __init__(
        self,
        streams: tuple[Stream, ...],
        sizes: tuple[int, ...],
        on_track: Callable[[FeatureTrack, int], None],
        on_step: Callable[[Step], None],
    ) -> None:
        self._streams, self._sizes = streams, sizes
        self._on_track, self._on_step = on_track, on_step
        self._jobs: dict[Task, _Job] = {}
        self._waiting: list[list[Item]] = [[] for _ in streams]

    def take(self, message: Message) -> Iterator[Extracted | Failed | Task]:
        match message:
            case Opened():
                self._jobs[message.task] = _Job(message, self._streams)
            case Item():
                yield from self._add(message)
            case Ended():
                self._jobs[message.task].report = message.report
                yield from self._finished([message.task])
            case Broken():
                job = self._jobs.pop(message.task, None)
                self._waiting = [[item for item in items if item.task is not message.task] for items in self._waiting]
                if job is not None and job.videos:
                    self._on_step(Step(0, 0.0, -job.videos))
                yield Failed(message.task.path, message.error)
            case Task():
                yield message

    def finish(self) -> Iterator[Extracted | Failed | Task]:
        """Encode what does not fill a batch."""
        for place, items in enumerate(self._waiting):
            if items:
                yield from self._encode(place)
        if self._jobs:
            raise RuntimeError(f"the decoder left out rows of {', '.join(str(task.path) for task in self._jobs)}")

    def _add(self, item: Item) -> Iterator[Extracted | Failed | Task]:
        for place in item.streams:
            if not item.parts:
                self._jobs[item.task].rows[place].skip(item)
                self._stepped([item])
                continue
            self._waiting[place].append(item)
            if len(self._waiting[place]) == self._sizes[place]:
                yield from self._encode(place)

    def _encode(self, place: int) -> Iterator[Extracted | Failed | Task]:
        items, self._waiting[place] = self._waiting[place], []
        stream = self._streams[place]
        what = f"stream {stream.spec.stream}, batches of {stream.extractor.batch_size}"
        with memory_watched(what, "run again with a smaller --batch-size"):
            encoded = stream.extractor.encode(_stacked(items, stream.extractor.needs.frames))
        for item, values in zip(items, encoded, strict=True):
            self._jobs[item.task].rows[place].put(item, values)
        self._stepped(items)
        yield from self._finished(dict.fromkeys(item.task for item in items))

    def _finished(self, tasks: Iterable[Task]) -> Iterator[Extracted]:
        for task in tasks:
            job = self._jobs[task]
            for track in job.new_tracks():
                self._on_track(track, job.mtime_ns)
            if (result := job.result()) is not None:
                del self._jobs[task]
                yield result

    def _stepped(self, items: list[Item]) -> None:
        frames = videos = 0.0
        for item in items:
            job = self._jobs[item.task]
            first, end = job.grid.frames_of(item.row, item.row + 1)
            frames += (end - first) / len(job.rows)
            share = 1 / (job.grid.num_snippets * len(job.rows))
            job.videos += share
            videos += share
        self._on_step(Step(len(items), frames, videos))


def _stacked(items: list[Item], frames: int) -> Any:
    """(B, …), or (B, F, …) for snippets; a tensor of the device where the parts lie on one."""
    parts = [part for item in items for part in item.parts]
    if isinstance(parts[0], np.ndarray):
        stack: Any = np.stack(parts)
    else:  # tensors of --decode-device cuda
        import torch

        stack = torch.stack(parts)
    return stack.reshape(len(items), frames, *stack.shape[1:]) if frames > 1 else stack


class _Rows:
    """Rows of one stream of one video, in the memory that its track will have."""

    def __init__(self, stream: Stream, grid: TimeGrid) -> None:
        shape = (grid.num_snippets, stream.spec.dim)
        self._data = np.zeros(shape if stream.crops == 1 else (stream.crops, *shape), dtype=np.float32)
        sound = stream.extractor.needs.audio_rate > 0
        self.states = np.full(grid.num_snippets, PRESENT, dtype=np.uint8) if sound else None
        self._missing = grid.num_snippets
        self._spec = stream.spec

    def put(self, item: Item, values: Any) -> None:
        """Set the (D,) or (K, D) values of a row."""
        self._data[..., item.row, :] = values
        self.skip(item)

    def skip(self, item: Item) -> None:
        """Leave a row that has nothing to encode zero."""
        self._missing -= 1
        if self.states is not None:
            self.states[item.row] = item.state

    def track(self, report: MediaReport) -> FeatureTrack | None:
        """The track, or None while a row is missing."""
        if self._missing:
            return None
        clip = report.clip
        facts = (clip.id, clip.size_bytes, clip.sha256, report.corrupt_packets)
        said = kept_warnings(report.warnings, of_sound=self.states is not None)
        return FeatureTrack(self._data, report.grid, self._spec, *facts, self.states, said)


class _Job:
    """Rows of one video that are encoded so far; ``videos`` is how much of it they are, 0 … 1."""

    def __init__(self, opened: Opened, streams: tuple[Stream, ...]) -> None:
        self.path, self.grid, self.mtime_ns = opened.task.path, opened.grid, opened.mtime_ns
        self.videos = 0.0
        self.rows = {place: _Rows(streams[place], opened.grid) for place in opened.task.wanted}
        self.report: MediaReport | None = None
        self._tracks: dict[int, FeatureTrack] = {}

    def new_tracks(self) -> Iterator[FeatureTrack]:
        """Tracks that have become whole since the last call."""
        for place, rows in self.rows.items():
            if self.report is None or place in self._tracks:
                continue
            if (track := rows.track(self.report)) is not None:
                self._tracks[place] = track
                yield track

    def result(self) -> Extracted | None:
        """All tracks in the order of the streams, or None while one is missing."""
        if self.report is None or len(self._tracks) < len(self.rows):
            return None
        tracks = tuple(self._tracks[place] for place in self.rows)
        return Extracted(self.path, self.report.clip, tracks, self.report.warnings, self.mtime_ns)
