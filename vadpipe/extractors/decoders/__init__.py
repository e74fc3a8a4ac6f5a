"""What a decoder has to offer, and the table of those there are.

A decoder is one module here with a function ``open_source``; nothing outside this package imports a decoder library,
and this file imports none. A new one is one file plus one line in :data:`DECODERS`; the conformance suite
(``tests/extractors/test_media_conformance.py``) then runs on it by itself. The modules run only inside decoder
children (:mod:`vadpipe.extractors.decode_child`), never in the main process.

Legend: H, W a frame as displayed (rotation applied); N presented frames.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import UsageError


@dataclass(frozen=True, slots=True)
class Decoder:
    """Where a decoder lives: its module, the distribution whose version counts, and what installs it.

    memory_bytes
        Address space that importing it takes, which is added to the limit of its process.
    missing
        What to tell where it is installed but cannot be imported; set where that depends on the system. Its module then
        names the libraries that it runs on in ``LIBRARIES``, a word.
    """

    module: str
    distribution: str
    install: str
    memory_bytes: int = 0
    missing: str = ""


DECODERS: MappingProxyType[str, Decoder] = MappingProxyType(
    {
        "pyav": Decoder("vadpipe.extractors.decoders.pyav", "av", "pip install av"),
        "decord": Decoder("vadpipe.extractors.decoders.decord", "decord", "pip install 'vadpipe[decord]'"),
        "torchcodec": Decoder(
            "vadpipe.extractors.decoders.torchcodec",
            "torchcodec",
            "pip install 'vadpipe[torchcodec]'",
            memory_bytes=4 * 1024**3,  # 3.5 GiB with a CUDA build of torch, mostly libraries that are only mapped
            missing=(
                "decoder 'torchcodec' cannot load FFmpeg's shared libraries (versions 4 to 9), which it does not bring "
                "along. Install them: on Debian and Ubuntu with `apt-get install --yes ffmpeg`, with conda by "
                "`conda install --channel conda-forge ffmpeg`; or use the decoder pyav, which brings its own."
            ),
        ),
    }
)
"""Name -> decoder. ``pyav`` is the default; reasons and figures: docs/decisions/0003-decoding.md."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a decoder is asked for.

    sampled
        Called once with the number of frames N, gives the sorted indices of the frames that are wanted: one per
        snippet, all N, or none (then no picture need be handed over).
    audio_rate
        Hz of the wanted mono audio; 0: none wanted.
    max_pixels, max_duration_s, max_frames
        Caps, to be checked before the first frame is decoded (:class:`vadpipe.errors.VideoTooLarge`).
    beat
        To be called at every packet: it tells the parent that there is progress.
    counted
        To be called with the number of packets where all of them are decoded before the facts are known: for that there
        is more time.
    """

    path: Path
    sampled: Callable[[int], NDArray[np.int64]]
    audio_rate: int
    max_pixels: int
    max_duration_s: float
    beat: Callable[[], None]
    max_frames: int = 20_000_000
    counted: Callable[[int], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known before the first frame is handed over.

    width, height, rotation
        Pixels as displayed; degrees clockwise that were applied to get there.
    fps, vfr, starts_s
        Exact or average rate; whether it varies; (N + 1,) float64 seconds: start of each frame from the first
        presented one on, and the end of the last.
    audio_rate
        Hz of the first audio stream, 0 where there is none.
    start_s
        Time of the first presented frame as a player counts, see
        :func:`vadpipe.extractors.decoders.timeline.picture_start`.
    """

    width: int
    height: int
    fps: Fraction
    vfr: bool
    starts_s: NDArray[np.float64]
    rotation: int = 0
    codec: str = ""
    audio_rate: int = 0
    start_s: float = 0.0

    @property
    def num_frames(self) -> int:
        """N, presented frames."""
        return len(self.starts_s) - 1


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded frame: its index in presentation order; ``rgb()`` gives (H, W, 3) uint8, only then converted."""

    index: int
    rgb: Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Sound:
    """Mono float32 samples; ``start`` counts samples from the first presented video frame on.

    hole
        Empty for sound of the file; ``absent`` for zeros where the file has none, ``undecodable`` for zeros in place of
        what is damaged.
    """

    start: int
    samples: NDArray[np.float32]
    hole: str = ""


@dataclass(slots=True)
class Tally:
    """What went wrong so far, and remarks for the report.

    corrupt_packets
        Damaged video packets that were skipped; those that no wanted frame needs may not have been looked at.
    lost_frames, missing_frames
        Frames among the N that did not come out; frames that there should have been beyond the N.
    """

    corrupt_packets: int = 0
    lost_frames: int = 0
    missing_frames: int = 0
    audio_state: str = "absent"
    warnings: list[str] = field(default_factory=list)


class Source(Protocol):
    """One opened video."""

    facts: Facts
    tally: Tally

    def items(self) -> Iterator[Picture | Sound]:
        """Yield pictures in presentation order and, if asked for, sound; to be called once.

        All wanted frames that can be decoded are among the pictures; others may be. A damaged packet is skipped and
        counted in ``tally``, which is final after the last item. Errors: :class:`vadpipe.errors.VideoUnreadable`.
        """


def open_source(module: str, job: Job) -> Source:
    """Import a decoder module by its dotted name and open ``job.path`` with it.

    Errors: :class:`vadpipe.errors.VideoUnreadable`, :class:`vadpipe.errors.VideoTooLarge`.
    """
    opener: Any = import_module(module).open_source
    return cast(Source, opener(job))


@dataclass(frozen=True, slots=True)
class Loading:
    """What became of the attempt to import a decoder that depends on the system's libraries.

    libraries
        Which of them it runs on, e.g. ``ffmpeg7``; empty where it brings its own.
    problem
        Why it cannot be imported; empty where it can.
    """

    libraries: str = ""
    problem: str = ""


def system_libraries(name: str) -> str:
    """The system's libraries that a decoder runs on, e.g. ``ffmpeg7``; empty where it brings its own.

    UsageError where it is installed, but they cannot be loaded.
    """
    found = try_loading(name)
    if found.problem:
        raise UsageError(found.problem)
    return found.libraries


@cache
def try_loading(name: str) -> Loading:
    """Import a decoder that depends on the system's libraries; tried once, in a process apart, for no other decoder."""
    decoder = lookup(name)
    if not decoder.missing:
        return Loading()
    code = f"import {decoder.module} as decoder; print(decoder.LIBRARIES)"
    tried = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    if not tried.returncode:
        return Loading(libraries=tried.stdout.split()[-1])
    last = tried.stderr.strip().splitlines()[-1:]
    if decoder.missing in tried.stderr or not last:
        return Loading(problem=decoder.missing)
    return Loading(problem=f"decoder {name!r} cannot be imported ({last[0]}). Install it with: {decoder.install}")


def lookup(name: str) -> Decoder:
    """The entry of :data:`DECODERS`; UsageError for an unknown name."""
    if name not in DECODERS:
        raise UsageError(f"decoder: got {name!r}, expected one of {', '.join(sorted(DECODERS))}")
    return DECODERS[name]
