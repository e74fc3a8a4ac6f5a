"""The runs of a report: their heads and records, all of them checked before the first is scored; then their scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vadpipe.errors import UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.models.checkpoint import TrainedHead, load_head
from vadpipe.pipeline.calibrating.file import CALIBRATION_FILE
from vadpipe.pipeline.evaluate import EvaluateOptions, measure, score_videos
from vadpipe.pipeline.evaluating.align import named
from vadpipe.pipeline.figures.embedding import sample_snippets
from vadpipe.pipeline.project import seen_parts, test_records
from vadpipe.pipeline.reporting.grid import encoder_cautions
from vadpipe.pipeline.reporting.kinds import FORMATS, KINDS, Kind
from vadpipe.pipeline.reporting.material import (
    Material,
    ScoredRun,
    choose_videos,
    into_series,
    refuse_copies,
    require_same_videos,
)
from vadpipe.pipeline.reporting.record import Recorder, recording
from vadpipe.store import FeatureStore

if TYPE_CHECKING:
    from rich.progress import Progress


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What ``vadpipe report`` is asked for.

    runs
        Run folders; those that differ in their seed only are drawn as one, with a band. () for a grid alone.
    features, labels, annotations, order, split, allow_seen
        Places of the test data, as for ``vadpipe evaluate``.
    grid
        Folder of ``vadpipe train --grid``, or one of its JSON files.
    kinds
        Figures to draw. named: whether the user named them, so that one that does not apply is an error.
    videos
        Ids of the videos with panels of their own; () for a choice that looks at no score.
    formats, out
        Of ``png``, ``svg``, ``pdf``; folder of the files.
    seed
        Of t-SNE and its sample.
    """

    runs: tuple[Path, ...] = ()
    features: Path = Path("features")
    labels: Path | None = None
    annotations: Path | None = None
    order: Path | None = None
    split: str = "test"
    allow_seen: bool = False
    grid: Path | None = None
    kinds: tuple[Kind, ...] = KINDS
    named: bool = False
    videos: tuple[str, ...] = ()
    formats: tuple[str, ...] = FORMATS
    out: Path = Path("figures")
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Ready:
    """A run that can be scored, and the videos that will have panels of their own."""

    folder: Path
    name: str
    trained: TrainedHead
    records: Sequence[VideoRecord]
    shown: Sequence[str]
    seen: Mapping[str, Sequence[str]]


def scored_material(
    request: ReportRequest, wanted: Sequence[Kind], device: str, bars: Progress, say: Callable[[str], None]
) -> Material:
    """Score the runs for the figures ``wanted``.

    :class:`UsageError`, :class:`DataError` or :class:`CheckpointError` where one of them cannot be scored or they
    cannot stand side by side, before any is; ``say`` is told each note once.
    """
    tell = _once(say)
    store = FeatureStore(request.features)
    ready = _ready(request, store, device, tell)
    scored = []
    for run in ready:
        bar = bars.add_task(f"scoring {run.name}", total=len(run.records), note="")
        names = {kind.name for kind in wanted}
        scored.append(_scored(run, store, names, request.seed, partial(bars.advance, bar), tell))
    return Material(into_series(scored, tell), tuple(ready[-1].shown), bool(request.videos), request.seed)


def _ready(request: ReportRequest, store: FeatureStore, device: str, say: Callable[[str], None]) -> list[_Ready]:
    if not request.runs:
        raise UsageError("no run to draw figures of; name a run folder, or pass --only grid")
    ready = []
    for folder, name in zip(request.runs, _names(request.runs), strict=True):
        trained = load_head(folder, device)
        places = (request.labels, request.annotations, request.split, request.allow_seen)
        records = test_records(folder, store, trained.spec, *places, say, request.order)
        shown = choose_videos(records, request.videos)
        ready.append(_Ready(folder, name, trained, records, shown, seen_parts(folder)))
    refuse_copies({run.name: run.trained for run in ready})
    require_same_videos([[record.id for record in run.records] for run in ready])
    return ready


def _scored(
    run: _Ready,
    store: FeatureStore,
    wanted: set[str],
    seed: int,
    advance: Callable[[], None],
    say: Callable[[str], None],
) -> ScoredRun:
    trained, records = run.trained, run.records
    grids = {record.id: store.grid(trained.spec, record.id) for record in records}
    sample = sample_snippets(records, grids, seed) if "tsne" in wanted else {}
    shown = tuple(run.shown) if "masks" in wanted else ()
    recorder = Recorder(trained.head, shown, sample, trained.config.detect)
    with recording(trained.head, recorder) as end_video:

        def scored(*given: object) -> None:
            end_video(*given)
            advance()

        videos, notes = score_videos(trained, store, records, scored)
    known = [video for video in videos if video.record.intervals or not video.record.is_anomalous]
    unknown = [video.record.id for video in videos if video not in known]
    evaluation = None
    if any(video.record.intervals for video in known):
        evaluation = measure(known, EvaluateOptions(draws=0), tuple(unknown), notes)
        notes = list(evaluation.notes)
    if unknown and evaluation is not None:
        say(f"warning: {len(unknown)} anomalous videos have no annotated span; left out of figures: {named(unknown)}")
    cautions = _cautions(run)
    if (run.folder / CALIBRATION_FILE).is_file():
        notes.append("figures show scores and intervals without the calibration that lies beside the run")
    for text in (*(f"note: {run.name}: {note}" for note in notes), *(f"{run.name}: {text}" for text in cautions)):
        say(text)
    by_id = {video.record.id: video for video in sorted(videos, key=lambda item: item.record.id)}
    return ScoredRun(
        run.name,
        replace(trained, head=None),
        by_id,
        evaluation,
        recorder.mixtures,
        recorder.rows(),
        cautions,
        hashlib.sha256(json.dumps(run.seen, sort_keys=True).encode()).hexdigest(),
    )


def _cautions(run: _Ready) -> tuple[str, ...]:
    """What every figure of this run has to warn of."""
    trained, audio = run.trained, run.trained.audio_spec
    untrained = trained.spec.untrained or (audio is not None and audio.untrained)
    found = encoder_cautions(untrained, str(trained.provenance.get("text_weights", "")))
    if trained.chosen_on_test:
        found.append("WARNING: the TEST set chose this head's epoch, or its teacher's; no honest estimates")
    if trained.caution:
        found.append(trained.caution)
    seen = {video for part in run.seen.values() for video in part}
    if count := sum(record.id in seen for record in run.records):
        found.append(f"WARNING: {count} of these {len(run.records)} videos were used to train or select the head")
    return tuple(found)


def _names(runs: Sequence[Path]) -> list[str]:
    """Names of the folders; whole paths where two folders have one name."""
    if len({run.resolve() for run in runs}) != len(runs):
        raise UsageError("the same run folder is given twice; its curves would count twice")
    names = [run.resolve().name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    """Runs share their data, and so notes on it; each is said once."""
    said: set[str] = set()

    def tell(text: str) -> None:
        if text not in said:
            said.add(text)
            say(text)

    return tell
