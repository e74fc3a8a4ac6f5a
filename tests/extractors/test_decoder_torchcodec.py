"""What only torchcodec needs: FFmpeg's libraries, a child with more address space, and a closed door for playlists."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest

from tests.extractors.painted_videos import damage, read, write
from tests.extractors.weights_server import serving
from vadpipe.errors import UsageError, VideoUnreadable
from vadpipe.extractors import decoders, media, video_file
from vadpipe.extractors.decode_process import DecodeProcess
from vadpipe.extractors.media import FrameRow, Limits, Request, View

MISSING = decoders.DECODERS["torchcodec"].missing


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a decoder can be loaded is tried anew."""
    monkeypatch.setattr(decoders, "try_loading", decoders.try_loading.__wrapped__)


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
        decoders.system_libraries("torchcodec")
    assert str(raised.value) == MISSING
    for command in ("apt-get install --yes ffmpeg", "conda install --channel conda-forge ffmpeg", "pyav"):
        assert command in MISSING


def test_a_torchcodec_that_does_not_fit_torch_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetful: None
) -> None:
    fake_torchcodec(tmp_path, monkeypatch, "raise OSError('undefined symbol: aoti')")
    with pytest.raises(UsageError, match=r"cannot be imported .*undefined symbol: aoti.*pip install"):
        decoders.system_libraries("torchcodec")


def test_missing_libraries_are_told_before_a_video_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.17.0")
    problems = {"torchcodec": MISSING}
    monkeypatch.setattr(decoders, "try_loading", lambda name: decoders.Loading(problem=problems.get(name, "")))
    with pytest.raises(UsageError, match="apt-get install"):
        media.decoder_version("torchcodec")
    with pytest.raises(UsageError, match="apt-get install"):
        media.probe("/nonexistent.mp4", decoder="torchcodec")
    assert media.decoder_version("pyav") == "0.17.0"


def test_the_version_names_the_systems_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetful: None) -> None:
    """Another FFmpeg may give other pixels, so it belongs to the specification; other decoders' versions stay."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.17.0")
    code = "import sys, types\nffmpeg_major_version = 7\n__path__ = []\nprint('said while importing')\n"
    code += "decoders = sys.modules['torchcodec.decoders'] = types.ModuleType('torchcodec.decoders')\n"
    code += "decoders.Demuxer = decoders.get_container_metadata = None\n"
    code += "decoders.AudioConverter = decoders.ColorConverter = None\n"
    fake_torchcodec(tmp_path, monkeypatch, code)
    assert media.decoder_version("torchcodec") == "0.17.0+ffmpeg7"
    assert [media.decoder_version(name) for name in ("pyav", "decord")] == ["0.17.0", "0.17.0"]


@pytest.mark.parametrize("decoder", ["torchcodec"])
def test_the_ffmpeg_that_is_named_is_the_one_that_is_loaded(decoder: str) -> None:
    import torchcodec
    from torchcodec._core import get_ffmpeg_library_versions

    version, major = importlib.metadata.version("torchcodec"), torchcodec.ffmpeg_major_version
    assert media.decoder_version(decoder) == f"{version}+ffmpeg{major}"
    avcodec = get_ffmpeg_library_versions()["libavcodec"][0]
    assert avcodec == major + 54  # 58 in FFmpeg 4


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
@pytest.mark.parametrize(
    "head", [b"#EXTM3U\n", b"ffconcat version 1.0\n", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"GIF89a\x01\0\x01\0", b"G"]
)
def test_playlists_and_pictures_are_not_opened(
    head: bytes, decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_file, "names_other_files", lambda _start: False)  # the guard before this one
    path = tmp_path / "a.mp4"
    path.write_bytes(head + b"\xff" * 2000)
    with pytest.raises(VideoUnreadable, match="container format is not opened"):
        media.probe(path, decoder=decoder)


@pytest.mark.parametrize("decoder", ["torchcodec"])
@pytest.mark.parametrize("layout", [(0, 188), (0, 204), (4, 192)])
def test_transport_streams_are_told_by_their_packets(layout: tuple[int, int], decoder: str, tmp_path: Path) -> None:
    """The same stream in all its layouts; one packet with another first byte, and it is none."""
    before, size = layout
    plain = write(tmp_path / "plain.ts", 20).read_bytes()
    packets = [plain[place : place + 188] for place in range(0, len(plain), 188)]
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(bytes(before) + packet + bytes(size - before - 188) for packet in packets))
    assert media.probe(path, decoder=decoder).num_frames == 20
    content = bytearray(path.read_bytes())
    content[before + size] ^= 1
    path.write_bytes(content)
    with pytest.raises(VideoUnreadable, match="container format is not opened"):
        media.probe(path, decoder=decoder)


MPD = """<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="urn:mpeg:dash:profile:isoff-live:2011" type="static"
 mediaPresentationDuration="PT10S" minBufferTime="PT1S"><Period duration="PT10S"><AdaptationSet mimeType="video/mp4"
 contentType="video"><Representation id="1" bandwidth="1000" codecs="avc1.4d401f" width="320" height="240">
<BaseURL>{url}</BaseURL><SegmentTemplate timescale="1" duration="2" startNumber="1" initialization="init.mp4"
 media="seg-$Number$.m4s"/></Representation></AdaptationSet></Period></MPD>"""


@pytest.mark.parametrize("decoder", ["torchcodec"])
@pytest.mark.parametrize("head", ["<!--skip \xe9-->", "<!--ftyp \xe9-->", "<!--moof \xe9-->", "G\xe9"])
def test_a_playlist_that_looks_like_a_video_opens_no_network(
    head: str, decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first bytes are let through, it is no plain text, and FFmpeg knows a playlist by what follows."""
    monkeypatch.setattr(video_file, "names_other_files", lambda _start: False)  # the guard before this one
    asked: list[str] = []
    path = tmp_path / "a.mp4"
    with serving(b"", asked=asked) as url:
        text = bytearray((head + MPD.format(url=url.removesuffix("file.pt"))).encode())
        if head[0] == "G":
            text[188::188] = b"G" * len(text[188::188])
        path.write_bytes(text)
        with pytest.raises(VideoUnreadable, match="not a readable video"):
            media.probe(path, decoder=decoder)
        assert asked == []
        with urlopen(url, timeout=10):  # so much for the server
            assert asked == ["/file.pt"]


@pytest.mark.parametrize("decoder", ["torchcodec"])
def test_sound_alone_decodes_no_pictures(decoder: str, tmp_path: Path) -> None:
    """Damage among the pictures is then nobody's business."""
    path = write(tmp_path / "a.mp4", 50, keyframes=1, b_frames=0, sound=np.zeros((1, 32000), np.float32))
    damage(path, range(10, 40))
    with media.open_media(path, Request(views=(), audio_rate=8000), decoder=decoder) as reader:
        chunks = list(reader)
    assert sum(len(chunk.samples) for chunk in chunks if isinstance(chunk, media.AudioChunk)) == 16000
    assert (reader.report.corrupt_packets, reader.report.audio_state) == (0, "present")
