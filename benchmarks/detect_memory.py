"""What each video of a bulk ``vadpipe detect`` costs in memory.

    python -m benchmarks.detect_memory [--videos 2000] [--seconds 120] [-- --html page.html --export csv …]

Writes features of so many videos of that length into a store, and runs the command on them, with what is given after
``--`` added. Prints the slope of the process's own memory (USS, after the C library gave back what is free) over the
videos, from a fifth of them on; and the peak of its resident memory while videos are looked at, and after the last one,
when tables, pages and exports of all are made.

The files are names of one small file, and the facts about it are given instead of probed (a child process each time).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import sys
import time
from contextlib import redirect_stderr, redirect_stdout, suppress
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.extractors import painted_videos  # noqa: E402
from tests.pipeline.detected import small_head  # noqa: E402
from vadpipe import cli_detect  # noqa: E402
from vadpipe.cli import cli  # noqa: E402
from vadpipe.extractors import media  # noqa: E402
from vadpipe.manifest import video_id  # noqa: E402
from vadpipe.models.checkpoint import save_head  # noqa: E402
from vadpipe.spec import FeatureSpec  # noqa: E402
from vadpipe.store import FeatureStore  # noqa: E402
from vadpipe.tracks import FeatureTrack, TimeGrid, VideoClip  # noqa: E402

SPEC = FeatureSpec("made", 12, "imported", "imported")
RATE = 25
_EVERY = 25


def memory(name: str) -> int:
    """Bytes: ``Rss`` or ``Uss`` now, ``VmHWM`` the highest resident set since the last :func:`forget_peak`."""
    if name == "VmHWM":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    rows = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    told = {row.split(":")[0]: int(row.split()[1]) * 1024 for row in rows}
    return told["Rss"] if name == "Rss" else told["Private_Clean"] + told["Private_Dirty"]


def forget_peak() -> None:
    """Let the kernel measure the highest resident set anew."""
    Path("/proc/self/clear_refs").write_text("5")


def prepare(folder: Path, videos: int, seconds: int) -> None:
    """A run, a store, and so many names of one file."""
    frames = seconds * RATE
    save_head(folder / "run", small_head(SPEC))
    store, rng = FeatureStore(folder / "features"), np.random.default_rng(0)
    (folder / "videos").mkdir()
    one = painted_videos.write(folder / "videos" / "camera-00000.mp4", 20)
    grid = TimeGrid(Fraction(RATE), frames)
    for number in range(videos):
        name = folder / "videos" / f"camera-{number:05}.mp4"
        if number:
            os.link(one, name)
        rows = rng.standard_normal((grid.num_snippets, SPEC.dim)).astype(np.float32)
        store.write(FeatureTrack(rows, grid, SPEC, name.stem))

    def probe(path: str | Path, **_: Any) -> VideoClip:
        rate, name = Fraction(RATE), video_id(Path(path))
        return VideoClip(name, str(path), 96, 64, rate, frames, float(seconds), codec="h264", sha256="cd" * 32)

    media.probe = probe


class Meter:
    """Memory after every 25th video; the peak while there were videos to look at."""

    def __init__(self) -> None:
        self.after: list[int] = []
        self.count = self.peak = 0

    def note(self, videos: int) -> None:
        self.count += 1
        if self.count % _EVERY == 0:
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
            self.after.append(memory("Uss"))
        if self.count == videos:
            self.peak = memory("VmHWM")
            forget_peak()


def run(folder: Path, videos: int, extra: list[str]) -> Meter:
    """The command, its words sent nowhere."""
    meter = Meter()
    ended = cli_detect.Shown.end

    def end(self: Any, detection: Any) -> None:
        ended(self, detection)
        meter.note(videos)

    setattr(cli_detect.Shown, "end", end)  # noqa: B010  # a method is replaced
    os.chdir(folder)
    places = ["--run", "run", "--features", "features", "--out", "out", "--device", "cpu"]
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        forget_peak()
        with suppress(SystemExit):
            cli.main(["detect", "videos", *places, *extra], standalone_mode=False)
    return meter


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--videos", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("extra", nargs="*", help="more options of vadpipe detect")
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, options.videos, options.seconds)
        before, began = memory("Rss"), time.monotonic()
        meter = run(folder, options.videos, options.extra)
        took, after = time.monotonic() - began, memory("VmHWM")
        os.chdir(ROOT)
        done = len(list((folder / "out").glob("*.json")))
    first = len(meter.after) // 5
    slope = np.polyfit(np.arange(first, len(meter.after)) * _EVERY, meter.after[first:], 1)[0]
    print(f"{done} videos of {options.seconds} s, {' '.join(options.extra) or 'no more outputs'}: {took:.0f} s")
    print(f"memory a video (USS, slope): {slope:.0f} bytes")
    print(f"at the start {before / 1e6:.0f} MB; peak with videos {meter.peak / 1e6:.0f} MB, after {after / 1e6:.0f} MB")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
