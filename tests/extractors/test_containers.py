"""Videos told by content: real files of every container that PyAV writes, and what only looks like one."""

from __future__ import annotations

import os
from pathlib import Path

import av
import pytest

from tests.extractors import painted_videos
from vadpipe.extractors.containers import begins_as_video, is_video_file


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("mp4", "libx264"),
        ("mov", "libx264"),
        ("mkv", "libx264"),
        ("webm", "libvpx"),
        ("avi", "mpeg4"),
        ("ts", "libx264"),
        ("m2ts", "libx264"),
        ("mpg", "mpeg2video"),
        ("wmv", "msmpeg4v3"),
        ("flv", "flv"),
        ("mxf", "mpeg2video"),
        ("ogv", "libtheora"),
    ],
)
def test_a_video_is_known_by_its_first_bytes(tmp_path: Path, suffix: str, codec: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    path = painted_videos.write(tmp_path / f"x.{suffix}", 8, codec=codec, b_frames=0)
    assert is_video_file(path.rename(tmp_path / "no suffix"))


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\x1a",
        b"just some text, longer than a header of a container would be, and then some more",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        b"PK\x03\x04",
        b"\x89HDF\r\n\x1a\n" + bytes(500),
        b"RIFF\x24\x00\x00\x00WAVEfmt ",
        b"RIFF\x24\x00\x00\x00WEBPVP8 ",
        b"\x00\x00\x00\x1cftypheic",
        b"\x00\x00\x00\x20ftypM4A ",
        b"OggS\x00\x02" + bytes(22) + b"\x01vorbis",
        b"ID3\x04",
        b"The moov atom, as text: free",
        b"\x47" + bytes(900),
        bytes(1024),
    ],
)
def test_other_files_are_not_taken_for_videos(start: bytes) -> None:
    assert not begins_as_video(start)


def test_a_pipe_a_folder_and_nothing_at_all_are_no_videos(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it must not wait for a writer
    assert not any(map(is_video_file, (tmp_path / "pipe", tmp_path, tmp_path / "none")))


@pytest.mark.parametrize(
    ("start", "size_bytes"),
    [
        (b"\x01\x31\x2d\x00mdat", 30_000_000),  # 20 MB of pictures first, as cameras write them
        (b"\x00\x00\x00\x01mdat" + bytes(6) + b"\x02\x00", 1 << 40),
        (b"\x00\x0f\x42\x40moov\x00\x00\x00\x6cmvhd", 2_000_000),  # 1 MB of index first
        (b"\x00\x00\x00\x08wide", 0),
        (b"OggS\x00\x02" + bytes(22) + b"fishead\x00" + bytes(100) + b"OggS\x00\x02" + bytes(22) + b"\x80theora", 0),
        (bytes(70) + (b"\x47" + bytes(187)) * 5, 0),
        ((b"\x47" + bytes(203)) * 5, 0),
    ],
)
def test_containers_that_begin_oddly(start: bytes, size_bytes: int, tmp_path: Path) -> None:
    assert begins_as_video(start.ljust(900, b"\x00"), size_bytes)
    with (tmp_path / "x").open("wb") as file:
        file.write(start.ljust(900, b"\x00"))
        file.truncate(max(900, min(size_bytes, 1 << 26)))
    assert is_video_file(tmp_path / "x")


def test_a_text_that_only_has_the_word_is_no_video() -> None:
    assert not begins_as_video(b"The mdat atom".ljust(900), 900)
    assert not begins_as_video(b"The mdat atom".ljust(900))
    assert not begins_as_video(b"OggS\x00\x02" + bytes(22) + b"fishead\x00" + bytes(100) + b"\x01vorbis" + bytes(100))
