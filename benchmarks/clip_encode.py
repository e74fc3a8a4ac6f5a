"""Images per second of the CLIP image encoder: number types and batch sizes against the usual way, in one run.

    python benchmarks/clip_encode.py [--threads 2] [--batches 1 8 32 64] [--repeats 3]

The usual way is float32, one picture at a time, prepared by torchvision's transforms. Every line counts resizing and
cropping a 640 x 360 frame and encoding it, in one process; weights are untrained, which changes no time. Processor
seconds stand beside the rate because they hold on a machine that does other work too, best with one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from vadpipe.extractors import geometry
from vadpipe.extractors.clip_vit import ARCHITECTURE, ClipVitB16
from vadpipe.extractors.compute import cpu_computes_bfloat16


def main() -> None:
    """Measure and print one table."""
    options = _options()
    torch.set_num_threads(options.threads)
    count = max(options.batches)
    frames = np.random.default_rng(0).integers(0, 256, (count, 360, 640, 3), dtype=np.uint8)
    few = min(count, 8)
    # first, because an encoder of vadpipe changes how the process keeps its memory, for everyone in it
    usual = _best(_usual_way(frames[:few]), options.repeats) / few
    print(f"{'dtype':<10} {'batch':>5} {'images/s':>9} {'ratio':>6} {'cpu s/image':>12} {'ratio':>6}")
    _show("usual way", 1, usual, usual)
    for dtype in ("float32", "bfloat16") if cpu_computes_bfloat16() else ("float32",):
        encoder = ClipVitB16(weights="random", dtype=dtype)
        for batch in options.batches:
            encoder.batch_size = batch
            used = frames[: max(batch, few)]
            _show(dtype, batch, _best(_ours(encoder, used), options.repeats) / len(used), usual)


def _show(name: str, batch: int, seconds: NDArray[np.float64], usual: NDArray[np.float64]) -> None:
    (wall, cpu), (wall_ratio, cpu_ratio) = seconds, usual / seconds
    print(f"{name:<10} {batch:>5} {1 / wall:>9.2f} {wall_ratio:>6.2f} {cpu:>12.3f} {cpu_ratio:>6.2f}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--repeats", type=int, default=3, help="the best is printed, after one round to warm up")
    return parser.parse_args()


def _best(work: Callable[[], Any], repeats: int) -> NDArray[np.float64]:
    """(2,) seconds of the clock and of the processor, each of its fastest round."""
    work()
    seconds = []
    for _ in range(repeats):
        start = np.array([time.perf_counter(), time.process_time()])
        work()
        seconds.append(np.array([time.perf_counter(), time.process_time()]) - start)
    fastest: NDArray[np.float64] = np.min(seconds, axis=0)
    return fastest


def _usual_way(frames: NDArray[np.uint8]) -> Callable[[], None]:
    network = open_clip.CLIP(**open_clip.get_model_config(ARCHITECTURE)).eval()
    prepare = transforms.Compose(
        [
            transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
        ]
    )

    def work() -> None:
        with torch.no_grad():
            for frame in frames:
                network.encode_image(prepare(Image.fromarray(frame))[None])

    return work


def _ours(encoder: ClipVitB16, frames: NDArray[np.uint8]) -> Callable[[], None]:
    def work() -> None:
        encoder.encode(np.stack([geometry.apply(frame, encoder.needs.geometry) for frame in frames]))

    return work


if __name__ == "__main__":
    main()
