"""From a decoded frame to the picture that an encoder sees; numpy and Pillow only, it runs in decoder children.

Every geometry works on 8-bit RGB and gives 8-bit RGB: the published features were made that way, and a frame that was
already cut to size is 4 to 30 times cheaper to hand from one process to another. A geometry is one entry of
``GEOMETRIES``; its name and its interpolation are part of the feature specification, because both change the numbers.
Geometries of several crops hand over the whole picture once; :func:`cut` takes the crops on the encoder's side.

Legend: H, W the frame; h, w the picture after the geometry; K crops.
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

Resampling = Image.Resampling

_LONGEST = 8192
"""Pixels along the long side up to which a picture is resized as a whole before it is cropped."""

_CROP = 224
_CORNERS = ((16, 58), (0, 0), (0, 116), (32, 0), (32, 116))
"""(top, left) of the crops of 224 x 224 in 256 x 340: centre, top left, top right, bottom left, bottom right."""

_INTERPOLATION = {
    Resampling.BILINEAR: "pil-bilinear-antialias-u8",
    Resampling.BICUBIC: "pil-bicubic-antialias-u8",
}


@dataclass(frozen=True, slots=True)
class Geometry:
    """One way to resize and crop.

    transform
        (H, W, 3) uint8 -> (h, w, 3) uint8, for every H, W >= 1.
    size
        (h, w) where it is the same for all frames, None where it follows the frame.
    interpolation
        How pixels are resampled, in the words of the feature specification; empty where they are not.
    crops
        1, or K where :func:`cut` takes K crops from each picture: 5, or 10 with the mirror images.
    """

    transform: Callable[[UInt8Array], UInt8Array]
    size: tuple[int, int] | None
    interpolation: str
    crops: int = 1


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


def crops(name: str) -> int:
    """K, the crops that :func:`cut` takes from each picture: 1, 5 or 10; UsageError if unknown."""
    return _lookup(name).crops


def cut(images: Any, name: str) -> Any:
    """Take the crops of a geometry: (…, h, w, 3) -> (K, …, 224, 224, 3), or (1, …, h, w, 3) where it has one crop.

    A numpy array or a torch tensor, which stays on its device; one crop is a view, several are a copy. Crop 0 is the
    centre, 1 top left, 2 top right, 3 bottom left, 4 bottom right; 5 to 9 are the mirror images of 0 to 4, as in the
    released CLIP features. UsageError for an unknown name, ValueError for pictures of another size.
    """
    geometry = _lookup(name)
    if images.ndim < 3 or tuple(images.shape[-3:]) != (*(geometry.size or images.shape[-3:-1]), 3):
        raise ValueError(f"images: got {tuple(images.shape)}, expected (…, {geometry.size or 'h, w'}, 3) for {name}")
    if geometry.crops == 1:
        return images[None]
    shape = (geometry.crops, *images.shape[:-3], _CROP, _CROP, 3)
    out = np.empty(shape, images.dtype) if isinstance(images, np.ndarray) else images.new_empty(shape)
    for place, (top, left) in enumerate(_CORNERS):
        out[place] = images[..., top : top + _CROP, left : left + _CROP, :]
    for place in range(len(_CORNERS), geometry.crops):
        plain = out[place - len(_CORNERS)]
        out[place] = plain[..., ::-1, :] if isinstance(images, np.ndarray) else plain.flip(-2)
    return out


def _lookup(name: str) -> Geometry:
    if name not in GEOMETRIES:
        raise UsageError(f"geometry: got {name!r}, expected one of {', '.join(sorted(GEOMETRIES))}")
    return GEOMETRIES[name]


def centre_offset(length: int, crop: int) -> int:
    """Where a central crop begins."""
    # torchvision's rule: Python's round(), which takes halves to the even neighbour (0.5 -> 0, 1.5 -> 2)
    return round((length - crop) / 2)


def resized_size(height: int, width: int, side: int) -> tuple[int, int]:
    """(height, width) with the short side at ``side`` and the long side rounded down, as torchvision computes it."""
    if width <= height:
        return int(side * height / width), side
    return side, int(side * width / height)


def _short_center(rgb: UInt8Array, side: int, crop: int, how: Resampling) -> UInt8Array:
    """Short side to ``side`` by Pillow, antialiased, then the central ``crop`` x ``crop`` pixels."""
    old_height, old_width = rgb.shape[:2]
    height, width = resized_size(old_height, old_width, side)
    top, left = centre_offset(height, crop), centre_offset(width, crop)
    if max(height, width) > _LONGEST:
        # A 1 x 8000 strip would become 224 x 1 792 000 pixels, 1.2 GB, of which 224 x 224 are kept: resample only
        # those. Not used for ordinary frames: Pillow takes the box in single precision, and the long side has to come
        # first to take little memory, which is a few grey levels off on noise.
        down, across = old_height / height, old_width / width
        return _strip_center(rgb, crop, (top * down, (top + crop) * down), (left * across, (left + crop) * across), how)
    return _stretch(rgb, height, width, how)[top : top + crop, left : left + crop]


def _strip_center(
    rgb: UInt8Array, crop: int, rows: tuple[float, float], columns: tuple[float, float], how: Resampling
) -> UInt8Array:
    """The rows and columns (from, to) of a long, narrow frame as ``crop`` x ``crop`` pixels."""
    (top, bottom), (left, right) = rows, columns
    image, (height, width) = Image.fromarray(rgb), rgb.shape[:2]
    if width > height:
        image = image.resize((crop, height), how, box=(left, 0, right, height))
        return np.asarray(image.resize((crop, crop), how, box=(0, top, crop, bottom)))
    image = image.resize((width, crop), how, box=(0, top, width, bottom))
    return np.asarray(image.resize((crop, crop), how, box=(left, 0, right, crop)))


def _stretch(rgb: UInt8Array, height: int, width: int, how: Resampling) -> UInt8Array:
    """To ``height`` x ``width`` by Pillow, antialiased; the aspect ratio need not be kept."""
    # One direction in each call. In one call for both, Pillow rounds to 8 bits between them, and which comes first
    # depends on its version: up to 12.1 the width, as in the published features; in 13 the height of tall frames,
    # which is up to 25 grey levels off on noise.
    across = Image.fromarray(rgb).resize((width, rgb.shape[0]), how)
    return np.asarray(across.resize((width, height), how))


def _stretch_center(rgb: UInt8Array, height: int, width: int, crop: int, how: Resampling) -> UInt8Array:
    """:func:`_stretch`, then the central ``crop`` x ``crop`` pixels."""
    top, left = centre_offset(height, crop), centre_offset(width, crop)
    return _stretch(rgb, height, width, how)[top : top + crop, left : left + crop]


def _short(side: int, how: Resampling) -> Geometry:
    return Geometry(
        lambda rgb: _short_center(rgb, side, crop=_CROP, how=how), (_CROP, _CROP), interpolation=_INTERPOLATION[how]
    )


def _stretched(crops: int, how: Resampling) -> Geometry:
    return Geometry(lambda rgb: _stretch(rgb, 256, 340, how), (256, 340), _INTERPOLATION[how], crops)


# Every resize here is antialiased, because results then do not jump with the size of the video. Differs from the
# released code, in which the same sizes and crops are made with other filters: CLIP's five and ten crops and C3D's
# 128 x 171 with OpenCV's bilinear, which is not antialiased, and I3D's crops with Pillow's Lanczos.
GEOMETRIES: Mapping[str, Geometry] = MappingProxyType(
    {
        "short224-center224": _short(224, Resampling.BICUBIC),
        "short256-center224": _short(256, Resampling.BILINEAR),
        "128x171-center112": Geometry(
            transform=lambda rgb: _stretch_center(rgb, 128, 171, crop=112, how=Resampling.BILINEAR),
            size=(112, 112),
            interpolation=_INTERPOLATION[Resampling.BILINEAR],
        ),
        "stretch256x340-crop5": _stretched(5, Resampling.BILINEAR),
        "stretch256x340-crop10": _stretched(10, Resampling.BILINEAR),
        "clip-stretch256x340-crop5": _stretched(5, Resampling.BICUBIC),
        "clip-stretch256x340-crop10": _stretched(10, Resampling.BICUBIC),
        "full": Geometry(transform=lambda rgb: rgb, size=None, interpolation=""),
    }
)
"""Name -> geometry. ``short224-center224`` is the preprocessing of OpenAI's CLIP, ``short256-center224`` that of I3D
networks, ``128x171-center112`` (height x width) that of C3D; the stretched ones, 256 high and 340 wide, are for several
crops, those of ``clip-`` with CLIP's bicubic filter. ``full`` leaves frames untouched."""
