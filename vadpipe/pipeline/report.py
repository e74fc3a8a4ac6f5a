"""``vadpipe report``: the figures of the papers, of any run and data set. Test videos are scored once a run.

:func:`write_report` scores the stored features with the evaluation's own code, draws what applies, says why the rest
does not, and writes an index. What each figure shows is in docs/figures.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vadpipe.errors import DataError, UsageError
from vadpipe.pipeline.figures.embedding import require_sklearn
from vadpipe.pipeline.figures.style import paper_style, write_figure
from vadpipe.pipeline.reporting.draw import MAKERS, Drawing, Made, grid_drawings
from vadpipe.pipeline.reporting.grid import GridTable, read_grids
from vadpipe.pipeline.reporting.index import INDEX, index_text
from vadpipe.pipeline.reporting.kinds import Kind, Picture
from vadpipe.pipeline.reporting.material import Material
from vadpipe.pipeline.reporting.runs import ReportRequest, scored_material
from vadpipe.track_file import atomic_write

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["Report", "ReportRequest", "write_report"]


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
    left_out = _lacking(request.kinds)
    of_runs = [kind for kind in request.kinds if not kind.of_grid and kind.name not in left_out]
    material = scored_material(request, of_runs, device, bars, say) if of_runs else None
    pictures: list[Picture] = []
    task = bars.add_task("drawing", total=len(request.kinds), note="")
    with paper_style():
        for kind in request.kinds:
            bars.update(task, note=kind.name)
            made = left_out.get(kind.name) or _made(kind, material, tables)
            if isinstance(made, str):
                left_out[kind.name] = made
            else:
                for drawing in made:
                    pictures.append(_write(kind, drawing, request, {picture.name for picture in pictures}))
            bars.advance(task)
    names = tuple(run.name for series in material.series for run in series.runs) if material is not None else ()
    report = Report(request.out, request.out / INDEX, tuple(pictures), left_out, names)
    if pictures:
        atomic_write(report.index, index_text(pictures, material, left_out).encode())
    if left_out and (request.named or not pictures):
        raise DataError("; ".join(f"figure {name} does not apply: {reason}" for name, reason in left_out.items()))
    return report


def _lacking(kinds: Sequence[Kind]) -> dict[str, str]:
    """What this installation cannot draw, and why; known before minutes are spent on scores."""
    try:
        if any(kind.name == "tsne" for kind in kinds):
            require_sklearn()
    except UsageError as error:
        return {"tsne": str(error)}
    return {}


def _made(kind: Kind, material: Material | None, tables: Sequence[GridTable]) -> Made:
    """Drawings of a kind, or why there are none."""
    if kind.of_grid:
        return grid_drawings(tables) or "the grid has no rows"
    assert material is not None  # noqa: S101  # there are runs where any other kind is asked for
    try:
        return MAKERS[kind.name](material)
    except UsageError as error:
        return str(error)


def _write(kind: Kind, drawing: Drawing, request: ReportRequest, taken: set[str]) -> Picture:
    if drawing.name in taken:
        raise DataError(f"two figures would be {drawing.name}, and the second is not written over the first")
    figure = drawing.draw(drawing.cautions)
    paths = write_figure(figure, request.out, drawing.name, request.formats)
    return Picture(kind, drawing.name, drawing.caption, drawing.cautions, tuple(path.name for path in paths))


def _check_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be made a folder ({error}); give another") from error
