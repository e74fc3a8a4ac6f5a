"""The geometries of :mod:`vadpipe.extractors.geometry` on torch tensors, for frames that never leave the GPU.

Same sizes, same offsets, same filters, and as there the width comes first and both passes are rounded to 8 bits; only
the weights differ in their last digits: at most 2 grey levels, on noise. So the interpolation has another name in the
feature specification, and such features never mix with others unnoticed.

Legend: B frames; H, W a frame; h, w the picture after the geometry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F

from vadpipe.errors import UsageError
from vadpipe.extractors import geometry

_LONGEST = 8192
"""Pixels along the long side from which on Pillow does it: the tensor would take gigabytes for a narrow strip."""


@dataclass(frozen=True, slots=True)
class TorchGeometry:
    """How a geometry is done with torch.

    mode
        Filter of ``torch.nn.functional.interpolate``, antialiased; empty: frames stay as they are.
    short, stretch
        Length of the short side, 0 where ``stretch`` gives the (height, width) to resize to.
    crop
        Side of the central square that is kept, 0: all.
    """

    mode: str
    short: int = 0
    stretch: tuple[int, int] = (0, 0)
    crop: int = 0


GEOMETRIES: Mapping[str, TorchGeometry] = MappingProxyType(
    {
        "short224-center224": TorchGeometry("bicubic", short=224, crop=224),
        "short256-center224": TorchGeometry("bilinear", short=256, crop=224),
        "128x171-center112": TorchGeometry("bilinear", stretch=(128, 171), crop=112),
        "stretch256x340-crop5": TorchGeometry("bilinear", stretch=(256, 340)),
        "stretch256x340-crop10": TorchGeometry("bilinear", stretch=(256, 340)),
        "clip-stretch256x340-crop5": TorchGeometry("bicubic", stretch=(256, 340)),
        "clip-stretch256x340-crop10": TorchGeometry("bicubic", stretch=(256, 340)),
        "full": TorchGeometry(""),
    }
)
"""Name -> how; the names are those of :data:`vadpipe.extractors.geometry.GEOMETRIES`, which a test holds."""


def apply(rgb: torch.Tensor, name: str) -> torch.Tensor:
    """Resize and crop frames: (B, H, W, 3) uint8 -> (B, h, w, 3) uint8, contiguous, on the same device.

    :class:`UsageError` for an unknown name, :class:`ValueError` for anything that is not such frames.
    """
    how = _lookup(name)
    if rgb.dtype != torch.uint8 or rgb.ndim != 4 or rgb.shape[3] != 3 or 0 in rgb.shape[1:]:
        raise ValueError(f"rgb: got {rgb.dtype} {tuple(rgb.shape)}, expected uint8 (B, H, W, 3) with H, W >= 1")
    if not how.mode:
        return rgb.contiguous()
    height, width = geometry.resized_size(rgb.shape[1], rgb.shape[2], how.short) if how.short else how.stretch
    if max(height, width) > _LONGEST:
        cut = [torch.tensor(geometry.apply(frame.cpu().numpy(), name)) for frame in rgb]
        return torch.stack(cut).to(rgb.device)
    planes = _pass(rgb.permute(0, 3, 1, 2).to(torch.float32), (rgb.shape[1], width), how.mode)
    planes = _pass(planes, (height, width), how.mode)
    if how.crop:
        top, left = geometry.centre_offset(height, how.crop), geometry.centre_offset(width, how.crop)
        planes = planes[:, :, top : top + how.crop, left : left + how.crop]
    return planes.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _pass(planes: torch.Tensor, size: tuple[int, int], mode: str) -> torch.Tensor:
    """(B, 3, H, W) float32 -> (B, 3, h, w) float32 of whole numbers 0 … 255."""
    if size == tuple(planes.shape[2:]):
        return planes
    resized = F.interpolate(planes, size, mode=mode, align_corners=False, antialias=True)
    return resized.clamp_(0, 255).round_()


def interpolation(name: str) -> str:
    """How pixels are resampled here, in the words of the specification, e.g. ``torch-bicubic-antialias``."""
    mode = _lookup(name).mode
    return f"torch-{mode}-antialias" if mode else ""


def _lookup(name: str) -> TorchGeometry:
    if name not in GEOMETRIES:
        raise UsageError(f"geometry: got {name!r}, expected one of {', '.join(sorted(GEOMETRIES))}")
    return GEOMETRIES[name]
