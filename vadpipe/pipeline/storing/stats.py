"""``vadpipe store stats``: what a store holds, from the files' attributes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vadpipe.errors import StoreError
from vadpipe.pipeline.storing.files import entries, is_folder, places
from vadpipe.spec import FeatureSpec
from vadpipe.track_file import read_attributes
from vadpipe.whole_file import is_temporary


@dataclass(slots=True)
class SpecStats:
    """One specification of a store.

    folder, stream
        The first is the stream and the specification's hash; the second is empty where no file can be read.
    videos, rows, frames, hours
        Of the files whose attributes can be read; rows of one crop. hours by each video's own rate.
    bytes
        On disk, of all files of tracks.
    unreadable, quarantined, temporary
        Files: without readable attributes; in ``quarantine/``; of writers that are at work or were killed.
    """

    folder: str
    stream: str = ""
    dim: int = 0
    videos: int = 0
    rows: int = 0
    frames: int = 0
    hours: float = 0.0
    bytes: int = 0
    unreadable: int = 0
    quarantined: int = 0
    temporary: int = 0


def stats_of(folder: Path, on_file: Callable[[str], None] = lambda _: None) -> SpecStats:
    """Count what lies in the folder of one specification; the data is not read.

    :class:`StoreError` where a folder cannot be listed.
    """
    stats = SpecStats(folder.name)
    for place in places(folder):
        path = folder.parent / place
        try:
            stats.bytes += path.stat().st_size
            _add(stats, *read_attributes(path))
        except (OSError, StoreError, KeyError, TypeError, ValueError):
            stats.unreadable += 1
        on_file(place)
    stats.quarantined = sum(entry.is_file(follow_symlinks=False) for entry in entries(folder / "quarantine"))
    within = entries(folder)
    below = [entry for part in within if is_folder(part) for entry in entries(folder / part.name)]
    stats.temporary = sum(is_temporary(entry.name) for entry in (*within, *below))
    return stats


def _add(stats: SpecStats, spec: FeatureSpec, attributes: dict[str, object]) -> None:
    frames, seconds = attributes["num_frames"], attributes["duration_s"]
    if not isinstance(frames, int) or not isinstance(seconds, float):
        raise TypeError("num_frames or duration_s is no number")
    stats.stream, stats.dim = spec.stream, spec.dim
    stats.videos += 1
    stats.frames += frames
    stats.rows += -(-frames // spec.frames_per_snippet)
    stats.hours += seconds / 3600
