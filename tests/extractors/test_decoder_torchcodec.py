"""What only torchcodec needs: FFmpeg's libraries, a child with more address space, and a closed door for playlists."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest

from tests.extractors.painted_videos import damage, read, write
from vadpipe.errors import UsageError, VideoUnreadable
from vadpipe.extractors import decoders, media
from vadpipe.extractors.decode_process import DecodeProcess
from vadpipe.extractors.media import FrameRow, Limits, Request, View

MISSING = decoders.DECODERS["torchcodec"].missing


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a decoder can be loaded is tried anew."""
    monkeypatch.setattr(decoders, "why_not_loaded", decoders.why_not_loaded.__wrapped__)


def fake_torchcodec(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """A package of that name is found first by any Python that is started from now on."""
    (folder / "torchcodec.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_missing_ffmpeg_is_an_error_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetful: None
) -> None:
    """torchcodec can be imported without FFmpeg; it then says that it found no version of it."""
    code = "import sys, types\nffmpeg_major_version = None\n__path__ = []\n"
    code += "decoders = sys.modules['torchcodec.decoders'] = types.ModuleType('torchcodec.decoders')\n"
    code += "decoders.Demuxer = decoders.get_container_metadata = None\n"
    code += "decoders.AudioConverter = decoders.ColorConverter = None\n"
    fake_torchcodec(tmp_path, monkeypatch, code)
    with pytest.raises(UsageError) as raised:
        decoders.check_loads("torchcodec")
    assert str(raised.value) == MISSING
    for command in ("apt-get install --yes ffmpeg", "conda install --channel conda-forge ffmpeg", "pyav"):
        assert command in MISSING


def test_a_torchcodec_that_does_not_fit_torch_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetful: None
) -> None:
    fake_torchcodec(tmp_path, monkeypatch, "raise OSError('undefined symbol: aoti')")
    with pytest.raises(UsageError, match=r"cannot be imported .*undefined symbol: aoti.*pip install"):
        decoders.check_loads("torchcodec")


def test_missing_libraries_are_told_before_a_video_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.17.0")
    monkeypatch.setattr(decoders, "why_not_loaded", lambda name: MISSING if name == "torchcodec" else "")
    with pytest.raises(UsageError, match="apt-get install"):
        media.decoder_version("torchcodec")
    with pytest.raises(UsageError, match="apt-get install"):
        media.probe("/nonexistent.mp4", decoder="torchcodec")
    assert media.decoder_version("pyav") == "0.17.0"


@pytest.mark.parametrize("decoder", ["torchcodec"])
def test_a_real_child(decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default limits leave room for torch, and the limit that is told contains it."""
    monkeypatch.setattr(media, "DecodeProcess", DecodeProcess)
    path = write(tmp_path / "a.mp4", 40)
    limits = Limits(memory_bytes=1024**3)
    with media.open_media(path, Request(views=(View("full"),)), decoder=decoder, limits=limits) as reader:
        rows = [item for item in reader if isinstance(item, FrameRow)]
    assert [read(row.image) for row in rows] == [0, 16, 32]


@pytest.mark.parametrize("decoder", ["torchcodec"])
@pytest.mark.parametrize("head", [b"#EXTM3U\n", b"ffconcat version 1.0\n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"])
def test_playlists_and_pictures_are_not_opened(head: bytes, decoder: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(head + b"\xff" * 2000)
    with pytest.raises(VideoUnreadable, match="container format is not opened"):
        media.probe(path, decoder=decoder)


@pytest.mark.parametrize("decoder", ["torchcodec"])
def test_sound_alone_decodes_no_pictures(decoder: str, tmp_path: Path) -> None:
    """Damage among the pictures is then nobody's business."""
    path = write(tmp_path / "a.mp4", 50, keyframes=1, b_frames=0, sound=np.zeros((1, 32000), np.float32))
    damage(path, range(10, 40))
    with media.open_media(path, Request(views=(), audio_rate=8000), decoder=decoder) as reader:
        chunks = list(reader)
    assert sum(len(chunk.samples) for chunk in chunks if isinstance(chunk, media.AudioChunk)) == 16000
    assert (reader.report.corrupt_packets, reader.report.audio_state) == (0, "present")
