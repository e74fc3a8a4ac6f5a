"""What every encoder does around its network: check the items, cut crops, feed batches of one size, gather the rows.

Legend: B items of an array, K crops of an item (1 where there are none), N network inputs at once, D columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vadpipe.errors import UsageError
from vadpipe.extractors import Needs
from vadpipe.extractors import geometry as geometries
from vadpipe.spec import FeatureSpec

CROPS = ("center", "5", "10")
"""Choices of ``crops``: the centre of a picture that kept its shape, or five or ten of one that was stretched."""


def crop_geometry(crops: str, center: str, stretched: str = "stretch256x340") -> str:
    """Name of the geometry for ``crops``, one of :data:`CROPS`.

    ``center`` is the encoder's own for the centre crop, ``stretched`` how those of several crops begin.
    """
    if crops not in CROPS:
        raise UsageError(f"crops: got {crops!r}, expected one of {', '.join(CROPS)}")
    return center if crops == "center" else f"{stretched}-crop{crops}"


def picture_rows(
    items: Any,
    needs: Needs,
    dim: int,
    batch_size: int,
    device: torch.device,
    network: Callable[[torch.Tensor], torch.Tensor],
) -> NDArray[np.float32]:
    """Rows of pictures: (B, h, w, 3), or (B, F, h, w, 3) where ``needs.frames`` is more than 1, uint8 RGB.

    ``network`` takes (N, …, h', w', 3) uint8 on the device, cut, and gives (N, D). Returns (B, D), or (B, K, D) where
    the geometry has several crops. ValueError for items of another shape or type.
    """
    frames = (needs.frames,) if needs.frames > 1 else ()
    size = geometries.output_size(needs.geometry)
    if size is None:
        raise ValueError(f"geometry {needs.geometry} gives pictures of any size; an encoder needs one")
    crops = geometries.crops(needs.geometry)

    def cut(chunk: torch.Tensor) -> torch.Tensor:
        pictures: torch.Tensor = geometries.cut(chunk, needs.geometry)
        return pictures.movedim(0, 1)

    rows = item_rows(items, (*frames, *size, 3), torch.uint8, crops, cut, dim, batch_size, device, network)
    return rows[:, 0] if crops == 1 else rows


def item_rows(
    items: Any,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    crops: int,
    cut: Callable[[torch.Tensor], torch.Tensor],
    dim: int,
    batch_size: int,
    device: torch.device,
    network: Callable[[torch.Tensor], torch.Tensor],
) -> NDArray[np.float32]:
    """(B, *shape) of ``dtype``, numpy or torch, on any device -> (B, K, D) float32.

    ``cut`` takes (n, *shape) on the device and gives (n, K, …); ``network`` takes (N, …) and gives (N, D), and N is
    ``batch_size`` every time, zeros where there are fewer: matrix products choose their kernel by size, and so a row's
    bits would depend on how many others came with it.
    """
    if tuple(items.shape[1:]) != shape or str(items.dtype).removeprefix("torch.") != str(dtype).removeprefix("torch."):
        expected = f"{str(dtype).removeprefix('torch.')} (B, {', '.join(map(str, shape))})"
        raise ValueError(f"items: got {items.dtype} {tuple(items.shape)}, expected {expected}")
    rows = torch.empty((len(items) * crops, dim), dtype=torch.float32, device=device)
    done = 0
    with torch.inference_mode():
        for start in range(0, len(items), batch_size):
            inputs = cut(_on_device(items[start : start + batch_size], device)).flatten(0, 1)
            for batch in torch.split(inputs, batch_size):
                rows[done : done + len(batch)] = network(_filled_up(batch, batch_size))[: len(batch)]
                done += len(batch)
    result: NDArray[np.float32] = rows.cpu().numpy()
    return result.reshape(len(items), crops, dim)


def _on_device(part: Any, device: torch.device) -> torch.Tensor:
    # a copy of an array, which may lie in memory that others may not write
    tensor = part if isinstance(part, torch.Tensor) else torch.from_numpy(np.array(part))
    return tensor.to(device)


def _filled_up(batch: torch.Tensor, batch_size: int) -> torch.Tensor:
    if len(batch) == batch_size:
        return batch.contiguous()
    full = batch.new_zeros((batch_size, *batch.shape[1:]))
    full[: len(batch)] = batch
    return full


def picture_spec(
    needs: Needs,
    frames_per_snippet: int,
    decoder: str,
    decoder_version: str,
    decode_device: str,
    **network: Any,
) -> FeatureSpec:
    """The specification of visual features; ``network`` names stream, dim, model, weights, weights_sha256 and dtype.

    :class:`UsageError` where the encoder needs all frames of a snippet and a snippet has another number of them.
    """
    if needs.frames not in (1, frames_per_snippet):
        raise UsageError(
            f"frames per snippet: got {frames_per_snippet}, but {network['stream']} takes {needs.frames} frames at "
            f"once: use {needs.frames}"
        )
    return FeatureSpec(
        frames_per_snippet=frames_per_snippet,
        geometry=needs.geometry,
        interpolation=_interpolation(needs.geometry, decode_device),
        decoder=decoder,
        decoder_version=decoder_version,
        decode_device=decode_device,
        **network,
    )


def _interpolation(geometry: str, decode_device: str) -> str:
    """Frames that are decoded on a GPU are resized there too, by other arithmetic."""
    if decode_device.startswith("cuda"):
        from vadpipe.extractors import geometry_torch

        return geometry_torch.interpolation(geometry)
    return geometries.interpolation(geometry)
