"""Which frames of a video a request wants, in which views; runs in decoder children.

Legend: N frames of the video, T snippets.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.extractors import geometry
from vadpipe.extractors.decoders import Picture
from vadpipe.tracks import TimeGrid


class Sampler:
    """Picks the wanted frames (sorted indices) and fills in for those that never come.

    replaced
        Places among the wanted frames, in order, for which another picture stands.
    """

    def __init__(self, wanted: list[int]) -> None:
        self.replaced: list[int] = []
        self._wanted = wanted
        self._place = 0
        self._good: Picture | None = None

    def feed(self, picture: Picture) -> Iterator[tuple[int, Picture]]:
        """Places that are settled now that ``picture`` is here, each with the picture that stands for it."""
        while self._place < len(self._wanted) and self._wanted[self._place] < picture.index:
            yield self._fill(self._good or picture)
        if self._place < len(self._wanted) and self._wanted[self._place] == picture.index:
            yield self._place, picture
            self._place += 1
        self._good = picture

    def finish(self) -> Iterator[tuple[int, Picture]]:
        """The places after the last good frame, which stands for them."""
        while self._place < len(self._wanted) and self._good is not None:
            yield self._fill(self._good)

    def _fill(self, picture: Picture) -> tuple[int, Picture]:
        self.replaced.append(self._place)
        self._place += 1
        return self._place - 1, picture


def wanted_frames(request: dict[str, Any], num_frames: int) -> NDArray[np.int64]:
    """Sorted frames that any view wants: one per snippet, all of them, or none where there are no views."""
    if not request["views"]:
        return np.zeros(0, np.int64)
    if any(view["every_frame"] for view in request["views"]):
        return np.arange(num_frames, dtype=np.int64)
    return _grid(request, num_frames).sampled_frames(request["offset"])


def picture_bytes(request: dict[str, Any], height: int, width: int) -> int:
    """Bytes of the largest picture of all views, for frames of ``height`` x ``width``; 0 without views."""
    sizes = [geometry.output_size(view["geometry"]) or (height, width) for view in request["views"]]
    return max((h * w * 3 for h, w in sizes), default=0)


class Cutter:
    """Cuts wanted frames to the views that want them: a picture is converted once, and resized once per geometry."""

    def __init__(self, request: dict[str, Any], num_frames: int) -> None:
        self._step: int = request["frames_per_snippet"]
        self._views = request["views"]
        self._sampled = _grid(request, num_frames).sampled_frames(request["offset"])
        self._picture: Picture | None = None
        self._rgb: NDArray[np.uint8] | None = None
        self._cut: dict[str, NDArray[np.uint8]] = {}

    def row_of(self, frame: int) -> int:
        """Snippet that holds a frame."""
        return frame // self._step

    def views_of(self, frame: int, picture: Picture) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """View and (h, w, 3) image for each view that wants ``frame``, for which ``picture`` stands."""
        sampled = self._sampled[self.row_of(frame)] == frame
        for number, view in enumerate(self._views):
            if sampled or view["every_frame"]:
                yield number, self._image(picture, view["geometry"])

    def _image(self, picture: Picture, name: str) -> NDArray[np.uint8]:
        if self._rgb is None or picture is not self._picture:
            self._picture, self._rgb, self._cut = picture, picture.rgb(), {}
        if name not in self._cut:
            self._cut[name] = geometry.apply(self._rgb, name)
        return self._cut[name]


def _grid(request: dict[str, Any], num_frames: int) -> TimeGrid:
    # which frames stand for a snippet depends on their count, not on the rate
    return TimeGrid(Fraction(1), num_frames, request["frames_per_snippet"])
