"""A stored data set with planted incidents, for tests of training, evaluation and detection.

Features are noise; inside an incident one known direction is added, so a head that learns finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from vadpipe.config import RunConfig, TrainConfig
from vadpipe.head_config import LecVadConfig
from vadpipe.manifest import VideoRecord
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import NORMAL, FeatureTrack, Interval, TimeGrid

SPEC = FeatureSpec("planted", 16, "imported", "imported")
AUDIO_SPEC = FeatureSpec("sound", 8, "imported", "imported")
CLASSES = (NORMAL, "fighting", "riot")
SMALL = LecVadConfig(dim=32, heads=4, memory_blocks=1)
CONFIG = RunConfig(stream="planted", model=SMALL, train=TrainConfig(lr=2e-3, batch_size=8, epochs=6, average=0.5))


@dataclass(frozen=True)
class Planted:
    """A store and its records, each with its true interval."""

    store: FeatureStore
    records: tuple[VideoRecord, ...]

    def part(self, split: str) -> list[VideoRecord]:
        return [record for record in self.records if record.split == split]


def plant(folder: Path, count: int = 24, seed: int = 0) -> Planted:
    """Write ``count`` videos: every second one normal, the others fighting or riot; splits train, val, test."""
    rng, store, records = np.random.default_rng(seed), FeatureStore(folder), []
    for index in range(count):
        grid = TimeGrid(Fraction(25), int(rng.integers(300, 700)))
        rows = rng.standard_normal((grid.num_snippets, SPEC.dim)).astype(np.float32)
        label = NORMAL if index % 2 == 0 else CLASSES[1 + (index // 2) % 2]
        intervals: tuple[Interval, ...] = ()
        if label != NORMAL:
            start = int(rng.integers(2, grid.num_snippets - 8))
            rows[start : start + 5, CLASSES.index(label)] += 6.0
            intervals = (Interval.of_frames(label, *grid.frames_of(start, start + 5), grid),)
        name, split = f"video-{index:03d}", ("train", "train", "val", "test")[(index // 2) % 4 if index >= 8 else 0]
        store.write(FeatureTrack(rows, grid, SPEC, name))
        records.append(VideoRecord(name, frozenset({label}), intervals, split, grid.num_frames, grid.fps))
    return Planted(store, tuple(records))


def plant_audio(planted: Planted, silent: int = 2, seed: int = 1) -> None:
    """Give all videos but the last ``silent`` ones audio features: noise, one direction added in an incident."""
    rng = np.random.default_rng(seed)
    for record in planted.records[: len(planted.records) - silent]:
        grid = planted.store.read(SPEC, record.id).grid
        rows = rng.standard_normal((grid.num_snippets, AUDIO_SPEC.dim)).astype(np.float32)
        for interval in record.intervals:
            rows[grid.snippet_of(interval.start_frame) : grid.snippet_of(interval.end_frame - 1) + 1, 0] += 4.0
        planted.store.write(FeatureTrack(rows, grid, AUDIO_SPEC, record.id))
