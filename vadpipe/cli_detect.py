"""``vadpipe detect``, and how it shows where it is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vadpipe.cli_complete import export_names, one_of
from vadpipe.cli_options import (
    PATH,
    RUN,
    chosen_engine,
    engine_options,
    json_option,
    quiet_option,
    reading_options,
    shard_option,
)
from vadpipe.cli_output import console, print_detection, print_detections, print_json, progress, say

if TYPE_CHECKING:
    from rich.progress import Progress

    from vadpipe.detection import Detection
    from vadpipe.pipeline.shard import Shard

_LINE_EVERY_S = 10.0
_EXTRAS = ("frames", "clips", "pre_roll_s", "post_roll_s", "overlay", "html", "embed", "annotations")


@click.command(short_help="Find incidents in videos.")
@click.argument("videos", nargs=-1, required=True, type=PATH)
@click.option("--run", type=RUN, help="Run folder.  [default: the only one under runs/]")
@click.option("--student", type=RUN, help="Run folder for videos without sound.  [default: student/ in the run]")
@click.option("--out", type=PATH, help="A .json file for one video, else a folder.")
@click.option("--features", type=PATH, help="Store to look in first and to keep features in.")
@click.option("--picture", is_flag=True, help="Also draw the timeline as PNG beside the JSON.")
@click.option("--html", type=PATH, metavar="FILE", help="Also write a page to look at: player, timeline, intervals.")
@click.option("--embed", is_flag=True, help="Put the videos into the page instead of a link to them.")
@click.option("--annotations", type=PATH, metavar="FILE", help="True incidents, drawn in the page.")
@click.option(
    "--export",
    "exports",
    multiple=True,
    metavar="NAME",
    shell_complete=one_of(export_names),
    help="Also write activitynet, labelstudio, fiftyone, webvtt, srt, csv or tsv; once for each.",
)
@click.option("--frames", default="", metavar="FILE", help="Also the scores of every frame: a path, or npz or csv.")
@click.option("--clips", type=PATH, metavar="DIR", help="Also cut each interval out of the video.")
@click.option(
    "--pre-roll",
    "pre_roll_s",
    type=click.FloatRange(0, 3600),
    default=2.0,
    show_default=True,
    help="Seconds before it.",
)
@click.option(
    "--post-roll",
    "post_roll_s",
    type=click.FloatRange(0, 3600),
    default=2.0,
    show_default=True,
    help="Seconds after it.",
)
@click.option("--overlay", type=PATH, metavar="FILE", help="Also draw the scores on the video; a folder for several.")
@click.option("--categories", type=PATH, metavar="FILE", help="TOML file of own categories: names and prompts.")
@click.option(
    "--calibration", default="", metavar="FILE", help="What calibrate wrote, or none.  [default: the run's own]"
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Thresholds, e.g. r_ano=0.3.")
@reading_options
@shard_option
@engine_options
@json_option
@quiet_option
def detect(videos: tuple[Path, ...], as_json: bool, quiet: bool, **settings: Any) -> None:
    """Find incidents in VIDEOS: intervals with category and score, and a score for every frame.

    VIDEOS are files of any container, folders, or patterns in quotes such as 'cam/*.mp4'.

    Writes a JSON file for each video and, beside it, what else is asked for: exports, a page to look at, clips, frame
    scores. Video without sound goes to the student of an audio-visual head. A video that cannot be read is named with
    its reason and costs itself only.

    \b
    Examples:
      vadpipe detect clip.mp4 --out intervals.json
      vadpipe detect videos/ --run runs/lec_vad-clip-seed0 --out detections --html detections/index.html
      vadpipe detect 'cam/*.mkv' --out out --export webvtt --export csv --frames npz --clips out/clips
      vadpipe detect clip.mp4 --set r_ano=0.3 --set min_length_s=1 --categories cats.toml --json
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.detecting.inputs import find_inputs
    from vadpipe.pipeline.project import find_run
    from vadpipe.pipeline.shard import choose_shard

    refused: dict[str, str] = {}
    drawn = [settings[name] for name in ("clips", "overlay") if settings[name] is not None]
    shard = choose_shard(settings.pop("shard"), videos, os.environ, say)
    found, run = find_inputs(videos, refused, drawn), find_run(settings.pop("run"), Path())
    if shard is not None:
        everything, found, refused = len(found), shard.videos(found), shard.refused(refused)
        shard.say_taken(len(found), everything, say)
    for reason in refused.values():
        say(f"failed: {reason}")
    if not found:
        if shard is not None:
            say(f"note: none of the videos belongs to shard {shard}")
        sys.exit(1 if refused or shard is None else 0)
    from vadpipe.extractors.limits import parse_limits

    settings["limits"] = parse_limits(settings["limits"])
    settings |= chosen_engine(settings)
    from vadpipe.pipeline.detecting.run import DetectRequest, Extras, detect_run

    exports = tuple(dict.fromkeys(settings.pop("exports")))
    extras = Extras(exports, **{name: settings.pop(name) for name in _EXTRAS})
    request = DetectRequest(videos=found, run=run, extras=extras, shard=shard.label if shard else "", **settings)
    with progress(quiet) as bars:
        is_plain = not quiet and not console(stderr=True).is_terminal
        shown = Shown(len(found), bars, say if is_plain else None, shard=shard)
        result = detect_run(request, shown, say)
    for detection, content in result.found:
        if as_json:
            print_json(content)
        else:
            print_detection(detection)
        for text in detection.warnings:
            say(f"warning: {detection.clip.id}: {text}" if len(found) > 1 else f"warning: {text}")
    if len(result.found) > 1 and not as_json:
        from vadpipe.pipeline.detecting.kept import Seen

        print_detections(Seen(len(result.found), lambda number: result.found[number][0]))  # one is held at a time
    for place in result.written:
        say(f"wrote {place}")
    if result.ended is not None:
        stopped = {KeyboardInterrupt: "interrupted", SystemExit: "terminated"}.get(type(result.ended), "ended")
        say(f"{stopped}: {len(result.found)} of {len(found)} videos are finished and kept")
        if isinstance(result.ended, KeyboardInterrupt):
            sys.exit(130)
        raise result.ended
    if result.failed or refused or result.lost:
        sys.exit(3 if result.found else 1)


class Shown:
    """Where a run is: a bar of videos and one of this video's frames, with the time left; or plain lines.

    line
        Where plain lines go: one for each finished video, and in a long one now and then; None: nowhere.
    """

    def __init__(
        self,
        videos: int,
        bars: Progress,
        line: Callable[[str], None] | None = None,
        now: Callable[[], float] = time.monotonic,
        shard: Shard | None = None,
    ) -> None:
        self._videos, self._bars, self._line, self._now = videos, bars, line, now
        self._whose = "" if shard is None else f" of shard {shard}"
        self._all = bars.add_task(f"videos{self._whose}", total=videos, note="", visible=videos > 1)
        self._one = bars.add_task("", total=None, note="")
        self._ended = 0
        self._begun: dict[str, float] = {}  # with Ray there are several at once
        self._name = self._what = ""
        self._began = self._said = self._since = self._last = now()

    def begin(self, name: str) -> None:
        """A video is begun with, or gone on with, where others were meanwhile."""
        if name == self._name and name in self._begun:
            return
        self._name, self._what = name, ""
        self._said = self._last = self._now()
        self._began = self._begun.setdefault(name, self._last)
        self._restart("reading")

    def step(self, what: str, done: float, total: float) -> None:
        """Frames of a step of the work on it."""
        now = self._now()
        if what != self._what:
            self._what, self._since = what, self._last
            self._restart(what)
        self._last = now
        seconds = max(now - self._since, 1e-9)
        rate = f"{done / seconds:.0f} frames/s"
        self._bars.update(self._one, completed=round(done), total=round(total), note=rate)
        if self._line is not None and now - self._said >= _LINE_EVERY_S and 0 < done < total:
            self._said = now
            minutes, left_s = divmod(round(seconds * (total - done) / done), 60)
            left = f"{minutes // 60}:{minutes % 60:02}:{left_s:02}"
            self._line(f"{self._name}: {what}, {done:.0f} of {total:.0f} frames, {rate}, {left} left")

    def end(self, detection: Detection | None) -> None:
        """It is done, or has failed, which was said."""
        self._ended += 1
        self._begun.pop(self._name, None)
        self._bars.update(self._all, advance=1)
        seconds = self._now() - self._began
        if self._line is None or (self._videos == 1 and seconds < _LINE_EVERY_S):
            return
        what = "failed"
        if detection is not None:
            frames = detection.scores.grid.num_frames
            what = (
                f"{len(detection.intervals)} intervals in {frames} frames, {frames / max(seconds, 1e-9):.0f} a second"
            )
        self._line(f"{self._ended} of {self._videos} videos{self._whose}: {self._name}: {what}, {seconds:.1f} s")

    def _restart(self, what: str) -> None:
        short = self._name if len(self._name) <= 40 else f"{self._name[:39]}…"
        self._bars.remove_task(self._one)  # one that is reset keeps its total
        self._one = self._bars.add_task(f"{short}: {what}", total=None, note="")
