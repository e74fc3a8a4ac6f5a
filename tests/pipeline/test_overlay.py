"""An overlay keeps frames, times and sound, and shows the score, the timeline and the labels."""

from __future__ import annotations

import os
import signal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.extractors.painted_videos import write
from tests.pipeline.painted_detection import detection_of, frames, sound_packets
from vadpipe.calibration import Calibration
from vadpipe.errors import DecoderTimeout, UsageError, VideoError, VideoUnreadable
from vadpipe.extractors.limits import Limits
from vadpipe.extractors.media import probe
from vadpipe.pipeline.detecting.overlay import draw_overlay

SIZE = (192, 256)  # width, height: the two middle rows of painted blocks are free of what is drawn
RATE = 16_000


def middle(image: NDArray[np.uint8]) -> int:
    """What the blocks of rows 1 and 2 of 4 show: bits 4 to 11 of the number."""
    height, width = image.shape[:2]
    blocks = image[height // 4 : height * 3 // 4].reshape(2, height // 4, 4, width // 4, 3).mean(axis=(1, 3, 4))
    return sum(1 << bit for bit, mean in enumerate(blocks.ravel()) if mean > 128)


def tone(seconds: int) -> NDArray[np.float32]:
    wave: NDArray[np.float32] = (0.4 * np.sin(np.arange(seconds * RATE) * 0.2)).astype(np.float32)
    return wave[None]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_every_frame_is_there_at_its_time_with_its_sound(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, 100, size=SIZE, sound=tone(4))
    told: list[tuple[int, int]] = []
    out = draw_overlay(
        path, detection_of(path, [(20, 60)]), tmp_path / "o.mp4", lambda done, total: told.append((done, total))
    )
    drawn = frames(out)
    assert [time for time, _ in drawn] == [Fraction(number, 25) for number in range(100)]
    assert [middle(image) for _, image in drawn] == [number >> 4 & 0xFF for number in range(100)]
    assert told[-1] == (100, 100)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    if name != "a.ts":  # whose packets have headers that MP4 leaves out
        assert sound_packets(out) == sound_packets(path)
    else:
        assert len(sound_packets(out)) == len(sound_packets(path))
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted([name, "o.mp4"])


def test_a_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    pts = [0, 40, 100, 1000, 1040, 3000, 3010]
    path = write(tmp_path / "a.mp4", 7, size=SIZE, pts=pts)
    out = draw_overlay(path, detection_of(path, [(0, 5)]), tmp_path / "o.mp4")
    assert [time for time, _ in frames(out)] == [Fraction(number, 1000) for number in pts]


@pytest.mark.parametrize("rotation", [0, 90, 180])
def test_rotated_and_odd_pictures_become_upright_and_even(rotation: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", 6, size=(97, 65), pixels="yuv444p")
    if rotation:
        path = write(tmp_path / "a.mp4", 6, size=(96, 64), rotation=rotation)
    facts = probe(draw_overlay(path, detection_of(path, [(0, 6)]), tmp_path / "o.mp4"))
    assert (facts.width, facts.height) == ((64, 96) if rotation == 90 else (96, 64))
    assert (facts.rotation, facts.num_frames) == (0, 6)


def test_avi_counts_its_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", 40, size=SIZE)
    drawn = frames(draw_overlay(path, detection_of(path, [(0, 20)]), tmp_path / "o.mp4"))
    assert [middle(image) for _, image in drawn] == [number >> 4 & 0xFF for number in range(40)]


def test_a_label_comes_and_goes(tmp_path: Path) -> None:
    """The label is in the top left corner during the interval only."""
    path = write(tmp_path / "a.mp4", 64, size=(320, 240))
    drawn = [
        image.astype(int) for _, image in frames(draw_overlay(path, detection_of(path, [(16, 32)]), tmp_path / "o.mp4"))
    ]
    plain = [image.astype(int) for _, image in frames(path)]
    corner = [np.abs(one[6:18, 2:40] - other[6:18, 2:40]).mean() for one, other in zip(drawn, plain, strict=True)]
    assert min(corner[16:32]) > 25
    assert max(*corner[:16], *corner[32:]) < 6


def test_a_note_and_a_threshold_change_the_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 16, size=(320, 240))
    plain = detection_of(path, [(0, 16)], "打架 кража")
    noted = detection_of(
        path,
        [(0, 16)],
        "打架 кража",
        zero_shot=frozenset({"打架 кража"}),
        calibration=Calibration(0.6, 0.5, 1.0, 2, 0, 1.0, (0.0, 0.5, 1.0)),
    )
    one, other = (frames(draw_overlay(path, found, tmp_path / "o.mp4"))[8][1].astype(int) for found in (plain, noted))
    assert np.abs(one[:20, 150:] - other[:20, 150:]).mean() > 10  # the note makes the label longer
    assert np.abs(one[-20:] - other[-20:]).mean() > 3


def test_files_that_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", 16)
    detection = detection_of(path, [(0, 16)])
    link = tmp_path / "link.mp4"
    link.symlink_to(path)
    for out, said in (
        (path, "it is the video itself"),
        (link, "it is the video itself"),
        (tmp_path / "o.avi", r"ends in \.mp4"),
        (tmp_path / "none" / "o.mp4", "cannot be written"),
        (path / "o.mp4", "cannot be written"),
    ):
        with pytest.raises(UsageError, match=said):
            draw_overlay(path, detection, out)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UsageError, match="it is a folder"):
        draw_overlay(path, detection, tmp_path / "folder.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("ffconcat version 1.0\nfile a.mp4\n")
    with pytest.raises(VideoUnreadable, match="text file"):
        draw_overlay(text, detection, tmp_path / "o.mp4")
    assert probe(path).num_frames == 16
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.mp4", "folder.mp4", "link.mp4", "text.mp4"]


def test_a_child_that_hangs_is_killed_and_leaves_the_old_file(tmp_path: Path) -> None:
    """It is stopped at the first sign of progress, long before it can be through."""
    path = write(tmp_path / "a.mp4", 1200)
    out = tmp_path / "o.mp4"
    out.write_bytes(b"old")

    def stop(_done: int, _total: int) -> None:
        for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            os.kill(int(child), signal.SIGSTOP)

    with pytest.raises(DecoderTimeout, match="no progress for 2 s"):
        draw_overlay(path, detection_of(path, [(0, 16)]), out, stop, limits=Limits(stall_s=2.0))
    assert out.read_bytes() == b"old"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.mp4", "o.mp4"]


@pytest.mark.parametrize("seed", range(4))
def test_damaged_videos_give_an_overlay_or_one_error(seed: int, tmp_path: Path) -> None:
    path = write(tmp_path / ("a.mkv" if seed % 2 else "a.mp4"), 50, sound=tone(2))
    detection = detection_of(path, [(10, 30)])
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    if seed < 2:
        del data[len(data) * 2 // 3 :]
    for place in rng.integers(len(data) // 4, len(data), 20):
        data[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(data)
    out = tmp_path / "o.mp4"
    try:
        draw_overlay(path, detection, out)
    except VideoError as error:
        said = str(error)
        left = [path.name]
    else:
        said = str(path)
        left = sorted([path.name, "o.mp4"])
        assert frames(out)
    assert str(path) in said
    assert "Traceback" not in said
    assert sorted(item.name for item in tmp_path.iterdir()) == left
