"""Evaluations as rows, for the screen and for files: JSON, CSV, LaTeX. Names of runs and videos are untrusted text."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from vadpipe.pipeline.evaluating.result import PROTOCOLS, Evaluation
from vadpipe.pipeline.published import Published

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LATEX = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",  # \textquotedbl needs another font encoding than LaTeX's own
    **{char: f"\\{char}" for char in "&%$#_{}"},
}


@dataclass(frozen=True, slots=True)
class RunReport:
    """One evaluated run.

    name, head, features, selection
        Name of its folder; of its head; features in words with the folder of their specification; how its epoch was
        chosen.
    dataset, published
        Data set whose test videos these are, empty where that is not known; its published figures.
    """

    name: str
    head: str
    features: str
    selection: str
    evaluation: Evaluation
    dataset: str = ""
    published: tuple[Published, ...] = ()

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        about = {"run": self.name, "head": self.head, "features": self.features, "selection": self.selection}
        published = [asdict(row) for row in self.published]
        return {**about, "dataset": self.dataset or None, **self.evaluation.to_mapping(), "published": published}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of an evaluation: key for files, label for people, value, chance level, 95 % interval where known."""

    key: str
    label: str
    value: float | None
    chance: float | None = None
    bounds: tuple[float, float] | None = None


def figures(evaluation: Evaluation) -> list[Figure]:
    """All figures of an evaluation in the order of tables; ``value`` is None where the videos do not define it."""
    bounds, only, alarms = evaluation.bounds.get, evaluation.abnormal_only, evaluation.alarms
    ap, auc = "frame_ap_abnormal_videos", "frame_auc_abnormal_videos"
    threshold = f"{evaluation.options.threshold:g}"
    return [
        Figure("frame_ap", "frame AP", evaluation.ap, evaluation.abnormal_share, bounds("frame_ap")),
        Figure("frame_auc", "frame AUC", evaluation.auc, 0.5, bounds("frame_auc")),
        Figure(
            ap,
            "frame AP, anomalous videos only",
            only.ap if only else None,
            only.abnormal_share if only else None,
            bounds(ap),
        ),
        Figure(auc, "frame AUC, anomalous videos only", only.auc if only else None, 0.5 if only else None, bounds(auc)),
        Figure(
            "false_alarm_rate",
            f"false alarm rate, normal frames over {threshold}",
            alarms.rate if alarms else None,
        ),
        Figure(
            "false_alarms_per_hour",
            f"false alarms per hour of normal video, over {threshold}",
            alarms.per_hour if alarms else None,
        ),
        *_map_figures("strict", evaluation.intervals, evaluation.chance, bounds("map_average")),
        *_map_figures("vadclip", evaluation.vadclip, evaluation.vadclip_chance, None),
    ]


def _map_figures(
    protocol: str, found: Any, chance: Sequence[float], bounds: tuple[float, float] | None
) -> Iterable[Figure]:
    for threshold, value, level in zip(found.iou_thresholds, found.mean, chance, strict=True):
        yield Figure(f"map_{protocol}@{threshold:g}", f"mAP@{threshold:g} ({protocol})", value, level)
    average = statistics.fmean(chance)
    yield Figure(f"map_{protocol}_average", f"mAP average ({protocol})", found.average, average, bounds)


def summary(reports: Sequence[RunReport]) -> dict[str, tuple[float, float]]:
    """Key of a figure -> mean and sample standard deviation over at least two runs, where all of them have it."""
    rows = [{figure.key: figure.value for figure in figures(report.evaluation)} for report in reports]
    found = {key: [row.get(key) for row in rows] for key in rows[0]}
    known = {key: [value for value in values if value is not None] for key, values in found.items()}
    return {
        key: (statistics.fmean(values), statistics.stdev(values))
        for key, values in known.items()
        if len(values) == len(rows) > 1
    }


def compared(report: RunReport) -> list[tuple[str, float | None, Published]]:
    """(label, our figure in percent, the published one) for every published figure of the run's head and data set."""
    ours = {figure.key: figure for figure in figures(report.evaluation)}
    rows = []
    for row in report.published:
        figure = ours[row.figure.replace("map", "map_vadclip", 1) if row.figure.startswith("map") else row.figure]
        rows.append((figure.label, None if figure.value is None else 100 * figure.value, row))
    return rows


def to_json(reports: Sequence[RunReport]) -> dict[str, Any]:
    """One run: its values. Several: ``runs``, and ``mean`` and ``sd`` (sample) of every figure that all have."""
    if len(reports) == 1:
        return reports[0].to_mapping()
    over = summary(reports)
    return {
        "runs": [report.to_mapping() for report in reports],
        "mean": {key: mean for key, (mean, _) in over.items()},
        "sd": {key: sd for key, (_, sd) in over.items()},
    }


def runs_csv(reports: Sequence[RunReport]) -> str:
    """CSV: a row for each run, then ``mean`` and ``sd`` for several; 95 % intervals in columns of their own."""
    listed = [figures(report.evaluation) for report in reports]
    bounded = {figure.key for row in listed for figure in row if figure.bounds}
    columns = ["run", "head", "features", "selection", "dataset", "videos", "frames"]
    keys = [figure.key for figure in listed[0]]
    for key in keys:
        columns += [key, f"{key}_low", f"{key}_high"] if key in bounded else [key]
    rows: list[dict[str, object]] = []
    for report, row in zip(reports, listed, strict=True):
        about = {"run": report.name, "head": report.head, "features": report.features}
        about |= {"selection": report.selection, "dataset": report.dataset}
        sizes = {"videos": report.evaluation.videos, "frames": report.evaluation.frames}
        values = {figure.key: figure.value for figure in row}
        low_high = {f"{f.key}_{end}": f.bounds[i] for f in row if f.bounds for i, end in enumerate(("low", "high"))}
        rows.append({**about, **sizes, **values, **low_high})
    if over := summary(reports):
        rows.append({"run": "mean", **{key: mean for key, (mean, _) in over.items()}})
        rows.append({"run": "sd", **{key: sd for key, (_, sd) in over.items()}})
    return _csv(columns, rows)


def videos_csv(reports: Sequence[RunReport]) -> str:
    """CSV: a row for each run and video; labels joined by ``|``."""
    columns = ["run", "id", "labels", "frames", "abnormal_frames", "ap", "auc", "max_score"]
    columns += ["true_intervals", "found_intervals", "false_alarms", "length_difference"]
    rows: list[dict[str, object]] = []
    for report in reports:
        for row in report.evaluation.rows:
            values = {**asdict(row), "true_intervals": row.true, "found_intervals": row.found}
            more = {"run": report.name, "labels": "|".join(row.labels)}
            difference = report.evaluation.differences.get(row.id, 0)
            rows.append({**values, **more, "length_difference": difference})
    return _csv(columns, rows)


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([csv_cell(row.get(name)) for name in columns] for row in rows)
    return text.getvalue()


def csv_cell(value: object) -> str:
    """Text of a cell: six decimals, empty for None; text that a table program would run as a formula gets a quote."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}"
    if not isinstance(value, str):
        return str(value)
    text = "".join(char if char.isprintable() else " " for char in value)
    return f"'{text}" if value.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text


def latex_rows(reports: Sequence[RunReport]) -> str:
    r"""Rows of a LaTeX table in percent, one a run, then mean \pm sd for several; comments name the columns."""
    listed = [{figure.key: figure for figure in figures(report.evaluation)} for report in reports]
    keys = [key for key in listed[0] if not key.startswith("false_alarm")]
    lines = [
        "% percent; columns: run & " + " & ".join(listed[0][key].label for key in keys),
        *(f"% {name}: {meaning}" for name, meaning in PROTOCOLS.items()),
        *(f"% {latex_text(report.name)}: selection: {latex_text(report.selection)}" for report in reports),
    ]
    for report, row in zip(reports, listed, strict=True):
        cells = [_percent(row[key].value) for key in keys]
        lines.append(" & ".join((latex_text(report.name), *cells)) + r" \\")
    if over := summary(reports):
        pairs = [over.get(key) for key in keys]
        cells = ["--" if pair is None else rf"${100 * pair[0]:.2f} \pm {100 * pair[1]:.2f}$" for pair in pairs]
        lines.append(" & ".join((f"mean of {len(reports)}", *cells)) + r" \\")
    return "\n".join(lines) + "\n"


def _percent(value: float | None) -> str:
    return "--" if value is None else f"{100 * value:.2f}"


def latex_text(text: str) -> str:
    """Text as LaTeX prints it, whatever characters it holds; what cannot be printed becomes a blank."""
    plain = "".join(_LATEX.get(char, char) if char.isprintable() else " " for char in text)
    # after the \\ of the row before, [ would begin its argument and * belong to it
    return "{}" + plain if plain.lstrip().startswith(("[", "*")) else plain
