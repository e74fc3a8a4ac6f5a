"""How long videos are: what labels say, what the files themselves say, and where the two differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from vadpipe.errors import UsageError, VideoError
from vadpipe.extractors import media
from vadpipe.manifest import VideoRecord
from vadpipe.tracks import TimeGrid


@dataclass(slots=True)
class Lengths:
    """How long videos are.

    known, failed
        Id -> number of frames and frames per second; id -> why its file does not say.
    boundaries
        Id -> boundaries of the snippets (:attr:`TimeGrid.boundaries_s`), of files whose frame rate varies.

    Notes say differences.
    """

    known: dict[str, tuple[int, Fraction]] = field(default_factory=dict)
    boundaries: dict[str, tuple[float, ...]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of_records(cls, records: Iterable[VideoRecord]) -> Lengths:
        """What labels say, where they say both."""
        return cls(
            {
                record.id: (record.num_frames, record.fps)
                for record in records
                if record.num_frames is not None and record.fps is not None
            }
        )

    def told(self, records: Iterable[VideoRecord]) -> list[VideoRecord]:
        """Those of ``records`` whose lengths are known, with these."""
        known = {record.id: record for record in records if record.id in self.known}
        return [replace(known[name], num_frames=frames, fps=fps) for name, (frames, fps) in self.known.items()]

    def add(self, other: Lengths) -> None:
        """Let ``other``, what the files say, go before; a difference in frames becomes a note."""
        for name, (frames, fps) in other.known.items():
            if name in self.known and self.known[name][0] != frames:
                self.notes.append(f"{name}: the labels say {self.known[name][0]} frames, the video has {frames}")
            self.known[name] = (frames, fps)
        for name, reason in other.failed.items():
            if name in self.known:
                self.notes.append(f"{name}: taken from the labels; the video does not say its length: {reason}")
            else:
                self.failed[name] = reason
        self.boundaries |= other.boundaries
        self.notes += other.notes


def video_lengths(
    videos: Mapping[str, Path],
    jobs: int = 2,
    notify: Callable[[int, int], None] | None = None,
    frames_per_snippet: int = 16,
) -> Lengths:
    """Look at every file; ``notify(done, total)`` follows each. A file that cannot be read goes to ``failed``."""
    look = partial(_look, frames_per_snippet=frames_per_snippet)
    lengths = Lengths()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for done, (name, found) in enumerate(zip(videos, pool.map(look, videos.values()), strict=True), 1):
                if isinstance(found, str):
                    lengths.failed[name] = found
                else:
                    lengths.known[name] = (found.num_frames, found.fps)
                    if found.vfr:
                        lengths.boundaries[name] = found.boundaries_s
                if notify is not None:
                    notify(done, len(videos))
        finally:
            pool.shutdown(cancel_futures=True)
    return lengths


def _look(path: Path, frames_per_snippet: int) -> TimeGrid | str:
    request = media.Request(frames_per_snippet=frames_per_snippet)
    try:
        with media.MediaReader(path, request, "pyav", media.Limits(), probe_only=True) as reader:
            return reader.grid
    except (VideoError, UsageError) as error:
        return str(error)
