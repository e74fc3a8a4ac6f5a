"""What a video costs, step by step, and what that means for an archive: the tables of docs/scaling.md.

``python -m benchmarks.video_costs [--tracks 2000] [--listed 1000000] [--folder PLACE]`` measures on this machine and
prints two tables in Markdown. ``--costs costs.json`` keeps what was measured, step by step; ``--steps store,lists``
measures only these and takes the others from there; ``benchmarks/archive_costs.py`` prints the tables from it alone.
Processor seconds are of one core, children included; they hold on a machine that does other things too, wall times do
not.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from archive_costs import COLUMNS, FPS, ROWS_PER_HOUR, STRIDE, Costs, print_archives, print_costs  # noqa: E402
from decode_videos import _repeat  # noqa: E402

from tests.extractors import painted_videos  # noqa: E402
from tests.test_store import SPEC  # noqa: E402
from vadpipe.extractors import create, geometry, media  # noqa: E402
from vadpipe.extractors.compute import cpu_computes_bfloat16  # noqa: E402
from vadpipe.pipeline.shard import Shard  # noqa: E402
from vadpipe.pipeline.storing.files import places  # noqa: E402
from vadpipe.pipeline.storing.verify import verify  # noqa: E402
from vadpipe.pipeline.videos import find_videos  # noqa: E402
from vadpipe.store import FeatureStore  # noqa: E402
from vadpipe.tracks import FeatureTrack, TimeGrid  # noqa: E402

GOP = 250
SIZES = {"320x240": (320, 240), "1280x720": (1280, 720), "1920x1080": (1920, 1080)}


def _cpu_s() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


def cpu_of(work: Callable[[], object], repeats: int = 3) -> float:
    """Least processor seconds of some rounds."""
    found = []
    for _ in range(repeats):
        before = _cpu_s()
        work()
        found.append(_cpu_s() - before)
    return min(found)


def _read(path: Path, request: media.Request) -> None:
    with media.open_media(path, request) as reader:
        for _ in reader:
            pass


def _read_often(path: Path, times: int) -> None:
    for _ in range(times):
        _read(path, media.Request())


def measure_videos(costs: Costs, folder: Path, minutes: float) -> None:
    """Start, decoding, resizing, hashing."""
    tiny = painted_videos.write(folder / "tiny.mp4", 1)
    costs.start_s = cpu_of(lambda: _read_often(tiny, 10)) / 10
    costs.decode_s_per_hour, costs.resize_s_per_hour, costs.bytes_per_hour = {}, {}, {}
    for name, (width, height) in SIZES.items():
        times = max(round(minutes * 60 * FPS / GOP), 1)
        print(f"decoding {name}", file=sys.stderr, flush=True)
        path = _fixture(folder, width, height, times)
        per_hour = 3600 * FPS / (times * GOP)
        whole = cpu_of(partial(_read_often, path, 1)) - costs.start_s
        costs.decode_s_per_hour[name] = whole * per_hour
        costs.resize_s_per_hour[name] = _resize_s(width, height) * ROWS_PER_HOUR
        costs.bytes_per_hour[name] = path.stat().st_size * per_hour
    content = folder / "large"
    content.write_bytes(os.urandom(1 << 20) * 256)

    def digest() -> None:
        with content.open("rb") as handle:
            hashlib.file_digest(handle, "sha256")

    costs.hash_s_per_gb = cpu_of(digest) / content.stat().st_size * 1e9
    content.unlink()


def _fixture(folder: Path, width: int, height: int, times: int) -> Path:
    """H.264, x264's defaults: a grainy ground that pans, and a box that crosses it; 10 s, again and again."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 200, (height // 16, width // 16, 3), dtype=np.uint8)
    ground = np.asarray(Image.fromarray(coarse).resize((width + GOP, height), Image.Resampling.BICUBIC)).copy()
    ground += rng.integers(0, 12, ground.shape, dtype=np.uint8)
    once = folder / "once.mp4"
    with av.open(str(once), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = GOP
        for number in range(GOP):
            image = ground[:, number : number + width].copy()
            left = number * (width - width // 8) // GOP
            image[height // 3 : 2 * height // 3, left : left + width // 8] = (200, 60, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return _repeat(folder / f"{width}.mp4", once, GOP, times)


def _resize_s(width: int, height: int) -> float:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    name = media.View().geometry
    return cpu_of(lambda: [geometry.apply(image, name) for _ in range(20)]) / 20


def measure_encoder(costs: Costs) -> None:
    """CLIP in this process, one thread, batches as an extraction makes them."""
    torch.set_num_threads(1)
    costs.encode_s_per_row = {}
    print("encoding", file=sys.stderr, flush=True)
    for dtype in ("float32", "bfloat16") if cpu_computes_bfloat16() else ("float32",):
        encoder = create("clip", weights="random", device="cpu", dtype=dtype, crops="center", batch_size=None)
        images = np.zeros((16, 224, 224, 3), np.uint8)
        encoder.encode(images[:4])
        costs.encode_s_per_row[dtype] = cpu_of(partial(encoder.encode, images)) / len(images)


_SPEC = replace(SPEC, dim=COLUMNS)


def _track(name: str, frames: int) -> FeatureTrack:
    data = np.random.default_rng(0).standard_normal((-(-frames // STRIDE), COLUMNS)).astype(np.float32)
    return FeatureTrack(data, TimeGrid(Fraction(FPS), frames, STRIDE), _SPEC, name, 1, "ab" * 32)


def measure_store(costs: Costs, folder: Path, tracks: int) -> None:
    """Tracks of an hour for the write, of three rows for everything that is done to many."""
    print("storing", file=sys.stderr, flush=True)
    store = FeatureStore(folder / "hours")
    hours = [_track(f"h{number}", 3600 * FPS) for number in range(20)]
    few = FeatureStore(folder / "few").write(_track("f", 48)).stat().st_size
    whole, rows = store.write(hours[0]).stat().st_size, hours[0].grid.num_snippets - 3
    costs.bytes_per_row = (whole - few) / rows
    costs.bytes_of_track = few - 3 * costs.bytes_per_row
    began = time.perf_counter()
    costs.store_s = cpu_of(lambda: [store.write(one) for one in hours], 1) / len(hours)
    costs.store_wall_s = (time.perf_counter() - began) / len(hours)
    costs.verify_s_per_hour = cpu_of(lambda: verify(store.root), 1) / len(hours)
    many = FeatureStore(folder / "many")
    for number in range(tracks):
        many.write(_track(f"v{number}", 48))
    costs.verify_s = cpu_of(lambda: verify(many.root), 1) / tracks
    costs.list_s = cpu_of(lambda: list(places(many.root / _SPEC.folder))) / tracks
    costs.index_s = cpu_of(lambda: many.index(_SPEC)) / tracks


def measure_lists(costs: Costs, folder: Path, files: int, listed: int) -> None:
    """A folder tree of empty files; and a list of ``listed`` paths, in a process of its own for its memory."""
    print("listing", file=sys.stderr, flush=True)
    for number in range(files):
        if number % 1000 == 0:
            place = folder / "tree" / f"{number // 1000:04}"
            place.mkdir(parents=True)
        (place / f"camera-{number:07}.mp4").touch()
    costs.find_s = cpu_of(lambda: find_videos([folder / "tree"])) / files
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.video_costs", "--only-shard", str(listed)],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    costs.shard_s = told["seconds"] / listed
    print(f"{files:,} files found in {costs.find_s * files:.1f} s; of {listed:,} videos a shard of 64 is chosen in "
          f"{told['seconds']:.1f} s and {told['mib']:.0f} MiB, {told['videos']:,} are in it")  # fmt: skip


def only_shard(listed: int) -> None:
    """Time and memory of the list and of the choice."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {
        f"camera-{number:07}": Path(f"videos/{number // 1000:04}/camera-{number:07}.mp4") for number in range(listed)
    }
    gc.collect()
    began = time.process_time()
    chosen = Shard(3, 64).videos(found)
    seconds = time.process_time() - began
    mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(json.dumps({"seconds": seconds, "mib": mib, "videos": len(chosen)}))


def main() -> None:
    """Measure, or take what was measured, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0, help="length of the fixtures")
    parser.add_argument("--tracks", type=int, default=2000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--listed", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to work; by default the system's temporary folder")
    parser.add_argument("--costs", type=Path, help="keep what was measured, step by step")
    parser.add_argument("--steps", default="videos,encoder,store,lists", help="with --costs: the others from there")
    parser.add_argument("--only-shard", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_shard:
        only_shard(options.only_shard)
        return
    known = options.costs is not None and options.costs.exists()
    costs = Costs(**json.loads(options.costs.read_text())) if known else Costs()
    steps: dict[str, Callable[[Path], None]] = {
        "videos": lambda folder: measure_videos(costs, folder, options.minutes),
        "encoder": lambda _: measure_encoder(costs),
        "store": lambda folder: measure_store(costs, folder, options.tracks),
        "lists": lambda folder: measure_lists(costs, folder, options.files, options.listed),
    }
    for step in options.steps.split(","):
        print(f"{step}: {os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}", flush=True)
        with TemporaryDirectory(dir=options.folder) as name:
            steps[step](Path(name))
        if options.costs:
            options.costs.write_text(json.dumps(asdict(costs), indent=1) + "\n")
    if costs.start_s and costs.encode_s_per_row and costs.store_s and costs.find_s:
        print_costs(costs)
        print_archives(costs)


if __name__ == "__main__":
    main()
