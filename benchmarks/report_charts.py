"""What the timeline of a report costs a browser: the page's own canvas, or plotly, or bokeh, under a strict policy.

    python benchmarks/report_charts.py [--hours 2] [--categories 8] [--zooms 5]

Needs Chromium (on Debian: apt-get install chromium) and Playwright (extra dev), and for the comparison plotly and
bokeh, which vadpipe does not depend on: pip install plotly bokeh. Each page holds the same scores (a snippet is 16
frames at 25 a second), one lane for the anomaly score and one for each category, and nothing else but what its charts
need: ours is the whole report.

policy
    strict: only the page's own script and style, by their digests; relaxed: any inline style, and, for bokeh, eval.
refused
    What the policy refused until the charts stood, as the browser counts it.
load, zoom
    Milliseconds from opening the file to the drawn charts; of one change of the part that is shown. The phone is a
    viewport of 390 points with a processor slowed down four times.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Error, sync_playwright

from vadpipe.detection import Detection
from vadpipe.pipeline.pages.markup import csp_hash, data_block
from vadpipe.pipeline.pages.report import ReportEntry, write_html
from vadpipe.tracks import Interval, ScoreTrack, TimeGrid, VideoClip

STYLE = "body{margin:0}#c{width:100vw;height:640px}"
WATCH = "window.refused=0;addEventListener('securitypolicyviolation',()=>{refused+=1},true);"
READY = "requestAnimationFrame(()=>setTimeout(()=>{window.ready=true}))"
PLOTLY = """
const d = JSON.parse(document.getElementById('data').textContent), n = d.ys.length;
const line = {shape: 'hv', width: 1};
const traces = d.ys.map((y, i) => ({x: d.x, y, mode: 'lines', line, yaxis: i ? `y${i + 1}` : 'y'}));
const layout = {margin: {l: 40, r: 10, t: 10, b: 30}, showlegend: false};
for (let i = 0; i < n; i += 1)
  layout[`yaxis${i ? i + 1 : ''}`] = {domain: [1 - (i + 0.9) / n, 1 - i / n], range: [0, 1]};
Plotly.newPlot('c', traces, layout, {displayModeBar: false}).then(() => READY);
window.zoom = async (a, b) => {
  const t = performance.now(); await Plotly.relayout('c', {'xaxis.range': [a, b]}); return performance.now() - t; };
"""
BOKEH = """
const d = JSON.parse(document.getElementById('data').textContent), P = Bokeh.Plotting;
const r = new Bokeh.Range1d({start: 0, end: d.x[d.x.length - 1]});
const figures = d.ys.map(y => { const f = P.figure({width: innerWidth, height: 70, x_range: r,
  y_range: new Bokeh.Range1d({start: 0, end: 1}), tools: 'xpan', toolbar_location: null});
  f.step({field: 'x'}, {field: 'y'}, 'after', {source: new Bokeh.ColumnDataSource({data: {x: d.x, y}})}); return f; });
P.show(new Bokeh.Column({children: figures}), document.getElementById('c')).then(() => READY);
window.zoom = async (a, b) => { const t = performance.now(); r.setv({start: a, end: b});
  await new Promise(f => requestAnimationFrame(() => setTimeout(f))); return performance.now() - t; };
"""
OWN_ZOOM = """key => { const t = performance.now();
  document.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true})); return performance.now() - t; }"""


@dataclass(frozen=True)
class Page:
    """One file to open, and how its policy is called."""

    name: str
    policy: str
    path: Path


def scores(hours: float, categories: int) -> ScoreTrack:
    """Noise with a few peaks; as many snippets as the hours have."""
    grid = TimeGrid(Fraction(25), int(hours * 3600 * 25), 16)
    dice = np.random.default_rng(0)
    rows = np.abs(dice.normal(0.05, 0.05, (grid.num_snippets, categories + 1))).clip(0, 1).astype(np.float32)
    for peak in dice.integers(0, grid.num_snippets - 20, 12):
        rows[peak : peak + 20, dice.integers(1, categories + 1)] = 0.9
    names = ("normal", *(f"category {number}" for number in range(categories)))
    return ScoreTrack(rows[:, 1:].max(axis=1), rows, names, grid)


def own_page(track: ScoreTrack, folder: Path) -> Page:
    """The report of vadpipe."""
    grid = track.grid
    clip = VideoClip("camera", "camera.mp4", 640, 360, grid.fps, grid.num_frames, grid.duration_s)
    found = (Interval.of_frames(track.labels[1], 1600, 3200, grid, 0.9),)
    (path,) = write_html([ReportEntry(None, Detection(clip, found, track, params={"r_ano": 0.2}))], folder / "own.html")
    return Page("own canvas (the whole report)", "strict", path)


def library_page(name: str, policy: str, scripts: list[str], style: str, track: ScoreTrack, folder: Path) -> Page:
    """Charts of a library; ``style`` is what the policy says of styles."""
    rows = np.vstack([track.anomaly, track.categories[:, 1:].T])
    data = {
        "x": track.grid.edges_s()[:-1].round(2).tolist(),
        "ys": [row.astype(float).round(3).tolist() for row in rows],
    }
    scripts = [WATCH, *scripts]
    also = "'unsafe-eval'" if (name, policy) == ("bokeh", "relaxed") else ""
    rules = (
        f"default-src 'none'; script-src {' '.join(map(csp_hash, scripts))} {also}; style-src {style}; img-src data:"
    )
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{rules}"><style>{STYLE}</style>'
    tail = "".join(f"<script>{script}</script>" for script in scripts)
    path = folder / f"{name}-{policy}.html"
    path.write_text(f'<!doctype html>{head}<div id="c"></div>{data_block("data", data)}{tail}')
    return Page(name, policy, path)


def pages(track: ScoreTrack, folder: Path) -> Iterator[Page]:
    """All that can be made here."""
    yield own_page(track, folder)
    for name, files, script in (
        ("plotly", ["package_data/plotly.min.js"], PLOTLY),
        ("bokeh", ["server/static/js/bokeh.min.js", "server/static/js/bokeh-api.min.js"], BOKEH),
    ):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            print(f"{name} is not installed", file=sys.stderr)
            continue
        bundle = [(Path(spec.origin).parent / file).read_text() for file in files]
        for policy, style in (("strict", csp_hash(STYLE)), ("relaxed", "'unsafe-inline'")):
            yield library_page(name, policy, [*bundle, script.replace("READY", READY)], style, track, folder)


def measure(browser: Any, page: Page, phone: bool, zooms: int) -> str:
    """One line of the table."""
    size = {"width": 390, "height": 844} if phone else {"width": 1280, "height": 900}
    context = browser.new_context(viewport=size, device_scale_factor=3 if phone else 1)
    tab = context.new_page()
    tools = context.new_cdp_session(tab)
    tools.send("Emulation.setCPUThrottlingRate", {"rate": 4 if phone else 1})
    own = page.path.stem == "own"
    said = f"| {page.name} | {page.policy} | {'phone' if phone else 'desk'} | {page.path.stat().st_size / 1e6:.2f} "
    begun = time.perf_counter()
    try:
        tab.goto(page.path.as_uri())
        if not own:
            tab.wait_for_function("() => window.ready", timeout=60_000)
    except Error as error:
        return f"{said}| {str(error).splitlines()[0]} | | | |"
    finally:
        loaded = (time.perf_counter() - begun) * 1000
    if own:
        took = [tab.evaluate(OWN_ZOOM, key) for key in ["+", "-"] * zooms]
    else:
        took = [tab.evaluate("([a, b]) => zoom(a, b)", [1000 + step, 3000 + step]) for step in range(zooms)]
    heap = tools.send("Runtime.getHeapUsage")["usedSize"] / 1e6
    refused = 0 if own else tab.evaluate("() => refused")
    context.close()
    return f"{said}| {loaded:.0f} | {statistics.median(took):.1f} | {heap:.0f} | {refused} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--categories", type=int, default=8)
    parser.add_argument("--zooms", type=int, default=5)
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("no Chromium here; on Debian and Ubuntu: apt-get install chromium")
    track = scores(options.hours, options.categories)
    print(json.dumps({"snippets": track.grid.num_snippets, "lanes": options.categories + 1}))
    print(
        "| charts | policy | screen | MB | load ms | zoom ms | heap MB | refused |\n|---|---|---|--:|--:|--:|--:|--:|"
    )
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for page in pages(track, Path(folder)):
            for phone in (False, True):
                print(measure(browser, page, phone, options.zooms), flush=True)
        browser.close()


if __name__ == "__main__":
    main()
