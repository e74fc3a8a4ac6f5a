"""One suite for all decoders: frame counts, frame indices and times are exact, or the file is refused."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.extractors.painted_videos import damage, packets, read, write, write_cut
from vadpipe.errors import VideoUnreadable
from vadpipe.extractors import geometry
from vadpipe.extractors.decoders import DECODERS
from vadpipe.extractors.media import FrameRow, MediaReport, Request, View, open_media, probe
from vadpipe.tracks import TimeGrid

NTSC = Fraction(30000, 1001)
VARYING = [0]
for gap in range(49):
    VARYING.append(VARYING[-1] + (73 if gap % 3 == 0 else 40))


@dataclass(frozen=True)
class Case:
    """A file, the numbers painted on its presented frames, its times, and who is known to refuse it (and says why)."""

    make: Callable[[Path], Path]
    numbers: range = range(50)
    fps: Fraction = Fraction(25)
    times_ms: list[int] = field(default_factory=list)
    rotation: int = 0
    refused_by: tuple[str, ...] = ()


def cut(folder: Path) -> Path:
    return write_cut(folder / "cut.mp4", write(folder / "whole.mp4", 80, keyframes=50), 62)


def joined_midway(folder: Path) -> Path:
    """A broadcast recording that begins between two key frames (0 and 24)."""
    path = write(folder / "midway.ts", 60)
    start = next(position for position, _, number in packets(path) if number == 9)
    path.write_bytes(path.read_bytes()[start // 188 * 188 :])
    return path


CASES = {
    "mp4": Case(lambda d: write(d / "a.mp4")),
    "ntsc mp4": Case(lambda d: write(d / "a.mp4", rate=NTSC), fps=NTSC),
    "ntsc mkv": Case(lambda d: write(d / "a.mkv", rate=NTSC), fps=NTSC),
    "varying mkv": Case(lambda d: write(d / "a.mkv", pts=VARYING), times_ms=VARYING),
    "varying mp4": Case(lambda d: write(d / "a.mp4", pts=VARYING), times_ms=VARYING),
    "fragmented mp4": Case(lambda d: write(d / "a.mp4", muxer={"movflags": "frag_keyframe+empty_moov"})),
    "late start mkv": Case(lambda d: write(d / "a.mkv", picture_start=13)),
    "flv": Case(lambda d: write(d / "a.flv"), refused_by=("decord",)),
    "vp9 webm": Case(lambda d: write(d / "a.webm", codec="libvpx-vp9", options={"crf": "30", "b": "0"})),
    "vp8 webm": Case(lambda d: write(d / "a.webm", codec="libvpx", options={"crf": "10", "b": "500k"})),
    "av1": Case(lambda d: write(d / "a.mp4", codec="libsvtav1"), refused_by=("decord",)),
    "long group, B-pyramid": Case(
        lambda d: write(d / "a.mp4", 120, keyframes=250, b_frames=5, options={"x264-params": "b-adapt=0:scenecut=0"}),
        range(120),
    ),
    "short groups": Case(lambda d: write(d / "a.mp4", 50, keyframes=7, b_frames=0)),
    "open groups": Case(
        lambda d: write(d / "a.mkv", 80, b_frames=4, options={"x264-params": "open-gop=1:b-adapt=0"}), range(80)
    ),
    "interlaced": Case(lambda d: write(d / "a.mp4", options={"x264-params": "tff=1"})),
    "hevc": Case(lambda d: write(d / "a.mp4", codec="libx265", options={"x265-params": "log-level=error"})),
    "hevc 10 bit mkv": Case(
        lambda d: write(
            d / "a.mkv", codec="libx265", pixels="yuv420p10le", options={"x265-params": "log-level=error:bframes=4"}
        )
    ),
    "10 bit": Case(lambda d: write(d / "a.mp4", pixels="yuv420p10le")),
    "odd size": Case(lambda d: write(d / "a.mkv", size=(97, 65), pixels="yuv444p")),
    "odd size 420": Case(lambda d: write(d / "a.mkv", size=(97, 65), codec="ffv1")),
    "rotated 90": Case(lambda d: write(d / "a.mp4", rotation=90), rotation=270),
    "rotated -90": Case(lambda d: write(d / "a.mp4", rotation=-90), rotation=90),
    "rotated 180": Case(lambda d: write(d / "a.mp4", rotation=180), rotation=180),
    "name -v=a:b": Case(lambda d: write(d / "-v=a#%d:b.mp4")),
    "1 frame": Case(lambda d: write(d / "a.mp4", 1), range(1)),
    "3 frames": Case(lambda d: write(d / "a.mp4", 3), range(3)),
    "4 frames": Case(lambda d: write(d / "a.mp4", 4), range(4)),
    "5 frames": Case(lambda d: write(d / "a.mp4", 5), range(5)),
    "15 frames": Case(lambda d: write(d / "a.mp4", 15), range(15)),
    "16 frames": Case(lambda d: write(d / "a.mp4", 16), range(16)),
    "17 frames": Case(lambda d: write(d / "a.mp4", 17), range(17)),
    "sound is longer": Case(lambda d: write(d / "a.mp4", sound=np.ones((1, 64000), np.float32))),
    "sound is shorter": Case(lambda d: write(d / "a.mp4", sound=np.ones((1, 8000), np.float32))),
    "edit list": Case(cut, range(62, 80), refused_by=("decord",)),
    "avi": Case(lambda d: write(d / "a.avi"), refused_by=("decord",)),
    "mpeg4 avi": Case(lambda d: write(d / "a.avi", codec="mpeg4"), refused_by=("decord",)),
    "mpegts": Case(lambda d: write(d / "a.ts"), refused_by=("decord",)),
    "mpegts joined midway": Case(joined_midway, range(24, 60), refused_by=("decord",)),
}


def rows_of(path: Path, decoder: str, request: Request) -> tuple[list[FrameRow], MediaReport]:
    with open_media(path, request, decoder=decoder) as reader:
        rows = [item for item in reader if isinstance(item, FrameRow)]
        return rows, reader.report


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_frames_are_the_right_ones(case: Case, decoder: str, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    request = Request(frames_per_snippet=4, offset=1, views=(View("full"),))
    if decoder in case.refused_by:
        with pytest.raises(VideoUnreadable, match="pyav"):
            rows_of(path, decoder, request)
        return
    rows, report = rows_of(path, decoder, request)

    clip, grid = report.clip, report.grid
    count = len(case.numbers)
    expected = TimeGrid(Fraction(25), count, 4).sampled_frames(1).tolist()
    # decord turns the pictures, but does not say so; the others do, and name the codec
    told = decoder != "decord"
    assert (clip.num_frames, grid.num_frames, clip.vfr) == (count, count, bool(case.times_ms))
    assert clip.rotation == (case.rotation if told else 0)
    assert bool(clip.codec) == told
    assert [row.frame for row in rows] == expected
    assert [row.row for row in rows] == list(range(len(expected)))
    upright = [np.rot90(row.image, case.rotation // 90) for row in rows]
    assert [read(image) for image in upright] == [case.numbers[frame] for frame in expected]
    assert {row.image.shape[:2] for row in rows} == {(clip.height, clip.width)}
    assert (report.corrupt_packets, report.replaced_rows, report.warnings) == (0, (), ())
    if case.times_ms:
        starts = [time / 1000 for time in case.times_ms]
        assert grid.boundaries_s[:-1] == pytest.approx(starts[::4], abs=1e-6)
        assert grid.boundaries_s[-1] == pytest.approx(starts[-1] + 0.040, abs=2.5e-3)  # decord averages the last
        assert float(clip.fps) == pytest.approx(count / grid.boundaries_s[-1])
        assert [row.pts_s for row in rows] == pytest.approx([starts[frame] for frame in expected], abs=1e-6)
    else:
        assert (clip.fps, grid.boundaries_s) == (case.fps, ())
        assert [row.pts_s for row in rows] == pytest.approx([float(frame / case.fps) for frame in expected])
        assert clip.duration_s == pytest.approx(float(count / case.fps))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("frames", [15, 16, 17])
def test_the_usual_request_gives_one_picture_per_16_frames(frames: int, decoder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", frames)
    rows, _ = rows_of(path, decoder, Request())
    whole, _ = rows_of(path, decoder, Request(views=(View("full"),)))
    assert [row.frame for row in rows] == list(range(0, frames, 16))
    for row, full in zip(rows, whole, strict=True):
        assert row.image.dtype == np.uint8
        assert row.image.flags.owndata or row.image.base is not None
        np.testing.assert_array_equal(row.image, geometry.apply(full.image, "short224-center224"))


VIEWS = (View("full", every_frame=True), View("short256-center224"), View("full"))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("case", [*(name for name in CASES if "frame" in name), "varying mkv", "edit list"])
def test_several_views_of_one_decode(case: str, decoder: str, tmp_path: Path) -> None:
    """All frames of each snippet and the sampled ones twice: by frame, then by view, each as if it were alone."""
    path, numbers = CASES[case].make(tmp_path), CASES[case].numbers
    if decoder in CASES[case].refused_by:
        with pytest.raises(VideoUnreadable, match="pyav"):
            rows_of(path, decoder, Request(views=VIEWS))
        return
    rows, report = rows_of(path, decoder, Request(frames_per_snippet=4, offset=1, views=VIEWS))
    sampled = TimeGrid(Fraction(25), len(numbers), 4).sampled_frames(1).tolist()
    expected = [(frame, view) for frame in range(len(numbers)) for view in range(3) if not view or frame in sampled]
    assert [(row.frame, row.view) for row in rows] == expected
    assert {row.row - row.frame // 4 for row in rows} == {0}
    assert report.replaced_rows == ()
    every = {row.frame: row for row in rows if row.view == 0}
    if case != "varying mkv":
        assert [row.pts_s for row in every.values()] == pytest.approx([frame / 25 for frame in every])
    for row in rows:
        if row.view == 1:
            np.testing.assert_array_equal(row.image, geometry.apply(every[row.frame].image, "short256-center224"))
            continue
        assert read(row.image) == numbers[row.frame]
        np.testing.assert_array_equal(row.image, every[row.frame].image)


@pytest.mark.parametrize("decoder", DECODERS)
def test_one_view_or_several_give_the_same_pictures(decoder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 70, keyframes=250, b_frames=3)
    alone = [rows_of(path, decoder, Request(views=(view,)))[0] for view in VIEWS]
    together, _ = rows_of(path, decoder, Request(views=VIEWS))
    for number, rows in enumerate(alone):
        same = [row for row in together if row.view == number]
        assert [row.frame for row in rows] == [row.frame for row in same]
        assert all((one.image == other.image).all() for one, other in zip(rows, same, strict=True))


@pytest.mark.parametrize("decoder", DECODERS)
def test_no_view_at_all_gives_the_facts(decoder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 50)
    rows, report = rows_of(path, decoder, Request(views=()))
    assert (rows, report.replaced_rows, report.corrupt_packets) == ([], (), 0)
    assert report.clip == rows_of(path, decoder, Request())[1].clip
    assert report.grid.num_snippets == 4


@pytest.mark.parametrize("decoder", DECODERS)
def test_probe_tells_the_facts_that_decoding_tells(decoder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.b.mp4", 20, NTSC)
    clip = probe(path, decoder=decoder)
    _, report = rows_of(path, decoder, Request())
    assert clip == report.clip
    assert (clip.id, clip.path, clip.width, clip.height, clip.num_frames, clip.fps) == (
        "a.b",
        str(path),
        96,
        64,
        20,
        NTSC,
    )


@pytest.mark.parametrize(
    ("name", "picture_start", "sound_start", "start_s"),
    [
        ("a.mp4", 0, 0, 0.0),
        ("a.mp4", 50, 0, 2.0),
        ("a.mp4", 0, 16000, 0.0),
        ("a.mkv", 50, 0, 2.0),
        ("a.mp4", 50, None, 2.0),  # browsers do not move the beginning
        ("a.ts", 50, None, 0.0),  # the clock of a transport stream begins anywhere
        ("a.ts", 50, 0, 2.0),
        ("a.avi", 0, None, 0.0),
    ],
)
@pytest.mark.parametrize("decoder", ["pyav", "torchcodec"])
def test_when_the_first_picture_comes_is_told(
    name: str, picture_start: int, sound_start: int | None, start_s: float, decoder: str, tmp_path: Path
) -> None:
    sound = None if sound_start is None else np.zeros((1, 48000), np.float32)
    path = write(tmp_path / name, picture_start=picture_start, sound=sound, sound_start=sound_start or 0)
    assert probe(path, decoder=decoder).start_s == pytest.approx(start_s, abs=0.07)  # a frame of sound comes before


@pytest.mark.parametrize("decoder", [name for name in DECODERS if name != "pyav"])
def test_decoders_agree_on_pixels(decoder: str, tmp_path: Path) -> None:
    """Same conversion to RGB: colour prints would otherwise depend on the decoder."""
    path = write(tmp_path / "a.mp4", 17, size=(160, 120))
    request = Request(views=(View("full"),))
    image, default = (np.stack([row.image for row in rows_of(path, n, request)[0]]) for n in (decoder, "pyav"))
    assert np.abs(image.astype(int) - default).max() <= 1


@pytest.mark.parametrize("decoder", DECODERS)
def test_no_frame_at_all_is_an_error(decoder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", 0)
    with pytest.raises(VideoUnreadable, match=r"before its first frame|decord cannot|End of file"):
        probe(path, decoder=decoder)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_damaged_packet_leaves_a_hole_and_shifts_nothing(decoder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 60, options={"x264-params": "b-pyramid=0:scenecut=0"})
    order = [number for _, _, number in packets(path)]
    # a B frame, which nothing refers to: it comes after a frame that is shown later
    lost = next(b for a, b in itertools.pairwise(order) if b > 30 and a > b)
    damage(path, [lost])
    request = Request(frames_per_snippet=1, views=(View("full"),))
    if decoder == "decord":
        with pytest.raises(VideoUnreadable, match="damaged packets"):
            rows_of(path, decoder, request)
        return
    rows, report = rows_of(path, decoder, request)
    assert report.clip.num_frames == 60
    assert (report.corrupt_packets, report.replaced_rows) == (1, (lost,))
    assert [read(row.image) for row in rows] == [lost - 1 if n == lost else n for n in range(60)]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_lost_first_frame_is_replaced_by_the_next_good_one(decoder: str, tmp_path: Path) -> None:
    path = damage(write(tmp_path / "a.mp4", 60, keyframes=1, b_frames=0), [0])
    request = Request(frames_per_snippet=20, views=(View("full"),))
    if decoder == "decord":
        with pytest.raises(VideoUnreadable, match="damaged packets"):
            rows_of(path, decoder, request)
        return
    rows, report = rows_of(path, decoder, request)
    assert (report.replaced_rows, [read(row.image) for row in rows]) == ((0,), [1, 20, 40])


def test_a_row_that_lost_several_frames_is_reported_once(tmp_path: Path) -> None:
    path = damage(write(tmp_path / "a.mp4", 60, keyframes=1, b_frames=0), [21, 22, 40])
    rows, report = rows_of(path, "pyav", Request(views=(View("full", every_frame=True), View("full"))))
    shown = {20: 20, 21: 20, 22: 20, 39: 39, 40: 39}
    assert report.replaced_rows == (1, 2)
    assert report.corrupt_packets == 3
    every = [read(row.image) for row in rows if row.view == 0]
    assert every == [shown.get(frame, frame) for frame in range(60)]
    assert [read(row.image) for row in rows if row.view == 1] == [0, 16, 32, 48]


@pytest.mark.parametrize("decoder", DECODERS)
def test_too_much_damage_is_refused_with_numbers(decoder: str, tmp_path: Path) -> None:
    path = damage(write(tmp_path / "a.mp4", 50, keyframes=1, b_frames=0), range(20, 25))
    said = "5 of 50 frames could not be decoded" if decoder != "decord" else "decord cannot decode"
    with pytest.raises(VideoUnreadable, match=said):
        rows_of(path, decoder, Request(frames_per_snippet=1))


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_file_of_damaged_packets_only_is_refused(decoder: str, tmp_path: Path) -> None:
    path = damage(write(tmp_path / "a.mp4", 20, keyframes=1, b_frames=0), range(20))
    with pytest.raises(VideoUnreadable, match="no frame of its video" if decoder != "decord" else "decord cannot"):
        probe(path, decoder=decoder)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(("share", "missing"), [(0.97, 3), (0.5, 0)])
def test_a_file_that_ends_early(decoder: str, share: float, missing: int, tmp_path: Path) -> None:
    """Its index is at the front and promises 100 frames, all of about the same size."""
    path = write(tmp_path / "a.mp4", 100, keyframes=1, b_frames=0, muxer={"movflags": "faststart"})
    start, end = packets(path)[0][0], packets(path)[-1][0]
    path.write_bytes(path.read_bytes()[: start + int((end - start) * share)])
    if decoder == "decord" or not missing:
        with pytest.raises(VideoUnreadable, match=r"frames could not be decoded|decord cannot"):
            rows_of(path, decoder, Request())
        return
    rows, report = rows_of(path, decoder, Request(frames_per_snippet=16, views=(View("full"),)))
    assert [read(row.image) for row in rows] == [0, 16, 32, 48, 64, 80, 96][: len(rows)]
    assert 100 - 2 * missing <= report.clip.num_frames < 100
    assert "ends early" in report.warnings[0]


def test_an_encoder_does_not_change_the_priority_of_the_tests(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    write(tmp_path / "a.mp4", frames=2, codec="libsvtav1")
    assert os.sched_getscheduler(0) == before
