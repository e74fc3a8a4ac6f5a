"""What figures are drawn from: runs with their scored test videos, grouped into series that differ in seed only."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from vadpipe.config import to_mapping
from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.pipeline.evaluating.result import Evaluation
from vadpipe.pipeline.evaluating.tables import ScoredVideo
from vadpipe.pipeline.reporting.record import MixtureTrace, SnippetRows
from vadpipe.tracks import NORMAL, FloatArray

_SAME = (
    "training_videos",
    "training_videos_with_audio",
    "validation_videos",
    "text_weights",
    "prompts",
    "teacher",
    "teacher_sha256",
    "file_sha256",
)
"""What a run's provenance says of its making apart from settings and seed."""

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
    seen
        Digest of the ids that the head was trained and selected on; empty where they are not known.
    """

    name: str
    trained: TrainedHead
    videos: Mapping[str, ScoredVideo]
    evaluation: Evaluation | None = None
    mixtures: Mapping[str, MixtureTrace] = field(default_factory=dict)
    rows: SnippetRows | None = None
    cautions: tuple[str, ...] = ()
    seen: str = ""


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


def into_series(runs: Sequence[ScoredRun], say: Callable[[str], None] | None = None) -> tuple[Series, ...]:
    """Group runs that differ in their seed only; in the order of their first run.

    Settings, features, classes, training and validation videos, teacher and text weights have to be the same, and the
    recorded seeds have to differ: runs without a seed, or of which two have one, stay apart, which ``say`` is told.
    :class:`DataError` and :class:`UsageError` as of :func:`require_same_videos` and :func:`refuse_copies`.
    """
    require_same_videos([list(run.videos) for run in runs])
    refuse_copies({run.name: run.trained for run in runs})
    groups: dict[str, list[ScoredRun]] = {}
    for run in runs:
        groups.setdefault(_made_like(run), []).append(run)
    series: list[tuple[ScoredRun, ...]] = []
    for group in groups.values():
        seeds = [run.trained.provenance.get("seed") for run in group]
        if None not in seeds and len({repr(seed) for seed in seeds}) == len(seeds):
            series.append(tuple(group))
            continue
        series += [(run,) for run in group]
        if say is not None and len(group) > 1:
            said = ", ".join(f"{run.name} (seed {seed})" for run, seed in zip(group, seeds, strict=True))
            say(f"note: drawn apart, since their seeds do not tell them apart: {said}")
    places = {run.name: place for place, run in enumerate(runs)}
    series.sort(key=lambda group: places[group[0].name])
    return tuple(Series(_series_name(group), group) for group in series)


def _made_like(run: ScoredRun) -> str:
    """The same for runs that were made alike, whatever their seeds are."""
    trained, facts = run.trained, run.trained.provenance
    audio = trained.audio_spec.folder if trained.audio_spec else ""
    made = [str(facts.get(name, "")) for name in _SAME]
    told = [to_mapping(trained.config), trained.spec.folder, audio, trained.classes, run.seen, made]
    return json.dumps(told, sort_keys=True)


def require_same_videos(ids: Sequence[Sequence[str]]) -> None:
    """:class:`DataError` unless all runs have the same ones: their curves would not stand side by side."""
    if len({frozenset(one) for one in ids}) > 1:
        raise DataError("the runs were scored on different videos; report them one by one, or pass other --labels")


def refuse_copies(heads: Mapping[str, TrainedHead]) -> None:
    """:class:`UsageError` where two runs, by name, hold one head: it would count twice, and narrow the band."""
    known: dict[str, str] = {}
    for name, trained in heads.items():
        if trained.sha256 and (other := known.setdefault(trained.sha256, name)) != name:
            raise UsageError(f"{other} and {name} hold the same head (sha256 {trained.sha256[:12]}…); leave one out")


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
