"""Which packets need not be decoded, so that the wanted frames still come out bit for bit.

Three things are left out: pictures that nothing refers to, everything between the last wanted picture and the next
fresh start (IDR), and what lies behind the last wanted picture of the file. Legend: P packets, N presented frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vadpipe.extractors.decoders.nal_units import Kind


@dataclass(frozen=True, slots=True)
class Drops:
    """What is left out.

    packets
        (P,) in decoding order, 1 where the packet is not decoded.
    frames
        (N,) in order of presentation, 1 where the frame does not come out because of that.
    count
        Frames that do not come out.
    wanted
        The wanted ones, which do.
    """

    packets: bytearray
    frames: bytearray
    count: int
    wanted: frozenset[int]


def plan(kinds: list[int], pts: list[int | None], ranks: Mapping[int, int], wanted: Iterable[int]) -> Drops | None:
    """Find what can be left out; None where that is nothing.

    ``kinds`` and ``pts`` describe the packets in decoding order, ``ranks`` gives the place of a presented timestamp,
    ``wanted`` the places of the wanted frames.
    """
    needed = frozenset(wanted)
    places = [-1 if stamp is None else ranks.get(stamp, -1) for stamp in pts]
    packets, frames = bytearray(len(kinds)), bytearray(len(ranks))
    followed = anything = False  # whether a packet is decoded later: before the next fresh start, at all
    for at in range(len(kinds) - 1, -1, -1):
        kind, place = kinds[at], places[at]
        keep = place in needed
        if not keep and kind != Kind.DISPOSABLE:
            keep = anything if kind in (Kind.NEEDED, Kind.FRESH_NEEDED) else followed
        if keep:
            followed = anything = True
        else:
            packets[at] = 1
            if place >= 0:
                frames[place] = 1
        if kind in (Kind.FRESH, Kind.FRESH_NEEDED):
            followed = False
    return Drops(packets, frames, sum(frames), needed) if any(packets) else None
