"""The formula behind the golden values: weights from a parameter's name, so that no weights have to be stored."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def golden_weights(keys: Mapping[str, Sequence[int]], seed: int = 1) -> dict[str, NDArray[Any]]:
    """Parameter name -> shape in, name -> float32 values out (counters of batch norms: int64 zeros)."""
    return {name: _golden(name, tuple(shape), seed) for name, shape in keys.items()}


def _golden(name: str, shape: tuple[int, ...], seed: int) -> NDArray[Any]:
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    drawn = np.random.default_rng([zlib.crc32(name.encode()), seed]).standard_normal(shape)
    x: NDArray[Any] = np.asarray(drawn, dtype=np.float32)
    if last == "running_var":
        x = 0.5 + np.abs(x)
    elif len(shape) <= 1:
        x = 0.1 * x + (1.0 if last.startswith("weight") or last.endswith("_g") else 0.0)
    else:
        x = x / math.sqrt(math.prod(shape[1:]))
    return np.asarray(x, dtype=np.float32)
