"""What a hostile video may cost, at each guard: time, streams, frames, sound that is not there, written files."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import av
import numpy as np
import pytest

from tests.extractors.painted_videos import write
from tests.extractors.test_media_limits import FAKE, FULL, fake_file
from tests.hostile_media import boxes
from vadpipe.errors import DecoderTimeout, VideoError, VideoTooLarge, VideoUnreadable
from vadpipe.extractors import decode_process, decoders
from vadpipe.extractors.decoders import DECODERS, Job, Tally, pyav_file
from vadpipe.extractors.decoders.pyav_index import index_frames, index_packets
from vadpipe.extractors.limits import Limits, frames_s
from vadpipe.extractors.media import AudioChunk, Request, open_media
from vadpipe.extractors.media_task import MediaTask
from vadpipe.extractors.video_file import check_file

ROOT = Path(__file__).parents[2]


def job_for(path: Path, **changed: Any) -> Job:
    facts = {"max_pixels": 10**6, "max_duration_s": 1e6, "audio_rate": 0, "beat": lambda: None, **changed}
    return Job(path=path, sampled=np.arange, **facts)


def overlay(path: Path, out: Path, limits: Limits | None = None, label: str = "fight") -> MediaTask:
    out.write_bytes(b"")
    facts = {"fps": [25, 1], "num_frames": 50, "step": 50, "boundaries_s": [], "calibrated": None, "threshold": None}
    marks = [(0, 50, label, "fight", "")]
    return MediaTask("overlay", path, limits, **facts, anomaly=[0.5], marks=marks, temporary=str(out), shown="o.mp4")


def cut(path: Path, out: Path, limits: Limits | None = None) -> MediaTask:
    out.write_bytes(b"")
    return MediaTask("cut", path, limits, cuts=[(0.3, 1.2, str(out), "o.mp4", "title")])


def pictures(path: Path, _: Path, limits: Limits | None = None) -> MediaTask:
    return MediaTask("pictures", path, limits, seconds=[1.5], height=32)


def done(task: MediaTask) -> None:
    with task:
        for message in task:
            if message["t"] == "head":
                task.open_ring(message["slot_bytes"])
            elif message["t"] == "picture":
                task.picture(message)


def heard(path: Path, request: Request, decoder: str) -> int:
    """Samples of sound, which are not kept."""
    with open_media(path, request, decoder=decoder) as reader:
        return sum(len(item.samples) for item in reader if isinstance(item, AudioChunk))


class TestTime:
    def test_frames_earn_time_as_far_as_the_file_bears_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(decoders, "DECODERS", MappingProxyType({**DECODERS, "fake": FAKE}))
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        path = fake_file(tmp_path, "plain")  # 10 bytes that give 320 frames
        with open_media(path, FULL, decoder="fake", limits=Limits(wall_s=100)) as reader:
            assert cast("Any", reader)._child._allowed_s == pytest.approx(100, abs=0.01)
        path.write_bytes(bytes(100 * 16))
        with open_media(path, FULL, decoder="fake", limits=Limits(wall_s=100)) as reader:
            assert cast("Any", reader)._child._allowed_s == pytest.approx(104, abs=0.01)

    @pytest.mark.parametrize(("name", "passes"), [("a.mp4", 1), ("a.avi", 2), ("a.webm", 2)])
    def test_a_video_that_is_decoded_twice_has_twice_the_time(self, name: str, passes: int, tmp_path: Path) -> None:
        kind = {"a.avi": {"codec": "mpeg4", "b_frames": 0}, "a.webm": {"codec": "libvpx", "b_frames": 0}}.get(name, {})
        path = write(tmp_path / name, 50, **cast("dict[str, Any]", kind))
        size = path.stat().st_size
        assert size > 50 * 16
        with open_media(path, Request(), limits=Limits(wall_s=100)) as reader:
            allowed_s = cast("Any", reader)._child._allowed_s
        assert allowed_s == pytest.approx(Limits(wall_s=100).allowed_s(size) + passes * frames_s(size, 50))

    @pytest.mark.parametrize("decoder", ["pyav", "torchcodec"])
    def test_the_time_is_there_before_the_first_of_two_passes(self, decoder: str, tmp_path: Path) -> None:
        pytest.importorskip(decoder.replace("pyav", "av"))
        path = write(tmp_path / "a.avi", 50, codec="mpeg4", b_frames=0)
        events: list[object] = []
        job = job_for(path, beat=lambda: events.append("beat"), counted=events.append)
        import_module(DECODERS[decoder].module).open_source(job)
        assert events.count(50) == 1
        assert events[events.index(50) :].count("beat") >= 50

    def test_a_task_has_an_end(self, tmp_path: Path) -> None:
        with pytest.raises(DecoderTimeout, match=r"not done after 0\.0 s"):  # a start alone takes longer
            done(pictures(write(tmp_path / "a.mp4", 3), tmp_path, Limits(wall_s=0.001)))


class TestStreamsAndFrames:
    def test_more_streams_than_have_a_decoder_each_are_refused(self, tmp_path: Path) -> None:
        data = write(tmp_path / "a.mp4", 4, muxer={"movflags": "empty_moov"}).read_bytes()
        at, size, _ = next(box for box in boxes(data) if box[2] == b"moov")
        trak, length, _ = next(box for box in boxes(data) if box[2] == b"trak")
        more = data[trak : trak + length] * 150
        path = tmp_path / "many.mp4"
        path.write_bytes(data[:at] + struct.pack(">I", size + len(more)) + data[at + 4 : trak] + more + data[trak:])
        try:
            with pyav_file.open_file(job_for(path)) as container:
                opened = len(container.streams)
        except (VideoError, MemoryError):  # FFmpeg calls it a lack of memory
            opened = 0
        assert opened <= 100

    def test_ffmpeg_is_told_to_open_files_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path, given, real = write(tmp_path / "a.mp4", 3), dict[str, str](), av.open

        def opening(url: str, **options: Any) -> Any:
            given.update(options["container_options"])
            return real(url, **options)

        with monkeypatch.context() as patch:
            patch.setattr(av, "open", opening)
            pyav_file.open_file(job_for(path)).close()
        assert given["protocol_whitelist"] == "file"
        with pytest.raises(av.error.FFmpegError):
            real(f"subfile,,start,0,end,0,,:{path}", container_options=given)
        real(f"subfile,,start,0,end,0,,:{path}").close()  # which is what the list is there for

    def test_a_list_of_other_files_is_told_behind_other_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "a.flv"
        path.write_bytes(b"FLV\x01\x05\xff#EXTM3U\n" + bytes(3000))
        with pytest.raises(VideoUnreadable, match="playlist or a description of other files"):
            check_file(path)

    def test_frames_that_are_counted_by_decoding_have_the_same_caps(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.avi", 50, codec="mpeg4", b_frames=0)
        packets, _ = index_packets(job_for(path), Tally())
        assert len(index_frames(job_for(path), packets).pts) == 50
        with pytest.raises(VideoTooLarge, match="more than 20 frames"):
            index_frames(job_for(path, max_frames=20), packets)
        with pytest.raises(VideoTooLarge, match="hours long"):
            index_frames(job_for(path, max_duration_s=1.0), packets)

    @pytest.mark.parametrize("task", [overlay, cut, pictures])
    def test_tasks_count_frames(self, task: Callable[..., MediaTask], tmp_path: Path) -> None:
        path = write(tmp_path / "a.mkv", 50)
        with pytest.raises(VideoTooLarge, match=r"more than 20 frames.*max_frames=NUMBER"):
            done(task(path, tmp_path / "o.mp4", Limits(max_frames=20)))
        done(task(path, tmp_path / "o.mp4", Limits(max_frames=50)))


class TestSound:
    @pytest.fixture(params=["pyav", "torchcodec"])
    def decoder(self, request: pytest.FixtureRequest) -> str:
        pytest.importorskip(request.param.replace("pyav", "av"))
        return str(request.param)

    def two_packets(self, path: Path, apart_s: int) -> Path:
        """Two pictures and two tenths of a second of sound, so far apart."""
        with av.open(str(path), "w") as container:
            video = cast("Any", container.add_stream("libx264", rate=25))
            video.width = video.height = 32
            video.codec_context.time_base = Fraction(1, 1000)
            sound = cast("Any", container.add_stream("pcm_s16le", rate=8000, layout="mono"))
            for second in (0, apart_s):
                frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                frame.pts, frame.time_base = second * 1000, Fraction(1, 1000)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            for second in (0, apart_s - 1):
                block = av.AudioFrame.from_ndarray(np.ones((1, 800), np.int16), format="s16", layout="mono")
                block.sample_rate, block.pts, block.time_base = 8000, second * 8000, Fraction(1, 8000)
                container.mux(sound.encode(block))
        return path

    def test_a_day_of_silence_is_not_made_out_of_nothing(self, decoder: str, tmp_path: Path) -> None:
        path = self.two_packets(tmp_path / "a.mkv", 23 * 3600)
        with pytest.raises(VideoUnreadable, match=r"sound has holes of more than 1 h"):
            heard(path, Request(audio_rate=16000), decoder)

    def test_a_gap_of_some_minutes_is_filled(self, tmp_path: Path) -> None:
        path = self.two_packets(tmp_path / "a.mkv", 600)
        assert 599_000 <= heard(path, Request(views=(), audio_rate=1000), "pyav") <= 600_000


class TestWriting:
    @pytest.mark.parametrize("task", [overlay, cut])
    def test_a_file_that_grows_too_large_names_the_cap(self, task: Callable[..., MediaTask], tmp_path: Path) -> None:
        path = write(tmp_path / "a.mp4", 50, size=(192, 128), options={"qp": "1"})
        noise = tmp_path / "o.mp4"
        given = Limits(max_output_bytes=2000)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("vadpipe.extractors.limits._WRITTEN_SHARE", 0)
            with pytest.raises(VideoTooLarge, match=r"o\.mp4: it would be larger than 2000 bytes.*max_output_bytes="):
                done(task(path, noise, given))
        done(task(path, noise, given))
        assert noise.stat().st_size > 2000

    def test_the_cap_grows_with_the_video(self) -> None:
        assert Limits(max_output_bytes=1000).written_bytes(10**6) == 20_001_000


def tiny_font(path: Path, character: str) -> None:
    """A font whose one letter is a square."""
    builder = pytest.importorskip("fontTools.fontBuilder").FontBuilder(1000, isTTF=True)
    pen = pytest.importorskip("fontTools.pens.ttGlyphPen").TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((100, 700), (800, 700), (800, 0)):
        pen.lineTo(point)
    pen.closePath()
    empty = pytest.importorskip("fontTools.pens.ttGlyphPen").TTGlyphPen(None).glyph()
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(character): "square"})
    builder.setupGlyf({".notdef": empty, "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "square": (900, 100)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Tiny", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path.parent.mkdir(parents=True)
    builder.save(path)


@pytest.mark.parametrize("place", [".local/share/fonts", "shared/fonts/deep"])
def test_overlays_find_fonts_in_the_users_folders(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cuneiform sign, which no other of the fonts has: without it its code is drawn."""
    path, drawn = write(tmp_path / "a.mp4", 50, size=(320, 240)), []
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    if place.startswith("shared"):
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home" / "shared"))
    for number in range(2):
        done(overlay(path, tmp_path / "o.mp4", label="\U00012000"))
        with av.open(str(tmp_path / "o.mp4")) as container:
            drawn.append(next(container.decode(video=0)).to_ndarray(format="gray").astype(int))
        if not number:
            tiny_font(tmp_path / "home" / place / "NotoSansCJK-Regular.ttc", "\U00012000")
    assert np.abs(drawn[0] - drawn[1])[:60].max() > 60


def test_a_child_is_given_what_python_reads_and_no_folder_by_an_empty_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        os,
        "environ",
        {
            **{"PYTHONPATH": f"/x{os.pathsep}", "LD_LIBRARY_PATH": f"{os.pathsep}/y{os.pathsep}{os.pathsep}z"},
            **{"PYTHONHASHSEED": "1", "NIX_LD": "/n", "NIX_LD_LIBRARY_PATH": "/m:", "LC_ALL": "C"},
            **{"PYTHON_SECRET_TOKEN": "s", "LD_API_KEY": "k", "PYTHONSTARTUP": "p"},
        },
    )
    given = decode_process._environment()
    assert given["PYTHONPATH"] == "/x"
    assert given["LD_LIBRARY_PATH"] == os.pathsep.join(["/y", str(Path.cwd() / "z")])
    assert (given["PYTHONHASHSEED"], given["NIX_LD"], given["NIX_LD_LIBRARY_PATH"]) == ("1", "/n", "/m")
    assert not {"PYTHON_SECRET_TOKEN", "LD_API_KEY", "PYTHONSTARTUP"} & set(given)
