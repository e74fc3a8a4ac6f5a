"""The pictures are written, of a sane size, and show what they are given."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vadpipe.errors import UsageError
from vadpipe.pipeline.pages.timeline import SUFFIXES, draw_timeline, draw_training_curve
from vadpipe.tracks import Interval, ScoreTrack, TimeGrid

LABELS = ("normal", "fighting", "explosion")
ROWS = [{"epoch": float(e), "loss_total": 1 / e, "frame_ap": 0.3 + 0.1 * e, "video_$x$": 0.5} for e in range(1, 5)]


def track(frames: int = 250) -> ScoreTrack:
    grid = TimeGrid(Fraction(10), frames, 16)
    anomaly = np.linspace(0.1, 0.9, grid.num_snippets).astype(np.float32)
    return ScoreTrack(anomaly, np.full((grid.num_snippets, 3), 1 / 3, np.float32), LABELS, grid)


def span(category: str, start: int, end: int, score: float = 1.0) -> Interval:
    return Interval.of_frames(category, start, end, TimeGrid(Fraction(10), 250, 16), score)


FOUND = (span("fighting", 30, 80, 0.83), span("explosion", 240, 250, 0.31), span("explosion", 100, 104, 0.5))
TRUE = (span("fighting", 40, 90), span("a $strange_1$ category", 200, 230))


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def text_of(path: Path) -> str:
    """Everything an SVG says: matplotlib keeps each text as a comment beside its outlines."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_kind_of_picture_is_written(tmp_path: Path, suffix: str) -> None:
    draw_timeline(tmp_path / f"t{suffix}", track(), FOUND, TRUE, "clip", "10 fps", "untrained", threshold=0.5)
    draw_training_curve(tmp_path / f"c{suffix}", ROWS)
    magic = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    for name in ("t", "c"):
        assert (tmp_path / f"{name}{suffix}").read_bytes().startswith(magic)
    assert len(list(tmp_path.iterdir())) == 2


def test_png_has_a_sane_size_and_grows_with_its_lanes(tmp_path: Path) -> None:
    draw_timeline(tmp_path / "few.png", track(), (), TRUE[:1])
    draw_timeline(tmp_path / "many.png", track(), FOUND, TRUE)
    few, many = pixels(tmp_path / "few.png"), pixels(tmp_path / "many.png")
    assert few.shape[1] == many.shape[1] == 1200
    assert 400 < few.shape[0] < many.shape[0] < 900


def test_names_with_dollars_titles_notes_and_scores_are_written_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "t.svg"
    draw_timeline(path, track(), FOUND, TRUE, "v=$a_1$ $b", "10 fps $", "untrained $encoder$", threshold=0.25)
    said = text_of(path)
    for text in ("v=$a_1$ $b", "10 fps $", "untrained $encoder$", "a $strange_1$ cat…", "0.83", "threshold 0.25"):
        assert text in said
    assert "true incident" in said
    draw_timeline(path, track(), FOUND)
    assert "true incident" not in text_of(path)
    assert "threshold" not in text_of(path)


@pytest.mark.parametrize("frames", [0, 1, 16, 17, 250])
def test_any_number_of_snippets_can_be_drawn_without_intervals(tmp_path: Path, frames: int) -> None:
    draw_timeline(tmp_path / "t.svg", track(frames), ())
    said = text_of(tmp_path / "t.svg")
    assert "no incident found" in said
    assert ("no snippets" in said) is (frames == 0)


def test_what_is_found_is_drawn_where_it_was_found(tmp_path: Path) -> None:
    blue = (0x00, 0x72, 0xB2)  # the first category's colour
    columns = []
    for start in (0, 125):
        draw_timeline(tmp_path / "t.png", track(), [span("fighting", start, start + 125, 0.4)])
        columns.append(np.nonzero((pixels(tmp_path / "t.png") == blue).all(axis=2).any(axis=0))[0])
    left, right = columns
    assert abs(left.max() - right.min()) <= 2
    assert abs((left.max() - left.min()) - (right.max() - right.min())) <= 2
    assert left.max() - left.min() > 400


def test_the_same_input_gives_the_same_picture(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        written = set()
        for _ in range(2):
            draw_timeline(tmp_path / f"t{suffix}", track(), FOUND, TRUE, "clip")
            written.add((tmp_path / f"t{suffix}").read_bytes())
        assert len(written) == 1


def test_training_curve_separates_losses_from_scores_and_bears_gaps(tmp_path: Path) -> None:
    rows = [dict(row) for row in ROWS]
    rows[1]["frame_ap"] = float("nan")
    del rows[2]["loss_total"]
    draw_training_curve(tmp_path / "c.svg", rows)
    said = text_of(tmp_path / "c.svg").splitlines()
    for text in ("loss", "score", "epoch", "loss_total", "frame_ap", "video_$x$"):
        assert text in said
    draw_training_curve(tmp_path / "one.svg", [{"epoch": 1.0, "loss_total": 0.7}])
    assert "score" not in text_of(tmp_path / "one.svg").splitlines()


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'\.bmp'"):
        draw_timeline(tmp_path / "t.bmp", track(), ())
    with pytest.raises(UsageError, match="no epochs"):
        draw_training_curve(tmp_path / "c.png", [])
    assert list(tmp_path.iterdir()) == []
