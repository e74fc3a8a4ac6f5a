"""Scored runs without a network, for tests of the figures of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tests.pipeline.planted import CONFIG, SPEC
from tests.pipeline.test_evaluate import LABELS, NONE, VIDEOS
from vadpipe.config import RunConfig
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.pipeline.evaluate import measure
from vadpipe.pipeline.evaluating.tables import ScoredVideo
from vadpipe.pipeline.reporting.material import Material, ScoredRun, Series, into_series

HOSTILE = "$x_{1}<b>\n\\alpha$ & \x00 % 火"
"""A name that is a formula, markup, a line end, a control character and a glyph that the font lacks."""


def scored_run(
    name: str = "run-0",
    videos: Sequence[ScoredVideo] = VIDEOS,
    config: RunConfig = CONFIG,
    cautions: tuple[str, ...] = (),
    **more: Any,
) -> ScoredRun:
    """A run with these scored videos; its evaluation too, where any has truth."""
    trained = TrainedHead(None, config, SPEC, LABELS, "last epoch", {"seed": name})
    evaluation = measure(videos, NONE) if any(video.record.intervals for video in videos) else None
    by_id = {video.record.id: video for video in sorted(videos, key=lambda item: item.record.id)}
    return ScoredRun(name, trained, by_id, evaluation, cautions=cautions, **more)


def raised(videos: Sequence[ScoredVideo], by: float) -> list[ScoredVideo]:
    """The same videos from another seed: every anomaly score by so much higher, at most 1."""
    return [
        replace(
            video,
            scores=replace(video.scores, anomaly=np.clip(video.scores.anomaly + np.float32(by), 0, 1)),
        )
        for video in videos
    ]


def two_seeds() -> Series:
    """One series of two runs, the second with scores 0.1 higher."""
    (series,) = into_series([scored_run("run-0"), scored_run("run-1", raised(VIDEOS, 0.1))])
    return series


def material(*runs: ScoredRun) -> Material:
    """Of these runs, every video shown."""
    return Material(into_series(runs), tuple(runs[0].videos))
