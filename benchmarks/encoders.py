"""Items per second of every encoder on ready batches: number types and batch sizes, in one run.

    python benchmarks/encoders.py [--device cpu] [--streams clip i3d-inception i3d-r50 c3d wav2clip]
                                  [--dtypes float32 bfloat16] [--batches 1 4] [--threads 2] [--repeats 3]
                                  [--out FILE.json]

An item is what the stream takes for one snippet: a picture, 16 frames, or a second of sound. Items are random and lie
on the device before the clock starts; preparing pixels, the network, and rows back in the main memory are counted.
Weights are untrained, which changes no time. Floating-point operations are counted by torch (a multiplication with its
addition is two), not timed; the ceiling is a large matrix product of the same number type in the same run, and
``share`` is the encoder's part of it. It may pass 1 where convolutions suit the processor better than that product.

The fastest of ``--repeats`` rounds counts. Processor seconds stand beside the rate because they hold on a machine that
does other work too, best with ``--threads 1``. On a GPU (``--device cuda``) memory is the peak that torch took, weights
included; that path has not been run on a GPU yet.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vadpipe.extractors import EXTRACTORS, Needs, create, geometry
from vadpipe.extractors.compute import checked_device, cpu_computes_bfloat16

TORCH = {"float32": torch.float32, "bfloat16": torch.bfloat16}
COLUMNS = "{:<14} {:<9} {:>5} {:>9} {:>10} {:>12} {:>9} {:>6} {:>8}"


@dataclass(frozen=True)
class Row:
    """One line: rates in items, operations in 10^9 and 10^12, memory in MiB (0: not measured)."""

    stream: str
    dtype: str
    batch: int
    items_per_s: float
    cpu_s_per_item: float
    gflop_per_item: float
    tflop_per_s: float
    share: float
    memory_mib: int


def main() -> None:
    """Measure, print a table, write the file."""
    options = _options()
    torch.set_num_threads(options.threads)
    device = checked_device(options.device)
    ceilings = {dtype: _ceiling(device, TORCH[dtype], options.repeats) for dtype in options.dtypes}
    for dtype, ceiling in ceilings.items():
        print(f"matrix product {dtype}: {ceiling:.3f} TFLOP/s", flush=True)
    print(COLUMNS.format("stream", "dtype", "batch", "items/s", "cpu s/item", "GFLOP/item", "TFLOP/s", "share", "MiB"))
    rows: list[Row] = []
    for stream in options.streams:
        gflop = _gflop_per_item(stream)
        for dtype in options.dtypes:
            for batch in options.batches:
                row = _measured(stream, dtype, batch, device, gflop, ceilings[dtype], options.repeats)
                if row is not None:
                    rows.append(row)
                    _show(row)
    if options.out is not None:
        options.out.write_text(json.dumps(_described(device, options.threads, ceilings, rows), indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--streams", nargs="+", choices=list(EXTRACTORS), default=list(EXTRACTORS))
    parser.add_argument("--dtypes", nargs="+", choices=list(TORCH), help="default: those the device computes in")
    parser.add_argument("--batches", type=int, nargs="+", help="default: 1 4, on a GPU 1 8 32 128")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts, after one round to warm up")
    parser.add_argument("--out", type=Path, help="write the figures to this file as JSON")
    options = parser.parse_args()
    on_cpu = options.device == "cpu"
    if options.dtypes is None:
        options.dtypes = ["float32"] if on_cpu and not cpu_computes_bfloat16() else list(TORCH)
    options.batches = options.batches or ([1, 4] if on_cpu else [1, 8, 32, 128])
    return options


def _items(needs: Needs, count: int) -> torch.Tensor:
    """``count`` random items of an encoder."""
    generator = np.random.default_rng(0)
    if needs.audio_rate:
        samples = round(needs.audio_rate * needs.window_s)
        return torch.from_numpy(generator.uniform(-1, 1, (count, samples)).astype(np.float32))
    frames = (needs.frames,) if needs.frames > 1 else ()
    shape = (count, *frames, *(geometry.output_size(needs.geometry) or ()), 3)
    return torch.from_numpy(generator.integers(0, 256, shape, dtype=np.uint8))


def _gflop_per_item(stream: str) -> float:
    """10^9 operations of the network for one item, counted on the CPU."""
    encoder = create(stream, weights="random", batch_size=1)
    # the counter knows no fused attention of a CPU, so attention is done as plain products
    torch.backends.mha.set_fastpath_enabled(False)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        encoder.encode(_items(encoder.needs, 1))
    torch.backends.mha.set_fastpath_enabled(True)
    return float(counter.get_total_flops()) / 1e9


def _ceiling(device: torch.device, dtype: torch.dtype, repeats: int) -> float:
    """10^12 operations per second of a square matrix product."""
    side = 2048 if device.type == "cpu" else 8192
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    def product() -> None:
        torch.matmul(left, right)
        _wait(device)

    wall, _ = _best(product, repeats)
    return 2 * side**3 / wall / 1e12


def _measured(
    stream: str, dtype: str, batch: int, device: torch.device, gflop: float, ceiling: float, repeats: int
) -> Row | None:
    """None where the memory does not suffice, which is said."""
    encoder = create(stream, weights="random", device=str(device), dtype=dtype, batch_size=batch)
    items = _items(encoder.needs, batch).to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        wall, cpu = _best(lambda: encoder.encode(items), repeats)  # rows in main memory: nothing to wait for
    except torch.OutOfMemoryError:
        print(f"{stream} {dtype} {batch}: out of memory", flush=True)
        return None
    memory = torch.cuda.max_memory_allocated(device) >> 20 if device.type == "cuda" else 0
    speed = gflop * batch / wall / 1e3
    return Row(stream, dtype, batch, batch / wall, cpu / batch, gflop, speed, speed / ceiling, memory)


def _best(work: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Seconds of the clock and of the processor, each of its fastest round after one to warm up."""
    work()
    rounds = []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        work()
        rounds.append((time.perf_counter() - start, time.process_time() - used))
    return min(wall for wall, _ in rounds), min(cpu for _, cpu in rounds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _show(row: Row) -> None:
    rates = (f"{row.items_per_s:.2f}", f"{row.cpu_s_per_item:.4f}", f"{row.gflop_per_item:.2f}")
    speed = (f"{row.tflop_per_s:.3f}", f"{row.share:.2f}", row.memory_mib or "")
    print(COLUMNS.format(row.stream, row.dtype, row.batch, *rates, *speed), flush=True)


def _described(device: torch.device, threads: int, ceilings: dict[str, float], rows: Sequence[Row]) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": str(device),
        "device_name": name,
        "torch": torch.__version__,
        "threads": threads,
        "matrix_product_tflop_per_s": ceilings,
        "rows": [asdict(row) for row in rows],
    }


if __name__ == "__main__":
    main()
