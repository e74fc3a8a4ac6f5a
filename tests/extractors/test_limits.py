"""Limits of a decoder as a user changes them, and that messages name the option that does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.extractors.painted_videos import write
from vadpipe.errors import UsageError, VideoTooLarge, VideoUnreadable
from vadpipe.extractors import decode_child
from vadpipe.extractors.decoders import Tally
from vadpipe.extractors.limits import Limits, parse_limits
from vadpipe.extractors.media import probe


def test_named_limits_change_and_the_others_stay() -> None:
    assert parse_limits([]) == Limits()
    changed = parse_limits(["max_corrupt_share=0.5", "memory_bytes=8e9", "stall_s=90.5"])
    assert changed == Limits(max_corrupt_share=0.5, memory_bytes=8_000_000_000, stall_s=90.5)
    assert isinstance(changed.memory_bytes, int)
    assert parse_limits(["max_corrupt_share=1"]).max_corrupt_share == 1


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["stall_s"], "expected NAME=VALUE with one of .*stall_s=60"),
        (["patience=3"], "max_corrupt_share=0.1"),
        (["stall_s=5", "stall_s=6"], "given twice"),
        (["stall_s=long"], "got 'long', expected a number over 0"),
        (["stall_s=inf"], "at most 1e"),
        (["stall_s=nan"], "over 0"),
        (["max_pixels=0"], "a whole number over 0"),
        (["max_pixels=10.5"], "a whole number"),
        (["max_corrupt_share=1.1"], "at most 1"),
        (["queue_slots=-1"], "over 0"),
    ],
)
def test_a_limit_that_cannot_be(texts: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_limits(texts)


def test_what_is_refused_names_the_option(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 50)
    with pytest.raises(VideoTooLarge, match="--limit max_pixels=NUMBER"):
        probe(path, limits=parse_limits(["max_pixels=100"]))
    with pytest.raises(VideoTooLarge, match="--limit max_duration_s=SECONDS"):
        probe(path, limits=parse_limits(["max_duration_s=1"]))


def test_too_much_damage_names_the_option() -> None:
    class Source:
        tally = Tally(lost_frames=5)
        facts = type("Facts", (), {"num_frames": 20})

    source: Any = Source()  # as far as the check looks
    request = {"path": "a.mp4", "max_corrupt_share": 0.2}
    with pytest.raises(VideoUnreadable, match=r"5 of 20 frames.*--limit max_corrupt_share=SHARE"):
        decode_child.check_damage(source, request)
    decode_child.check_damage(source, request | {"max_corrupt_share": 0.3})
