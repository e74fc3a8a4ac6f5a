"""Files made to harm: names that are options, references to other files, claims that would cost memory or time."""

from __future__ import annotations

import os
import resource
import socket
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import av
import numpy as np
import pytest

from tests.extractors.painted_videos import read, write
from tests.extractors.test_media_limits import FAKE, FULL, fake_file, leaves_nothing, read_all
from tests.hostile_media import boxes
from tests.hostile_nursery import Nursery, measured_process
from vadpipe.errors import DecoderCrashed, DecoderTimeout, VideoError, VideoTooLarge, VideoUnreadable, one_line
from vadpipe.extractors import decode_process, decoders, media
from vadpipe.extractors import limits as limits_module
from vadpipe.extractors.confinement import Confined, confine
from vadpipe.extractors.containers import names_other_files
from vadpipe.extractors.decoders import DECODERS
from vadpipe.extractors.limits import frames_s
from vadpipe.extractors.media import AudioChunk, FrameRow, Limits, Request, View, open_media, probe

ROOT = Path(__file__).parents[2]
__all__ = ["leaves_nothing"]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(decoders, "DECODERS", MappingProxyType({**DECODERS, "fake": FAKE}))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server on this machine that must not be called."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


def numbers(path: Path, decoder: str = "pyav") -> list[int]:
    """What the frames of a painted video show."""
    with open_media(path, Request(1, views=(View("full"),)), decoder=decoder) as reader:
        return [read(item.image) for item in reader if isinstance(item, FrameRow)]


NAMES = [
    "-i.mp4",
    "a%03d.mp4",
    "a%03d.png",
    "a*.jpg",
    "http:x.mp4",
    "crypto:a.mp4",
    "concat:one.mp4|two.mp4",
    "subfile,,start,0,end,9,,:one.mp4",
    "file:one.mp4",
    "pipe:0",
    "x.m3u8",
    "x.sdp",
    "x.ffconcat",
    "testsrc=size=64x64.lavfi",
]


@pytest.mark.parametrize("decoder", decoders.DECODERS)
def test_a_name_is_a_name_and_nothing_else(decoder: str, tmp_path: Path) -> None:
    source = write(tmp_path / "source.mp4", 5)
    others = write(tmp_path / "others.mp4", 9).read_bytes()
    for name in ("one.mp4", "two.mp4", "a000.mp4", "a001.mp4", "a000.png", "a001.png", "ax.jpg", "a.mp4"):
        (tmp_path / name).write_bytes(others)
    for name in NAMES[:6] if decoder == "decord" else NAMES:
        (tmp_path / name).write_bytes(source.read_bytes())
        if decoder == "pyav" and name.endswith((".png", ".jpg")):  # FFmpeg tells pictures by their names alone
            with pytest.raises(VideoUnreadable, match="format is not opened"):
                numbers(tmp_path / name, decoder)
            continue
        assert numbers(tmp_path / name, decoder) == [0, 1, 2, 3, 4], name


@pytest.mark.parametrize("decoder", decoders.DECODERS)
def test_playlists_behind_the_first_bytes_of_a_video(decoder: str, tmp_path: Path, listener: socket.socket) -> None:
    canary = write(tmp_path / "canary.mp4", 5)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.mp4"
    playlists = [
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{canary}\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{canary}'\nfile '{url}'\n",
        f'<?xml version="1.0"?>\n<MPD profiles="urn:mpeg:dash:profile:isoff-on-demand:2011">\n<BaseURL>{url}</BaseURL>',
        f"\nv=0\nc=IN IP4 127.0.0.1\nm=video {listener.getsockname()[1]} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        f"<SmoothStreamingMedia><c u='{url}'/>",
    ]
    for first in (b"", b"\x1a\x45\xdf\xa3\x81\xff\n", b"FLV\x01\x05\n", b"\x89abcmoov", b"OggS\n", b"\xff\xfe"):
        for playlist in playlists:
            path = tmp_path / "x.mkv"
            path.write_bytes(first + playlist.encode() + bytes(4000))
            with pytest.raises(VideoUnreadable, match=r"playlist|text file|not opened|not a readable|used for MP4"):
                numbers(path, decoder)


def test_only_text_before_the_first_zero_byte_makes_a_playlist() -> None:
    assert names_other_files(b"\xff\xfe\n<MPD xmlns")
    assert names_other_files(b"\xef\xbb\xbf  ffconcat version 1.0")
    assert not names_other_files(b"\0\0\0\x1cftypisom <MPD #EXTM3U")
    assert not names_other_files(b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81")


@pytest.mark.parametrize("decoder", decoders.DECODERS)
@pytest.mark.parametrize("kind", [b"url ", b"alis"])
def test_a_movie_whose_pictures_lie_in_another_file(decoder: str, kind: bytes, tmp_path: Path) -> None:
    """Its data reference names the canary, which is laid out as the movie is and shows other numbers."""
    path = write(tmp_path / "movie.mov", 6, b_frames=0, keyframes=1, options={"qp": "20"})
    canary = tmp_path / "canary.mov"
    write(canary, 6, b_frames=0, keyframes=1, options={"qp": "20"}, picture_start=0)
    data = bytearray(path.read_bytes())
    at, size, _ = next(box for box in boxes(data) if box[2] == b"dref")
    name = str(canary).encode()
    entry = struct.pack(">I4sI", 12 + len(name) + 1, kind, 0) + name + b"\0"
    box = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    grown = len(box) - size
    for place, length, _ in [one for one in boxes(data) if one[0] <= at and one[0] + one[1] >= at + size]:
        data[place : place + 4] = struct.pack(">I", length + grown)
    data[at : at + size] = box
    # The pictures come before the index in this file, so that no offset moves; the movie's own are made unreadable.
    start, length, _ = next(one for one in boxes(data) if one[2] == b"mdat")
    assert start < at
    data[start + 8 : start + length] = bytes(length - 8)
    path.write_bytes(data)
    with pytest.raises(VideoError):
        numbers(path, decoder)


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_a_series_of_pictures_is_not_opened(decoder: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a%03d.png"), "w", format="image2") as container:
        stream = cast("Any", container.add_stream("png", rate=25))
        stream.width = stream.height = 16
        stream.pix_fmt = "rgb24"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
    (tmp_path / "a%03d.png").write_bytes((tmp_path / "a001.png").read_bytes())
    with pytest.raises(VideoUnreadable):
        probe(tmp_path / "a%03d.png", decoder=decoder)


def peak_of(path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits | None = None) -> tuple[int, str]:
    """MiB that the child took at most, and how it ended; forked, because a child of this process counts its memory."""
    children: list[Any] = []
    nursery = Nursery(DECODERS["pyav"].module)
    said = "read"
    try:
        with monkeypatch.context() as patch:
            patch.setattr(media, "DecodeProcess", measured_process(nursery, children.append))
            with open_media(path, Request(1), limits=limits) as reader:
                list(reader)
    except VideoError as error:
        said = str(error)
    finally:
        nursery.close()
    return children[0].peak_kib // 1024, said


def test_a_claimed_picture_size_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.avi", 8, codec="mpeg4", b_frames=0)
    data = path.read_bytes()
    head = data.index(b"strf") + 12
    for size in ((65535, 65535), (30000, 20000), (2**31 - 1, 3)):
        path.write_bytes(data[:head] + struct.pack("<ii", *size) + data[head + 8 :])
        peak, said = peak_of(path, monkeypatch)
        assert peak < 150
        assert said == "read" or "pixels" in said or "readable" in said or "no frame" in said, said


def png(side: int) -> bytes:
    """A black picture in true colour, a three-hundredth of a byte a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(), bytes(1 + side * 3)
    rows = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("sides", [(800, 800, 16000), (16000, 800, 800)])
def test_pictures_that_turn_out_huge(sides: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """256 million pixels in 750 kB, in the middle and at the start; decoded they would take 780 MiB."""
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = cast("Any", container.add_stream("png", rate=25))
        stream.width = stream.height = 800
        stream.pix_fmt = "rgb24"
        for number, side in enumerate(sides):
            packet = av.Packet(png(side))
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base = Fraction(1, 25)
            container.mux(packet)
    assert path.stat().st_size < 800_000
    peak, said = peak_of(path, monkeypatch)
    assert peak < 150
    assert "could not be decoded" in said or "pixels" in said


def test_a_picture_that_grows_within_reason_is_told_by_its_size(tmp_path: Path) -> None:
    small = write(tmp_path / "a.ts", 10, size=(64, 48)).read_bytes()
    large = write(tmp_path / "b.ts", 10, size=(96, 64)).read_bytes()
    (tmp_path / "c.ts").write_bytes(small + large)
    with pytest.raises(VideoTooLarge, match="96 x 64 pixels, 4000 are allowed"):
        numbers_with(tmp_path / "c.ts", Limits(max_pixels=4000))


def numbers_with(path: Path, limits: Limits) -> int:
    with open_media(path, Request(1), limits=limits) as reader:
        return len(list(reader))


@pytest.mark.parametrize("decoder", decoders.DECODERS)
def test_times_that_cannot_be(decoder: str, tmp_path: Path) -> None:
    weeks = write(tmp_path / "a.mkv", 3, pts=[0, 40, 10**9])
    kind = VideoTooLarge if decoder != "decord" else VideoUnreadable
    with pytest.raises(kind, match=r"hours long|no increasing|impossible times"):
        probe(weeks, decoder=decoder)
    if decoder != "decord":
        fast = probe(write(tmp_path / "b.mp4", 20, rate=Fraction(20000), b_frames=0), decoder=decoder)
        assert (fast.num_frames, fast.fps) == (20, Fraction(20000))
    with pytest.raises(VideoTooLarge, match=r"more than 19 frames.*--limit max_frames=NUMBER"):
        probe(write(tmp_path / "c.mp4", 20), decoder=decoder, limits=Limits(max_frames=19))


def test_thousands_of_streams_and_a_huge_title(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(tmp_path / "a.mp4", 4, muxer={"movflags": "empty_moov"}).read_bytes()
    at, size, _ = next(box for box in boxes(data) if box[2] == b"moov")
    trak, length, _ = next(box for box in boxes(data) if box[2] == b"trak")
    many = data[trak : trak + length] * 20_000
    path = tmp_path / "many.mp4"
    path.write_bytes(data[:at] + struct.pack(">I", size + len(many)) + data[at + 4 : trak] + many + data[trak:])
    assert peak_of(path, monkeypatch)[0] < 400
    title = struct.pack(">I4sI4sI4sII", 8 + 40_000_040, b"udta", 40_000_032, b"\xa9nam", 0, b"data", 1, 0)
    path.write_bytes(data + title + b"x" * 40_000_020)
    assert peak_of(path, monkeypatch)[0] < 400


@pytest.mark.parametrize(("rate", "layout"), [(1_000_000, "mono"), (8000, "22.2"), (11, "stereo")])
def test_odd_sound(rate: int, layout: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        video = cast("Any", container.add_stream("libx264", rate=25))
        video.width = video.height = 32
        sound = cast("Any", container.add_stream("pcm_s16le", rate=rate, layout=layout))
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        channels = sound.codec_context.channels
        for number in range(4):
            count = max(rate // 20, 1)
            block = av.AudioFrame.from_ndarray(np.ones((1, count * channels), np.int16), format="s16", layout=layout)
            block.sample_rate, block.pts = rate, number * count
            container.mux(sound.encode(block))
        container.mux(video.encode(None))
    with open_media(path, Request(audio_rate=16000)) as reader:
        samples = sum(len(item.samples) for item in reader if isinstance(item, AudioChunk))
    assert samples <= 0.2 * 16000 + 1


@pytest.mark.usefixtures("leaves_nothing")
def test_a_file_that_dribbles_for_ever_has_an_end(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "_FRAMES_HZ", 3200.0)
    path = fake_file(fake, "dribbles")
    path.write_bytes(bytes(320 * 16))  # as its 320 frames need
    with pytest.raises(DecoderTimeout, match=r"not done after 1\.6 s.*--limit wall_s=SECONDS"):
        read_all(path, Limits(wall_s=1.5))


def test_the_time_allowed_grows_with_what_is_there_and_not_with_what_is_claimed() -> None:
    limits = Limits(wall_s=100)
    assert limits.allowed_s(0) == 100
    assert limits.allowed_s(10**9) == 200
    assert limits.allowed_s(10**9, 2500) == 300
    two_days = 48 * 3600 * 25
    assert limits.allowed_s(10**9, two_days) > 48 * 3600
    assert limits.allowed_s(1600, 20_000_000) == pytest.approx(
        100 + 0.00016 + 100 / 25
    )  # the same bytes again and again
    assert frames_s(1600, 50) == 2
    assert limits.allowed_s(0, two_days) == 100


@pytest.mark.usefixtures("leaves_nothing")
def test_a_message_without_end_is_cut_off(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_process, "_MOST_MESSAGE_BYTES", 1_000_000)
    with pytest.raises(DecoderCrashed, match="message that does not end"):
        read_all(fake_file(fake, "talks"))


def test_what_a_child_can_still_do(fake: Path, monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    """Read its own file, and start a thread."""
    sibling = fake / "secret"
    sibling.write_text("canary")
    monkeypatch.setenv("LC_SIBLING", str(sibling))  # names that a child is given
    monkeypatch.setenv("LC_PORT", str(listener.getsockname()[1]))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    kept = os.open(sibling, os.O_RDONLY)
    os.set_inheritable(kept, True)
    with open_media(fake_file(fake, "curious"), FULL, decoder="fake") as reader:
        list(reader)
    os.close(kept)
    told = dict(warning.split(": ", 1) for warning in reader.report.warnings)
    assert "AWS" not in told["environment"]
    assert (told["thread"], told["folder it runs in"], told["limits"]) == ("runs", "/", "[0, 0, 256]")
    assert int(told["descriptors"]) <= 8  # standard three, control, life, memory twice, this very look
    assert told["write"] in ("PermissionError", "OSError")
    holds = this_machine()
    if not holds.is_whole:
        pytest.skip(f"this machine holds a child back with {holds} only")
    refused = ("sibling", "folder", "parent", "tcp", "udp", "program", "fork", "signal")
    assert [told[what] for what in refused] == ["PermissionError"] * len(refused)
    assert not (fake / "new").exists()


def this_machine() -> Confined:
    """What confinement holds here, found out in a child process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        found = confine([])
        os.write(writer, bytes([found.landlock, found.seccomp, found.no_new_privs]))
        os._exit(0)
    os.waitpid(child, 0)
    answer = os.read(reader, 3)
    os.close(reader)
    os.close(writer)
    return Confined(answer[0], bool(answer[1]), bool(answer[2]))


def test_processor_time_ends_a_child_that_nobody_watches() -> None:
    child = os.fork()
    if child == 0:
        from vadpipe.extractors.decode_child_link import limit_child

        limit_child(2**40, 0.01)
        while True:
            pass
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == 24  # SIGXCPU
    assert resource.getrlimit(resource.RLIMIT_CPU)[0] == resource.RLIM_INFINITY


def test_reasons_are_one_short_plain_line() -> None:
    error = VideoUnreadable("a\x1b[2Jb\r\nc\u202ed" + "x" * 5000 + " the end")
    assert str(error).startswith(r"a\x1b[2Jb\r c\u202ed")
    assert str(error).endswith("the end")
    assert len(str(error)) <= 1000
    assert one_line("fine") == "fine"
    assert one_line("\ud800") == r"\ud800"
