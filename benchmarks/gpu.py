"""The figures of a machine with a GPU, all of them, into benchmarks/gpu.md.

    python benchmarks/gpu.py FOLDER [--out benchmarks/gpu.md]
    python benchmarks/gpu.py FOLDER --device cpu --quick --out /tmp/gpu.md      # tries the script itself

FOLDER holds videos; clips of a minute at 320 x 240 are made of the first one that can be read. Encoders alone
(benchmarks/encoders.py), the GPU's video decoder, whole extractions beside the usual way and the limits
(benchmarks/extract.py), minutes of video an hour, and where the time goes. Weights are untrained, which changes no
time. A section that fails says why and costs itself only. It has not been run on a GPU yet.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import torch
from extract_memory import loop

from vadpipe.errors import UsageError, VadpipeError, VideoError
from vadpipe.extractors import create, media
from vadpipe.extractors.cuda_decode import open_device
from vadpipe.pipeline.extract import ExtractOptions, extract
from vadpipe.store import FeatureStore

HERE = Path(__file__).parent
STREAMS = ("clip", "i3d-r50", "i3d-inception", "wav2clip")


def main() -> None:
    """Measure, section by section; the file is written after each, so nothing is lost."""
    options = _options()
    text = [f"# Extraction on {_device_name(options.device)}\n", f"Made by `python benchmarks/gpu.py`. {_machine()}\n"]
    with tempfile.TemporaryDirectory() as folder:
        clips = _clips(_small(options.folder, Path(folder) / "small.mp4"), options)
        sections: dict[str, Callable[[], str]] = {
            "Encoders alone": lambda: _script("encoders.py", *_encoder_arguments(options)),
            "Decoding": lambda: _decoding(clips[0], options.device),
            "Extraction, decoded on the processor": lambda: _extraction(clips[0].parent, options),
            "Extraction, decoded on the device": lambda: _extraction(
                clips[0].parent, options, "--decoder", "torchcodec", "--decode-device", options.device
            ),
            "Videos an hour, and where the time goes": lambda: _videos_an_hour(clips, options, Path(folder)),
        }
        for title, measure in sections.items():
            print(f"{title} …", file=sys.stderr, flush=True)
            text.append(f"## {title}\n\n```\n{_found(measure).strip()}\n```\n")
            options.out.write_text("\n".join(text))
    print("\n".join(text))


def _found(measure: Callable[[], str]) -> str:
    """What a section found out; whatever fails costs that section only, since the next machine may be far off."""
    try:
        return measure()
    except Exception as error:  # whatever it is: it is shown whole and stands in the report
        traceback.print_exc()
        return f"not measured: {type(error).__name__}: {error}"


def _small(folder: Path, small: Path) -> Path:
    """The first video of a folder that can be read, at 320 x 240."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give one that holds a video")
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            media.probe(path)
            _write_small(path, small)
        except (VideoError, av.FFmpegError) as error:
            print(f"left out: {path}: {error}", file=sys.stderr)
        else:
            return small
    raise UsageError(f"{folder} holds no video that can be read")


def _write_small(source: Path, small: Path) -> None:
    with av.open(str(source)) as given, av.open(str(small), "w") as made:
        rate = given.streams.video[0].average_rate or 25
        stream = made.add_stream("libx264", rate=rate, options={"g": "250"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        sound = made.add_stream_from_template(given.streams.audio[0]) if given.streams.audio else None
        for packet in given.demux():
            if packet.stream.type == "audio" and packet.dts is not None and sound is not None:
                packet.stream = sound
                made.mux(packet)
            elif packet.stream.type == "video":
                for frame in packet.decode():
                    if isinstance(frame, av.VideoFrame):
                        made.mux(stream.encode(frame.reformat(320, 240, "yuv420p")))
        made.mux(stream.encode())


def _clips(small: Path, options: argparse.Namespace) -> list[Path]:
    """Copies of one clip, a minute each, or some seconds where it is to be quick."""
    folder = small.parent / "clips"
    folder.mkdir()
    first = loop(small, folder / "0.mp4", 0.05 if options.quick else 1.0)
    clips = [first, *(first.with_name(f"{number}.mp4") for number in range(1, 2 if options.quick else 32))]
    for clip in clips[1:]:
        clip.write_bytes(first.read_bytes())
    return clips


def _encoder_arguments(options: argparse.Namespace) -> list[str]:
    quick = ["--streams", "wav2clip", "--batches", "1", "--repeats", "1"] if options.quick else []
    return ["--device", options.device, *quick]


def _extraction(folder: Path, options: argparse.Namespace, *more: str) -> str:
    streams = "wav2clip" if options.quick else ",".join(STREAMS)
    quick = ["--seconds", "1", "--usual-rows", "1", "--dtypes", "float32"] if options.quick else []
    jobs = ["--jobs", str(len(_processors()))]
    return _script("extract.py", str(folder), "--streams", streams, "--device", options.device, *jobs, *quick, *more)


def _script(name: str, *arguments: str) -> str:
    ended = subprocess.run([sys.executable, str(HERE / name), *arguments], capture_output=True, text=True)
    return ended.stdout if ended.returncode == 0 else f"{name} ended with {ended.returncode}: {ended.stderr[-2000:]}"


def _decoding(clip: Path, device: str) -> str:
    """Frames per second of one clip on the device, in each kind of view, no encoder behind it."""
    lines = []
    for name, view in (("one frame of 16", media.View()), ("every frame", media.View("short256-center224", True))):
        began = time.perf_counter()
        with open_device(clip, media.Request(views=(view,)), device=device) as reader:
            handed = sum(1 for _ in reader)
        seconds = time.perf_counter() - began
        frames = reader.report.grid.num_frames
        lines.append(f"{name:<16} {frames / seconds:>9.0f} frames/s ({handed} handed over, start included)")
    return "\n".join(lines)


def _videos_an_hour(clips: list[Path], options: argparse.Namespace, folder: Path) -> str:
    dtype = "float32" if options.quick else "bfloat16"
    videos = {clip.stem: clip for clip in clips}
    lines = [f"{'streams':<36} {'videos/hour':>11} {'encoding':>9} {'waiting, writing':>17}"]
    for streams in (("wav2clip",),) if options.quick else (("clip",), ("clip", "wav2clip"), STREAMS):
        encoders = [create(name, weights="random", device=options.device, dtype=dtype) for name in streams]
        timed = [_Timed(encoder) for encoder in encoders]
        name = "-".join(streams)
        asked = ExtractOptions(jobs=len(_processors()))
        extract({clips[0].stem: clips[0]}, FeatureStore(folder / f"{name}-warm"), timed, asked)
        for encoder in timed:
            encoder.seconds = 0.0
        summary = extract(videos, FeatureStore(folder / name), timed, asked)
        if len(summary.done) < len(videos):
            raise RuntimeError(f"{len(summary.done)} of {len(videos)} videos were done: {summary.failed}")
        hour = 3600 * len(summary.done) / summary.seconds
        share = sum(encoder.seconds for encoder in timed) / summary.seconds
        lines.append(f"{'+'.join(streams):<36} {hour:>11.0f} {share:>9.0%} {1 - share:>17.0%}")
    return "\n".join(lines)


class _Timed:
    """An encoder, and the seconds that it took; its results are in main memory, so the device has finished."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self.needs, self.batch_size, self.spec = encoder.needs, encoder.batch_size, encoder.spec
        self.seconds = 0.0

    def encode(self, items: Any) -> Any:
        began = time.perf_counter()
        rows = self._encoder.encode(items)
        self.seconds += time.perf_counter() - began
        return rows


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "the processor alone (a trial run)"


def _machine() -> str:
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    return f"{len(_processors())} processors, {platform.machine()}, {versions}."


def _processors() -> set[int]:
    return os.sched_getaffinity(0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "gpu.md")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny counts, to try the script itself")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError("torch sees no GPU; see vadpipe doctor")
    return options


if __name__ == "__main__":
    try:
        main()
    except VadpipeError as refused:
        sys.exit(f"error: {refused}")
