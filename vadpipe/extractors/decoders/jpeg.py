"""Whether a Motion JPEG packet can be decoded without the ones before it; nothing is decoded.

The marker segments are those of ITU-T T.81, annex B. In its abbreviated format (B.5) a picture brings no tables of its
own and uses the ones that an earlier picture brought.
"""

from __future__ import annotations

_SOI, _SOS, _DQT, _DHT, _DRI, _COM = 0xD8, 0xDA, 0xDB, 0xC4, 0xDD, 0xFE
_SEQUENTIAL = frozenset({0xC0, 0xC1})
_WITHOUT_TABLES = frozenset({_DRI, _COM, *range(0xE0, 0xF0)})


def stands_alone(packet: bytes) -> bool:
    """True for one sequential picture, in one scan, that brings all the tables it uses; False where that is unsure."""
    quantisers: set[int] = set()
    codes: set[int] = set()
    used: set[int] | None = None
    components = at = 0
    if packet[:2] != bytes((0xFF, _SOI)) or packet.find(bytes((0xFF, _SOI, 0xFF)), 2) >= 0:  # also: two fields
        return False
    at = 2
    try:
        while packet[at] == 0xFF:
            marker, size = packet[at + 1], int.from_bytes(packet[at + 2 : at + 4], "big")
            segment = packet[at + 4 : at + 2 + size]
            at += 2 + size
            if marker == _SOS:
                count = segment[0]
                wanted = {code for pair in segment[2 : 1 + 2 * count : 2] for code in (pair >> 4, 16 | pair & 15)}
                return used is not None and count == components and used <= quantisers and wanted <= codes
            if marker in _SEQUENTIAL and used is None:
                components = segment[5]
                used = set(segment[8 : 6 + 3 * components : 3])
            elif marker == _DQT:
                quantisers |= _quantisers(segment)
            elif marker == _DHT:
                codes |= _codes(segment)
            elif marker not in _WITHOUT_TABLES:
                return False
    except IndexError:
        pass
    return False


def _quantisers(segment: bytes) -> set[int]:
    found, at = set(), 0
    while at < len(segment):
        found.add(segment[at] & 15)
        at += 129 if segment[at] >> 4 else 65
    return found


def _codes(segment: bytes) -> set[int]:
    """Numbers of Huffman tables; those for AC coefficients with 16 added, as their class is written."""
    found, at = set(), 0
    while at < len(segment):
        found.add(segment[at] & 31)
        at += 17 + sum(segment[at + 1 : at + 17])
    return found
