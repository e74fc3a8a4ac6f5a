"""The tables of an evaluation: one row a class, one row a video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import DataError
from vadpipe.manifest import VideoRecord
from vadpipe.pipeline.evaluating.align import Aligned
from vadpipe.pipeline.metrics import StrictMap, VadclipMap, count_runs, rank_snippets
from vadpipe.tracks import NORMAL, Interval, ScoreTrack


@dataclass(frozen=True, slots=True)
class ScoredVideo:
    """One video as a head sees it: its record with the true intervals, its scores, the intervals found."""

    record: VideoRecord
    scores: ScoreTrack
    found: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class over all videos.

    videos, true, found
        Videos labelled so, true intervals, intervals found (the last two 0 for ``normal``).
    strict, vadclip
        Average precision at each IoU threshold in either protocol; None where the protocol leaves the class out.
    """

    name: str
    videos: int
    true: int
    found: int
    strict: tuple[float, ...] | None
    vadclip: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class VideoRow:
    """One video.

    frames, abnormal_frames
        Its frames and how many lie in a true interval.
    ap, auc
        Within the video; None where all its frames are of one kind.
    max_score, true, found
        Highest anomaly score (None without frames), number of true intervals and of found ones.
    false_alarms
        Runs of snippets above the threshold that touch no abnormal frame.
    """

    id: str
    labels: tuple[str, ...]
    frames: int
    abnormal_frames: int
    ap: float | None
    auc: float | None
    max_score: float | None
    true: int
    found: int
    false_alarms: int


def class_rows(videos: Sequence[ScoredVideo], strict: StrictMap, vadclip: VadclipMap) -> tuple[ClassRow, ...]:
    """Rows in the head's order of classes, foreign ones last."""
    true = Counter(span.category for video in videos for span in video.record.intervals)
    found = Counter(span.category for video in videos for span in video.found)
    labelled = Counter(label for video in videos for label in video.record.labels)
    names = dict.fromkeys((*vadclip.per_class, *sorted({*true, *labelled})))
    return tuple(
        ClassRow(
            name,
            labelled[name],
            true[name],
            found[name],
            strict.per_class.get(name),
            vadclip.per_class.get(name),
        )
        for name in names
    )


def video_rows(videos: Mapping[str, ScoredVideo], aligned: Aligned, threshold: float) -> tuple[VideoRow, ...]:
    """One row for each video of ``aligned``, in its order."""
    return tuple(_video_row(videos[name], aligned, place, threshold) for place, name in enumerate(aligned.ids))


def _video_row(video: ScoredVideo, aligned: Aligned, place: int, threshold: float) -> VideoRow:
    scores, abnormal, normal = aligned.video_at(place)
    ap, auc = within(scores, abnormal, normal)
    return VideoRow(
        video.record.id,
        tuple(sorted(video.record.labels)),
        int(abnormal.sum() + normal.sum()),
        int(abnormal.sum()),
        ap,
        auc,
        float(scores.max()) if len(scores) else None,
        len(video.record.intervals),
        len(video.found),
        count_runs(scores > threshold, abnormal > 0),
    )


def within(
    scores: NDArray[np.floating], abnormal: NDArray[np.int64], normal: NDArray[np.int64]
) -> tuple[float | None, float | None]:
    """AP and AUC of snippets (T,), or None twice where all frames are of one kind."""
    try:
        ranking = rank_snippets(scores, abnormal, normal)
    except DataError:
        return None, None
    return ranking.ap, ranking.auc


def vadclip_truth(video: ScoredVideo) -> tuple[list[tuple[int, int]], list[str]]:
    """True segments and their classes as the protocol wants them: a normal video is one segment over its length."""
    if video.record.is_anomalous:
        spans = video.record.intervals
        return [(span.start_frame, span.end_frame) for span in spans], [span.category for span in spans]
    frames = video.scores.grid.num_frames
    return ([(0, frames)], [NORMAL]) if frames else ([], [])
