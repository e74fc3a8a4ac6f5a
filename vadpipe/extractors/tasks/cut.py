"""Clips of a video: copied packet by packet where that is possible, else decoded and encoded anew.

A copy has to begin at a key frame. What lies between that and the clip's start is in the file, but its edit list hides
it, so that players start at the right frame. Where the key frame is more than :data:`LONGEST_LEAD_S` before the start,
or MP4 does not take the stream, the clip is encoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from typing import Any, cast

import av

from vadpipe.errors import VideoUnreadable
from vadpipe.extractors.decode_child_link import Link
from vadpipe.extractors.decoders.pyav_file import explained
from vadpipe.extractors.tasks.seeking import Film, Finder
from vadpipe.extractors.tasks.sound_track import SoundTrack
from vadpipe.extractors.tasks.writing import Encoder, NotTaken, Output

COPIED = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})
LONGEST_LEAD_S = 10.0
_BACK_S = (0.0, 2.0, LONGEST_LEAD_S)
_STARTS_WITHIN_S = 0.05


def run(link: Link, request: dict[str, Any]) -> None:
    """Write each of ``cuts`` (start_s, end_s, temporary file, its later name, title); say so, and why if encoded."""
    with explained(request["path"]), closing(Film(link, request)) as film:
        for start_s, end_s, temporary, shown, title in request["cuts"]:
            piece = _Piece(film, start_s, end_s, temporary, shown, title)
            link.send(t="cut", encoded=piece.write())


class _Piece:
    """One clip that is to be written."""

    def __init__(self, film: Film, start_s: float, end_s: float, temporary: str, shown: str, title: str) -> None:
        self._film, self._start_s, self._temporary, self._shown = film, start_s, temporary, shown
        self._title = title
        self._target, self._end = film.pts_at(start_s), film.pts_before(end_s)

    def write(self) -> str:
        """Copy the clip and give '', or encode it and give the reason."""
        try:
            self._copy()
        except NotTaken as reason:
            why = str(reason)
        else:
            return ""
        try:
            self._encode(copy_sound=True)
        except NotTaken:
            try:
                self._encode(copy_sound=False)
            except NotTaken as reason:
                raise VideoUnreadable(f"{self._film.job.path}: no clip can be made of it ({reason}).") from reason
        return why

    def _copy(self) -> None:
        film = self._film
        packets, origin = self._sought()
        with Output(self._temporary, self._shown, index_first=True, title=self._title) as out:
            try:
                stream = out.container.add_stream_from_template(film.stream)
            except (ValueError, av.error.FFmpegError) as error:
                raise NotTaken(str(error)) from error
            with closing(self._sound(out, origin)) as sound:
                last: int | None = None
                for packet in _up_to(_with_dts(packets), self._end):
                    if packet.is_discard and packet.pts >= origin:
                        raise NotTaken("its edit list hides frames midway")
                    packet.pts, packet.dts = packet.pts - origin, packet.dts - origin
                    if last is not None and packet.dts <= last:
                        raise NotTaken("the times of its packets do not ascend")
                    last, packet.stream = packet.dts, stream
                    out.mux([packet])
                    sound.write_until(float(last * film.time_base))
                sound.finish()
        _check(self._temporary)

    def _encode(self, *, copy_sound: bool) -> None:
        film, finder = self._film, Finder(self._film)
        first = finder.at(self._start_s)
        origin = cast(int, first.pts)
        with Output(self._temporary, self._shown, index_first=True, title=self._title) as out:
            encoder = Encoder(out, first, film.stream)
            with closing(self._sound(out, origin, copy=copy_sound)) as sound:
                for frame in finder.onward():
                    at = cast(int, frame.pts) - origin
                    if at and at + origin >= self._end:
                        break
                    encoder.encode(encoder.planes(frame)[0], at, film.time_base)
                    sound.write_until(float(at * film.time_base))
                encoder.finish()
                sound.finish()

    def _sought(self) -> tuple[Iterator[Any], int]:
        """Packets from the key frame before the start on, and the timestamp of the frame that is shown there."""
        film = self._film
        context = film.stream.codec_context
        if (name := context.codec.canonical_name) not in COPIED:
            raise NotTaken(f"{name} is not copied into MP4")
        if film.counted and context.reorder_depth:
            raise NotTaken("AVI does not tell the times of B frames")
        for back_s in _BACK_S:
            film.seek(self._target - round(back_s / film.time_base))
            packets = film.packets()
            if lead := _lead(packets, self._target, round(LONGEST_LEAD_S / film.time_base)):
                return chain(lead, packets), max(packet.pts for packet in lead if packet.pts <= self._target)
        raise NotTaken(f"no key frame within {LONGEST_LEAD_S:g} s before its start")

    def _sound(self, out: Output, origin: int, *, copy: bool = True) -> SoundTrack:
        tick = self._film.time_base
        return SoundTrack(self._film.job, out, origin * tick, max(self._end, origin + 1) * tick, copy=copy)


def _lead(packets: Iterator[Any], target: int, longest: int) -> list[Any]:
    """Packets from the last key frame up to ``target`` to the first packet that is decoded later; none if too long."""
    lead: list[Any] = []
    for packet in packets:
        if packet.pts is None:
            raise NotTaken("its packets do not tell their times")
        if packet.is_keyframe and packet.pts <= target:
            lead = [packet]
        elif lead and packet.pts > lead[0].pts:  # earlier ones belong to the group before, which is not there
            lead.append(packet)
        if packet.dts is not None and packet.dts > target:
            break
        if lead and packet.pts - lead[0].pts > longest:
            lead = []  # a nearer key frame may follow; long ones are not kept
    return lead if lead and target - lead[0].pts <= longest else []


def _with_dts(packets: Iterator[Any]) -> Iterator[Any]:
    """Fill in decoding times that the container leaves out at first (Matroska), backwards from the first known one."""
    waiting: list[Any] = []
    for packet in packets:
        if packet.pts is None:
            raise NotTaken("its packets do not tell their times")
        if packet.dts is None:
            waiting.append(packet)
            continue
        for back, early in enumerate(reversed(waiting), 1):
            early.dts = packet.dts - back * max(packet.duration or 1, 1)
        yield from waiting
        waiting = []
        yield packet
    if waiting:
        raise NotTaken("its packets do not tell when they are decoded")


def _up_to(packets: Iterator[Any], end: int) -> Iterator[Any]:
    """Packets of the frames before ``end``; a later one where such a frame refers to it, and then all in between."""
    held: list[Any] = []
    for packet in packets:
        if packet.dts >= end:
            return
        held.append(packet)
        if packet.pts < end:
            end = max(end, *(one.pts for one in held))
            yield from held
            held = []


def _check(temporary: str) -> None:
    """NotTaken where the copy does not begin with a good frame at its time 0, as far as this FFmpeg can tell."""
    try:
        with av.open(f"file:{temporary}", format="mp4") as container:
            first = next(container.decode(*container.streams.video[:1]), None) if container.streams.video else None
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError as error:
        raise NotTaken(f"the copy cannot be read ({error.strerror})") from error
    if first is None or first.is_corrupt or first.time is None or abs(first.time) > _STARTS_WITHIN_S:
        raise NotTaken("the copy does not begin with a good frame")
