"""The ``manifest.jsonl`` of an export: what is known of its videos, now and from earlier exports into the folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vadpipe.errors import DataError
from vadpipe.manifest import VideoRecord, check_id, read_manifest, video_id, write_manifest
from vadpipe.store import MANIFEST
from vadpipe.tracks import FeatureTrack

UNLABELLED = "unlabelled"
"""Stands in the manifest for the labels of a video that nobody gave any."""

_ONLY_THIS = frozenset({UNLABELLED})


@dataclass(slots=True)
class ExportManifest:
    """Records of the videos that were exported.

    labels
        What is said now of the videos' labels, incidents and splits.
    earlier
        What the manifest of an earlier export says. It stands where nothing is said now, and for files that lie there
        and are not exported now.
    unlabelled
        Ids of the exported videos that neither gives a label.

    Notes are of labels that cannot be those of their videos.
    """

    labels: Mapping[str, VideoRecord]
    earlier: Mapping[str, VideoRecord]
    records: dict[str, VideoRecord] = field(default_factory=dict)
    unlabelled: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, out: Path, labels: Sequence[VideoRecord]) -> ExportManifest:
        """Read what lies in the folder ``out``; :class:`DataError` for a manifest that cannot be read."""
        place = out / MANIFEST
        earlier = read_manifest(place) if place.is_file() else []
        return cls({record.id: record for record in labels}, {record.id: record for record in earlier})

    def add(self, track: FeatureTrack) -> None:
        """Note an exported track. Length and rate are its own; incidents that it is too short for are left out."""
        name, frames = track.video_id, track.grid.num_frames
        record = self.labels.get(name) or self.earlier.get(name) or VideoRecord(check_id(name), _ONLY_THIS)
        # a manifest holds fractions of at most nine digits
        fps = track.grid.fps.limit_denominator(10**6)
        try:
            record = replace(record, num_frames=frames, fps=fps)
        except DataError:
            last = max(span.end_frame for span in record.intervals)
            self.notes.append(
                f"{name}: an incident of its labels ends at frame {last}, its features have {frames} frames; "
                f"{MANIFEST} leaves its incidents out. Check that label and video belong together"
            )
            record = replace(record, intervals=(), num_frames=frames, fps=fps)
        self.records[record.id] = record
        if record.labels == _ONLY_THIS:
            self.unlabelled.append(record.id)

    def write(self, out: Path) -> None:
        """Write the manifest: the records of now, and the earlier ones whose files are still there."""
        there = {name for path in out.glob("*.npy") if (name := _id_of(path)) is not None}
        kept = {name: record for name, record in self.earlier.items() if name in there}
        write_manifest(out / MANIFEST, [*{**kept, **self.records}.values()])


def _id_of(path: Path) -> str | None:
    try:
        return video_id(path)
    except DataError:
        return None
