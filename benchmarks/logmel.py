"""Log-mel statistics of the sound: audio features without any network, to try audio-visual heads with.

    python benchmarks/logmel.py videos/ --out logmel/
    vadpipe import features logmel/ --labels labels.csv --stream logmel

For every video with a sound track writes ``<id>.npy``, (T, 128) float32: mean and standard deviation of 64 log-mel
bands (16 kHz, 25 ms windows, 10 ms apart) over the second around the middle of each snippet. Videos without a usable
sound track get no file and are named. They are no substitute for Wav2CLIP; they tell loud from quiet and shouts from
hum. Needs the extra ``audio``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torchaudio
from numpy.typing import NDArray

from vadpipe.extractors.media import AudioChunk, MediaReport, Request, open_media
from vadpipe.pipeline.videos import find_videos

RATE = 16000
HOP = 160
BANDS = 64


def main() -> None:
    """Write one file a video."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("logmel"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, path in find_videos(options.videos).items():
        samples, report = sound_of(path)
        if report.audio_state != "present":
            print(f"{name}: sound is {report.audio_state}, no file")
            continue
        rows = statistics(samples, report)
        np.save(options.out / f"{name}.npy", rows)
        print(f"{name}: {rows.shape}")


def sound_of(path: Path) -> tuple[NDArray[np.float32], MediaReport]:
    """All samples at 16 kHz, sample 0 at the first picture."""
    with open_media(path, Request(views=(), audio_rate=RATE)) as reader:
        chunks = [item.samples for item in reader if isinstance(item, AudioChunk)]
        return np.concatenate([np.zeros(0, np.float32), *chunks]), reader.report


def statistics(samples: NDArray[np.float32], report: MediaReport) -> NDArray[np.float32]:
    """(T, 2 * BANDS) mean and deviation of the log-mel bands over one second around each snippet's middle."""
    mel = torchaudio.transforms.MelSpectrogram(RATE, n_fft=512, win_length=400, hop_length=HOP, n_mels=BANDS)
    whole = torch.nn.functional.pad(torch.from_numpy(samples), (0, max(RATE - len(samples), 0)))
    bands = (mel(whole) + 1e-7).log().T.numpy()
    grid, half = report.grid, RATE // HOP // 2
    rows = np.empty((grid.num_snippets, 2 * BANDS), np.float32)
    for snippet in range(grid.num_snippets):
        first, last = grid.frames_of(snippet, snippet + 1)
        middle = round((grid.second_of(first) + grid.second_of(last)) / 2 * RATE / HOP)
        middle = min(max(middle, half), len(bands) - half)
        part = bands[middle - half : middle + half]
        rows[snippet] = np.concatenate([part.mean(axis=0), part.std(axis=0)])
    return rows


if __name__ == "__main__":
    main()
