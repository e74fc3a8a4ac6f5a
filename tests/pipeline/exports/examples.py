"""Detections small enough to check by hand, and ones that no form may stumble over."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from vadpipe.calibration import Calibration
from vadpipe.detection import Detection
from vadpipe.tracks import Interval, ScoreTrack, TimeGrid, VideoClip

LABELS = ("normal", "fighting", "riot")
ODD_NAMES = (
    "=cmd|' /C calc'!A0",
    "@SUM(1)",
    "-1+1",
    " +1",
    "＝1",
    "'quoted'",
    '"quoted',
    "#1",
    "a=b",
    "a,b;c",
    "<script>alert(1)</script>",
    "</Label><x y='z'>",
    "a --> b & c <00:00:01.000>",
    "&lt;&amp;",
    "{\\an8}\\N",
    "two\nlines\n\nand 1\r\nmore",
    "tab\there",
    "\tfirst",
    "back\\slash\\n",
    "\x1b[31mred\x07",
    "line\u2028end\x85x",
    "turned\u202etxt",
    "   ",
    "Šárka 日本 🥊 a\u0301",
    "NOTE",
    "$video",
    "1",
    "%d {0} %s",
    "no\ufffecharacters\uffff\ufdd0\U0001fffe",
    "a\nb",
    "a\\nb",
)


def grid_of(frames: int, fps: Fraction = Fraction(10), boundaries_s: tuple[float, ...] = ()) -> TimeGrid:
    return TimeGrid(fps, frames, 16, boundaries_s)


def detection(
    name: str, grid: TimeGrid, *spans: tuple[str, int, int, float], path: str | None = None, **fields: Any
) -> Detection:
    """Snippets score 0.25, 0.75, 0.5, and so on again; the spans are (category, first frame, end frame, score)."""
    rows = grid.num_snippets
    labels = tuple(dict.fromkeys([*LABELS, *(span[0] for span in spans)]))
    categories = np.full((rows, len(labels)), 0.125, np.float32)
    scores = ScoreTrack(np.resize(np.array([0.25, 0.75, 0.5], np.float32), rows), categories, labels, grid)
    clip = VideoClip(
        name,
        f"/videos/{name}.mp4" if path is None else path,
        320,
        240,
        grid.fps,
        grid.num_frames,
        grid.duration_s,
        grid.vfr,
    )
    items = tuple(Interval.of_frames(category, start, end, grid, score) for category, start, end, score in spans)
    return Detection(clip, items, scores, **fields)


def gate() -> Detection:
    """4.8 s at 10 frames a second: a fight over all but the first snippet, and a riot nobody trained for within it."""
    calibration = Calibration(0.6, 0.5, 10.0, 3, 5, 1.05, (0.5, 1.0))  # 0.75 -> 0.5, what is under 0.5 -> 0
    provenance = {
        "name": "lec-vad",
        "sha256": "0123456789" + "a" * 54,
        "spec": {"model": "ViT-B/16", "weights": "openai"},
    }
    spans = (("fighting", 16, 48, 0.5), ("riot", 16, 32, -0.125))
    return detection(
        "gate",
        grid_of(48),
        *spans,
        zero_shot=frozenset({"riot"}),
        calibration=calibration,
        provenance=provenance,
        warnings=("dark",),
    )


def quiet() -> Detection:
    return detection("quiet", grid_of(20))


def without_frames() -> Detection:
    return detection("nothing", grid_of(0))


def varying() -> Detection:
    """The first 16 frames take one second, the next 16 eight: frame 16 starts at 1 s, frame 24 at 5 s."""
    return detection("varying", grid_of(32, Fraction(32, 9), (0.0, 1.0, 9.0)), ("riot", 16, 24, 0.25))


def brief() -> Detection:
    """Incidents of 10 microseconds, which milliseconds cannot tell from nothing."""
    return detection("brief", grid_of(32, Fraction(100_000)), ("fighting", 3, 4, 0.5), ("fighting", 20, 21, 0.5))


def namesakes() -> tuple[Detection, ...]:
    """Two videos of one name in two folders."""
    span = ("fighting", 0, 16, 0.5)
    return tuple(detection("gate", grid_of(48), span, path=f"/{folder}/gate.mp4") for folder in "ab")


def odd() -> tuple[Detection, ...]:
    """One video a name: its id, in its path and its category at once, trained and not."""
    return tuple(
        detection(
            name,
            grid_of(48),
            (name, 0, 16, 0.5),
            ("riot", 16, 48, 0.25),
            path=f"/videos/{name}/{name}.mp4",
            zero_shot=frozenset({name} if number % 2 else ()),
        )
        for number, name in enumerate(ODD_NAMES)
    )


def not_utf8() -> Detection:
    """A file whose name is no UTF-8, as Python hands it over."""
    return detection("gate", grid_of(48), ("riot", 0, 16, 0.5), path="/videos/\udc80/gate.mp4")


def everything() -> tuple[Detection, ...]:
    return (gate(), quiet(), without_frames(), varying(), brief(), *namesakes(), *odd(), not_utf8())
