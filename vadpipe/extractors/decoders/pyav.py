"""Decoding with PyAV, that is with the FFmpeg that its wheel brings along; the default.

Two passes over the packets: :mod:`vadpipe.extractors.decoders.pyav_index` only demuxes, this one decodes in order and
in one thread, and converts only the frames that are asked for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, cast

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from vadpipe.errors import VideoUnreadable
from vadpipe.extractors.decoders import Facts, Job, Picture, Sound, Tally
from vadpipe.extractors.decoders.dropping import Drops, plan
from vadpipe.extractors.decoders.pyav_audio import AudioTrack
from vadpipe.extractors.decoders.pyav_file import check_size, decode, explained
from vadpipe.extractors.decoders.pyav_index import PacketIndex, Reel, index_frames, index_packets
from vadpipe.extractors.decoders.timeline import picture_start


def open_source(job: Job) -> PyavSource:
    """Open a video; see :class:`vadpipe.extractors.decoders.Source`."""
    tally = Tally()
    with explained(job.path):
        index, reel = index_packets(job, tally)
        if index.from_frames:
            job.counted(len(index.order))
            index = index_frames(job, index)
        return PyavSource(job, index, reel, tally)


class _NotAsPlanned(Exception):
    """The file is damaged, or not what its packet headers say, so that leaving packets out may change its frames."""


class PyavSource:
    """A video opened with PyAV; implements :class:`vadpipe.extractors.decoders.Source`."""

    def __init__(self, job: Job, index: PacketIndex, reel: Reel, tally: Tally) -> None:
        self.tally = tally
        self._job = job
        self._index = index
        self._ranks = None if index.counted else {int(pts): rank for rank, pts in enumerate(index.pts)}
        self._reformatter = VideoReformatter()
        self._timeline = index.timeline()
        wanted = job.sampled(len(index.pts)).tolist()
        self._drops = self._plan(wanted)
        self._start(reel)
        self._running = self._decode_or_start_again()
        self._early: deque[Picture | Sound] = deque()
        self.facts = self._facts(self._first_frame())
        self._sound_only = not wanted

    def _plan(self, wanted: list[int]) -> Drops | None:
        """What need not be decoded; the first frame is always wanted, because it tells facts."""
        if self._ranks is None or not self._index.kinds or not wanted:
            return None
        return plan(self._index.kinds, self._index.order, self._ranks, [0, *wanted])

    def _start(self, reel: Reel) -> None:
        self._reel = reel
        self._sound_only = False
        self._decoded = self._good = self._next = 0
        self.tally.corrupt_packets = 0
        length_s = float(self._timeline.starts_s[-1])
        self._audio = AudioTrack.of(reel.container, self._job, self._index.start_s, length_s, self.tally)

    def _first_frame(self) -> av.VideoFrame:
        """Decode up to the first good frame: only it knows the rotation and, in some containers, the size."""
        for item in self._running:
            if isinstance(item, Sound):
                self._early.append(item)
                continue
            self._early.append(self._picture(*item))
            return item[1]
        raise VideoUnreadable(f"{self._job.path}: no frame of its video stream can be decoded.")

    def _facts(self, first: av.VideoFrame) -> Facts:
        timeline, container = self._timeline, self._reel.container
        turned = first.rotation % 180 == 90
        width, height = (first.height, first.width) if turned else (first.width, first.height)
        if first.rotation % 90:
            self.tally.warnings.append(f"rotation by {first.rotation} degrees is not a multiple of 90: not applied")
        return Facts(
            width=width,
            height=height,
            fps=timeline.fps,
            vfr=timeline.vfr,
            starts_s=timeline.starts_s,
            rotation=0 if first.rotation % 90 else -first.rotation % 360,
            codec=self._reel.stream.codec_context.codec.canonical_name,
            audio_rate=self._audio.stream_rate,
            start_s=picture_start(float(self._index.start_s), container.format.name, (container.start_time or 0) / 1e6),
        )

    def items(self) -> Iterator[Picture | Sound]:
        """Yield decoded frames and, if asked for, the sound; see the protocol."""
        with explained(self._job.path):
            yield from self._all_items()

    def _all_items(self) -> Iterator[Picture | Sound]:
        yield from self._early
        for item in self._running:
            yield item if isinstance(item, Sound) else self._picture(*item)
        if not self._sound_only:
            left_out = self._drops.count if self._drops else 0
            self.tally.lost_frames += len(self._index.pts) - self._good - left_out
        if self._index.from_frames:  # which knows nothing of the frames that damaged packets would have given
            self.tally.missing_frames += self.tally.corrupt_packets
        self._reel.container.close()

    def _decode_or_start_again(self) -> Iterator[tuple[int, av.VideoFrame] | Sound]:
        """Leave packets out as planned; at the first sign of trouble decode all of them, from the start on.

        From then on damage is repaired and counted as if nothing had ever been left out; what was yielded is not
        repeated. But the first sign has to be seen: damage in packets that are left out is not, so what is counted (and
        whether the file is refused) depends on the frames that are asked for. Damage that the codec neither reports
        nor marks may be repaired differently.
        """
        last_rank, sounds = -1, 0
        try:
            for item in self._decode_all():
                if isinstance(item, Sound):
                    sounds += 1
                else:
                    last_rank = item[0]
                yield item
        except _NotAsPlanned:
            self._drops = None
        else:
            return
        self._reel.container.close()
        self._start(Reel(self._job))
        for item in self._decode_all():
            if isinstance(item, Sound):
                sounds -= 1
                if sounds < 0:
                    yield item
            elif item[0] > last_rank:
                yield item

    def _decode_all(self) -> Iterator[tuple[int, av.VideoFrame] | Sound]:
        stream, drops = self._reel.stream, self._drops
        place = -1
        for packet in self._reel.play(*self._audio.streams):
            self._job.beat()
            if packet.stream_index != stream.index:
                yield from self._audio.feed(packet)
                continue
            place += 1
            if self._sound_only or (drops is not None and self._left_out(drops, place, packet.pts)):
                continue
            if frames := decode(stream, packet, self.tally):
                yield from self._indexed(frames)
        if not self._sound_only:
            yield from self._indexed(decode(stream, None, self.tally))
            if drops is not None:
                self._pass_over(drops, len(self._index.pts))
        yield from self._audio.finish()

    def _left_out(self, drops: Drops, place: int, pts: int | None) -> bool:
        if place >= len(drops.packets) or self._index.order[place] not in (pts, None):
            raise _NotAsPlanned  # the second pass sees other packets than the first one
        return bool(drops.packets[place])

    def _pass_over(self, drops: Drops, rank: int) -> None:
        """The next frame is ``rank``: all before it must have come out or be left out."""
        if self.tally.corrupt_packets or (rank != self._next and not self._explained(drops, rank)):
            raise _NotAsPlanned
        self._next = rank + 1

    def _explained(self, drops: Drops, rank: int) -> bool:
        return rank > self._next and all(drops.frames[self._next : rank])

    def _indexed(self, frames: list[av.VideoFrame]) -> Iterator[tuple[int, av.VideoFrame]]:
        drops = self._drops
        for frame in frames:
            check_size(self._job, frame.width, frame.height)  # it can change midway
            rank = self._decoded if self._ranks is None else self._ranks.get(cast(int, frame.pts))
            self._decoded += 1
            if rank is None:
                continue
            if drops is not None:
                # Two fields may be two packets, of which one was left out.
                if frame.is_corrupt or frame.interlaced_frame:
                    raise _NotAsPlanned
                self._pass_over(drops, rank)
                self._good += 1
                if rank in drops.wanted:
                    yield rank, frame
            elif not frame.is_corrupt:  # which leaves a hole, as a lost one does
                self._good += 1
                yield rank, frame

    def _picture(self, index: int, frame: av.VideoFrame) -> Picture:
        return Picture(index, lambda: self._rgb(frame))

    def _rgb(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        # One thread: starting others for one picture costs more than they save.
        converted = self._reformatter.reformat(frame, format="rgb24", threads=1)
        plane, height, width = converted.planes[0], converted.height, converted.width
        rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(-1, plane.line_size)[:height, : width * 3]
        upright = rows.reshape(height, width, 3)  # a view of the frame, where its rows follow each other without a gap
        # PyAV reports the display matrix (counterclockwise) and leaves it to the caller.
        return upright if frame.rotation % 90 else np.rot90(upright, frame.rotation // 90)
