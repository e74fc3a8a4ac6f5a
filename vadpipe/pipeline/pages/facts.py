"""The parts of a report that are text: tables of intervals, warnings, and the facts about video, model and settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import vadpipe
from vadpipe.detection import Detection
from vadpipe.pipeline.pages.markup import Markup, element, joined, name_of, text
from vadpipe.tracks import Interval


def clock(second: float, digits: int = 1) -> str:
    """83.25 -> ``1:23.3``; hours where there are any. As ``clock`` in lanes.js."""
    whole = int(second * 10**digits + 0.5)
    minutes, rest = divmod(whole, 60 * 10**digits)
    hours, minutes = divmod(minutes, 60)
    width = 3 + digits if digits else 2
    seconds = f"{rest / 10**digits:0{width}.{digits}f}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def counted(number: int, noun: str) -> str:
    """``1 interval``, ``2 intervals``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def alarm_from(detection: Detection) -> float | None:
    """The threshold of the calibration; None without one."""
    return None if detection.calibration is None else detection.calibration.threshold


def score_text(value: float, threshold: float | None = None) -> str:
    """Three digits; more where these would wrongly say that a score reaches 1 or a threshold, or that it does not."""
    shown = ""
    for digits in range(3, 9):
        shown = f"{value:.{digits}f}"
        if all((value >= limit) == (float(shown) >= limit) for limit in (1.0, threshold) if limit is not None):
            break
    return shown


def category(detection: Detection, name: str) -> Markup:
    """A category for people: its name, and below it what has to be said of it."""
    note = detection.note(name)
    return joined(name_of(name), element("span", note, class_="note") if note else Markup(""))


def interval_table(detection: Detection, pictured: Iterable[int]) -> Markup:
    """Every interval with a button that goes there; ``pictured`` are the numbers that have a picture."""
    if not detection.intervals:
        return element("p", "No incident was found.", class_="soft")
    with_picture, calibrated = set(pictured), detection.calibration is not None
    heads: list[object] = [_head("Time")]
    if with_picture:
        said = element("span", "Picture of the peak", class_="unseen")
        heads.insert(0, element("th", said, scope="col", class_="picture"))
    heads += [_head("Category"), _head("Score", "number"), _head("Peak", "number")]
    if calibrated:
        heads.append(_head("Calibrated", "number"))
    lines = []
    for number, item in enumerate(detection.intervals):
        cells = [element("td", _button(item, number, detection.shown(item.category)))]
        if with_picture:
            picture = element("img", alt="", width=64, height=36, data_picture=number, src="data:,")
            cells.insert(0, element("td", picture if number in with_picture else Markup(""), class_="picture"))
        cells.append(element("th", category(detection, item.category), scope="row"))
        cells += [_number(f"{item.score:.2f}"), _number(score_text(detection.peak(item), alarm_from(detection)))]
        if calibrated:
            value = detection.calibrated_peak(item)
            cells.append(_number("–" if value is None else score_text(value)))
        lines.append(element("tr", *cells, data_interval=number))
    table = element(
        "table",
        element("caption", "Intervals, in the order of time", class_="unseen"),
        element("thead", element("tr", *heads)),
        element("tbody", *lines),
    )
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label="Table of intervals")


def truth_table(truth: Sequence[Interval]) -> Markup:
    """What the annotations say, folded away."""
    lines = [
        element(
            "tr", element("td", _button(item, None, item.category)), element("th", name_of(item.category), scope="row")
        )
        for item in truth
    ]
    table = element(
        "table",
        element("caption", "Annotated intervals", class_="unseen"),
        element("thead", element("tr", _head("Time"), _head("Category"))),
        element("tbody", *lines),
    )
    scroll = element("div", table, class_="scroll", tabindex=0, role="region", aria_label="Table of annotations")
    summary = element("summary", f"Annotations: {counted(len(truth), 'interval')}")
    return element("details", summary, scroll, class_="truths")


def _head(name: str, kind: str | None = None) -> Markup:
    return element("th", name, scope="col", class_=kind)


def _number(shown: str) -> Markup:
    return element("td", shown, class_="number")


def _button(item: Interval, number: int | None, shown: str) -> Markup:
    span = f"{clock(item.start_s)} – {clock(item.end_s)}"
    said = f"Go to {clock(item.start_s)}, {shown}, until {clock(item.end_s)}"
    return element(
        "button", span, type="button", class_="go", data_seek=item.start_s, data_number=number, aria_label=said
    )


def warnings_of(warnings: Sequence[str]) -> Markup:
    """The warnings of a detection and of making the page; nothing where there are none."""
    if not warnings:
        return Markup("")
    lines = element("ul", *(element("li", line) for line in warnings))
    return element("div", lines, class_="warnings", role="note", aria_label="Warnings")


def facts_of(detection: Detection) -> Markup:
    """The facts panel: everything that one needs to judge, and to repeat, this result."""
    parts: list[tuple[str, Mapping[str, object]]] = [
        ("Video", _video(detection)),
        ("Model", _model(detection.provenance)),
        ("Sound", {"used": "yes" if detection.audio.used else "no", "because": detection.audio.reason}),
        ("Calibration", _calibration(detection)),
        ("Settings", {str(name): str(value) for name, value in detection.params.items()}),
    ]
    groups = [element("div", element("h3", head), _list(rows)) for head, rows in parts if rows]
    heading = element("h2", "About this result", id="about")
    return element(
        "section", heading, element("div", *groups, class_="groups"), class_="facts", aria_labelledby="about"
    )


def _list(rows: Mapping[str, object]) -> Markup:
    return element("dl", *(joined(element("dt", name), element("dd", value)) for name, value in rows.items()))


def _video(detection: Detection) -> dict[str, object]:
    clip, grid = detection.clip, detection.scores.grid
    rate = f"{float(clip.fps):.6g} a second{', varying' if clip.vfr else ''}"
    return {
        "file": name_of(clip.path or clip.id),
        "length": f"{clock(grid.duration_s)} ({grid.num_frames} frames, {rate})",
        "picture": f"{clip.width} × {clip.height}{f', {clip.codec}' if clip.codec else ''}",
        "sound": f"{clip.audio_rate} Hz" if clip.has_audio else "none",
        **({"sha256": element("code", clip.sha256)} if clip.sha256 else {}),
    }


def _model(provenance: Mapping[str, Any]) -> dict[str, object]:
    rows: dict[str, object] = {}
    for name, head in (("name", "head"), ("selection", "selection")):
        if provenance.get(name):
            rows[head] = str(provenance[name])
    if provenance.get("sha256"):
        rows["weights"] = element("code", str(provenance["sha256"]))
    if provenance.get("categories"):
        own = provenance.get("zero_shot", ())
        trained = [name_of(str(name)) for name in provenance["categories"] if name not in own]
        rows["trained on"] = joined(*_with_commas(trained))
    for name, head in (("spec", "features"), ("audio_spec", "audio features")):
        spec = provenance.get(name)
        if isinstance(spec, Mapping):
            told = ("stream", "model", "weights", "frames_per_snippet", "geometry", "decoder", "decoder_version")
            rows[head] = ", ".join(f"{key} {spec[key]}" for key in told if spec.get(key))
            rows[f"{head} digest"] = element("code", str(spec.get("digest", "")))
    return rows


def _with_commas(names: Sequence[Markup]) -> list[Markup]:
    return [part for name in names for part in (text(", "), name)][1:]


def _calibration(detection: Detection) -> dict[str, object]:
    known = detection.calibration
    if known is None:
        return {"made": "no: scores are the head's own; vadpipe calibrate makes one from normal footage"}
    return {
        "alarm from": f"anomaly score {known.threshold:.6g}",
        "asked for": f"{known.false_alarms_per_hour:g} false alarms an hour",
        "normal footage": f"{known.hours:.4g} h, {counted(known.videos, 'video')}, {counted(known.alarms, 'alarm')}",
        "true rate": f"at most {known.upper:.3g} an hour (95 %)",
        "calibrated score": "share of the normal footage's time that scored lower",
    }


def footer() -> Markup:
    """Who made the page, and that it keeps to itself."""
    said = f"Made by vadpipe {vadpipe.__version__}. This page loads nothing from the network and sends nothing."
    return element("footer", said)
