"""Detections and a small video for the tests of reports: what is where is known."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np

from vadpipe.calibration import Calibration
from vadpipe.detection import AudioUse, Detection
from vadpipe.extractors.media_write import write_mp4
from vadpipe.tracks import FloatArray, Interval, ScoreTrack, TimeGrid, VideoClip

LABELS = ("normal", "fire", "fighting", "graffiti")
CALIBRATION = Calibration(0.6, 0.5, 12.0, 3, 6, 0.99, (0.0, 0.1, 0.2, 0.6))
GRID = TimeGrid(Fraction(10), 120, 5)
"""12 s, 24 snippets of half a second."""


def detection(
    name: str = "yard",
    *,
    peaks: tuple[float, ...] = (0.7, 0.9, 0.8),
    labels: tuple[str, ...] = LABELS,
    path: str = "yard.mp4",
    grid: TimeGrid = GRID,
    codec: str = "h264",
) -> Detection:
    """At 1 … 2 s ``fire``, at 5 … 6.5 s ``fighting``, at 9 … 10 s ``graffiti`` (zero-shot), each with its peak."""
    anomaly = np.full(grid.num_snippets, 0.1, np.float32)
    categories = np.full((grid.num_snippets, len(labels)), 0.05, np.float32)
    found = []
    for column, ((start, end), peak) in enumerate(zip([(2, 4), (10, 13), (18, 20)], peaks, strict=False), start=1):
        anomaly[start:end] = peak - 0.1
        anomaly[start + 1] = peak
        categories[start:end, column] = peak
        found.append(Interval.of_frames(labels[column], *grid.frames_of(start, end), grid, peak / 2))
    return Detection(
        VideoClip(name, path, 160, 120, grid.fps, grid.num_frames, grid.duration_s, codec=codec, audio_rate=16000),
        tuple(found),
        ScoreTrack(anomaly, categories, labels, grid),
        {
            "name": "lec_vad",
            "sha256": "ab" * 32,
            "spec": {"digest": "cd" * 32, "stream": "clip", "weights": "openai", "frames_per_snippet": 5},
            "categories": list(labels[:3]),
            "selection": "epoch 3, the best on the test set",
        },
        ("selected on the test set: its score there is too good",),
        AudioUse(used=False, reason="the head uses video only"),
        {"r_ano": 0.2, "r_cls": 0.1},
        frozenset({"graffiti"}),
        CALIBRATION,
    )


def named(name: str) -> Detection:
    """Every text that somebody else chooses is ``name``."""
    one = detection(name, labels=("normal", name, f"{name}2", f"{name}3"), path=f"/videos/{name}.mp4")
    told = {**one.provenance, "name": name, "selection": name, "spec": {"digest": name, "stream": name}}
    return replace(
        one,
        provenance=told,
        warnings=(name,),
        audio=AudioUse(used=False, reason=name),
        params={name: name},
        zero_shot=frozenset({name}),
    )


def truth(category: str = "fighting") -> Interval:
    """Annotated from 4.5 to 7 s."""
    return Interval.of_frames(category, 45, 70, GRID)


def picture(second: float) -> FloatArray:
    """(120, 160, 3) what the video shows at a second: the redder, the later."""
    frame = np.zeros((120, 160, 3), np.float32)
    frame[..., 0] = 20 * second
    frame[40:80, 60:100, 1] = 200
    return frame


def write_video(path: Path) -> Path:
    """12 s at 10 frames a second, with a tone in the second half."""
    frames = (picture(number / 10).astype(np.uint8) for number in range(120))
    time = np.arange(12 * 16000) / 16000
    tone = np.where(time < 6, 0.0, 0.5 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    write_mp4(path, frames, Fraction(10), tone, 16000)
    return path


def write_late_video(path: Path) -> Path:
    """The same pictures, 2 s after the sound begins."""
    whole = write_video(path.with_name(f"whole {path.name}"))
    with av.open(str(whole)) as given, av.open(str(path), "w") as made:
        copies = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.pts is None or packet.dts is None:
                continue
            if packet.stream.type == "video":
                packet.pts += int(2 / packet.time_base)
                packet.dts += int(2 / packet.time_base)
            packet.stream = copies[packet.stream.index]
            made.mux(packet)
    return path


class Parsed(HTMLParser):
    """Elements with their attributes, as a browser would see them, and the content of scripts and styles by name."""

    def __init__(self, page: str | bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.words = ""
        self._inside = ""
        self.feed(page if isinstance(page, str) else page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag in self.raw:
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in self.raw:
            self.raw[self._inside][-1] += data
        else:
            self.words += data

    def count(self, tag: str) -> int:
        """How many elements of a name there are."""
        return sum(found == tag for found, _ in self.elements)

    def of(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        """Attributes of the elements of a name that have these."""
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [held for found, held in self.elements if found == tag and wanted.items() <= held.items()]
