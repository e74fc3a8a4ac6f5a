"""From what a decoder hands over to items that encoders take: pictures, snippets of F pictures, windows of sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from vadpipe.errors import VideoUnreadable
from vadpipe.extractors import media
from vadpipe.extractors.sound_windows import SoundWindows
from vadpipe.pipeline.extracting.plan import ExtractOptions, Feed, Stream, Task
from vadpipe.sound import ABSENT, PRESENT, UNDECODABLE
from vadpipe.tracks import TimeGrid


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """What becomes one row of each of the streams at the places ``streams``.

    parts
        One picture, the F pictures of a snippet, or one window of sound; arrays of numpy or tensors of a GPU. Empty
        where there is no sound to encode.
    state
        Of a window of sound, an index into :data:`vadpipe.sound.SOUND_STATES`.
    """

    task: Task
    streams: tuple[int, ...]
    row: int
    parts: tuple[Any, ...]
    state: int = PRESENT


class Reader(Protocol):
    """What a decoder of either device is; facts, items and report are there once it is entered."""

    def __enter__(self) -> Self:
        """Begin with the video."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End the decoder."""

    def kill(self) -> None:
        """End the decoder at once, from any thread."""

    @property
    def clip(self) -> Any:
        """Facts about the file."""

    @property
    def grid(self) -> TimeGrid:
        """Its snippets."""

    @property
    def report(self) -> media.MediaReport:
        """The outcome, after the last item."""

    def __iter__(self) -> Iterator[Any]:
        """Frames (with row, image and view) and chunks of sound."""


def open_reader(task: Task, request: media.Request, options: ExtractOptions) -> Reader:
    """A decoder for one video on the device that the options name; nothing begins before it is entered.

    :class:`vadpipe.errors.VideoError` for a video that the options pass over.
    """
    if (error := options.passed_over.get(task.path)) is not None:
        raise error
    if options.decode_device == "cpu" or not request.views:  # sound alone needs no GPU
        if options.open_with is not None:
            reader: Reader = options.open_with(task, request, options)
            return reader
        return media.open_media(task.path, request, decoder=options.decoder, limits=options.limits)
    from vadpipe.extractors.cuda_decode import open_device

    return open_device(task.path, request, device=options.decode_device, limits=options.limits)


def assemble(task: Task, reader: Reader, feed: Feed, streams: tuple[Stream, ...]) -> Iterator[Item]:
    """Items in the order in which they become whole."""
    pictures = [_Snippets(streams[places[0]].extractor.needs.frames) for places in feed.by_view]
    windows = {seconds: SoundWindows(reader.grid, feed.request.audio_rate, seconds) for seconds in feed.by_window}
    for given in reader:
        if isinstance(given, media.AudioChunk):
            for seconds, maker in windows.items():
                yield from _heard(task, feed.by_window[seconds], maker.feed(given))
        elif (whole := pictures[given.view].feed(given.row, given.image)) is not None:
            yield Item(task, feed.by_view[given.view], *whole)
    for streams_of_view, snippets in zip(feed.by_view, pictures, strict=True):
        if (whole := snippets.finish()) is not None:
            yield Item(task, streams_of_view, *whole)
    for seconds, maker in windows.items():
        yield from _heard(task, feed.by_window[seconds], maker.finish(reader.report.audio_state))


class _Snippets:
    """Collects the pictures of one snippet after the other; one that is too short repeats its last picture."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._row = 0
        self._parts: list[Any] = []

    def feed(self, row: int, image: Any) -> tuple[int, tuple[Any, ...]] | None:
        """Row and pictures of the snippet that this picture makes whole, if any."""
        if self._parts and row != self._row:
            raise VideoUnreadable(f"snippet {self._row} has {len(self._parts)} of {self._frames} frames in its middle")
        self._row = row
        self._parts.append(image)
        return self.finish() if len(self._parts) == self._frames else None

    def finish(self) -> tuple[int, tuple[Any, ...]] | None:
        """The same for the last snippet of the video, filled up."""
        if not self._parts:
            return None
        parts = (*self._parts, *self._parts[-1:] * (self._frames - len(self._parts)))
        self._parts = []
        return self._row, parts


def _heard(task: Task, streams: tuple[int, ...], windows: Iterable[tuple[int, Any, int]]) -> Iterator[Item]:
    for row, window, state in windows:
        yield Item(task, streams, row, () if state in (ABSENT, UNDECODABLE) else (window,), state)
