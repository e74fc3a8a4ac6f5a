"""Reading videos: facts, sampled frames and sound of a file that may be damaged or hostile.

Decoding happens in a child process per video, which can be killed: a hang, a crash or a memory blow-up of a decoder
library costs one video and never the run. This module imports no decoder. How it works and why:
docs/decisions/0003-decoding.md.

::

    with open_media(path, Request(audio_rate=16000)) as reader:
        rows = reader.grid.num_snippets
        for item in reader:          # FrameRow | AudioChunk
            ...
    reader.report.replaced_rows
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import DecoderCrashed, UsageError
from vadpipe.extractors import decoders, geometry
from vadpipe.extractors.decode_link import Ring
from vadpipe.extractors.decode_process import DecodeProcess
from vadpipe.extractors.limits import Limits as Limits
from vadpipe.extractors.limits import frames_s
from vadpipe.extractors.video_file import check_file
from vadpipe.manifest import video_id
from vadpipe.tracks import FloatArray, TimeGrid, VideoClip


@dataclass(frozen=True, slots=True)
class View:
    """One way in which pictures are wanted.

    geometry
        A name of :mod:`vadpipe.extractors.geometry`; ``full`` leaves frames as they are.
    every_frame
        All frames of each snippet instead of its frame ``offset`` alone.
    """

    geometry: str = "short224-center224"
    every_frame: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """What to hand over from one decode: pictures in one or several views, and mono sound.

    offset
        Frame of its snippet that is taken (0 … frames_per_snippet - 1); the last frame where a snippet is shorter.
    views
        May be empty where only sound is wanted: no picture is then decoded that is not needed for the facts, and damage
        to pictures is not looked for.
    audio_rate
        Samples per second of the sound; 0: none wanted.
    """

    frames_per_snippet: int = 16
    offset: int = 0
    views: tuple[View, ...] = (View(),)
    audio_rate: int = 0

    def __post_init__(self) -> None:
        if self.frames_per_snippet < 1 or not 0 <= self.offset < self.frames_per_snippet or self.audio_rate < 0:
            raise ValueError(
                f"got {self}, expected frames_per_snippet >= 1, 0 <= offset < frames_per_snippet, audio_rate >= 0"
            )


@dataclass(frozen=True, slots=True, eq=False)
class FrameRow:
    """One wanted frame: row (= snippet), frame index, seconds since the first frame, (h, w, 3) uint8 RGB.

    ``image`` is a copy that belongs to the receiver; ``view`` is the place of its view in the request.
    """

    row: int
    frame: int
    pts_s: float
    image: NDArray[np.uint8]
    view: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class AudioChunk:
    """(n,) float32 mono samples (a copy); ``start_sample`` counts from the first presented video frame on.

    Chunks come in order without holes or overlap and end at the latest with the video; what is missing in front or
    between is filled with zeros, what is missing at the end is not.

    hole
        Empty for sound of the file; ``absent`` for zeros where the file has none, ``undecodable`` for zeros in place of
        what is damaged (at the end, too).
    """

    start_sample: int
    samples: FloatArray
    hole: str = ""


@dataclass(frozen=True, slots=True)
class MediaReport:
    """What was read, and what was wrong with it.

    corrupt_packets
        Damaged video packets that were skipped; those that no wanted frame needs may not have been looked at.
    replaced_rows
        Rows (each once) of which a wanted frame was lost; the nearest earlier good frame stands for it, else the
        nearest later one.
    audio_state
        ``absent`` (no audio stream), ``present``, or ``undecodable`` (asked for, and no sample could be decoded).
    """

    clip: VideoClip
    grid: TimeGrid
    corrupt_packets: int = 0
    replaced_rows: tuple[int, ...] = ()
    audio_state: str = "absent"
    warnings: tuple[str, ...] = ()


def decoder_version(name: str) -> str:
    """Version of an installed decoder, which is not imported; UsageError where it is unknown or cannot be used.

    For one that runs on the system's libraries these belong to it, e.g. ``0.17.0+ffmpeg7``: they make the pixels.
    """
    decoder = decoders.lookup(name)
    try:
        version = metadata.version(decoder.distribution)
    except metadata.PackageNotFoundError as error:
        raise UsageError(f"decoder {name!r} is not installed. Install it with: {decoder.install}") from error
    return "+".join(filter(None, (version, decoders.system_libraries(name))))


def probe(path: str | Path, *, decoder: str = "pyav", limits: Limits | None = None) -> VideoClip:
    """Facts about a video, found out in a child process; no frame but the first is decoded where timestamps suffice.

    Errors: UsageError (no such file or decoder), and every :class:`vadpipe.errors.VideoError`.
    """
    reader = MediaReader(Path(path), Request(), decoder, limits or Limits(), probe_only=True)
    with reader:
        return reader.clip


def open_media(
    path: str | Path, request: Request, *, decoder: str = "pyav", limits: Limits | None = None
) -> MediaReader:
    """A reader for one video; the child process starts when the ``with`` block is entered.

    Errors, on entering or iterating: UsageError (no such file, decoder or geometry), and every
    :class:`vadpipe.errors.VideoError`.
    """
    return MediaReader(Path(path), request, decoder, limits or Limits())


class MediaReader:
    """Context manager and iterator over :class:`FrameRow` (by frame, then by view) and :class:`AudioChunk`.

    ``clip`` and ``grid`` are known on entering; ``report`` after the last item. Leaving early kills the child. One
    thread at a time.
    """

    clip: VideoClip
    grid: TimeGrid

    def __init__(self, path: Path, request: Request, decoder: str, limits: Limits, probe_only: bool = False) -> None:
        self._path = path
        self._decoder = decoder
        self._limits = limits
        self._request = {**asdict(request), **asdict(limits), "path": str(path.absolute()), "probe": probe_only}
        self._child: DecodeProcess | None = None
        self._ring: Ring | None = None
        self._report: MediaReport | None = None
        self._killed = False
        self._size_bytes = 0

    def __enter__(self) -> Self:
        if self._child is not None:
            raise RuntimeError("a MediaReader can be entered once")
        decoder_version(self._decoder)
        for view in self._request["views"]:
            geometry.output_size(view["geometry"])
        size_bytes = check_file(self._path)
        self._size_bytes = size_bytes
        self._request["allowed_s"] = self._limits.allowed_s(size_bytes)
        self._request["module"] = decoders.lookup(self._decoder).module
        self._request["memory_bytes"] += decoders.lookup(self._decoder).memory_bytes
        self._child = self._start_child()
        try:
            if self._killed:  # while the child was being started
                self._child.kill()
            self._begin(self._child)
        except BaseException:  # an interrupt too: no child is left behind
            self._child.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._child is not None:
            self._child.close()
        self._ring = None

    def __iter__(self) -> Iterator[FrameRow | AudioChunk]:
        while (item := self._next()) is not None:
            yield item

    @property
    def report(self) -> MediaReport:
        """The outcome; RuntimeError before the last item was received."""
        if self._report is None:
            raise RuntimeError("the report is there after the last item only")
        return self._report

    @property
    def child_pid(self) -> int:
        """Process id of the decoder child, for diagnosis."""
        if self._child is None:
            raise RuntimeError("the reader was not entered")
        return self._child.pid

    def kill(self) -> None:
        """End the child at once, whatever it is at; the one method that another thread may call, at any time.

        The thread that reads gets :class:`vadpipe.errors.DecoderCrashed`.
        """
        self._killed = True
        if self._child is not None:
            self._child.kill()

    def _start_child(self) -> DecodeProcess:
        return DecodeProcess(self._request)

    def _begin(self, child: DecodeProcess) -> None:
        head = child.receive()
        try:
            if head["t"] == "counted":  # all frames are decoded once before the head, and once after it
                child.allow(frames_s(self._size_bytes, head["packets"]))
                head = child.receive()
            fps = Fraction(*head["fps"])
            facts: dict[str, Any] = head["clip"]
            child.allow(frames_s(self._size_bytes, facts["num_frames"]))
            self.clip = VideoClip(id=video_id(self._path), path=str(self._path), fps=fps, **facts)
            step = self._request["frames_per_snippet"]
            self.grid = TimeGrid(fps, self.clip.num_frames, step, tuple(head["boundaries_s"]))
            if not self._request["probe"]:
                self._ring = child.open_ring(head["slot_bytes"], self._limits.queue_slots)
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise DecoderCrashed(f"{self._path}: the decoder reported impossible facts ({error}).") from error

    def _next(self) -> FrameRow | AudioChunk | None:
        if self._report is not None:
            return None
        if self._child is None or self._ring is None:
            raise RuntimeError("a MediaReader is read inside its with block")
        message = self._child.receive()
        try:
            if message["t"] == "done":
                self._report = self._final(message)
                return None
            item = self._item(self._ring, message)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DecoderCrashed(f"{self._path}: the decoder sent an impossible message ({error}).") from error
        self._child.release_slot()
        return item

    def _item(self, ring: Ring, message: dict[str, Any]) -> FrameRow | AudioChunk:
        if message["t"] == "audio":
            if message["hole"] not in ("", "absent", "undecodable"):
                raise ValueError(f"hole {message['hole']!r}")
            samples = ring.get(message["slot"], (message["n"],), np.float32)
            return AudioChunk(message["start"], samples, message["hole"])
        if message["view"] not in range(len(self._request["views"])):
            raise ValueError(f"view {message['view']!r} was not asked for")
        image = ring.get(message["slot"], (message["h"], message["w"], 3), np.uint8)
        return FrameRow(message["row"], message["frame"], message["pts_s"], image, message["view"])

    def _final(self, message: dict[str, Any]) -> MediaReport:
        return MediaReport(
            clip=self.clip,
            grid=self.grid,
            corrupt_packets=message["corrupt_packets"],
            replaced_rows=tuple(message["replaced_rows"]),
            audio_state=message["audio_state"],
            warnings=tuple(message["warnings"]),
        )
