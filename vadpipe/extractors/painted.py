"""A tiny video whose every frame shows its own number, to see whether a decoder gives the right frames in order.

The number is 16 large black and white blocks, which survive compression. Legend: H, W picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FRAMES = 48
EVERY = 4
"""Of so many frames one is asked for, from the first on."""

_SIZE = (64, 96)  # H, W
_FPS = Fraction(25)
_SIDE = 4  # blocks per side; 2 ** 16 numbers
_BLACK, _WHITE, _MIDDLE = 16, 235, 128


def expected_numbers() -> list[int]:
    """The numbers that a decoder has to show, in order."""
    return list(range(0, FRAMES, EVERY))


def paint(number: int) -> NDArray[np.uint8]:
    """(64, 96, 3) uint8 RGB picture of a number, 0 … 65535."""
    image = np.full((*_SIZE, 3), _BLACK, np.uint8)
    for bit in range(_SIDE * _SIDE):
        if number >> bit & 1:
            _block(image, bit)[:] = _WHITE
    return image


def read_number(image: NDArray[np.uint8]) -> int:
    """The number that an (H, W, 3) picture shows, judged by the middle of each block."""
    means = [float(_block(image, bit)[2:-2, 2:-2].mean()) for bit in range(_SIDE * _SIDE)]
    return sum(1 << bit for bit, mean in enumerate(means) if mean > _MIDDLE)


def write_painted(path: Path) -> str:
    """Write the video (H.264, 25 frames/s) and return the version of the FFmpeg that made it. Imports PyAV."""
    from vadpipe.extractors.media_write import ffmpeg_version, write_mp4

    write_mp4(path, map(paint, range(FRAMES)), _FPS)
    return ffmpeg_version()


def write_street(path: Path, seconds: int, size: tuple[int, int] = (360, 640)) -> None:
    """Write ``seconds`` of moving texture, (H, W) at 25 frames/s, for measuring how fast video is read."""
    from vadpipe.extractors.media_write import write_mp4

    write_mp4(path, _moving(seconds * 25, size), _FPS)


def _moving(frames: int, size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    coarse = np.random.default_rng(0).integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8)
    texture = coarse.repeat(8, axis=0).repeat(8, axis=1)
    for frame in range(frames):
        yield np.ascontiguousarray(np.roll(texture, 3 * frame, axis=1))


def _block(image: NDArray[np.uint8], bit: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    row, column = divmod(bit, _SIDE)
    rows = slice(row * height // _SIDE, (row + 1) * height // _SIDE)
    return image[rows, column * width // _SIDE : (column + 1) * width // _SIDE]
