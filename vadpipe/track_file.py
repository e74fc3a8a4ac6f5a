"""One :class:`FeatureTrack` <-> one HDF5 file, and files that are written whole or not at all.

Datasets ``data`` (T, D) or (crops, T, D), ``frame_index`` (T,) and ``pts`` (T,) seconds, and for sound ``state`` (T,)
uint8; attributes hold everything else, a digest over all of it, and ``complete``, which is written last.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vadpipe.errors import StoreError, TrackDamaged
from vadpipe.sound import heard_rows
from vadpipe.spec import FeatureSpec
from vadpipe.tracks import FeatureTrack, TimeGrid

if TYPE_CHECKING:
    import h5py

SCHEMA = "vadpipe.features/1"


def write_track(path: Path, track: FeatureTrack) -> None:
    """Write ``track`` to ``path`` and fsync it; the caller renames it into place."""
    import h5py

    grid, data = track.grid, track.data
    starts = grid.edges_s()[:-1]
    with h5py.File(path, "w", locking=False) as file:  # the rename is the lock; HDF5's fails on many network disks
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
        if track.states is not None:
            file.create_dataset("state", data=track.states)
            attributes["heard_rows"] = int(heard_rows(track.states).sum())
        attributes["content_sha256"] = _content_digest(data, starts, track.states, attributes)
        for name, value in attributes.items():
            file.attrs[name] = value
        file.flush()
        file.attrs["complete"] = True
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


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


def _attributes(file: h5py.File, path: Path) -> dict[str, Any]:
    values = {name: value.item() if isinstance(value, np.generic) else value for name, value in file.attrs.items()}
    if values.get("complete") is not True or values.get("schema") != SCHEMA:
        raise TrackDamaged(f"{path} is not a complete {SCHEMA} file")
    return values


def read_attributes(path: Path) -> tuple[FeatureSpec, dict[str, Any]]:
    """Return the specification and all attributes, without the data; :class:`TrackDamaged` where they are not whole."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            attributes = _attributes(file, path)
            return FeatureSpec.from_mapping(json.loads(attributes["spec"])), attributes
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, StoreError) as error:
        raise TrackDamaged(f"{path} is damaged ({error})") from error


def whole_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return the dataset ``name``, unread; ValueError where it claims more values than the file holds.

    HDF5 makes up what is missing, so that reading a damaged or made-up file could ask for any amount of memory.
    """
    import h5py

    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.dtype.hasobject:
        raise ValueError(f"{name} is no array of numbers")
    if found.nbytes > (there := min(found.id.get_storage_size(), file.id.get_filesize())):
        raise ValueError(f"{name} claims {found.nbytes} bytes, the file holds at most {there} of them")
    return found


def has_sound(attributes: dict[str, Any]) -> bool:
    """True where a row of a stored track has sound; for features that say nothing about it, too."""
    return bool(attributes.get("heard_rows", 1))


def read_track(path: Path, spec: FeatureSpec, video_id: str) -> FeatureTrack:
    """Read and verify; :class:`TrackDamaged` where anything is not what was written for this id and spec."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            attributes = _attributes(file, path)
            data, pts = whole_dataset(file, "data")[()], whole_dataset(file, "pts")[()]
            states = whole_dataset(file, "state")[()] if "state" in file else None
        if attributes["content_sha256"] != _content_digest(data, pts, states, attributes):
            raise TrackDamaged(f"{path}: content does not match its digest")
        if attributes["id"] != video_id or FeatureSpec.from_mapping(json.loads(attributes["spec"])) != spec:
            raise TrackDamaged(f"{path} holds another id or specification than its name says")
        boundaries = (*pts.tolist(), attributes["duration_s"]) if attributes["vfr"] else ()
        grid = TimeGrid(Fraction(attributes["fps"]), attributes["num_frames"], spec.frames_per_snippet, boundaries)
        return FeatureTrack(
            data,
            grid,
            spec,
            video_id,
            attributes["source_size"],
            attributes["source_sha256"],
            attributes["corrupt_packets"],
            states,
        )
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise TrackDamaged(f"{path} is damaged ({error})") from error


def read_grid(path: Path, video_id: str) -> TimeGrid:
    """Return the time grid of a stored track without its data, which only :func:`read_track` verifies."""
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            attributes = _attributes(file, path)
            pts = whole_dataset(file, "pts")[()].tolist() if attributes["vfr"] else []
            boundaries = (*pts, attributes["duration_s"]) if attributes["vfr"] else ()
        if attributes["id"] != video_id:
            raise TrackDamaged(f"{path} holds another id than its name says")
        step = FeatureSpec.from_mapping(json.loads(attributes["spec"])).frames_per_snippet
        return TimeGrid(Fraction(attributes["fps"]), attributes["num_frames"], step, boundaries)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise TrackDamaged(f"{path} is damaged ({error})") from error


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file so that after a crash it holds either the old or the new content, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)  # noqa: PTH105  # the atomic step deserves its own name
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {disk_reason(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Fsync a folder, so that a rename inside it survives a power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_reason(error: OSError) -> str:
    """Say in plain words why the file system refused."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left (disk full or over quota)"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return "the folder cannot be written (permissions, or a read-only disk)"
    return str(error)
