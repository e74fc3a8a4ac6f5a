"""Written files are H.264 + AAC, complete or absent, and the same every time."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from vadpipe.extractors.media_write import write_mp4
from vadpipe.tracks import FloatArray

FPS = Fraction(25, 2)


def moving_bar(count: int, height: int = 48, width: int = 64) -> Iterator[NDArray[np.uint8]]:
    for number in range(count):
        frame = np.full((height, width, 3), 40, dtype=np.uint8)
        frame[:, 2 * number : 2 * number + 8] = (200, 60, 20)
        yield frame


def tone(seconds: float, rate_hz: int = 16_000) -> FloatArray:
    return (0.4 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def test_pictures_and_sound_come_back(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_mp4(path, moving_bar(25), FPS, tone(2.0), 16_000)
    with av.open(str(path)) as file:
        video, sound = file.streams.video[0], file.streams.audio[0]
        assert (video.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert (video.average_rate, sound.rate) == (FPS, 16_000)
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video)]
    with av.open(str(path)) as file:
        heard = np.concatenate([block.to_ndarray()[0] for block in file.decode(audio=0)])
    assert len(frames) == 25
    for seen, drawn in zip(frames, moving_bar(25), strict=True):
        assert np.abs(seen.astype(int) - drawn).mean() < 6
    assert abs(len(heard) - 32_000) <= 1024
    strongest = np.abs(np.fft.rfft(heard[4000:20_000])).argmax() * 16_000 / 16_000
    assert strongest == pytest.approx(440, abs=2)
    assert heard[4000:20_000].std() == pytest.approx(0.4 / 2**0.5, rel=0.1)


def test_without_sound_there_is_no_audio_stream(tmp_path: Path) -> None:
    write_mp4(tmp_path / "mute.mp4", moving_bar(5), FPS)
    with av.open(str(tmp_path / "mute.mp4")) as file:
        assert not file.streams.audio
        assert len(list(file.decode(video=0))) == 5


def test_sound_longer_than_the_pictures_is_kept(tmp_path: Path) -> None:
    write_mp4(tmp_path / "long.mp4", moving_bar(5), FPS, tone(3.0), 16_000)
    with av.open(str(tmp_path / "long.mp4")) as file:
        assert sum(block.samples for block in file.decode(audio=0)) >= 48_000


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 24, (240, 320, 3), dtype=np.uint8)
    frames = [grain + frame for frame in moving_bar(40, 240, 320)]
    written = set()
    for number in range(4):
        _unsettled_heap = [rng.uniform(size=number * 5000 + 999) for _ in range(20)]  # what lay there must not matter
        write_mp4(tmp_path / "same.mp4", frames, FPS, tone(3.2), 16_000)
        written.add((tmp_path / "same.mp4").read_bytes())
    assert len(written) == 1


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")

    def breaking() -> Iterator[NDArray[np.uint8]]:
        yield from moving_bar(3)
        raise RuntimeError("the camera fell")

    with pytest.raises(RuntimeError, match="the camera fell"):
        write_mp4(path, breaking(), FPS)
    assert [item.name for item in tmp_path.iterdir()] == ["clip.mp4"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("frames", "audio", "rate_hz", "message"),
    [
        ([], None, 0, "got none"),
        ([np.zeros((47, 64, 3), np.uint8)], None, 0, "even"),
        ([np.zeros((48, 64), np.uint8)], None, 0, "even"),
        ([np.zeros((48, 64, 3), np.float32)], None, 0, "expected uint8"),
        ([np.zeros((48, 64, 3), np.uint8), np.zeros((50, 64, 3), np.uint8)], None, 0, "frame 1"),
        ([np.zeros((48, 64, 3), np.uint8)], np.zeros((2, 9), np.float32), 16_000, "audio"),
        ([np.zeros((48, 64, 3), np.uint8)], np.array([0, np.nan], np.float32), 16_000, "audio"),
        ([np.zeros((48, 64, 3), np.uint8)], np.zeros(9, np.float32), 0, "audio"),
    ],
)
def test_what_cannot_be_encoded_is_refused(
    tmp_path: Path, frames: list[NDArray[np.uint8]], audio: FloatArray | None, rate_hz: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_mp4(tmp_path / "bad.mp4", frames, FPS, audio, rate_hz)
    assert list(tmp_path.iterdir()) == []


def test_a_rate_of_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fps"):
        write_mp4(tmp_path / "bad.mp4", moving_bar(2), Fraction(0))
