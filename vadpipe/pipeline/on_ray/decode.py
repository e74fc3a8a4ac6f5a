"""Decoding as a task of a Ray cluster, on the node of the actor that encodes: frames never leave their node.

The task runs the same decoder child as without Ray, with its limits, and sends what the child hands over in pieces
through the node's shared memory. At most a few pieces wait for the encoder, so memory depends on no video's length.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vadpipe.errors import DecoderCrashed, VadpipeError
from vadpipe.extractors import media
from vadpipe.pipeline.extracting.plan import ExtractOptions, Task
from vadpipe.pipeline.on_ray.cluster import import_ray
from vadpipe.pipeline.on_ray.deaths import reason_of
from vadpipe.pipeline.on_ray.pool import on_node
from vadpipe.tracks import TimeGrid, VideoClip

PIECE_BYTES = 4 * 1024**2
_WAITING = 2  # pieces of a video that were made and not fetched

Piece = list[media.FrameRow | media.AudioChunk]


class DecodeWorkerDied(DecoderCrashed):
    """The process that ran a decode task died, not its decoder: another attempt may go well."""


@dataclass(frozen=True, slots=True)
class Begun:
    """First of what a decode task sends."""

    clip: VideoClip
    grid: TimeGrid


def decode_pieces(
    folder: Path, path: Path, request: media.Request, decoder: str, limits: media.Limits
) -> Iterator[Begun | Piece | media.MediaReport | VadpipeError]:
    """The body of the task: what has begun, pieces of about :data:`PIECE_BYTES`, and the report; or an error.

    ``folder`` is what ``path`` is relative to.
    """
    os.chdir(folder)
    try:
        with media.open_media(path, request, decoder=decoder, limits=limits) as reader:
            yield Begun(reader.clip, reader.grid)
            piece, size = Piece(), 0
            for item in reader:
                piece.append(item)
                size += item.samples.nbytes if isinstance(item, media.AudioChunk) else item.image.nbytes
                if size >= PIECE_BYTES:
                    yield piece
                    piece, size = Piece(), 0
            if piece:
                yield piece
            yield reader.report
    except VadpipeError as error:  # as a value: what Ray makes of an error that is raised reads otherwise
        yield error


class TaskReader:
    """A :class:`vadpipe.pipeline.extracting.assemble.Reader` whose decoder is a task on this node."""

    clip: VideoClip
    grid: TimeGrid
    report: media.MediaReport

    def __init__(self, task: Task, request: media.Request, options: ExtractOptions) -> None:
        self._ray = import_ray()
        self._path = task.path
        self._given = (Path.cwd(), task.path, request, options.decoder, options.limits)
        self._stream: Any = None
        self._killed = self._ended = False

    def __enter__(self) -> Self:
        here = self._ray.get_runtime_context().get_node_id()
        self._stream = _task(decode_pieces).options(scheduling_strategy=on_node(here)).remote(*self._given)
        if self._killed:
            self.kill()
        try:
            begun = self._receive()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.clip, self.grid = begun.clip, begun.grid
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ended:
            self.kill()

    def kill(self) -> None:
        """End the task at once, from any thread; its decoder ends with its process."""
        self._killed = True
        if self._stream is not None:
            with contextlib.suppress(Exception):  # it has ended, or the cluster has
                self._ray.cancel(self._stream, force=True)

    def __iter__(self) -> Iterator[media.FrameRow | media.AudioChunk]:
        while not isinstance(piece := self._receive(), media.MediaReport):
            for item in piece:  # copies: a view would keep its whole piece in the shared memory
                if isinstance(item, media.AudioChunk):
                    yield replace(item, samples=item.samples.copy())
                else:
                    yield replace(item, image=item.image.copy())
        self._ended = True
        self.report = piece

    def _receive(self) -> Any:
        errors = self._ray.exceptions
        try:
            piece = self._ray.get(next(self._stream))
        except StopIteration:
            raise DecodeWorkerDied(f"{self._path}: its decode task ended without a report.") from None
        except errors.RayTaskError:
            raise  # a bug: loud
        except errors.RayError as error:
            raise DecodeWorkerDied(reason_of(errors, error)) from error
        if isinstance(piece, VadpipeError):
            self._ended = True
            raise piece
        return piece


@cache
def _task(body: Callable[..., Any]) -> Any:
    """The task of this process; each one that is made anew would be told to the whole cluster."""
    return import_ray().remote(
        num_cpus=1,
        max_retries=0,
        num_returns="streaming",
        name="vadpipe decode",
        _generator_backpressure_num_objects=_WAITING,
    )(body)
