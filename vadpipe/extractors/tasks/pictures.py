"""Small pictures at given seconds, by jumping from key frame to key frame."""

from __future__ import annotations

from contextlib import closing
from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from vadpipe.extractors.decode_child_link import Link
from vadpipe.extractors.decoders.pyav_file import explained
from vadpipe.extractors.tasks.seeking import Film, Finder

WIDEST = 8
"""Width of a picture in heights, at most; a wider video is squeezed."""


def run(link: Link, request: dict[str, Any]) -> None:
    """Hand over a picture of ``height`` rows for each of the ascending ``seconds``."""
    height: int = request["height"]
    slot_bytes = height * height * WIDEST * 3
    with explained(request["path"]), closing(Film(link, request)) as film:
        finder = Finder(film)
        reformatter = VideoReformatter()
        link.send(t="head", slot_bytes=slot_bytes)
        link.open_ring(slot_bytes)
        for second in request["seconds"]:
            picture = _small(reformatter, finder.at(second), height, _aspect(film))
            link.hand_over(picture, t="picture", h=picture.shape[0], w=picture.shape[1])


def _aspect(film: Film) -> float:
    """Width of a pixel in its heights, where the file tells."""
    ratio = film.stream.sample_aspect_ratio
    return float(ratio) if ratio else 1.0


def _small(reformatter: VideoReformatter, frame: av.VideoFrame, height: int, aspect: float) -> NDArray[np.uint8]:
    """(height, w, 3) RGB, upright, its width as displayed."""
    turned = frame.rotation % 180 == 90
    long, short = (frame.height, frame.width * aspect) if turned else (frame.width * aspect, frame.height)
    width = min(max(round(height * long / short), 1), WIDEST * height)
    across, down = (height, width) if turned else (width, height)
    scaled = reformatter.reformat(frame, across, down, "rgb24", interpolation="AREA", threads=1)
    plane = scaled.planes[0]
    rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(-1, plane.line_size)[:down, : across * 3]
    upright = rows.reshape(down, across, 3)
    return upright if frame.rotation % 90 else np.rot90(upright, frame.rotation // 90)
