"""Frames per second from video files to features: the usual way, vadpipe, and the two limits, side by side in one run.

    python benchmarks/extract.py FOLDER [--streams clip,i3d-r50] [--device cpu] [--jobs 2] [--threads 2]
    python benchmarks/extract.py FOLDER --memory [--streams clip]

The usual way decodes a whole file with PyAV, then prepares with Pillow and encodes one item at a time, in float32.
The limits: decoding with nothing done to the frames, ``--jobs`` files at once with a thread each; and the encoder
alone, on batches that are ready. Frames are video frames: a row stands for 16 of them. Processor seconds (children
included) stand beside the rates, because they hold on a machine that does other work too. Weights are untrained unless
``--weights`` says otherwise, which changes no time; cosines between number types depend on them.

``--memory`` joins the first file to videos of 1 and of 60 minutes, without encoding anew, and prints the peak memory of
extracting each: resident memory of the process and its decoders, added up, so shared pages count twice. Encoders are
stand-ins with the same input, output and batches, because a network's memory does not depend on the video.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import open_clip
import torch
from extract_memory import print_memory
from numpy.typing import NDArray
from PIL import Image
from torchvision import transforms

from vadpipe.extractors import Extractor, Needs, create, geometry
from vadpipe.extractors.clip_vit import ARCHITECTURE
from vadpipe.extractors.compute import cpu_computes_bfloat16
from vadpipe.extractors.weights import parse_weights
from vadpipe.pipeline.extract import ExtractOptions, extract
from vadpipe.pipeline.videos import find_videos
from vadpipe.store import FeatureStore

STEP = 16


@dataclass(frozen=True)
class Rate:
    """Video frames per second of the clock, and seconds of the processor per 1000 frames."""

    frames_s: float
    cpu_s: float


def main() -> None:
    """Measure and print."""
    options = _options()
    torch.set_num_threads(options.threads)
    videos = dict(list(find_videos([options.folder]).items())[: options.videos])
    if options.memory:
        print_memory(next(iter(videos.values())), options.streams.split(","), options.jobs)
        return
    print(
        f"{len(videos)} videos, {options.jobs} decoders, {options.threads} threads, {options.device}, torch "
        f"{torch.__version__}",
        flush=True,
    )
    decoding = decode_alone(videos, options.jobs)
    for stream in options.streams.split(","):
        _stream(stream, videos, decoding, options)


def _stream(stream: str, videos: dict[str, Path], decoding: Rate, options: argparse.Namespace) -> None:
    weights = parse_weights(options.weights, [stream])[stream]
    # first, because an encoder of vadpipe changes how the process keeps its memory, for everyone in it
    usual = usual_way(stream, weights, options.device, videos, options.usual_rows)
    print(f"\n{stream:<22} {'frames/s':>9} {'b/a':>6} {'b/min(c)':>9} {'cpu s/1000':>11}")
    _line("(a) usual way, float32", usual)
    _line("(c) decoding alone", decoding)
    stored: dict[str, FeatureStore] = {}
    with tempfile.TemporaryDirectory() as folder:
        for dtype in options.dtypes:
            encoder = create(stream, weights=weights, device=options.device, dtype=dtype, batch_size=options.batch_size)
            alone = encoder_alone(encoder, options.seconds)
            _line(f"(c) encoder, {dtype}", alone)
            stored[dtype] = FeatureStore(Path(folder) / dtype)
            ours = vadpipe(encoder, videos, stored[dtype], options)
            limit = min(alone.frames_s, decoding.frames_s)
            _line(f"(b) vadpipe, {dtype}", ours, ours.frames_s / usual.frames_s, ours.frames_s / limit)
        if len(stored) == 2:
            cosines = np.concatenate(list(_cosines(*stored.values())))
            print(f"cosine of {' and '.join(stored)}: mean {cosines.mean():.6f}, least {cosines.min():.6f}")


def _line(name: str, rate: Rate, to_usual: float | None = None, to_limit: float | None = None) -> None:
    ratios = "".join(
        f" {value:>{width}.2f}" if value else " " * (width + 1) for value, width in ((to_usual, 6), (to_limit, 9))
    )
    print(f"{name:<22} {rate.frames_s:>9.1f}{ratios} {rate.cpu_s:>11.2f}", flush=True)


def _timed(work: Callable[[], int]) -> Rate:
    """``work`` returns how many video frames it went over."""
    began, cpu = time.perf_counter(), _cpu_s()
    frames = work()
    return Rate(frames / (time.perf_counter() - began), 1000 * (_cpu_s() - cpu) / frames)


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


def decode_alone(videos: dict[str, Path], jobs: int) -> Rate:
    """Every frame of every file, nothing done to it."""

    def count(path: Path) -> int:
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            return sum(1 for _ in container.decode(video=0))

    with ThreadPoolExecutor(jobs) as pool:
        return _timed(lambda: sum(pool.map(count, videos.values())))


def usual_way(stream: str, weights: str, device: str, videos: dict[str, Path], most_rows: int) -> Rate:
    """Decode a file whole, then Pillow and the encoder, an item at a time; files until there are ``most_rows``."""
    needs, encode = _usual_clip(device) if stream == "clip" else _usual_other(stream, weights, device)

    def work() -> int:
        frames = rows = 0
        for path in videos.values():
            count, items = _usual_items(path, needs)
            frames += count
            for item in items:
                encode(item)
                rows += 1
            if rows >= most_rows:
                break
        return frames

    return _timed(work)


def _usual_clip(device: str) -> tuple[Needs, Callable[[NDArray[Any]], Any]]:
    """open_clip's network and torchvision's transforms, as papers' feature scripts have them."""
    network = open_clip.CLIP(**open_clip.get_model_config(ARCHITECTURE)).eval().to(device)
    prepare = transforms.Compose(
        [
            transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
        ]
    )

    def encode(frame: NDArray[Any]) -> NDArray[Any]:
        with torch.no_grad():
            row: NDArray[Any] = network.encode_image(prepare(Image.fromarray(frame))[None].to(device)).cpu().numpy()
        return row

    return Needs("full"), encode


def _usual_other(stream: str, weights: str, device: str) -> tuple[Needs, Callable[[NDArray[Any]], Any]]:
    """The same network as vadpipe's, since nobody else's can be had here."""
    encoder = create(stream, weights=weights, device=device, batch_size=1)
    encoder.encode(_blank(encoder, 1))  # loads the weights
    return encoder.needs, lambda item: encoder.encode(item[None])


def _usual_items(path: Path, needs: Needs) -> tuple[int, Iterator[NDArray[Any]]]:
    """Frames of the file, and its items; the decoder is left as PyAV has it."""
    with av.open(str(path)) as container:
        if needs.audio_rate:
            count = container.streams.video[0].frames
            size = round(needs.audio_rate * needs.window_s)
            sound = np.pad(_sound(container, needs.audio_rate), (0, size))
            rows = -(-count // STEP)
            starts = np.linspace(0, len(sound) - size, rows).astype(int)
            return count, (sound[start : start + size] for start in starts)
        taken, count = [], 0
        for frame in container.decode(video=0):
            if count % STEP == 0 or needs.frames > 1:
                taken.append(frame.to_ndarray(format="rgb24"))
            count += 1
    prepared = (geometry.apply(image, needs.geometry) for image in taken)
    if needs.frames == 1:
        return count, prepared
    return count, (np.stack([next(prepared) for _ in range(STEP)]) for _ in range(len(taken) // STEP))


def _sound(container: Any, rate: int) -> NDArray[np.float32]:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    if not container.streams.audio:
        return np.zeros(0, np.float32)
    parts = [part.to_ndarray()[0] for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([*parts, np.zeros(0, np.float32)]).astype(np.float32)


def encoder_alone(encoder: Extractor, seconds: float) -> Rate:
    """Batches that are ready, for about ``seconds``."""
    batch = _blank(encoder, encoder.batch_size)
    encoder.encode(batch)

    def work() -> int:
        began, rows = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            rows += len(encoder.encode(batch))
        return rows * STEP

    return _timed(work)


def _blank(encoder: Extractor, count: int) -> NDArray[Any]:
    needs, random = encoder.needs, np.random.default_rng(0)
    if needs.audio_rate:
        return random.uniform(-0.5, 0.5, (count, round(needs.audio_rate * needs.window_s))).astype(np.float32)
    frames = (needs.frames,) if needs.frames > 1 else ()
    size = geometry.output_size(needs.geometry) or (224, 224)
    return random.integers(0, 256, (count, *frames, *size, 3), dtype=np.uint8)


def vadpipe(encoder: Extractor, videos: dict[str, Path], store: FeatureStore, options: argparse.Namespace) -> Rate:
    """The whole way into a store, decoders started and files written included."""
    asked = ExtractOptions(STEP, options.decoder, options.jobs, decode_device=options.decode_device)

    def work() -> int:
        summary = extract(videos, store, [encoder], asked)
        if summary.failed:
            sys.exit(f"failed: {summary.failed}")
        return summary.frames

    return _timed(work)


def _cosines(first: FeatureStore, second: FeatureStore) -> Iterator[NDArray[np.float64]]:
    one, two = first.specs()[0], second.specs()[0]
    for name in first.ids(one):
        a, b = (store.read(spec, name).data.astype(np.float64) for store, spec in ((first, one), (second, two)))
        lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        yield ((a * b).sum(-1)[lengths > 0] / lengths[lengths > 0]).ravel()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--streams", default="clip")
    parser.add_argument("--videos", type=int, default=1_000_000, help="at most so many files of the folder")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--decoder", default="pyav")
    parser.add_argument("--decode-device", default="cpu")
    types = ["float32", "bfloat16"]
    parser.add_argument("--dtypes", nargs="+", choices=types, default=types if cpu_computes_bfloat16() else types[:1])
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--weights", action="append", default=[])
    parser.add_argument("--usual-rows", type=int, default=64, help="rows of the usual way; it then ends with the file")
    parser.add_argument("--seconds", type=float, default=10.0, help="of the encoder alone")
    parser.add_argument("--memory", action="store_true", help="measure the peak memory instead")
    options = parser.parse_args()
    options.weights = options.weights or ["random"]
    return options


if __name__ == "__main__":
    main()
