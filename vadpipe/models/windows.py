"""Long videos: windows of at most ``size`` snippets for scoring, averaging of equal spans for training."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def windows(num_snippets: int, size: int = 256) -> list[tuple[int, int]]:
    """Half-open windows that cover [0, num_snippets): 256 snippets give one, 257 and 512 two, 0 none.

    Differs from the released code of the field, which gives 256 k snippets one more, empty window.
    """
    return [(start, min(start + size, num_snippets)) for start in range(0, num_snippets, size)]


def pool_rows(rows: NDArray[Any], size: int = 256) -> NDArray[np.float32]:
    """(T, D) -> (min(T, size), D) float32; longer ones are averaged over ``size`` equal spans, as VadCLIP trains."""
    count = len(rows)
    if count <= size:
        return np.asarray(rows, dtype=np.float32)
    edges = np.linspace(0, count, size + 1).astype(np.int64)
    sums = np.add.reduceat(rows.astype(np.float64), edges[:-1], axis=0)
    return (sums / np.diff(edges)[:, None]).astype(np.float32)
