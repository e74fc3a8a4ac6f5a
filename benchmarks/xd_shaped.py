"""Released features from end to end at the size of XD-Violence: import, one epoch of training, evaluation.

    python benchmarks/xd_shaped.py [--share 0.1] [--crops 1] [--work DIR] [--keep] [--threads 2] [--set KEY=VALUE …]

Makes a data set of the same shape and naming (what exactly: end of this file), then runs the real commands, each in a
process of its own, and prints its seconds and peak memory. The whole size needs 3 GB of disk; on two processor cores
the head takes half an hour for it, and some minutes for a tenth of the videos (--share 0.1).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
CODES = ("B1", "B2", "B4", "B5", "B6", "G")
COUNTS = {"train": (2049, 1905), "test": (300, 500)}  # normal, anomalous videos of XD-Violence
MEAN_SNIPPETS = {"train": 260, "test": 182}  # 217 hours at 24 frames/s; the test part's 2.3 million frames
LONGEST = 4000
COLUMNS = 512


def main() -> None:
    """Generate, run the commands, print the table."""
    options = _options()
    work = options.work or Path(tempfile.mkdtemp(prefix="xd-shaped-"))
    data = work / "released"
    began = time.perf_counter()
    videos = write_data_set(data, options.share, options.crops)
    size = sum(path.stat().st_size for path in data.rglob("*.npy"))
    print(f"generated {videos} videos, {size / 2**20:.0f} MiB, in {time.perf_counter() - began:.1f} s, under {work}")
    print(f"{'command':<28} {'seconds':>8} {'peak MiB':>9}", flush=True)
    try:
        for name, arguments in _commands(data, options.set):
            seconds, peak = _run(arguments, work, work / f"{name.replace(' ', '-')}.log", options.threads)
            print(f"{name:<28} {seconds:>8.1f} {peak:>9.0f}", flush=True)
        print((work / "evaluate.log").read_text())
    finally:
        if not options.keep and options.work is None:
            shutil.rmtree(work)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="part of the 4754 videos, 0 … 1")
    parser.add_argument("--crops", type=int, default=1, help="crop files of each training video, 1 … 10")
    # resolved: the commands run inside it
    parser.add_argument(
        "--work", type=lambda text: Path(text).resolve(), help="folder to work in; kept  [default: a temporary one]"
    )
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder too")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further settings of train")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def _commands(data: Path, settings: list[str]) -> Iterator[tuple[str, list[str]]]:
    imported = [
        *("import", "features", "--dataset", "xd_violence", "--root", str(data)),
        *("--list", f"train={data / 'xd_CLIP_rgb.csv'}", "--list", f"test={data / 'xd_CLIP_rgbtest.csv'}"),
        *("--annotations", str(data / "annotations_multiclasses.txt")),
    ]
    labels = ["--labels", "features/manifest.jsonl", "--device", "cpu"]
    head = ["--config", str(ROOT / "configs/lec_vad_xd.toml"), "--set", "train.epochs=1"]
    head += [word for setting in settings for word in ("--set", setting)]
    yield "import", imported
    yield "import again", imported
    yield (
        "train",
        ["train", *labels, *head, "--weights", "random", "--stream", "released-xd_violence", "--out", "run"],
    )
    yield "evaluate", ["evaluate", *labels, "--run", "run", "--split", "test"]


def _run(arguments: list[str], folder: Path, log: Path, threads: int) -> tuple[float, float]:
    """Seconds and peak resident MiB of one command; its output goes to ``log``."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    began = time.perf_counter()
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "vadpipe", *arguments], cwd=folder, env=environment, stdout=file, stderr=file
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"vadpipe {' '.join(arguments)} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


@dataclass(frozen=True, slots=True)
class Video:
    """One video to be made: codes are its labels, spans (code, first snippet, end snippet) its incidents."""

    id: str
    label: str
    snippets: int
    spans: tuple[tuple[str, int, int], ...]


def write_data_set(folder: Path, share: float = 1.0, crops: int = 1, seed: int = 0, columns: int = COLUMNS) -> int:
    """Write features, lists and annotations under ``folder``; returns the number of videos."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((len(CODES), columns)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    count = 0
    for split, name, listed in (("train", "xd_CLIP_rgb.csv", range(10)), ("test", "xd_CLIP_rgbtest.csv", range(1))):
        place = folder / f"XD{split.capitalize()}ClipFeatures"
        place.mkdir(parents=True, exist_ok=True)
        videos = list(_videos(split, share, rng))
        for video in videos:
            rows = _rows(video, directions, rng)
            for crop in range(min(crops, len(listed))):
                noise = 0 if crop == 0 else 0.05 * rng.standard_normal(rows.shape, dtype=np.float32)
                np.save(place / f"{video.id}__{crop}.npy", (rows + noise).astype(np.float16))
        lines = [f"/home/author/Desktop/{place.name}/{v.id}__{crop}.npy,{v.label}" for v in videos for crop in listed]
        (folder / name).write_text("path,label\n" + "\n".join(lines) + "\n")
        count += len(videos)
        if split == "test":
            (folder / "annotations_multiclasses.txt").write_text("".join(_annotation(v) for v in videos if v.spans))
    return count


def _videos(split: str, share: float, rng: np.random.Generator) -> Iterator[Video]:
    normal, anomalous = (max(round(share * count), 6) for count in COUNTS[split])
    for index in range(normal + anomalous):
        length = rng.lognormal(np.log(MEAN_SNIPPETS[split]) - 0.5, 1.0)  # sigma 1: the mean is exp(mu + 1/2)
        snippets = int(np.clip(length, 8, LONGEST))
        codes = [] if index < normal else [CODES[index % 6], *([CODES[(index + 1) % 6]] if index % 8 == 0 else [])]
        spans = []
        for number in range(len(codes) * int(rng.integers(1, 3))):
            start = int(rng.integers(0, snippets - 3))
            end = min(start + 2 + int(rng.integers(0, max(snippets // 4, 2))), snippets)
            spans.append((codes[number % len(codes)], start, end))
        label = "-".join([*codes, "0", "0", "0"][:3]) if codes else "A"
        name = f"v=made{split}{index:04d}__#1" if index % 3 == 0 else f"Made.{split}.{index:04d}__#00-01-00_00-02-00"
        yield Video(f"{name}_label_{label}", label, snippets, tuple(dict.fromkeys(spans)))


def _rows(video: Video, directions: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    rows = 0.4 * rng.standard_normal((video.snippets, directions.shape[1]), dtype=np.float32)
    rows += 0.3 * rng.standard_normal((1, directions.shape[1]), dtype=np.float32)  # the scene: one shift a video
    for code, start, end in video.spans:
        rows[start:end] += 4.0 * directions[CODES.index(code)]
    return rows


def _annotation(video: Video) -> str:
    spans = " ".join(f"{code} {start * 16} {end * 16}" for code, start, end in video.spans)
    return f"{video.id} {spans}\n"


if __name__ == "__main__":
    main()

# What is generated, under <work>/released:
#   XDTrainClipFeatures/<id>__<crop>.npy, XDTestClipFeatures/<id>__0.npy
#                   (T, 512) float16: noise, one shift a video (its scene), and inside incidents one direction a class.
#                   T is lognormal, mean 260 snippets in training and 182 in test as in XD-Violence, 8 … 4000.
#   xd_CLIP_rgb.csv, xd_CLIP_rgbtest.csv
#                   path,label with paths of another machine; training lists name ten crops a video, --crops makes so
#                   many of them (vadpipe imports the first), test lists name crop 0.
#   annotations_multiclasses.txt
#                   <id> B1 start end … of the anomalous test videos, in frames.
# At --share 1: 2049 normal and 1905 anomalous training videos, 300 and 500 test videos; one anomalous video in eight
# has two categories. Figures say that the commands work and learn at this size, nothing about real features.
