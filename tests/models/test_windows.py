"""Windows of long videos: what they cover, and how overlapping ones are blended."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vadpipe.models.windows import fade, shared, windows


@pytest.mark.parametrize(
    ("count", "overlap", "expected"),
    [
        (0, 0, []),
        (0, 2, []),
        (8, 2, [(0, 8)]),
        (9, 0, [(0, 8), (8, 9)]),
        (9, 2, [(0, 8), (1, 9)]),
        (16, 0, [(0, 8), (8, 16)]),
        (14, 2, [(0, 8), (6, 14)]),
        (15, 2, [(0, 8), (6, 14), (7, 15)]),
        (3, 2, [(0, 3)]),
        (20, 99, [(0, 8), (4, 12), (8, 16), (12, 20)]),
    ],
)
def test_windows_by_hand(count: int, overlap: int, expected: list[tuple[int, int]]) -> None:
    assert windows(count, 8, overlap) == expected


def test_weights_by_hand() -> None:
    np.testing.assert_allclose(fade(0, 8, 14, 2), [1, 1, 1, 1, 1, 1, 2 / 3, 1 / 3])
    np.testing.assert_allclose(fade(6, 14, 14, 2), [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1])
    assert (fade(0, 8, 8, 2) == 1).all()
    assert (fade(8, 16, 24, 0) == 1).all()


@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 60))
def test_every_snippet_is_covered_and_neighbours_share_what_they_should(count: int, size: int, overlap: int) -> None:
    spans = windows(count, size, overlap)
    totals = np.zeros(count)
    for start, end in spans:
        assert 0 < end - start <= size
        totals[start:end] += fade(start, end, count, shared(size, overlap))
    assert (totals > 0).all()
    for (_, before), (start, _) in itertools.pairwise(spans):
        assert before - start >= shared(size, overlap)
