"""Writing small H.264 + AAC files through PyAV, for the demo and for tests that need real videos."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from numpy.typing import NDArray

from vadpipe.tracks import FloatArray
from vadpipe.whole_file import open_new, temporary_path

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.video.stream import VideoStream

# mbtree=0: with it, x264 (core 165, AVX-512) was seen to give other bytes each time for the same frames
_VIDEO_OPTIONS = {"crf": "26", "preset": "superfast", "x264-params": "mbtree=0"}


def write_mp4(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    fps: Fraction,
    audio: FloatArray | None = None,
    sample_rate: int = 0,
) -> None:
    """Encode ``frames`` and ``audio`` into the MP4 file ``path``: libx264, yuv420p, and AAC.

    frames
        (height, width, 3) uint8 RGB each, all of one even size, at least one; may be an iterator, and is never held
        in memory as a whole.
    fps
        Constant frame rate.
    audio
        (samples,) mono in [-1, 1] at ``sample_rate`` Hz; None writes no audio stream.

    The file appears under its name only when it is complete and on the disk. Encoders run in one thread and stamp
    nothing, so the same input gives the same bytes with the same PyAV. ValueError for frames or audio that cannot be
    encoded; OSError from the file system. Needs PyAV built with libx264, which its wheels are.
    """
    if fps <= 0:
        raise ValueError(f"fps: got {fps}, expected a positive fraction")
    if audio is not None and (audio.ndim != 1 or sample_rate < 1 or not np.isfinite(audio).all()):
        raise ValueError(
            f"audio: got {audio.shape} at {sample_rate} Hz, expected finite (samples,) and a positive rate"
        )
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise ValueError("frames: got none, expected at least one")
    with _appearing(path) as temporary:
        container = av.open(
            str(temporary), "w", format="mp4", options={"fflags": "+bitexact", "movflags": "+faststart"}
        )
        with container:
            video = _video_stream(container, first, fps)
            sound = None if audio is None else _audio_stream(container, sample_rate)
            _encode(container, video, itertools.chain([first], iterator), sound, audio, fps)


def ffmpeg_version() -> str:
    """Version of the FFmpeg that PyAV brings."""
    return str(av.ffmpeg_version_info)


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """Name beside ``path`` to write to; moved over ``path`` once it is whole, removed where that fails."""
    temporary = temporary_path(path)
    open_new(temporary).close()
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _video_stream(container: OutputContainer, frame: NDArray[np.uint8], fps: Fraction) -> VideoStream:
    stream = container.add_stream("libx264", rate=fps, options=_VIDEO_OPTIONS)
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.shape[0] % 2 or frame.shape[1] % 2:
        raise ValueError(f"frame: got {frame.shape}, expected (height, width, 3) with even height and width")
    stream.height, stream.width = frame.shape[:2]
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.thread_count = 1
    context.flags |= av.codec.context.Flags.bitexact
    context.gop_size = max(round(4 * fps), 1)  # a key frame every 4 seconds
    return stream


def _audio_stream(container: OutputContainer, sample_rate: int) -> AudioStream:
    stream = container.add_stream("aac", rate=sample_rate, layout="mono")
    stream.codec_context.flags |= av.codec.context.Flags.bitexact
    stream.codec_context.bit_rate = 48_000
    return stream


def _encode(
    container: OutputContainer,
    video: VideoStream,
    frames: Iterable[NDArray[np.uint8]],
    sound: AudioStream | None,
    audio: FloatArray | None,
    fps: Fraction,
) -> None:
    shape, heard = (video.height, video.width, 3), 0
    for number, pixels in enumerate(frames):
        if pixels.shape != shape or pixels.dtype != np.uint8:
            raise ValueError(f"frame {number}: got {pixels.dtype} {pixels.shape}, expected uint8 {shape}")
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        picture.pts, picture.time_base = number, 1 / fps
        container.mux(video.encode(picture))
        if sound is not None and audio is not None:  # beside its frame, so that the muxer need not hold it back
            until = min(int((number + 1) * sound.rate / fps), len(audio))
            heard = _encode_samples(container, sound, audio, heard, until)
    container.mux(video.encode(None))
    if sound is not None and audio is not None:
        _encode_samples(container, sound, audio, heard, len(audio))
        container.mux(sound.encode(None))


def _encode_samples(container: OutputContainer, sound: AudioStream, audio: FloatArray, start: int, end: int) -> int:
    if end > start:
        piece = np.ascontiguousarray(np.clip(audio[None, start:end], -1.0, 1.0), dtype=np.float32)
        block = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = sound.rate, start, Fraction(1, sound.rate)
        container.mux(sound.encode(block))
    return end
