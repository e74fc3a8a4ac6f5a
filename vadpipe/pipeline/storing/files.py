"""The files of a feature store as files: which there are, and whether each is what was written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from vadpipe.errors import StoreError, TrackDamaged, UsageError
from vadpipe.spec import FeatureSpec
from vadpipe.store import safe_name
from vadpipe.track_file import open_hdf5, read_attributes, read_track, whole_dataset

SPEC_FOLDER = re.compile(r"[\w-]{1,100}-[0-9a-f]{8}")
PART = re.compile(r"[0-9a-f]{2}")
TRACK_NAME = re.compile(r"[A-Za-z0-9_~-]{1,120}-[0-9a-f]{12}\.h5")
_PLACE = re.compile(f"{SPEC_FOLDER.pattern}/{PART.pattern}/{TRACK_NAME.pattern}")
Refused = Callable[[Path, OSError], object]


def is_place(text: str) -> bool:
    """Whether ``text`` can be the path of a track below a store: no way out of it, and no other kind of file."""
    return _PLACE.fullmatch(text) is not None


def refuse(path: Path, error: OSError) -> NoReturn:
    """:class:`StoreError` of what the system does not let be read: passed over, it would seem not to be there."""
    raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def entries(folder: Path, refused: Refused = refuse) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted by name; nothing where there is none (any more).

    refused
        Told of a folder that cannot be listed, which then counts as empty.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        refused(folder, error)
        return []


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to where nobody may look; listing it says so
        return True


def spec_folders(root: Path) -> list[Path]:
    """Folders of specifications below ``root``, sorted; :class:`UsageError` where there is no such folder.

    :class:`StoreError` where it cannot be listed.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is no folder; name the feature store, the --out of vadpipe extract")
    return [root / entry.name for entry in entries(root) if SPEC_FOLDER.fullmatch(entry.name) and is_folder(entry)]


def places(folder: Path, refused: Refused = refuse) -> Iterator[str]:
    """Paths, below the store and sorted, of the tracks in the folder of one specification.

    :class:`StoreError` where a folder cannot be listed, unless ``refused``, as of :func:`entries`, passes over it.
    """
    for part in entries(folder, refused):
        if PART.fullmatch(part.name):
            for entry in entries(folder / part.name, refused):
                if is_place(place := f"{folder.name}/{part.name}/{entry.name}"):
                    yield place


def strays(root: Path, refused: Refused = refuse) -> Iterator[str]:
    """Paths below ``root`` of files that lie as deep as tracks and are called ``.h5``, but not as a track would be."""
    for folder in entries(root, refused):
        for part in entries(root / folder.name, refused) if is_folder(folder) else []:
            if len(part.name) == 2 and is_folder(part):  # as long as those of PART
                for entry in entries(root / folder.name / part.name, refused):
                    place = f"{folder.name}/{part.name}/{entry.name}"
                    if entry.name.endswith(".h5") and not is_place(place):
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
    try:
        with open_hdf5(path) as file:
            return whole_dataset(file, "frame_index")[()]
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise TrackDamaged(f"{path} is damaged ({error})") from error
