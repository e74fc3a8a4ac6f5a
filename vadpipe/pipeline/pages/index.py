"""The index of a report on several videos: one line each, the most anomalous first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from vadpipe.detection import Detection
from vadpipe.pipeline.pages.facts import alarm_from, category, clock, counted, footer, score_text
from vadpipe.pipeline.pages.markup import Markup, element, joined, name_of, page
from vadpipe.pipeline.pages.page import asset, header, theme_script
from vadpipe.tracks import ScoreTrack

_WIDTH, _HEIGHT = 240, 40  # of a small curve, in its own units; the page stretches it
_LINES = Markup("<!--lines-->")  # where they go; nothing else in the page is a comment


@dataclass(frozen=True, slots=True)
class IndexLine:
    """One video: where its page is, and a picture of its highest peak as a ``data:`` address, or none."""

    detection: Detection
    address: str
    picture: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Rank:
    """Sorts videos: those with intervals first; then by :func:`highest`, downwards; then by name.

    ``intervals`` and ``duration_s`` are what the head of the index adds up.
    """

    nothing: bool
    lowest: float
    name: str
    intervals: int = field(compare=False)
    duration_s: float = field(compare=False)


def rank(detection: Detection) -> Rank:
    """What an index has to know of a video before its first line."""
    found, length = len(detection.intervals), detection.scores.grid.duration_s
    return Rank(not found, -highest(detection), detection.clip.id, found, length)


def highest(detection: Detection) -> float:
    """Highest anomaly score within an interval; of the whole video where there is none."""
    if detection.intervals:
        return max(detection.peak(item) for item in detection.intervals)
    return float(detection.scores.anomaly.max()) if len(detection.scores.anomaly) else 0.0


def index_page(ranks: Sequence[Rank], lines: Iterable[IndexLine]) -> Iterator[bytes]:
    """The whole page, UTF-8, in parts; ``lines``, in the order of ``ranks``, are asked for one by one and not held."""
    with_any = sum(not one.nothing for one in ranks)
    total = sum(one.intervals for one in ranks)
    hours = clock(sum(one.duration_s for one in ranks), 0)
    said = f"{counted(total, 'interval')} in {with_any} of {counted(len(ranks), 'video')}, {hours} in all"
    heads = [
        element("th", element("span", "Picture of the highest peak", class_="unseen"), scope="col"),
        element("th", "Video", scope="col"),
        element("th", "Highest", scope="col", class_="number"),
        *(element("th", name, scope="col") for name in ("Anomaly score over time", "Found", "Length")),
    ]
    table = element(
        "table",
        element("caption", "Videos, the highest anomaly score first; those without an interval last", class_="unseen"),
        element("thead", element("tr", *heads)),
        element("tbody", _LINES),
        class_="videos",
    )
    note = (
        "Sorted by the highest anomaly score within an interval; videos without an interval follow. "
        "In the small curves the full height is 1, and the bars below are the intervals."
    )
    body = element(
        "div",
        header(Markup("Videos"), said),
        element("main", table, element("p", note, class_="index-note")),
        footer(),
        class_="wide",
    )
    whole = page("Videos · vadpipe", body, style=asset("report.css"), script=theme_script())
    start, end = whole.split(_LINES.encode())
    yield start
    for line in lines:
        yield _line(line).encode()
    yield end


def _line(line: IndexLine) -> Markup:
    detection = line.detection
    picture = element("img", alt="", width=96, height=54, src=line.picture) if line.picture else Markup("")
    names = dict.fromkeys(item.category for item in detection.intervals)
    found = joined(
        counted(len(detection.intervals), "interval") if detection.intervals else "nothing",
        *(joined(element("br"), category(detection, name)) for name in names),
    )
    return element(
        "tr",
        element("td", picture, class_="picture"),
        element("th", element("a", name_of(detection.clip.id), href=line.address), scope="row"),
        element("td", score_text(highest(detection), alarm_from(detection)), class_="number peak"),
        element("td", sparkline(detection), class_="curve-cell"),
        element("td", found, class_="side", data_head="Found:"),
        element("td", clock(detection.scores.grid.duration_s, 0), class_="side", data_head="Length:"),
    )


def sparkline(detection: Detection) -> Markup:
    """A small curve of the highest anomaly score of each part, and bars for the intervals."""
    scores = detection.scores
    if not len(scores.anomaly):
        return Markup("")
    points = _steps(scores)
    curve = "M" + "L".join(f"{x:.1f} {_HEIGHT - 6 - (_HEIGHT - 8) * y:.1f}" for x, y in points)
    base = _HEIGHT - 6
    length = scores.grid.duration_s
    bars = ""
    for item in detection.intervals:
        start, wide = _WIDTH * item.start_s / length, _WIDTH * (item.end_s - item.start_s) / length
        bars += f"M{start:.1f} {_HEIGHT - 4}h{max(wide, 1):.1f}v4H{start:.1f}z"
    return element(
        "svg",
        element("path", class_="area", d=f"{curve}L{_WIDTH} {base}L0 {base}z"),
        element("path", class_="curve", d=curve),
        element("path", class_="found", d=bars) if bars else Markup(""),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        class_="spark",
        role="img",
        aria_label=f"Anomaly score over time, highest {score_text(float(scores.anomaly.max()))}",
    )


def _steps(scores: ScoreTrack) -> list[tuple[float, float]]:
    """(x, y) of a curve of at most ``_WIDTH`` parts, each at its highest score, so that no peak is lost."""
    count = len(scores.anomaly)
    parts = min(count, _WIDTH)
    points = []
    places = scores.grid.edges_s() * (_WIDTH / scores.grid.duration_s)  # snippets may be of different lengths
    for part in range(parts):
        first, last = part * count // parts, (part + 1) * count // parts
        y = float(scores.anomaly[first:last].max())
        points += [(float(places[first]), y), (float(places[last]), y)]
    return points
