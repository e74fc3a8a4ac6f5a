"""``vadpipe detect`` on the screen: tables, progress, exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from rich.console import Console
from rich.progress import Progress

from tests.pipeline.detected import CALIBRATION, made_detection
from vadpipe.cli import cli
from vadpipe.cli_detect import Shown
from vadpipe.cli_output import print_detection, print_detections
from vadpipe.detection import AudioUse
from vadpipe.errors import StoreError
from vadpipe.pipeline.detecting.report import report
from vadpipe.pipeline.detecting.request import DetectRequest
from vadpipe.pipeline.detecting.run import DetectSummary

DEAF = AudioUse(reason="the video has no audio stream: scored by the student, avadclip_student, which needs none")


def test_a_detection_says_its_head_its_sound_and_what_is_not_calibrated(capsys: pytest.CaptureFixture[str]) -> None:
    found = made_detection(zero_shot=frozenset({"riot"}), calibration=CALIBRATION, audio=DEAF)
    print_detection(replace(found, provenance={**found.provenance, "name": "avadclip_student"}))
    told = capsys.readouterr().out
    rows = {line.split()[1]: line for line in told.splitlines() if line.startswith("│")}
    assert [cell.strip() for cell in rows["fighting"].strip("│").split("│")][-2:] == ["0.900", "0.933"]
    assert "riot (zero-shot, uncalibrated)" in rows["riot"]
    assert rows["riot"].rstrip("│ ").endswith("–")
    assert f"scored by avadclip_student; audio not used: {DEAF.reason}" in told
    assert "calibrated on 2.00 h of normal footage: threshold 0.500 for 0.5 false alarms an hour" in told
    print_detection(made_detection(audio=AudioUse(used=True, reason="scored by avadclip with wav2clip")))
    told = capsys.readouterr().out
    assert "audio used: scored by avadclip with wav2clip" in told
    assert "calibrated" not in told


def test_several_videos_have_a_table_with_head_and_sound(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = made_detection("quiet")
    quiet = replace(
        quiet, scores=replace(quiet.scores, anomaly=quiet.scores.anomaly * np.float32(0.5)), audio=AudioUse(used=True)
    )
    print_detections([quiet, made_detection("loud", audio=DEAF)])
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in capsys.readouterr().out.splitlines()]
    rows = [row for row in rows if len(row) == 6 and row[0] in ("loud", "quiet")]
    assert rows == [
        ["loud", "0:02.80", "2", "0.900", "lec_vad", "not used"],
        ["quiet", "0:02.80", "2", "0.450", "lec_vad", "used"],
    ]


def test_progress_in_plain_lines() -> None:
    clock = [0.0]
    lines: list[str] = []
    bars = Progress(console=Console(quiet=True), disable=True)
    shown = Shown(2, bars, lines.append, now=lambda: clock[0])
    shown.begin("[red]a\n")
    for clock[0], done in ((5.0, 500.0), (10.0, 1000.0), (15.0, 1500.0), (20.0, 2000.0)):
        shown.step("features", done, 2000.0)
    clock[0] = 21.0
    shown.end(made_detection())
    shown.begin("b")
    clock[0] = 40.0
    shown.step("overlay", 0.0, 70.0)  # nothing is known yet of the time that is left
    shown.end(None)
    assert lines == [
        "[red]a\n: features, 1000 of 2000 frames, 100 frames/s, 0:00:10 left",
        "1 of 2 videos: [red]a\n: 2 intervals in 70 frames, 3 a second, 21.0 s",
        "2 of 2 videos: b: failed, 19.0 s",
    ]
    tasks = [(task.description, task.completed, task.total) for task in bars.tasks]
    assert tasks == [("videos", 2, 2), ("b: overlay", 0, 70)]
    assert bars.tasks[0].visible


def test_a_short_video_alone_needs_no_line() -> None:
    lines: list[str] = []
    shown = Shown(1, Progress(console=Console(quiet=True), disable=True), lines.append, now=lambda: 0.0)
    shown.begin("a")
    shown.step("features", 70.0, 70.0)
    shown.end(made_detection())
    assert lines == []


def detect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, summary: DetectSummary, *options: str) -> Result:
    """Run the command on two files, with ``summary`` for what the pipeline does."""
    asked: list[DetectRequest] = []

    def detect_run(request: DetectRequest, *_: Any) -> DetectSummary:
        asked.append(request)
        return summary

    monkeypatch.setattr("vadpipe.pipeline.detecting.run.detect_run", detect_run)
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "config.json").write_text("{}")
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["detect", "?.mp4", "--device", "cpu", *options])
    assert len(asked) == 1, result.output
    detect.asked = asked[0]  # type: ignore[attr-defined]
    return result


FOUND = [(item, report(item, "x.npz")) for item in (made_detection("a"), made_detection("b"))]


@pytest.mark.parametrize(
    ("summary", "code", "said"),
    [
        (DetectSummary(FOUND), 0, ""),
        (DetectSummary(FOUND, failed={"c": "bad"}), 3, ""),
        (DetectSummary(FOUND, lost=["overlay of a: codec"]), 3, ""),
        (DetectSummary(failed={"a": "bad", "b": "bad"}), 1, ""),
        (DetectSummary(FOUND[:1], ended=KeyboardInterrupt()), 130, "interrupted: 1 of 2 videos are finished and kept"),
        (DetectSummary(FOUND[:1], ended=SystemExit(143)), 143, "terminated: 1 of 2 videos are finished and kept"),
        (DetectSummary(FOUND[:1], ended=StoreError("disk full")), 1, "ended: 1 of 2 videos are finished and kept"),
        (DetectSummary(FOUND, [Path("out/a.json")]), 0, "wrote out/a.json"),
    ],
)
def test_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, summary: DetectSummary, code: int, said: str
) -> None:
    result = detect(tmp_path, monkeypatch, summary)
    assert result.exit_code == code, result.output
    assert said in result.stderr
    for item, _ in summary.found:
        assert f"{item.clip.id}: 2 intervals in 0:02.80" in result.stdout


def test_options_reach_the_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = detect(
        tmp_path,
        monkeypatch,
        DetectSummary(FOUND[:1]),
        *("--json", "--export", "srt", "--export", "csv", "--export", "srt", "--frames", "npz"),
        *("--clips", "c", "--pre-roll", "1", "--overlay", "o", "--html", "p.html", "--embed"),
        *("--categories", "own.toml", "--calibration", "none"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == FOUND[0][1]
    request: DetectRequest = detect.asked  # type: ignore[attr-defined]
    assert list(request.videos) == ["a", "b"]
    extras = request.extras
    assert (extras.exports, extras.frames, extras.embed) == (("srt", "csv"), "npz", True)
    assert (extras.clips, extras.pre_roll_s, extras.post_roll_s) == (Path("c"), 1.0, 2.0)
    assert (extras.overlay, extras.html) == (Path("o"), Path("p.html"))
    assert (request.categories, request.calibration) == (Path("own.toml"), "none")


@pytest.mark.parametrize(
    "arguments",
    [("",), ("x" * 300,), ("a.mp4", "--out", ""), ("a.mp4", "--run", "x" * 300), ("a.mp4", "--clips", "x" * 300)],
)
def test_paths_that_are_none_are_refused_in_a_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, ["detect", *arguments])
    assert (result.exit_code, isinstance(result.exception, SystemExit)) == (2, True)
    assert "got an empty text, expected a path" in result.stderr or "File name too long" in result.stderr


def test_what_the_command_writes_is_not_what_it_looks_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "old.mp4").write_bytes(b"")
    result = detect(tmp_path, monkeypatch, DetectSummary(FOUND), "**", "--clips", "cut", "--overlay", "drawn")
    assert result.exit_code == 0, result.output
    request: DetectRequest = detect.asked  # type: ignore[attr-defined]
    assert list(request.videos) == ["a", "b"]
