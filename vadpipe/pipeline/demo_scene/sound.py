"""What a demo scene sounds like: a street's murmur, steps and cars; shouts and thuds, a boom, a screech and a bang.

Sounds are (samples,) float32 mono; lengths in seconds are turned into samples at the rate the caller chose.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vadpipe.pipeline.demo_scene.spec import SceneSpec
from vadpipe.tracks import FloatArray

_Samples = NDArray[np.float64]


def sound(spec: SceneSpec, rate_hz: int = 16_000) -> FloatArray:
    """(samples,) float32 in [-1, 1] at ``rate_hz``, as long as the pictures; the same spec gives the same sound."""
    count = round(spec.duration_s * rate_hz)
    mix = _street(spec.rng(4), count, rate_hz)
    for index, event in enumerate(spec.events):
        first = round(event.start_frame / spec.fps * rate_hz)
        last = min(round(event.end_frame / spec.fps * rate_hz), count)
        incident = _SOUNDS[event.category](spec.rng(11, index), last - first, rate_hz)
        fade = min(rate_hz // 5, last - first)  # it is over when its event is
        incident[len(incident) - fade :] *= np.linspace(1.0, 0.0, fade)
        mix[first:last] += incident
    return np.clip(mix, -1.0, 1.0).astype(np.float32)


def _street(rng: np.random.Generator, count: int, rate_hz: int) -> _Samples:
    """Murmur of a street: low noise, cars that swell and fade, steps."""
    mix = 0.02 * _low_noise(rng, count, rate_hz, 500.0)
    seconds = np.arange(count) / rate_hz
    for at in rng.uniform(0.0, count / rate_hz, int(rng.integers(2, 6))):
        swell = np.exp(-(((seconds - at) / 1.4) ** 2))
        mix += 0.035 * swell * _low_noise(rng, count, rate_hz, 260.0)
    step = float(rng.uniform(0.45, 0.6))
    for at in np.arange(float(rng.uniform(0, step)), count / rate_hz - 0.1, step):
        _add(mix, at, 0.03 * rng.uniform(0.5, 1.0) * _hit(rng, 0.06, rate_hz, 900.0), rate_hz)
    return mix


def _fight(rng: np.random.Generator, count: int, rate_hz: int) -> _Samples:
    mix, length = np.zeros(count), count / rate_hz
    at = 0.0
    while at < length:
        thud = _hit(rng, 0.12, rate_hz, float(rng.uniform(120, 400)))
        _add(mix, at, float(rng.uniform(0.35, 0.7)) * thud, rate_hz)
        at += float(rng.uniform(0.15, 0.4))
    for at in np.arange(0.1, length, 0.55) + rng.uniform(0, 0.2):
        _add(
            mix, float(at), float(rng.uniform(0.12, 0.25)) * _shout(rng, float(rng.uniform(0.3, 0.7)), rate_hz), rate_hz
        )
    return mix


def _explosion(rng: np.random.Generator, count: int, rate_hz: int) -> _Samples:
    seconds = np.arange(count) / rate_hz
    boom = _low_noise(rng, count, rate_hz, 120.0) * np.exp(-0.9 * seconds)
    crack = rng.normal(0.0, 1.0, count) * np.exp(-14.0 * seconds)
    crackle = rng.normal(0.0, 1.0, count) * (rng.uniform(size=count) < 0.002) * 0.8
    return 0.8 * boom + 0.5 * crack + crackle + 0.06 * _low_noise(rng, count, rate_hz, 900.0)


def _accident(rng: np.random.Generator, count: int, rate_hz: int) -> _Samples:
    mix, seconds = np.zeros(count), np.arange(count) / rate_hz
    _add(mix, 0.0, 0.9 * _hit(rng, 0.7, rate_hz, 1800.0), rate_hz)
    pitch = 1900.0 + 250.0 * np.sin(40.0 * seconds) - 500.0 * seconds
    mix += 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / rate_hz) * np.exp(-2.5 * seconds)  # tyres
    for at in rng.uniform(0.05, min(1.5, count / rate_hz), 14):  # glass
        ring = np.sin(2 * np.pi * rng.uniform(2500, 5500) * seconds[: rate_hz // 8]) * np.exp(
            -35 * seconds[: rate_hz // 8]
        )
        _add(mix, float(at), 0.1 * ring, rate_hz)
    horn = np.sign(np.sin(2 * np.pi * 420.0 * seconds)) + np.sign(np.sin(2 * np.pi * 530.0 * seconds))
    return mix + 0.07 * horn * (seconds > 0.8)


_SOUNDS: dict[str, Callable[[np.random.Generator, int, int], _Samples]] = {
    "fighting": _fight,
    "explosion": _explosion,
    "accident": _accident,
}


def _add(mix: _Samples, at_s: float, piece: _Samples, rate_hz: int) -> None:
    first = int(at_s * rate_hz)
    room = max(len(mix) - first, 0)
    mix[first : first + len(piece)] += piece[:room]


def _low_noise(rng: np.random.Generator, count: int, rate_hz: int, cutoff_hz: float) -> _Samples:
    """Noise below ``cutoff_hz`` with a standard deviation of 1."""
    spectrum = np.fft.rfft(rng.normal(0.0, 1.0, count))
    spectrum /= 1.0 + (np.fft.rfftfreq(count, 1.0 / rate_hz) / cutoff_hz) ** 2
    noise = np.fft.irfft(spectrum, count)
    return np.asarray(noise / max(float(noise.std()), 1e-9))


def _hit(rng: np.random.Generator, length_s: float, rate_hz: int, cutoff_hz: float) -> _Samples:
    """A dull blow that dies away within ``length_s``."""
    count = max(int(length_s * rate_hz), 2)
    return 0.5 * _low_noise(rng, count, rate_hz, cutoff_hz) * np.exp(-5.0 * np.arange(count) / count)


def _shout(rng: np.random.Generator, length_s: float, rate_hz: int) -> _Samples:
    """A voice without words: harmonics of a gliding pitch, strongest near 700 Hz."""
    seconds = np.arange(int(length_s * rate_hz)) / rate_hz
    pitch = rng.uniform(140, 300) * (1.0 + 0.25 * np.sin(np.pi * seconds / length_s))
    turns = 2 * np.pi * np.cumsum(pitch) / rate_hz
    harmonics = range(1, 9)
    gains = [np.exp(-(((k * 220.0 - 700.0) / 450.0) ** 2)) for k in harmonics]
    voice = np.sum([g * np.sin(k * turns) for k, g in zip(harmonics, gains, strict=True)], axis=0)
    return np.asarray(voice * np.sin(np.pi * seconds / length_s))
