"""Writing an MP4 file with PyAV: packets as they are, or frames that are encoded as H.264.

Without libx264 in PyAV's FFmpeg, frames are encoded as MPEG-4 part 2.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import av
import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter
from numpy.typing import NDArray

from vadpipe.errors import UsageError, VideoTooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from av.container import OutputContainer
    from av.video.stream import VideoStream

Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]
"""Views of a frame's planes: (H, W) luma, and (H / 2, W / 2) twice, both with H and W even."""

_OPTIONS = {"libx264": {"crf": "21", "preset": "veryfast"}, "mpeg4": {"q:v": "3"}}
_MOST_THREADS = 4
_FASTEST = 1000
_FILE_PROBLEMS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM}
_MPEG4_LARGEST_TICKS = 65535


class NotTaken(Exception):
    """The MP4 container does not take a stream or one of its packets as it is."""


class Output:
    """An MP4 file that is being written; whole after a ``with`` block that did not fail, and closed after any.

    UsageError where the file system fails, VideoTooLarge where it would be larger than this process may write.
    """

    def __init__(self, temporary: str, shown: str, *, index_first: bool, title: str = "") -> None:
        self._shown, self._temporary = shown, temporary
        # An index in front lets a player start before the file has arrived, and costs a second pass over the file.
        options = {"movflags": "+faststart"} if index_first else {}
        self.container: OutputContainer = av.open(f"file:{temporary}", "w", format="mp4", container_options=options)
        if title:
            self.container.metadata["title"] = title

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.container.close()
        except av.error.FFmpegError as failure:
            self._explain(failure)
        finally:
            for _ in range(2):  # the first may fail at a packet that PyAV holds back; twice does no harm
                with contextlib.suppress(av.error.FFmpegError, ValueError):
                    self.container.close()

    def mux(self, packets: Sequence[Any]) -> None:
        """Write packets; :class:`NotTaken` where the container refuses one."""
        for packet in packets:
            try:
                self.container.mux(packet)
            except av.error.MemoryError:
                raise
            except (av.error.FFmpegError, ValueError) as failure:
                self._explain(failure)

    def _explain(self, failure: Exception) -> None:
        if getattr(failure, "errno", None) == errno.EFBIG:
            most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
            if 0 <= most <= Path(self._temporary).stat().st_size:  # else it is the file system's limit
                raise VideoTooLarge(
                    f"{self._shown}: it would be larger than {most} bytes, which is allowed for a video of this size. "
                    "Cut the video into pieces, or allow more: --limit max_output_bytes=BYTES."
                ) from failure
        if getattr(failure, "errno", None) in _FILE_PROBLEMS:
            said = os.strerror(failure.errno)  # type: ignore[attr-defined]
            raise UsageError(f"{self._shown}: it cannot be written ({said}).") from failure
        raise NotTaken(str(failure)) from failure


class Encoder:
    """Encodes frames of any format, turned upright, with their timestamps, into one video stream.

    width, height
        Of the written video: as displayed, rounded down to even numbers, which 4:2:0 needs.
    """

    def __init__(self, out: Output, first: av.VideoFrame, source: VideoStream) -> None:
        self._out = out
        self._reformatter = VideoReformatter()
        self._turns = 0 if first.rotation % 90 else first.rotation // 90 % 4
        self._across, self._down = max(first.width & ~1, 2), max(first.height & ~1, 2)
        self.width, self.height = (self._down, self._across) if self._turns % 2 else (self._across, self._down)
        self._stream = self._add_stream(source)
        self._match_colours(first)

    def planes(self, frame: av.VideoFrame) -> tuple[av.VideoFrame, Planes]:
        """A copy of a frame as it will be encoded, without a timestamp, and views of its planes to draw on."""
        full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
        scaled = self._reformatter.reformat(
            frame,
            self._across,
            self._down,
            "yuv420p",
            src_color_range=ColorRange.JPEG if full else None,
            dst_color_range=ColorRange.MPEG if full else None,
            threads=1,
        )
        copy = av.VideoFrame(self.width, self.height, "yuv420p")
        views = [_view(copy, place) for place in range(3)]
        for place, view in enumerate(views):
            # Frames that come out of a decoder may still be referred to by it: a copy is what may be drawn on.
            view[:] = np.rot90(_view(scaled, place), self._turns)
        return copy, (views[0], views[1], views[2])

    def encode(self, copy: av.VideoFrame, pts: int, time_base: Fraction) -> None:
        """Encode what :meth:`planes` gave, to be shown at ``pts``."""
        copy.pts, copy.time_base = pts, time_base
        self._out.mux(self._stream.encode(copy))

    def finish(self) -> None:
        """Encode what is left."""
        self._out.mux(self._stream.encode(None))

    def _add_stream(self, source: VideoStream) -> VideoStream:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        hints = (source.average_rate, source.guessed_rate)
        rate = next((hint for hint in hints if hint and 0 < hint <= _FASTEST), Fraction(25))
        stream = cast("VideoStream", self._out.container.add_stream(codec, rate=rate, options=_OPTIONS[codec]))
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
        context = stream.codec_context
        context.thread_count = min(os.cpu_count() or 1, _MOST_THREADS)
        context.gop_size = max(round(2 * rate), 1)  # a key frame every 2 seconds: quick to jump in
        context.time_base = cast(Fraction, source.time_base)
        if codec == "mpeg4" and context.time_base.denominator > _MPEG4_LARGEST_TICKS:
            context.time_base = Fraction(1, 60000)
        ratio = source.sample_aspect_ratio
        if ratio:
            context.sample_aspect_ratio = 1 / ratio if self._turns % 2 else ratio
        return stream

    def _match_colours(self, first: av.VideoFrame) -> None:
        context = self._stream.codec_context
        context.color_range = ColorRange.MPEG
        if first.format.is_rgb:
            return
        context.colorspace = first.colorspace
        context.color_primaries = first.color_primaries
        context.color_trc = first.color_trc


def _view(frame: av.VideoFrame, place: int) -> NDArray[np.uint8]:
    """(h, w) of one plane of a yuv420p frame, without its padding."""
    plane = frame.planes[place]
    rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]
