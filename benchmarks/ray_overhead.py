"""What ``--engine ray`` costs over the local engine, on one machine: a table in Markdown.

``python -m benchmarks.ray_overhead [--videos 200] [--rounds 3] [--encoder stand-in,clip]``: paints short videos (1 to 2
seconds, 128x96), then runs the real command on all of them with each engine in turn, local first in one round and ray
first in the next, and on one video alone. The time for one video is what starting and ending costs: of Python, torch,
the encoder, and of the cluster. What the other videos take on top of it is the cost of a video.

``stand-in`` is an encoder that takes no time, so that everything else shows; ``clip`` is CLIP ViT-B/16 with random
weights in bfloat16. By default one CPU thread for torch, two decoders, and fewer videos and rounds for ``clip``: about
six minutes in all.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ("local", "ray")
_SIZE, _CLIP_SHARE = (128, 96), 5  # one in so many videos for clip, which takes a thousand times as long
_KINDS = 10  # different lengths, 25 to 50 frames


def stand_in(*_: Any, **__: Any) -> Sequence[Any]:
    """Takes the place of ``vadpipe.pipeline.extracting.run.build_extractors``."""
    from tests.pipeline.mean_colour import MeanColour

    return [MeanColour(batch_size=32)]


def child(arguments: list[str]) -> None:
    """The command with the stand-in for an encoder; workers of Ray get that function with their task."""
    from vadpipe.cli import main as command
    from vadpipe.pipeline.extracting import run as extract_run

    setattr(extract_run, "build_extractors", stand_in)  # noqa: B010  # as an assignment it would be a type error
    sys.argv = ["vadpipe", *arguments]
    command()


def paint(folder: Path, count: int) -> None:
    """``count`` videos of ``_KINDS`` lengths; painting each anew would take longer than the measurement."""
    from tests.extractors import painted_videos

    folder.mkdir()
    kinds = [
        painted_videos.write(folder / f"v{number:05}.mp4", 25 + 25 * number // (_KINDS - 1), size=_SIZE)
        for number in range(min(_KINDS, count))
    ]
    for number in range(len(kinds), count):
        shutil.copyfile(kinds[number % len(kinds)], folder / f"v{number:05}.mp4")


def seconds(engine: str, encoder: str, videos: Path, store: Path, options: argparse.Namespace) -> tuple[float, int]:
    """Wall time of one command from its start to its end, and the videos that it stored."""
    program = ["-m", "vadpipe"] if encoder == "clip" else [str(Path(__file__)), "--child"]
    command = [sys.executable, *program, "extract", str(videos), "--out", str(store), "--weights", "random", "-q"]
    command += ["--device", "cpu", "--dtype", "bfloat16", "--jobs", str(options.jobs), "--json"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(options.threads)}
    began = time.perf_counter()
    done = subprocess.run(
        [*command, *(("--engine", "ray") if engine == "ray" else ())],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{engine}, {encoder}: exit code {done.returncode}\n{done.stderr}")
    return took, len(json.loads(done.stdout)["done"])


def measure(encoder: str, count: int, rounds: int, folder: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    """Engine -> seconds of each round on all videos, and under ``engine one`` on one; engines alternate."""
    many, one = folder / f"many-{count}", folder / "one"
    for place, size in ((many, count), (one, 1)):
        if not place.exists():
            paint(place, size)
    found: dict[str, list[float]] = {name: [] for engine in ENGINES for name in (engine, f"{engine} one")}
    for number in range(rounds):
        for engine in ENGINES if number % 2 == 0 else ENGINES[::-1]:
            for place, name, expected in ((one, f"{engine} one", 1), (many, engine, count)):
                store = folder / f"store-{engine}"
                took, done = seconds(engine, encoder, place, store, options)
                if done != expected:
                    sys.exit(f"{engine}, {encoder}: {done} of {expected} videos were stored")
                found[name].append(took)
                shutil.rmtree(store)
                print(f"{encoder}, round {number}: {name}: {took:.1f} s", file=sys.stderr, flush=True)
    return found


def print_rows(encoder: str, count: int, found: dict[str, list[float]]) -> None:
    """Medians over the rounds, and the ratio of each round's pair."""
    middle = {name: statistics.median(values) for name, values in found.items()}
    each = {engine: (middle[engine] - middle[f"{engine} one"]) / (count - 1) * 1e3 for engine in ENGINES}
    for engine in ENGINES:
        whole = [a / b for a, b in zip(found[engine], found["local"], strict=True)]
        ratios = f"{statistics.median(whole):.2f} ({min(whole):.2f} to {max(whole):.2f})"
        share = f"{each[engine] / each['local']:.2f}" if each["local"] > 0 else "–"
        told = [f"{middle[engine]:.1f}", ratios, f"{middle[f'{engine} one']:.1f}", f"{each[engine]:.0f}", share]
        print(f"| {encoder}, {count} videos | {engine} | {' | '.join(told)} |", flush=True)


def main() -> None:
    """Run all of it."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--encoder", default="stand-in,clip")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of torch, in each process")
    parser.add_argument("--folder", type=Path, help="where to work; by default the system's temporary folder")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}, {options.rounds} rounds\n", flush=True)
    print("| encoder | engine | seconds | of local (each round) | one video alone, s | ms for each other | of local |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    with TemporaryDirectory(dir=options.folder, prefix="vad-") as name:
        for encoder in options.encoder.split(","):
            count = options.videos if encoder == "stand-in" else max(options.videos // _CLIP_SHARE, 2)
            rounds = options.rounds if encoder == "stand-in" else 1
            print_rows(encoder, count, measure(encoder, count, rounds, Path(name), options))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
