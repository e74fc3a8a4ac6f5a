"""From a decoded frame to the picture that an encoder sees; numpy and Pillow only, it runs in decoder children.

Every geometry works on 8-bit RGB and gives 8-bit RGB: the published features were made that way, and a frame that was
already cut to size is 4 to 30 times cheaper to hand from one process to another. A geometry is one entry of
``GEOMETRIES``; its name and its interpolation are part of the feature specification, because both change the numbers.

Legend: H, W the frame; h, w the picture after the geometry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vadpipe.errors import UsageError

UInt8Array = NDArray[np.uint8]

_LONGEST = 8192
"""Pixels along the long side up to which a picture is resized as a whole before it is cropped."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """One way to resize and crop.

    transform
        (H, W, 3) uint8 -> (h, w, 3) uint8, for every H, W >= 1.
    size
        (h, w) where it is the same for all frames, None where it follows the frame.
    interpolation
        How pixels are resampled, in the words of the feature specification; empty where they are not.
    """

    transform: Callable[[UInt8Array], UInt8Array]
    size: tuple[int, int] | None
    interpolation: str


def apply(rgb: NDArray[Any], name: str) -> UInt8Array:
    """Resize and crop one frame: ``rgb`` (H, W, 3) uint8 -> (h, w, 3) uint8, C-contiguous.

    :class:`UsageError` for an unknown name, :class:`ValueError` for anything that is not such a frame.
    """
    geometry = _lookup(name)
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(f"rgb: got {rgb.dtype} {rgb.shape}, expected uint8 (H, W, 3) with H, W >= 1")
    return np.ascontiguousarray(geometry.transform(rgb))


def output_size(name: str) -> tuple[int, int] | None:
    """(h, w) of every picture this geometry gives, None where it follows the frame; UsageError if unknown."""
    return _lookup(name).size


def interpolation(name: str) -> str:
    """How this geometry resamples pixels, e.g. ``pil-bicubic-antialias-u8``; UsageError if unknown."""
    return _lookup(name).interpolation


def _lookup(name: str) -> Geometry:
    if name not in GEOMETRIES:
        raise UsageError(f"geometry: got {name!r}, expected one of {', '.join(sorted(GEOMETRIES))}")
    return GEOMETRIES[name]


def _centre_offset(length: int, crop: int) -> int:
    # torchvision's rule: Python's round(), which takes halves to the even neighbour (0.5 -> 0, 1.5 -> 2)
    return round((length - crop) / 2)


def _resized_size(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) with the short side at ``side`` and the long side rounded down, as torchvision computes it."""
    if width <= height:
        return int(side * height / width), side
    return side, int(side * width / height)


def _short_center(rgb: UInt8Array, side: int, crop: int) -> UInt8Array:
    """Short side to ``side`` by Pillow's antialiased bicubic, then the central ``crop`` x ``crop`` pixels."""
    old_height, old_width = rgb.shape[:2]
    height, width = _resized_size(old_height, old_width, side)
    top, left = _centre_offset(height, crop), _centre_offset(width, crop)
    image = Image.fromarray(rgb)
    if max(height, width) > _LONGEST:
        # A 1 x 8000 strip would become 224 x 1 792 000 pixels, 1.2 GB, of which 224 x 224 are kept: resample only
        # those. Not used for ordinary frames: Pillow takes the box in single precision and may swap its two passes,
        # which is a few grey levels off on noise.
        down, across = old_height / height, old_width / width
        box = (left * across, top * down, (left + crop) * across, (top + crop) * down)
        return np.asarray(image.resize((crop, crop), Image.Resampling.BICUBIC, box=box))
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized)[top : top + crop, left : left + crop]


GEOMETRIES: Mapping[str, Geometry] = MappingProxyType(
    {
        "short224-center224": Geometry(
            transform=lambda rgb: _short_center(rgb, side=224, crop=224),
            size=(224, 224),
            interpolation="pil-bicubic-antialias-u8",
        ),
        "full": Geometry(transform=lambda rgb: rgb, size=None, interpolation=""),
    }
)
"""Name -> geometry. ``short224-center224`` is the preprocessing of OpenAI's CLIP; ``full`` leaves frames untouched."""
