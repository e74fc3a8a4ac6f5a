"""Kills survived and what a large store costs: the figures of docs/reliability.md.

``python benchmarks/crashes.py [--rounds 40] [--ids 10000] [--folder /dev/shm]``: kills every write at each of its
changes of the file system, kills whole extractions at random moments, lets two writers have one id, and writes,
verifies, packs and unpacks a store of odd ids. Needs Linux on x86-64, and the tests beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.crash_cases import CASES, kill_everywhere, refuse_everywhere  # noqa: E402
from tests.extractors import painted_videos  # noqa: E402
from tests.test_crashes import CHEAP  # noqa: E402
from tests.test_store import SPEC, track  # noqa: E402
from tests.test_store_trouble import WRITER  # noqa: E402
from vadpipe.pipeline.storing.files import check_file, places, spec_folders  # noqa: E402
from vadpipe.pipeline.storing.gc import GcRequest, find_garbage, remove  # noqa: E402
from vadpipe.pipeline.storing.pack import files_to_pack, pack_store  # noqa: E402
from vadpipe.pipeline.storing.unpack import shards_of, unpack  # noqa: E402
from vadpipe.pipeline.storing.verify import verify  # noqa: E402
from vadpipe.store import FeatureStore  # noqa: E402

VIDEOS = 24


def print_steps(folder: Path) -> None:
    """Kills and refusals at every step of every write."""
    for case in CASES:
        for frames in (40, 16 * 4000) if case.startswith("store") else (40,):
            found = kill_everywhere(case, folder / "kill", frames)
            kills = sum(found["kills"].values())
            print(f"{case}, {frames} frames: {kills} kills survived, seen {dict(found['seen'])}", flush=True)
    for case in ("store write", "pack", "unpack", "checkpoint replace", "train state"):
        found = refuse_everywhere(case, folder / "refuse")
        print(f"{case}, disk full from each step on: {sum(found['refusals'].values())} refusals", flush=True)


def print_extractions(folder: Path, rounds: int) -> None:
    """Kill extractions, all their processes at once, at random moments until ``rounds`` kills; then let one finish."""
    (folder / "videos").mkdir()
    content = painted_videos.write(folder / "one.mp4", 20).read_bytes()
    for number in range(VIDEOS):
        (folder / "videos" / f"v{number:02}.mp4").write_bytes(content)
    store, rng, kills = FeatureStore(folder / "features"), random.Random(0), 0
    command = [sys.executable, "-c", CHEAP, "extract", str(folder / "videos"), "--out", str(store.root), "-q"]
    command += ["--stride", "4", "--device", "cpu", "--weights", "random"]
    began = time.monotonic()
    while kills < rounds:
        process = subprocess.Popen(
            command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(rng.uniform(0.5, 4.0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        there = [place for spec in spec_folders(store.root) for place in places(spec)] if store.root.exists() else []
        for place in there:
            check_file(store.root / place, place)  # raises where half a file carries a whole one's name
        if len(there) == VIDEOS:  # finished: half of it goes, so that the next round has something to do
            for place in there[::2]:
                (store.root / place).unlink()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = verify(store.root)
    remove(find_garbage(GcRequest(store.root)))
    left = len(list(store.root.rglob("*.tmp")))
    print(
        f"extractions killed at random: {kills}; then {found.files} of {VIDEOS} videos, {len(found.damaged)} "
        f"damaged, {left} temporary files left; {time.monotonic() - began:.0f} s",
        flush=True,
    )


def print_writers(folder: Path, rounds: int) -> None:
    """Two processes write one id ``rounds`` x 60 times each while this one reads."""
    store, reads = FeatureStore(folder), 0
    store.write(track("clip", 16 * 50, seed=1))
    for _ in range(rounds):
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(folder), seed], cwd=ROOT, stdin=subprocess.PIPE)
            for seed in ("1", "2")
        ]
        for writer in writers:
            assert writer.stdin is not None
            writer.stdin.write(b"\n")
            writer.stdin.flush()
        while any(writer.poll() is None for writer in writers):
            store.read(SPEC, "clip")
            reads += 1
        if any(writer.wait() for writer in writers):
            sys.exit("a writer failed")
    print(f"two writers on one id: {rounds * 120} writes, {reads} reads, every one whole", flush=True)


def print_large(folder: Path, count: int) -> None:
    """Write, index, verify, pack and unpack ``count`` tracks of odd ids."""
    odd = [chr(code) for code in range(33, 900) if chr(code).isprintable() and chr(code) not in "/\\"]
    ids = [f"{odd[number % len(odd)]}{number}" for number in range(count)]
    store, other = FeatureStore(folder / "s"), FeatureStore(folder / "u")

    def timed(what: str, began: float) -> None:
        took = time.perf_counter() - began
        print(f"{what}: {took:.1f} s, {took / len(ids) * 1e3:.2f} ms each", flush=True)

    began = time.perf_counter()
    for name in ids:
        store.write(track(name))
    timed(f"{len(ids)} tracks of odd ids written", began)
    began = time.perf_counter()
    assert store.ids(SPEC) == sorted(ids)
    timed("listed", began)
    began = time.perf_counter()
    store.rebuild_index(SPEC)
    timed("index rebuilt", began)
    began = time.perf_counter()
    assert verify(store.root).fine
    timed("verified", began)
    began = time.perf_counter()
    packed = pack_store(store.root, files_to_pack(store.root), folder / "p", shard_bytes=16 << 20)
    timed(f"packed into {packed.shards} shards", began)
    began = time.perf_counter()
    assert unpack([path for path, _ in shards_of([folder / "p"])], other).done == len(ids)
    timed("unpacked", began)
    lost = sum(
        (store.root / place).read_bytes() != (other.root / place).read_bytes()
        for place in places(store.root / SPEC.folder)
    )
    print(f"files that differ: {lost}; ids equal: {store.ids(SPEC) == other.ids(SPEC)}", flush=True)


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="random kills of extractions")
    parser.add_argument("--ids", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where to work; by default the system's temporary folder")
    options = parser.parse_args()
    print(json.dumps({"cpus": os.cpu_count(), "load": os.getloadavg()[0]}))
    with TemporaryDirectory(dir=options.folder) as name:
        folders = [Path(name) / part for part in ("steps", "writers", "extractions", "large")]
        for folder in folders:
            folder.mkdir()
        print_steps(folders[0])
        print_writers(folders[1], 10)
        print_extractions(folders[2], options.rounds)
        print_large(folders[3], options.ids)


if __name__ == "__main__":
    main()
