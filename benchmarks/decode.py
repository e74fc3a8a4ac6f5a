"""Decoding every 16th frame to RGB: decord, PyAV, torchcodec and OpenCV used plainly, and vadpipe, in one run.

    python benchmarks/decode.py [FOLDER] [--frames 3000] [--repeats 5] [--videos DIR] [--kinds "H.264 320x240" ...]
                                [--opencv-python PYTHON] [--threads one own]

The videos in FOLDER (without one: drawn scenes) are looped, encoded again in several kinds (see decode_videos.py; kept
in --videos where that is given) and decoded in all ways (benchmarks/decode_ways.py), each in a process of its own
that has imported its library before. One round of all ways follows the other; the table has the best and the median
round, in frames of the video per second of the clock, and the best per second of processor time, which also holds on a
machine that does other work.

one    one thread for each way
own    as many threads as each library chooses; for vadpipe one child per processor, each with the same video

Ratios are vadpipe's best against the best of all others. The run fails where a sampled picture of vadpipe differs in a
bit from PyAV's; for the other libraries it is only said. OpenCV is no dependency: where it is not importable, give the
Python of an environment that has it, or it is left out. So is torchcodec where it finds no FFmpeg.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from decode_videos import KINDS, make
from decode_ways import STRIDE

OTHERS = ("decord", "pyav", "torchcodec", "opencv")
OURS = {"one": ("vadpipe_source", "vadpipe_child"), "own": ("vadpipe_children",)}


@dataclass
class Way:
    """One way in a process of its own, and what it took so far."""

    name: str
    threads: int
    python: str
    runs: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        command = [self.python, str(Path(__file__).with_name("decode_ways.py")), self.name, str(self.threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.usable = bool(self._answer())

    def run(self, path: Path, digests: bool = False) -> dict[str, Any]:
        """Decode once; SystemExit where it dies."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"path": str(path), "digests": digests}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if not answer:
            raise SystemExit(f"{self.name}: it died with {path}")
        return answer

    def best(self, seconds: str) -> float:
        """Most frames per second in any run; ``seconds``: wall_s or cpu_s."""
        return max(float(run["frames"] / run[seconds]) for run in self.runs)

    def median(self) -> float:
        """Frames per second of the clock in the median run."""
        return statistics.median(float(run["frames"] / run["wall_s"]) for run in self.runs)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line else {}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--opencv-python", default=sys.executable)
    parser.add_argument("--threads", nargs="+", default=["one", "own"], choices=["one", "own"])
    return parser.parse_args()


def measure(path: Path, threads: str, repeats: int, opencv_python: str) -> tuple[list[Way], list[str]]:
    """All ways that can be used here, with their runs; and what is to be said of their pictures."""
    count = 1 if threads == "one" else 0
    ways = [Way(name, count, opencv_python if name == "opencv" else sys.executable) for name in OTHERS]
    ways += [Way(name, count, sys.executable) for name in OURS[threads]]
    remarks = [f"{way.name}: not importable here, left out" for way in ways if not way.usable]
    ways = [way for way in ways if way.usable]
    pictures = {way.name: way.run(path, digests=True)["digests"] for way in ways}  # also the run that warms up
    truth = pictures["pyav"]
    for name, digests in pictures.items():
        same = sum(a == b for a, b in zip(digests, truth, strict=False))
        if len(digests) != len(truth) or same < len(truth):
            remarks.append(f"{name}: {same} of {len(truth)} pictures equal PyAV's bit for bit, it gave {len(digests)}")
    if any(pictures[name] != truth for name in OURS[threads]):
        raise SystemExit(f"{path}: vadpipe's pictures differ from PyAV's: {remarks}")
    for _ in range(repeats):
        for way in ways:
            way.runs.append(way.run(path))
    for way in ways:
        way.close()
    return ways, remarks


def report(title: str, ways: list[Way], remarks: list[str]) -> None:
    print(f"\n{title}\n\n| way | frames/s, best | median | per processor second |\n|---|---:|---:|---:|")
    for way in ways:
        print(f"| {way.name} | {way.best('wall_s'):.0f} | {way.median():.0f} | {way.best('cpu_s'):.0f} |")
    print()
    others = [way for way in ways if way.name in OTHERS]
    for way in ways:
        if way.name not in OTHERS:
            print(f"{way.name} against the fastest other: ", end="")
            parts = []
            for seconds, said in (("wall_s", "clock"), ("cpu_s", "processor")):
                speed, name = max((other.best(seconds), other.name) for other in others)
                parts.append(f"{way.best(seconds) / speed:.2f} by the {said} ({name})")
            print(", ".join(parts))
    for remark in remarks:
        print(remark)
    sys.stdout.flush()


def main() -> None:
    given = options()
    with tempfile.TemporaryDirectory() as scratch:
        videos = given.videos or Path(scratch)
        videos.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(given.kinds):
            print(f"making {name}", file=sys.stderr)
            file = "".join(letter if letter.isalnum() else "-" for letter in name)
            path = make(videos / f"{file}-{given.frames}.mp4", KINDS[name], given.frames, given.folder)
            for threads in given.threads:
                ways, remarks = measure(path, threads, given.repeats, given.opencv_python)
                size = f"{path.stat().st_size / 2**20:.1f} MiB, every {STRIDE}th frame"
                said = "one thread" if threads == "one" else "threads of their own choice"
                title = f"{number + 1}. {name}, {size}, {said}"
                report(title, ways, remarks)


if __name__ == "__main__":
    main()
