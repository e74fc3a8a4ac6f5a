"""Scores of snippets beside the truth of frames, by id: what stands beside what, and what did not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vadpipe.errors import DataError
from vadpipe.pipeline.metrics import count_frames
from vadpipe.pipeline.metrics.ranking import IntArray

_NAMED = 5  # videos that a note spells out; all are in the differences


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """Snippets of all videos one after another, videos sorted by id; V videos, S snippets.

    ids
        (V,) the videos that have both scores and truth.
    scores, abnormal, normal, video
        (S,) score, number of abnormal and of normal frames, and place in ``ids`` of each snippet.
    first
        (V + 1,) where the snippets of each video begin, and S.
    differences
        Id -> frames that the scores cover beyond the truth (negative: that they lack), for the videos whose tail was
        cut or padded.
    """

    ids: tuple[str, ...]
    scores: NDArray[np.floating]
    abnormal: IntArray
    normal: IntArray
    video: IntArray
    first: IntArray
    differences: Mapping[str, int]

    def of(self, videos: Sequence[int]) -> tuple[NDArray[np.floating], IntArray, IntArray, IntArray]:
        """(scores, abnormal, normal, video) of the snippets of these places in ``ids``."""
        kept = np.isin(self.video, np.asarray(videos, dtype=np.int64))
        return self.scores[kept], self.abnormal[kept], self.normal[kept], self.video[kept]

    def video_at(self, place: int) -> tuple[NDArray[np.floating], IntArray, IntArray]:
        """(scores, abnormal, normal) of the snippets of one video."""
        part = slice(self.first[place], self.first[place + 1])
        return self.scores[part], self.abnormal[part], self.normal[part]


def align(
    scores_by_id: Mapping[str, ArrayLike], truth_by_id: Mapping[str, ArrayLike], frames_per_snippet: int
) -> tuple[Aligned, tuple[str, ...]]:
    """Put scores (T,) beside truth (N,) of the same id, never by order; and notes, a sentence each.

    A video of N frames has ceil(N / frames_per_snippet) snippets, the last of which may be short. Where the scores
    have one snippet more, it is cut; where they have one less, the last score is repeated; a note names the video and
    the frames. :class:`DataError` that names the videos where they differ by more, where truth is not 0 or 1, and
    where no id is on both sides. Ids on one side only are left out, and a note names them.
    """
    ids = sorted(scores_by_id.keys() & truth_by_id.keys())
    if not ids:
        raise DataError(
            f"none of the {len(scores_by_id)} scored videos is among the {len(truth_by_id)} with truth; "
            f"scores name {min(scores_by_id, default='nothing')!r}, truth {min(truth_by_id, default='nothing')!r}"
        )
    scores, counts, differences, wrong = [], [], {}, []
    for name in ids:
        values, truth = np.asarray(scores_by_id[name]), np.asarray(truth_by_id[name])
        if ((truth != 0) & (truth != 1)).any():
            raise DataError(f"video {name!r}: truth holds values other than 0 and 1")
        held = count_frames(truth, frames_per_snippet)
        rows = len(held[0])
        if len(values) != rows:
            differences[name] = len(values) * frames_per_snippet - len(truth)
        if abs(len(values) - rows) > 1 or (rows and not len(values)):
            wrong.append(name)
            continue
        scores.append(np.append(values, values[-1:])[:rows] if len(values) < rows else values[:rows])
        counts.append(held)
    if wrong:
        raise DataError(
            f"{len(wrong)} videos have truth of another length than their scores, by more than one snippet of "
            f"{frames_per_snippet} frames: {named(wrong, differences)}; check that both are of the same videos"
        )
    sizes = [len(values) for values in scores]
    joined = Aligned(
        tuple(ids),
        np.concatenate(scores),
        np.concatenate([held[0] for held in counts]),
        np.concatenate([held[1] for held in counts]),
        np.repeat(np.arange(len(ids)), sizes),
        np.cumsum([0, *sizes]),
        differences,
    )
    return joined, _notes(scores_by_id, truth_by_id, differences)


def named(ids: Sequence[str], frames: Mapping[str, int] | None = None) -> str:
    """The first few of ``ids``, with their number of frames where given, and how many more there are."""
    said = [repr(name) if frames is None else f"{name!r} {frames[name]:+d} frames" for name in ids[:_NAMED]]
    return ", ".join(said) + (f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else "")


def _notes(
    scores_by_id: Mapping[str, Any], truth_by_id: Mapping[str, Any], differences: Mapping[str, int]
) -> tuple[str, ...]:
    notes = []
    for sign, done in ((1, "was cut"), (-1, "was padded with the last score")):
        if some := [name for name, frames in differences.items() if frames * sign > 0]:
            notes.append(f"scores and truth differ in length, the tail {done}: {named(some, differences)}")
    if lacking := sorted(truth_by_id.keys() - scores_by_id.keys()):
        notes.append(f"{len(lacking)} videos with truth have no scores and are left out: {named(lacking)}")
    if unknown := sorted(scores_by_id.keys() - truth_by_id.keys()):
        notes.append(f"{len(unknown)} scored videos have no truth and are left out: {named(unknown)}")
    return tuple(notes)
