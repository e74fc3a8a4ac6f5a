"""What figures are drawn from: runs with their scored test videos, grouped into series that differ in seed only."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from vadpipe.config import to_mapping
from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.pipeline.evaluate_result import Evaluation
from vadpipe.pipeline.evaluate_tables import ScoredVideo
from vadpipe.pipeline.report_record import MixtureTrace, SnippetRows
from vadpipe.tracks import NORMAL, FloatArray

MOST_PANELS = 8
"""Videos that a picture of single videos shows where none are named."""


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """One run on its test videos.

    videos
        By id, sorted. evaluation: None where no video has annotated incidents.
    mixtures
        Id -> Gaussian mixture prior, of the videos shown; empty for heads without one.
    rows
        Features of the sampled snippets; None where there is no sample.
    cautions
        What every figure of quality has to warn of.
    """

    name: str
    trained: TrainedHead
    videos: Mapping[str, ScoredVideo]
    evaluation: Evaluation | None = None
    mixtures: Mapping[str, MixtureTrace] = field(default_factory=dict)
    rows: SnippetRows | None = None
    cautions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """Runs that differ in their seed only, and the name that pictures give them."""

    name: str
    runs: tuple[ScoredRun, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the heads, ``normal`` first."""
        return self.runs[0].trained.classes

    @property
    def cautions(self) -> tuple[str, ...]:
        """Those of all runs, each once."""
        return _urgent_first([text for run in self.runs for text in run.cautions])

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """Of every run; empty without annotated incidents."""
        return tuple(run.evaluation for run in self.runs if run.evaluation is not None)


@dataclass(frozen=True, slots=True)
class Material:
    """All that figures are drawn from.

    shown, picked
        Ids of the videos that have panels of their own; whether the user named them.
    seed
        Of t-SNE.
    """

    series: tuple[Series, ...]
    shown: tuple[str, ...]
    picked: bool = False
    seed: int = 0

    @property
    def cautions(self) -> tuple[str, ...]:
        """Those of all runs, each once; with the names of the series where it does not hold for all."""
        every: dict[str, list[str]] = {}
        for series in self.series:
            for text in series.cautions:
                every.setdefault(text, []).append(series.name)
        all_of_them = len(self.series)
        told = {text: names if len(names) < all_of_them else [] for text, names in every.items()}
        return _urgent_first([f"{', '.join(names)}: {text}" if names else text for text, names in told.items()])


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A score over time, over the runs of a series: (T,) mean, lowest and highest; (T + 1,) seconds of the edges."""

    name: str
    edges_s: NDArray[np.float64]
    mean: FloatArray
    low: FloatArray
    high: FloatArray

    @classmethod
    def over(cls, name: str, edges_s: NDArray[np.float64], values: Sequence[FloatArray]) -> Curve:
        """From one array (T,) a run."""
        joined = np.stack([np.asarray(row, dtype=np.float32) for row in values])
        return cls(name, edges_s, joined.mean(axis=0), joined.min(axis=0), joined.max(axis=0))

    @property
    def several(self) -> bool:
        """Whether the runs differ anywhere, so that there is a band to draw."""
        return bool((self.high > self.low).any())


def _urgent_first(cautions: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(dict.fromkeys(cautions), key=lambda text: "WARNING" not in text))


def into_series(runs: Sequence[ScoredRun]) -> tuple[Series, ...]:
    """Group runs whose settings, features and classes are the same; in the order of their first run.

    :class:`DataError` where they were scored on different videos: their curves would not stand side by side.
    """
    sets = {frozenset(run.videos) for run in runs}
    if len(sets) > 1:
        raise DataError("the runs were scored on different videos; report them one by one, or pass other --labels")
    groups: dict[str, list[ScoredRun]] = {}
    for run in runs:
        trained = run.trained
        audio = trained.audio_spec.folder if trained.audio_spec else ""
        key = json.dumps([to_mapping(trained.config), trained.spec.folder, audio, trained.classes], sort_keys=True)
        groups.setdefault(key, []).append(run)
    return tuple(Series(_series_name(group), tuple(group)) for group in groups.values())


def _series_name(group: Sequence[ScoredRun]) -> str:
    if len(group) == 1:
        return group[0].name
    letters = takewhile(lambda same: len(set(same)) == 1, zip(*(run.name for run in group), strict=False))
    shared = re.sub(r"[-_. ]*(seed)?[-_. ]*$", "", "".join(letter for letter, *_ in letters))
    shared = shared or group[0].trained.config.head
    return f"{shared} ({len(group)} seeds)"


def choose_videos(records: Sequence[VideoRecord], wanted: Sequence[str] = (), most: int = MOST_PANELS) -> list[str]:
    """Ids of the videos to show: ``wanted``, in this order; else at most ``most``, whatever their scores are.

    The first of each category by id, then the second of each, and so on; the last place is a normal video's. Scores
    play no part: a picture of the best cases would be no sample. :class:`UsageError` for a wanted id that is not there.
    """
    known = {record.id for record in records}
    if missing := [name for name in wanted if name not in known]:
        raise UsageError(f"--videos {missing[0]}: not among the {len(known)} test videos, e.g. {min(known)!r}")
    if wanted:
        return list(dict.fromkeys(wanted))
    lanes: dict[str, list[str]] = {}
    for record in sorted(records, key=lambda item: item.id):
        lanes.setdefault(min(record.labels), []).append(record.id)
    calm = lanes.pop(NORMAL, [])
    turns = max((len(lane) for lane in lanes.values()), default=0)
    anomalous = [lanes[name][turn] for turn in range(turns) for name in sorted(lanes) if turn < len(lanes[name])]
    places = min(len(calm), max(1, most - len(anomalous)))
    return anomalous[: most - places] + calm[:places]
