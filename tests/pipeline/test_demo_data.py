"""The demo's data set: what was planted is what is seen, heard and written down, and a rerun changes nothing."""

from __future__ import annotations

import csv
import dataclasses
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from vadpipe.errors import UsageError
from vadpipe.pipeline.demo_data import AUDIO_HZ, FPS, DemoData, plan_demo, write_demo_data
from vadpipe.pipeline.demo_scene import CATEGORIES, PlantedEvent, SceneSpec, render, sound

TRAIN, TEST = 2, 2


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> DemoData:
    return write_demo_data(tmp_path_factory.mktemp("demo"), seed=3, train=TRAIN, test=TEST)


def frames_of(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as file:
        return [np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8) for frame in file.decode(video=0)]


def one_event(category: str, seed: int = 5) -> SceneSpec:
    return SceneSpec(seed, 0, 96, FPS, (PlantedEvent(category, 40, 72),))


def test_videos_decode_to_the_planned_length_and_a_tenth_is_silent(written: DemoData) -> None:
    for video in written.videos:
        with av.open(str(written.path(video))) as file:
            assert file.streams.video[0].average_rate == FPS
            assert bool(file.streams.audio) is not video.silent
        assert len(frames_of(written.path(video))) == video.scene.num_frames
    assert sum(video.silent for video in written.videos) == 1
    assert sum(video.silent for video in plan_demo(0, 44, 20)) == 6


def test_labels_and_annotations_say_what_was_planted(written: DemoData) -> None:
    with written.labels.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["video"] for row in rows] == sorted(path.stem for path in (written.folder / "videos").iterdir())
    assert sorted(row["split"] for row in rows) == ["test"] * TEST + ["train"] * TRAIN
    truth = {}
    for line in written.annotations.read_text(encoding="utf-8").splitlines():
        name, *rest = line.split(" ")
        truth[name] = [(rest[i], int(rest[i + 1]), int(rest[i + 2])) for i in range(0, len(rest), 3)]
    assert set(truth) == {row["video"] for row in rows if row["label"] != "normal"}
    for video in written.videos:
        planted = [(event.category, event.start_frame, event.end_frame) for event in video.scene.events]
        assert truth.get(video.id, []) == planted
        assert {category for category, _, _ in planted} == ({video.label} - {"normal"})
        assert [(i.category, i.start_frame, i.end_frame) for i in video.truth()] == planted


def test_plans_are_balanced_and_events_last_3_to_8_seconds_with_calm_around_them() -> None:
    for seed in range(20):
        videos = plan_demo(seed, 12, 6)
        for split, count in (("train", 12), ("test", 6)):
            labels = [video.label for video in videos if video.split == split]
            assert labels.count("normal") == count // 2
            assert {labels.count(category) for category in CATEGORIES} == {count // 6}
        for video in videos:
            scene = video.scene
            assert 20 <= scene.duration_s <= 25
            assert len(scene.events) in ((0,) if video.label == "normal" else (1, 2))
            assert all(3 <= end - start <= 8 for start, end in map(scene.span_s, scene.events))
            spans = [(0.0, 0.0), *map(scene.span_s, scene.events), (scene.duration_s, scene.duration_s)]
            assert all(after[0] - before[1] >= 2 for before, after in pairwise(spans))
    assert len({video.scene.seed for seed in range(20) for video in plan_demo(seed, 12, 6)}) == 20 * 18


def test_names_tell_neither_label_nor_split() -> None:
    videos = plan_demo(0, 44, 20)
    assert [video.id for video in videos] == [f"street_{number:04d}" for number in range(64)]
    for told in ([video.label == "normal" for video in videos], [video.split == "test" for video in videos]):
        assert abs(np.corrcoef(told, range(64))[0, 1]) < 0.35
        assert sum(a != b for a, b in pairwise(told)) > 12


def test_a_rerun_keeps_what_is_there_and_restores_the_same_bytes(written: DemoData) -> None:
    paths = [written.path(video) for video in written.videos]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}
    paths[1].unlink()
    steps: list[tuple[int, int]] = []
    write_demo_data(written.folder, seed=3, train=TRAIN, test=TEST, progress=lambda *step: steps.append(step))
    assert {path: path.read_bytes() for path in paths} == {path: data for path, (_, data) in before.items()}
    assert [path.stat().st_mtime_ns == before[path][0] for path in paths] == [True, False, True, True]
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_another_data_set_in_the_same_folder_is_refused(written: DemoData) -> None:
    with pytest.raises(UsageError, match="made with"):
        write_demo_data(written.folder, seed=4, train=TRAIN, test=TEST)
    assert json.loads((written.folder / "demo.json").read_text())["seed"] == 3


@pytest.mark.parametrize(("seed", "train", "test"), [(-1, 2, 2), (0, 1, 2), (0, 2, 1)])
def test_impossible_requests_are_refused(tmp_path: Path, seed: int, train: int, test: int) -> None:
    with pytest.raises(UsageError, match="demo: got seed"):
        write_demo_data(tmp_path / "none", seed=seed, train=train, test=test)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("category", CATEGORIES)
def test_an_event_is_seen_while_it_lasts_and_only_then(category: str) -> None:
    """Against the same street on the same day without the event: passers-by, light and noise are identical."""
    spec = one_event(category)
    calm = dataclasses.replace(spec, events=())
    pairs = zip(render(spec), render(calm), strict=True)
    changed = np.array([np.mean(np.abs(a.astype(int) - b).max(axis=2) > 25) for a, b in pairs])
    assert changed[42:70].min() > 0.04
    far = np.r_[0:16, 94:96]  # people and cars of the event come and go, normally, within 2.5 seconds of it
    if category == "explosion":
        far = np.r_[0:40, 72:96]
    if category != "accident":  # traffic keeps clear of an accident for longer
        assert changed[far].max() == 0.0


@pytest.mark.parametrize("category", CATEGORIES)
def test_an_event_is_heard_while_it_lasts_and_only_then(category: str) -> None:
    spec = one_event(category)
    heard, calm = sound(spec), sound(dataclasses.replace(spec, events=()))
    assert heard.dtype == np.float32
    assert len(heard) == round(spec.duration_s * AUDIO_HZ)
    first, last = 5 * AUDIO_HZ, 9 * AUDIO_HZ
    np.testing.assert_array_equal(heard[:first], calm[:first])
    np.testing.assert_array_equal(heard[last:], calm[last:])
    seconds = heard[first:last].reshape(4, -1)
    assert np.sqrt((seconds**2).mean(axis=1)).min() > 2 * np.sqrt((calm**2).mean())
    assert np.abs(heard).max() <= 1.0


def test_the_same_spec_gives_the_same_scene_and_another_seed_another() -> None:
    spec = one_event("fighting")
    first, again, other = (list(render(s)) for s in (spec, spec, dataclasses.replace(spec, seed=6)))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert first[0].shape == (240, 320, 3)
    assert first[0].dtype == np.uint8
    assert not any((a == b).all() for a, b in zip(first, other, strict=True))
    np.testing.assert_array_equal(sound(spec), sound(spec))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_frames": 60}, "events end at frame 72"),
        ({"num_frames": 0}, "num_frames"),
        ({"width": 33}, "size"),
        ({"events": (PlantedEvent("fighting", 9, 20), PlantedEvent("fighting", 19, 30))}, "overlap"),
    ],
)
def test_impossible_scenes_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(one_event("fighting"), **change)


@pytest.mark.parametrize(("category", "start", "end"), [("riot", 0, 9), ("fighting", 9, 9), ("fighting", -1, 9)])
def test_impossible_events_are_refused(category: str, start: int, end: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        PlantedEvent(category, start, end)
