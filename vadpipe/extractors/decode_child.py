"""The decoder child: ``python -P -m vadpipe.extractors.decode_child CONTROL_FD MEMORY_FD LIFE_FD``.

Reads one request (a JSON line) from stdin, writes messages to CONTROL_FD, and pictures and sound to the shared memory;
afterwards every byte on stdin hands one slot back. Started only by :mod:`vadpipe.extractors.decode_process`. Imports
numpy, Pillow and the one decoder that is asked for.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vadpipe.errors import UsageError, VideoError, VideoUnreadable
from vadpipe.extractors.confinement import confine
from vadpipe.extractors.decode_child_link import Link, die_with_parent, limit_child, limit_files
from vadpipe.extractors.decode_link import decode
from vadpipe.extractors.decode_views import Cutter, Sampler, picture_bytes, wanted_frames
from vadpipe.extractors.decoders import Facts, Job, Picture, Sound, Source, open_source
from vadpipe.extractors.limits import frames_s

_AUDIO_SLOT_BYTES = 64 * 1024
_HASH_BLOCK = 4 * 1024**2


def digest(path: Path, beat: Callable[[], None]) -> tuple[int, str]:
    """Size in bytes and sha256 of a file."""
    sha, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_HASH_BLOCK):
            sha.update(block)
            size += len(block)
            beat()
    return size, sha.hexdigest()


def head_of(facts: Facts, request: dict[str, Any], size_bytes: int, sha256: str) -> dict[str, Any]:
    """The first message: facts about the clip, its times, and how many bytes a slot needs."""
    step = request["frames_per_snippet"]
    clip = {
        "width": facts.width,
        "height": facts.height,
        "num_frames": facts.num_frames,
        "duration_s": float(facts.starts_s[-1]),
        "vfr": facts.vfr,
        "start_s": facts.start_s,
        "codec": facts.codec,
        "rotation": facts.rotation,
        "audio_rate": facts.audio_rate,
        "size_bytes": size_bytes,
        "sha256": sha256,
    }
    return {
        "t": "head",
        "clip": clip,
        "fps": [facts.fps.numerator, facts.fps.denominator],
        "boundaries_s": [*facts.starts_s[:-1:step].tolist(), float(facts.starts_s[-1])] if facts.vfr else [],
        "slot_bytes": max(picture_bytes(request, facts.height, facts.width), _AUDIO_SLOT_BYTES),
    }


class Sender:
    """Turns a source's items into messages with slots."""

    def __init__(self, link: Link, request: dict[str, Any], facts: Facts) -> None:
        self._link = link
        self._starts_s = facts.starts_s
        self._wanted = wanted_frames(request, facts.num_frames).tolist()
        self._sampler = Sampler(self._wanted)
        self._cutter = Cutter(request, facts.num_frames)

    @property
    def replaced_rows(self) -> list[int]:
        """Snippets, in order, of which a wanted frame was lost."""
        return sorted({self._cutter.row_of(self._wanted[place]) for place in self._sampler.replaced})

    def send_all(self, source: Source) -> None:
        """Decode to the end."""
        for item in source.items():
            if isinstance(item, Picture):
                self._send_frames(self._sampler.feed(item))
            else:
                self._send_sound(item)
        self._send_frames(self._sampler.finish())

    def _send_frames(self, frames: Iterator[tuple[int, Picture]]) -> None:
        for place, picture in frames:
            frame = self._wanted[place]
            fixed = {"row": self._cutter.row_of(frame), "frame": frame, "pts_s": float(self._starts_s[frame])}
            for view, image in self._cutter.views_of(frame, picture):
                height, width = image.shape[:2]
                self._link.hand_over(image, t="frame", view=view, h=height, w=width, **fixed)

    def _send_sound(self, sound: Sound) -> None:
        step = _AUDIO_SLOT_BYTES // 4
        for at in range(0, len(sound.samples), step):
            part = np.ascontiguousarray(sound.samples[at : at + step], np.float32)
            self._link.hand_over(part, t="audio", start=sound.start + at, n=len(part), hole=sound.hole)


def check_damage(source: Source, request: dict[str, Any]) -> None:
    """VideoUnreadable where too large a part of the frames was lost."""
    lost = source.tally.lost_frames + source.tally.missing_frames
    total = source.facts.num_frames + source.tally.missing_frames
    if lost and lost >= request["max_corrupt_share"] * total:
        raise VideoUnreadable(
            f"{request['path']}: {lost} of {total} frames could not be decoded ({source.tally.corrupt_packets} damaged "
            f"packets), {request['max_corrupt_share']:.0%} is too much. Get an undamaged copy, or allow "
            "more: --limit max_corrupt_share=SHARE."
        )


def serve(link: Link, request: dict[str, Any]) -> None:
    """Answer one request; raises what went wrong."""
    path = Path(request["path"])
    size_bytes, sha256 = digest(path, link.beat)
    allowed_s = request["allowed_s"]

    def counted(packets: int) -> None:
        nonlocal allowed_s
        allowed_s += frames_s(size_bytes, packets)
        link.allow(allowed_s)
        link.send(t="counted", packets=packets)

    job = Job(
        path=path,
        sampled=lambda num_frames: wanted_frames(request, num_frames),
        audio_rate=request["audio_rate"],
        max_pixels=request["max_pixels"],
        max_duration_s=request["max_duration_s"],
        beat=link.beat,
        max_frames=request["max_frames"],
        counted=counted,
    )
    source = open_source(request["module"], job)
    check_damage(source, request)
    head = head_of(source.facts, request, size_bytes, sha256)
    link.allow(allowed_s + frames_s(size_bytes, source.facts.num_frames))
    link.send(**head)
    if request["probe"]:
        return
    link.open_ring(head["slot_bytes"])
    sender = Sender(link, request, source.facts)
    sender.send_all(source)
    check_damage(source, request)
    tally = source.tally
    link.send(
        t="done",
        corrupt_packets=tally.corrupt_packets,
        replaced_rows=sender.replaced_rows,
        audio_state=tally.audio_state,
        warnings=tally.warnings,
    )


def main(
    fds: Sequence[str],
    answer: Callable[[Link, dict[str, Any]], None] = serve,
    module_of: Callable[[dict[str, Any]], str] = lambda request: str(request["module"]),
) -> None:
    """Answer one request and end the process, without the libraries' own clean-up (decord's may crash).

    ``fds`` are the descriptors that the command line names: control, memory, life. ``module_of`` tells what to import
    before everything is given up that reading one file does not need; a function ``also_read`` of that module names
    other files that it needs.
    """
    control_fd, memory_fd, life_fd = map(int, fds)
    die_with_parent(life_fd)
    link = Link(control_fd, memory_fd)
    request = decode(link.wait_line())
    link.set_alarm(request["stall_s"])
    limit_child(request["memory_bytes"], request["allowed_s"])
    try:
        module = import_module(module_of(request))
        limit_files(request.get("file_bytes", 0))
        also_read: list[Path] = getattr(module, "also_read", list)()
        confine([Path(request["path"]), *also_read], [Path(name) for name in request.get("written", ())])
        answer(link, request)
    except (VideoError, UsageError) as error:
        link.send(t="error", kind=type(error).__name__, text=str(error))
    except MemoryError:
        limit = request["memory_bytes"] / 1024**3
        text = f"{request['path']}: the decoder ran out of memory (limit {limit:.1f} GiB)."
        text += " The file may be damaged; if it is not, allow more: --limit memory_bytes=BYTES."
        link.send(t="error", kind="DecoderCrashed", text=text)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:4])
