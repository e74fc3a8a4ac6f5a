"""An encoder without a network: mean colours in four quarters, 12 columns. For tests of the pipeline."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.extractors import Needs, geometry
from vadpipe.spec import FeatureSpec


@dataclass(frozen=True)
class MeanColour:
    """Implements ``vadpipe.extractors.Extractor``; ``pause_s`` makes a batch slow, to be killed in.

    Of a snippet (``frames`` > 1) the later frames weigh more, so that their order and number show in the row.
    """

    batch_size: int = 4
    pause_s: float = 0.0
    geometry: str = "short224-center224"
    frames: int = 1
    stream: str = "clip"

    @property
    def needs(self) -> Needs:
        return Needs(self.geometry, self.frames)

    def spec(
        self, frames_per_snippet: int, decoder: str, decoder_version: str, decode_device: str = "cpu"
    ) -> FeatureSpec:
        return FeatureSpec(
            self.stream,
            12,
            "mean-colour",
            "random:0",
            frames_per_snippet=frames_per_snippet,
            geometry="" if self.frames == 1 else f"{self.geometry}, all frames",
            decoder=decoder,
            decoder_version=decoder_version,
            decode_device=decode_device,
        )

    def encode(self, items: Any) -> NDArray[np.float32]:
        time.sleep(self.pause_s)
        images = np.asarray(items).astype(np.float64)  # a tensor too
        if self.frames > 1:
            images = np.einsum("bf...,f->b...", images, np.arange(1, self.frames + 1) / self.frames)
        rows = np.stack([_colours(crop) for crop in geometry.cut(images, self.geometry)], axis=1)
        return rows[:, 0] if geometry.crops(self.geometry) == 1 else rows


def _colours(images: NDArray[Any]) -> NDArray[np.float32]:
    half = images.shape[1] // 2
    quarters = [images[:, y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    return np.concatenate([part.mean(axis=(1, 2)) for part in quarters], axis=1).astype(np.float32)
