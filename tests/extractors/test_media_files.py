"""Files, names and requests that are refused, each with one clear message."""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from tests.extractors.painted_videos import write
from vadpipe.errors import UsageError, VideoTooLarge, VideoUnreadable
from vadpipe.extractors import decoders, media
from vadpipe.extractors.decoders import Decoder
from vadpipe.extractors.media import Limits, Request, View, open_media, probe


@pytest.mark.parametrize("decoder", decoders.DECODERS)
def test_caps_on_size_and_duration(decoder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 50)
    assert probe(path, decoder=decoder, limits=Limits(max_pixels=96 * 64, max_duration_s=2.0)).num_frames == 50
    with pytest.raises(VideoTooLarge, match="96 x 64 pixels, 6143 are allowed"):
        probe(path, decoder=decoder, limits=Limits(max_pixels=96 * 64 - 1))
    with pytest.raises(VideoTooLarge, match="hours long"):
        probe(path, decoder=decoder, limits=Limits(max_duration_s=1.99))


@pytest.mark.parametrize("decoder", decoders.DECODERS)
def test_files_that_are_no_video(decoder: str, tmp_path: Path) -> None:
    def refused(content: bytes, said: str, name: str = "a.mp4") -> None:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(VideoUnreadable, match=said):
            probe(path, decoder=decoder)

    whole = write(tmp_path / "whole.mp4").read_bytes()
    refused(b"", "empty")
    refused(b"ffconcat version 1.0\nfile whole.mp4\n", "text file")
    refused(
        b"\xef\xbb\xbf#EXTM3U\n#EXTINF:1,\nwhole.mp4\n" * 40,
        "it is a playlist",
        "a.m3u8",
    )
    refused(b"ffconcat version 1.0\n# \xff\nfile whole.mp4\n", "it is a playlist")
    refused(whole[: len(whole) // 2], r"\(moov\) is missing|decord cannot open|not a readable video")
    refused(os.urandom(5000), "not a readable video|moov|this container format|MP4/MOV and Matroska")
    with pytest.raises(UsageError, match="no such file"):
        probe(tmp_path / "none.mp4", decoder=decoder)
    with pytest.raises(VideoUnreadable, match="a directory"):
        probe(tmp_path, decoder=decoder)
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(VideoUnreadable, match="pipe, socket or device"):
        probe(tmp_path / "pipe.mp4", decoder=decoder)
    with pytest.raises(VideoUnreadable, match="device"):
        probe("/dev/zero", decoder=decoder)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    sound = np.zeros((1, 16000), np.float32)
    path = write(tmp_path / "a.mp4", 0, sound=sound)
    with pytest.raises(VideoUnreadable, match="no video stream"):
        probe(path)


def test_unknown_names_and_missing_decoders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 1)
    with pytest.raises(UsageError, match="expected one of decord, pyav"):
        probe(path, decoder="ffmpeg")
    with pytest.raises(UsageError, match="geometry: got 'huge'"), open_media(path, Request(views=(View("huge"),))):
        pass
    absent = Decoder("x", "no-such-distribution", "pip install x")
    monkeypatch.setattr(decoders, "DECODERS", MappingProxyType({"absent": absent}))
    with pytest.raises(UsageError, match=r"not installed\. Install it with: pip install x"):
        media.decoder_version("absent")


def test_impossible_requests_and_limits_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="expected frames_per_snippet"):
        Request(frames_per_snippet=0)
    with pytest.raises(ValueError, match="expected frames_per_snippet"):
        Request(offset=16)
    with pytest.raises(ValueError, match="must be positive"):
        Limits(stall_s=0)
