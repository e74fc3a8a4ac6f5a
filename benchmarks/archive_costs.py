"""What an archive costs, from what a video costs: formulas without a measurement in them, and the tables they fill.

``python -m benchmarks.archive_costs COSTS.json [--gpu-rows 2000]``: the file that ``benchmarks/video_costs.py --costs``
wrote, changed by hand where other figures are known.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FPS, STRIDE, COLUMNS = 25, 16, 512
ROWS_PER_HOUR = 3600 * FPS / STRIDE


@dataclass(slots=True)
class Costs:
    """Measured; processor seconds of one core unless said.

    start_s
        A decoder child and all else that each video costs whatever its length, without storing.
    decode_s_per_hour
        Size -> decoding an hour at 25 frames/s, every 16th frame converted, resized and handed over.
    resize_s_per_hour
        Size -> the share of resizing in it.
    bytes_per_hour
        Size -> of the fixtures; real ones differ.
    hash_s_per_gb
        Reading a file from the page cache and its sha256.
    encode_s_per_row
        CLIP ViT-B/16, one row.
    store_s, store_wall_s
        Writing, syncing, reading back and indexing one track of an hour.
    bytes_of_track, bytes_per_row
        One file: its fixed part, and each row.
    verify_s, list_s, find_s, index_s
        For each track or video: verify (of a short one; ``verify_s_per_hour`` of one of an hour), listing the
        files of a store, finding videos in a folder tree, reading the store's index at the start of an extraction.
    shard_s
        Whether a video belongs to a shard.
    """

    start_s: float = 0.0
    decode_s_per_hour: dict[str, float] | None = None
    resize_s_per_hour: dict[str, float] | None = None
    bytes_per_hour: dict[str, float] | None = None
    hash_s_per_gb: float = 0.0
    encode_s_per_row: dict[str, float] | None = None
    store_s: float = 0.0
    store_wall_s: float = 0.0
    bytes_of_track: float = 0.0
    bytes_per_row: float = 0.0
    verify_s: float = 0.0
    verify_s_per_hour: float = 0.0
    list_s: float = 0.0
    find_s: float = 0.0
    index_s: float = 0.0
    shard_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Archive:
    """Hours of video in so many files, all of one size."""

    name: str
    hours: float
    videos: int
    size: str = "320x240"


ARCHIVES = (
    Archive("XD-Violence", 217, 4754),
    Archive("100,000 h of 320x240", 100_000, 1_200_000),
    Archive("100,000 h of 1080p", 100_000, 1_200_000, "1920x1080"),
)
"""Files of 164 s on average in XD-Violence; of five minutes, as recorders write them, in the other two (assumed)."""

WORKERS = (1, 8, 64, 1024)
GPU_ROWS_PER_S = 2000.0
"""Assumed, not measured: pictures a second of CLIP ViT-B/16 on one data-centre GPU in bfloat16. 17.6 GFLOP a picture
(2 x 8.8 G multiply-adds at 224 x 224) make 35 TFLOP/s of it, a tenth of what such a GPU states."""


def cpu_seconds(archive: Archive, costs: Costs, dtype: str = "bfloat16") -> dict[str, float]:
    """Processor seconds of each step for a whole archive on cores alone."""
    decode, size = costs.decode_s_per_hour or {}, costs.bytes_per_hour or {}
    gigabytes = archive.hours * size[archive.size] / 1e9
    return {
        "start": archive.videos * costs.start_s,
        "hash": gigabytes * costs.hash_s_per_gb,
        "decode": archive.hours * decode[archive.size],
        "encode": archive.hours * ROWS_PER_HOUR * (costs.encode_s_per_row or {})[dtype],
        "store": archive.videos * costs.store_s,
    }


def wall_hours(
    archive: Archive, costs: Costs, cores: int, gpus: int = 0, gpu_rows_per_s: float = GPU_ROWS_PER_S
) -> float:
    """Hours on so many cores; with GPUs these encode, and the slower of both sides counts, since they run together."""
    seconds = cpu_seconds(archive, costs)
    encode = seconds.pop("encode")
    if not gpus:
        return (sum(seconds.values()) + encode) / cores / 3600
    return max(sum(seconds.values()) / cores, archive.hours * ROWS_PER_HOUR / (gpus * gpu_rows_per_s)) / 3600


def cores_per_gpu(archive: Archive, costs: Costs, gpu_rows_per_s: float = GPU_ROWS_PER_S) -> float:
    """Cores that keep one GPU busy: more is idle, fewer and the GPU waits for decoders."""
    seconds = cpu_seconds(archive, costs)
    seconds.pop("encode")
    return sum(seconds.values()) / (archive.hours * ROWS_PER_HOUR / gpu_rows_per_s)


def print_archives(costs: Costs, gpu_rows_per_s: float = GPU_ROWS_PER_S) -> None:
    """The second table, and every figure in it from :class:`Costs` alone."""
    print("\n| | " + " | ".join(archive.name for archive in ARCHIVES) + " |")
    print("| --- |" + " --- |" * len(ARCHIVES))

    def row(name: str, value: Callable[[Archive], str]) -> None:
        print(f"| {name} | " + " | ".join(value(archive) for archive in ARCHIVES) + " |")

    size = costs.bytes_per_hour or {}
    row("videos", lambda a: f"{a.videos:,}")
    row("bytes to read", lambda a: _bytes(a.hours * size[a.size]))
    for step in cpu_seconds(ARCHIVES[0], costs):
        row(f"{step}, core hours", lambda a, step=step: _hours(cpu_seconds(a, costs)[step] / 3600))  # type: ignore[misc]
    for cores in WORKERS:
        row(f"wall time, cores: {cores}", lambda a, cores=cores: _time(wall_hours(a, costs, cores)))  # type: ignore[misc]
    row("cores that one GPU keeps busy (assumed rate)", lambda a: f"{cores_per_gpu(a, costs, gpu_rows_per_s):.0f}")
    for gpus in (1, 8, 64):
        row(
            f"wall time, GPUs: {gpus}, each with 16 cores (argued)",
            lambda a, gpus=gpus: _time(wall_hours(a, costs, 16 * gpus, gpus, gpu_rows_per_s)),  # type: ignore[misc]
        )
    row("files in the store", lambda a: f"{a.videos:,}")
    row("its bytes", lambda a: _bytes(a.videos * costs.bytes_of_track + a.hours * ROWS_PER_HOUR * costs.bytes_per_row))
    row("files in each of its 256 folders", lambda a: f"{a.videos / 256:,.0f}")
    row("to find the videos, once per command", lambda a: _time(a.videos * costs.find_s / 3600))
    row("to read the index, once per command", lambda a: _time(a.videos * costs.index_s / 3600))
    row(
        "`store verify`, one process",
        lambda a: _time((a.videos * costs.verify_s + a.hours * costs.verify_s_per_hour) / 3600),
    )
    row("to list the store", lambda a: _time(a.videos * costs.list_s / 3600))


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def _bytes(count: float) -> str:
    return f"{count / 1e12:.3g} TB" if count >= 1e12 else f"{count / 1e9:.3g} GB"


def _time(hours: float) -> str:
    if hours >= 72:
        return f"{hours / 24:,.0f} d"
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.1f} min" if hours >= 1 / 60 else f"{hours * 3600:.2g} s"


def print_costs(costs: Costs) -> None:
    """The first table."""
    rows = [("start of a decoder, a video", f"{costs.start_s:.3f} s")]
    for name, value in (costs.decode_s_per_hour or {}).items():
        told = value, (costs.resize_s_per_hour or {})[name]
        rows.append((f"decoding an hour of {name}, resizing in it", f"{told[0]:.0f} s, {told[1]:.1f} s"))
    for name, value in (costs.encode_s_per_row or {}).items():
        hour = value * ROWS_PER_HOUR
        rows.append((f"encoding a row with CLIP ViT-B/16 in {name}; an hour", f"{value:.3f} s; {hour:.0f} s"))
    verify = f"{costs.verify_s * 1e3:.1f} ms; {costs.verify_s_per_hour * 1e3:.0f} ms"
    rows += [
        ("sha256 of a GB, from the page cache", f"{costs.hash_s_per_gb:.2f} s"),
        ("storing a track of an hour (wall time)", f"{costs.store_s * 1e3:.1f} ms ({costs.store_wall_s * 1e3:.1f} ms)"),
        ("bytes of a track, of each of its rows", f"{costs.bytes_of_track:.0f}, {costs.bytes_per_row:.0f}"),
        ("finding a video in a tree", f"{costs.find_s * 1e6:.0f} µs"),
        ("choosing its shard", f"{costs.shard_s * 1e6:.1f} µs"),
        ("its line in the index, read", f"{costs.index_s * 1e6:.0f} µs"),
        ("its file, listed", f"{costs.list_s * 1e6:.0f} µs"),
        ("its file, verified: of 3 rows; of an hour", verify),
    ]
    print("\n| step | processor time of one core |\n| --- | --- |")
    for step, cost in rows:
        print(f"| {step} | {cost} |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("costs", type=Path)
    parser.add_argument("--gpu-rows", type=float, default=GPU_ROWS_PER_S, help="pictures a second of one GPU")
    options = parser.parse_args()
    costs = Costs(**json.loads(options.costs.read_text()))
    print_costs(costs)
    print_archives(costs, options.gpu_rows)


if __name__ == "__main__":
    main()
