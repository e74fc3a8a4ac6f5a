"""Features wherever they lie: a store, one stream's folder in it, a folder of ``.npy``, or one file.

Nothing is changed by reading: a damaged file is reported where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.datasets.lists import crop_number
from vadpipe.errors import DataError, TrackDamaged, UsageError
from vadpipe.manifest import video_id
from vadpipe.pipeline.features.npy_file import read_npy
from vadpipe.pipeline.features.stored_crops import imported_splits, stored_crops
from vadpipe.pipeline.importing.released_files import walk
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.track_file import read_attributes, read_track
from vadpipe.tracks import FeatureTrack, TimeGrid


@dataclass(frozen=True, slots=True)
class VideoRows:
    """Features of one video.

    data, crops
        (T, D) or (crops, T, D) float16 or float32, finite; the numbers of the crops, one for (T, D).
    grid, states
        Time and, of sound, what each row's window held (:class:`FeatureTrack`); None of ``.npy`` files.
    """

    data: NDArray[Any]
    crops: tuple[int, ...]
    grid: TimeGrid | None = None
    states: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class FeatureSource:
    """Where the features of some videos are.

    files
        Id -> files in the order of their crops; one file unless it is a folder of crops.
    spec
        Of a store; None for ``.npy``.
    splits
        Id -> split, of stored features whose crops depend on it (:func:`stored_crops`).
    is_single
        One file was named: it may be compared with a file of another name.
    """

    place: Path
    files: Mapping[str, tuple[Path, ...]]
    spec: FeatureSpec | None = None
    splits: Mapping[str, str] = field(default_factory=dict)
    is_single: bool = False

    def rows(self, video: str) -> VideoRows:
        """Read one video; :class:`DataError` or :class:`TrackDamaged` for a file that cannot be used."""
        paths = self.files[video]
        if self.spec is not None:
            track = read_track(paths[0], self.spec, video)
            return VideoRows(track.data, self.crops(track), track.grid, track.states)
        arrays = [read_npy(path).data for path in paths]
        if len({(array.shape, array.dtype) for array in arrays}) > 1:
            shapes = ", ".join(
                f"{path.name} {array.dtype} {array.shape}" for path, array in zip(paths, arrays, strict=True)
            )
            raise DataError(f"{video}: its crops differ: {shapes}")
        data = arrays[0] if len(arrays) == 1 else np.stack(arrays)
        return VideoRows(data, tuple(crop_number(path.name) for path in paths))

    def crops(self, track: FeatureTrack) -> tuple[int, ...]:
        """Numbers of the crops of a stored track of this source; :class:`DataError` where they are not known."""
        count = 1 if track.data.ndim == 2 else len(track.data)
        return stored_crops(track.spec, count, self.splits.get(track.video_id))

    def read(self, video: str) -> NDArray[Any]:
        """The values of :meth:`rows`."""
        return self.rows(video).data


def open_source(place: Path, stream: str | None = None, spec_hash: str | None = None) -> FeatureSource:
    """Find the features at ``place``.

    place
        A store, ``<store>/<stream>-<hash8>``, a folder with ``.npy`` files at any depth, an ``.npy`` or a stored
        ``.h5`` file.
    stream, spec_hash
        Which of a store's specifications: its stream, the beginning of its digest. Needed where there are several;
        without a meaning elsewhere.

    :class:`UsageError` where there is nothing, or more than one specification is left; :class:`DataError` where one id
    and crop has two files.
    """
    if place.is_file():
        return _of_file(place)
    if not place.is_dir():
        raise UsageError(f"{place} does not exist; expected a feature store, a folder of .npy files, or a file")
    stored = [place] if _holds_tracks(place) else [path for path in sorted(place.glob("*-*")) if _holds_tracks(path)]
    if stored:
        return stored_source(_chosen(place, stored, stream, spec_hash))
    return _of_folder(place)


def stored_source(folder: Path) -> FeatureSource:
    """The tracks of one specification, ``<store>/<stream>-<hash8>``, by the store's index or, where it lags, a scan."""
    paths = sorted(folder.glob("[0-9a-f][0-9a-f]/*.h5"))
    spec = _spec_of(folder)
    entries = FeatureStore(folder.parent).index(spec) if spec.folder == folder.name else {}
    files = {name: folder / entry.file for name, entry in entries.items()}
    if sorted(files.values()) != paths:
        files = {_id_of(path): path for path in paths}
    splits = imported_splits(spec, folder.parent)
    return FeatureSource(folder, {name: (files[name],) for name in sorted(files)}, spec, splits)


def stored_folders(store: Path, stream: str | None = None, spec_hash: str | None = None) -> list[Path]:
    """Folders of a store's specifications; :class:`UsageError` where there is none, or none that was asked for."""
    if not store.is_dir():
        raise UsageError(f"{store} is not a folder; expected a feature store")
    folders = [store] if _holds_tracks(store) else [path for path in sorted(store.glob("*-*")) if _holds_tracks(path)]
    if not folders:
        raise UsageError(f"{store} holds no features; expected a feature store, as vadpipe extract writes it")
    chosen = [folder for folder in folders if _is_meant(folder, stream, spec_hash)]
    if not chosen:
        raise UsageError(f"{store} has no such features, only {', '.join(folder.name for folder in folders)}")
    return chosen


def _chosen(store: Path, folders: list[Path], stream: str | None, spec_hash: str | None) -> Path:
    chosen = stored_folders(store, stream, spec_hash)
    if len(chosen) > 1:
        names = ", ".join(folder.name for folder in chosen)
        raise UsageError(f"{store} has {len(folders)} specifications; choose by --stream or --spec-hash: {names}")
    return chosen[0]


def _is_meant(folder: Path, stream: str | None, spec_hash: str | None) -> bool:
    own_stream, _, own_hash = folder.name.rpartition("-")
    if stream is not None and stream != own_stream:
        return False
    return spec_hash is None or (own_hash.startswith(spec_hash[:8]) and _spec_of(folder).digest.startswith(spec_hash))


def _holds_tracks(folder: Path) -> bool:
    return next(folder.glob("[0-9a-f][0-9a-f]/*.h5"), None) is not None


def _spec_of(folder: Path) -> FeatureSpec:
    """Specification of a folder's first sound file."""
    reason = ""
    for path in sorted(folder.glob("[0-9a-f][0-9a-f]/*.h5")):
        try:
            return read_attributes(path)[0]
        except TrackDamaged as error:
            reason = reason or str(error)
    raise TrackDamaged(f"{folder} holds no readable features; {reason}")


def _id_of(path: Path) -> str:
    try:
        return str(read_attributes(path)[1]["id"])
    except TrackDamaged:
        return path.stem  # it fails, under this name, when it is read


def _of_file(path: Path) -> FeatureSource:
    if path.suffix.lower() == ".npy":
        return FeatureSource(path, {video_id(path): (path,)}, is_single=True)
    if path.suffix.lower() == ".h5":
        spec, told = read_attributes(path)
        splits = imported_splits(spec, path.absolute().parent.parent.parent)
        return FeatureSource(path, {str(told["id"]): (path,)}, spec, splits, is_single=True)
    raise UsageError(f"{path}: got suffix {path.suffix!r}, expected a folder, .npy or .h5")


def _of_folder(folder: Path) -> FeatureSource:
    crops: dict[str, dict[int, Path]] = {}
    for path in walk(folder, (".npy",), hidden=True):
        if path.name.startswith("._"):
            continue  # what macOS puts beside a file on other disks, under its name
        try:
            name = video_id(path)
        except DataError:
            continue  # a name that can be no id; nothing of the other side can mean it
        other = crops.setdefault(name, {}).setdefault(crop_number(path.name), path)
        if other != path:
            raise DataError(f"{name!r}: {other} and {path} are the same crop; narrow the folder")
    if not crops:
        raise UsageError(f"{folder} holds neither stored features nor .npy files")
    return FeatureSource(
        folder, {name: tuple(crops[name][crop] for crop in sorted(crops[name])) for name in sorted(crops)}
    )
