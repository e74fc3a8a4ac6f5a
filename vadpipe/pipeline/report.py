"""``vadpipe report``: the figures of the papers, of any run and data set. Test videos are scored once a run.

:func:`write_report` scores the stored features with the evaluation's own code, draws what applies, says why the rest
does not, and writes an index. What each figure shows is in docs/figures.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.models.checkpoint import TrainedHead, load_head
from vadpipe.pipeline.evaluate import EvaluateOptions, measure, score_videos
from vadpipe.pipeline.evaluate_align import named
from vadpipe.pipeline.figures_embedding import sample_snippets
from vadpipe.pipeline.figures_style import paper_style, write_figure
from vadpipe.pipeline.project import seen_parts, test_records
from vadpipe.pipeline.report_draw import MAKERS, Drawing, Made, grid_drawings
from vadpipe.pipeline.report_grid import GridTable, encoder_cautions, read_grids
from vadpipe.pipeline.report_index import INDEX, index_text
from vadpipe.pipeline.report_kinds import FORMATS, KINDS, Kind, Picture
from vadpipe.pipeline.report_material import Material, ScoredRun, choose_videos, into_series
from vadpipe.pipeline.report_record import Recorder, recording
from vadpipe.store import FeatureStore
from vadpipe.track_file import atomic_write

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
class Report:
    """What was written: pictures, the index, and why other figures were left out (name -> reason)."""

    out: Path
    index: Path
    pictures: tuple[Picture, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[str, ...] = ()

    def to_mapping(self) -> dict[str, object]:
        """Plain values for JSON."""
        figures = [
            {
                "figure": picture.kind.name,
                "shows": picture.kind.shows,
                "source": picture.kind.source,
                "caption": picture.caption,
                "cautions": list(picture.cautions),
                "files": [str(self.out / name) for name in picture.files],
            }
            for picture in self.pictures
        ]
        runs = list(self.runs)
        return {"out": str(self.out), "index": str(self.index), "runs": runs, "figures": figures,
                "left_out": dict(self.left_out)}  # fmt: skip


def write_report(request: ReportRequest, device: str, bars: Progress, say: Callable[[str], None]) -> Report:
    """Score, draw, write; ``say`` is told what a reader of the figures has to know.

    :class:`UsageError` where what is asked for is not there, before anything is scored; :class:`DataError` where no
    figure applies, or one that was named does not: then the others, and the index, are written first.
    """
    tables = read_grids(request.grid) if request.grid is not None else ()
    _check_folder(request.out)
    of_runs = [kind for kind in request.kinds if not kind.of_grid]
    material = _material(request, device, bars, _once(say)) if of_runs else None
    pictures: list[Picture] = []
    left_out: dict[str, str] = {}
    task = bars.add_task("drawing", total=len(request.kinds), note="")
    with paper_style():
        for kind in request.kinds:
            bars.update(task, note=kind.name)
            made = _made(kind, material, tables, named=request.named)
            if isinstance(made, str):
                left_out[kind.name] = made
            else:
                pictures += [_write(kind, drawing, request) for drawing in made]
            bars.advance(task)
    names = tuple(run.name for series in material.series for run in series.runs) if material is not None else ()
    report = Report(request.out, request.out / INDEX, tuple(pictures), left_out, names)
    if pictures:
        atomic_write(report.index, index_text(pictures, material, left_out).encode())
    if left_out and (request.named or not pictures):
        raise DataError("; ".join(f"figure {name} does not apply: {reason}" for name, reason in left_out.items()))
    return report


def _made(kind: Kind, material: Material | None, tables: Sequence[GridTable], *, named: bool) -> Made:
    """Drawings of a kind. What a machine lacks costs the figure, and is an error only where it was named."""
    if kind.of_grid:
        return grid_drawings(tables) or "the grid has no rows"
    assert material is not None  # noqa: S101  # there are runs where any other kind is asked for
    try:
        return MAKERS[kind.name](material)
    except UsageError as error:
        if named:
            raise
        return str(error)


def _write(kind: Kind, drawing: Drawing, request: ReportRequest) -> Picture:
    figure = drawing.draw(drawing.cautions)
    paths = write_figure(figure, request.out, drawing.name, request.formats)
    return Picture(kind, drawing.name, drawing.caption, drawing.cautions, tuple(path.name for path in paths))


def _check_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be made a folder ({error}); give another") from error


def _material(request: ReportRequest, device: str, bars: Progress, say: Callable[[str], None]) -> Material:
    if not request.runs:
        raise UsageError("no run to draw figures of; name a run folder, or pass --only grid")
    names = _names(request.runs)
    scored, shown = [], []
    for folder, name in zip(request.runs, names, strict=True):
        trained = load_head(folder, device)
        store = FeatureStore(request.features)
        places = (request.labels, request.annotations, request.split, request.allow_seen)
        records = test_records(folder, store, trained.spec, *places, say, request.order)
        shown = choose_videos(records, request.videos)
        scored.append(_scored(folder, name, trained, store, records, shown, request, bars, say))
    return Material(into_series(scored), tuple(shown), bool(request.videos), request.seed)


def _scored(
    folder: Path,
    name: str,
    trained: TrainedHead,
    store: FeatureStore,
    records: Sequence[VideoRecord],
    shown: Sequence[str],
    request: ReportRequest,
    bars: Progress,
    say: Callable[[str], None],
) -> ScoredRun:
    wanted = {kind.name for kind in request.kinds}
    grids = {record.id: store.grid(trained.spec, record.id) for record in records}
    sample = sample_snippets(records, grids, request.seed) if "tsne" in wanted else {}
    recorder = Recorder(trained.head, tuple(shown) if "masks" in wanted else (), sample, trained.config.detect)
    task = bars.add_task(f"scoring {name}", total=len(records), note="")
    with recording(trained.head, recorder) as end_video:

        def scored(*given: object) -> None:
            end_video(*given)
            bars.advance(task)

        videos, notes = score_videos(trained, store, records, scored)
    known = [video for video in videos if video.record.intervals or not video.record.is_anomalous]
    unknown = [video.record.id for video in videos if video not in known]
    evaluation = None
    if any(video.record.intervals for video in known):
        evaluation = measure(known, EvaluateOptions(draws=0), tuple(unknown), notes)
        notes = list(evaluation.notes)
    if unknown and evaluation is not None:
        say(f"warning: {len(unknown)} anomalous videos have no annotated span; left out of figures: {named(unknown)}")
    cautions = _cautions(folder, trained, records)
    for text in (*(f"note: {name}: {note}" for note in notes), *(f"{name}: {text}" for text in cautions)):
        say(text)
    by_id = {video.record.id: video for video in sorted(videos, key=lambda item: item.record.id)}
    return ScoredRun(name, replace(trained, head=None), by_id, evaluation, recorder.mixtures, recorder.rows(), cautions)


def _cautions(folder: Path, trained: TrainedHead, records: Sequence[VideoRecord]) -> tuple[str, ...]:
    """What every figure of this run has to warn of."""
    audio = trained.audio_spec
    untrained = trained.spec.untrained or (audio is not None and audio.untrained)
    found = encoder_cautions(untrained, str(trained.provenance.get("text_weights", "")))
    if trained.chosen_on_test:
        found.append("WARNING: the TEST set chose this head's epoch, or its teacher's; no honest estimates")
    if trained.caution:
        found.append(trained.caution)
    seen = {video for part in seen_parts(folder).values() for video in part}
    if count := sum(record.id in seen for record in records):
        found.append(f"WARNING: {count} of these {len(records)} videos were used to train or select the head")
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
