"""Reports as files: what is in a page, what an index lists, what is refused. In a browser: test_html_browser.py."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from tests.pipeline import html_scene
from tests.pipeline.html_scene import CALIBRATION, GRID, Parsed
from vadpipe.errors import UsageError, VideoUnreadable
from vadpipe.pipeline.detecting.places import Places
from vadpipe.pipeline.detecting.request import Extras
from vadpipe.pipeline.pages import media as html_media
from vadpipe.pipeline.pages import report as html_report
from vadpipe.pipeline.pages.facts import facts_of, score_text
from vadpipe.pipeline.pages.index import highest, sparkline
from vadpipe.pipeline.pages.media import address, as_jpeg, check_embeddable, player_for, unplayable
from vadpipe.pipeline.pages.page import ASSETS, asset
from vadpipe.pipeline.pages.payload import peaks_of, rows_of
from vadpipe.pipeline.pages.report import ReportEntry, write_html
from vadpipe.tracks import Interval, ScoreTrack, TimeGrid

ENTRY = ReportEntry(None, html_scene.detection(), (html_scene.truth(),))


@pytest.fixture
def no_video_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures and sound as they would come from a video."""
    monkeypatch.setattr(html_report, "pictures_of", lambda path, seconds: [f"data:,{at:.2f}" for at in seconds])
    monkeypatch.setattr(html_report, "waveform_of", lambda path, length: np.array([[-1, 1], [-0.5, 0.25]], np.float32))


def written(entry: ReportEntry, folder: Path, **options: Any) -> Parsed:
    (out,) = write_html([entry], folder / "report.html", **options)
    return Parsed(out.read_text())


def data_of(made: Parsed) -> dict[str, Any]:
    number = [held.get("id") for tag, held in made.elements if tag == "script"].index("data")
    data: dict[str, Any] = json.loads(made.raw["script"][number])
    return data


def floats(text: str) -> list[float]:
    return [float(value) for value in np.frombuffer(base64.b64decode(text), "<f4")]


def test_the_page_carries_scores_and_intervals_without_loss(tmp_path: Path) -> None:
    data = data_of(written(ENTRY, tmp_path))
    detection = ENTRY.detection
    assert floats(data["edges"]) == pytest.approx(GRID.edges_s())
    assert [row["kind"] for row in data["rows"]] == ["anomaly", "calibrated", "category", "category", "category"]
    assert floats(data["rows"][0]["values"]) == detection.scores.anomaly.tolist()
    assert floats(data["rows"][1]["values"]) == CALIBRATION.calibrated(detection.scores.anomaly).tolist()
    assert floats(data["rows"][3]["values"]) == detection.scores.categories[:, 2].tolist()
    assert data["rows"][0]["threshold"] == CALIBRATION.threshold
    assert data["rows"][2]["threshold"] == detection.scores.even_share("fire") == 0.25  # more than r_ano
    assert [(item["row"], item["start"], item["end"]) for item in data["intervals"]] == [
        (2, 1, 2),
        (3, 5, 6.5),
        (4, 9, 10),
    ]
    assert data["intervals"][2]["shown"] == "graffiti (zero-shot, uncalibrated)"
    assert data["truth"] == [{"row": 3, "start": 4.5, "end": 7}]
    assert (data["wave"], data["pictures"]) == (None, [])


def test_the_page_says_what_is_needed_to_judge_it(tmp_path: Path) -> None:
    words = written(ENTRY, tmp_path).words
    for said in (
        "selected on the test set: its score there is too good", "cd" * 32, "ab" * 32, "the head uses video only",
        "epoch 3, the best on the test set", "zero-shot, uncalibrated", "0.5 false alarms an hour", "3 intervals found",
        "made without the video file",
    ):  # fmt: skip
        assert said in words


def test_own_categories_are_not_called_trained() -> None:
    detection = replace(
        html_scene.detection(), provenance={"categories": ["normal", "riot", "mud"], "zero_shot": ["mud"]}
    )
    told = re.search(r"<dt>trained on</dt><dd>(.*?)</dd>", str(facts_of(detection)))
    assert told is not None
    assert re.sub(r"<[^>]+>", "", told[1]) == "normal, riot"


def test_the_table_has_heads_and_a_button_for_each_interval(tmp_path: Path) -> None:
    made = written(ENTRY, tmp_path)
    assert [held["data-seek"] for held in made.of("button", class_="go") if "data-number" in held] == [
        "1.0",
        "5.0",
        "9.0",
    ]
    assert all(held.get("scope") in ("col", "row") for tag, held in made.elements if tag == "th")
    assert made.count("h1") == 1
    assert "0.900" in made.words  # raw peak
    assert "1.000" in made.words  # its calibrated score


@pytest.mark.parametrize(
    ("value", "threshold", "shown"),
    [
        (0.9, None, "0.900"),
        (0.9994, None, "0.999"),
        (0.9996, None, "0.9996"),
        (0.99999994, None, "0.9999999"),
        (1.0, None, "1.000"),
        (0.70041, 0.7004, "0.7004"),
        (0.70039, 0.7004, "0.700"),
        (0.6996, 0.7, "0.6996"),
        (0.7, 0.7, "0.700"),
    ],
)
def test_a_score_is_never_shown_on_the_other_side(value: float, threshold: float | None, shown: str) -> None:
    assert score_text(value, threshold) == shown


def test_hostile_names_stay_names_everywhere(tmp_path: Path, no_video_is_read: None) -> None:
    name = "</script><img src=x onerror=alert(1)><!--\"'&${1}"
    foreign = Interval("<i>mine", 1, 2, 10, 20)
    harmless = ReportEntry(Path("/videos/plain.mp4"), html_scene.named("plain"), (replace(foreign, category="mine"),))
    hostile = ReportEntry(Path(f"/videos/{name}.mp4"), html_scene.named(name), (foreign,))
    for entries in ([harmless], [hostile]):
        write_html([*entries, ENTRY], tmp_path / f"{'hostile' if entries == [hostile] else 'plain'}.html")
    pages = [
        [*sorted((tmp_path / f"{stem}_files").glob("*.html")), tmp_path / f"{stem}.html"]
        for stem in ("plain", "hostile")
    ]
    tags = [sorted(sorted(tag for tag, _ in Parsed(path.read_text()).elements) for path in group) for group in pages]
    assert tags[0] == tags[1]
    for path in pages[1]:
        assert not [key for _, held in Parsed(path.read_text()).elements for key in held if key.startswith("on")]
    assert name in Parsed((tmp_path / "hostile.html").read_text()).words


def test_names_that_are_no_text_are_written(tmp_path: Path, no_video_is_read: None) -> None:
    made = written(ReportEntry(Path("/v/\udcff.mp4"), html_scene.named("a\udcff\x00b")), tmp_path)
    assert "a\\udcff\\x00b" in made.words
    (video,) = made.of("video")
    assert (video["src"] or "").endswith("/%FF.mp4")


def test_own_parts_fetch_nothing() -> None:
    for path in ASSETS.iterdir():
        assert not re.search(r"https?:|//\w+\.|@import|url\(|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(|eval\(|innerHTML|outerHTML|document\.write", asset(path.name)), path.name  # fmt: skip  # noqa: E501


def test_no_element_has_a_style_of_its_own_nor_a_remote_address(tmp_path: Path, no_video_is_read: None) -> None:
    entry = replace(ENTRY, path=tmp_path / "yard.mp4")
    out, *pages = write_html([entry, entry], tmp_path / "all.html")
    for path in (out, *pages):
        for tag, held in Parsed(path.read_text()).elements:
            assert "style" not in held, tag
            assert not re.match(r"\w+:", held.get("src") or "data:") or (held.get("src") or "data:").startswith("data:")


def test_pictures_of_the_highest_peaks_first_and_sound(tmp_path: Path, no_video_is_read: None) -> None:
    made = written(replace(ENTRY, path=tmp_path / "yard.mp4"), tmp_path)
    data = data_of(made)
    assert [(item["interval"], item["picture"]) for item in data["pictures"]] == [
        (1, "data:,5.70"), (2, "data:,9.70"), (0, "data:,1.70"),
    ]  # fmt: skip
    assert np.frombuffer(base64.b64decode(data["wave"]), "i1").tolist() == [-127, 127, -64, 32]
    assert [held["data-picture"] for held in made.of("img")] == ["0", "1", "2"]


def test_the_peak_of_a_video_without_intervals_and_at_most_so_many() -> None:
    detection = html_scene.detection(peaks=())
    (peak,) = peaks_of(replace(detection, scores=html_scene.detection().scores), 5)
    assert (peak.interval, peak.at_s) == (None, 5.7)
    assert [peak.interval for peak in peaks_of(html_scene.detection(), 2)] == [1, 2]


@pytest.mark.parametrize(("part", "said"), [("pictures_of", "no pictures of the peaks"), ("waveform_of", "no outline of the sound")])  # fmt: skip  # noqa: E501
def test_what_cannot_be_read_is_said_and_the_rest_is_there(
    part: str, said: str, tmp_path: Path, no_video_is_read: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path, wanted: object) -> None:
        raise VideoUnreadable("yard.mp4: damaged beyond use")

    monkeypatch.setattr(html_report, part, fails)
    made = written(replace(ENTRY, path=tmp_path / "yard.mp4"), tmp_path)
    assert f"{said}: yard.mp4: damaged beyond use" in made.words
    assert (data_of(made)["wave"] is None) == (part == "waveform_of")


def test_a_video_without_sound_is_not_asked_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_report, "pictures_of", lambda path, seconds: ["data:," for _ in seconds])
    detection = html_scene.detection()
    silent = replace(detection, clip=replace(detection.clip, audio_rate=0))
    assert data_of(written(ReportEntry(tmp_path / "yard.mp4", silent), tmp_path))["wave"] is None


def test_a_video_without_frames_has_a_page(tmp_path: Path) -> None:
    made = written(ReportEntry(None, html_scene.detection(peaks=(), grid=TimeGrid(Fraction(10), 0, 5))), tmp_path)
    assert "no frames: there is no timeline" in made.words
    assert made.count("canvas") == 0


def test_quiet_categories_are_folded_away_where_there_are_many(tmp_path: Path) -> None:
    labels = ("normal", *(f"kind {number}" for number in range(9)))
    made = written(ReportEntry(None, html_scene.detection(labels=labels)), tmp_path)
    hidden = [
        held["data-row"] for tag, held in made.elements if tag == "div" and "hidden" in held and "data-row" in held
    ]
    assert hidden == ["5", "6", "7", "8", "9", "10"]
    assert "nothing over their threshold (6)" in made.words
    assert not [
        row for row in rows_of(html_scene.detection(labels=labels), [html_scene.truth("kind 8")])[10:] if row.quiet
    ]


def test_a_category_of_the_annotations_alone_has_a_lane(tmp_path: Path) -> None:
    rows = rows_of(ENTRY.detection, [html_scene.truth("smoke")])
    assert [(row.name, row.values is None) for row in rows[-2:]] == [("graffiti", False), ("smoke", True)]
    assert data_of(written(replace(ENTRY, truth=(html_scene.truth("smoke"),)), tmp_path))["truth"][0]["row"] == 5


# --- the player -----------------------------------------------------------------------------------------------------


def test_the_player_refers_to_the_file_by_its_place(tmp_path: Path) -> None:
    page = tmp_path / "out" / "report.html"
    assert address(tmp_path / "videos" / "a b#c?%.mp4", page) == "../videos/a%20b%23c%3F%25.mp4"
    assert address(tmp_path / "out" / "javascript:alert(1).mp4", page) == "./javascript%3Aalert%281%29.mp4"
    assert unquote(address(tmp_path / "out" / "straße.mp4", page)) == "./straße.mp4"


def test_an_embedded_video_is_whole_and_needs_no_file(tmp_path: Path, no_video_is_read: None) -> None:
    video = tmp_path / "yard.mp4"
    video.write_bytes(bytes(range(256)) * 5)
    made = written(replace(ENTRY, path=video), tmp_path, embed=True)
    number = [held.get("id") for tag, held in made.elements if tag == "script"].index("embedded")
    assert base64.b64decode(made.raw["script"][number]) == video.read_bytes()
    assert data_of(made)["kind"] == "video/mp4"
    (shown,) = made.of("video")
    assert "src" not in shown
    (meta,) = made.of("meta", http_equiv="Content-Security-Policy")
    assert "media-src blob:;" in (meta["content"] or "")


def test_too_large_to_embed_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_media, "EMBED_LIMIT_BYTES", 1_000_000)
    video = tmp_path / "yard.mp4"
    video.write_bytes(bytes(3_000_000))
    with pytest.raises(UsageError, match=r"got 3 MB, expected at most 1 MB to embed.*Leave --embed out"):
        write_html([replace(ENTRY, path=video)], tmp_path / "report.html", embed=True)
    with pytest.raises(UsageError, match=r"got 3 MB"):
        Places({"yard": video}, None, Extras(html=tmp_path / "report.html", embed=True))
    assert list(tmp_path.iterdir()) == [video]
    video.write_bytes(bytes(1_000_000))
    check_embeddable(video)


def test_a_large_video_that_no_browser_plays_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_media, "EMBED_LIMIT_BYTES", 1000)
    for name in ("yard.avi", "yard.mp4"):
        (tmp_path / name).write_bytes(bytes(3000))
    check_embeddable(tmp_path / "yard.avi")
    check_embeddable(tmp_path / "yard.mp4", "mpeg4")
    with pytest.raises(UsageError):
        check_embeddable(tmp_path / "yard.mp4", "h264")
    Places({"yard": tmp_path / "yard.avi"}, None, Extras(html=tmp_path / "report.html", embed=True))


def test_of_several_videos_one_too_large_to_embed_costs_itself(
    tmp_path: Path, no_video_is_read: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html_media, "EMBED_LIMIT_BYTES", 1000)
    entries = []
    for name, size in (("small", 1000), ("large", 1001)):
        (tmp_path / f"{name}.mp4").write_bytes(bytes(size))
        entries.append(ReportEntry(tmp_path / f"{name}.mp4", html_scene.detection(name)))
    videos = {entry.detection.clip.id: entry.path for entry in entries if entry.path is not None}
    Places(videos, tmp_path / "out", Extras(html=tmp_path / "report.html", embed=True))
    _, *pages = write_html(entries, tmp_path / "report.html", embed=True)
    made = {path.stem.partition("-")[0]: Parsed(path.read_text()) for path in pages}
    assert [held.get("src") for name in ("small", "large") for held in made[name].of("video")] == [None, "../large.mp4"]
    assert "not embedded, the page refers to the file" in made["large"].words
    assert "not embedded" not in made["small"].words


@pytest.mark.parametrize(
    ("name", "codec", "said"),
    [
        ("a.AVI", "h264", "do not play .avi files"),
        ("a.mp4", "mpeg4", "do not play video coded as mpeg4"),
        ("a.mp4", "h264", ""),
        ("a.webm", "vp9", ""),
        ("a.mkv", "h264", ""),  # some do; where one does not, the page itself says so
    ],
)
def test_files_that_no_browser_plays_are_told(name: str, codec: str, said: str, tmp_path: Path) -> None:
    clip = html_scene.detection(codec=codec).clip
    assert said in unplayable(Path(name), clip)
    assert bool(unplayable(Path(name), clip)) == bool(said)
    player = player_for(tmp_path / name, clip, tmp_path / "report.html", embed=False)
    assert (player.source == "") == bool(said)
    assert not said or "convert" in player.missing


def test_pictures_are_small_jpegs() -> None:
    made = as_jpeg(np.zeros((720, 1280, 3), np.uint8))
    content = base64.b64decode(made.removeprefix("data:image/jpeg;base64,"))
    assert content[:2] == b"\xff\xd8"
    assert len(content) < 5000


# --- several videos --------------------------------------------------------------------------------------------------


def test_the_index_has_the_most_anomalous_first_and_leads_to_the_pages(tmp_path: Path, no_video_is_read: None) -> None:
    quiet = html_scene.detection("quiet", peaks=())
    anomaly = quiet.scores.anomaly + np.float32(0.89)
    loud = replace(quiet, clip=replace(quiet.clip, id="loud"), scores=replace(quiet.scores, anomaly=anomaly))
    some = [html_scene.detection("second", peaks=(0.5,)), quiet, html_scene.detection("first"), loud]
    seen: list[int] = []
    out, *pages = write_html(
        [ReportEntry(tmp_path / "a.mp4", one) for one in some], tmp_path / "a b.html", on_page=seen.append
    )
    assert seen == [4, 4, 4, 4]
    assert out == tmp_path / "a b.html"
    index = Parsed(out.read_text())
    leads = [unquote(held["href"] or "") for held in index.of("a")]
    assert [tmp_path / lead for lead in leads] == pages
    assert [re.sub("-.*", "", path.stem) for path in pages] == ["first", "second", "loud", "quiet"]
    assert index.count("svg") == 4
    assert index.count("canvas") == 0
    assert "4 intervals in 2 of 4 videos" in index.words
    assert "zero-shot, uncalibrated" in index.words
    assert highest(loud) == pytest.approx(0.99)
    middle = Parsed(pages[1].read_text())
    assert [(pages[1].parent / unquote(held["href"] or "")).resolve() for held in middle.of("a")] == [
        out,
        pages[0],
        pages[2],
    ]


def test_the_small_curve_lies_over_its_bars_where_the_rate_varies() -> None:
    """The second snippet is the interval, from 1 to 9 of 9 seconds."""
    grid = TimeGrid(Fraction(32, 9), 32, 16, (0.0, 1.0, 9.0))
    scores = ScoreTrack(np.array([0.0, 0.5], np.float32), np.zeros((2, 2), np.float32), ("normal", "fire"), grid)
    found = Interval.of_frames("fire", 16, 32, grid, 0.5)
    svg = sparkline(replace(html_scene.detection(), scores=scores, intervals=(found,), zero_shot=frozenset()))
    curve, bars = (held["d"] or "" for kind in ("curve", "found") for held in Parsed(svg).of("path", class_=kind))
    assert curve == "M0.0 34.0L26.7 34.0L26.7 18.0L240.0 18.0"
    assert bars.startswith("M26.7 36h213.3")


def test_the_small_curve_keeps_the_peak(tmp_path: Path) -> None:
    long = html_scene.detection(grid=TimeGrid(Fraction(10), 50_000, 5))
    out, *_ = write_html([ReportEntry(None, long), ENTRY], tmp_path / "all.html")
    (curve, _) = Parsed(out.read_text()).of("path", class_="curve")
    heights = [float(y) for y in re.findall(r" ([0-9.]+)", curve["d"] or "")]
    assert len(heights) == 480
    assert min(heights) == pytest.approx(40 - 6 - 32 * 0.9, abs=0.06)


def test_an_index_whose_name_is_no_text_leads_to_its_pages(tmp_path: Path) -> None:
    out, *pages = write_html([ENTRY, ENTRY], tmp_path / "r\udcff.html")
    leads = [held["href"] or "" for held in Parsed(out.read_text()).of("a")]
    assert leads == [f"r%FF_files/{path.name}" for path in pages]
    assert Parsed(pages[0].read_text()).of("a")[0]["href"] == "../r%FF.html"


def test_videos_of_one_name_keep_their_own_pages(tmp_path: Path) -> None:
    _, *pages = write_html([ENTRY, ENTRY, ENTRY], tmp_path / "all.html")
    assert len(set(pages)) == 3
    assert all(path.is_file() for path in pages)


@pytest.mark.parametrize(
    ("name", "count", "said"), [("a.pdf", 1, "expected .html"), ("a.html", 0, "at least one video")]
)
def test_what_makes_no_report_is_refused(name: str, count: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        write_html([ENTRY] * count, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# --- colours ----------------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2) of ``#rrggbb``."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["ink", "soft", "focus", "alarm", "wave", "c0", "c1", "c2", "c3", "c4", "c5"])
def test_every_colour_can_be_read_on_its_ground(name: str, theme: int) -> None:
    pairs = dict(re.findall(r"--(\w+): light-dark\((.*)\);", asset("report.css")))
    colour = pairs[name].split(", ")[theme]
    for ground in ("paper", "panel", *(["notice"] if name in ("ink", "alarm") else [])):
        light, dark = sorted((luminance(colour), luminance(pairs[ground].split(", ")[theme])), reverse=True)
        if (name, ground) != ("wave", "panel"):
            assert (light + 0.05) / (dark + 0.05) >= 4.5, ground


def test_an_index_is_written_while_its_pages_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen = list[int](), list[int]()

    def write(_out: Path, parts: Iterable[bytes]) -> None:
        for _ in parts:  # a part is written when it is there, with as many pages made as it tells of
            seen.append(len(made))

    monkeypatch.setattr("vadpipe.pipeline.pages.report.atomic_write_parts", write)
    write_html([ENTRY] * 4, tmp_path / "all.html", on_page=made.append)
    assert seen == [0, 0, 1, 2, 3, 4]  # the head; a line before its page is told of; the end
