"""Subtitles, read back by webvtt-py, by srt and by FFmpeg."""

from __future__ import annotations

import html
import io
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import av
import pytest
import srt as srt_reader
import webvtt as vtt_reader

from tests.pipeline.exports import examples
from vadpipe.detection import ZERO_SHOT_NOTE, Detection
from vadpipe.pipeline.exports import EXPORTERS
from vadpipe.pipeline.exports.subtitles import srt, webvtt

EVERYTHING = pytest.mark.parametrize("detection", examples.everything(), ids=lambda item: ascii(item.clip.path))


def vtt_cues(detection: Detection) -> list[vtt_reader.Caption]:
    return list(vtt_reader.from_buffer(io.StringIO(webvtt([detection]).decode(), newline="")).captions)


def srt_cues(detection: Detection) -> list[srt_reader.Subtitle]:
    return list(srt_reader.parse(srt([detection]).decode()))


def test_webvtt_by_hand() -> None:
    assert webvtt([examples.gate()]).decode() == (
        "WEBVTT\n"
        "\n"
        "NOTE video: gate\n"
        "\n"
        "1\n"
        "00:00:01.600 --> 00:00:03.200\n"
        "riot (zero-shot, uncalibrated)\n"
        "score -0.125, peak 0.750\n"
        "\n"
        "2\n"
        "00:00:01.600 --> 00:00:04.800\n"
        "fighting\n"
        "score 0.500, peak 0.750, calibrated 0.500\n"
    )


def test_srt_by_hand() -> None:
    assert srt([examples.gate()]).decode() == (
        "1\r\n"
        "00:00:01,600 --> 00:00:03,200\r\n"
        "riot (zero-shot, uncalibrated)\r\n"
        "score -0.125, peak 0.750\r\n"
        "\r\n"
        "2\r\n"
        "00:00:01,600 --> 00:00:04,800\r\n"
        "fighting\r\n"
        "score 0.500, peak 0.750, calibrated 0.500\r\n"
        "\r\n"
    )


@pytest.mark.parametrize("detection", [examples.quiet(), examples.without_frames()])
def test_a_video_without_incidents_is_a_file_without_cues(detection: Detection) -> None:
    assert webvtt([detection]).decode() == f"WEBVTT\n\nNOTE video: {detection.clip.id}\n"
    assert srt([detection]) == b""
    assert vtt_cues(detection) == srt_cues(detection) == []


def test_special_characters_by_hand() -> None:
    detection = examples.detection("x-->y", examples.grid_of(16), ("<i>a & b --> {c}\n\nd</i>", 0, 16, 0.5))
    text = webvtt([detection]).decode()
    assert text.splitlines()[2] == "NOTE video: x--&gt;y"
    assert text.splitlines()[6] == r"&lt;i&gt;a &amp; b --&gt; {c}\n\nd&lt;/i&gt;"
    assert srt([detection]).decode().splitlines()[2] == "＜i＞a & b --＞ ｛c｝＼n＼nd＜/i＞"


@EVERYTHING
def test_webvtt_py_reads_one_cue_an_interval(detection: Detection) -> None:
    cues = vtt_cues(detection)
    assert len(cues) == len(detection.intervals)
    found = sorted(detection.intervals, key=lambda item: (item.start_s, item.end_s))
    for number, (cue, item) in enumerate(zip(cues, found, strict=True), 1):
        assert cue.identifier == str(number)
        assert cue.start_in_seconds <= cue.end_in_seconds
        assert cue.start < cue.end
        name, figures = (html.unescape(line) for line in cue.lines)
        assert name.endswith(f"({ZERO_SHOT_NOTE})") == bool(detection.note(item.category))
        assert figures.startswith(f"score {item.score:.3f}, peak ")
        if item.category.isprintable() and item.category.strip():
            assert name == detection.shown(item.category)


@EVERYTHING
def test_srt_reads_one_cue_an_interval(detection: Detection) -> None:
    cues = srt_cues(detection)
    assert len(cues) == len(detection.intervals)
    found = sorted(detection.intervals, key=lambda item: (item.start_s, item.end_s))
    for number, (cue, item) in enumerate(zip(cues, found, strict=True), 1):
        assert cue.index == number
        assert cue.end > cue.start
        assert abs(cue.start - timedelta(seconds=item.start_s)) <= timedelta(milliseconds=0.5)
        name, figures = cue.content.split("\n")
        assert not set("<>{}\\") & set(name)
        assert name.endswith(f"({ZERO_SHOT_NOTE})") == bool(detection.note(item.category))
        assert figures.startswith(f"score {item.score:.3f}, peak ")


@pytest.mark.parametrize("suffix", [".vtt", ".srt"])
@EVERYTHING
def test_ffmpeg_reads_one_cue_an_interval(detection: Detection, suffix: str, tmp_path: Path) -> None:
    place = tmp_path / f"a{suffix}"
    place.write_bytes((webvtt if suffix == ".vtt" else srt)([detection]))
    if suffix == ".srt" and not detection.intervals:  # FFmpeg tells SubRip by its first cue
        assert place.stat().st_size == 0
        with pytest.raises(av.error.InvalidDataError):
            av.open(str(place))
        return
    with av.open(str(place)) as file:
        cues = [packet for packet in file.demux(file.streams.subtitles[0]) if packet.size]
    found = sorted(detection.intervals, key=lambda item: (item.start_s, item.end_s))
    for cue, item in zip(cues, found, strict=True):
        assert cue.pts is not None
        assert cue.duration
        assert abs(cue.pts - item.start_s * 1000) <= 0.5
        assert abs(cue.pts + cue.duration - item.end_s * 1000) <= 1
        assert bytes(cue).decode().count("score ") == 1


def test_times_are_those_of_a_player_where_sound_comes_before_the_pictures() -> None:
    gate = examples.gate()
    late = replace(gate, clip=replace(gate.clip, start_s=2.0004))
    assert [cue.start for cue in vtt_cues(late)] == ["00:00:03.600"] * 2
    assert [cue.end.total_seconds() for cue in srt_cues(late)] == [5.2, 6.8]


def test_rounding_never_makes_an_empty_cue() -> None:
    assert [(cue.start, cue.end) for cue in vtt_cues(examples.brief())] == [("00:00:00.000", "00:00:00.001")] * 2


def test_hours_are_as_many_as_it_takes() -> None:
    long = examples.detection("long", examples.grid_of(361_000, Fraction(1)), ("riot", 3599, 360_061, 0.5))
    ((cue,), (line,)) = vtt_cues(long), srt_cues(long)
    assert (cue.start, cue.end) == ("00:59:59.000", "100:01:01.000")
    assert (line.start, line.end) == (timedelta(seconds=3599), timedelta(seconds=360_061))


def test_they_are_one_file_a_video() -> None:
    for name, suffix in (("webvtt", ".vtt"), ("srt", ".srt")):
        assert (EXPORTERS[name].suffix, EXPORTERS[name].per_video) == (suffix, True)
    with pytest.raises(ValueError, match="too many values"):
        webvtt([examples.gate(), examples.quiet()])
