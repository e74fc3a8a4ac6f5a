"""Ground truth of any kind, told apart by what is in the file: when the incidents of a set of videos happen.

- text: :mod:`vadpipe.datasets.annotations`, ids and frames;
- JSON with ``database``: :mod:`vadpipe.datasets.activitynet`, ids and seconds;
- ``manifest.jsonl``: the intervals of its records;
- ``.npy`` of numbers: 0 or 1 for every frame, all videos joined in the order of a list;
- ``.npy`` of objects: ``gt_segment*.npy`` beside ``gt_label*.npy``, one entry a video, in the order of a list.

Arrays name no video, so they need that list. The features' length of a video counts: where a file states another, by
up to one snippet, its truth is cut at the tail or padded as normal, and said; more is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vadpipe.datasets.activitynet import read_segments
from vadpipe.datasets.annotations import read_annotations
from vadpipe.datasets.lists import list_lengths
from vadpipe.datasets.npy import open_array
from vadpipe.datasets.object_arrays import is_object_array, read_object_array
from vadpipe.datasets.spans import FEATURES, TruthTable, few
from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord, read_manifest, read_text
from vadpipe.outside import open_regular
from vadpipe.tracks import NORMAL, Interval, TimeGrid

_FRAME = re.compile(r"[0-9]{1,18}")
_NPY = b"\x93NUMPY"

Truth = dict[str, tuple[Interval, ...]]


def read_truth(
    path: str | Path,
    records: Mapping[str, VideoRecord],
    grids: Mapping[str, TimeGrid],
    notes: list[str] | None = None,
    order: str | Path | None = None,
    beside: str = FEATURES,
) -> Truth:
    """True incidents by id, sorted by start, for the videos that are both in ``records`` and in ``grids``.

    Normal videos are there with an empty tuple; an anomalous video that the file does not mention is left out.

    ``grids`` are of the features that the truth is compared with, or of what ``beside`` says in words. ``notes`` gets a
    sentence for whatever was clipped, padded, left out or passed over. ``order`` is the list, of any kind that
    :mod:`vadpipe.datasets.lists` reads, whose order an array follows.

    :class:`UsageError` for a file that cannot be opened and an array without ``order``; :class:`DataError` for a file
    that is malformed or does not fit the videos.
    """
    path = Path(path)
    if names_no_videos(path):
        if order is None:
            raise UsageError(f"{path} names no videos; pass the list whose order it follows (--order)")
        table = TruthTable(records, grids, beside)
        try:
            if is_object_array(path):
                _add_segments(path, list_lengths(order), table)
            else:
                _add_frames(path, list_lengths(order), table, grids)
        except DataError as error:
            raise DataError(f"{path}, in the order of {order}: {error}") from error
        return table.truth(path, notes)
    if order is not None and notes is not None:
        notes.append(f"{path} names its videos; the order of {order} was not needed")
    if path.suffix.lower() == ".jsonl":
        return truth_of_records(read_manifest(path), records, grids, path, notes, beside)
    read = read_segments if read_text(path).lstrip().startswith("{") else read_annotations
    return read(path, records, grids, notes, beside)


def names_no_videos(path: Path) -> bool:
    """Whether a file of ground truth is an array, which needs a list of videos to be understood."""
    try:
        with open_regular(path) as file:
            return file.read(len(_NPY)) == _NPY
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def truth_of_records(
    told: Iterable[VideoRecord],
    records: Mapping[str, VideoRecord],
    grids: Mapping[str, TimeGrid],
    source: str | Path,
    notes: list[str] | None = None,
    beside: str = FEATURES,
) -> Truth:
    """Intervals that the records ``told`` hold, under the rules of :func:`read_truth`; ``source`` is named in messages.

    Frames count, not seconds: those are taken from the grids. An anomalous record without intervals says nothing.
    """
    table = TruthTable(records, grids, beside)
    for record in told:
        known = bool(record.intervals) or not record.is_anomalous
        if not known or not table.mention(record.id):
            continue
        if record.num_frames is not None:
            table.set_length(record.id, record.num_frames)
        for span in record.intervals:
            table.add(record.id, span.start_frame, span.end_frame, table.category(span.category))
    return table.truth(source, notes)


def _add_frames(path: Path, listed: Mapping[str, int | None], table: TruthTable, grids: Mapping[str, TimeGrid]) -> None:
    """Put the runs of ones of a frame-level array into the table."""
    frames = open_array(path)
    if frames.ndim != 1 or frames.dtype.kind not in "biuf":
        raise DataError(f"got {frames.dtype} {frames.shape}, expected one number a frame, (N,)")
    several = []
    for video, start, end in _layout(len(frames), _lengths(listed, grids), table, grids):
        part = np.asarray(frames[start:end])
        if not ((part == 0) | (part == 1)).all():
            raise DataError(f"video {video!r}: values other than 0 and 1")
        if not table.mention(video):
            continue
        record = table.wanted[video]
        if not record.is_anomalous and part.any():
            raise DataError(
                f"video {video!r} is labelled {NORMAL}, but {int(part.sum())} frames at its place in the array are "
                "abnormal; the array follows another list"
            )
        table.set_length(video, end - start)
        several += [video] if len(record.labels) > 1 else []
        edges = np.flatnonzero(np.diff(part != 0, prepend=False, append=False))
        for first, last in edges.reshape(-1, 2).tolist():
            for category in sorted(record.labels):
                table.add(video, first, last, category)
    if several:
        table.notes.append(
            f"{len(several)} videos have several labels and the array does not say which one holds when; each span "
            f"counts for all of them, so only AP and AUC can be trusted there: {few(several)}"
        )


def _lengths(listed: Mapping[str, int | None], grids: Mapping[str, TimeGrid]) -> dict[str, int]:
    """Frames of every video of the list: as the list states, else of the features."""
    if missing := [video for video, frames in listed.items() if frames is None and video not in grids]:
        raise DataError(
            f"{len(missing)} videos of the list have no features, so where the others begin in the array is not known: "
            f"{few(missing)}. Get their features, or use text annotations, which name their videos"
        )
    return {video: grids[video].num_frames if frames is None else frames for video, frames in listed.items()}


def _layout(
    total: int, lengths: Mapping[str, int], table: TruthTable, grids: Mapping[str, TimeGrid]
) -> Iterable[tuple[str, int, int]]:
    """Videos with their first and end frame in the array.

    Arrays are made of whole snippets more often than of the videos' own lengths, so the sum may be that of the
    lengths, of the lengths rounded up, or of the lengths rounded down to whole snippets.
    """
    step = next(iter(grids.values())).frames_per_snippet if grids else 1
    kinds = [
        list(lengths.values()),
        [-(-frames // step) * step for frames in lengths.values()],
        [frames // step * step for frames in lengths.values()],
    ]
    counts = min(kinds, key=lambda counts: abs(total - sum(counts)))
    videos, over = list(lengths), total - sum(counts)
    ends = np.cumsum([0, *counts])
    if abs(over) > step or (over and counts[-1] + over < 0):
        raise DataError(_misfit(total, videos, ends.tolist(), step))
    if over:
        ends[-1] += over
        table.notes.append(
            f"holds {abs(over)} frames {'more' if over > 0 else 'less'} than the {len(videos)} videos; the tail of the "
            f"last one, {videos[-1]!r}, is taken for the cause. If it is another video, all after it are that much off"
        )
    return zip(videos, ends[:-1].tolist(), ends[1:].tolist(), strict=True)


def _misfit(total: int, videos: list[str], ends: list[int], step: int) -> str:
    if total > ends[-1]:
        where = f"{total - ends[-1]} frames are left over after the last video, {videos[-1]!r}"
    else:
        last = next(index for index, end in enumerate(ends[1:]) if end > total)
        where = f"it ends {ends[last + 1] - total} frames before the end of {videos[last]!r}"
        where += f", and {few(videos[last + 1 :])} have none" if videos[last + 1 :] else ""
    return (
        f"holds {total} frames, the {len(videos)} videos {ends[-1]}: {where}. Up to one snippet ({step} frames) is cut "
        "or padded at the tail, not more. It follows another list or other features; text annotations, which name "
        "their videos, do not depend on either"
    )


def _add_segments(path: Path, listed: Iterable[str], table: TruthTable) -> None:
    """Put ``gt_segment*.npy`` and ``gt_label*.npy`` into the table; ``path`` is either, the other lies beside it."""
    name = path.name
    is_segment = "segment" in name
    other = path.with_name(name.replace("segment", "label") if is_segment else name.replace("label", "segment"))
    if other == path or not other.is_file():
        raise DataError(f"expected gt_segment*.npy with gt_label*.npy beside it; there is no {other.name}")
    segments, labels = (read_object_array(part) for part in ((path, other) if is_segment else (other, path)))
    videos = list(listed)
    if not len(videos) == len(segments) == len(labels):
        raise DataError(
            f"{len(segments)} entries of segments, {len(labels)} of labels, {len(videos)} videos in the list"
        )
    for video, spans, names in zip(videos, segments, labels, strict=True):
        if type(spans) is not list or type(names) is not list or len(spans) != len(names):
            raise DataError(f"video {video!r}: expected as many labels as segments")
        if not table.mention(video):
            continue
        for span, text in zip(spans, names, strict=True):
            _add_segment(table, video, span, text)


def _add_segment(table: TruthTable, video: str, span: Any, text: Any) -> None:
    if type(span) is not list or len(span) != 2 or not all(_FRAME.fullmatch(str(frame)) for frame in span):
        raise DataError(f"video {video!r}: a segment that is not two frames, start and end")
    start, end = (int(frame) for frame in span)
    category = table.category(str(text))
    if category != NORMAL:
        table.add(video, start, end, category)
    elif table.wanted[video].is_anomalous or start != 0:
        raise DataError(
            f"video {video!r}: frames {start} to {end} are {NORMAL}; expected that of whole normal videos only"
        )
    else:
        table.set_length(video, end)
