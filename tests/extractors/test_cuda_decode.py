"""Decoding next to the encoder: the CPU stands in for the GPU, all else is the same."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import need_decoder
from tests.extractors.in_process import InProcess
from tests.extractors.painted_videos import damage, read, write, write_cut
from tests.extractors.test_media_conformance import VARYING
from vadpipe.errors import UsageError, VideoTooLarge, VideoUnreadable
from vadpipe.extractors import cuda_decode, media
from vadpipe.extractors.cuda_decode import DeviceRow, check_device, open_device
from vadpipe.extractors.media import AudioChunk, FrameRow, Limits, MediaReport, Request, View


@pytest.fixture(autouse=True)
def torchcodec_in_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child of torchcodec's takes seconds to start."""
    monkeypatch.setattr(media, "DecodeProcess", InProcess)


@pytest.fixture
def _torchcodec() -> None:
    need_decoder("torchcodec")


def rows_of(path: Path, request: Request, limits: Limits | None = None) -> tuple[list[DeviceRow], MediaReport]:
    with open_device(path, request, device="cpu", limits=limits) as reader:
        rows = [item for item in reader if isinstance(item, DeviceRow)]
    return rows, reader.report


@pytest.mark.usefixtures("_torchcodec")
@pytest.mark.parametrize("kind", ["constant", "varying", "ntsc", "edit list", "rotated", "10 bit", "late start"])
def test_frames_and_times_are_those_of_the_cpu_reader(kind: str, tmp_path: Path) -> None:
    path = {
        "constant": lambda d: write(d / "a.mp4"),
        "varying": lambda d: write(d / "a.mkv", pts=VARYING),
        "ntsc": lambda d: write(d / "a.mkv", rate=Fraction(30000, 1001)),
        "edit list": lambda d: write_cut(d / "cut.mp4", write(d / "a.mp4", 80, keyframes=50), 62),
        "rotated": lambda d: write(d / "a.mp4", rotation=90),
        "10 bit": lambda d: write(d / "a.mp4", pixels="yuv420p10le"),
        "late start": lambda d: write(d / "a.mkv", picture_start=13),
    }[kind](tmp_path)
    request = Request(frames_per_snippet=4, offset=1, views=(View("full"),))
    rows, report = rows_of(path, request)
    with media.open_media(path, request) as reader:
        expected = [item for item in reader if isinstance(item, FrameRow)]
    clip = reader.clip
    assert (report.clip, report.grid) == (clip, reader.grid)
    assert [(row.row, row.frame, row.view) for row in rows] == [(row.row, row.frame, row.view) for row in expected]
    assert [row.pts_s for row in rows] == pytest.approx([row.pts_s for row in expected], abs=1e-9)
    for row, other in zip(rows, expected, strict=True):
        assert row.image.dtype == torch.uint8
        assert np.abs(row.image.numpy().astype(int) - other.image).max() <= 1
        assert read(np.rot90(row.image.numpy(), clip.rotation // 90)) == read(
            np.rot90(other.image, clip.rotation // 90)
        )


@pytest.mark.usefixtures("_torchcodec")
def test_views_come_by_frame_then_view_across_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_decode, "_BATCH_FRAMES", 3)
    path = write(tmp_path / "a.mp4", 10)
    request = Request(frames_per_snippet=4, views=(View("short224-center224"), View("full", every_frame=True)))
    rows, _ = rows_of(path, request)
    places = [(row.frame, row.view) for row in rows]
    assert places == sorted([(frame, 1) for frame in range(10)] + [(frame, 0) for frame in (0, 4, 8)])
    assert [row.row for row in rows] == [row.frame // 4 for row in rows]
    assert {tuple(row.image.shape) for row in rows} == {(224, 224, 3), (64, 96, 3)}
    assert [read(row.image.numpy()) for row in rows if row.view == 1] == list(range(10))


@pytest.mark.usefixtures("_torchcodec")
def test_sound_comes_between_the_pictures(tmp_path: Path) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(10 * 16000) / 16000)
    path = write(tmp_path / "a.mp4", 250, sound=tone[None].astype(np.float32))
    request = Request(audio_rate=8000, frames_per_snippet=25)
    with open_device(path, request, device="cpu") as reader:
        items = list(reader)
    with media.open_media(path, replace(request, views=()), decoder="torchcodec") as other:
        expected = [item for item in other if isinstance(item, AudioChunk)]
    chunks = [item for item in items if isinstance(item, AudioChunk)]
    heard_here, heard_there = (np.concatenate([c.samples for c in group]) for group in (chunks, expected))
    np.testing.assert_array_equal(heard_here, heard_there)
    assert reader.report == other.report
    heard = 0.0
    for item in items:
        if isinstance(item, AudioChunk):
            heard = (item.start_sample + len(item.samples)) / 8000
        else:
            assert item.pts_s <= heard < item.pts_s + 2.5
    assert sum(isinstance(item, DeviceRow) for item in items) == 10


@pytest.mark.usefixtures("_torchcodec")
def test_sound_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", sound=np.zeros((1, 32000), np.float32))
    with open_device(path, Request(views=(), audio_rate=8000), device="cpu") as reader:
        assert {type(item) for item in reader} == {AudioChunk}
    assert reader.report.audio_state == "present"


@pytest.mark.usefixtures("_torchcodec")
def test_damage_is_an_error_that_names_the_way_out(tmp_path: Path) -> None:
    path = damage(write(tmp_path / "a.mp4", 60, keyframes=1, b_frames=0), [30])
    with pytest.raises(VideoUnreadable, match=r"fails at frame 0 … 31 .*--decode-device cpu"):
        rows_of(path, Request(frames_per_snippet=1, views=(View("full"),)), None)


@pytest.mark.usefixtures("_torchcodec")
@pytest.mark.parametrize("name", ["a.avi", "half.mp4"])
def test_a_file_that_it_would_shift_or_shorten_is_refused(name: str, tmp_path: Path) -> None:
    """AVI has no presentation times; the other file ends in the middle of its data."""
    path = write(tmp_path / name, 100, muxer=FAST.get(name))
    if name == "half.mp4":
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(VideoUnreadable, match=r"--decode-device cpu|could not be decoded"):
        rows_of(path, Request())


FAST = {"half.mp4": {"movflags": "faststart"}}


@pytest.mark.usefixtures("_torchcodec")
def test_caps_hold_before_the_gpu_sees_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4")
    monkeypatch.setattr(cuda_decode.DeviceReader, "_begin", lambda self: pytest.fail("opened"))
    with pytest.raises(VideoTooLarge, match="96 x 64 pixels"):
        rows_of(path, Request(), Limits(max_pixels=6000))
    with pytest.raises(VideoTooLarge, match="long"):
        rows_of(path, Request(), Limits(max_duration_s=1.0))


@pytest.mark.usefixtures("_torchcodec")
def test_an_unknown_geometry_is_told_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="geometry: got 'x'"):
        rows_of(write(tmp_path / "a.mp4", 3), Request(views=(View("x"),)))


@pytest.mark.parametrize(
    ("decoder", "device", "said"),
    [
        ("pyav", "cuda", "decoder 'pyav' decodes on the CPU only.*--decoder torchcodec"),
        ("decord", "cuda:1", "decoder 'decord' decodes on the CPU only"),
        ("torchcodec", "gpu", "got 'gpu', expected cpu, cuda or cuda:N"),
        ("torchcodec", "cuda:x", "got 'cuda:x'"),
        ("pyav", "cpu:0", "got 'cpu:0'"),
    ],
)
def test_devices_that_cannot_be(decoder: str, device: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_device(decoder, device)


def test_devices_that_can_be() -> None:
    for decoder, device in (("pyav", "cpu"), ("torchcodec", "cpu"), ("torchcodec", "cuda"), ("torchcodec", "cuda:3")):
        check_device(decoder, device)


def test_no_gpu_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="finds no GPU here"), open_device(tmp_path / "a.mp4", Request()):
        pass
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="there are 1 GPUs"), open_device(tmp_path / "a.mp4", Request(), "cuda:1"):
        pass
