"""Encoders: from pictures to feature rows. Importing this package imports no torch.

An encoder is registered once, in ``EXTRACTORS``; everything else asks :func:`create` for it by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import UsageError
from vadpipe.spec import FeatureSpec

__all__ = ["EXTRACTORS", "Extractor", "create"]


class Extractor(Protocol):
    """A network that turns pictures into rows of features.

    A row depends on its own picture only: not on the other pictures, their number, or its place among them, bit for
    bit. Extraction relies on that where it batches frames of several videos and where it resumes.
    """

    @property
    def geometry(self) -> str:
        """Name of the geometry its pictures must have been through, see :mod:`vadpipe.extractors.geometry`."""

    @property
    def batch_size(self) -> int:
        """Pictures the network sees at once, at least 1."""

    def spec(self, frames_per_snippet: int, decoder: str, decoder_version: str) -> FeatureSpec:
        """The specification of features made by this encoder from frames of that decoder."""

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, h, w, 3) uint8 RGB -> (B, D) float32, for every B >= 0; ValueError for another shape or type."""


def _clip(**options: Any) -> Extractor:
    from vadpipe.extractors.clip_vit import ClipVitB16

    return ClipVitB16(**options)


EXTRACTORS: Mapping[str, Callable[..., Extractor]] = MappingProxyType({"clip": _clip})
"""Stream name -> loader; called with the options of :func:`create` it imports torch and builds the encoder."""


def create(
    name: str,
    *,
    weights: str = "openai",
    device: str = "cpu",
    dtype: str = "float32",
    seed: int = 0,
    batch_size: int = 32,
) -> Extractor:
    """Build the encoder of the stream ``name``.

    weights
        A known name (``openai``), a path, ``random`` (seeded by ``seed``) or ``random:SEED``.
    device, dtype
        ``cpu``, ``cuda`` or ``cuda:1``; ``float32`` (as published) or ``bfloat16`` (two to four times as fast).

    :class:`UsageError` for an unknown name, device or dtype, :class:`WeightsError` where the weights cannot be had.
    """
    if name not in EXTRACTORS:
        raise UsageError(f"extractor: got {name!r}, expected one of {', '.join(sorted(EXTRACTORS))}")
    if batch_size < 1:
        raise UsageError(f"batch_size: got {batch_size}, expected at least 1")
    return EXTRACTORS[name](weights=weights, device=device, dtype=dtype, seed=seed, batch_size=batch_size)
