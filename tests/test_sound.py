"""What a state of sound means, and which tracks may carry states."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from vadpipe.sound import (
    ABSENT,
    DAMAGED,
    PRESENT,
    SILENT,
    SOUND_STATES,
    UNDECODABLE,
    heard_rows,
    kept_warnings,
    without_sound,
)
from vadpipe.spec import FeatureSpec
from vadpipe.tracks import FeatureTrack, TimeGrid

STATES = np.array([PRESENT, SILENT, ABSENT, UNDECODABLE, ABSENT], np.uint8)
DATA = np.ones((5, 3), np.float32) * (STATES < 2)[:, None]
TRACK = FeatureTrack(
    DATA, TimeGrid(Fraction(25), 80), FeatureSpec("sound", 3, "test", "random:0"), "clip", states=STATES
)


def test_silence_is_heard_and_what_is_not_there_is_not() -> None:
    assert [SOUND_STATES[state] for state in STATES[:4]] == list(SOUND_STATES)
    assert heard_rows(STATES).tolist() == [True, True, False, False, False]


def test_it_is_said_in_words() -> None:
    assert without_sound(STATES) == (
        "2 of 5 snippets have no sound, 1 of 5 snippets have sound that cannot be decoded, 1 of 5 snippets are silent"
    )
    assert without_sound(np.zeros(5, np.uint8)) == ""


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (STATES.astype(np.int64), "int64"),
        (STATES[:4], r"\(4,\), expected uint8 \(5,\)"),
        (np.full(5, 4, np.uint8), "got 4, expected 0 … 3"),
        (np.full(5, ABSENT, np.uint8), "must be zeros"),
    ],
)
def test_states_that_do_not_fit_the_rows_cannot_be_built(states: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TRACK, states=states)


def test_crops_share_their_states() -> None:
    crops = np.stack([DATA, 2 * DATA])
    assert replace(TRACK, data=crops).states is STATES
    crops[1, 2] = 1
    with pytest.raises(ValueError, match="must be zeros"):
        replace(TRACK, data=crops)


def test_a_track_keeps_what_was_said_of_its_own_stream() -> None:
    said = ["the file ends early", f"3 {DAMAGED}", "x" * 900, *(f"remark {number}" for number in range(20))]
    kept = kept_warnings(said, of_sound=False)
    assert kept[:3] == ("the file ends early", "x" * 300, "remark 0")
    assert len(kept) == 10
    assert kept_warnings(said, of_sound=True) == (f"3 {DAMAGED}",)
