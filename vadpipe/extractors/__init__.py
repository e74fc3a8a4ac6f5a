"""Encoders: from pictures, snippets or sound to feature rows. Importing this package imports no torch.

An encoder is registered once, in ``EXTRACTORS``; everything else asks :func:`create` for it by name.

Legend: B items, F frames of a snippet, S samples of a window, D columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import UsageError
from vadpipe.extractors.weights_table import KNOWN, default_weights
from vadpipe.spec import FeatureSpec

__all__ = ["EXTRACTORS", "SNIPPET_FRAMES", "Extractor", "Needs", "create"]


@dataclass(frozen=True, slots=True)
class Needs:
    """What an encoder is fed with, one item per snippet.

    geometry
        What its pictures must have been through, see :mod:`vadpipe.extractors.geometry`; empty for sound.
    frames
        1: one picture per snippet; F > 1: all F frames of a snippet, which then must have exactly so many (the last of
        a video repeats its last frame to fill up).
    audio_rate, window_s
        Hz of the mono sound and seconds of the window centred on each snippet; 0 where no sound is needed.
    """

    geometry: str = ""
    frames: int = 1
    audio_rate: int = 0
    window_s: float = 0.0


class Extractor(Protocol):
    """A network that turns items into rows of features.

    A row depends on its own item only: not on the other items, their number, or its place among them, bit for bit.
    Extraction relies on that where it batches snippets of several videos and where it resumes.
    """

    @property
    def needs(self) -> Needs:
        """What an item is."""

    @property
    def batch_size(self) -> int:
        """Items the network sees at once, at least 1."""

    def spec(
        self, frames_per_snippet: int, decoder: str, decoder_version: str, decode_device: str = "cpu"
    ) -> FeatureSpec:
        """The specification of features made by this encoder from what that decoder gives."""

    def encode(self, items: Any) -> NDArray[np.float32]:
        """B >= 0 items -> (B, D) float32, or (B, crops, D) where the geometry has several crops.

        Items are, by :attr:`needs`: pictures (B, h, w, 3) uint8 RGB; snippets (B, F, h, w, 3) uint8 RGB; or windows
        (B, S) float32. A numpy array, or a torch tensor that may already lie on the encoder's device. ValueError for
        another shape or type.
        """


def _clip(**options: Any) -> Extractor:
    from vadpipe.extractors.clip_vit import ClipVitB16

    return ClipVitB16(**options)


def _i3d_inception(**options: Any) -> Extractor:
    from vadpipe.extractors.i3d_inception import encoder

    return encoder(**options)


def _i3d_r50(**options: Any) -> Extractor:
    from vadpipe.extractors.i3d_r50 import encoder

    return encoder(**options)


def _c3d(**options: Any) -> Extractor:
    from vadpipe.extractors.c3d import encoder

    return encoder(**options)


def _wav2clip(**options: Any) -> Extractor:
    from vadpipe.extractors.wav2clip import Wav2Clip

    return Wav2Clip(**options)


EXTRACTORS: Mapping[str, Callable[..., Extractor]] = MappingProxyType(
    {"clip": _clip, "i3d-inception": _i3d_inception, "i3d-r50": _i3d_r50, "c3d": _c3d, "wav2clip": _wav2clip}
)
"""Stream name -> loader; called with the options of :func:`create` it imports torch and builds the encoder."""

SNIPPET_FRAMES: Mapping[str, int] = MappingProxyType({"i3d-inception": 16, "i3d-r50": 16, "c3d": 16})
"""Streams that take all frames of a snippet -> how many these must be (``needs.frames``, without building them)."""


def create(
    name: str,
    *,
    weights: str | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    seed: int = 0,
    batch_size: int | None = None,
    crops: str = "center",
) -> Extractor:
    """Build the encoder of the stream ``name``.

    weights
        A known name (``openai``), a path, ``random`` (seeded by ``seed``) or ``random:SEED``; None: the
        stream's published ones.
    device, dtype
        ``cpu``, ``cuda`` or ``cuda:1``; ``float32`` (as published) or ``bfloat16`` (two to five times as fast).
    batch_size
        Items the network sees at once; None: what suits encoder and device.
    crops
        ``center``, ``5`` or ``10``.

    :class:`UsageError` for an unknown name, device, dtype or crops, :class:`WeightsError` where the weights cannot be
    had.
    """
    if name not in EXTRACTORS:
        raise UsageError(f"extractor: got {name!r}, expected one of {', '.join(sorted(EXTRACTORS))}")
    chosen = default_weights(name) if weights is None else weights
    if chosen in KNOWN and KNOWN[chosen].stream != name:  # said before anything is downloaded
        raise UsageError(f"weights: {chosen} are of the stream {KNOWN[chosen].stream}, not of {name}")
    options = {"device": device, "dtype": dtype, "seed": seed, "batch_size": batch_size, "crops": crops}
    return EXTRACTORS[name](weights=chosen, **options)
