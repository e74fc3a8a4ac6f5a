"""``vadpipe features export``: stored tracks as ``.npy`` files, the form in which the field exchanges features."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import DataError, StoreError, UsageError
from vadpipe.manifest import VideoRecord, check_id
from vadpipe.outside import read_json
from vadpipe.pipeline.features.export_files import SPEC_FILE, STATES_ENDING, states_json
from vadpipe.pipeline.features.export_manifest import UNLABELLED, ExportManifest
from vadpipe.pipeline.features.sources import FeatureSource
from vadpipe.pipeline.project import find_labels
from vadpipe.sound import PRESENT, heard_rows
from vadpipe.spec import FeatureSpec
from vadpipe.store import MANIFEST
from vadpipe.track_file import atomic_write, read_track
from vadpipe.tracks import FeatureTrack

DTYPES = ("stored", "float16", "float32")
_CROP_ENDING = re.compile(r"__[0-9]\Z")
_MAX_NAME_BYTES = 255


@dataclass(slots=True)
class ExportSummary:
    """Result.

    done, failed
        Id -> number of files; id -> reason.
    unlabelled
        Ids whose labels are not known.

    Notes
        What the files do not hold and the store does.
    """

    spec: FeatureSpec
    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    unlabelled: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def export_features(
    source: FeatureSource,
    out: Path,
    labels: Sequence[VideoRecord] = (),
    *,
    dtype: str = "stored",
    notify: Callable[[str, int], None] | None = None,
) -> ExportSummary:
    """Write ``<id>.npy``, or ``<id>__0.npy`` … ``<id>__9.npy`` for crops, and a manifest that import reads.

    Beside features of sound lies ``<id>.states.json``, what each row held: in ``.npy`` alone, rows without sound would
    pass for data. Import reads it.

    out
        An empty or new folder, or one that an earlier export of the same features left: it is then completed, and what
        its manifest says of files that are not exported now, or of labels that are not given now, stays.
    labels
        Records that say labels, incidents and splits; length and rate are the tracks' own.
    dtype
        One of :data:`DTYPES`.

    Every file appears whole or not at all. A video that cannot be exported costs itself only. :class:`UsageError` for
    another kind of folder or dtype.
    """
    if source.spec is None:
        raise UsageError(f"{source.place} is no feature store; there is nothing to export from .npy files")
    if dtype not in DTYPES:
        raise UsageError(f"dtype: got {dtype!r}, expected one of {', '.join(DTYPES)}")
    _claim(out, source.spec, dtype)
    summary = ExportSummary(source.spec)
    manifest = ExportManifest.begin(out, labels)
    changing, unheard = 0, 0
    held: set[str] = set()
    for name, (path,) in source.files.items():
        try:
            track = read_track(path, source.spec, name)
            crops = source.crops(track)
            summary.done[name] = _write(out, track, crops, dtype)
            held.add(",".join(map(str, crops)))
            manifest.add(track)
            changing += track.grid.vfr
            unheard += int((~heard_rows(track.states)).sum()) if track.states is not None else 0
        except (DataError, StoreError) as error:
            summary.failed[name] = str(error)
        if notify is not None:
            notify(name, len(source.files))
    summary.unlabelled, summary.notes = manifest.unlabelled, manifest.notes
    if len(held) > 1:
        summary.notes.append(
            f"not all videos hold the same crops: {' or '.join(sorted(held))}; an import takes one choice (--crops)"
        )
    if changing:
        summary.notes.append(f"{changing} videos have a variable frame rate; the manifest holds its average only")
    if unheard:
        summary.notes.append(
            f"{unheard} rows have no sound that could be heard; in .npy files they are plain zeros, "
            f"which they are is in <id>{STATES_ENDING}"
        )
    if summary.unlabelled:
        summary.notes.append(f"{len(summary.unlabelled)} videos have no label; {UNLABELLED!r} stands in {MANIFEST}")
    manifest.write(out)
    return summary


def labels_of(source: FeatureSource, given: Path | None = None) -> Sequence[VideoRecord]:
    """Records from ``given``, else from the ``manifest.jsonl`` that an import left in the store; () without either."""
    own = source.place.parent / MANIFEST
    if given is None and (not source.place.is_dir() or not own.is_file()):
        return ()
    return find_labels(given or own, Path())[0]


def _claim(out: Path, spec: FeatureSpec, dtype: str) -> None:
    """Make the folder ours; :class:`UsageError` where it holds what is not an earlier export of the same features."""
    content = {"digest": spec.digest, "dtype": dtype, "spec": asdict(spec)}
    place = out / SPEC_FILE
    try:
        earlier: Any = read_json(place) if place.is_file() else None
        is_empty = not out.exists() or not any(out.iterdir())
    except (OSError, ValueError) as error:
        raise UsageError(f"--out {out}: {error}; choose a new folder") from error
    if earlier != content and not is_empty:
        raise UsageError(f"--out {out} holds other files; choose a new folder, so that no two kinds of features mix")
    atomic_write(place, (json.dumps(content, indent=1) + "\n").encode())


def _write(out: Path, track: FeatureTrack, numbers: tuple[int, ...], dtype: str) -> int:
    """Write one track's files; returns how many ``.npy``."""
    name, data = check_id(track.video_id), track.data
    if not track.grid.num_snippets:
        raise DataError(f"{name!r} has no rows")
    if dtype != "stored":
        with np.errstate(over="ignore"):
            data = data.astype(dtype)
        if not np.isfinite(data).all():
            raise DataError(f"{name!r} has values that do not fit {dtype}; export it as float32")
    # an id that ends like a crop gets a crop number of its own, so that none is taken off it when it is read
    crops = data[None] if data.ndim == 2 else data
    is_plain = data.ndim == 2 and numbers == (0,) and not _CROP_ENDING.search(name)
    parts: dict[str, NDArray[Any]] = {f"{name}.npy": data} if is_plain else {}
    if not is_plain:
        parts = {f"{name}__{number}.npy": crop for number, crop in zip(numbers, crops, strict=True)}
    states = _states(track)
    beside = {} if states is None else {f"{name}{STATES_ENDING}": states_json(states)}
    for file in (*parts, *beside):
        if len(file.encode()) > _MAX_NAME_BYTES - 16:  # room for the temporary name
            raise DataError(f"{name[:40]!r}… is too long for a file name")
    for file, content in beside.items():  # first: rows without their states would be taken for sound
        atomic_write(out / file, content)
    for file, part in parts.items():
        atomic_write(out / file, _npy(part))
    return len(parts)


def _states(track: FeatureTrack) -> NDArray[np.uint8] | None:
    """(T,) states of sound, all present where the track says nothing else; None for a picture."""
    if track.states is None and track.spec.audio_window:
        return np.full(track.grid.num_snippets, PRESENT, np.uint8)
    return track.states


def _npy(data: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, np.ascontiguousarray(data), allow_pickle=False)
    return content.getvalue()
