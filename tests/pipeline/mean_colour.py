"""An encoder without a network: a picture's mean colour in four quarters, 12 columns. For tests of the pipeline."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vadpipe.spec import FeatureSpec


@dataclass(frozen=True)
class MeanColour:
    """Implements ``vadpipe.extractors.Extractor``; ``pause_s`` makes a batch slow, to be killed in."""

    batch_size: int = 4
    pause_s: float = 0.0
    geometry: str = "short224-center224"

    def spec(self, frames_per_snippet: int, decoder: str, decoder_version: str) -> FeatureSpec:
        return FeatureSpec(
            "clip",
            12,
            "mean-colour",
            "random:0",
            frames_per_snippet=frames_per_snippet,
            decoder=decoder,
            decoder_version=decoder_version,
        )

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(self.pause_s)
        half = images.shape[1] // 2
        quarters = [images[:, y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
        return np.concatenate([part.mean(axis=(1, 2)) for part in quarters], axis=1).astype(np.float32)
