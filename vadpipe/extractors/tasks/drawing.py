"""What an overlay looks like: a band with score and timeline at the bottom, labels at the top, drawn on YUV planes.

A drawn part is kept as a patch, already in YUV and multiplied by its opacity, and made anew only when the snippet or
the labels change; a frame then costs the blending of small regions and the cursor.

Legend: H, W the picture, both even; h, w a patch, both even.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vadpipe.extractors.tasks.lettering import line_height, lines, readable, written
from vadpipe.extractors.tasks.writing import Planes
from vadpipe.tracks import FloatArray, TimeGrid

WINDOW_S = 60.0
"""Seconds that the timeline shows; of a shorter video, all."""

Colour = tuple[int, int, int]

_WHITE, _DARK, _GREY = (255, 255, 255), (16, 18, 22), (130, 135, 145)
_CALM, _ALARM, _LINE = (70, 160, 230), (240, 80, 60), (255, 205, 60)
_PALETTE: tuple[Colour, ...] = (
    (196, 48, 40),
    (160, 90, 0),
    (120, 60, 170),
    (0, 110, 140),
    (30, 120, 50),
    (170, 30, 110),
)
_VEIL = 0.72
_MOST_LABELS = 4


@dataclass(frozen=True, slots=True)
class Mark:
    """An interval: frames [start, end), what people are shown of its category, and the two parts of that."""

    start: int
    end: int
    shown: str
    category: str
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What is drawn: (T,) anomaly scores on a grid; with a calibration also (T,) calibrated scores and a threshold."""

    grid: TimeGrid
    anomaly: FloatArray
    marks: Sequence[Mark]
    calibrated: FloatArray | None = None
    threshold: float | None = None


class Patch:
    """An RGB picture with opacity, ready to be blended into YUV 4:2:0 planes at an even place."""

    def __init__(self, rgb: NDArray[np.float32], opacity: NDArray[np.float32]) -> None:
        """(h, w, 3) 0 … 255 and (h, w) 0 … 1, h and w even."""
        self.height, self.width = opacity.shape
        red, green, blue = (rgb[..., place] for place in range(3))
        planes = (  # BT.601, limited range
            16 + 0.257 * red + 0.504 * green + 0.098 * blue,
            128 - 0.148 * red - 0.291 * green + 0.439 * blue,
            128 + 0.439 * red - 0.368 * green - 0.071 * blue,
        )
        self._own = [_fixed(_halved(plane * opacity, place)) for place, plane in enumerate(planes)]
        self._through = [_fixed(_halved(1 - opacity, place) * 256) for place in range(3)]

    def blend(self, planes: Planes, top: int, left: int) -> None:
        """Draw it with its corner at (top, left), both even; it has to fit."""
        for place, plane in enumerate(planes):
            step = 1 if place == 0 else 2
            rows = slice(top // step, (top + self.height) // step)
            region = plane[rows, left // step : (left + self.width) // step]
            region[:] = (region * self._through[place] >> 8) + self._own[place]


class Painter:
    """Draws a scene on frames of H x W pixels, in any order, quickest in theirs."""

    def __init__(self, scene: Scene, height: int, width: int) -> None:
        self._scene, self._height, self._width = scene, height, width
        self._size = min(max(height // 24, 9), 40)
        two_lines = scene.calibrated is not None
        rows = line_height(self._size) * (2 if two_lines else 1)
        self._band_height = min(_even(max(rows + 2 + rows // 3, height // 9)), height & ~1)
        self._strip_left = min(_even(round(self._size * 5.2) + 8), width)
        self._edges_s = scene.grid.edges_s()
        names = sorted({mark.category for mark in scene.marks})
        self._colours = {name: _PALETTE[place % len(_PALETTE)] for place, name in enumerate(names)}
        self._band: tuple[int, Patch] | None = None
        self._labels: tuple[tuple[Mark, ...], list[Patch]] = ((), [])

    def paint(self, planes: Planes, frame: int) -> None:
        """Draw on the planes of frame number ``frame`` (from 0; the last one's again beyond the end)."""
        grid = self._scene.grid
        if not grid.num_frames:
            return
        frame = min(max(frame, 0), grid.num_frames - 1)
        snippet = grid.snippet_of(frame)
        if self._band is None or self._band[0] != snippet:
            self._band = (snippet, self._drawn_band(snippet))
        top = self._height - self._band_height
        self._band[1].blend(planes, top, 0)
        self._draw_cursor(planes[0], frame, snippet)
        now = tuple(mark for mark in self._scene.marks if mark.start <= frame < mark.end)
        if now != self._labels[0]:
            self._labels = (now, self._drawn_labels(now))
        at = 4 if self._height > 64 else 0
        for patch in self._labels[1]:
            if at + patch.height <= top:
                patch.blend(planes, at, 0)
                at += patch.height + 2

    def _window(self, snippet: int) -> tuple[float, float]:
        """Seconds [from, to) that the timeline shows while ``snippet`` is on the screen."""
        length = float(self._edges_s[-1])
        span = min(length, WINDOW_S)
        middle = float(self._edges_s[snippet] + self._edges_s[snippet + 1]) / 2
        start = min(max(middle - span / 2, 0.0), length - span)
        return start, start + span

    def _drawn_band(self, snippet: int) -> Patch:
        height, width = self._band_height, self._width
        rgb = np.empty((height, width, 3), np.float32)
        rgb[:] = _DARK
        opacity = np.full((height, width), _VEIL, np.float32)
        self._draw_score(rgb, opacity, snippet)
        if width - self._strip_left > 8 and height > 12:
            self._draw_strip(rgb[:, self._strip_left :], opacity[:, self._strip_left :], snippet)
        return Patch(rgb, opacity)

    def _draw_score(self, rgb: NDArray[np.float32], opacity: NDArray[np.float32], snippet: int) -> None:
        """The score as a bar along the bottom of its box, and as a number."""
        score = float(self._scene.anomaly[snippet])
        texts = [f"{score:.2f}"]
        if self._scene.calibrated is not None:
            texts.append(f"cal. {self._scene.calibrated[snippet]:.2f}")
        limit = self._scene.threshold
        colour = _ALARM if score >= (0.5 if limit is None else limit) else _CALM
        right = self._strip_left - 6
        filled = round(score * (right - 4))
        thick = max(self._band_height // 7, 3)
        rgb[-thick - 2 : -2, 4:right], opacity[-thick - 2 : -2, 4:right] = _GREY, 1.0
        rgb[-thick - 2 : -2, 4 : 4 + filled] = colour
        if limit is not None:
            rgb[-thick - 4 :, 4 + round(min(limit, 1.0) * (right - 5))] = _LINE
        _stamp(rgb, opacity, written(texts, readable("0", self._size)[1], self._size), 1, 5, _WHITE)

    def _draw_strip(self, rgb: NDArray[np.float32], opacity: NDArray[np.float32], snippet: int) -> None:
        """The score over time, intervals above it, the threshold across it."""
        height, width = opacity.shape
        start, end = self._window(snippet)
        times = start + (np.arange(width) + 0.5) / width * (end - start)
        columns = np.clip(np.searchsorted(self._edges_s, times, "right") - 1, 0, len(self._scene.anomaly) - 1)
        scores = self._scene.anomaly[columns]
        head = max(6, height // 9)
        room = height - head - 3
        level = np.arange(room)[:, None] >= room - np.maximum(np.round(scores * room), 1)
        limit = self._scene.threshold
        hot = scores >= (0.5 if limit is None else limit)
        area = np.where(hot[:, None], _rgb(_ALARM), _rgb(_CALM))
        body, body_opacity = rgb[head : head + room], opacity[head : head + room]
        body[:] = np.where(level[..., None], area[None], body)
        body_opacity[level] = 0.95
        if limit is not None:
            thick = max(1, height // 48)
            row = min(max(room - round(min(limit, 1.0) * room), 0), room - thick)
            body[row : row + thick, np.arange(width) % (6 * thick) < 4 * thick] = _LINE
            body_opacity[row : row + thick] = 1.0
        for mark in self._scene.marks:
            inside = (columns >= mark.start // self._step) & (columns <= (mark.end - 1) // self._step)
            rgb[1 : head - 1, inside], opacity[1 : head - 1, inside] = self._colours[mark.category], 1.0

    @property
    def _step(self) -> int:
        return self._scene.grid.frames_per_snippet

    def _draw_cursor(self, luma: NDArray[np.uint8], frame: int, snippet: int) -> None:
        start, end = self._window(snippet)
        width = self._width - self._strip_left
        if width <= 8 or end <= start:
            return
        second = self._scene.grid.second_of(frame)
        thick = max(2, width // 500)
        column = self._strip_left + min(max(int((second - start) / (end - start) * width), 0), width - thick)
        top = self._height - self._band_height
        luma[top:, column : column + thick] = 235

    def _drawn_labels(self, marks: tuple[Mark, ...]) -> list[Patch]:
        """One patch for each different label."""
        different = {mark.shown: mark for mark in marks}
        return [self._drawn_label(mark) for mark in list(different.values())[:_MOST_LABELS]]

    def _drawn_label(self, mark: Mark) -> Patch:
        room = self._width - 12
        text, font = readable(mark.shown, self._size)
        rows = lines(text, font, room, 2)
        if mark.note and not rows[-1].endswith(mark.note + ")"):  # cut off: the note must be seen, the name may not
            name, _ = readable(mark.category, self._size)
            rows = [*lines(name, font, room, 1), *lines(f"({mark.note})", font, room, 2)]
        coverage = written(rows or ["?"], font, self._size)[:, :room]
        height, width = _even(coverage.shape[0] + 5), min(_even(coverage.shape[1] + 11), self._width)
        rgb = np.empty((height, width, 3), np.float32)
        rgb[:] = self._colours[mark.category]
        opacity = np.full((height, width), 0.85, np.float32)
        _stamp(rgb, opacity, coverage, 2, 5, _WHITE)
        return Patch(rgb, opacity)


def _stamp(
    rgb: NDArray[np.float32],
    opacity: NDArray[np.float32],
    coverage: NDArray[np.uint8],
    top: int,
    left: int,
    colour: Colour,
) -> None:
    """Put text of one colour on a picture, cut off where it does not fit."""
    height, width = opacity.shape
    ink = coverage[: max(height - top, 0), : max(width - left, 0)].astype(np.float32) / 255
    rows, columns = slice(top, top + ink.shape[0]), slice(left, left + ink.shape[1])
    rgb[rows, columns] += ink[..., None] * (_rgb(colour) - rgb[rows, columns])
    opacity[rows, columns] += ink * (1 - opacity[rows, columns])


def _halved(plane: NDArray[np.float32], place: int) -> NDArray[np.float32]:
    """Means of 2 x 2 pixels for the colour planes (1 and 2)."""
    if place == 0:
        return plane
    height, width = plane.shape
    halved: NDArray[np.float32] = plane.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    return halved


def _rgb(colour: Colour) -> NDArray[np.float32]:
    return np.array(colour, np.float32)


def _fixed(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    return np.round(values).astype(np.uint16)


def _even(length: int) -> int:
    return length + length % 2
