"""``vadpipe features info``: what a feature store holds, read from the files' attributes; values are not verified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vadpipe.errors import TrackDamaged
from vadpipe.pipeline.features.sources import stored_folders, stored_source
from vadpipe.sound import SOUND_STATES
from vadpipe.spec import FeatureSpec
from vadpipe.track_file import open_hdf5, read_attributes, whole_dataset


@dataclass(slots=True)
class StreamInfo:
    """One specification of a store.

    videos, rows, seconds, file_bytes
        Counts over all readable files; a row counts once, whatever the crops.
    crops, dtypes
        Number of crops, or number type of the stored values -> videos.
    sound_states
        State of a window -> rows, of streams of sound; empty for others.
    spec
        None where no file can be read.
    damaged
        File name -> reason.
    """

    folder: Path
    spec: FeatureSpec | None
    videos: int = 0
    rows: int = 0
    seconds: float = 0.0
    file_bytes: int = 0
    crops: Counter[int] = field(default_factory=Counter)
    dtypes: Counter[str] = field(default_factory=Counter)
    sound_states: Counter[str] = field(default_factory=Counter)
    corrupt_packets: int = 0
    damaged: dict[str, str] = field(default_factory=dict)

    def to_mapping(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "folder": self.folder.name,
            "digest": self.spec.digest if self.spec else None,
            "untrained": self.spec.untrained if self.spec else None,
            "videos": self.videos,
            "rows": self.rows,
            "hours": self.seconds / 3600,
            "bytes": self.file_bytes,
            "crops": {str(number): videos for number, videos in sorted(self.crops.items())},
            "dtypes": dict(self.dtypes),
            "sound_states": dict(self.sound_states),
            "corrupt_packets": self.corrupt_packets,
            "damaged": self.damaged,
            "spec": asdict(self.spec) if self.spec else None,
        }


def features_info(
    store: Path, stream: str | None = None, notify: Callable[[int, int], None] | None = None
) -> list[StreamInfo]:
    """One entry per specification; ``notify(files done, files)`` follows each file.

    A folder in which no file can be read has an entry without a specification, where all files are damaged.
    :class:`UsageError` where ``store`` is no feature store, or has no such stream.
    """
    todo = [_files(folder) for folder in stored_folders(store, stream)]
    total, done, found = sum(len(files) for _, files in todo), 0, []
    for info, files in todo:
        for path in files:
            try:
                _count(info, path)
            except TrackDamaged as error:
                info.damaged[path.name] = str(error)
            done += 1
            if notify is not None:
                notify(done, total)
        found.append(info)
    return found


def _files(folder: Path) -> tuple[StreamInfo, list[Path]]:
    try:
        source = stored_source(folder)
    except TrackDamaged:  # each file says why when it is looked at
        return StreamInfo(folder, None), sorted(folder.glob("[0-9a-f][0-9a-f]/*.h5"))
    return StreamInfo(folder, source.spec), [path for (path,) in source.files.values()]


def _count(info: StreamInfo, path: Path) -> None:
    _, told = read_attributes(path)
    try:
        with open_hdf5(path) as file:
            data = whole_dataset(file, "data")
            shape, dtype = data.shape, str(data.dtype)
            states = Counter(whole_dataset(file, "state")[()].tolist()) if "state" in file else Counter()
        crops, rows = (1, shape[0]) if len(shape) == 2 else shape[:-1]
        named = Counter({SOUND_STATES[number]: count for number, count in states.items()})
        duration = float(told["duration_s"])
        packets = int(told["corrupt_packets"])
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, IndexError, MemoryError) as error:
        raise TrackDamaged(f"{path} is damaged ({error})") from error
    info.videos += 1
    info.rows += rows
    info.seconds += duration
    info.file_bytes += path.stat().st_size
    info.crops[crops] += 1
    info.dtypes[dtype] += 1
    info.sound_states.update(named)
    info.corrupt_packets += packets
