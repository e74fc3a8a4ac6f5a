"""``vadpipe extract`` as a user meets it: its choices, and how it shows where it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.extractors import painted_videos
from vadpipe.cli import main
from vadpipe.cli_extract import Shown
from vadpipe.cli_output import progress
from vadpipe.errors import VideoUnreadable
from vadpipe.pipeline.extract import Outcome, Step


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--streams", "i3d"], "got i3d, expected some of clip, i3d-inception"),
        (["--streams", "clip,clip"], "each stream once"),
        (["--streams", "c3d", "--stride", "8"], "--stride 16"),
        (["--stream", "clip", "--batch-size", "3"], "at least 4 for clip"),
        (["--weights", "random", "--weights", "random:1"], "expected one for all streams"),
        (["--weights", "wav2clip=x.pt"], "wav2clip is not in use here"),
        (["--weights", "clip=" + "x" * 300], "which is no file"),
        (["--streams", "c3d", "--crops", "5", "--weights", "random"], "c3d has the centre crop only"),
        (["--decode-device", "cuda"], "choose --decoder torchcodec"),
        (["--decode-device", "cuda", "--decoder", "torchcodec", "--device", "cpu", "--weights", "random"], "the GPU"),
        (["--gpus", "all", "--device", "cpu"], "give one of them"),
        (["--limit", "patience=3"], "expected NAME=VALUE with one of"),
    ],
)
def test_wrong_choices_are_usage_errors_before_anything_is_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.mp4").touch()  # never looked into
    monkeypatch.setattr(sys, "argv", ["vadpipe", "extract", "a.mp4", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4"]


def test_a_name_that_begins_with_random_is_not_called_untrained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "randomised.pt"):
        (tmp_path / name).touch()
    monkeypatch.setattr(sys, "argv", ["vadpipe", "extract", "a.mp4", "--weights", "randomised.pt"])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr().err
    assert (ended.value.code, "not pretrained ones" in shown) == (1, False)
    assert "randomised.pt is no plain state dict" in shown


def test_two_streams_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    painted_videos.write(tmp_path / "a.mp4", 3)
    monkeypatch.chdir(tmp_path)
    command = ["vadpipe", "extract", "a.mp4", "--streams", "wav2clip,i3d-inception", "--weights", "random"]
    monkeypatch.setattr(sys, "argv", [*command, "--device", "cpu", "--batch-size", "1"])
    main()
    shown = capsys.readouterr()
    assert "random weights, not pretrained ones: wav2clip, i3d-inception" in shown.err
    assert "2 (" in shown.out  # rows, those without sound too
    assert len(list((tmp_path / "features").glob("*/*/*.h5"))) == 2


def test_a_limit_refuses_a_video_and_its_path_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    painted_videos.write(tmp_path / "a.mp4", 3)
    monkeypatch.chdir(tmp_path)
    command = ["vadpipe", "extract", "a.mp4", "--streams", "wav2clip", "--weights", "random", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", [*command, "--limit", "max_pixels=100"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("failed"))
    assert line.startswith("failed: a.mp4: 96 x 64 pixels, 100 are allowed")
    assert "--limit max_pixels" in line


def test_plain_lines_come_now_and_then_and_say_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock, lines = [0.0], list[str]()
    with progress(quiet=True) as bars:
        shown = Shown(4, bars, now=lambda: clock[0])
        shown.line = lines.append
        shown.finished(Outcome("kept", tmp_path, kept=True))
        clock[0] = 10.0
        shown.step(Step(rows=32, frames=500.0, videos=0.5))
        clock[0] = 12.0
        shown.step(Step(rows=32, frames=500.0, videos=0.5))  # too soon for another line
        shown.finished(Outcome("made", tmp_path))
        clock[0] = 16.0
        shown.finished(Outcome("bad", tmp_path / "x.mp4", error=VideoUnreadable("no video")))
    assert lines == [
        "1 of 4 videos, 50 frames/s, 0:00:50 left",  # half a video took 10 s, 2.5 are left
        "3 of 4 videos, 62 frames/s, 1 failed, 0:00:08 left",
    ]
    assert f"failed: {tmp_path / 'x.mp4'}: no video" in capsys.readouterr().err
