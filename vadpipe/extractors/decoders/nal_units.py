"""What the headers of H.264 and HEVC packets say about who may refer to a picture; nothing is decoded.

A packet is one access unit: NAL units, each behind its length (MP4, Matroska) or behind a start code (Annex B: MPEG-TS,
raw streams). The rules are those of ITU-T H.264 (7.4.1) and H.265 (7.4.2.2, 8.3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from vadpipe.extractors.decoders.jpeg import stands_alone

_H264_PICTURE_ONLY = frozenset({6, 9, 12})  # supplemental information, delimiter, filler: of this access unit alone
_HEVC_PICTURE_ONLY = frozenset({35, 38, 39, 40})
_HEVC_SUBLAYER_NON_REFERENCE = frozenset({0, 2, 4, 6, 8})  # TRAIL_N, TSA_N, STSA_N, RADL_N, RASL_N
_HEVC_IDR = frozenset({19, 20})
_HEVC_SLICES = frozenset({*range(10), *range(16, 22)})


class Kind(IntEnum):
    """What leaving out a packet means for the others.

    NEEDED
        Unknown, or it holds more than its picture (parameter sets): it must be decoded if anything after it is.
    PLAIN
        Later pictures may refer to it, and it may refer to earlier ones.
    FRESH
        Nothing from here on refers to anything before (IDR).
    FRESH_NEEDED
        The same, with parameter sets in it.
    DISPOSABLE
        Nothing refers to it.
    """

    NEEDED = 0
    PLAIN = 1
    FRESH = 2
    FRESH_NEEDED = 3
    DISPOSABLE = 4


_LAYER = 3
"""HEVC: the bits from here on hold the temporal layer, below them is the kind."""

_ANY_LAYER = 7 << _LAYER

BORROWS = 1 << 6
"""A packet that takes something from others that nobody knows, or changes how all later ones are read."""

Classify = Callable[[memoryview], int]


def classifier(codec: str, extradata: bytes | None) -> Classify | None:
    """A function from a packet to its :class:`Kind` for a codec of this name, None for one that is not looked into.

    What it gives becomes a kind in :func:`settle`, when all packets were seen.
    """
    if codec == "prores":  # every picture stands alone
        return lambda _packet: Kind.FRESH
    if codec == "mjpeg":
        return lambda packet: Kind.FRESH if stands_alone(bytes(packet)) else BORROWS
    header = extradata or b""
    if codec == "h264":
        size = (header[4] & 3) + 1 if len(header) > 4 and header[0] == 1 else 0
        return lambda packet: _h264(_nal_units(packet, size))
    if codec == "hevc":
        # FFmpeg's rule for telling the two forms apart: Annex B begins with a start code, 0 0 1 or 0 0 0 1
        lengths = len(header) > 22 and (header[0] or header[1] or header[2] > 1)
        size = (header[21] & 3) + 1 if lengths else 0
        return lambda packet: _hevc(_nal_units(packet, size))
    return None


def settle(kinds: list[int]) -> list[int]:
    """Turn what a :func:`classifier` gave for all packets of a file into values of :class:`Kind`.

    HEVC's sub-layer non-reference pictures are not referred to by pictures of their own temporal layer, and lower
    layers never refer to higher ones; but higher layers may refer to them. So they are disposable where no packet of
    the file lies on a higher layer (or is not understood). Nor is the picture order count of others derived from them.

    Empty where one packet is :data:`BORROWS`: nothing is then known of any.
    """
    if BORROWS in kinds:
        return []
    highest = max((kind >> _LAYER for kind in kinds), default=0)
    if not highest:
        return kinds
    disposable = Kind.DISPOSABLE | highest << _LAYER
    below = Kind.DISPOSABLE
    kinds = [kind if kind == disposable or kind & 7 != below else Kind.PLAIN for kind in kinds]
    return [kind & 7 for kind in kinds]


def _nal_units(packet: memoryview, length_size: int) -> list[tuple[int, int]]:
    """First two bytes of each NAL unit of a packet; empty where the packet is not made of such units."""
    if not length_size:
        return _annex_b(bytes(packet))
    end = len(packet)
    if end > length_size + 2 and int.from_bytes(packet[:length_size], "big") == end - length_size:
        return [(packet[length_size], packet[length_size + 1])]  # by far the most frequent: one slice, nothing else
    units, at = [], 0
    while at + length_size + 2 <= end:
        length = int.from_bytes(packet[at : at + length_size], "big")
        at += length_size
        if length < 2 or at + length > end:
            return []
        units.append((packet[at], packet[at + 1]))
        at += length
    return units if at == end else []


def _annex_b(packet: bytes) -> list[tuple[int, int]]:
    at = packet.find(b"\0\0\1")
    if at < 0 or any(packet[:at]):
        return []
    units = []
    while at >= 0:
        if at + 5 > len(packet):
            return []
        units.append((packet[at + 3], packet[at + 4]))
        at = packet.find(b"\0\0\1", at + 3)
    return units


def _h264(units: list[tuple[int, int]]) -> int:
    """H.264: a picture whose slices all have ``nal_ref_idc`` 0 is in no reference list; type 5 is a slice of an IDR.

    Neither frame numbers nor picture order counts of later pictures depend on it: the former step only after reference
    pictures, the latter are counted from the last reference picture (type 0) or from frame numbers (types 1 and 2).
    """
    slices = idr = referred = extra = 0
    for header, _ in units:
        kind = header & 31
        if kind in (1, 5):
            slices += 1
            idr += kind == 5
            referred += header & 0x60 != 0
        elif kind not in _H264_PICTURE_ONLY:
            extra += 1
    if not slices or idr not in (0, slices) or referred not in (0, slices):
        return Kind.NEEDED
    if idr:
        return Kind.FRESH_NEEDED if extra else Kind.FRESH
    if extra:
        return Kind.NEEDED
    return Kind.PLAIN if referred else Kind.DISPOSABLE


def _hevc(units: list[tuple[int, int]]) -> int:
    """HEVC: see :func:`settle`; of several scalable layers (``nuh_layer_id``) only files with the first are judged."""
    slices: set[tuple[int, int]] = set()
    extra = False
    for first, second in units:
        kind = first >> 1 & 63
        if first & 1 or second >> 3 or not second & 7:
            return Kind.NEEDED | _ANY_LAYER
        if kind in _HEVC_SLICES:
            slices.add((kind, (second & 7) - 1))
        elif kind not in _HEVC_PICTURE_ONLY:
            extra = True
    if len(slices) != 1:
        return Kind.NEEDED | _ANY_LAYER
    kind, layer = slices.pop()
    if kind in _HEVC_IDR:
        return Kind.FRESH_NEEDED if extra else Kind.FRESH
    if extra:
        return Kind.NEEDED | layer << _LAYER
    return (Kind.DISPOSABLE if kind in _HEVC_SUBLAYER_NON_REFERENCE else Kind.PLAIN) | layer << _LAYER
