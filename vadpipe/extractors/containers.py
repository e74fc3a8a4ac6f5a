"""Video files told by their first bytes, whatever their names say. No decoder is asked."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_LOOK_BYTES = 1024
_EBML = b"\x1a\x45\xdf\xa3"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_MPEG_PACK, _MPEG_SEQUENCE = b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"
_MXF = bytes.fromhex("060e2b34")
_BOXES = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"moof", b"styp"})
_IN_MOOV = frozenset({b"mvhd", b"cmov", b"rmra", b"trak", b"iods", b"udta"})
# brands of ISO files that hold still pictures or sound alone
_NO_VIDEO = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"crx ", b"M4A ", b"M4B ", b"M4P "})
_PLAYLISTS = (b"#extm3u", b"<mpd", b"c=in ip", b"<smoothstreamingmedia", b"<compositionplaylist", b"ffconcat version")
_OGG_VIDEO = (b"\x80theora", b"OVP80", b"BBCD\x00")


def is_video_file(path: Path) -> bool:
    """True where a regular file begins as a video container does; False for all else, unreadable files included."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return False
            return begins_as_video(file.read(_LOOK_BYTES), os.fstat(descriptor).st_size)
    except (OSError, ValueError):
        return False


def begins_as_video(start: bytes, size_bytes: int = 0) -> bool:
    """True for the first bytes, up to 1024, of a container of video; ``size_bytes`` of the whole file, 0: not known.

    Known are MP4 and MOV, Matroska and WebM, AVI, MPEG program and transport streams, ASF, FLV, OGV, MXF, RM and IVF.
    Matroska and ASF may hold sound alone, which their first bytes do not say.
    """
    if start[4:8] == b"ftyp":
        return start[8:12] not in _NO_VIDEO
    if start[4:8] in _BOXES:
        return _is_box(start, size_bytes)
    if start.startswith((_EBML, _ASF, _MPEG_PACK, _MPEG_SEQUENCE, b"FLV\x01", _MXF, b".RMF", b"DKIF\x00\x00")):
        return True
    if start.startswith(b"RIFF"):
        return start[8:12] == b"AVI "
    if start.startswith(b"OggS"):
        return any(mark in start for mark in _OGG_VIDEO)  # every stream's first page comes before all else
    return _is_transport_stream(start)


def names_other_files(start: bytes) -> bool:
    """True where a demuxer could take a file for a playlist, or for a description of streams elsewhere.

    Those formats (HLS, DASH, SDP, Smooth Streaming, IMF, concat) are text, which FFmpeg looks for up to the first zero
    byte, behind whatever bytes a file begins with. Every container of video has a zero byte long before.
    """
    text = start.partition(b"\0")[0].lower()
    return any(mark in text for mark in _PLAYLISTS) or text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"ffconcat")


def _is_box(start: bytes, size_bytes: int) -> bool:
    """The first box of a MOV file without brands; a text that only has the word there claims a size of gigabytes."""
    claimed = int.from_bytes(start[:4], "big")
    if start[4:8] == b"moov" and start[12:16] in _IN_MOOV:
        return True
    return claimed < (1 << 17) or claimed <= size_bytes  # small, 0 for "to the end", 1 for "a long size follows"


def _is_transport_stream(start: bytes) -> bool:
    """Four sync bytes at the distance of the packets: 188 bytes, 192 with a time stamp, 204 with error correction.

    A recording may begin in the middle of a packet.
    """
    return any(
        len(start) > first + 3 * size and all(start[first + number * size] == 0x47 for number in range(4))
        for size in (188, 192, 204)
        for first in range(size)
    )
