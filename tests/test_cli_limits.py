"""``--limit NAME=VALUE``: what a video may cost, as the commands take it and as the messages name it."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path

import click
import pytest

from tests.extractors import painted_videos
from tests.pipeline.mean_colour import MeanColour
from tests.pipeline.test_detect import head
from vadpipe.cli import main
from vadpipe.cli_options import limit_option
from vadpipe.errors import UsageError, VideoTooLarge
from vadpipe.extractors.limits import Limits, parse_limits
from vadpipe.pipeline import detect
from vadpipe.pipeline.detecting import heads as detect_heads
from vadpipe.pipeline.videos import said_of

NAMES = {field.name for field in fields(Limits)}
PACKAGE = Path(detect_heads.__file__).parents[2]


def test_named_limits_change_and_the_others_stay() -> None:
    found = parse_limits(["max_corrupt_share=0.5", "memory_bytes=8e9", "stall_s=600"])
    assert found == Limits(max_corrupt_share=0.5, memory_bytes=8_000_000_000, stall_s=600.0)
    assert type(found.memory_bytes) is int  # it travels as JSON, and the system wants a whole number
    assert parse_limits([]) == Limits()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stall_s", "expected NAME=VALUE"),
        ("stall=3", "stall_s"),
        ("stall_s=", "expected a number over 0"),
        ("stall_s=0", "expected a number over 0"),
        ("stall_s=nan", "expected a number over 0"),
        ("stall_s=inf", "at most 1e"),
        ("max_pixels=0.5", "expected a whole number over 0"),
        ("max_corrupt_share=10", "at most 1"),
        ("max_corrupt_share=-1", "over 0"),
    ],
)
def test_wrong_limits_are_usage_errors(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"--limit.*{said}"):
        parse_limits([text])
    with pytest.raises(UsageError, match="given twice"):
        parse_limits(["stall_s=1", "stall_s=2"])


def test_help_and_messages_name_the_limits_that_there_are() -> None:
    command = click.command(limit_option(lambda limits: None))
    shown = command.get_help(click.Context(command, help_option_names=["-h", "--help"]))
    assert {name for name in NAMES if name in shown} == NAMES
    text = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    assert set(re.findall(r"--limit ([a-z_]+)=[A-Z]", text)) == NAMES - {"queue_slots"}  # which no video exceeds
    assert not re.findall(rf"raise ({'|'.join(NAMES)})\b", text), "no option is called that"


def test_a_failed_video_is_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("a.mp4")
    for text in ("too big", "a.mp4: too big", f"{tmp_path / 'a.mp4'}: too big"):
        assert said_of(path, VideoTooLarge(text)) == "a.mp4: too big"


def said_by(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """Exit code and standard error, the lines joined as they were before they were wrapped."""
    monkeypatch.setattr(sys, "argv", ["vadpipe", *arguments])
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, " ".join(capsys.readouterr().err.split())


def test_extract_and_detect_take_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    painted_videos.write(tmp_path / "a.mp4", 20)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(detect, "create", lambda _stream, **_options: MeanColour())
    monkeypatch.setattr("vadpipe.pipeline.extracting.run.create", lambda _stream, **_options: MeanColour())
    monkeypatch.setattr(detect_heads, "load_head", lambda _run, _device: head())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    extract = ["extract", "a.mp4", "--device", "cpu", "--weights", "random", "-q"]
    for command in (extract, ["detect", "a.mp4", "--run", "run", "--device", "cpu", "-q"]):
        code, said = said_by(capsys, monkeypatch, *command, "--limit", "max_pixels=6143", "--limit", "stall_s=30")
        assert (code, said.count("a.mp4")) == (1, 1), said
        assert "failed: a.mp4: 96 x 64 pixels, 6143 are allowed" in said
        assert "--limit max_pixels=NUMBER" in said
        assert said_by(capsys, monkeypatch, *command, "--limit", "max_pixels=6144")[0] == 0
        assert said_by(capsys, monkeypatch, *command, "--limit", "pixels=6144")[0] == 2
