"""Which packets nothing refers to, told from a few bytes that a reader can check against the standards."""

from __future__ import annotations

import pytest

from vadpipe.extractors.decoders.nal_units import BORROWS, Kind, classifier, settle

AVCC = bytes([1, 100, 0, 31])  # then 111111 and two bits: size of the lengths - 1
HVCC = bytes([1, *[0] * 20])
# H.264, first byte: forbidden bit, nal_ref_idc (2 bits), type (5 bits)
SLICE, B_SLICE, IDR, SEI, SPS, PPS, AUD, END = 0x41, 0x01, 0x65, 0x06, 0x67, 0x68, 0x09, 0x0A


def with_lengths(units: list[bytes], size: int = 4) -> memoryview:
    return memoryview(b"".join(len(unit).to_bytes(size, "big") + unit for unit in units))


def h264(*headers: int, size: int = 4) -> int:
    classify = classifier("h264", AVCC + bytes([0xFC | size - 1]))
    assert classify is not None
    return classify(with_lengths([bytes([header, 0x9A, 7]) for header in headers], size))


def hevc_unit(kind: int, layer: int = 0) -> bytes:
    return bytes([kind << 1, layer + 1, 7])


def hevc(*units: bytes) -> int:
    classify = classifier("hevc", HVCC + bytes([0xFF, 0]))
    assert classify is not None
    return classify(with_lengths(list(units)))


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ((B_SLICE,), Kind.DISPOSABLE),
        ((B_SLICE, B_SLICE), Kind.DISPOSABLE),
        ((AUD, SEI, B_SLICE), Kind.DISPOSABLE),
        ((SLICE,), Kind.PLAIN),
        ((SEI, SLICE, SLICE), Kind.PLAIN),
        ((SLICE, B_SLICE), Kind.NEEDED),  # forbidden by the standard
        ((PPS, B_SLICE), Kind.NEEDED),  # later pictures may use these parameters
        ((B_SLICE, END), Kind.NEEDED),
        ((IDR,), Kind.FRESH),
        ((SPS, PPS, IDR), Kind.FRESH_NEEDED),
        ((IDR, SLICE), Kind.NEEDED),
        ((SPS, PPS), Kind.NEEDED),
        ((0x14,), Kind.NEEDED),  # a slice of a second view or layer
        ((0x02,), Kind.NEEDED),  # a data partition
    ],
)
def test_h264_with_lengths(headers: tuple[int, ...], kind: Kind, size: int) -> None:
    assert h264(*headers, size=size) == kind


@pytest.mark.parametrize("start", [b"\0\0\1", b"\0\0\0\1"])
def test_h264_with_start_codes(start: bytes) -> None:
    classify = classifier("h264", None)
    assert classify is not None

    def of(*headers: int) -> int:
        return classify(memoryview(b"".join(start + bytes([header, 0x9A, 7]) for header in headers)))

    assert of(AUD, SEI, B_SLICE) == Kind.DISPOSABLE
    assert of(AUD, SLICE) == Kind.PLAIN
    assert of(AUD, SPS, PPS, SEI, IDR) == Kind.FRESH_NEEDED
    assert of() == Kind.NEEDED
    assert classify(memoryview(b"\7" + start + bytes([B_SLICE, 1, 2]))) == Kind.NEEDED
    assert classify(memoryview(start + bytes([B_SLICE]))) == Kind.NEEDED


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        bytes(20),  # lengths of zero
        b"\0\0\0\3\1\x9a",  # cut off
        b"\0\0\0\3\1\x9a\7\0",  # one byte too many
        b"\xff\xff\xff\xff\1\x9a\7",
        b"\0\0\0\1\1",
    ],
)
def test_a_packet_that_is_not_made_of_units_is_decoded(damaged: bytes) -> None:
    classify = classifier("h264", AVCC + b"\xff")
    assert classify is not None
    assert classify(memoryview(damaged)) == Kind.NEEDED


def test_hevc_without_temporal_layers() -> None:
    trail_n, trail_r, rasl_n, cra, idr, sps = (hevc_unit(kind) for kind in (0, 1, 8, 21, 19, 33))
    given = [hevc(idr), hevc(trail_r), hevc(trail_n), hevc(hevc_unit(39), trail_n), hevc(cra), hevc(rasl_n)]
    given += [hevc(sps, trail_n), hevc(sps, idr), hevc(hevc_unit(14))]
    assert settle(given[:8]) == [
        Kind.FRESH,
        Kind.PLAIN,
        Kind.DISPOSABLE,
        Kind.DISPOSABLE,
        Kind.PLAIN,
        Kind.DISPOSABLE,
        Kind.NEEDED,
        Kind.FRESH_NEEDED,
    ]
    # one packet of an unknown kind could lie on any layer, so that nothing is known to be disposable any more
    assert settle(given) == [Kind.FRESH, *[Kind.PLAIN] * 5, Kind.NEEDED, Kind.FRESH_NEEDED, Kind.NEEDED]


def test_hevc_pictures_of_a_lower_temporal_layer_may_be_referred_to_from_a_higher_one() -> None:
    low, high, high_reference = hevc(hevc_unit(0)), hevc(hevc_unit(2, layer=1)), hevc(hevc_unit(3, layer=2))
    assert settle([low, high]) == [Kind.PLAIN, Kind.DISPOSABLE]
    assert settle([low, high, high_reference]) == [Kind.PLAIN, Kind.PLAIN, Kind.PLAIN]


@pytest.mark.parametrize(
    "unit",
    [
        bytes([0, 0, 7]),  # no temporal id
        bytes([0, 1 | 1 << 3, 7]),  # another scalable layer
        bytes([1, 1, 7]),
        hevc_unit(10),  # reserved
    ],
)
def test_hevc_units_that_are_not_understood(unit: bytes) -> None:
    assert settle([hevc(hevc_unit(0)), hevc(unit)]) == [Kind.PLAIN, Kind.NEEDED]
    assert settle([hevc(hevc_unit(0), hevc_unit(1))]) == [Kind.NEEDED]


def test_other_codecs() -> None:
    assert classifier("vp9", None) is None
    intra = classifier("prores", None)
    assert intra is not None
    assert intra(memoryview(b"\0\0\0\1icpf")) == Kind.FRESH


def segment(marker: int, *content: int) -> bytes:
    return bytes((0xFF, marker)) + (2 + len(content)).to_bytes(2, "big") + bytes(content)


def quantiser(number: int, wide: bool = False) -> bytes:
    return segment(0xDB, wide << 4 | number, *[1] * (128 if wide else 64))


def codes(*numbers: int) -> bytes:
    return segment(0xC4, *[byte for number in numbers for byte in (number, 2, *[0] * 15, 0, 1)])


START = b"\xff\xd8"
FRAME = segment(0xC0, 8, 0, 64, 0, 96, 3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1)
SCAN = segment(0xDA, 3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0) + bytes((1, 2, 3))
CODES = codes(0x00, 0x10) + codes(0x01, 0x11)


@pytest.mark.parametrize(
    ("picture", "alone"),
    [
        (START + quantiser(0) + quantiser(1, wide=True) + CODES + FRAME + SCAN, True),
        (START + segment(0xE0, 1, 2) + FRAME + CODES + quantiser(1) + quantiser(0) + segment(0xDD, 0, 4) + SCAN, True),
        (START + quantiser(0) + CODES + FRAME + SCAN, False),
        (START + quantiser(0) + quantiser(1) + FRAME + SCAN, False),
        (START + quantiser(0) + quantiser(1) + codes(0x00, 0x10, 0x01) + FRAME + SCAN, False),
        (START + quantiser(0) + quantiser(1) + CODES + SCAN, False),
        (START + quantiser(0) + quantiser(1) + CODES + FRAME, False),
        (START + quantiser(0) + quantiser(1) + CODES + FRAME.replace(b"\xff\xc0", b"\xff\xc2") + SCAN, False),
        (START + quantiser(0) + quantiser(1) + CODES + FRAME + segment(0xDA, 1, 1, 0, 0, 63, 0), False),  # scans
        (2 * (START + quantiser(0) + quantiser(1) + CODES + FRAME + SCAN), False),  # fields
        (START, False),
        (b"", False),
        (START + segment(0xDB, 0), False),
    ],
)
def test_motion_jpeg(picture: bytes, alone: bool) -> None:
    classify = classifier("mjpeg", None)
    assert classify is not None
    kind = classify(memoryview(picture))
    assert kind == (Kind.FRESH if alone else BORROWS)
    assert settle([Kind.FRESH, kind]) == ([Kind.FRESH, Kind.FRESH] if alone else []), "one spoils all"
