"""Small pictures are of the right frames, wherever the key frames lie; the sound's outline is where the sound is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.extractors.painted_videos import damage, read, write, write_cut
from vadpipe.errors import DecoderTimeout, UsageError, VideoError, VideoTooLarge, VideoUnreadable
from vadpipe.extractors.decoders.pyav_file import data_packets
from vadpipe.extractors.limits import Limits
from vadpipe.extractors.pictures import pictures_at, waveform
from vadpipe.tracks import FloatArray

ASKED = [0, 1, 23, 24, 100, 49, 119]


def shown(path: Path, seconds: list[float]) -> list[int]:
    return [read(picture) for picture in pictures_at(path, seconds, height=64)]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.avi", "libx264"), ("a.webm", "libvpx-vp9")],
)
def test_each_picture_is_the_frame_shown_at_its_second(name: str, codec: str, tmp_path: Path) -> None:
    """Asked out of order, at a frame's start and within it, before the video and beyond it."""
    path = write(tmp_path / name, 120, codec=codec)
    seconds = [*(frame / 25 for frame in ASKED), *(frame / 25 + 0.02 for frame in ASKED), -1.0, 99.0]
    assert shown(path, seconds) == [*ASKED, *ASKED, 0, 119]


def test_a_variable_rate_is_followed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 5, pts=(0, 40, 500, 2000, 2100))
    assert shown(path, [0.0, 0.03, 0.04, 0.499, 0.5, 1.999, 2.0, 2.2]) == [0, 0, 1, 1, 2, 2, 3, 4]


def test_seconds_count_from_the_first_frame_that_an_edit_list_shows(tmp_path: Path) -> None:
    path = write_cut(tmp_path / "cut.mp4", write(tmp_path / "a.mp4", 60), 30)
    assert shown(path, [0.0, 0.4]) == [30, 40]


def test_one_key_frame_for_all_is_decoded_through(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 200, keyframes=1000, options={"x264-params": "scenecut=0"})
    assert shown(path, [0.4, 3.0, 6.0, 7.96]) == [10, 75, 150, 199]


def test_a_picture_is_upright_and_as_wide_as_displayed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 5, rotation=90)
    (picture,) = pictures_at(path, [0.0], height=90)
    assert picture.shape == (90, 60, 3)
    assert picture.dtype == np.uint8


def test_a_lost_frame_is_stood_for_by_the_one_before(tmp_path: Path) -> None:
    path = damage(write(tmp_path / "a.mp4", 30, options={"x264-params": "slices=1"}, b_frames=0), [12])
    assert shown(path, [11 / 25, 12 / 25])[0] == 11
    assert shown(path, [12 / 25])[0] in (11, 12)


def test_nothing_asked_is_nothing_done(tmp_path: Path) -> None:
    assert pictures_at(tmp_path / "none.mp4", []) == []


@pytest.mark.parametrize(("seconds", "height"), [([float("nan")], 64), ([0.0], 0), ([0.0], 10_000)])
def test_impossible_requests_are_refused(seconds: list[float], height: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected finite seconds"):
        pictures_at(tmp_path / "a.mp4", seconds, height=height)


def test_files_that_are_no_video_are_one_clear_error(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("ffconcat version 1.0\nfile other.mp4\n")
    with pytest.raises(VideoUnreadable, match="text file"):
        pictures_at(text, [0.0])
    with pytest.raises(UsageError, match="no such file"):
        pictures_at(tmp_path / "none.mp4", [0.0])
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(os.urandom(4000))
    with pytest.raises(VideoUnreadable):
        pictures_at(noise, [0.0])
    playlist = tmp_path / "list.mp4"
    playlist.write_bytes(b"\xef\xbb\xbf#EXTM3U\n#EXTINF:1,\nother.mp4\n" * 40)
    with pytest.raises(VideoUnreadable):
        pictures_at(playlist, [0.0])


def test_limits_hold(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 50)
    with pytest.raises(VideoTooLarge, match="96 x 64 pixels"):
        pictures_at(path, [0.0], limits=Limits(max_pixels=1000))
    with pytest.raises(VideoTooLarge, match="hours long"):
        pictures_at(path, [0.0], limits=Limits(max_duration_s=1.0))
    with pytest.raises(DecoderTimeout, match="no progress"):  # a child cannot even start in that time
        pictures_at(path, [0.0], limits=Limits(stall_s=0.01))


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits_give_pictures_or_one_error(seed: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 50)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(data), 40):
        data[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    try:
        rows, said = [picture.shape[0] for picture in pictures_at(path, [0.0, 1.5])], str(path)
    except VideoError as error:
        rows, said = [180, 180], str(error)
    assert rows == [180, 180]
    assert str(path) in said
    assert "Traceback" not in said


class Stumbling:
    """A container as PyAV 18 has it where streams appear midway: it fails at the end, over one it has not counted."""

    def demux(self, *streams: Any) -> Iterator[Any]:
        yield av.Packet(b"data")
        raise IndexError("list index out of range")


def test_streams_that_appear_midway_do_not_stop_the_end() -> None:
    container: Any = Stumbling()
    assert [bytes(packet) for packet in data_packets(container)] == [b"data"]


def ramp(seconds: int) -> FloatArray:
    """A 500 Hz tone, in each second a tenth louder."""
    times = np.arange(16_000 * seconds) / 16_000
    loudness = (np.floor(times) + 1) / 10
    return (loudness * np.sin(2 * np.pi * 500 * times)).astype(np.float32)[None]


def test_the_outline_follows_the_loudness(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 125, sound=ramp(5), keyframes=250)
    levels = waveform(path, 5)
    assert levels.shape == (5, 2)
    assert levels.dtype == np.float32
    np.testing.assert_allclose(levels[:, 1], [0.1, 0.2, 0.3, 0.4, 0.5], atol=0.12)
    np.testing.assert_allclose(levels[:, 0], -levels[:, 1], atol=0.05)
    fine = waveform(path, 250)
    assert (fine[:, 0] <= fine[:, 1]).all()
    assert np.allclose(fine.reshape(5, 50, 2)[:, :, 1].max(axis=1), levels[:, 1])


def test_parts_without_sound_are_silent(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 100, sound=ramp(1), sound_start=16_000)  # from 1 s to 2 s of 4 s
    levels = waveform(path, 8)
    assert np.abs(levels[[0, 1, 5, 6, 7]]).max() < 0.02
    assert (levels[2:4, 1] > 0.05).all()


def test_no_sound_is_no_outline(tmp_path: Path) -> None:
    assert waveform(write(tmp_path / "a.mp4", 10), 8).shape == (0, 2)
    with pytest.raises(ValueError, match="at least 1"):
        waveform(tmp_path / "a.mp4", 0)


def test_more_parts_than_samples_are_silent_in_between(tmp_path: Path) -> None:
    levels = waveform(write(tmp_path / "a.mp4", 5, sound=ramp(1)), 16_000)
    assert levels.shape == (16_000, 2)
    assert np.isfinite(levels).all()
