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
from vadpipe.pipeline.extract_assemble import Item
from vadpipe.pipeline.extract_plan import ExtractOptions, Failed, Stream
from vadpipe.pipeline.extract_readers import Ended, Message, Opened, Readers, Task
from vadpipe.sound import PRESENT
from vadpipe.tracks import FeatureTrack, TimeGrid, VideoClip


@dataclass(frozen=True, slots=True)
class Extracted:
    """The features of one video (a track for each stream that was wanted), its facts, and what went not quite right."""

    path: Path
    clip: VideoClip
    tracks: tuple[FeatureTrack, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """Progress: rows that were encoded, and how many video frames and videos they are, shared among the streams."""

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
    on_track: Callable[[Path, FeatureTrack], None],
    on_step: Callable[[Step], None],
) -> Generator[Extracted | Failed | Task, None, None]:
    """Yield one result per video, in the order they finish; a task that wants nothing comes back as it is.

    ``on_track`` gets each track as soon as it is whole, which may be before the video's other tracks are. Closing the
    generator kills the decoders.
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
        on_track: Callable[[Path, FeatureTrack], None],
        on_step: Callable[[Step], None],
    ) -> None:
        self._streams, self._sizes = streams, sizes
        self._on_track, self._on_step = on_track, on_step
        self._jobs: dict[Path, _Job] = {}
        self._waiting: list[list[Item]] = [[] for _ in streams]

    def take(self, message: Message) -> Iterator[Extracted | Failed | Task]:
        match message:
            case Opened():
                self._jobs[message.task.path] = _Job(message, self._streams)
            case Item():
                yield from self._add(message)
            case Ended():
                self._jobs[message.path].report = message.report
                yield from self._finished({message.path})
            case Failed():
                self._jobs.pop(message.path, None)
                self._waiting = [[item for item in items if item.path != message.path] for items in self._waiting]
                yield message
            case Task():
                yield message

    def finish(self) -> Iterator[Extracted | Failed | Task]:
        """Encode what does not fill a batch."""
        for place, items in enumerate(self._waiting):
            if items:
                yield from self._encode(place)
        if self._jobs:
            raise RuntimeError(f"the decoder left out rows of {', '.join(map(str, self._jobs))}")

    def _add(self, item: Item) -> Iterator[Extracted | Failed | Task]:
        for place in item.streams:
            if not item.parts:
                self._jobs[item.path].rows[place].skip(item)
                self._stepped([item])
                continue
            self._waiting[place].append(item)
            if len(self._waiting[place]) == self._sizes[place]:
                yield from self._encode(place)

    def _encode(self, place: int) -> Iterator[Extracted | Failed | Task]:
        items, self._waiting[place] = self._waiting[place], []
        extractor = self._streams[place].extractor
        encoded = extractor.encode(_stacked(items, extractor.needs.frames))
        for item, values in zip(items, encoded, strict=True):
            self._jobs[item.path].rows[place].put(item, values)
        self._stepped(items)
        yield from self._finished({item.path for item in items})

    def _finished(self, paths: set[Path]) -> Iterator[Extracted]:
        for path in sorted(paths):
            job = self._jobs[path]
            for track in job.new_tracks():
                self._on_track(path, track)
            if (result := job.result()) is not None:
                del self._jobs[path]
                yield result

    def _stepped(self, items: list[Item]) -> None:
        frames = videos = 0.0
        for item in items:
            job = self._jobs[item.path]
            first, end = job.grid.frames_of(item.row, item.row + 1)
            frames += (end - first) / len(job.rows)
            videos += 1 / (job.grid.num_snippets * len(job.rows))
        self._on_step(Step(len(items), frames, videos))


def _stacked(items: list[Item], frames: int) -> Any:
    """(B, …), or (B, F, …) for snippets; a tensor of the device where the parts lie on one."""
    parts = [part for item in items for part in item.parts]
    if isinstance(parts[0], np.ndarray):
        stack: Any = np.stack(parts)
    else:  # pragma: no cover - needs a GPU
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
        return FeatureTrack(self._data, report.grid, self._spec, *facts, self.states)


class _Job:
    """Rows of one video that are encoded so far."""

    def __init__(self, opened: Opened, streams: tuple[Stream, ...]) -> None:
        self.path, self.grid = opened.task.path, opened.grid
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
        return Extracted(self.path, self.report.clip, tracks, self.report.warnings)
