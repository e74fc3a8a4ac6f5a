"""The page of one video: player, timeline, tables and facts in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vadpipe.detection import Detection
from vadpipe.pipeline.pages.facts import (
    alarm_from,
    clock,
    counted,
    facts_of,
    footer,
    interval_table,
    score_text,
    truth_table,
    warnings_of,
)
from vadpipe.pipeline.pages.markup import Markup, data_block, element, joined, name_of, page
from vadpipe.pipeline.pages.media import Player
from vadpipe.pipeline.pages.payload import Peak, Row, payload, rows_of
from vadpipe.tracks import FloatArray, Interval

ASSETS = Path(__file__).parents[2] / "report_assets"

_SHOWN_ROWS = 7  # with more categories than this, the quiet ones are folded away
_KEYS = (
    (("Space",), "play, pause"),
    (("←", "→"), "5 s (with Shift 1 s)"),
    (("[", "]"), "previous, next interval"),
    (("+", "−", "0"), "zoom in, out, whole video"),
    (("Home", "End"), "start, end"),
)


@dataclass(frozen=True, slots=True)
class PageParts:
    """What :func:`video_page` puts together.

    links
        (text, address) of other pages.
    pictures
        JPEGs as ``data:`` addresses, with the peaks that they show.
    wave
        (buckets, 2), see :func:`vadpipe.pipeline.pages.media.waveform_of`; None without sound.
    problems
        What could not be shown, and why; said with the detection's own warnings.
    """

    detection: Detection
    truth: tuple[Interval, ...]
    player: Player
    pictures: Sequence[tuple[Peak, str]] = ()
    wave: FloatArray | None = None
    problems: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


@cache
def asset(name: str) -> str:
    """A file of ``report_assets``."""
    return (ASSETS / name).read_text(encoding="utf-8")


def theme_script() -> str:
    """The script that a page without a timeline needs."""
    return f'"use strict";\n{asset("theme.js")}'


def page_script() -> str:
    """The script of a video's page, in one piece so that one digest names it."""
    own = "\n".join(asset(name) for name in ("lanes.js", "page.js", "control.js"))
    return f"{theme_script()}\n(() => {{\n{own}\n}})();\n"


def video_page(parts: PageParts) -> bytes:
    """The whole page, UTF-8."""
    detection, truth = parts.detection, parts.truth
    rows = rows_of(detection, truth)
    works = detection.scores.grid.num_snippets > 0
    pictured = [peak.interval for peak, _ in parts.pictures if peak.interval is not None]
    stage = element(
        "div",
        element("section", element("h2", "Video", class_="unseen"), _screen(parts.player, detection), class_="player"),
        element("section", element("h2", _found(detection)), interval_table(detection, pictured), class_="found"),
        class_="stage",
    )
    body = element(
        "div",
        header(name_of(detection.clip.id), _summary(detection), parts.links),
        element(
            "main",
            warnings_of((*detection.warnings, *parts.problems)),
            stage,
            _timeline(rows, parts) if works else element("p", "The video has no frames: there is no timeline."),
            truth_table(truth) if truth else Markup(""),
            facts_of(detection),
        ),
        footer(),
        class_="wide",
    )
    if not works:
        return page(detection.clip.id, body, style=asset("report.css"), script=theme_script())
    data = data_block("data", payload(detection, truth, rows, parts.pictures, parts.wave, parts.player.kind))
    return page(
        f"{detection.clip.id} · vadpipe",
        joined(body, data),
        style=asset("report.css"),
        script=page_script(),
        media=parts.player.policy,
        embedded=parts.player.embedded,
    )


def header(heading: Markup, said: str, links: Sequence[tuple[str, str]] = ()) -> Markup:
    """The top of every page: where one can go, the only h1, one line, the choice of theme."""
    nav = element("nav", *(element("a", name, href=to) for name, to in links), aria_label="Other videos")
    words = element("div", nav if links else Markup(""), element("h1", heading), element("p", said, class_="soft"))
    return element(
        "header", words, element("button", "Theme", type="button", class_="theme", hidden=True), class_="top"
    )


def _summary(detection: Detection) -> str:
    clip, grid = detection.clip, detection.scores.grid
    sound = "with its sound" if detection.audio.used else "sound not used"
    said = [clock(grid.duration_s), f"{clip.width} × {clip.height}", sound]
    if grid.num_snippets:
        highest = float(detection.scores.anomaly.max())
        said.append(f"highest anomaly score {score_text(highest, alarm_from(detection))}")
    return " · ".join(said)


def _found(detection: Detection) -> str:
    return f"{counted(len(detection.intervals), 'interval')} found" if detection.intervals else "Nothing found"


def _screen(player: Player, detection: Detection) -> Markup:
    if player.missing:
        return element("div", element("p", player.missing), class_="screen without")
    clip = detection.clip
    video = element(
        "video",
        controls=True,
        playsinline=True,
        preload="metadata",
        src=player.source or None,
        width=clip.width,
        height=clip.height,
        aria_label=f"Video {clip.id}",
    )
    return element("div", video, class_="screen")


def _timeline(rows: Sequence[Row], parts: PageParts) -> Markup:
    fold = sum(row.kind == "category" for row in rows) > _SHOWN_ROWS
    true_in = {item.category for item in parts.truth}
    lanes = [_lane(number, row, fold=fold, true_in=true_in) for number, row in enumerate(rows)]
    hidden = sum(row.quiet for row in rows) if fold else 0
    if parts.pictures:
        lanes.insert(0, _other("peaks", "Peaks", Markup("")))
    if parts.wave is not None and len(parts.wave):
        lanes.append(_other("sound", "Sound", _canvas("The loudness of the sound over time")))
    lanes.append(_other("axis", "Time", _canvas("")))
    overview = joined(_canvas("The anomaly score of the whole video"), element("div", class_="window"))
    lanes.append(_other("whole", "Whole video", overview))
    duration = parts.detection.scores.grid.duration_s
    playhead = element(
        "div",
        class_="playhead",
        role="slider",
        tabindex=0,
        aria_label="Position in the video",
        aria_valuemin=0,
        aria_valuemax=f"{duration:.1f}",
        aria_valuenow=0,
        aria_valuetext="0:00.0",
    )
    return element(
        "section",
        element("h2", "Timeline", id="timeline"),
        _tools(duration, bool(parts.detection.intervals), bool(parts.player.missing)),
        element("div", *lanes, playhead, element("div", class_="hover", hidden=True), class_="lanes"),
        _more(hidden),
        _legend(rows, bool(parts.detection.intervals), bool(parts.truth)),
        _help(),
        element("p", id="said", class_="unseen", role="status", aria_live="polite"),
        element("noscript", "The timeline needs JavaScript, which is part of this page; the tables do not."),
        aria_labelledby="timeline",
    )


def _tools(duration_s: float, found: bool, silent: bool) -> Markup:
    def button(name: str, said: str, **more: object) -> Markup:
        return element("button", said, type="button", id=name, **more)

    now = element(
        "span", element("span", "0:00.0", id="clock"), element("small", f" / {clock(duration_s)}"), class_="now"
    )
    zoom = element(
        "div",
        button("in", "+", aria_label="Zoom in"),
        button("out", "−", aria_label="Zoom out"),
        button("all", "All", aria_label="Show the whole video"),
        class_="zoom",
        role="group",
        aria_label="Zoom",
    )
    return element(
        "div",
        button("play", "Play", hidden=silent),
        button("before", "Previous", disabled=not found, aria_label="Previous interval"),
        button("after", "Next", disabled=not found, aria_label="Next interval"),
        now,
        element("span", element("span", id="where"), " ", element("span", id="pointed"), class_="where"),
        zoom,
        class_="bar-of-tools",
    )


def _lane(number: int, row: Row, *, fold: bool, true_in: set[str]) -> Markup:
    true = row.kind == "category" and row.name in true_in
    kind = row.kind + (" two" if true else "") + (" only" if row.values is None else "")
    name = joined(name_of(row.name), element("span", row.note, class_="note") if row.note else Markup(""))
    curve = Markup("")
    if row.values is not None:
        threshold = "" if row.threshold is None else f", threshold {row.threshold:.6g}"
        note = f", {row.note}" if row.note else ""
        curve = _canvas(
            f"{row.name}{note}: highest score {score_text(float(row.values.max()), row.threshold)}{threshold}"
        )
    hidden = fold and row.quiet
    return element(
        "div",
        element("div", element("span", name), element("span", class_="value", aria_hidden="true"), class_="label"),
        element("div", curve, class_="plot"),
        class_=f"row {kind}{' quiet' if hidden else ''}",
        data_row=number,
        hidden=hidden,
    )


def _other(kind: str, name: str, inside: Markup) -> Markup:
    return element(
        "div", element("div", name, class_="label"), element("div", inside, class_="plot"), class_=f"row {kind}"
    )


def _canvas(said: str) -> Markup:
    return element("canvas", role="img", aria_label=said) if said else element("canvas", aria_hidden="true")


def _more(hidden: int) -> Markup:
    if not hidden:
        return Markup("")
    said = f"Categories with nothing over their threshold ({hidden})"
    return element("p", element("button", said, type="button", id="more", aria_expanded="false"), class_="more")


def _legend(rows: Sequence[Row], found: bool, true: bool) -> Markup:
    signs = [("key-now", "position")]
    if found:
        signs.append(("key-found", "found, click to go there"))
    if true:
        signs.append(("key-true", "annotated"))
    if any(row.threshold is not None for row in rows):
        signs.append(("key-limit", "threshold"))
    return element("ul", *(element("li", element("span", class_=key), said) for key, said in signs), class_="legend")


def _help() -> Markup:
    told = []
    for keys, said in _KEYS:
        pressed = joined(*(joined(element("kbd", key), " ") for key in keys))
        told.append(element("span", pressed, said))
    wheel = element("span", element("kbd", "Ctrl"), " + wheel zooms, dragging shifts")
    return element("p", element("span", "Keys", class_="unseen"), *told, wheel, class_="keys")
