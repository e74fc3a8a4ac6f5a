"""Frame rates from timestamps, by hand; which picture stands for a lost one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from vadpipe.extractors.decode_views import Sampler
from vadpipe.extractors.decoders import Picture
from vadpipe.extractors.decoders.timeline import of_timestamps

MILLISECOND = Fraction(1, 1000)
NTSC = Fraction(30000, 1001)


def milliseconds(fps: Fraction, frames: int) -> list[int]:
    return [round(1000 * frame / fps) for frame in range(frames)]


@pytest.mark.parametrize(
    ("pts", "time_base", "hints", "fps"),
    [
        ([0, 1001, 2002], Fraction(1, 30000), [], NTSC),
        ([7, 9, 11], Fraction(1, 50), [Fraction(50)], Fraction(25)),
        (milliseconds(NTSC, 1000), MILLISECOND, [], NTSC),
        (milliseconds(Fraction(25), 3), MILLISECOND, [Fraction(24)], Fraction(25)),
        (milliseconds(Fraction(17), 400), MILLISECOND, [], Fraction(17)),
        (milliseconds(Fraction(120), 400), MILLISECOND, [Fraction(120)], Fraction(120)),
        ([5], MILLISECOND, [None, Fraction(0), NTSC], NTSC),
        ([0, 10**7], MILLISECOND, [], Fraction(1, 10**4)),  # one frame in three hours
        ([5], MILLISECOND, [], Fraction(1000, 40)),
    ],
)
def test_a_constant_rate_is_exact(
    pts: list[int], time_base: Fraction, hints: list[Fraction | None], fps: Fraction
) -> None:
    timeline = of_timestamps(np.array(pts), 40, time_base, hints)
    assert (timeline.fps, timeline.vfr) == (fps, False)
    assert timeline.starts_s.tolist() == pytest.approx([float(i / fps) for i in range(len(pts) + 1)])


@pytest.mark.parametrize(
    ("pts", "time_base"),
    [
        ([0, 40, 80, 160, 200], MILLISECOND),  # one frame was dropped
        ([0, 1, 2, 4, 5, 6], Fraction(1, 25)),  # the same, where one unit is a whole frame
        ([0, 40, 80, 118, 160, 200], MILLISECOND),  # two milliseconds are more than rounding
    ],
)
def test_a_varying_rate_is_told_from_rounding(pts: list[int], time_base: Fraction) -> None:
    timeline = of_timestamps(np.array(pts), 0, time_base, [Fraction(25)])
    step = 1 if time_base > MILLISECOND else 40
    assert timeline.vfr
    assert timeline.starts_s.tolist() == pytest.approx([float(t * time_base) for t in [*pts, pts[-1] + step]])
    assert timeline.fps == len(pts) / ((pts[-1] + step) * time_base)


def picture(index: int) -> Picture:
    return Picture(index, lambda: np.zeros((1, 1, 3), np.uint8))


@pytest.mark.parametrize(
    ("decoded", "shown", "replaced"),
    [
        (range(10), [0, 4, 8], []),
        ([0, 1, 2, 3, 5, 6, 7, 8, 9], [0, 3, 8], [1]),  # the nearest earlier one
        ([2, 3, 4, 5, 6, 7, 8], [2, 4, 8], [0]),  # none is earlier: the next one
        ([0, 1], [0, 1, 1], [1, 2]),  # the rest is lost
        ([9], [9, 9, 9], [0, 1, 2]),
    ],
)
def test_the_picture_that_stands_for_a_lost_one(decoded: list[int], shown: list[int], replaced: list[int]) -> None:
    sampler = Sampler([0, 4, 8])
    rows = [row for index in decoded for row in sampler.feed(picture(index))]
    rows += list(sampler.finish())
    assert [row for row, _ in rows] == [0, 1, 2]
    assert [chosen.index for _, chosen in rows] == shown
    assert sampler.replaced == replaced
