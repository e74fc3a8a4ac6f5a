"""The data set of ``vadpipe demo``: small synthetic street videos, their video-level labels and the exact truth.

::

    <folder>/demo.json          what the data set was made with; written first
    <folder>/videos/<id>.mp4    H.264, most with AAC sound; names say nothing about what happens
    <folder>/labels.csv         video,label,split: all that training may see
    <folder>/annotations.txt    <id> CLASS start end [CLASS start end …] in frames, end exclusive; for scoring only
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vadpipe.errors import UsageError
from vadpipe.extractors.media_write import write_mp4
from vadpipe.outside import read_json
from vadpipe.pipeline.demo_scene import CATEGORIES, PlantedEvent, SceneSpec, render, sound
from vadpipe.track_file import atomic_write
from vadpipe.tracks import NORMAL, Interval, TimeGrid

FPS = Fraction(8)
AUDIO_HZ = 16_000
VERSION = 1
"""To be raised whenever scenes change, so that old and new videos are never mixed in one folder."""

_STREETS = 3
_VIDEO_S = (20, 25)
_EVENT_S = (3, 8)
_LEAD_S, _GAP_S, _TAIL_S = 3, 5, 2
"""Seconds without an event: at the start, between two events, at the end."""


@dataclass(frozen=True, slots=True)
class DemoVideo:
    """One video: its id (the file's stem), label, part of the data set, scene, and whether it has no audio stream."""

    id: str
    label: str
    split: str
    scene: SceneSpec
    silent: bool

    def truth(self, frames_per_snippet: int = 16) -> tuple[Interval, ...]:
        """The planted events."""
        grid = TimeGrid(self.scene.fps, self.scene.num_frames, frames_per_snippet)
        return tuple(Interval.of_frames(e.category, e.start_frame, e.end_frame, grid) for e in self.scene.events)


@dataclass(frozen=True, slots=True)
class DemoData:
    """A written data set."""

    folder: Path
    videos: tuple[DemoVideo, ...]

    @property
    def labels(self) -> Path:
        """The table of labels and splits."""
        return self.folder / "labels.csv"

    @property
    def annotations(self) -> Path:
        """The truth in frames, for the anomalous videos of both splits."""
        return self.folder / "annotations.txt"

    def path(self, video: DemoVideo) -> Path:
        """File of one video."""
        return self.folder / "videos" / f"{video.id}.mp4"

    def part(self, split: str) -> tuple[DemoVideo, ...]:
        """The videos of ``train`` or ``test``."""
        return tuple(video for video in self.videos if video.split == split)


def plan_demo(seed: int = 0, train: int = 44, test: int = 20) -> tuple[DemoVideo, ...]:
    """Decide what the data set holds: in each split half the videos are normal, the categories take turns."""
    rng = np.random.default_rng((seed, 0))
    wanted = [(split, label) for split, count in (("train", train), ("test", test)) for label in _labels(count)]
    order = rng.permutation(len(wanted))  # so that a name tells neither split nor label
    silent = set(rng.choice(len(wanted), max(round(len(wanted) / 10), 1), replace=False).tolist())
    videos = []
    for number, which in enumerate(order.tolist()):
        split, label = wanted[which]
        scene = _scene(np.random.default_rng((seed, 1, number)), label)
        videos.append(DemoVideo(f"street_{number:04d}", label, split, scene, number in silent))
    return tuple(videos)


def _labels(count: int) -> list[str]:
    anomalous = count // 2
    return [NORMAL] * (count - anomalous) + [CATEGORIES[index % len(CATEGORIES)] for index in range(anomalous)]


def _scene(rng: np.random.Generator, label: str) -> SceneSpec:
    frames = int(rng.integers(int(_VIDEO_S[0] * FPS), int(_VIDEO_S[1] * FPS) + 1))
    events = () if label == NORMAL else _events(rng, label, frames)
    return SceneSpec(int(rng.integers(1 << 31)), int(rng.integers(_STREETS)), frames, FPS, events)


def _events(rng: np.random.Generator, category: str, frames: int) -> tuple[PlantedEvent, ...]:
    """One or two events of 3 to 8 seconds, anywhere with some calm before, between and after."""
    count = int(rng.integers(1, 3))
    room = frames - int((_LEAD_S + _TAIL_S + _GAP_S * (count - 1)) * FPS)
    longest = min(int(_EVENT_S[1] * FPS), room // count)
    lengths = rng.integers(int(_EVENT_S[0] * FPS), longest + 1, count)
    slack = np.sort(rng.integers(0, room - int(lengths.sum()) + 1, count))
    events, used = [], int(_LEAD_S * FPS)
    for wait, length in zip(slack.tolist(), lengths.tolist(), strict=True):
        events.append(PlantedEvent(category, used + wait, used + wait + length))
        used += length + int(_GAP_S * FPS)
    return tuple(events)


def write_demo_data(
    folder: Path,
    *,
    seed: int = 0,
    train: int = 44,
    test: int = 20,
    progress: Callable[[int, int], None] | None = None,
) -> DemoData:
    """Write the data set into ``folder``; a rerun keeps the videos that are there and makes the missing ones.

    ``progress`` is called with (videos done, videos in all). Every file appears only when it is complete, and the same
    arguments give the same videos. :class:`UsageError` where ``train`` or ``test`` is below 2, or the folder holds a
    demo data set that was made with other arguments; StoreError and OSError from the file system.
    """
    if train < 2 or test < 2 or seed < 0:
        raise UsageError(
            f"demo: got seed {seed}, {train} training and {test} test videos; expected >= 0, >= 2 and >= 2"
        )
    data = DemoData(folder, plan_demo(seed, train, test))
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    _claim(folder, {"version": VERSION, "seed": seed, "train": train, "test": test})
    for done, video in enumerate(data.videos):
        if progress is not None:
            progress(done, len(data.videos))
        if not data.path(video).exists():
            _write_video(data.path(video), video)
    truth = "".join(f"{_truth_line(video)}\n" for video in data.videos if video.scene.events)
    atomic_write(data.annotations, truth.encode())
    atomic_write(data.labels, _label_table(data.videos).encode())
    if progress is not None:
        progress(len(data.videos), len(data.videos))
    return data


def _claim(folder: Path, made_with: dict[str, int]) -> None:
    """Note what the folder's videos are made with, or refuse to mix them with others."""
    note = folder / "demo.json"
    if not note.exists():
        atomic_write(note, json.dumps(made_with).encode())
        return
    try:
        found = read_json(note)
    except ValueError:
        found = "something unreadable"
    if found != made_with:
        raise UsageError(
            f"{folder} holds a demo data set made with {found}, not with {made_with}: "
            "choose another folder, the same settings, or delete it."
        )


def _write_video(path: Path, video: DemoVideo) -> None:
    audio = None if video.silent else sound(video.scene, AUDIO_HZ)
    write_mp4(path, render(video.scene), video.scene.fps, audio, AUDIO_HZ)


def _truth_line(video: DemoVideo) -> str:
    return " ".join([video.id, *(f"{e.category} {e.start_frame} {e.end_frame}" for e in video.scene.events)])


def _label_table(videos: tuple[DemoVideo, ...]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["video", "label", "split"])
    rows.writerows([video.id, video.label, video.split] for video in videos)
    return text.getvalue()
