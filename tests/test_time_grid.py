"""Snippet, frame and second: conversions are exact at any rate, and a wrong grid cannot be built."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vadpipe.tracks import TimeGrid

NTSC = Fraction(30000, 1001)
RATES = st.fractions(min_value=Fraction(1, 100), max_value=1000, max_denominator=10**7)


def variable(num_frames: int, boundaries_s: tuple[float, ...], step: int = 4) -> TimeGrid:
    return TimeGrid(Fraction(25), num_frames, step, boundaries_s)


@st.composite
def grids(draw: st.DrawFn) -> TimeGrid:
    """A grid of constant or variable rate with at least one frame."""
    frames = draw(st.integers(1, 200))
    step = draw(st.integers(1, 20))
    if draw(st.booleans()):
        return TimeGrid(draw(RATES), frames, step)
    count = -(-frames // step)
    gaps = draw(st.lists(st.floats(0.001, 100), min_size=count, max_size=count))
    start = draw(st.floats(0, 1000))
    return TimeGrid(Fraction(25), frames, step, tuple(start + np.cumsum([0.0, *gaps])))


@pytest.mark.parametrize(
    ("frames", "snippets", "spans", "sampled"),
    [
        (0, 0, [], []),
        (1, 1, [(0, 1)], [0]),
        (15, 1, [(0, 15)], [0]),
        (16, 1, [(0, 16)], [0]),
        (17, 2, [(0, 16), (16, 17)], [0, 16]),
        (48, 3, [(0, 16), (16, 32), (32, 48)], [0, 16, 32]),
    ],
)
def test_snippets_of_short_videos(frames: int, snippets: int, spans: list[tuple[int, int]], sampled: list[int]) -> None:
    grid = TimeGrid(NTSC, frames)
    assert grid.num_snippets == snippets
    assert [grid.frames_of(t, t + 1) for t in range(snippets)] == spans
    assert grid.frames_of(0, snippets) == (0, frames)
    assert grid.frames_of(snippets, snippets) == (frames, frames)
    assert grid.sampled_frames().tolist() == sampled
    assert [grid.snippet_of(start) for start, _ in spans] == list(range(snippets))
    assert [grid.snippet_of(end - 1) for _, end in spans] == list(range(snippets))


def test_sampled_frames_stay_inside_a_short_last_snippet() -> None:
    assert TimeGrid(NTSC, 17).sampled_frames(offset=8).tolist() == [8, 16]
    assert TimeGrid(NTSC, 40).sampled_frames(offset=8).tolist() == [8, 24, 39]
    assert TimeGrid(NTSC, 1).sampled_frames(offset=15).tolist() == [0]


@pytest.mark.parametrize("frames", [0, 1, 15, 16, 17, 100])
def test_per_frame_has_exactly_one_row_a_frame(frames: int) -> None:
    grid = TimeGrid(NTSC, frames)
    rows = np.arange(grid.num_snippets * 3, dtype=np.float32).reshape(-1, 3)
    spread = grid.per_frame(rows)
    assert spread.shape == (frames, 3)
    assert spread.dtype == np.float32
    assert [row[0] for row in spread] == [3.0 * (frame // 16) for frame in range(frames)]


def test_per_frame_refuses_another_number_of_rows() -> None:
    with pytest.raises(ValueError, match="got 3, expected one per snippet, 2"):
        TimeGrid(NTSC, 17).per_frame(np.zeros(3))


def test_seconds_of_ntsc_frames_are_exact() -> None:
    grid = TimeGrid(NTSC, 30000)
    assert grid.second_of(0) == 0
    assert grid.second_of(30) == 1.001
    assert grid.duration_s == 1001.0
    assert not grid.vfr
    assert grid.frame_at(1.0) == 29
    assert grid.frame_at(1.001) == 30
    assert grid.frame_at(math.nextafter(1.001, 0)) == 29


def test_a_frame_is_found_at_its_own_start_whatever_the_rate() -> None:
    # An average rate as containers report it; its seconds have denominators beyond a million.
    grid = TimeGrid(Fraction(2700000, 90091), 5000)
    assert [grid.frame_at(grid.second_of(frame)) for frame in range(5001)] == list(range(5001))


@settings(deadline=None)
@given(grids(), st.data())
def test_frame_and_second_are_inverse(grid: TimeGrid, data: st.DataObject) -> None:
    frame = data.draw(st.integers(0, grid.num_frames))
    second = grid.second_of(frame)
    assert grid.frame_at(second) == frame
    if frame:
        assert grid.frame_at(math.nextafter(second, -math.inf)) == frame - 1
        assert grid.second_of(frame - 1) < second


@settings(deadline=None)
@given(grids(), st.floats(-1e6, 1e6))
def test_frame_at_is_the_last_frame_that_has_started(grid: TimeGrid, second: float) -> None:
    frame = grid.frame_at(second)
    assert 0 <= frame <= grid.num_frames
    assert frame == 0 or grid.second_of(frame) <= second
    assert frame == grid.num_frames or grid.second_of(frame + 1) > second


def test_variable_rate_interpolates_between_boundaries() -> None:
    grid = variable(9, (0.0, 1.0, 5.0, 5.5))  # 4 frames in 1 s, 4 in 4 s, the last one 0.5 s
    assert grid.vfr
    assert [grid.second_of(frame) for frame in range(10)] == [0, 0.25, 0.5, 0.75, 1, 2, 3, 4, 5, 5.5]
    assert grid.duration_s == 5.5
    assert [grid.frame_at(second) for second in (-1.0, 0.3, 0.999, 1.0, 2.5, 5.4, 5.5, 99.0)] == [
        0,
        1,
        3,
        4,
        5,
        8,
        9,
        9,
    ]


@pytest.mark.parametrize("second", [math.nan, math.inf, -math.inf])
def test_frame_at_refuses_no_number(second: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        TimeGrid(NTSC, 10).frame_at(second)


@pytest.mark.parametrize("frame", [-1, 11])
def test_second_of_refuses_frames_outside(frame: int) -> None:
    with pytest.raises(ValueError, match="not inside"):
        TimeGrid(NTSC, 10).second_of(frame)


@pytest.mark.parametrize("frame", [-1, 10])
def test_snippet_of_refuses_frames_outside(frame: int) -> None:
    with pytest.raises(ValueError, match="not inside"):
        TimeGrid(NTSC, 10).snippet_of(frame)


@pytest.mark.parametrize(("start", "end"), [(-1, 1), (1, 0), (0, 3)])
def test_frames_of_refuses_snippets_outside(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="not inside"):
        TimeGrid(NTSC, 17).frames_of(start, end)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fps": Fraction(0)}, "fps"),
        ({"fps": Fraction(-25)}, "fps"),
        ({"fps": 25.0}, "Fraction"),
        ({"num_frames": -1}, "num_frames"),
        ({"frames_per_snippet": 0}, "frames_per_snippet"),
        ({"boundaries_s": (0.0, 1.0)}, "got 2, expected 3"),
        ({"boundaries_s": (0.0, 1.0, 1.0)}, "increasing"),
        ({"boundaries_s": (0.0, 2.0, 1.0)}, "increasing"),
        ({"boundaries_s": (0.0, 1.0, math.inf)}, "finite"),
        ({"boundaries_s": (0.0, math.nan, 2.0)}, "finite"),
    ],
)
def test_time_grid_refuses(values: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"fps": NTSC, "num_frames": 17}
    TimeGrid(**good)
    with pytest.raises(ValueError, match=message):
        TimeGrid(**(good | values))


@settings(deadline=None)
@given(grids())
def test_edges_are_where_snippets_begin_and_the_last_ends(grid: TimeGrid) -> None:
    edges = [grid.second_of(grid.frames_of(0, count)[1]) for count in range(grid.num_snippets + 1)]
    assert grid.edges_s().dtype == np.float64
    assert grid.edges_s().tolist() == edges


def test_edges_of_no_frames_are_the_start() -> None:
    assert TimeGrid(NTSC, 0).edges_s().tolist() == [0.0]


@settings(deadline=None)
@given(grids())
def test_starts_are_the_second_of_every_frame(grid: TimeGrid) -> None:
    assert grid.starts_s().tolist() == [grid.second_of(frame) for frame in range(grid.num_frames)]
