"""Clips hold the right frames and their sound, have safe names, and appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import av
import numpy as np
import pytest

from tests.extractors.painted_videos import write
from tests.pipeline.painted_detection import detection_of, painted, picture_packets
from vadpipe.errors import DecoderTimeout, UsageError, VideoError, VideoUnreadable
from vadpipe.extractors.decode_child_link import Link
from vadpipe.extractors.decoders import Job
from vadpipe.extractors.limits import Limits
from vadpipe.extractors.media import AudioChunk, Request, open_media, probe
from vadpipe.extractors.media_task import Appearing
from vadpipe.extractors.pictures import pictures_at
from vadpipe.extractors.tasks import cut, overlay
from vadpipe.extractors.tasks.seeking import _check_once
from vadpipe.extractors.tasks.sound_track import SoundTrack
from vadpipe.extractors.tasks.writing import NotTaken
from vadpipe.pipeline.detecting.clips import clip_name, cut_clips
from vadpipe.pipeline.detecting.overlay import _drawn, draw_overlay
from vadpipe.tracks import FloatArray, Interval

RATE = 16_000
ONE_KEY_FRAME = {"x264-params": "scenecut=0"}


def beeps(seconds: int) -> FloatArray:
    """A tenth of a second of noise at the start of every second."""
    times = np.arange(seconds * RATE) / RATE
    noise = np.random.default_rng(0).uniform(-0.6, 0.6, len(times))
    return (noise * (times % 1 < 0.1)).astype(np.float32)[None]


def onsets(path: Path) -> list[float]:
    """Seconds at which sound sets in, on the clock of the pictures."""
    with open_media(path, Request(views=(), audio_rate=RATE)) as reader:
        samples = np.concatenate([item.samples for item in reader if isinstance(item, AudioChunk)])
    loud = np.flatnonzero(np.abs(samples) > 0.15)
    return [float(at / RATE) for at in loud[np.diff(loud, prepend=-RATE) > RATE // 2]]


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def numbers(path: Path) -> list[int]:
    return [number for _, number in painted(path)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_packets_are_copied_and_players_start_at_the_right_frame(name: str, tmp_path: Path) -> None:
    """The interval is frames 60 to 90, half a second is added on both sides; key frames are 48 and 72."""
    path = write(tmp_path / name, 150, sound=beeps(6))
    (clip,) = cut_clips(path, detection_of(path, [(60, 90)]), tmp_path / "clips", pre_s=0.5, post_s=0.5)
    seen = painted(clip)
    count = len(seen)
    assert [number for _, number in seen] == list(range(47, 47 + count))
    assert 102 <= 47 + count <= 105  # up to the frames that the last ones refer to
    assert [time for time, _ in seen] == [round(place / 25, 3) for place in range(count)]
    assert set(picture_packets(clip)) <= set(picture_packets(path)) or name == "a.ts"  # whose packets are framed anew
    # frame 47 is at 1.88 s, so the beeps of 2 s, 3 s and 4 s come 0.12 s later and so on
    np.testing.assert_allclose(onsets(clip)[:3], [0.12, 1.12, 2.12], atol=0.03)


def test_clips_end_with_the_video_and_may_overlap(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 100)
    told: list[tuple[int, int]] = []
    detection = detection_of(path, [(0, 20), (10, 40), (90, 100)])
    first, second, last = cut_clips(
        path, detection, tmp_path / "clips", on_clip=lambda done, total: told.append((done, total))
    )
    assert numbers(first)[0] == numbers(second)[0] == 0
    assert 70 <= numbers(first)[-1] + 1 <= 73
    assert (numbers(last)[0], numbers(last)[-1]) == (40, 99)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_without_roll_a_clip_is_its_interval(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 60, b_frames=0)
    (clip,) = cut_clips(path, detection_of(path, [(24, 48)]), tmp_path, pre_s=0, post_s=0)
    assert numbers(clip) == list(range(24, 48))


def test_no_key_frame_nearby_is_encoded_exactly(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 320, keyframes=1000, options=ONE_KEY_FRAME, sound=beeps(12))
    with av.open(str(path)) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0)) == 1
    (clip,) = cut_clips(path, detection_of(path, [(270, 300)]), tmp_path / "clips", pre_s=0.2, post_s=0.2)
    assert numbers(clip) == list(range(265, 305))
    np.testing.assert_allclose(onsets(clip)[:1], [0.4], atol=0.03)  # 11 s - 265 / 25 s


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "mpeg2video"), ("a.avi", "libx264")])
def test_what_mp4_does_not_take_is_encoded(name: str, codec: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, 60, codec=codec)
    (clip,) = cut_clips(path, detection_of(path, [(30, 50)]), tmp_path / "clips", pre_s=0, post_s=0)
    assert numbers(clip) == list(range(30, 50))
    assert probe(clip).codec == "h264"


def test_sound_that_mp4_does_not_take_becomes_aac_and_stays_in_step(tmp_path: Path) -> None:
    silent = write(tmp_path / "v.mp4", 100)
    path = tmp_path / "a.mov"
    sound = beeps(4)
    with av.open(str(silent)) as given, av.open(str(path), "w") as container:
        pictures = container.add_stream_from_template(given.streams.video[0])
        speech = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = pictures
                container.mux(packet)
        block = av.AudioFrame.from_ndarray((sound * 32_000).astype(np.int16), format="s16", layout="mono")
        block.sample_rate, block.pts = RATE, 0
        container.mux([*speech.encode(block), *speech.encode(None)])
    (clip,) = cut_clips(path, detection_of(path, [(40, 75)]), tmp_path / "clips", pre_s=0, post_s=0)
    with av.open(str(clip)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        assert container.streams.video[0].codec_context.name == "h264"
    assert numbers(clip)[0] == 40
    np.testing.assert_allclose(onsets(clip)[:1], [0.4], atol=0.03)  # 2 s - 40 / 25 s


def test_rotation_and_a_variable_rate_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 10, rotation=90, keyframes=4, pts=[0, 40, 100, 140, 300, 340, 400, 500, 520, 600])
    (clip,) = cut_clips(path, detection_of(path, [(5, 8)]), tmp_path / "clips", pre_s=0, post_s=0)
    facts = probe(clip)
    assert (facts.width, facts.height, facts.rotation) == (64, 96, probe(path).rotation)
    with av.open(str(clip)) as container:
        times = [round(frame.time or 0.0, 3) for frame in container.decode(video=0)]
    assert times[:3] in ([0.0, 0.06, 0.16], [0.0, 0.04, 0.1])  # the grid's seconds are means: frame 4 or 5 is first


@pytest.mark.parametrize(
    ("video_id", "category"),
    [
        ("../../etc/passwd", "../x"),
        ("a\0b\nc", "\u202efight\x1b[2J"),
        ("x" * 400, "打" * 400),
        ("", ".."),
        ("-rf", "a/b"),
    ],
)
def test_names_are_safe(video_id: str, category: str, tmp_path: Path) -> None:
    name = clip_name(video_id, 3, Interval(category, 1.0, 2.25, 25, 56))
    assert Path(name).name == name
    assert len(name.encode()) < 230
    assert name.isprintable()
    assert not name.startswith((".", "-"))
    assert name.endswith("_1.0-2.2.mp4")
    assert "_03_" in name


def test_a_name_with_dots_stays_in_the_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 30)
    folder = tmp_path / "deep" / "clips"
    (clip,) = cut_clips(path, detection_of(path, [(0, 16)], "../../up", "../../../a"), folder)
    assert clip.resolve().parent == folder.resolve()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.mp4", "deep"]


def test_letters_of_any_script_stay_readable() -> None:
    assert clip_name("кам-1", 1, Interval("打架", 0.0, 1.5, 0, 30)) == "кам-1_01_打架_0.0-1.5.mp4"


def test_clips_of_two_videos_never_share_a_name() -> None:
    ids = ["cam 1", "cam-1", "cam/1", "-cam-1", "x" * 100 + "north", "x" * 100 + "south", "x" * 100, "e\u0301", "é", ""]
    ids += ["\udcff", "\udcfe", "cam-1-" + hashlib.sha256(b"cam 1").hexdigest()[:8] + "\n"]
    interval = Interval("打架", 0.0, 1.5, 0, 30)
    assert len({clip_name(video, 1, interval) for video in ids}) == len(ids)
    digest = hashlib.sha256(b"cam 1").hexdigest()[:8]
    assert clip_name("cam 1", 1, interval) == f"cam-1-{digest}_01_打架_0.0-1.5.mp4"
    spans = [replace(interval, category=name) for name in ("a b", "a-b")]
    assert clip_name("v", 1, spans[0]) != clip_name("v", 1, spans[1])


def test_no_interval_is_no_clip_and_no_folder(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 20)
    assert cut_clips(path, detection_of(path, []), tmp_path / "clips") == []
    assert not (tmp_path / "clips").exists()


def test_files_and_folders_that_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 30)
    detection = detection_of(path, [(0, 16)])
    with pytest.raises(UsageError, match="cannot be made"):
        cut_clips(path, detection, path)
    with pytest.raises(UsageError, match="pre_s: got -1"):
        cut_clips(path, detection, tmp_path, pre_s=-1)
    own = tmp_path / clip_name("a", 1, detection.intervals[0])
    own.hardlink_to(path)
    with pytest.raises(UsageError, match="it is the video itself"):
        cut_clips(path, detection, tmp_path)
    own.unlink()
    path.write_text("no video any more")
    with pytest.raises(VideoUnreadable, match="text file"):
        cut_clips(path, detection, tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 30)
    (tmp_path / "clips").mkdir(mode=0o500)
    with pytest.raises(UsageError, match="cannot be written"):
        cut_clips(path, detection_of(path, [(0, 16)]), tmp_path / "clips")


def test_a_killed_child_leaves_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 30)
    with pytest.raises(DecoderTimeout):  # a child cannot even start in that time
        cut_clips(path, detection_of(path, [(0, 16)]), tmp_path / "clips", limits=Limits(stall_s=0.01))
    assert list((tmp_path / "clips").iterdir()) == []


def test_finished_clips_stay_where_a_later_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", 60)
    settle = Appearing.settle

    def full(file: Appearing) -> Path:
        if "_02_" in file.temporary.name:
            raise UsageError("the disk is full")
        return settle(file)

    monkeypatch.setattr(Appearing, "settle", full)
    with pytest.raises(UsageError, match="the disk is full"):
        cut_clips(path, detection_of(path, [(0, 16), (16, 32), (32, 48)]), tmp_path / "clips")
    (left,) = (tmp_path / "clips").iterdir()
    assert left.name.startswith("a_01_")


@pytest.mark.parametrize("seed", range(6))
def test_damaged_videos_give_clips_or_one_error(seed: int, tmp_path: Path) -> None:
    """Bits flipped, or cut off, after detecting."""
    path = write(tmp_path / ("a.mkv" if seed % 2 else "a.mp4"), 75, sound=beeps(3))
    detection = detection_of(path, [(10, 30), (50, 70)])
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    if seed < 2:
        del data[len(data) * 2 // 3 :]
    for place in rng.integers(len(data) // 4, len(data), 20):
        data[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    folder = tmp_path / "clips"
    try:
        clips, said = cut_clips(path, detection, folder, pre_s=0.2), str(path)
    except VideoError as error:
        clips, said = [], str(error)
    assert str(path) in said
    assert "Traceback" not in said
    assert [clip.name for clip in clips] == sorted(item.name for item in folder.iterdir())


@pytest.mark.parametrize("name", ["a.ts", "a.mkv"])
def test_a_video_whose_clock_starts_again_is_refused(name: str, tmp_path: Path) -> None:
    """Two recordings joined end to end: extraction counts 100 frames, and second 1 is there twice."""
    path = write(tmp_path / name, 50)
    path.write_bytes(path.read_bytes() * 2)
    detection = detection_of(path, [(60, 90)])
    assert detection.clip.num_frames == 100
    for work in (
        lambda: cut_clips(path, detection, tmp_path),
        lambda: draw_overlay(path, detection, tmp_path / "o.mp4"),
        lambda: pictures_at(path, [2.5]),
    ):
        with pytest.raises(VideoUnreadable, match=r"timestamps start again at (1\.9|2\.0) s.*Remux it"):
            work()
    assert [item.name for item in tmp_path.iterdir()] == [name]


def test_one_damaged_timestamp_is_no_new_start() -> None:
    def packets(*stamps: int) -> Iterator[SimpleNamespace]:
        return (SimpleNamespace(pts=None, dts=stamp) for stamp in stamps)

    job = cast(Job, SimpleNamespace(path="a.ts", beat=lambda: None, max_frames=100))
    _check_once(packets(0, 40, 80, 9999, 120, 160, 0, 200, 240), job, Fraction(1, 1000))
    with pytest.raises(VideoUnreadable, match=r"again at 1\.2 s"):
        _check_once(packets(0, 1160, 1200, 0, 40), job, Fraction(1, 1000))


def test_failed_attempts_leave_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copying fails at the end, and so does encoding, with the sound as it is and anew."""
    path = write(tmp_path / "a.mp4", 60, sound=beeps(3))
    detection = detection_of(path, [(24, 48)])
    fixed = {**asdict(Limits()), "path": str(path), "shown": "x"}
    tried = []

    def refuse(_: SoundTrack) -> None:
        tried.append(1)
        raise NotTaken("it is refused")

    monkeypatch.setattr(SoundTrack, "finish", refuse)
    link = cast(Link, SimpleNamespace(beat=lambda: None, send=lambda **_: None))
    before = open_files()
    with pytest.raises(VideoUnreadable, match="no clip can be made") as first:
        cut.run(link, {**fixed, "cuts": [(0.5, 2.0, str(tmp_path / "c.mp4"), "x", "")]})
    with pytest.raises(VideoUnreadable, match="no copy can be written") as second:
        overlay.run(link, {**fixed, **_drawn(detection), "temporary": str(tmp_path / "o.mp4")})
    assert len(tried) == 5
    assert open_files() == before, (first, second)  # whose tracebacks keep all objects alive


@pytest.mark.parametrize("drift", [0.97, 1.03])
def test_encoded_sound_keeps_step_with_a_clock_that_drifts(drift: float, tmp_path: Path) -> None:
    """PCM whose timestamps advance slower or faster than its samples; a beep stands at every second of its times."""
    path, seconds = tmp_path / "a.mkv", 8
    silent = write(tmp_path / "v.mp4", 25 * seconds)
    count = int(seconds * RATE / drift)
    sound = (12_000 * (np.arange(count) * drift / RATE % 1 < 0.1)).astype(np.int16)[None]
    sound[:, ::2] *= -1
    with av.open(str(silent)) as given, av.open(str(path), "w") as container:
        pictures = container.add_stream_from_template(given.streams.video[0])
        speech = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = pictures
                container.mux(packet)
        for at in range(0, count, 800):
            block = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound[:, at : at + 800]), format="s16", layout="mono"
            )
            block.sample_rate, block.pts = RATE, round(at * drift)
            container.mux(speech.encode(block))
    out = draw_overlay(path, detection_of(path, [(0, 16)]), tmp_path / "o.mp4")
    found = onsets(out)
    assert len(found) == seconds
    np.testing.assert_allclose(found, range(seconds), atol=0.08)


def test_what_a_killed_run_left_is_swept_by_the_next_one(tmp_path: Path) -> None:
    """Of a process that has ended; those of living ones, and files of other names, stay."""
    path, folder = write(tmp_path / "a.mp4", 30), tmp_path / "clips"
    folder.mkdir()
    out = folder / "o.mp4"
    code = "import sys; from pathlib import Path; from vadpipe.extractors.media_task import Appearing; "
    code += "print(Appearing(Path(sys.argv[1]), Path(sys.argv[2])).temporary.name)"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(out), str(path)], check=True, capture_output=True, text=True
    )
    left = folder / ended.stdout.strip()
    assert left.is_file()
    mine = folder / f"{left.name.rsplit('.', 2)[0]}.{os.getpid()}-1.tmp"
    others = (mine, folder / ".o.mp4.tmp", folder / ".notes.1234.tmp")
    for other in others:
        other.touch()
    (clip,) = cut_clips(path, detection_of(path, [(0, 16)]), folder)
    assert {item.name for item in folder.iterdir()} == {clip.name, *(other.name for other in others)}


def test_long_names_have_temporary_files_of_their_own(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 4)
    files = [Appearing(tmp_path / f"{'火' * 80}{number}.mp4", path) for number in (1, 2)]
    assert files[0].temporary != files[1].temporary
    for file in files:
        file.settle()
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])  # copied; encoded
def test_clips_of_own_categories_say_that_they_are(tmp_path: Path, codec: str) -> None:
    path = write(tmp_path / "a.mkv", 50, codec=codec, b_frames=0)
    found = detection_of(path, [(10, 30), (30, 45)])
    first, second = found.intervals
    found = replace(found, intervals=(replace(first, category="brawl"), replace(second, category="riot")))
    own, trained = cut_clips(path, replace(found, zero_shot=frozenset({"brawl"})), tmp_path / "clips")
    assert own.name == "a_01_brawl_zero-shot-uncalibrated_0.4-1.2.mp4"
    assert trained.name == "a_02_riot_1.2-1.8.mp4"
    titles = []
    for clip in (own, trained):
        with av.open(str(clip)) as container:
            titles.append(container.metadata["title"])
    assert titles == ["a: brawl (zero-shot, uncalibrated)", "a: riot"]
