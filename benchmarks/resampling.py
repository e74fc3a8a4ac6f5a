"""How far the decoder's resampling of sound is from librosa's, on videos of your own.

    python benchmarks/resampling.py VIDEO... [--weights FILE] [--res-type soxr_hq]

For each video: the signal over its difference in dB, and the cosine of the Wav2CLIP embeddings of its seconds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
import librosa
import numpy as np

from vadpipe.extractors import create
from vadpipe.extractors.media import AudioChunk, Request, open_media
from vadpipe.extractors.wav2clip import RATE
from vadpipe.tracks import FloatArray


def decoded(path: Path) -> FloatArray:
    """Sound as extraction gets it, (n,) at 16 kHz."""
    with open_media(path, Request(views=(), audio_rate=RATE)) as reader:
        return np.concatenate([item.samples for item in reader if isinstance(item, AudioChunk)])


def resampled(path: Path, res_type: str) -> FloatArray:
    """The same by librosa, from the file's own rate, channels averaged; it may begin at another sample."""
    parts, rate = [], 0
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.audio[0]):
            parts.append(frame.to_ndarray().mean(axis=0, dtype=np.float32))
            rate = frame.sample_rate
    out: FloatArray = librosa.resample(np.concatenate(parts), orig_sr=rate, target_sr=RATE, res_type=res_type)
    return out


def aligned(one: FloatArray, other: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both, cut to where they overlap best."""
    size = 1 << (len(one) + len(other)).bit_length()
    match = np.fft.irfft(np.fft.rfft(other, size) * np.conj(np.fft.rfft(one, size)), size)
    best = int(match.argmax())
    lag = best - size if best > size // 2 else best
    one, other = one[max(-lag, 0) :], other[max(lag, 0) :]
    count = min(len(one), len(other))
    return one[:count], other[:count]


def seconds_of(samples: FloatArray) -> FloatArray:
    return samples[: len(samples) // RATE * RATE].reshape(-1, RATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--weights", default="random")
    parser.add_argument("--res-type", default="soxr_hq")
    options = parser.parse_args()
    encoder = create("wav2clip", weights=options.weights)
    for path in options.videos:
        ours, theirs = aligned(decoded(path), resampled(path, options.res_type))
        ratio = 10 * np.log10((theirs**2).sum() / ((ours - theirs) ** 2).sum())
        pairs = seconds_of(ours), seconds_of(theirs)
        heard = pairs[0].any(axis=1) & pairs[1].any(axis=1)
        rows = [encoder.encode(np.ascontiguousarray(item[heard])) for item in pairs]
        unit = [item / np.linalg.norm(item, axis=1, keepdims=True) for item in rows]
        cosine = (unit[0] * unit[1]).sum(axis=1)
        print(f"{path.name}: {ratio:.1f} dB, cosine {cosine.min():.6f} at the lowest, {cosine.mean():.6f} on the mean")


if __name__ == "__main__":
    main()
