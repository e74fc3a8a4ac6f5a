"""Scores beside truth by id: what is cut, padded, left out, refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vadpipe.errors import DataError
from vadpipe.pipeline.evaluate import align


def truth(frames: int, abnormal: int = 0) -> Any:
    return np.arange(frames) < abnormal


def test_by_id_whatever_the_order() -> None:
    scores = {"b": [0.1, 0.2], "a": [0.9, 0.8, 0.7]}
    found, notes = align(scores, {"a": truth(10, 5), "b": truth(8)}, 4)
    assert found.ids == ("a", "b")
    assert found.scores.tolist() == [0.9, 0.8, 0.7, 0.1, 0.2]
    assert found.abnormal.tolist() == [4, 1, 0, 0, 0]
    assert found.normal.tolist() == [0, 3, 2, 4, 4]  # the last snippet of a is short; that is no difference
    assert found.video.tolist() == [0, 0, 0, 1, 1]
    assert (found.differences, notes) == ({}, ())
    turned, _ = align(dict(reversed(scores.items())), {"b": truth(8), "a": truth(10, 5)}, 4)
    assert turned.scores.tolist() == found.scores.tolist()
    assert [part.tolist() for part in found.video_at(1)] == [[0.1, 0.2], [0, 0], [4, 4]]
    assert [part.tolist() for part in found.of([1])] == [[0.1, 0.2], [0, 0], [4, 4], [1, 1]]


def test_one_snippet_too_many_is_cut_and_named() -> None:
    found, notes = align({"a": [0.1, 0.2, 0.9]}, {"a": truth(7, 3)}, 4)
    assert found.scores.tolist() == [0.1, 0.2]
    assert found.differences == {"a": 5}
    assert notes == ("scores and truth differ in length, the tail was cut: 'a' +5 frames",)


def test_one_snippet_too_few_is_padded_and_named() -> None:
    found, notes = align({"a": [0.1, 0.2], "b": [0.3]}, {"a": truth(12, 3), "b": truth(4)}, 4)
    assert found.scores.tolist() == [0.1, 0.2, 0.2, 0.3]
    assert found.differences == {"a": -4}
    assert notes == ("scores and truth differ in length, the tail was padded with the last score: 'a' -4 frames",)


@pytest.mark.parametrize(("rows", "frames", "said"), [(4, 8, r"'a' \+8 frames"), (1, 9, "'a' -5 frames"), (0, 3, "-3")])
def test_more_than_one_snippet_is_refused_by_name(rows: int, frames: int, said: str) -> None:
    scores = {"a": np.zeros(rows), "b": np.array([0.5])}
    with pytest.raises(DataError, match=f"1 videos have truth of another length.*{said}"):
        align(scores, {"a": truth(frames), "b": truth(4)}, 4)


def test_ids_on_one_side_are_left_out_by_name() -> None:
    scores = {"a": [0.5], "only scored": [0.1]}
    found, notes = align(scores, {"a": truth(4), **{f"v{n}": truth(4) for n in range(7)}}, 4)
    assert found.ids == ("a",)
    assert notes == (
        "7 videos with truth have no scores and are left out: 'v0', 'v1', 'v2', 'v3', 'v4' and 2 more",
        "1 scored videos have no truth and are left out: 'only scored'",
    )


def test_nothing_in_common_is_refused() -> None:
    with pytest.raises(DataError, match=r"none of the 1 scored videos .* scores name 'a', truth 'b'"):
        align({"a": [0.5]}, {"b": truth(4)}, 4)


def test_truth_is_zero_or_one() -> None:
    with pytest.raises(DataError, match="'a': truth holds values other than 0 and 1"):
        align({"a": [0.5]}, {"a": [0, 1, 2]}, 4)


def test_videos_without_frames_are_there_without_snippets() -> None:
    found, _ = align({"a": [], "b": [0.5]}, {"a": truth(0), "b": truth(2)}, 4)
    assert found.ids == ("a", "b")
    assert found.video.tolist() == [1]
    assert [len(part) for part in found.video_at(0)] == [0, 0, 0]
