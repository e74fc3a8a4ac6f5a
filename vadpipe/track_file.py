"""One :class:`FeatureTrack` <-> one HDF5 file.

Datasets ``data`` (T, D) or (crops, T, D), ``frame_index`` (T,) and ``pts`` (T,) seconds, and for sound ``state`` (T,)
uint8; attributes hold everything else, a digest over all of it, and ``complete``, which is written last.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vadpipe.errors import StoreError, TrackDamaged, TrackMissing
from vadpipe.outside import NoRegularFile, parse_json, require_regular
from vadpipe.sound import heard_rows
from vadpipe.spec import FeatureSpec
from vadpipe.tracks import FeatureTrack, TimeGrid
from vadpipe.whole_file import atomic_write as atomic_write
from vadpipe.whole_file import atomic_write_parts as atomic_write_parts
from vadpipe.whole_file import disk_reason as disk_reason
from vadpipe.whole_file import sync_folder as sync_folder

if TYPE_CHECKING:
    import h5py

SCHEMA = "vadpipe.features/1"
_READ_ERRORS = (OSError, KeyError, ValueError, TypeError, ArithmeticError, RuntimeError, MemoryError)
_KINDS: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "spec": str,
    "fps": str,
    "num_frames": int,
    "duration_s": (float, int),
    "vfr": bool,
    "source_size": int,
    "source_sha256": str,
    "corrupt_packets": int,
}
_MOST_ATTRIBUTES = 64
_RATE = re.compile(r"[0-9]{1,400}(/[0-9]{1,400})?")


class _PatientFile(io.FileIO):
    """A new file that takes all that it is given, and keeps the first refusal of the disk for later.

    HDF5 must not see one: where a write fails (disk full, quota) it cannot close its file and ends the process with a
    segmentation fault, now or at exit.
    """

    refused: OSError | None = None

    def write(self, content: Any) -> int:
        """Write all of ``content``, which may be a view of any type; nothing after a refusal."""
        left = memoryview(content).cast("B")
        size = len(left)
        try:
            while left and self.refused is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.refused = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the length; nothing after a refusal."""
        try:
            if self.refused is None:
                return super().truncate(size)
        except OSError as error:
            self.refused = error
        return size or 0


def write_track(path: Path, track: FeatureTrack) -> None:
    """Write ``track`` to ``path`` and fsync it; the caller renames it into place. OSError where the disk refuses."""
    path.unlink(missing_ok=True)  # as of whole_file.open_new
    with _PatientFile(path, "x+") as file:
        try:
            _write_hdf5(file, track)
        finally:  # whatever HDF5 made of it, the refusal is the reason
            if file.refused is not None:
                raise file.refused
        os.fsync(file.fileno())


def _write_hdf5(target: io.FileIO, track: FeatureTrack) -> None:
    import h5py

    grid, data = track.grid, track.data
    starts = grid.edges_s()[:-1]
    with h5py.File(target, "w") as file:  # a file object is not locked: the rename is the lock, many disks have none
        chunks = (*([1] if data.ndim == 3 else []), min(256, data.shape[-2]), data.shape[-1]) if data.size else None
        file.create_dataset("data", data=data, chunks=chunks, fletcher32=chunks is not None)
        file.create_dataset("frame_index", data=grid.sampled_frames(track.spec.offset))
        file.create_dataset("pts", data=starts)
        attributes = {
            "schema": SCHEMA,
            "id": track.video_id,
            "spec": track.spec.to_json(),
            "fps": str(grid.fps),
            "num_frames": grid.num_frames,
            "duration_s": grid.duration_s,
            "vfr": grid.vfr,
            "source_size": track.source_size,
            "source_sha256": track.source_sha256,
            "corrupt_packets": track.corrupt_packets,
        }
        if track.warnings:  # files without them keep the digest that they have
            attributes["warnings"] = json.dumps(track.warnings)
        if track.states is not None:
            file.create_dataset("state", data=track.states)
            attributes["heard_rows"] = int(heard_rows(track.states).sum())
        attributes["content_sha256"] = _content_digest(data, starts, track.states, attributes)
        for name, value in attributes.items():
            file.attrs[name] = value
        file.flush()
        file.attrs["complete"] = True


def _content_digest(
    data: np.ndarray[Any, Any],
    pts: np.ndarray[Any, Any],
    states: np.ndarray[Any, Any] | None,
    attributes: dict[str, Any],
) -> str:
    told = {name: attributes[name] for name in sorted(attributes) if name not in ("content_sha256", "complete")}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode("utf-8", "surrogatepass"))
    digest.update(np.ascontiguousarray(data).reshape(-1).view(np.uint8).data)  # no copy: it may be large
    digest.update(np.ascontiguousarray(pts, dtype=np.float64).tobytes())
    if states is not None:  # files without states keep the digest that they have
        digest.update(np.ascontiguousarray(states).tobytes())
    return digest.hexdigest()


def _claimed(attribute: h5py.h5a.AttrID) -> int:
    values: int = attribute.get_space().get_simple_extent_npoints()
    return values * int(attribute.dtype.itemsize)


def _attributes(file: h5py.File, path: Path) -> dict[str, Any]:
    if len(file.attrs) > _MOST_ATTRIBUTES:  # each is looked for anew: some ten thousand take minutes
        raise TrackDamaged(f"{path} is damaged: it has {len(file.attrs)} attributes")
    if sum(_claimed(file.attrs.get_id(name)) for name in file.attrs) > file.id.get_filesize():
        raise TrackDamaged(f"{path} is damaged: its attributes claim more than it holds")
    values = {name: value.item() if isinstance(value, np.generic) else value for name, value in file.attrs.items()}
    if values.get("complete") is not True or values.get("schema") != SCHEMA:
        raise TrackDamaged(f"{path} is not a complete {SCHEMA} file")
    for name, kind in _KINDS.items():  # the index and all readers rely on them
        if not isinstance(values.get(name), kind):
            raise TrackDamaged(f"{path} is damaged: its {name} is no {'text' if kind is str else 'number'}")
    return values


def open_hdf5(path: Path) -> h5py.File:
    """Open a regular file for reading, without a lock; OSError for anything else, and where it is no HDF5."""
    import h5py

    require_regular(path)  # HDF5 would wait for a pipe
    return h5py.File(path, "r", locking=False)


def read_attributes(path: Path) -> tuple[FeatureSpec, dict[str, Any]]:
    """Return the specification and all attributes, without the data; :class:`TrackDamaged` where they are not whole."""
    try:
        with open_hdf5(path) as file:
            attributes = _attributes(file, path)
            return FeatureSpec.from_mapping(parse_json(attributes["spec"])), attributes
    except TrackDamaged:
        raise
    except (*_READ_ERRORS, StoreError) as error:
        raise _read_error(path, error) from error


def whole_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return the dataset ``name``, unread; ValueError where it claims more values than the file holds, or is elsewhere.

    HDF5 makes up what is missing, so that reading a damaged or made-up file could ask for any amount of memory; and it
    follows links and storage in other files, so that a made-up file could pass off any file here as features.
    """
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link")
    found = file[name]
    if isinstance(found, h5py.Dataset) and (found.is_virtual or found.external is not None):
        raise ValueError(f"{name} is stored in other files")
    if not isinstance(found, h5py.Dataset) or found.dtype.hasobject:
        raise ValueError(f"{name} is no array of numbers")
    if found.nbytes > (there := min(found.id.get_storage_size(), file.id.get_filesize())):
        raise ValueError(f"{name} claims {found.nbytes} bytes, the file holds at most {there} of them")
    if found.chunks and math.prod(found.chunks) * found.dtype.itemsize > there:  # one is unpacked as a whole
        raise ValueError(f"{name} lies in chunks of {found.chunks} values, the file holds {there} bytes of them")
    return found


def _rate(text: str) -> Fraction:
    """Frames per second as :func:`write_track` writes them; no exponent, which could ask for any amount of memory."""
    if not _RATE.fullmatch(text):
        raise ValueError(f"fps is no rate: {text[:40]!r}")
    return Fraction(text)


def has_sound(attributes: dict[str, Any]) -> bool:
    """True where a row of a stored track has sound; for features that say nothing about it, too."""
    return bool(attributes.get("heard_rows", 1))


def read_track(path: Path, spec: FeatureSpec, video_id: str) -> FeatureTrack:
    """Read and verify; :class:`TrackDamaged` where anything is not what was written for this id and spec."""
    try:
        with open_hdf5(path) as file:
            attributes = _attributes(file, path)
            data, pts = whole_dataset(file, "data")[()], whole_dataset(file, "pts")[()]
            states = whole_dataset(file, "state")[()] if "state" in file else None
        if attributes["content_sha256"] != _content_digest(data, pts, states, attributes):
            raise TrackDamaged(f"{path}: content does not match its digest")
        if attributes["id"] != video_id or FeatureSpec.from_mapping(parse_json(attributes["spec"])) != spec:
            raise TrackDamaged(f"{path} holds another id or specification than its name says")
        boundaries = (*pts.tolist(), attributes["duration_s"]) if attributes["vfr"] else ()
        grid = TimeGrid(_rate(attributes["fps"]), attributes["num_frames"], spec.frames_per_snippet, boundaries)
        return FeatureTrack(
            data,
            grid,
            spec,
            video_id,
            attributes["source_size"],
            attributes["source_sha256"],
            attributes["corrupt_packets"],
            states,
            _warnings(attributes),
        )
    except _READ_ERRORS as error:
        raise _read_error(path, error) from error


def _warnings(attributes: dict[str, Any]) -> tuple[str, ...]:
    """None in files of before they were kept; ValueError where they are no texts."""
    found = parse_json(attributes.get("warnings", "[]"))
    if not (isinstance(found, list) and all(isinstance(text, str) for text in found)):
        raise ValueError("warnings are no list of texts")
    return tuple(found)


def read_grid(path: Path, video_id: str) -> TimeGrid:
    """Return the time grid of a stored track without its data, which only :func:`read_track` verifies."""
    try:
        with open_hdf5(path) as file:
            attributes = _attributes(file, path)
            pts = whole_dataset(file, "pts")[()].tolist() if attributes["vfr"] else []
            boundaries = (*pts, attributes["duration_s"]) if attributes["vfr"] else ()
        if attributes["id"] != video_id:
            raise TrackDamaged(f"{path} holds another id than its name says")
        step = FeatureSpec.from_mapping(parse_json(attributes["spec"])).frames_per_snippet
        return TimeGrid(_rate(attributes["fps"]), attributes["num_frames"], step, boundaries)
    except _READ_ERRORS as error:
        raise _read_error(path, error) from error


def _read_error(path: Path, error: Exception) -> StoreError:
    """Damage, unless it was the system that refused: then the file may be whole, and must not be moved away."""
    if isinstance(error, FileNotFoundError):
        return TrackMissing(f"{path} is gone")
    if isinstance(error, MemoryError):
        return StoreError(f"cannot read {path}: not enough memory")
    if isinstance(error, NoRegularFile):
        return StoreError(f"cannot read {path}: {error.strerror}")
    if isinstance(error, OSError) and error.errno is not None:  # HDF5 gives none where the content is at fault
        return StoreError(f"cannot read {path}: {os.strerror(error.errno)}")
    return TrackDamaged(f"{path} is damaged ({error})")
