"""The detections of one run, kept for its end in a file without a name, so that memory does not grow with them.

Tables, pages, exports of all videos and ``--json`` come after the last video. Each reads the detections one by one.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
import weakref
from array import array
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from vadpipe.detection import AudioUse, Detection
from vadpipe.errors import StoreError
from vadpipe.track_file import disk_reason
from vadpipe.tracks import Interval, ScoreTrack, TimeGrid, VideoClip

Item = TypeVar("Item")

_MOST_HELD_BYTES = 1 << 20  # a run of a few videos needs no file
_HEADER_BYTES = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """The video file, what was found in it, and the name of the file with its scores."""

    path: Path
    detection: Detection
    scores_file: str


class Seen(Sequence[Item]):
    """A sequence whose items are made when they are asked for, and not kept."""

    def __init__(self, count: int, make: Callable[[int], Item]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        return map(self._make, range(self._count))

    @overload
    def __getitem__(self, at: int) -> Item: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Item]: ...
    def __getitem__(self, at: int | slice) -> Item | Sequence[Item]:
        if isinstance(at, slice):
            places = range(self._count)[at]
            return Seen(len(places), lambda number: self._make(places[number]))
        return self._make(range(self._count)[at])


class Kept:
    """Adds findings in any order, gives them back in the order of their places. 16 bytes of memory for each.

    The file lies in ``folder``, which has to be there by the time about a MiB has come together. It has no name, so
    nothing is left of it, however the process ends. Where a file system has none, that of temporary files is taken,
    and at last memory; ``say`` is told once.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self._folder, self._say = folder, say
        self._index = array("q")  # place and offset of each: one list, so that an interrupt cannot leave half of one
        self._in_memory = False
        self._tail, self._written = bytearray(), 0
        self._shared: list[tuple[Any, ...]] = []
        self._handle: int | None = None

    def __len__(self) -> int:
        return len(self._index) // 2

    def add(self, place: int, finding: Finding) -> None:
        """Keep one more, in memory for now; ``place`` orders it among the others."""
        record = _packed(finding, self._share(finding.detection))
        offset = self._written + len(self._tail)
        self._tail += len(record).to_bytes(_HEADER_BYTES, "little") + record
        at = 2 * bisect(range(len(self)), place, key=lambda number: self._index[2 * number])
        self._index[at:at] = array("q", (place, offset))

    def spill(self) -> None:
        """Move what is held to the file, where it is much. :class:`StoreError` where the disk is full: nothing is lost.

        Apart from :meth:`add`, so that what is wanted of a video alone can be written before such an end.
        """
        if len(self._tail) > _MOST_HELD_BYTES and not self._in_memory:
            self._spill()

    def findings(self) -> Sequence[Finding]:
        """All that there are now."""
        return Seen(len(self), self._read)

    def detections(self) -> Sequence[Detection]:
        """The same without their files."""
        return Seen(len(self), lambda number: self._read(number).detection)

    def _read(self, number: int) -> Finding:
        offset = self._index[2 * number + 1]
        size = int.from_bytes(self._bytes(offset, _HEADER_BYTES), "little")
        return _unpacked(self._bytes(offset + _HEADER_BYTES, size), self._shared)

    def _share(self, detection: Detection) -> int:
        """What many videos have in common is held once: its number."""
        common = (
            *(detection.provenance, detection.params, detection.zero_shot, detection.calibration),
            *(detection.scores.labels, detection.scores.zero_shot),
        )
        if common not in self._shared:
            self._shared.append(common)
        return self._shared.index(common)

    def _spill(self) -> None:
        """Where it fails, memory holds on to what is held."""
        if self._handle is None:
            self._begin_file()
            return
        try:
            at = _write(self._handle, self._tail, self._written)
        except OSError as error:
            raise StoreError(
                f"cannot keep what was found for the end of the run, in {self._folder}: {disk_reason(error)}"
            ) from error
        self._written, self._tail = at, bytearray()  # in this order: between the two, all can be read

    def _begin_file(self) -> None:
        """Open the file and write what is held, in the first place that takes it: it may refuse at the first byte."""
        told = ""
        for folder in (self._folder, Path(tempfile.gettempdir())):
            try:
                with tempfile.TemporaryFile(dir=folder) as file:
                    at = _write(file.fileno(), self._tail, 0)
                    _read_back(file.fileno())
                    handle = os.dup(file.fileno())
            except OSError as error:
                told = told or f"{folder} takes no file without a name ({error.strerror or error})"
                continue
            weakref.finalize(self, os.close, handle)
            self._handle = handle
            self._written, self._tail = at, bytearray()
            if told:
                self._say(f"warning: {told}; what was found is kept in {folder} until the end of the run")
            self._folder = folder
            return
        self._in_memory = True
        self._say(f"warning: {told}, nor does {folder}; what was found is kept in memory until the end of the run")

    def _bytes(self, offset: int, size: int) -> bytes:
        if offset >= self._written or self._handle is None:
            return bytes(self._tail[offset - self._written : offset - self._written + size])
        read = b""
        while len(read) < size:
            if not (more := os.pread(self._handle, size - len(read), offset + len(read))):
                raise StoreError(f"what was found was cut off meanwhile, in {self._folder}")
            read += more
        return read


def _write(handle: int, content: bytearray, at: int) -> int:
    """Write all of it at an offset; returns the offset behind it."""
    view = memoryview(content)
    while view:
        count = os.pwrite(handle, view, at)
        view, at = view[count:], at + count
    return at


def _read_back(handle: int) -> None:
    """OSError where what was written cannot be read: some mounts lose a file that has no name."""
    if len(os.pread(handle, 1, 0)) != 1:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def _packed(finding: Finding, shared: int) -> bytes:
    """One line of JSON, then the bytes of the arrays."""
    detection = finding.detection
    clip, scores = detection.clip, detection.scores
    grid = scores.grid
    arrays = (np.asarray(scores.anomaly), np.asarray(scores.categories), np.array(grid.boundaries_s, np.float64))
    told = {
        "path": os.fspath(finding.path),
        "scores_file": finding.scores_file,
        "shared": shared,
        "clip": [str(part) if isinstance(part, Fraction) else part for part in astuple(clip)],
        "grid": [str(grid.fps), grid.num_frames, grid.frames_per_snippet],
        "intervals": [astuple(item) for item in detection.intervals],
        "audio": astuple(detection.audio),
        "warnings": detection.warnings,
        "arrays": [[array.dtype.str, array.shape] for array in arrays],
    }
    line = json.dumps(told, default=lambda number: number.item()).encode()  # numbers of numpy
    return b"".join((line, b"\n", *(np.ascontiguousarray(array).tobytes() for array in arrays)))


def _unpacked(record: bytes, common: Sequence[tuple[Any, ...]]) -> Finding:
    line, _, rest = record.partition(b"\n")
    told, arrays = json.loads(line), []
    for kind, shape in told["arrays"]:
        count = int(np.prod(shape))
        arrays.append(np.frombuffer(rest, kind, count).reshape(shape))
        rest = rest[arrays[-1].nbytes :]
    provenance, params, zero_shot, calibration, labels, untrained = common[told["shared"]]
    name, path, width, height, fps, *facts = told["clip"]
    rate, frames, step = told["grid"]
    grid = TimeGrid(Fraction(rate), frames, step, tuple(arrays[2].tolist()))
    detection = Detection(
        VideoClip(name, path, width, height, Fraction(fps), *facts),
        tuple(Interval(*item) for item in told["intervals"]),
        ScoreTrack(arrays[0], arrays[1], labels, grid, untrained),
        provenance,
        tuple(told["warnings"]),
        AudioUse(*told["audio"]),
        params,
        zero_shot,
        calibration,
    )
    return Finding(Path(told["path"]), detection, told["scores_file"])
