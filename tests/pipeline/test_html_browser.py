"""Reports in a real browser: Debian's Chromium without a window, driven by Playwright."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from tests.pipeline import html_scene
from vadpipe.extractors.media import probe
from vadpipe.pipeline.pages import report as html_report
from vadpipe.pipeline.pages.facts import clock
from vadpipe.pipeline.pages.page import asset
from vadpipe.pipeline.pages.report import ReportEntry, write_html
from vadpipe.tracks import Interval

sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright here; pip install 'vadpipe[dev]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe here; pip install 'vadpipe[dev]'")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDE, PHONE = (1200, 900), (360, 740)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for all tests."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here; on Debian and Ubuntu: apt-get install -y chromium")
    with sync_api.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--mute-audio"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video and reports on it, made once: nobody writes into it afterwards."""
    folder = tmp_path_factory.mktemp("reports")
    video = html_scene.write_video(folder / "yard #1.mp4")
    shutil.copy(video, folder / "film.avi")
    entry = ReportEntry(video, html_scene.detection(path=str(video)), (html_scene.truth(),))
    write_html([entry], folder / "yard.html")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html_report, "pictures_of", lambda path, seconds: ["data:," for _ in seconds])
        patch.setattr(html_report, "waveform_of", lambda path, length: np.zeros((0, 2), np.float32))
        write_html([entry], folder / "embedded.html", embed=True)
        write_html([replace(entry, path=folder / "film.avi")], folder / "avi.html")
        late = html_scene.write_late_video(folder / "late.mp4")
        clip = replace(entry.detection.clip, start_s=probe(late).start_s)
        write_html(
            [replace(entry, path=late, detection=replace(entry.detection, clip=clip))], folder / "late.html", embed=True
        )
    clip = replace(entry.detection.clip, audio_rate=0)
    write_html(
        [replace(entry, path=folder / "gone.mp4", detection=replace(entry.detection, clip=clip))], folder / "gone.html"
    )
    name = "</script><img src=x onerror=alert(1)>\"'"
    overlapping = tuple(
        Interval.of_frames(name, start, end, html_scene.GRID, 0.5)
        for name, start, end in [("fire", 0, 90), ("fighting", 0, 40), ("fire", 90, 95)]
    )
    write_html([ReportEntry(None, replace(entry.detection, intervals=overlapping))], folder / "overlapping.html")
    write_html([ReportEntry(None, html_scene.named(name)), replace(entry, path=None)], folder / "many.html")
    return folder


@dataclass
class Seen:
    """A page and what it did."""

    page: Any
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def at(self) -> float:
        """Second at which the player stands."""
        return float(self.page.evaluate("document.querySelector('video').currentTime"))

    def shown(self) -> float:
        """Second at which the line on the timeline stands."""
        return float(self.page.get_attribute(".playhead", "aria-valuenow"))

    def line(self) -> float:
        """How far right the line is, as a share of the lanes."""
        return float(
            self.page.evaluate(
                """() => {
                const plot = document.querySelector('.row.anomaly .plot').getBoundingClientRect();
                const line = document.querySelector('.playhead').getBoundingClientRect();
                return (line.left + 6.5 - plot.left) / plot.width;
                }"""
            )
        )

    def arrived(self, second: float) -> None:
        """Wait for the player to be at a second, and see the line there too."""
        self.page.wait_for_function(
            "s => (v => !v.seeking && Math.abs(v.currentTime - s) < 0.02)(document.querySelector('video'))",
            arg=second,
        )
        assert self.shown() == pytest.approx(second, abs=0.06)

    def pixels(self, selector: str) -> str:
        """Picture of a canvas, to compare."""
        return str(self.page.evaluate("s => document.querySelector(s).toDataURL()", selector))

    def window(self) -> tuple[float, float]:
        """Which part of the video is shown, as shares of it."""
        style = self.page.evaluate("(({left, width}) => [left, width])(document.querySelector('.window').style)")
        left, width = (float(text.rstrip("%")) / 100 for text in style)
        return left, left + width


Opens = Callable[..., Seen]


@pytest.fixture
def opened(chromium: Any, folder: Path) -> Iterator[Opens]:
    """Open a page of :func:`folder`; whatever it logged as an error fails the test in the end."""
    made: list[tuple[Any, Seen]] = []

    def open_page(name: str = "yard.html", size: tuple[int, int] = WIDE, **options: Any) -> Seen:
        context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        seen = Seen(context.new_page())
        seen.page.set_default_timeout(10_000)
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.on("pageerror", lambda error: seen.problems.append(str(error)))
        seen.page.on("dialog", lambda dialog: seen.problems.append(f"a dialog: {dialog.message}"))
        seen.page.on("console", lambda line: seen.problems.append(line.text) if line.type == "error" else None)
        made.append((context, seen))
        seen.page.goto((folder / name).as_uri())
        if name in ("yard.html", "embedded.html", "late.html"):
            seen.page.wait_for_function("() => document.querySelector('video').readyState > 0")
        return seen

    yield open_page
    for context, seen in made:
        context.close()
        assert seen.problems == []


def test_a_click_on_a_bar_a_row_or_a_picture_seeks_the_player(opened: Opens) -> None:
    seen = opened()
    seen.page.click(".bar[aria-label*='fighting']")
    seen.arrived(5.0)
    assert seen.line() == pytest.approx(5 / 12, abs=0.005)
    assert "In interval 2 of 3: fighting" in seen.page.inner_text("#where")
    assert seen.page.get_attribute("tr[data-interval='1']", "aria-current") == "true"
    seen.page.click("tr[data-interval='2'] button")
    seen.arrived(9.0)
    assert "graffiti (zero-shot, uncalibrated)" in seen.page.inner_text("#where")
    seen.page.click(".thumb[data-interval='0']")
    seen.arrived(1.7)
    seen.page.click(".truths summary")
    seen.page.click(".truths button")
    seen.arrived(4.5)


def test_a_click_on_the_timeline_goes_there_and_a_drag_follows(opened: Opens) -> None:
    seen = opened()
    plot = seen.page.locator(".row.anomaly .plot").bounding_box()
    x, y = plot["x"] + plot["width"] / 4, plot["y"] + 40
    seen.page.mouse.move(x, y)
    assert seen.page.inner_text("#pointed") == "Pointer at 0:03.0"
    seen.page.mouse.click(x, y)
    seen.arrived(3.0)
    seen.page.mouse.down()
    seen.page.mouse.move(plot["x"] + plot["width"] / 2, y, steps=4)
    seen.page.mouse.up()
    seen.arrived(6.0)
    assert seen.page.inner_text("#pointed") == ""
    assert seen.page.inner_text("[data-row='0'] .value") == "0.800"


def test_the_player_is_sought_by_its_own_clock_where_sound_comes_first(opened: Opens) -> None:
    """Pictures begin 2 s after the sound; second 5 of the pictures is second 7 of the player, and the other way."""
    seen = opened("late.html")
    seen.page.click(".bar[aria-label*='fighting']")
    seen.page.wait_for_function("() => (v => !v.seeking && v.currentTime === 7)(document.querySelector('video'))")
    assert seen.shown() == 5.0
    assert "In interval 2 of 3: fighting" in seen.page.inner_text("#where")
    red = seen.page.evaluate(
        """() => {
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [160, 120];
        const pen = canvas.getContext('2d');
        pen.drawImage(document.querySelector('video'), 0, 0, 160, 120);
        return pen.getImageData(10, 10, 1, 1).data[0];
        }"""
    )
    assert red == pytest.approx(20 * 5, abs=12)
    seen.page.evaluate("document.querySelector('video').currentTime = 3.5")
    seen.page.wait_for_function("() => document.querySelector('.playhead').getAttribute('aria-valuenow') === '1.5'")


def test_the_keyboard(opened: Opens) -> None:
    seen = opened()
    for key, second in (("]", 1), ("]", 5), ("]", 9), ("]", 9), ("[", 5), ("ArrowRight", 10), ("ArrowLeft", 5),
                        ("Shift+ArrowRight", 6), ("End", 12), ("Home", 0)):  # fmt: skip
        seen.page.keyboard.press(key)
        seen.arrived(second)
    seen.page.keyboard.press("]")
    assert "interval 1 of 3: fire, 0:01.0 to 0:02.0" in seen.page.inner_text("#said")
    seen.page.keyboard.press("+")
    assert seen.window() == pytest.approx((0.5 / 12, 6.5 / 12), abs=0.01)
    seen.page.keyboard.press("-")
    assert seen.window() == pytest.approx((0, 1))
    seen.page.keyboard.press("+")
    seen.page.keyboard.press("0")
    assert seen.window() == pytest.approx((0, 1))
    seen.page.keyboard.press("Space")
    seen.page.wait_for_function("() => !document.querySelector('video').paused")
    seen.page.keyboard.press("Space")
    seen.page.wait_for_function("() => document.querySelector('video').paused")


def test_the_keys_reach_every_interval_also_those_that_begin_together(opened: Opens) -> None:
    seen = opened("overlapping.html")
    for key, number, second in (("]", 0, 0), ("]", 1, 0), ("]", 2, 9), ("[", 1, 0), ("[", 0, 0), ("[", 0, 0)):
        seen.page.keyboard.press(key)
        assert seen.page.get_attribute(".bar[aria-current]", "data-interval") == str(number)
        assert seen.shown() == second


def test_focus_is_seen_and_bars_are_one_stop(opened: Opens) -> None:
    seen = opened()
    stops = []
    for _ in range(40):
        seen.page.keyboard.press("Tab")
        stops.append(seen.page.evaluate("(e => [e.tagName, e.className, e.id, getComputedStyle(e).outlineStyle])(document.activeElement)"))  # fmt: skip  # noqa: E501
        if stops[-1][0] == "SUMMARY":
            break
    assert [stop for stop in stops if stop[3] == "none" and stop[0] not in ("VIDEO", "BODY")] == []
    assert sum("bar" in stop[1].split() for stop in stops) == 1
    assert sum(stop[1] == "go" for stop in stops) == 3
    assert [stop for stop in stops if stop[1] == "playhead"]
    seen.page.focus(".bar[tabindex='0']")
    seen.page.keyboard.press("]")
    seen.page.keyboard.press("]")
    assert "fighting" in seen.page.evaluate("document.activeElement.getAttribute('aria-label')")


def test_the_line_moves_while_the_player_plays(opened: Opens) -> None:
    seen = opened()
    before = seen.line()
    seen.page.click("#play")
    seen.page.wait_for_function("() => Number(document.querySelector('.playhead').getAttribute('aria-valuenow')) > 0.5")
    assert seen.page.inner_text("#play") == "Pause"
    seen.page.click("#play")
    seen.page.wait_for_function("() => document.querySelector('#said').textContent.startsWith('paused at 0:0')")
    assert seen.line() > before + 0.03
    assert seen.line() == pytest.approx(seen.at() / 12, abs=0.03)


def test_with_less_motion_the_line_still_moves(opened: Opens) -> None:
    seen = opened(reduced_motion="reduce")
    seen.page.click("#play")
    seen.page.wait_for_function("() => Number(document.querySelector('.playhead').getAttribute('aria-valuenow')) > 0.3")


def test_zoom_by_button_and_wheel_and_dragging_shifts(opened: Opens) -> None:
    seen = opened()
    before = seen.pixels(".row.anomaly canvas")
    assert seen.page.is_disabled("#all")
    seen.page.click("#in")
    assert seen.window() == pytest.approx((0, 0.5))
    assert seen.pixels(".row.anomaly canvas") != before
    assert seen.page.is_visible(".bar[aria-label*='fire']")
    assert not seen.page.is_visible(".bar[aria-label*='graffiti']")
    plot = seen.page.locator(".row.anomaly .plot").bounding_box()
    seen.page.mouse.move(plot["x"] + plot["width"] / 2, plot["y"] + 50)
    seen.page.mouse.down()
    seen.page.mouse.move(plot["x"], plot["y"] + 50, steps=3)
    seen.page.mouse.up()
    assert seen.window() == pytest.approx((0.25, 0.75), abs=0.01)
    assert seen.shown() == 0  # shifting is no seeking
    seen.page.keyboard.down("Control")
    seen.page.mouse.wheel(0, -120)
    seen.page.keyboard.up("Control")
    seen.page.wait_for_function("() => parseFloat(document.querySelector('.window').style.width) < 49")
    seen.page.click("#all")
    assert seen.window() == pytest.approx((0, 1))
    assert seen.pixels(".row.anomaly canvas") == before


def test_pictures_of_peaks_show_the_video_at_that_time(opened: Opens) -> None:
    seen = opened()
    assert seen.page.locator(".thumb:visible").count() == 3
    reds = seen.page.evaluate(
        """() => [...document.querySelectorAll('tr[data-interval] img')].map(image => {
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [160, 120];
        const pen = canvas.getContext('2d');
        pen.drawImage(image, 0, 0, 160, 120);
        return pen.getImageData(10, 10, 1, 1).data[0];
        })"""
    )
    assert reds == pytest.approx([20 * 1.7, 20 * 5.7, 20 * 9.7], abs=12)


def test_sound_is_drawn_where_there_is_sound(opened: Opens) -> None:
    seen = opened()
    heights = seen.page.evaluate(
        """() => { const c = document.querySelector('.row.sound canvas'); const pen = c.getContext('2d');
        return [0.3, 0.8].map(share => { let n = 0;
          const d = pen.getImageData(Math.round(share * c.width) + 3, 0, 1, c.height).data;
           for (let i = 3; i < d.length; i += 4) n += d[i] > 200; return n; }) }"""
    )
    assert heights[0] <= 2
    assert heights[1] > 15


@pytest.mark.parametrize("name", ["yard.html", "embedded.html", "many.html", "avi.html"])
def test_nothing_is_asked_of_the_network(name: str, opened: Opens, folder: Path) -> None:
    seen = opened(name)
    seen.page.keyboard.press("End")
    seen.page.evaluate("() => new Promise(done => setTimeout(done, 100))")
    asked = {unquote(url) for url in seen.requests if not url.startswith(("data:", "blob:"))}
    assert asked == {(folder / name).as_uri()} | ({f"file://{folder}/yard #1.mp4"} if name == "yard.html" else set())


def test_what_was_not_there_when_the_page_was_made_does_not_run(opened: Opens) -> None:
    seen = opened()
    ran = seen.page.evaluate(
        """async () => {
        const seen = [];
        document.addEventListener('securitypolicyviolation', event => seen.push(event.effectiveDirective));
        const script = document.createElement('script');
        script.textContent = 'window.ran = true';
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend', '<p style="color: red" onclick="window.ran = true">x</p>');
        document.body.lastElementChild.click();
        await fetch('https://example.invalid/').catch(() => 0);
        await new Promise(done => setTimeout(done, 100));
        return [window.ran === undefined, [...new Set(seen)].sort()];
        }"""
    )
    assert ran == [True, ["connect-src", "script-src-attr", "script-src-elem", "style-src-attr"]]
    assert len(seen.problems) >= 4
    seen.problems.clear()


def test_an_embedded_video_plays_from_the_page(opened: Opens) -> None:
    seen = opened("embedded.html")
    assert seen.page.get_attribute("video", "src").startswith("blob:")
    seen.page.click(".bar[aria-label*='graffiti']")
    seen.arrived(9.0)


@pytest.mark.parametrize(
    ("name", "said"),
    [("avi.html", "Browsers do not play .avi files"), ("gone.html", "This browser cannot show the video")],
)
def test_without_a_picture_the_timeline_works(name: str, said: str, opened: Opens) -> None:
    seen = opened(name)
    seen.page.wait_for_selector(f".screen:has-text('{said}')")
    assert not seen.page.is_visible("#play")
    seen.page.keyboard.press("]")
    seen.page.click(".bar[aria-label*='fighting']")
    assert seen.shown() == 5.0
    assert seen.line() == pytest.approx(5 / 12, abs=0.005)
    seen.problems[:] = [problem for problem in seen.problems if "ERR_FILE_NOT_FOUND" not in problem]
    assert ("no pictures of the peaks" in seen.page.inner_text(".warnings")) == (name == "gone.html")


def test_a_hostile_name_is_only_a_name(opened: Opens) -> None:
    seen = opened("many.html")
    seen.page.click("a:has-text('onerror')")
    assert "</script><img src=x onerror=alert(1)>\"'" in seen.page.inner_text("h1")
    assert seen.page.locator("img[onerror]").count() == 0
    seen.page.keyboard.press("]")
    assert "onerror" in seen.page.inner_text("#said")
    seen.page.click("text=All videos")
    assert seen.page.inner_text("h1") == "Videos"


@pytest.mark.parametrize(
    ("name", "theme", "size"),
    [
        ("yard.html", "light", WIDE),
        ("yard.html", "dark", PHONE),
        ("many.html", "dark", WIDE),
        ("many.html", "light", PHONE),
    ],
)
def test_people_with_a_screen_reader_low_vision_or_a_phone(
    name: str, theme: str, size: tuple[int, int], opened: Opens
) -> None:
    seen = opened(name, size, color_scheme=theme)
    found = axe.Axe().run(seen.page).response["violations"]
    assert [(rule["id"], node["html"]) for rule in found for node in rule["nodes"]] == []
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    unnamed = (
        "[...document.querySelectorAll('button')].filter(b => !(b.getAttribute('aria-label') || b.textContent).trim())"
    )
    assert seen.page.evaluate(f"{unnamed}.length") == 0


def test_the_theme_follows_the_system_or_the_button(opened: Opens) -> None:
    seen = opened(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light, curve = seen.page.evaluate(ground), seen.pixels(".row.anomaly canvas")
    seen.page.emulate_media(color_scheme="dark")
    dark = seen.page.evaluate(ground)
    assert dark != light
    seen.page.wait_for_function(
        "before => document.querySelector('.row.anomaly canvas').toDataURL() !== before", arg=curve
    )
    seen.page.click(".theme")
    assert (seen.page.inner_text(".theme"), seen.page.evaluate(ground)) == ("Theme: light", light)
    assert seen.pixels(".row.anomaly canvas") == curve
    seen.page.click(".theme")
    assert (seen.page.inner_text(".theme"), seen.page.evaluate(ground)) == ("Theme: dark", dark)


def test_no_peak_is_lost_however_many_snippets_share_a_column(chromium: Any) -> None:
    page = chromium.new_page()
    told = page.evaluate(
        f"""() => {{ {asset("lanes.js")}
        const values = new Float32Array(100000).fill(0.25);
        [values[77777], values[5]] = [1, 0];
        const edges = Float32Array.from({{length: 100001}}, (_, i) => i / 2);
        const {{low, high}} = columnsOf(values, edges, {{start: 0, end: 50000}}, 300);
        const near = columnsOf(values, edges, {{start: 38888, end: 38890}}, 300);
        const ones = values => [...values].filter(value => value === 1).length;
        return [high.indexOf(1), ones(high), low.indexOf(0), ones(near.high)];
        }}"""
    )
    page.close()
    assert told == [77777 * 300 // 100000, 1, 0, 75]


def test_page_and_script_write_times_alike(chromium: Any) -> None:
    seconds = [0, 0.04, 0.05, 9.96, 59.94, 59.96, 83.25, 600, 3599.96, 7200.5, 90061]
    page = chromium.new_page()
    told = page.evaluate(
        f"() => {{ {asset('lanes.js')} return {json.dumps(seconds)}.map(s => [clock(s), clock(s, 0)]) }}"
    )
    page.close()
    assert told == [[clock(second), clock(second, 0)] for second in seconds]
