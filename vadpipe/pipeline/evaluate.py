"""``vadpipe evaluate``: a trained head against known incidents; figures with chance levels and 95 % intervals.

:func:`evaluate` scores the stored features of a head's test videos, :func:`measure` turns scores into figures. What
each figure means is in docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import DataError
from vadpipe.manifest import VideoRecord
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.pipeline.evaluating.align import Aligned, align, named
from vadpipe.pipeline.evaluating.result import PROTOCOLS, Bounds, EvaluateOptions, Evaluation
from vadpipe.pipeline.evaluating.tables import ScoredVideo, class_rows, vadclip_truth, video_rows
from vadpipe.pipeline.intervals import find_intervals
from vadpipe.pipeline.metrics import (
    IOU_THRESHOLDS,
    Claims,
    FalseAlarms,
    Ranking,
    VadclipMap,
    VadclipTables,
    bootstrap_counts,
    bootstrap_map,
    bootstrap_ranking,
    chance_map,
    false_alarms,
    percentile_interval,
    rank_snippets,
    strict_claims,
    strict_of,
    vadclip_tables,
)
from vadpipe.pipeline.score import audio_track, score_track
from vadpipe.store import FeatureStore
from vadpipe.tracks import Interval, ScoreTrack

__all__ = ["PROTOCOLS", "EvaluateOptions", "Evaluation", "ScoredVideo", "align", "evaluate", "measure", "score_videos"]

_Videos = Mapping[str, ScoredVideo]  # by id, sorted


def evaluate(
    trained: TrainedHead,
    store: FeatureStore,
    records: Sequence[VideoRecord],
    on_video: Callable[[str, ScoreTrack, tuple[Interval, ...]], None] | None = None,
    options: EvaluateOptions | None = None,
) -> Evaluation:
    """Score every record's stored features and compare with its intervals.

    Figures are those of :func:`measure`. Normal videos count as all normal; anomalous ones without intervals
    have unknown truth and are left out, by name. ``on_video`` is told of every video as it is scored.
    """
    known = [record for record in records if record.intervals or not record.is_anomalous]
    left_out = tuple(record.id for record in records if record.is_anomalous and not record.intervals)
    if not any(record.intervals for record in known):
        raise DataError("no evaluated video has annotated incidents; pass --annotations with their frames")
    videos, notes = score_videos(trained, store, known, on_video)
    return measure(videos, options, left_out, notes)


def score_videos(
    trained: TrainedHead,
    store: FeatureStore,
    records: Sequence[VideoRecord],
    on_video: Callable[[str, ScoreTrack, tuple[Interval, ...]], None] | None = None,
) -> tuple[list[ScoredVideo], list[str]]:
    """Score the stored features of every record, whether its truth is known or not; videos, and notes on them.

    Windows stand side by side, whatever ``detect.overlap`` is: so the papers and the released code score.
    """
    videos: list[ScoredVideo] = []
    unheard: list[str] = []
    for record in records:
        track = store.read(trained.spec, record.id)
        sound = audio_track(store, trained.audio_spec, record.id)
        detect = trained.config.detect
        scored = score_track(trained.head, track, trained.classes, detect.window, sound)
        if sound is None and trained.audio_spec is not None:
            unheard.append(record.id)
        videos.append(ScoredVideo(record, scored, find_intervals(scored, detect)))
        if on_video is not None:
            on_video(record.id, scored, videos[-1].found)
    return videos, [_unheard_note(unheard)] if unheard else []


def _unheard_note(ids: Sequence[str]) -> str:
    return (
        f"{len(ids)} videos have no sound, or no features of it, and were scored by this head without it "
        f"(vadpipe detect gives a video without sound to the student, where there is one): {named(ids)}"
    )


def measure(
    videos: Sequence[ScoredVideo],
    options: EvaluateOptions | None = None,
    left_out: tuple[str, ...] = (),
    notes: Sequence[str] = (),
) -> Evaluation:
    """All figures of scored videos whose truth is known; their order does not matter.

    ``left_out`` are ids and ``notes`` sentences that the result carries on. :class:`DataError` where AP or mAP are
    undefined, for an id that is there twice, for several snippet lengths, and as in :func:`align`.
    """
    options = options or EvaluateOptions()
    by_id = {video.record.id: video for video in sorted(videos, key=lambda item: item.record.id)}
    aligned, differing = _aligned(by_id, videos)
    found = {name: video.found for name, video in by_id.items()}
    true = {name: video.record.intervals for name, video in by_id.items()}
    frames = {name: video.scores.grid.num_frames for name, video in by_id.items()}
    categories = _categories(by_id)
    claims = strict_claims(found, true, categories)
    strict = strict_of(claims, categories, IOU_THRESHOLDS)
    ranking = rank_snippets(aligned.scores, aligned.abnormal, aligned.normal)
    tables = _vadclip_tables(by_id)
    vadclip = tables.figures()
    return Evaluation(
        ap=ranking.ap,
        auc=ranking.auc,
        abnormal_share=ranking.abnormal_share,
        intervals=strict,
        chance=chance_map(found, true, frames, categories).mean,
        videos=len(by_id),
        frames=int(aligned.abnormal.sum() + aligned.normal.sum()),
        left_out=left_out,
        abnormal_only=_abnormal_only(by_id, aligned),
        vadclip=vadclip,
        vadclip_chance=tables.chance().mean,
        alarms=_alarms(by_id, aligned, options.threshold),
        bounds=_bounds(by_id, aligned, claims, options),
        classes=class_rows(videos, strict, vadclip),
        rows=video_rows(by_id, aligned, options.threshold),
        notes=(*notes, *differing, *_protocol_notes(vadclip)),
        differences=aligned.differences,
        options=options,
        ranking=ranking,
    )


def _aligned(by_id: _Videos, videos: Sequence[ScoredVideo]) -> tuple[Aligned, tuple[str, ...]]:
    if len(by_id) != len(videos):
        raise DataError(f"{len(videos) - len(by_id)} videos are there twice; give every video one entry")
    steps = {video.scores.grid.frames_per_snippet for video in videos}
    if len(steps) != 1:
        raise DataError(f"frames per snippet: got {sorted(steps)}, expected one value for all videos")
    scores = {name: video.scores.anomaly for name, video in by_id.items()}
    return align(scores, {name: _frame_truth(video) for name, video in by_id.items()}, steps.pop())


def _frame_truth(video: ScoredVideo) -> NDArray[np.bool_]:
    """(N,) of the length that the labels state, else that of the grid, or longer where an incident says so."""
    ends = [span.end_frame for span in video.record.intervals]
    stated = video.record.num_frames
    truth = np.zeros(max(video.scores.grid.num_frames, *ends, 0) if stated is None else stated, dtype=bool)
    for span in video.record.intervals:
        truth[span.start_frame : span.end_frame] = True
    return truth


def _categories(by_id: _Videos) -> list[str]:
    """Anomaly categories of the heads and of the truth."""
    known = {label for video in by_id.values() for label in video.scores.labels[1:]}
    return sorted(known | {span.category for video in by_id.values() for span in video.record.intervals})


def _vadclip_tables(by_id: _Videos) -> VadclipTables:
    """The protocol sees the head's category probabilities; a category it does not know has the probability 0."""
    videos = list(by_id.values())
    labels = videos[0].scores.labels
    if any(video.scores.labels != labels for video in videos):
        raise DataError("the videos were scored for different classes; score all with one head")
    strangers = [name for name in _categories(by_id) if name not in labels]
    probabilities = [video.scores.categories for video in videos]
    if strangers:
        probabilities = [np.pad(given, ((0, 0), (0, len(strangers)))) for given in probabilities]
    segments, names = zip(*(vadclip_truth(video) for video in videos), strict=True)
    grids = [video.scores.grid for video in videos]
    lengths = [grid.num_frames for grid in grids]
    return vadclip_tables(
        probabilities, segments, names, (*labels, *strangers), grids[0].frames_per_snippet, num_frames=lengths
    )


def _abnormal_only(by_id: _Videos, aligned: Aligned) -> Ranking | None:
    scores, abnormal, normal, _ = aligned.of(_places(by_id, aligned, anomalous=True))
    return rank_snippets(scores, abnormal, normal) if abnormal.any() and normal.any() else None


def _places(by_id: _Videos, aligned: Aligned, *, anomalous: bool) -> list[int]:
    return [place for place, name in enumerate(aligned.ids) if by_id[name].record.is_anomalous is anomalous]


def _alarms(by_id: _Videos, aligned: Aligned, threshold: float) -> FalseAlarms | None:
    scores, frames, hours = [], [], 0.0
    for place in _places(by_id, aligned, anomalous=False):
        values, abnormal, normal = aligned.video_at(place)
        scores.append(values)
        frames.append(abnormal + normal)
        hours += by_id[aligned.ids[place]].scores.grid.duration_s / 3600
    return false_alarms(scores, frames, hours, threshold)


def _bounds(by_id: _Videos, aligned: Aligned, claims: Mapping[str, Claims], options: EvaluateOptions) -> Bounds:
    if not options.draws:
        return {}
    counts = bootstrap_counts(len(aligned.ids), options.draws, options.seed)
    every = bootstrap_ranking(aligned.scores, aligned.abnormal, aligned.normal, aligned.video, counts)
    only = bootstrap_ranking(*aligned.of(_places(by_id, aligned, anomalous=True)), counts)
    names = ("frame_ap", "frame_auc", "frame_ap_abnormal_videos", "frame_auc_abnormal_videos", "map_average")
    drawn = (*every, *only, bootstrap_map(claims, counts))
    return {name: percentile_interval(values) for name, values in zip(names, drawn, strict=True)}


def _protocol_notes(vadclip: VadclipMap) -> list[str]:
    notes = []
    if vadclip.without_proposals:
        notes.append(
            f"mAP in the protocol vadclip is 0 since nothing was proposed for {named(vadclip.without_proposals)}"
        )
    if vadclip.without_truth:
        notes.append(f"mAP in the protocol vadclip counts classes without truth as 0: {named(vadclip.without_truth)}")
    return notes
