"""Long videos: windows of at most ``size`` snippets for scoring, averaging of equal spans for training."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def windows(num_snippets: int, size: int = 256, overlap: int = 0) -> list[tuple[int, int]]:
    """Half-open windows that cover [0, num_snippets): 256 snippets give one, 257 and 512 two, 0 none.

    Neighbours share ``overlap`` snippets, at most half a window. Where they do, the last window is as long as the
    others and begins earlier instead: a head knows nothing of the context of a tail of few snippets.

    Differs from the released code of the field, which has no overlap and gives 256 k snippets one more, empty window.
    """
    if num_snippets == 0:
        return []
    overlap = shared(size, overlap)
    starts = list(range(0, max(num_snippets - overlap, 1), size - overlap))
    if overlap:
        starts[-1] = max(min(starts[-1], num_snippets - size), 0)
    return [(start, min(start + size, num_snippets)) for start in starts]


def shared(size: int, overlap: int) -> int:
    """Snippets that neighbouring windows do share where ``overlap`` is asked for: at most half a window."""
    return min(overlap, size // 2)


def fade(start: int, end: int, num_snippets: int, overlap: int = 0) -> NDArray[np.float64]:
    """(end - start,) weights of one window's scores, for a mean over windows: a linear cross-fade.

    1 in the middle, falling over the ``overlap`` snippets beside a neighbour; the video's own ends are no such edges.
    Without overlap all are 1.
    """
    count = end - start
    rise = np.arange(1, count + 1) / (overlap + 1)
    ones = np.ones(count)
    left = ones if start == 0 else rise
    right = ones if end == num_snippets else rise[::-1]
    return np.minimum(np.minimum(left, right), ones)


def pool_rows(rows: NDArray[Any], size: int = 256) -> NDArray[np.float32]:
    """(T, D) -> (min(T, size), D) float32; longer ones are averaged over ``size`` equal spans, as VadCLIP trains."""
    count = len(rows)
    if count <= size:
        return np.asarray(rows, dtype=np.float32)
    edges = np.linspace(0, count, size + 1).astype(np.int64)
    sums = np.add.reduceat(rows.astype(np.float64), edges[:-1], axis=0)
    return (sums / np.diff(edges)[:, None]).astype(np.float32)
