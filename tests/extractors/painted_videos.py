"""Small videos whose every frame shows its number as 16 large black and white blocks, which survives compression."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from numpy.typing import NDArray

from vadpipe.tracks import FloatArray

UInt8Array = NDArray[np.uint8]
SIDE = 4  # blocks per side; 2 ** 16 numbers


def paint(number: int, width: int = 96, height: int = 64) -> UInt8Array:
    """(height, width, 3) picture of a number."""
    image = np.zeros((height, width, 3), np.uint8)
    for bit in range(SIDE * SIDE):
        _block(image, bit)[:] = 235 if number >> bit & 1 else 16
    return image


def read(image: UInt8Array) -> int:
    """The number that a picture shows, judged by the middle of each block."""
    means = [float(_block(image, bit)[2:-2, 2:-2].mean()) for bit in range(SIDE * SIDE)]
    return sum(1 << bit for bit, mean in enumerate(means) if mean > 128)


def _block(image: UInt8Array, bit: int) -> UInt8Array:
    height, width = image.shape[:2]
    row, column = divmod(bit, SIDE)
    rows = slice(row * height // SIDE, (row + 1) * height // SIDE)
    return image[rows, column * width // SIDE : (column + 1) * width // SIDE]


@contextmanager
def usual_priority() -> Iterator[None]:
    """Give this process its priority back: SVT-AV1, run by root, makes it a real-time one, and so all that it starts
    afterwards; a browser among these can then stop the whole machine.
    """
    policy, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, priority)


@usual_priority()
def write(
    path: Path,
    frames: int = 50,
    rate: Fraction = Fraction(25),
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (96, 64),
    pixels: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    pts: Sequence[int] = (),
    rotation: int = 0,
    keyframes: int = 24,
    b_frames: int = 2,
    muxer: Mapping[str, str] | None = None,
    sound: FloatArray | None = None,
    sound_start: int = 0,
    picture_start: int = 0,
) -> Path:
    """Write a video; ``pts`` in milliseconds makes its rate vary; ``sound`` is (channels, samples) at 16 kHz."""
    with av.open(str(path), "w", options=dict(muxer or {})) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
        stream = cast("av.VideoStream", stream)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = keyframes, b_frames
        stream.codec_context.time_base = Fraction(1, 1000) if pts else 1 / rate
        if rotation:
            stream.set_display_rotation(rotation)
        audio = None
        if sound is not None:
            layout = "stereo" if len(sound) == 2 else "mono"
            audio = container.add_stream("aac", rate=16000, layout=layout)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(paint(number, *size), format="rgb24")
            frame.pts = pts[number] if pts else number + picture_start
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        if frames:
            container.mux(stream.encode())
        else:
            container.start_encoding()
        if audio is not None and sound is not None:
            _write_sound(container, audio, sound, sound_start)
    return path


def _write_sound(container: Any, stream: av.AudioStream, sound: FloatArray, start: int) -> None:
    layout = "stereo" if len(sound) == 2 else "mono"
    for at in range(0, sound.shape[1], 1024):
        block = np.ascontiguousarray(sound[:, at : at + 1024], np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = 16000, at + start
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def write_cut(path: Path, source: Path, first: int) -> Path:
    """Copy the packets of a 25 frames/s MP4 from the key frame before ``first`` on; an edit list hides up to it."""
    start = Fraction(first, 25)
    with av.open(str(source)) as given, av.open(str(path), "w") as container:
        copies = {stream.index: container.add_stream_from_template(stream) for stream in given.streams}
        given.seek(int(start * 1_000_000))
        for packet in given.demux():
            if packet.pts is None or packet.dts is None:
                continue
            shift = int(start / packet.time_base)
            packet.pts -= shift
            packet.dts -= shift
            packet.stream = copies[packet.stream_index]
            container.mux(packet)
    return path


def packets(path: Path) -> list[tuple[int, int, int]]:
    """(position, size, frame number) of each packet of the video stream, in decoding order."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        found = [(p.pos or 0, p.size, p.pts or 0) for p in container.demux(stream) if p.size]
    order = sorted(pts for _, _, pts in found)
    return [(position, size, order.index(pts)) for position, size, pts in found]


def damage(path: Path, numbers: Sequence[int]) -> Path:
    """Overwrite the packets of these frames with zeros."""
    data = bytearray(path.read_bytes())
    for position, size, number in packets(path):
        if number in numbers:
            data[position : position + size] = bytes(size)
    path.write_bytes(data)
    return path


def damage_sound(path: Path, start_s: float, end_s: float) -> Path:
    """Overwrite the packets of the sound between two times with 255."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.audio[0]):
            if (
                packet.size
                and packet.pos is not None
                and start_s <= float((packet.pts or 0) * packet.time_base) < end_s
            ):
                data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(data)
    return path
