"""What a report shows of the video file itself: how its player finds it, pictures of the peaks, the waveform."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import UsageError, VideoUnreadable
from vadpipe.tracks import FloatArray, VideoClip

EMBED_LIMIT_BYTES = 100_000_000
"""Largest video that goes into a page; browsers hold the whole page in memory, about three times over."""

PICTURES = 24
"""Most pictures of peaks in a page; those of the highest peaks are taken."""

_HEIGHT = 180  # of a picture, in pixels: sharp at 90 on a screen of double density
_JPEG_QUALITY = 72
_PER_SECOND, _FEWEST, _MOST = 10, 400, 24_000  # buckets of a waveform

_TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg",
    ".mkv": "video/x-matroska",
}  # fmt: skip
_NO_BROWSER = {
    "container": {".avi", ".flv", ".wmv", ".asf", ".mpg", ".mpeg", ".ts", ".m2ts", ".mts", ".vob", ".y4m", ".mjpeg"},
    "codec": {
        "ffv1", "flv", "flv1", "h263", "huffyuv", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2",
        "msmpeg4v3", "prores", "rawvideo", "vc1", "wmv1", "wmv2", "wmv3",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Player:
    """How a page's player gets its video.

    source
        Address for ``src``, relative to the page; empty where the video is embedded or cannot be played.
    embedded, kind
        The whole file as base64, and its media type; empty where it is referred to.
    missing
        Why there is no picture, for people; empty where there is one.
    policy
        What the page's content security policy has to allow.
    """

    source: str = ""
    embedded: bytes = b""
    kind: str = ""
    missing: str = ""
    policy: str = "'none'"


def player_for(path: Path | None, clip: VideoClip, page: Path, *, embed: bool) -> Player:
    """The player of a page. :class:`UsageError` for a file that is too large to embed or is not there to be."""
    if path is None:
        return Player(missing="The report was made without the video file: there is no picture, the timeline works.")
    if missing := unplayable(path, clip):
        return Player(missing=missing)
    kind = _TYPES.get(path.suffix.lower(), "video/mp4")
    if embed:
        return Player(embedded=base64.b64encode(_whole(path)), kind=kind, policy="blob:")
    return Player(address(path, page), kind=kind, policy="'self' file:")


def unplayable(path: Path, clip: VideoClip) -> str:
    """Why no browser plays this file, and what to do; empty where some may (the page itself tells if this one does)."""
    what = _never_played(path, clip.codec)
    if not what:
        return ""
    return (
        f"Browsers do not play {what}: there is no picture, the timeline works. For a picture, convert the video to "
        "H.264 in MP4, or let vadpipe detect --overlay FILE.mp4 draw the scores on a copy."
    )


def _never_played(path: Path, codec: str) -> str:
    suffix = path.suffix.lower()
    if codec in _NO_BROWSER["codec"]:
        return f"video coded as {codec}"
    return f"{suffix} files" if suffix in _NO_BROWSER["container"] else ""


def check_embeddable(path: Path | None, codec: str = "") -> None:
    """:class:`UsageError` where a video is too large to embed; one that no browser plays is not embedded at all."""
    if path is not None and not _never_played(path, codec) and (problem := too_large(path)):
        raise UsageError(f"{problem} Leave --embed out (the page then refers to the file), or cut it with --clips.")


def too_large(path: Path) -> str:
    """Why a file cannot be embedded, or nothing."""
    size = path.stat().st_size if path.is_file() else 0
    if size <= EMBED_LIMIT_BYTES:
        return ""
    return (
        f"{path}: got {size / 1e6:.0f} MB, expected at most {EMBED_LIMIT_BYTES / 1e6:.0f} MB to embed, because a "
        "browser holds the whole page in memory."
    )


def address(path: Path, page: Path) -> str:
    """The relative address of a file as seen from a page; any bytes of the name come through."""
    relative = os.path.relpath(path.absolute(), page.absolute().parent)
    quoted = quote(os.fsencode(relative).replace(os.sep.encode(), b"/"), safe="/")
    return quoted if quoted.startswith("../") else f"./{quoted}"  # a colon in the name makes no scheme of it


def pictures_of(path: Path, seconds: Sequence[float]) -> list[str]:
    """JPEG pictures at these seconds as ``data:`` addresses. :class:`VideoError` where the file cannot be read."""
    from vadpipe.extractors.pictures import pictures_at

    return [as_jpeg(picture) for picture in pictures_at(path, seconds, height=_HEIGHT)]


def as_jpeg(picture: NDArray[np.uint8], height: int = _HEIGHT) -> str:
    """(h, w, 3) RGB as a ``data:`` address, made smaller where it is higher than ``height`` pixels."""
    from PIL import Image

    image = Image.fromarray(picture)
    if image.height > height:
        image = image.resize((max(1, round(image.width * height / image.height)), height))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def waveform_of(path: Path, duration_s: float) -> FloatArray:
    """(buckets, 2) lowest and highest sample of each tenth of a second, fewer for long videos; (0, 2) without sound."""
    from vadpipe.extractors.pictures import waveform

    return waveform(path, int(min(max(duration_s * _PER_SECOND, _FEWEST), _MOST)))


def _whole(path: Path) -> bytes:
    check_embeddable(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise VideoUnreadable(f"{path}: cannot be embedded, {error.strerror}") from error
