"""``vadpipe import features``: .npy files of other tools -> the store, as a stream of their own.

One file per video, (T, D) float16 or float32. The labels file must say how many frames each video has and at which
rate, since an .npy does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord, video_id
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, TimeGrid

_MAX_VALUES = 1 << 31


@dataclass(slots=True)
class ImportSummary:
    """Ids imported, ids labelled but without a file, files without a label, and notes."""

    spec: FeatureSpec
    done: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def import_features(
    folder: Path, store: FeatureStore, records: Sequence[VideoRecord], stream: str, frames_per_snippet: int = 16
) -> ImportSummary:
    """Import ``<folder>/<id>.npy`` of every record; ids match exactly.

    Where a file has one row more or less than the video's snippets (the usual rounding of released features), the last
    row is dropped or repeated and a note says so; a larger difference is a :class:`DataError` that names the video.
    """
    files: dict[str, Path] = {}
    crops = 0
    for path in sorted(folder.glob("*.npy")):  # of <id>__0 … <id>__9 the first, the centre crop, is taken
        crops += files.setdefault(video_id(path), path) != path
    if not files:
        raise UsageError(f"{folder} holds no .npy file")
    known = {record.id: record for record in records}
    first = _load(next(iter(files.values())))
    spec = imported_spec(stream, first.shape[1], frames_per_snippet)
    summary = ImportSummary(spec, missing=sorted(known.keys() - files), unlabelled=sorted(files.keys() - known))
    if crops:
        summary.notes.append(f"{crops} files of further crops were left out; the first crop of each video is used")
    for name in sorted(files.keys() & known.keys()):
        record, data = known[name], _load(files[name])
        if record.num_frames is None or record.fps is None:
            raise DataError(f"{name!r}: the labels need the columns frames and fps to place rows in time")
        if data.shape[1] != spec.dim:
            raise DataError(f"{files[name]}: got {data.shape[1]} columns, expected {spec.dim} as in the first file")
        grid = TimeGrid(record.fps, record.num_frames, frames_per_snippet)
        fitted = _fitted(data, grid.num_snippets, files[name])
        if len(fitted) != len(data):
            summary.notes.append(f"{name}: {len(data)} rows for {grid.num_snippets} snippets, last row adjusted")
        try:
            track = FeatureTrack(fitted, grid, spec, name)
        except ValueError as error:
            raise DataError(f"{files[name]}: {error}") from error
        store.write(track)
        summary.done.append(name)
    return summary


def imported_spec(stream: str, dim: int, frames_per_snippet: int) -> FeatureSpec:
    """Specification of an imported stream: the user's name stands for an origin that cannot be checked."""
    if stream in ("clip", "i3d", "c3d", "wav2clip"):
        raise UsageError(
            f"--stream {stream} is vadpipe's own; name an imported stream after its origin, e.g. {stream}-xd"
        )
    try:
        return FeatureSpec(stream, dim, "imported", "imported", frames_per_snippet=frames_per_snippet)
    except ValueError as error:
        raise UsageError(f"--stream: {error}") from error


def _load(path: Path) -> NDArray[Any]:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped first: a lying header cannot ask for memory
    except (OSError, ValueError, EOFError, SyntaxError, TokenError, TypeError, OverflowError) as error:
        # numpy parses the header as Python text and lets the parser's own errors through
        raise DataError(f"{path} is not a plain .npy array: {error}") from error
    if mapped.ndim != 2 or mapped.dtype not in (np.float16, np.float32) or mapped.size > _MAX_VALUES:
        raise DataError(f"{path}: got {mapped.dtype} {mapped.shape}, expected float16 or float32 (T, D)")
    return np.array(mapped)


def _fitted(data: NDArray[Any], rows: int, path: Path) -> NDArray[Any]:
    if len(data) == 0 or abs(len(data) - rows) > 1:
        raise DataError(f"{path}: got {len(data)} rows, expected {rows} (one more or less is accepted) for this video")
    return data[:rows] if len(data) >= rows else np.concatenate([data, data[-1:]])
