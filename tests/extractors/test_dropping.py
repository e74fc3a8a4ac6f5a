"""Packets that nobody needs are not decoded, and that changes no sampled picture, count or report."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.extractors.painted_videos import damage, packets, paint, read, write, write_cut
from vadpipe.extractors.decoders import Job, Picture, Sound, Tally, pyav, pyav_file, pyav_index
from vadpipe.extractors.decoders.dropping import plan
from vadpipe.extractors.decoders.nal_units import Kind

N, P, F, X, D = Kind.NEEDED, Kind.PLAIN, Kind.FRESH, Kind.FRESH_NEEDED, Kind.DISPOSABLE
H264 = {"x264-params": "scenecut=0:b-adapt=0"}
HEVC = {"x265-params": "log-level=error:scenecut=0:b-adapt=0"}
LONG: dict[str, Any] = {"keyframes": 250, "b_frames": 3}


@pytest.mark.parametrize(
    ("kinds", "wanted", "left_out"),
    [
        ([F, P, D, P, D], [0, 4], [2]),
        ([F, P, D, P, D], [0, 2], [3, 4]),  # behind the last wanted one
        ([F, P, D, P, F, P, P, F], [0, 1, 5], [2, 3, 6, 7]),  # between it and the next fresh start
        ([F, P, P, F, P, P], [0, 5], [1, 2]),
        ([F, P, N, F, P, P], [0, 5], []),  # what N holds may count later on, and it refers to the one before it
        ([F, P, N, F, P, P], [0, 1], [2, 3, 4, 5]),  # nothing comes later
        ([F, P, P, X, F, P], [0, 5], [1, 2]),
        ([F, P, X, P, F, P], [0, 5], [1, 3]),
        ([F, F, F, F], [0, 2], [1, 3]),
        ([F, P, P], [0, 1, 2], []),
        ([N, N, N], [0, 2], []),
    ],
)
def test_the_plan_by_hand(kinds: list[int], wanted: list[int], left_out: list[int]) -> None:
    ranks = {10 * place: place for place in range(len(kinds))}
    drops = plan(kinds, list(ranks), ranks, wanted)
    if not left_out:
        assert drops is None
        return
    assert drops is not None
    assert [place for place, out in enumerate(drops.packets) if out] == left_out
    assert ([place for place, out in enumerate(drops.frames) if out], drops.count) == (left_out, len(left_out))


def test_the_plan_knows_decoding_order_and_hidden_packets() -> None:
    drops = plan([F, P, D, D, P], [0, 40, None, 20, 60], {0: 0, 20: 1, 40: 2, 60: 3}, [0, 3])
    assert drops is not None
    assert (list(drops.packets), list(drops.frames), drops.count) == ([0, 0, 1, 1, 0], [0, 1, 0, 0], 1)


def decoded(
    path: Path, stride: int = 16, offset: int = 0, rate: int = 0
) -> tuple[dict[int, NDArray[np.uint8]], list[Sound], Tally, pyav.PyavSource]:
    """Sampled pictures by index, sound, what was counted, and the source."""

    def sampled(frames: int) -> NDArray[np.int64]:
        return np.minimum(np.arange(0, frames, stride) + offset, frames - 1)

    source = pyav.open_source(Job(path, sampled, rate, 2**30, 1e6, lambda: None))
    items = list(source.items())
    wanted = set(sampled(source.facts.num_frames).tolist())
    pictures = {item.index: item.rgb().copy() for item in items if isinstance(item, Picture) and item.index in wanted}
    return pictures, [item for item in items if isinstance(item, Sound)], source.tally, source


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """:func:`decoded` with nothing left out."""

    def run(*arguments: Any, **options: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(pyav, "plan", lambda *_: None)
            return decoded(*arguments, **options)

    return run


CASES: dict[str, tuple[str, dict[str, Any], float]] = {
    # file, how it is written, share of 120 frames that must be left out at least
    "pyramid": ("a.mp4", {"options": H264, **LONG}, 0.4),
    "no pyramid": ("a.mp4", {"options": {"x264-params": "scenecut=0:b-adapt=0:b-pyramid=none"}, **LONG}, 0.6),
    "one B-frame": ("a.mkv", {"options": H264, "keyframes": 250, "b_frames": 1}, 0.4),
    "no B-frames": ("a.mp4", {"options": H264, "keyframes": 250, "b_frames": 0}, 0.0),
    "start codes": ("a.ts", {"options": H264, **LONG}, 0.4),
    "short groups": ("a.mp4", {"options": H264, "keyframes": 10, "b_frames": 2}, 0.6),
    "short groups, start codes": ("a.ts", {"options": H264, "keyframes": 10, "b_frames": 2}, 0.6),
    "open groups": ("a.mp4", {"options": {"x264-params": "open-gop=1:keyint=24"}, "keyframes": 24}, 0.3),
    "intra refresh": ("a.mp4", {"options": {"x264-params": "intra-refresh=1:keyint=24"}, **LONG}, 0.3),
    "slices": ("a.mp4", {"options": {"x264-params": "slices=4:ref=4:cabac=0"}, **LONG}, 0.3),
    "10 bit": ("a.mp4", {"options": H264, "pixels": "yuv420p10le", **LONG}, 0.4),
    "interlaced": ("a.mp4", {"options": {"x264-params": "tff=1"}, **LONG}, -1.0),
    "hevc": ("a.mp4", {"codec": "libx265", "options": HEVC, **LONG}, 0.4),
    "hevc start codes": ("a.ts", {"codec": "libx265", "options": HEVC, **LONG}, 0.4),
    "hevc layers": (
        "a.mp4",
        {"codec": "libx265", "options": {"x265-params": "log-level=error:temporal-layers=3:b-adapt=0"}, **LONG},
        0.4,
    ),
    "mjpeg": ("a.mkv", {"codec": "mjpeg", "pixels": "yuvj420p", "b_frames": 0}, 0.9),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "options": {"crf": "40", "b": "0", "cpu-used": "8"}}, -1.0),
}


@pytest.mark.parametrize("case", CASES)
def test_sampled_pictures_are_the_same_bit_for_bit(case: str, whole: Callable[..., Any], tmp_path: Path) -> None:
    file, how, share = CASES[case]
    path = write(tmp_path / file, 120, **how)
    for stride, offset in ((16, 0), (16, 7), (50, 0)):
        pictures, _, tally, source = decoded(path, stride, offset)
        expected, _, expected_tally, _ = whole(path, stride, offset)
        assert pictures.keys() == expected.keys()
        assert [read(picture) for picture in pictures.values()] == list(pictures)
        for index, picture in pictures.items():
            np.testing.assert_array_equal(picture, expected[index])
        assert tally == expected_tally == Tally()
        left_out = source._drops.count if source._drops is not None else 0
        assert left_out >= share * 120 if share >= 0 else source._drops is None


def test_what_an_edit_list_hides_can_be_left_out_too(whole: Callable[..., Any], tmp_path: Path) -> None:
    path = write_cut(tmp_path / "cut.mp4", write(tmp_path / "a.mp4", 120, options=H264, **LONG), 30)
    pictures, _, tally, source = decoded(path)
    expected, _, _, _ = whole(path)
    assert [read(picture) for picture in pictures.values()] == [30 + index for index in pictures]
    assert all((picture == expected[index]).all() for index, picture in pictures.items())
    assert source._drops is not None
    assert sum(source._drops.packets) > source._drops.count, "hidden packets among them"
    assert tally == Tally()


def write_joined(path: Path, joint: int, total: int) -> Path:
    """An FLV of two recordings, whose second header (in a tag of its own) has other parameter sets than the first."""
    parts: list[list[bytearray]] = []
    for name, options in (("a.flv", "cqm=flat"), ("b.flv", "cqm=jvt")):
        first, frames = (joint, total - joint) if parts else (0, joint)
        source = path.with_name(name)
        with av.open(str(source), "w") as container:
            stream = container.add_stream("libx264", 25, {"x264-params": options})
            stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
            stream.codec_context.gop_size, stream.codec_context.max_b_frames = 8, 0
            for place in range(frames):
                frame = av.VideoFrame.from_ndarray(paint(first + place), format="rgb24")
                frame.pts, frame.time_base = place, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        parts.append(flv_tags(source.read_bytes()))
    for tag in parts[1]:
        stamp = int.from_bytes(tag[4:7], "big") + joint * 40
        tag[4:7] = stamp.to_bytes(3, "big")
    one = [tag for tag in parts[0] if tag[0] != 9 or tag[12] != 2]  # without the end of the sequence
    two = [tag for tag in parts[1] if tag[0] == 9]
    path.write_bytes(source.read_bytes()[:13] + b"".join(one + two))
    return path


def flv_tags(data: bytes) -> list[bytearray]:
    at, tags = 13, []
    while at + 11 <= len(data):
        size = 11 + int.from_bytes(data[at + 1 : at + 4], "big") + 4
        tags.append(bytearray(data[at : at + size]))
        at += size
    return tags


@pytest.mark.parametrize("file", ["joined.flv", "joined.mp4"])  # the latter with two sample descriptions
def test_nothing_is_left_out_where_the_headers_change_midway(
    file: str, whole: Callable[..., Any], tmp_path: Path
) -> None:
    """The new header comes beside a packet; what is decoded without that packet comes out wrong, without an error."""
    path = write_joined(tmp_path / "joined.flv", 33, 81)
    if file != path.name:
        path = write_cut(tmp_path / file, path, 0)
    pictures, _, tally, source = decoded(path)
    expected, _, expected_tally, _ = whole(path)
    assert source._drops is None
    assert [read(picture) for picture in pictures.values()] == list(pictures) == [0, 16, 32, 48, 64, 80]
    assert all((picture == expected[index]).all() for index, picture in pictures.items())
    assert tally == expected_tally


def write_abbreviated(path: Path, joint: int, total: int) -> Path:
    """Motion JPEG in the abbreviated format: quantisation tables in the first picture and where they change."""
    size = (100, 60)  # blocks of the painted numbers then cross those of the codec
    qualities = {"qmin": "2", "qmax": "2"}, {"qmin": "31", "qmax": "31"}
    pictures = []
    for name, quality in zip(("fine.mkv", "coarse.mkv"), qualities, strict=True):
        how: dict[str, Any] = {"codec": "mjpeg", "pixels": "yuvj420p", "b_frames": 0, "options": quality, "size": size}
        with av.open(str(write(path.with_name(name), total, **how))) as container:
            pictures.append([bytes(packet) for packet in container.demux(video=0) if packet.size])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", 25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p"
        for number in range(total):
            whole_picture = pictures[number >= joint][number]
            packet = av.Packet(whole_picture if number in (0, joint) else without_quantisers(whole_picture))
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
            container.mux(packet)
    return path


def without_quantisers(picture: bytes) -> bytes:
    out, at = picture[:2], 2
    while picture[at + 1] != 0xDA:
        size = 2 + int.from_bytes(picture[at + 2 : at + 4], "big")
        if picture[at + 1] != 0xDB:
            out += picture[at : at + size]
        at += size
    return out + picture[at:]


def test_motion_jpeg_whose_pictures_use_earlier_tables(whole: Callable[..., Any], tmp_path: Path) -> None:
    path = write_abbreviated(tmp_path / "a.mkv", 33, 81)
    pictures, _, tally, source = decoded(path)
    expected, _, expected_tally, _ = whole(path)
    assert source._drops is None
    assert [read(picture) for picture in pictures.values()] == list(pictures)
    assert all((picture == expected[index]).all() for index, picture in pictures.items())
    assert tally == expected_tally == Tally()


def order_of(path: Path) -> list[tuple[int, Kind]]:
    """Number of each frame in decoding order and what its packet is."""
    index, _ = pyav_index.index_packets(Job(path, lambda n: np.arange(n), 0, 2**30, 1e6, lambda: None), Tally())
    return [(number, Kind(kind)) for (_, _, number), kind in zip(packets(path), index.kinds, strict=True)]


def test_damage_that_was_left_out_is_not_looked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 120, options=H264, **LONG)
    before, _, _, _ = decoded(path)
    lost = next(number for number, kind in order_of(path) if kind == D and number % 16 == 5)
    data = bytearray(path.read_bytes())
    position, size = next((position, size) for position, size, number in packets(path) if number == lost)
    data[position + 6 : position + size] = bytes(size - 6)  # its header stays
    path.write_bytes(data)
    pictures, _, tally, _ = decoded(path)
    assert tally == Tally()
    assert all((pictures[index] == before[index]).all() for index in before)


def test_damage_is_counted_as_if_nothing_were_left_out(whole: Callable[..., Any], tmp_path: Path) -> None:
    """A reference picture is gone: everything is decoded again from the start, and sound is not repeated."""
    tone = np.sin(np.arange(5 * 16000) / 7)[None].astype(np.float32)
    path = write(tmp_path / "a.mp4", 120, options=H264, sound=tone, **LONG)
    lost = next(number for number, kind in order_of(path) if kind == P and number > 60)
    damage(path, [lost])
    pictures, sounds, tally, source = decoded(path, rate=8000)
    expected, expected_sounds, expected_tally, _ = whole(path, rate=8000)
    assert source._drops is None
    assert pictures.keys() == expected.keys()
    assert all((picture == expected[index]).all() for index, picture in pictures.items())
    assert tally == expected_tally
    assert (tally.corrupt_packets, tally.lost_frames) != (0, 0)
    starts = [sound.start for sound in sounds]
    assert starts == sorted(set(starts)) == [sound.start for sound in expected_sounds]
    assert sum(len(sound.samples) for sound in sounds) == sum(len(sound.samples) for sound in expected_sounds)


@pytest.mark.parametrize("room", [0, 5000])
def test_a_long_file_is_demuxed_twice(room: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The packets of the first pass are kept only while they are few; what comes out is the same."""
    path = write(tmp_path / "a.mp4", 120, options=H264, **LONG)
    kept, _, _, _ = decoded(path)
    monkeypatch.setattr("vadpipe.extractors.decoders.pyav_index._REEL_BYTES", room)
    again, _, tally, source = decoded(path)
    assert kept.keys() == again.keys()
    assert all((kept[index] == again[index]).all() for index in kept)
    assert (tally, source._drops is None) == (Tally(), False)


def test_without_pictures_only_the_first_frame_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", 120, options=H264, sound=np.ones((1, 80000), np.float32), **LONG)
    calls = []

    def counted(*given: Any) -> Any:
        calls.append(given)
        return pyav_file.decode(*given)

    monkeypatch.setattr(pyav, "decode", counted)
    job = Job(path, lambda _: np.zeros(0, np.int64), 8000, 2**30, 1e6, lambda: None)
    source = pyav.open_source(job)
    items = list(source.items())
    assert source.facts.num_frames == 120
    assert len(calls) <= 10
    assert sum(len(item.samples) for item in items if isinstance(item, Sound)) == pytest.approx(38400, abs=10)
    assert source.tally == Tally(audio_state="present")
