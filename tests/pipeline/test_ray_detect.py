"""Detection and calibration on a Ray cluster: the files of local mode, whoever is killed, and what poison costs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.extractors import painted_videos
from tests.pipeline import ray_works
from tests.pipeline.detected import small_head
from tests.pipeline.mean_colour import MeanColour
from tests.pipeline.ray_detect_work import detect_work
from vadpipe.models.checkpoint import save_head
from vadpipe.pipeline.calibrating.run import CalibrateRequest, calibrate_run
from vadpipe.pipeline.detecting.run import DetectRequest, detect_run
from vadpipe.pipeline.extract import ExtractOptions, feature_spec
from vadpipe.pipeline.on_ray.cluster import Node, cluster
from vadpipe.pipeline.quarantine import QUARANTINE_FILE, Quarantine

SETTINGS = ("window=2", "overlap=1", "r_cls=0", "r_ano=0")


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.delenv(name, raising=False)  # then Ray sets them to 1 in its processes
        with cluster(None, 2, "cpu") as nodes:
            yield nodes[0]


class Watcher:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.said: list[str] = []

    def begin(self, name: str) -> None:
        self.begun.append(name)

    def step(self, what: str, done: float, total: float) -> None:
        assert (what, 0 < done <= total) == ("features", True)

    def end(self, detection: Any) -> None:
        self.ended.append("" if detection is None else detection.clip.id)


@pytest.fixture
def request_for(tmp_path: Path, node: Node, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a request for one engine; Ray is the cluster of this module, and encoders may die once."""

    @contextmanager
    def this_cluster(*_: object) -> Iterator[tuple[Node, ...]]:
        yield (node,)

    make = partial(detect_work, notes=tmp_path / "notes", deaths=1)
    monkeypatch.setattr("vadpipe.pipeline.on_ray.detect.cluster", this_cluster)
    monkeypatch.setattr("vadpipe.pipeline.on_ray.detect.make_work", make)
    monkeypatch.setattr("vadpipe.pipeline.detecting.run.extractor_for", lambda *_: MeanColour())
    save_head(tmp_path / "run", small_head(feature_spec(MeanColour(), ExtractOptions()), seed=0))

    def made(engine: str, videos: dict[str, Path]) -> DetectRequest:
        out, store = tmp_path / f"{engine}-out", tmp_path / f"{engine}-store"
        return DetectRequest(
            videos, tmp_path / "run", out=out, features=store, overrides=SETTINGS, engine=engine, weights=()
        )

    return made


def files(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*.*") if path.suffix != ".jsonl"}


def test_detections_and_calibrations_are_those_of_local_mode(tmp_path: Path, request_for: Any) -> None:
    videos = {f"v{number}": painted_videos.write(tmp_path / f"v{number}.mp4", 105 - number) for number in range(3)}
    videos |= {"red": ray_works.red_video(tmp_path / "red.mp4"), "bad": tmp_path / "bad.mp4"}
    videos["bad"].write_text("no video")
    seen = {engine: Watcher() for engine in ("local", "ray")}
    made = {
        engine: detect_run(request_for(engine, videos), watcher, watcher.said.append)
        for engine, watcher in seen.items()
    }
    assert (tmp_path / "notes").read_text() == "."  # one encoder has died
    command = [sys.executable, "-c", "import torch; print(torch.get_num_threads())"]
    alone = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (tmp_path / "notes.threads").read_text() == alone.stdout.strip()  # one where there is one processor
    assert files(tmp_path / "ray-out") == files(tmp_path / "local-out")
    assert files(tmp_path / "ray-store") == files(tmp_path / "local-store")
    assert len(files(tmp_path / "ray-out")) == 8
    assert [name for name, _ in made["ray"].failed.items()] == ["bad"]
    assert made["ray"].failed == made["local"].failed
    assert [content for _, content in made["ray"].found] == [content for _, content in made["local"].found]
    assert sorted(seen["ray"].ended) == sorted(seen["local"].ended)
    assert seen["ray"].said == seen["local"].said
    assert set(seen["ray"].begun) == set(videos)
    kept = {
        engine: calibrate_run(
            CalibrateRequest(request_for(engine, videos), 1000.0, tmp_path / f"{engine}.json"), Watcher(), print
        )
        for engine in seen
    }
    assert (tmp_path / "ray.json").read_bytes() == (tmp_path / "local.json").read_bytes()
    assert [item.made for item in kept["ray"].kept] == [item.made for item in kept["local"].kept]


def test_poison_is_put_into_quarantine_of_the_features(tmp_path: Path, request_for: Any) -> None:
    poison = painted_videos.write(tmp_path / "deadly.mp4", 40)
    videos = {"deadly": poison, "v0": painted_videos.write(tmp_path / "v0.mp4", 40)}
    request = request_for("ray", videos)
    first = detect_run(request)
    assert (tmp_path / "deadly.notes").read_text() == "..."
    assert [detection.clip.id for detection, _ in first.found] == ["v0"]
    assert first.failed["deadly"].startswith(f"{poison}: in quarantine: in each of 3 attempts")
    assert (request.features / QUARANTINE_FILE).is_file()
    for engine in ("ray", "local"):
        again = detect_run(replace(request, videos={"deadly": poison}, engine=engine))
        assert again.failed == first.failed
    os.utime(poison, (1, 1))
    assert list(detect_run(replace(request, engine="local")).failed) == []
    assert (tmp_path / "deadly.notes").read_text() == "..."


def test_what_is_stored_is_looked_at_although_its_video_is_in_quarantine(tmp_path: Path, request_for: Any) -> None:
    path = painted_videos.write(tmp_path / "v0.mp4", 40)
    request = request_for("local", {"camera-v0": path})  # the quarantine knows it by the id of its file
    assert detect_run(request).failed == {}
    Quarantine(request.features).add(path, "died", 3)
    again = detect_run(request)
    assert (again.failed, len(again.found)) == ({}, 1)
    assert list(Quarantine(request.features).passed_over([path])) == [path]
    empty = replace(request, features=tmp_path / "empty")
    Quarantine(empty.features).add(path, "died", 3)
    assert list(detect_run(empty).failed) == ["camera-v0"]
