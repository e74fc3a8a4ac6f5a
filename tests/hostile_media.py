"""Damaged videos, made by number: the same seed and number give the same bytes, so a failing one is made again alone.

Small real files are painted in the containers that people have, and each mutation takes one or two of them. Nothing of
it is kept. Used by the tests and by ``python -m benchmarks.hostile``.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tests.extractors import painted_videos

# a damaged size means most where boxes, elements, chunks and packets tell their lengths
_SIZES = (0, 1, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFF8)
_NUMBERS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\0\xff\xff\xff")
_BOXES = frozenset(
    b"ftyp moov mvhd trak tkhd edts elst mdia mdhd hdlr minf vmhd smhd dinf dref stbl stsd avc1 avcC mp4a esds stts "
    b"stss ctts stsc stsz stco co64 sgpd sbgp udta meta ilst mdat free moof traf tfhd tfdt trun mfra wide url".split()
)
_NESTS = frozenset(b"moov trak edts mdia minf dinf stbl udta moof traf mvex".split())


def write_sources(folder: Path) -> dict[str, bytes]:
    """Name -> content of the small files that are damaged: nine kinds, with and without sound."""
    rng = np.random.default_rng(7)
    sound = (rng.standard_normal((1, 12000)) * 0.1).astype(np.float32)
    fast = {"preset": "ultrafast"}
    small: Mapping[str, Any] = {"size": (64, 48), "options": fast}
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "h264.mp4": ("mp4", {**small, "frames": 16, "b_frames": 2}),
        "h264-sound.mp4": ("mp4", {**small, "frames": 18, "sound": sound}),
        "varying-rate.mp4": ("mp4", {**small, "frames": 8, "pts": [0, 40, 70, 130, 220, 260, 300, 390]}),
        "fragments.mp4": ("mp4", {**small, "frames": 12, "muxer": {"movflags": "frag_keyframe+empty_moov"}}),
        "turned.mov": ("mov", {**small, "frames": 12, "rotation": 90}),
        "h264.mkv": ("mkv", {**small, "frames": 16, "sound": sound}),
        "vp9.webm": ("webm", {"size": (64, 48), "frames": 8, "codec": "libvpx-vp9", "options": {"cpu-used": "8"}}),
        "mpeg4.avi": ("avi", {"size": (64, 48), "frames": 16, "codec": "mpeg4", "b_frames": 0}),
        "h264.ts": ("ts", {**small, "frames": 16, "sound": sound}),
    }
    sources = {}
    for name, (suffix, how) in kinds.items():
        count = how.pop("frames")
        with painted_videos.usual_priority():
            path = painted_videos.write(folder / f"{name}.{suffix}", count, Fraction(25), **how)
        sources[name] = path.read_bytes()
        path.unlink()
    return sources


@dataclass(frozen=True, slots=True)
class Mutation:
    """One damaged file: its number, the file it was made of, what was done to it in words, and its bytes."""

    number: int
    source: str
    what: str
    content: bytes


def mutate(sources: Mapping[str, bytes], seed: int, number: int) -> Mutation:
    """The damaged file of this number; one to three kinds of damage, one after the other."""
    rng = random.Random(f"{seed}-{number}")
    names = sorted(sources)
    name = names[number % len(names)]
    data, done = bytearray(sources[name]), list[str]()
    times = rng.choice((1, 1, 1, 2, 3))
    while len(done) < times or data == sources[name]:  # zeros over zeros change nothing
        way = rng.choice(_WAYS)
        other = sources[rng.choice(names)]
        data = bytearray(way(data, rng, other)) or bytearray(b"\0")
        done.append(way.__name__.strip("_"))
    return Mutation(number, name, " + ".join(done), bytes(data))


def boxes(
    data: bytes | bytearray, start: int = 0, end: int | None = None, depth: int = 0
) -> Iterator[tuple[int, int, bytes]]:
    """(place, size, kind) of the boxes of an ISO file, those inside others too; nothing for other files."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = int.from_bytes(data[start : start + 4], "big"), bytes(data[start + 4 : start + 8])
        if kind not in _BOXES or size < 8 or start + size > end:
            return
        yield start, size, kind
        if kind in _NESTS and depth < 12:
            yield from boxes(data, start + 8, start + size, depth + 1)
        start += size


Way = Callable[[bytearray, random.Random, bytes], bytes | bytearray]


def _cut_off(data: bytearray, rng: random.Random, _: bytes) -> bytes:
    return bytes(data[: rng.randrange(len(data))])


def _cut_front(data: bytearray, rng: random.Random, _: bytes) -> bytes:
    return bytes(data[rng.randrange(min(len(data), 4096)) :])


def _flip_bits(data: bytearray, rng: random.Random, _: bytes) -> bytearray:
    return _flip(data, rng, 0, len(data), rng.choice((1, 1, 2, 8, 64, 500)))


def _flip_header_bits(data: bytearray, rng: random.Random, _: bytes) -> bytearray:
    return _flip(data, rng, 0, min(len(data), 700), rng.choice((1, 1, 2, 8)))


def _flip_index_bits(data: bytearray, rng: random.Random, _: bytes) -> bytearray:
    """In the index of an ISO file; elsewhere at the end, where other containers have theirs."""
    found = next(((at, size) for at, size, kind in boxes(data) if kind == b"moov"), None)
    at, size = found or (max(len(data) - 700, 0), min(len(data), 700))
    return _flip(data, rng, at, at + size, rng.choice((1, 2, 4, 30)))


def _flip(data: bytearray, rng: random.Random, start: int, end: int, count: int) -> bytearray:
    for _ in range(count if end > start else 0):
        data[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
    return data


def _swap_chunks(data: bytearray, rng: random.Random, _: bytes) -> bytearray:
    size = min(rng.choice((4, 64, 512, 4096)), len(data) // 2)
    one, two = (rng.randrange(len(data) - size + 1) for _ in range(2))
    data[one : one + size], data[two : two + size] = data[two : two + size], data[one : one + size]
    return data


def _copy_chunk(data: bytearray, rng: random.Random, _: bytes) -> bytearray:
    at, length = rng.randrange(len(data)), rng.choice((16, 300, 2000))
    to = rng.randrange(len(data))
    data[to:to] = data[at : at + length] * rng.choice((1, 1, 5))
    return data


def _remove_chunk(data: bytearray, rng: random.Random, _: bytes) -> bytearray:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 4, 50, 1000))]
    return data


def _zero_range(data: bytearray, rng: random.Random, _: bytes) -> bytearray:
    at = rng.randrange(len(data))
    end = min(at + rng.choice((4, 100, 2000, 20000)), len(data))
    data[at:end] = bytes(end - at)
    return data


def _noise_range(data: bytearray, rng: random.Random, _: bytes) -> bytearray:
    at = rng.randrange(len(data))
    end = min(at + rng.choice((4, 100, 2000)), len(data))
    data[at:end] = rng.randbytes(end - at)
    return data


def _splice(data: bytearray, rng: random.Random, other: bytes) -> bytes:
    return bytes(data[: rng.randrange(len(data))]) + other[rng.randrange(len(other)) :]


def _append(data: bytearray, rng: random.Random, other: bytes) -> bytes:
    return bytes(data) + rng.choice((other, rng.randbytes(3000), bytes(5000), bytes(data)))


def _set_number(data: bytearray, rng: random.Random, _: bytes) -> bytearray:
    """Four bytes of the header, or anywhere, become a number at the edge of what fits."""
    at = rng.randrange(min(len(data), rng.choice((200, 1000, 1 << 30))))
    value = rng.choice(_NUMBERS)
    data[at : at + 4] = value if rng.random() < 0.5 else value[::-1]
    return data


def _box_size(data: bytearray, rng: random.Random, other: bytes) -> bytearray:
    found = list(boxes(data))
    if not found:
        return _set_number(data, rng, other)
    at, size, _ = rng.choice(found)
    data[at : at + 4] = struct.pack(">I", rng.choice((*_SIZES, size + 1, size - 1, size * 2, size // 2)))
    return data


def _box_number(data: bytearray, rng: random.Random, other: bytes) -> bytearray:
    """A number inside a box of the index: counts, sizes, offsets, times, rates, the matrix."""
    found = [(at, size) for at, size, kind in boxes(data) if kind not in _NESTS and kind != b"mdat" and size >= 16]
    if not found:
        return _set_number(data, rng, other)
    at, size = rng.choice(found)
    place = at + 8 + 4 * rng.randrange((size - 8) // 4)
    data[place : place + 4] = rng.choice((*_NUMBERS, rng.randbytes(4)))
    return data


def _repeat_box(data: bytearray, rng: random.Random, other: bytes) -> bytearray:
    found = list(boxes(data))
    if not found:
        return _copy_chunk(data, rng, other)
    at, size, _ = rng.choice(found)
    data[at:at] = data[at : at + size] * rng.choice((1, 3, 40))
    return data


def _remove_box(data: bytearray, rng: random.Random, other: bytes) -> bytearray:
    found = list(boxes(data))
    if not found:
        return _remove_chunk(data, rng, other)
    at, size, _ = rng.choice(found)
    del data[at : at + size]
    return data


def _free_box(data: bytearray, rng: random.Random, other: bytes) -> bytearray:
    """A box that is left out by its name, so that all the others stay where they are."""
    found = list(boxes(data))
    if not found:
        return _zero_range(data, rng, other)
    at, _, _ = rng.choice(found)
    data[at + 4 : at + 8] = rng.choice((b"free", b"skip", b"\0\0\0\0", b"moov", b"trak"))
    return data


def _nest_boxes(data: bytearray, rng: random.Random, _: bytes) -> bytes:
    """A box in a box in a box …: how deep a reader goes."""
    depth, kind = rng.choice((20, 300, 5000)), rng.choice((b"moov", b"trak", b"udta", b"meta", b"\x1a\x45\xdf\xa3"))
    sizes = range(8 * depth, 0, -8)
    nest = b"".join(struct.pack(">I4s", size, kind) for size in sizes)
    at = rng.choice((0, len(data)))
    return bytes(data[:at]) + nest + bytes(data[at:])


_WAYS: tuple[Way, ...] = (
    *(_cut_off, _cut_front, _flip_bits, _flip_header_bits, _flip_index_bits, _swap_chunks, _copy_chunk),
    *(_remove_chunk, _zero_range, _noise_range, _splice, _append, _set_number, _box_size, _box_number),
    *(_box_number, _repeat_box, _remove_box, _free_box, _nest_boxes),
)
