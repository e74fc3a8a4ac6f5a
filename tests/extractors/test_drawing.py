"""The band, the labels and the letters of an overlay, drawn on plain grey."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from vadpipe.extractors.tasks.drawing import Mark, Painter, Scene
from vadpipe.extractors.tasks.lettering import lines, readable, written
from vadpipe.extractors.tasks.writing import Planes
from vadpipe.tracks import FloatArray, TimeGrid


def grey(height: int, width: int) -> Planes:
    half = (height // 2, width // 2)
    return np.full((height, width), 128, np.uint8), np.full(half, 128, np.uint8), np.full(half, 128, np.uint8)


def scene(scores: list[float], marks: list[Mark], threshold: float | None = None, step: int = 16) -> Scene:
    anomaly: FloatArray = np.array(scores, np.float32)
    return Scene(TimeGrid(Fraction(25), step * len(scores), step), anomaly, marks, None, threshold)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (16, 16), (64, 96), (64, 2), (2, 640), (1080, 1920), (240, 320)])
def test_any_size_can_be_drawn_on(height: int, width: int) -> None:
    marks = [Mark(0, 40, f"a long name {n} " * 4 + "(a note)", f"a long name {n} " * 4, "a note") for n in range(6)]
    painter = Painter(scene([0.1, 0.9, 0.5], marks, 0.5), height, width)
    planes = grey(height, width)
    for frame in (0, 20, 47, 1000, -3):
        painter.paint(planes, frame)
    assert any((plane != 128).any() for plane in planes)


def test_the_strip_is_as_high_as_the_score_and_alarms_are_red() -> None:
    painter = Painter(scene([0.0, 1.0], [], 0.5), 240, 320)
    planes = grey(240, 320)
    painter.paint(planes, 0)
    left = planes[0][-24:-6, 120].astype(int)  # inside the low half: the veil
    right = planes[0][-24:-6, 260].astype(int)  # inside the high half: full
    assert left.max() - left.min() > 40  # the threshold's line
    assert planes[2][-10, 130].astype(int) > planes[2][-10, 60] + 40  # red
    assert right.mean() > left.mean() + 20


def test_the_cursor_moves_from_left_to_right() -> None:
    painter = Painter(scene([0.5] * 4, []), 240, 320)
    columns = []
    for frame in range(64):
        planes = grey(240, 320)
        painter.paint(planes, frame)
        columns.append(int((planes[0][-6:] == 235).all(axis=0).argmax()))
    left, right = painter._strip_left, 320
    assert columns == [left + int(frame / 64 * (right - left)) for frame in range(64)]


def test_a_label_is_there_during_its_interval() -> None:
    painter = Painter(scene([0.5] * 4, [Mark(10, 20, "fall", "fall")]), 240, 320)
    seen = []
    for frame in range(30):
        planes = grey(240, 320)
        painter.paint(planes, frame)
        seen.append(bool((planes[0][:40] != 128).any()))
    assert seen == [10 <= frame < 20 for frame in range(30)]


def test_a_long_video_shows_a_minute_around_now() -> None:
    painter = Painter(scene([0.5] * 1000, []), 64, 96)
    assert painter._window(0) == (0.0, 60.0)
    start, end = painter._window(500)
    assert (start + end) / 2 == pytest.approx(500.5 * 0.64)
    assert painter._window(999)[1] == pytest.approx(640.0)
    np.testing.assert_allclose(Painter(scene([0.5] * 3, []), 64, 96)._window(1), (0.0, 1.92))


def test_a_note_is_shown_however_long_the_name() -> None:
    """Two different notes beside the same name that alone is wider than the picture."""
    pictures = []
    for note in ("zero-shot, uncalibrated", "something else"):
        name = "name " * 60
        planes = grey(240, 320)
        Painter(scene([0.5], [Mark(0, 16, f"{name} ({note})", name, note)]), 240, 320).paint(planes, 0)
        pictures.append(planes[0][:80])
    assert (pictures[0] != pictures[1]).any()


def test_scripts_that_no_font_has_become_codes() -> None:
    assert readable("fight кража", 12)[0] == "fight кража"
    shown, font = readable("\U0001f9ff\ue000\x1b[2J\u202ea", 12)
    assert "U+E000" in shown
    assert shown.isprintable()
    assert written([shown], font, 12).max() == 255


def test_lines_are_broken_between_words_and_cut_with_a_mark() -> None:
    font = readable("a", 12)[1]
    width = math.ceil(font.getlength("one two"))
    assert lines("one two three", font, width, 3) == ["one two", "three"]
    rows = lines("one two three four five six", font, width, 2)
    assert len(rows) == 2
    assert rows[1].endswith("…")
    assert all(font.getlength(row) <= width for row in rows)
    assert all(font.getlength(row) <= width for row in lines("x" * 200, font, width, 9))
    assert lines("", font, width, 2) == []
