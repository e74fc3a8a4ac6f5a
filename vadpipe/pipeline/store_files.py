"""The files of a feature store as files: which there are, and whether each is what was written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vadpipe.errors import TrackDamaged, UsageError
from vadpipe.spec import FeatureSpec
from vadpipe.store import safe_name
from vadpipe.track_file import read_attributes, read_track, whole_dataset

SPEC_FOLDER = re.compile(r"[\w-]{1,100}-[0-9a-f]{8}")
_PLACE = re.compile(SPEC_FOLDER.pattern + r"/[0-9a-f]{2}/[A-Za-z0-9_~-]{1,120}-[0-9a-f]{12}\.h5")


def is_place(text: str) -> bool:
    """Whether ``text`` can be the path of a track below a store: no way out of it, and no other kind of file."""
    return _PLACE.fullmatch(text) is not None


def spec_folders(root: Path) -> list[Path]:
    """Folders of specifications below ``root``, sorted; :class:`UsageError` where there is no such folder."""
    if not root.is_dir():
        raise UsageError(f"{root} is no folder; name the feature store, the --out of vadpipe extract")
    return sorted(path for path in root.iterdir() if SPEC_FOLDER.fullmatch(path.name) and path.is_dir())


def places(folder: Path) -> Iterator[str]:
    """Paths, below the store and sorted, of the tracks in the folder of one specification."""
    for part in sorted(folder.glob("[0-9a-f][0-9a-f]")):
        for path in sorted(part.glob("*.h5")):
            if is_place(place := f"{folder.name}/{part.name}/{path.name}"):
                yield place


def check_file(path: Path, place: str) -> tuple[FeatureSpec, dict[str, Any]]:
    """Read all of a track file and compare it with its checksums, its own words, and its place below the store.

    Returns the specification and the attributes. :class:`TrackDamaged` where anything is not what was written;
    another :class:`vadpipe.errors.StoreError` where the file cannot be read.
    """
    spec, attributes = read_attributes(path)
    video = attributes.get("id")
    if not isinstance(video, str):
        raise TrackDamaged(f"{path} names no video")
    track = read_track(path, spec, video)
    if not np.array_equal(_frame_index(path), track.grid.sampled_frames(spec.offset)):
        raise TrackDamaged(f"{path}: frame_index holds other frames than the rows were taken at")
    if place != (own := f"{spec.folder}/{safe_name(video)}"):
        raise TrackDamaged(f"{path} belongs under the name {own}")
    return spec, attributes


def _frame_index(path: Path) -> Any:
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            return whole_dataset(file, "frame_index")[()]
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise TrackDamaged(f"{path} is damaged ({error})") from error
