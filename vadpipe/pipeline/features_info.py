"""``vadpipe features info``: what a feature store holds, read from the files' attributes; values are not verified."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vadpipe.errors import StoreError, TrackDamaged
from vadpipe.pipeline.feature_sources import stored_folders, stored_source
from vadpipe.sound import SOUND_STATES
from vadpipe.spec import FeatureSpec
from vadpipe.track_file import read_attributes


@dataclass(slots=True)
class StreamInfo:
    """One specification of a store.

    videos, rows, seconds, file_bytes
        Counts over all readable files; a row counts once, whatever the crops.
    crops, dtypes
        Number of crops, or number type of the stored values -> videos.
    sound_states
        State of a window -> rows, of streams of sound; empty for others.
    damaged
        File name -> reason.
    """

    folder: Path
    spec: FeatureSpec
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
            "digest": self.spec.digest,
            "untrained": self.spec.untrained,
            "videos": self.videos,
            "rows": self.rows,
            "hours": self.seconds / 3600,
            "bytes": self.file_bytes,
            "crops": {str(number): videos for number, videos in sorted(self.crops.items())},
            "dtypes": dict(self.dtypes),
            "sound_states": dict(self.sound_states),
            "corrupt_packets": self.corrupt_packets,
            "damaged": self.damaged,
            "spec": asdict(self.spec),
        }


def features_info(
    store: Path, stream: str | None = None, notify: Callable[[int, int], None] | None = None
) -> list[StreamInfo]:
    """One entry per specification; ``notify(files done, files)`` follows each file.

    :class:`UsageError` where ``store`` is no feature store, or has no such stream.
    """
    sources = [stored_source(folder) for folder in stored_folders(store, stream)]
    total, done, found = sum(len(source.files) for source in sources), 0, []
    for source in sources:
        if source.spec is None:
            raise StoreError(f"{source.place} holds no stored features")
        info = StreamInfo(source.place, source.spec)
        for (path,) in source.files.values():
            try:
                _count(info, path)
            except TrackDamaged as error:
                info.damaged[path.name] = str(error)
            done += 1
            if notify is not None:
                notify(done, total)
        found.append(info)
    return found


def _count(info: StreamInfo, path: Path) -> None:
    import h5py

    _, told = read_attributes(path)
    try:
        with h5py.File(path, "r", locking=False) as file:
            shape, dtype = file["data"].shape, str(file["data"].dtype)
            states = Counter(file["state"][()].tolist()) if "state" in file else Counter()
        named = Counter({SOUND_STATES[number]: count for number, count in states.items()})
        duration = float(told["duration_s"])
        packets = int(told["corrupt_packets"])
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, IndexError) as error:
        raise TrackDamaged(f"{path} is damaged ({error})") from error
    info.videos += 1
    info.rows += shape[-2]
    info.seconds += duration
    info.file_bytes += path.stat().st_size
    info.crops[1 if len(shape) == 2 else shape[0]] += 1
    info.dtypes[dtype] += 1
    info.sound_states.update(named)
    info.corrupt_packets += packets
