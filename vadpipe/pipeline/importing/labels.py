"""``vadpipe import labels``: lists and annotations of any kind -> ``manifest.jsonl``, which every command reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from vadpipe.datasets import DATASETS, dataset_spec
from vadpipe.datasets.activitynet import read_database
from vadpipe.datasets.folder import labels_from_folders, read_labels
from vadpipe.datasets.ground_truth import names_no_videos, read_truth
from vadpipe.datasets.lists import ListedVideo, first_cells, list_lengths, read_list
from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import SPLITS, VideoRecord, read_manifest, read_text, write_manifest
from vadpipe.tracks import Interval, TimeGrid

_NO_END = 1 << 40  # frames of a video whose length no file states: no span is clipped


@dataclass(slots=True)
class LabelSummary:
    """Records as written, and notes for people."""

    records: list[VideoRecord]
    notes: list[str] = field(default_factory=list)

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Split -> number of videos, of normal ones, of ones with intervals."""
        found = {}
        for split in dict.fromkeys(record.split for record in self.records):
            part = [record for record in self.records if record.split == split]
            normal = sum(not record.is_anomalous for record in part)
            found[split] = (len(part), normal, sum(bool(record.intervals) for record in part))
        return found


def import_labels(
    files: Sequence[Path],
    dataset: str,
    out: Path,
    splits: Sequence[str] = (),
    annotations: Path | None = None,
    order: Path | None = None,
    fps: Fraction | None = None,
) -> LabelSummary:
    """Write the videos of all ``files`` to ``out`` and return them.

    splits
        One for each file, or one for all; () takes what a file says itself, else ``train``.
    annotations, order
        True spans of the videos that are not for training, or of all where there are none such; and the list that
        an array of them follows.
    fps
        Rate where neither a file nor the data set has one; a manifest with spans needs it.

    A video may stand in several files, which then add to each other (a list and a file that states lengths).
    :class:`UsageError` or :class:`DataError` where they contradict each other or a file is wrong; then nothing is
    written.
    """
    if len(splits) not in (0, 1, len(files)):
        raise UsageError(f"--split: got {len(splits)} for {len(files)} files, expected one for each, or one for all")
    if wrong := [split for split in splits if split not in SPLITS]:
        raise UsageError(f"--split: got {wrong[0]!r}, expected one of {', '.join(SPLITS)}")
    if order is not None and annotations is None:
        raise UsageError(f"--order {order} is the order of an array of truth; pass that as --annotations")
    given: list[str | None] = [None] * len(files)
    if splits:
        given = [*splits] * len(files) if len(splits) == 1 else [*splits]
    found: dict[str, VideoRecord] = {}
    for path, split in zip(files, given, strict=True):
        for record in (video.record for video in read_videos(path, dataset, split)):
            earlier = found.get(record.id)
            found[record.id] = record if earlier is None else _joined(earlier, record, path)
    summary = LabelSummary([replace(record, fps=record.fps or fps) for record in found.values()])
    dataset_spec(dataset, summary.records)  # labels that are no classes of the data set
    if annotations is not None:
        summary.records = _with_spans(summary, annotations, order)
    summary.notes += _count_notes(summary, dataset)
    write_manifest(out, summary.records)
    return summary


def read_videos(path: Path, dataset: str, split: str | None = None) -> list[ListedVideo]:
    """Videos of a label folder, ``labels.csv``, ``manifest.jsonl``, ActivityNet JSON or any released list.

    ``split`` goes before what the file says; lists and label folders say nothing and are for training without it.
    """
    if dataset not in DATASETS:
        raise UsageError(f"data set: got {dataset!r}, expected one of {', '.join(DATASETS)}")
    if path.is_dir():
        records = labels_from_folders(path)
    elif names_no_videos(path):
        raise UsageError(f"{path} is an array and names no videos; pass a list, and this as --annotations with --order")
    elif path.suffix.lower() == ".jsonl":
        records = read_manifest(path)
    elif (text := read_text(path).lstrip()).startswith("{"):
        records = _in_classes(read_database(path), dataset, path)
    elif "video" in first_cells(text, path):
        records = read_labels(path)
    else:
        return read_list(path, dataset, split or "train")
    return [ListedVideo(record if split is None else replace(record, split=split)) for record in records]


def _in_classes(records: list[VideoRecord], dataset: str, path: Path) -> list[VideoRecord]:
    """Labels of a ground-truth JSON as classes of the data set: ``Fight`` of CCTV-Fights is ``fighting``."""
    spec = DATASETS[dataset]
    if not spec.anomalies:
        return records
    done = []
    for record in records:
        classes = {label: spec.class_of(label) for label in record.labels}
        if unknown := [label for label, name in classes.items() if name is None]:
            raise DataError(f"{path}: video {record.id!r}: label {unknown[0]!r}, expected one of {spec.names}")
        labels = frozenset(name for name in classes.values() if name is not None)
        done.append(replace(record, labels=labels, fps=record.fps or spec.fps))
    return done


def _joined(earlier: VideoRecord, record: VideoRecord, path: Path) -> VideoRecord:
    for name in ("labels", "split", "num_frames"):
        old, new = getattr(earlier, name), getattr(record, name)
        if old != new and None not in (old, new):
            shown = [sorted(value) if isinstance(value, frozenset) else value for value in (new, old)]
            raise DataError(f"{path}: video {record.id!r}: {name} {shown[0]} here and {shown[1]} in an earlier file")
    return replace(
        earlier,
        num_frames=earlier.num_frames if record.num_frames is None else record.num_frames,
        fps=earlier.fps or record.fps,
        intervals=earlier.intervals or record.intervals,
    )


def _with_spans(summary: LabelSummary, annotations: Path, order: Path | None) -> list[VideoRecord]:
    records = summary.records
    if not names_no_videos(annotations):
        records = _with_lengths(records, annotations)
    about = {record.id: record for record in records if record.split != "train"} or {r.id: r for r in records}
    if nameless := [record.id for record in about.values() if record.fps is None]:
        raise UsageError(f"{nameless[0]!r} and {len(nameless) - 1} others have no frame rate; pass --fps")
    open_ended = [record.id for record in about.values() if record.num_frames is None]
    if open_ended and names_no_videos(annotations):
        raise UsageError(
            f"{annotations} counts frames from video to video, and no file states how long {open_ended[0]!r} and "
            f"{len(open_ended) - 1} others are; add one that does, or use text annotations"
        )
    grids = {
        record.id: TimeGrid(record.fps, _NO_END if record.num_frames is None else record.num_frames)
        for record in about.values()
        if record.fps is not None
    }
    truth = read_truth(annotations, about, grids, summary.notes, order, "the other label files")
    return [_with_intervals(record, truth.get(record.id)) for record in records]


def _with_intervals(record: VideoRecord, intervals: tuple[Interval, ...] | None) -> VideoRecord:
    return record if intervals is None else replace(record, intervals=intervals)


def _with_lengths(records: list[VideoRecord], annotations: Path) -> list[VideoRecord]:
    """Records with the number of frames that a text of annotations states, where they have none themselves."""
    if annotations.suffix.lower() == ".jsonl" or read_text(annotations).lstrip().startswith("{"):
        return records
    lengths = list_lengths(annotations)
    return [
        replace(record, num_frames=lengths.get(record.id)) if record.num_frames is None else record
        for record in records
    ]


def _count_notes(summary: LabelSummary, dataset: str) -> list[str]:
    official = DATASETS[dataset].counts
    return [
        f"{split}: {count} videos, officially {dataset} has {official[split]}"
        for split, (count, _, _) in summary.counts().items()
        if split in official and count != official[split]
    ]
