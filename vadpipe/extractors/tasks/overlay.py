"""A copy of a video with its score, a timeline and the labels of its intervals drawn on every frame."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from itertools import chain
from typing import Any, cast

import numpy as np

from vadpipe.errors import VideoUnreadable
from vadpipe.extractors.decode_child_link import Link
from vadpipe.extractors.decoders.pyav_file import explained
from vadpipe.extractors.tasks.drawing import Mark, Painter, Scene
from vadpipe.extractors.tasks.lettering import font_files
from vadpipe.extractors.tasks.seeking import Film
from vadpipe.extractors.tasks.sound_track import SoundTrack
from vadpipe.extractors.tasks.writing import Encoder, NotTaken, Output
from vadpipe.tracks import TimeGrid

_TOLD_EVERY = 16

also_read = font_files
"""Fonts may lie in the user's own folders."""


def run(link: Link, request: dict[str, Any]) -> None:
    """Write the drawn copy to ``temporary``, telling how many frames are done."""
    scene = _scene(request)
    for copy_sound in (True, False):
        try:
            with explained(request["path"]), closing(Film(link, request)) as film:
                _write(film, request, scene, lambda done: link.send(t="progress", done=done), copy_sound=copy_sound)
        except NotTaken as reason:
            why = reason
        else:
            return
    raise VideoUnreadable(f"{request['path']}: no copy can be written of it ({why}).")


def _write(film: Film, request: dict[str, Any], scene: Scene, tell: Callable[[int], None], *, copy_sound: bool) -> None:
    frames = film.frames()
    first = next(frames, None)
    if first is None:
        raise VideoUnreadable(f"{request['path']}: no frame of its video stream can be decoded.")
    with Output(request["temporary"], request["shown"], index_first=False) as out:
        encoder = Encoder(out, first, film.stream)
        painter = Painter(scene, encoder.height, encoder.width)
        origin = cast(int, first.pts) if film.counted else film.start_pts
        start_s = origin * film.time_base
        end_s = start_s + Fraction(film.job.max_duration_s)
        with closing(SoundTrack(film.job, out, start_s, end_s, copy=copy_sound)) as sound:
            for count, frame in enumerate(chain([first], frames)):
                at = cast(int, frame.pts) - origin
                copy, planes = encoder.planes(frame)
                painter.paint(planes, count if film.counted else _number(scene.grid, at * film.time_base))
                encoder.encode(copy, at, film.time_base)
                sound.write_until(float(at * film.time_base))
                if count % _TOLD_EVERY == 0:
                    tell(count)
            encoder.finish()
            sound.finish()


def _number(grid: TimeGrid, at: Fraction) -> int:
    """Number of the frame that is shown at a time which its container may have rounded."""
    return grid.frame_at(float(at) + 0.002) if grid.vfr else round(at * grid.fps)


def _scene(request: dict[str, Any]) -> Scene:
    grid = TimeGrid(Fraction(*request["fps"]), request["num_frames"], request["step"], tuple(request["boundaries_s"]))
    calibrated = request["calibrated"]
    return Scene(
        grid,
        np.array(request["anomaly"], np.float32),
        [Mark(*mark) for mark in request["marks"]],
        None if calibrated is None else np.array(calibrated, np.float32),
        request["threshold"],
    )
