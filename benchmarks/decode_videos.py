"""Videos for benchmarks/decode.py: given ones, or drawn scenes, looped and encoded again with PyAV."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

FPS = Fraction(25)
LOOP = 1500
"""Different frames in a video; a longer one repeats their packets."""

ENDINGS = {".mp4", ".mkv", ".mov", ".webm", ".avi", ".ts"}


@dataclass(frozen=True)
class Kind:
    """One kind of video: width, height, encoder and its options; all with at most 250 frames from key to key frame."""

    width: int
    height: int
    codec: str = "libx264"
    options: dict[str, str] = field(default_factory=dict)
    share: float = 1.0


KINDS = {
    "H.264 640x360": Kind(640, 360),
    "H.264 320x240": Kind(320, 240),
    "H.264 1920x1080": Kind(1920, 1080, share=1 / 3),
    "H.264 640x360, no B-pyramid": Kind(640, 360, options={"x264-params": "b-pyramid=none"}),
    "H.264 640x360, no B-frames": Kind(640, 360, options={"bf": "0"}),
    "HEVC 640x360": Kind(640, 360, "libx265", {"x265-params": "log-level=error"}),
}
"""Encoders' defaults otherwise: preset medium, up to 3 (x265: 4) B-frames, B-pyramid, key frames at scene cuts."""


def make(path: Path, kind: Kind, frames: int, folder: Path | None) -> Path:
    """Write a video of that kind, unless it is there already: LOOP different frames, then the same again."""
    if path.exists():
        return path
    frames = int(frames * kind.share)
    once = min(frames, LOOP)
    short = _encode(path.with_name(f"once-{path.name}"), kind, once, folder)
    whole = _repeat(path.with_name(f"part-{path.name}"), short, once, -(-frames // once))
    short.unlink()
    return whole.rename(path)


def _encode(path: Path, kind: Kind, frames: int, folder: Path | None) -> Path:
    with av.open(str(path), "w") as container:
        stream = cast("av.VideoStream", container.add_stream(kind.codec, rate=FPS, options=kind.options))
        stream.width, stream.height, stream.pix_fmt = kind.width, kind.height, "yuv420p"
        stream.codec_context.gop_size = 250
        stream.codec_context.thread_type = "FRAME"  # slices, PyAV's default, would not be how encoders are used
        for number, picture in enumerate(itertools.islice(_pictures(kind, folder), frames)):
            frame = picture.reformat(kind.width, kind.height, "yuv420p", interpolation="BICUBIC")
            frame.pts, frame.time_base, frame.pict_type = number, 1 / FPS, 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _repeat(path: Path, once: Path, frames: int, times: int) -> Path:
    """The same packets again and again; each round begins with an IDR."""
    with av.open(str(path), "w") as container, av.open(str(once)) as source:
        stream = source.streams.video[0]
        copy = container.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        step = int(frames / FPS / cast(Fraction, stream.time_base))
        for _ in range(times):
            for packet in packets:
                packet.stream = copy
                container.mux(packet)
                packet.time_base = cast(Fraction, stream.time_base)
                packet.pts, packet.dts = cast(int, packet.pts) + step, cast(int, packet.dts) + step
    return path


def _pictures(kind: Kind, folder: Path | None) -> Iterator[av.VideoFrame]:
    """Frames of the folder's videos, again and again; without a folder drawn ones."""
    if folder is None:
        for number in itertools.count():
            yield av.VideoFrame.from_ndarray(_drawn(number, kind.width, kind.height), format="rgb24")
    given = sorted(path for path in (folder or Path()).iterdir() if path.suffix in ENDINGS)
    if not given:
        raise SystemExit(f"{folder}: no video in it; expected files that end with {', '.join(sorted(ENDINGS))}")
    for path in itertools.cycle(given):
        with av.open(str(path)) as container:
            yield from container.decode(video=0)


def _drawn(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """A textured ground that pans slowly, and three plain boxes that cross it; no noise."""
    across, down = np.meshgrid(np.arange(width) + number, np.arange(height) + number // 3)
    ground = 90 + 40 * np.sin(across / 17) * np.cos(down / 11) + 20 * np.sin((across + 2 * down) / 5)
    image = np.repeat(ground[:, :, None], 3, axis=2).astype(np.uint8)
    for box, (speed, colour) in enumerate(
        (((3, 1), (210, 60, 40)), ((-2, 2), (40, 180, 70)), ((5, -1), (50, 70, 200)))
    ):
        left = (box * width // 3 + number * speed[0]) % width
        top = (box * height // 3 + number * speed[1]) % height
        image[top : top + height // 5, left : left + width // 10] = colour
    return image
