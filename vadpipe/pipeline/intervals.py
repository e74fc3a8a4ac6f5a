"""Scores -> intervals, the two-step thresholding of LEC-VAD. Pure: no files, no model."""

from __future__ import annotations

from vadpipe.config import DetectConfig
from vadpipe.models.localize import mean_of_highest, outer_inner_score, runs_above, temporal_nms
from vadpipe.tracks import Interval, ScoreTrack


def find_intervals(scores: ScoreTrack, config: DetectConfig) -> tuple[Interval, ...]:
    """Incidents in one video, sorted by start.

    A category whose video-level activation (mean of its highest snippets) is over ``r_cls`` is kept; its consecutive
    snippets over ``r_ano`` become candidates, scored by outer-inner contrast, thinned by temporal NMS.

    Differs from the paper: ``r_ano`` is never under an even share, 1 / classes. The paper's 0.2 is over that with 7 and
    14 classes; with 2 to 4, a head that cannot decide would report every snippet as every category.
    """
    if scores.grid.num_snippets == 0:
        return ()
    threshold = max(config.r_ano, 1 / len(scores.labels))
    activation = mean_of_highest(scores.categories)
    candidates: list[Interval] = []
    for column, category in enumerate(scores.labels):
        if column == 0 or activation[column] <= config.r_cls:
            continue
        values = scores.categories[:, column]
        for start, end in runs_above(values, threshold):
            frames = scores.grid.frames_of(start, end)
            contrast = outer_inner_score(values, start, end)
            candidates.append(Interval.of_frames(category, *frames, scores.grid, contrast))
    kept = temporal_nms(candidates, config.nms_iou)
    return tuple(sorted(kept, key=lambda item: (item.start_frame, item.end_frame, item.category)))
