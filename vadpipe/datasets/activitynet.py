"""Ground truth in ActivityNet's JSON form, for own data and CCTV-Fights' ``groundtruth.json``; times are seconds.

::

    {"database": {"<id>": {"subset": "testing", "annotations": [{"segment": [1.5, 9.0], "label": "Fight"}]}}}

Optional for each video: ``duration`` in seconds, ``frame_rate``, ``nb_frames``. Anything else is passed over.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from vadpipe.datasets.spans import FEATURES, TruthTable
from vadpipe.errors import DataError
from vadpipe.manifest import VideoRecord, read_text, video_id
from vadpipe.outside import MOST_JSON, parse_json
from vadpipe.tracks import NORMAL, Interval, TimeGrid

_SUBSETS = {"train": "train", "val": "val", "valid": "val", "test": "test"}  # training, validation, testing
_MAX_SECONDS = 1e7


@dataclass(frozen=True, slots=True)
class _Segment:
    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True, slots=True)
class _Video:
    split: str
    segments: tuple[_Segment, ...]
    fps: Fraction | None
    num_frames: int | None


def read_database(path: str | Path) -> list[VideoRecord]:
    """Records of a ground-truth JSON, in its order: labels are those of the segments, ``normal`` where there is none.

    A video without ``subset`` is for training.
    """
    records = []
    for video, entry in _database(path).items():
        labels = frozenset(segment.label for segment in entry.segments) or frozenset({NORMAL})
        try:
            records.append(VideoRecord(video, labels, (), entry.split, entry.num_frames, entry.fps))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    return records


def read_segments(
    path: str | Path,
    records: Mapping[str, VideoRecord],
    grids: Mapping[str, TimeGrid],
    notes: list[str] | None = None,
    beside: str = FEATURES,
) -> dict[str, tuple[Interval, ...]]:
    """True incidents by id, under the rules of :func:`vadpipe.datasets.annotations.read_annotations`.

    A segment covers every frame that is shown during it, by the video's own grid.
    """
    table = TruthTable(records, grids, beside)
    for video, entry in _database(path).items():
        if not table.mention(video):
            continue
        grid = grids[video]
        try:
            for segment in entry.segments:
                start, end = grid.frame_at(segment.start_s), grid.frame_at(segment.end_s)
                if end < grid.num_frames and grid.second_of(end) < segment.end_s:
                    end += 1
                if start < end:
                    table.add(video, start, end, table.category(segment.label))
                else:
                    table.notes.append(f"{video!r}: a segment from {segment.start_s} s lay past the end, dropped")
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    return table.truth(path, notes)


def _database(path: str | Path) -> dict[str, _Video]:
    try:
        content = parse_json(read_text(path, MOST_JSON), finite=True)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON: {error.msg}") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    database = content.get("database") if isinstance(content, dict) else None
    if not isinstance(database, dict):
        raise DataError(f'{path}: expected an object with "database", as ActivityNet\'s ground truth has')
    if not database:
        raise DataError(f"{path}: holds no video")
    videos: dict[str, _Video] = {}
    for name, entry in database.items():
        try:
            video = video_id(name)
            if video in videos:
                raise DataError(f"video {video!r} is there twice")
            videos[video] = _video(entry)
        except DataError as error:
            raise DataError(f"{path}: video {name[:80]!r}: {error}") from error
    return videos


def _video(entry: Any) -> _Video:
    if not isinstance(entry, dict) or not isinstance(entry.get("annotations", []), list):
        raise DataError('expected an object with a list "annotations"')
    subset = str(entry.get("subset", "train")).lower()
    split = next((split for start, split in _SUBSETS.items() if subset.startswith(start)), None)
    if split is None:
        raise DataError(f"subset: got {subset[:40]!r}, expected training, validation or testing")
    rate, frames = entry.get("frame_rate"), entry.get("nb_frames")
    fps = None if rate is None else Fraction(_number(rate, "frame_rate")).limit_denominator(1001)
    if frames is not None and type(frames) is not int:
        raise DataError(f"nb_frames: got {frames!r:.40}, expected a whole number")
    return _Video(split, tuple(_segment(item) for item in entry.get("annotations", [])), fps, frames)


def _segment(item: Any) -> _Segment:
    bounds = item.get("segment") if isinstance(item, dict) else None
    if not isinstance(bounds, list) or len(bounds) != 2 or not isinstance(item.get("label"), str):
        raise DataError('annotation: expected {"segment": [start, end], "label": "…"}')
    start, end = (_number(value, "segment") for value in bounds)
    if not 0 <= start < end:
        raise DataError(f"segment {start:g} {end:g}: expected 0 <= start < end, in seconds")
    return _Segment(start, end, item["label"])


def _number(value: Any, what: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > _MAX_SECONDS:
        raise DataError(f"{what}: got {value!r:.40}, expected a number")
    return float(value)
