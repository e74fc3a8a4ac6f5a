"""Opening a local file with PyAV, its packets, and decoding one of them, whatever state the file is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vadpipe.errors import VideoTooLarge, VideoUnreadable
from vadpipe.extractors.decoders import Job, Tally

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg"
"""Demuxers that may run. Playlists and scripts of other files (hls, dash, concat, image2, …) are not among them."""

_MAX_DEMUX_FAILURES = 64
_MOST_STREAMS = 100  # each costs a decoder


def open_file(job: Job) -> InputContainer:
    """Open a local file in one of :data:`FORMATS`; VideoUnreadable otherwise."""
    # "file:" and an absolute path: ids that start with '-' or hold ':' are names here, not options or protocols
    url = f"file:{job.path.absolute()}"
    whitelist = {"format_whitelist": FORMATS, "protocol_whitelist": "file", "max_streams": str(_MOST_STREAMS)}
    # What FFmpeg logs says why it refuses a file. Later on its log stays off: it costs Python's lock at every line.
    av.logging.set_level(av.logging.ERROR)
    try:
        # Streams are decoded a little as they are opened, which is when a header's claim would first cost memory.
        caps = {"max_pixels": str(decoded_pixels(job))}
        return av.open(url, options=caps, container_options=whitelist, metadata_errors="replace")
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise VideoUnreadable(f"{job.path}: {_why_not_opened(error)}") from error
    finally:
        av.logging.set_level(None)


def _why_not_opened(error: av.error.FFmpegError) -> str:
    said = str(error)
    if "whitelist" in said:
        return f"this container format is not opened, only {FORMATS.replace(',', ', ')}. Convert the file first."
    if "moov atom not found" in said:
        return "its index (moov) is missing: the recording or the download was cut off, or it is no video at all."
    if isinstance(error, av.error.EOFError):
        return "it ends before its first frame. Download or record it again."
    return f"not a readable video ({error.strerror}). Check the file with another player, or convert it."


@contextmanager
def explained(path: str | Path) -> Iterator[None]:
    """What FFmpeg cannot do with the video, and is not expected where it happens, as VideoUnreadable."""
    try:
        yield
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError as error:
        text = f"FFmpeg cannot go on with it ({error.strerror}). It may be damaged: check it with a player."
        raise VideoUnreadable(f"{path}: {text}") from error


def video_stream(container: InputContainer, job: Job) -> VideoStream:
    """The first video stream that is no cover picture, set to one thread; VideoUnreadable, VideoTooLarge."""
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise VideoUnreadable(f"{job.path}: it has no video stream. Give a file that holds moving pictures.")
    stream = streams[0]
    context = cast("av.VideoCodecContext | None", stream.codec_context)
    if context is None:
        raise VideoUnreadable(f"{job.path}: no decoder for its codec in PyAV. Convert it, for example to H.264.")
    check_size(job, context.width, context.height)
    context.options = {"max_pixels": str(decoded_pixels(job))}
    context.thread_count = 1
    return stream


def decoded_pixels(job: Job) -> int:
    """Pixels from which on FFmpeg itself refuses to make room for a frame.

    Above the cap, because it counts whole blocks, and what is somewhat too large should be refused by its size.
    """
    return min(2 * job.max_pixels + 2**16, 2**31 - 1)


def check_size(job: Job, width: int, height: int) -> None:
    """VideoTooLarge for a frame over the cap."""
    if width * height > job.max_pixels:
        raise VideoTooLarge(
            f"{job.path}: {width} x {height} pixels, {job.max_pixels} are allowed in a frame. "
            "Scale it down, or allow more: --limit max_pixels=NUMBER."
        )


def data_packets(container: InputContainer, *streams: av.stream.Stream) -> Iterator[av.Packet[av.stream.Stream]]:
    """All packets that hold data; a demuxer that fails is asked again, but not for ever."""
    failures = 0
    while failures < _MAX_DEMUX_FAILURES:
        try:
            for packet in container.demux(*streams):
                if packet.size:  # empty ones would make the decoder flush
                    failures = 0
                    yield packet
        except (
            av.error.InvalidDataError,
            av.error.BlockingIOError,
            av.error.ArgumentError,
        ):  # what damage comes out as
            failures += 1
        except IndexError:  # PyAV 18, at the end of a file in which streams appear midway that it has not counted
            return
        else:
            return


def decode(stream: VideoStream, packet: av.Packet[av.stream.Stream] | None, tally: Tally) -> list[av.VideoFrame]:
    """Frames that one packet (None: the end) sets free; none where it is damaged, which is counted."""
    try:
        return stream.codec_context.decode(cast("av.Packet[VideoStream] | None", packet))
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError:
        tally.corrupt_packets += 1
        return []
