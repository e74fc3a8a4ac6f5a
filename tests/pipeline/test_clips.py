"""Clips hold the right frames and their sound, have safe names, and appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest

from tests.extractors.painted_videos import write
from tests.pipeline.painted_detection import detection_of, painted, picture_packets
from vadpipe.errors import DecoderTimeout, UsageError, VideoError, VideoUnreadable
from vadpipe.extractors.limits import Limits
from vadpipe.extractors.media import AudioChunk, Request, open_media, probe
from vadpipe.extractors.media_task import Appearing
from vadpipe.pipeline.clips import clip_name, cut_clips
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
    assert clip_name("кам 1", 1, Interval("打架", 0.0, 1.5, 0, 30)) == "кам-1_01_打架_0.0-1.5.mp4"


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
