"""Small feature stores for tests of what compares, describes and exports them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, TimeGrid

CLIP = FeatureSpec("clip", 8, "made", "random:0", decoder="pyav", decoder_version="1")
OTHER_DECODER = FeatureSpec("clip", 8, "made", "random:0", decoder="decord", decoder_version="1")
FIVE_CROPS = FeatureSpec("clip", 8, "made", "random:0", geometry="stretch256x340-crop5", decoder="pyav")
SOUND = FeatureSpec("wav2clip", 8, "made", "made.pt", audio_window="1s@16000Hz")


def values(seed: int = 0, rows: int = 3, crops: int = 0) -> NDArray[np.float32]:
    """(rows, 8) or (crops, rows, 8)."""
    shape = (crops, rows, 8) if crops else (rows, 8)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def put(store: Path, video: str, data: NDArray[Any], spec: FeatureSpec = CLIP, **more: Any) -> Path:
    """Store ``data`` at 25 frames/s, the last row 8 frames long; returns the specification's folder."""
    frames = data.shape[-2] * 16 - 8 if data.shape[-2] else 0
    FeatureStore(store).write(FeatureTrack(data, TimeGrid(Fraction(25), frames), spec, video, **more))
    return store / spec.folder
