"""Memory and rate of ``vadpipe detect`` on a long video: a short clip whose packets are repeated for hours.

    python benchmarks/detect_long.py [--encoder mean-colour] [--minutes 120] [--clip FILE] [--overlap 64]

A process loads a full-size head (14 classes, seeded, untrained) and the encoder and says so; what it and its decoder
take from then on, at the worst, is the memory above the loaded model. It detects in the video and writes the JSON and
the frame scores, and then extracts the features of the same video for comparison, both with one decoder. Rates are
video frames per second of the clock, and processor seconds (decoder included), which hold on a busy machine too.
``mean-colour`` stands in for an encoder where only the rest is of interest: it
gets what CLIP gets and gives 512 columns, but computes means. ``clip`` is the real one, with seeded random weights.

Without ``--clip`` a clip of 60 s, 320 x 240, is drawn. Peaks are resident memory of the process and its decoder, added
up, so shared pages count twice.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from extract_memory import loop, resident_of
from numpy.typing import NDArray

from vadpipe.config import DetectConfig, RunConfig
from vadpipe.extractors import Extractor, Needs, create
from vadpipe.extractors.media_write import write_mp4
from vadpipe.head_config import LecVadConfig
from vadpipe.models import HeadInputs, LecVad
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.pipeline.detect import DetectOptions, detect_video, write_report
from vadpipe.pipeline.extract import ExtractOptions, extract, feature_spec
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore

CLASSES = ("normal", *(f"category {number}" for number in range(13)))
DIM = 512
_READY, _DONE = "ready", "done"


@dataclass(frozen=True)
class MeanColour:
    """The mean colour of each of 512 parts of a picture."""

    batch_size: int = 64
    needs: Needs = field(default_factory=lambda: Needs("short224-center224"))

    def spec(
        self, frames_per_snippet: int, decoder: str, decoder_version: str, decode_device: str = "cpu"
    ) -> FeatureSpec:
        """Of a stand-in, said to be random."""
        names = {"frames_per_snippet": frames_per_snippet, "decoder": decoder, "decoder_version": decoder_version}
        return FeatureSpec("clip", DIM, "mean-colour", "random:0", decode_device=decode_device, **names)  # type: ignore[arg-type]

    def encode(self, items: Any) -> NDArray[np.float32]:
        """(B, 224, 224, 3) uint8 -> (B, 512) float32."""
        flat = np.asarray(items).reshape(len(items), DIM, -1)
        rows: NDArray[np.float32] = flat.mean(axis=2, dtype=np.float32) / np.float32(25.5)
        return rows


def main() -> None:
    """Measure and print."""
    options = _options()
    if options.child:
        _child(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        clip = options.clip or _drawn(Path(folder) / "clip.mp4")
        video = loop(clip, Path(folder) / "long.mp4", options.minutes)
        told = f"{options.minutes:g} minutes of {video.stat().st_size / 2**20:.0f} MiB, {options.encoder}"
        arguments = ["--child", str(video), "--encoder", options.encoder, "--overlap", str(options.overlap)]
        process = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        loaded, peak = _watched(process)
        print(f"{told}: {loaded:.0f} MiB with the models loaded, at most {peak - loaded:.0f} MiB above", flush=True)
        for line in process.stdout:
            print(line, end="", flush=True)
        sys.exit(process.wait())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clip", type=Path, help="what is repeated")
    parser.add_argument("--encoder", choices=["mean-colour", "clip"], default="mean-colour")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--overlap", type=int, default=DetectConfig().overlap)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)  # the long video
    return parser.parse_args()


def _watched(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Resident MiB when the models are loaded, and at most until the detection is written."""
    assert process.stdout is not None
    if process.stdout.readline().strip() != _READY:
        sys.exit("the models could not be loaded")
    loaded = peak = resident_of(process.pid)
    done = _Lines(process)
    while not done.seen():
        peak = max(peak, resident_of(process.pid))
        time.sleep(0.05)
    return loaded, peak


class _Lines:
    """Whether the child has said that it is done, without waiting for it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        import threading

        self._process, self._said = process, threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.readline()
        self._said.set()

    def seen(self) -> bool:
        return self._said.is_set()


def _child(options: argparse.Namespace) -> None:
    torch.manual_seed(0)
    encoder: Extractor = MeanColour() if options.encoder == "mean-colour" else create("clip", weights="random:0")
    config = RunConfig(model=LecVadConfig(zero_init=False), detect=DetectConfig(overlap=options.overlap))
    network = LecVad(config.model, HeadInputs(DIM, torch.randn(len(CLASSES), DIM))).eval()  # type: ignore[arg-type]
    spec = feature_spec(encoder, ExtractOptions())
    trained = TrainedHead(network, config, spec, CLASSES, "none", {}, "00" * 32)
    path = options.child
    encoder.encode(np.zeros((encoder.batch_size, 224, 224, 3), np.uint8))  # buffers of a batch belong to the model
    print(_READY, flush=True)
    time.sleep(0.5)
    began, spent = time.perf_counter(), _cpu_s()
    found = detect_video(path, trained, DetectOptions(extract=ExtractOptions(jobs=1)), encoder)
    took, spent = time.perf_counter() - began, _cpu_s() - spent
    write_report(found, path.with_name("long.json"))
    print(_DONE, flush=True)
    frames = found.scores.grid.num_frames
    print(f"detect: {_rate(frames, took, spent)}, {len(found.intervals)} intervals", flush=True)
    spent = _cpu_s()
    summary = extract({path.stem: path}, FeatureStore(path.with_name("store")), [encoder], ExtractOptions(jobs=1))
    print(f"extract: {_rate(summary.frames, summary.seconds, _cpu_s() - spent)}")


def _cpu_s() -> float:
    """Processor seconds of this process and of the decoders that have ended."""
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in times)


def _rate(frames: int, seconds: float, spent: float) -> str:
    return (
        f"{frames} frames, {frames / seconds:.0f} a second ({seconds:.1f} s), {1000 * spent / frames:.2f} CPU s / 1000"
    )


def _drawn(path: Path) -> Path:
    """60 s at 25 frames/s of a block that moves over noise."""
    write_mp4(path, _pictures(1500), Fraction(25))
    return path


def _pictures(count: int) -> Iterator[NDArray[np.uint8]]:
    ground = np.random.default_rng(0).integers(60, 120, (240, 320, 3)).astype(np.uint8)
    for number in range(count):
        picture = ground.copy()
        x = (3 * number) % 280
        picture[100:140, x : x + 40] = (number % 256, 200, 80)
        yield picture


if __name__ == "__main__":
    main()
