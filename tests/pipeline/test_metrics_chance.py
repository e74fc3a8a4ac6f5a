"""The chance level of mAP: proposals keep all but their place; expected values follow from counting places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from vadpipe.errors import DataError
from vadpipe.pipeline.metrics import StrictMap, chance_map
from vadpipe.tracks import Interval

Spans = Mapping[str, Sequence[Interval]]


def span(start: int, end: int, score: float = 1.0, category: str = "riot") -> Interval:
    return Interval(category, start / 25, end / 25, start, end, score)


def test_chance_keeps_lengths_and_moves_places() -> None:
    # A proposal of 10 frames, and the segment is one of the 3 places of a video of 12: starts 0, 1 and 2 are equally
    # likely, and each reaches IoU 0.5 (8 of 12 frames at the least); at 0.7 two of three do (9 of 11), at 0.9 one.
    result = chance_map({"a": [span(0, 10)]}, {"a": [span(0, 10)]}, {"a": 12}, ["riot"], (0.5, 0.7, 0.9), repeats=2000)
    assert result.per_class["riot"] == pytest.approx((1.0, 2 / 3, 1 / 3), abs=0.05)
    assert result.mean == result.per_class["riot"]


def test_chance_chooses_among_videos_that_are_long_enough() -> None:
    # Of five videos two can hold 10 frames, and both only in one place.
    frames = {"a": 10, "b": 9, "c": 10, "d": 0, "e": 1}
    truth: Spans = {"a": [span(0, 10)], "b": [], "c": [], "d": [], "e": []}
    result = chance_map({"c": [span(0, 10)]}, truth, frames, ["riot"], (1.0,), repeats=2000)
    assert result.mean[0] == pytest.approx(0.5, abs=0.05)


def test_chance_keeps_categories_and_scores() -> None:
    # Both proposals always fit somewhere right; each category is claimed by its own proposal alone.
    truth = {"a": [span(0, 10), span(0, 10, category="theft"), span(0, 10, category="arson")]}
    predicted = {"a": [span(0, 10, 0.9), span(0, 5, 0.1), span(0, 10, 0.5, "theft"), span(0, 10, 0.5, "abuse")]}
    result = chance_map(predicted, truth, {"a": 10}, ["riot", "theft", "arson", "abuse"], (1.0,), repeats=3)
    assert result == StrictMap((1.0,), {"riot": (1.0,), "theft": (1.0,), "arson": (0.0,)}, ("abuse",))


def test_chance_is_the_same_for_a_seed_whatever_the_order() -> None:
    truth = {"a": [span(20, 40)], "b": [span(0, 30)]}
    predicted = {"a": [span(0, 10), span(20, 60)], "b": [span(5, 25)]}
    turned = {"b": predicted["b"], "a": predicted["a"][::-1]}
    frames = {"b": 100, "a": 200, "unused": 5}
    first = chance_map(predicted, truth, frames, ["riot"], (0.1,))
    assert chance_map(turned, truth, frames, ["riot"], (0.1,)) == first
    assert chance_map(predicted, truth, frames, ["riot"], (0.1,), seed=1) != first


@pytest.mark.parametrize(
    ("frames", "message"), [({}, "'a' first"), ({"b": 20}, "'a' first"), ({"a": 9}, "ends after the last frame")]
)
def test_chance_needs_the_lengths(frames: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        chance_map({"a": [span(0, 10)]}, {"a": [span(0, 5)]}, frames, ["riot"])


def test_chance_needs_a_draw() -> None:
    with pytest.raises(ValueError, match="repeats"):
        chance_map({}, {"a": [span(0, 5)]}, {"a": 5}, ["riot"], repeats=0)
